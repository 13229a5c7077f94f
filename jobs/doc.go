// Package jobs does the work of a run: it turns rows into a plan, sends the
// plan's chunks through one door to the Chat API, and settles what became of
// every row.
//
// The way of a row: an [Input] yields it as a [Record]; a [Planner] checks it,
// brings it together with the other rows of its group and cuts the group into
// chunks; a [Runner] sends each chunk through a [Door], which takes a turn of
// the limiter for every attempt, retries what may heal and names what does
// not; a refused chunk is isolated, so that one bad account does not fail its
// neighbours; the outcome is in the ledger before it counts.
//
// An export is a run whose chunks are groups: what it fetches of them is kept in
// the ledger's directory, and becomes one file ([Publish]) when the run is
// finished.
//
// A [Kind] says what differs between the kinds of jobs. Adding one is one file
// here, beside marks.go (many accounts a call), unread.go (a call a row) and
// members.go (a group, page by page).
package jobs

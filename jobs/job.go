package jobs

import (
	"context"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
)

// Classes of failed rows. They are part of the contract with scripts: they
// stand in the _class column of a failed file and in the summary. The classes
// of rows that the server refused come from the verdict table of io/chat.
const (
	ClassBadRow       = "bad_row"            // could not be read, or names something the API cannot take
	ClassOverLimit    = "over_limit"         // beyond what the API allows a whole group
	ClassOffline      = chat.ClassAbsent     // not online in the group, not a member, or no such account
	ClassMarkNotSet   = "mark_not_set"       // the answer names the account without all its marks
	ClassWithChunk    = "refused_with_chunk" // refused with its neighbours; the budget did not reach it alone
	ClassRefused      = "refused"            // refused alone
	ClassNoPermission = "no_permission"      // the whole group, by code 10007
	ClassUnsupported  = "unsupported_group_type"
	ClassStuckCursor  = "stuck_cursor" // the server's pages never end
	maxAccountBytes   = 32             // of a UserID
	topicInfix        = "@TOPIC#_"     // inside the id of a topic, which is no group to these APIs
	DefaultChunkSize  = 500            // accounts a call, as modify_user_info documents it
)

// A Kind is one kind of job: what the plan and the run need to know of it.
// Its methods may be called from many goroutines.
type Kind interface {
	// Name is the kind as its user writes it, e.g. "marks set".
	Name() string

	// Merge joins what two rows ask for the same account of one group. It
	// may reuse have.
	Merge(have, more []byte) []byte

	// NewGroup makes the check of one group's limits over the whole input,
	// or returns nil where the API sets none.
	NewGroup() GroupCheck

	// Settle sends one chunk. It returns one outcome for each entry, or an
	// error if the chunk could not be settled: then none of it counts, and a
	// later run sends it again.
	Settle(ctx context.Context, call *Caller, c ledger.Chunk) (Result, error)
}

// A Result is what became of a chunk.
type Result struct {
	Outcomes []ledger.Outcome // one for each entry
	Note     []byte           // where that lies which an export has fetched
}

// A RowKind is a kind that sends each entry of a chunk in a call of its own.
// Entries are settled one by one, so that a crash leaves no more of them in
// doubt than were under way. Its Settle is never called.
type RowKind interface {
	Kind

	// SettleRow sends one entry and says what became of it, or an error if
	// that is not known or concerns more than this entry.
	SettleRow(ctx context.Context, call *Caller, group string, e ledger.Entry) (ledger.Outcome, error)
}

// A Superseder is a kind whose last row of an account replaces the earlier ones,
// rather than being joined with them.
type Superseder interface{ Supersedes() }

// A Preparer is a kind that looks at groups before it sends their chunks.
type Preparer interface {
	// Prepare looks at groups of the plan, at most 50 at a time, and returns
	// the outcome of those whose rows need no call. Its error ends the run.
	// It is called by one goroutine at a time.
	Prepare(ctx context.Context, call *Caller, groups []string) (map[string]ledger.Outcome, error)
}

// A GroupCheck holds the limits that the API sets on a whole group. Its rows
// come in the order of the input.
type GroupCheck interface {
	// Admit says why a row is beyond a limit, or nil and counts it. have is
	// what earlier rows asked for the same account, nil if none did.
	Admit(have, more []byte) error
}

// An Ask is what one row asks for, in the form in which it is planned.
type Ask struct {
	Group   string
	Account string
	Data    []byte // the kind's own, valid until the next record is read
}

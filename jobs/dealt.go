package jobs

import (
	"context"
	"iter"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
)

// A Dealer is the Ledger of a run that many hosts work on: nobody has the pending chunks
// in a row, they come as they are dealt out. Pending is not called.
type Dealer interface {
	Ledger

	// Deal waits for a chunk and returns it with those that need not be waited for,
	// most at the most. None says that no more come, or that ctx has ended.
	Deal(ctx context.Context, most int) []ledger.Chunk
}

// dealt yields chunks as they are dealt. p, if there is one, looks at their groups
// first: at those of the chunks that came together, since nobody knows when there will
// be more, while the workers are busy with the ones before.
func (r *Runner) dealt(soft, hard context.Context, d Dealer, p Preparer, canary *bool) iter.Seq2[ledger.Chunk, error] {
	return func(yield func(ledger.Chunk, error) bool) {
		for {
			w := window{chunks: d.Deal(soft, chat.MaxGroupInfo)}
			if len(w.chunks) == 0 {
				return
			}
			if p != nil {
				w.groups = groupsOf(w.chunks)
				if err := <-r.lookNow(soft, hard, p, w, canary); err != nil {
					yield(ledger.Chunk{}, err)
					return
				}
			}
			if !yieldAll(w, yield) {
				return
			}
		}
	}
}

// groupsOf are the groups of chunks, each once.
func groupsOf(chunks []ledger.Chunk) (groups []string) {
	seen := map[string]bool{}
	for _, c := range chunks {
		if !seen[c.Group] {
			seen[c.Group] = true
			groups = append(groups, c.Group)
		}
	}
	return groups
}

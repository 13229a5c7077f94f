package jobs

import (
	"context"
	"errors"
	"sync"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
)

// rowsOf is a chunk whose entries go to the server one by one.
type rowsOf struct {
	*Runner
	kind     RowKind
	chunk    ledger.Chunk
	outcomes []ledger.Outcome

	mu   sync.Mutex
	left settledRows // under mu; rows that needed no call
}

// settleRows settles a chunk entry by entry. Each is in the ledger before it
// counts, so that a run that is killed sends no more of them again than were
// under way.
func (r *Runner) settleRows(soft context.Context, call *Caller, k RowKind, c ledger.Chunk) error {
	rows := &rowsOf{Runner: r, kind: k, chunk: c, outcomes: make([]ledger.Outcome, len(c.Entries))}
	var open []int
	for i := range c.Entries {
		if o, settled := c.Settled[i]; settled {
			rows.outcomes[i] = o
			continue
		}
		open = append(open, i)
	}
	err := call.Each(soft, len(open), func(ctx context.Context, call *Caller, i int) error {
		err := rows.settle(ctx, call, open[i])
		if refused, ok := refusalOf(err); ok {
			err = &RunRefusedError{refused}
		}
		if err != nil {
			r.halt(err)
		}
		return err
	})
	if err != nil {
		return err
	}
	// The entries are on record; this folds them into one.
	if err := r.Ledger.SettleWith(context.WithoutCancel(call.hard), c.ID, rows.outcomes, nil, ledger.Cost{}); err != nil {
		return err
	}
	return r.count(rows.left, ledger.Cost{})
}

// settle brings one entry to its end. An error ends the run; it is a *Refusal if
// the server refuses the run.
func (r *rowsOf) settle(ctx context.Context, call *Caller, place int) error {
	e := r.chunk.Entries[place]
	if o, known := r.outcomeOf(r.chunk.Group); known {
		r.outcomes[place] = o
		r.mu.Lock()
		defer r.mu.Unlock()
		r.left.add(o, len(e.Rows))
		return nil
	}
	leave, err := r.goAhead(ctx, call)
	if err != nil {
		return err
	}
	defer leave()
	if err := r.Ledger.SentEntry(call.hard, r.chunk.ID, place); err != nil {
		return err
	}
	before := call.Cost
	o, err := r.kind.SettleRow(ctx, call, r.chunk.Group, e)
	cost := ledger.Cost{Calls: call.Cost.Calls - before.Calls, Retries: call.Cost.Retries - before.Retries}
	if refused, ok := refusalOf(err); ok && refused.Verdict != chat.StopRun {
		o, err = refused.outcome(refused.Ruling.Class), r.refused(refused)
	}
	if err != nil {
		return r.undo(call, place, cost, err)
	}
	o.Attempts = cost.Calls
	r.outcomes[place] = o
	if err := r.Ledger.SettleEntry(context.WithoutCancel(call.hard), r.chunk.ID, place, o, cost); err != nil {
		return err
	}
	var rows settledRows
	rows.add(o, len(e.Rows))
	return r.count(rows, cost)
}

// refused looks whether the refusal of a row says something about more than the
// row.
func (r *rowsOf) refused(why *Refusal) error {
	if why.Verdict == chat.FailGroup {
		return r.refuseGroup(r.chunk.Group, why)
	}
	return r.ail(why)
}

// undo leaves an entry for a later run. If its call can have had no effect, it
// is no more in doubt than before.
func (r *rowsOf) undo(call *Caller, place int, cost ledger.Cost, why error) error {
	if _, stop := refusalOf(why); !noEffect(cost, stop) {
		return why
	}
	if err := r.Ledger.UnsentEntry(context.WithoutCancel(call.hard), r.chunk.ID, place); err != nil {
		return errors.Join(why, err)
	}
	return why
}

package jobs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
)

// A Ledger is what a run needs of its durable record. Each method that changes
// it returns when the change is on disk. *ledger.Ledger is one.
type Ledger interface {
	Pending(ctx context.Context) iter.Seq2[ledger.Chunk, error]
	Sent(ctx context.Context, chunk int64) error
	Unsent(ctx context.Context, chunk int64) error
	Settle(ctx context.Context, chunk int64, outcomes []ledger.Outcome, c ledger.Cost) error
}

// A Runner sends the chunks of a planned run and settles them.
type Runner struct {
	Kind      Kind
	Ledger    Ledger
	Door      *Door
	Workers   int           // calls under way at once
	Grace     time.Duration // that calls under way have when the run is to stop
	MaxErrors Limit         // failed rows beyond which the run is stopped
	Rows      int64         // of the run, for MaxErrors as a share
	Failed    int64         // rows that have failed before this process, for MaxErrors

	ahead chan struct{} // a place for each chunk between its note and its first turn

	mu     sync.Mutex
	groups map[string]*Refusal // under mu; groups that the server refused whole
	denied int                 // under mu; groups refused for lack of permission
	failed int64               // under mu
}

// A GuardError stopped a run that went wrong. What is not settled can be
// resumed.
type GuardError struct {
	Reason string
	Err    error // may be nil
}

func (e *GuardError) Error() string {
	text := e.Reason
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if r, ok := errors.AsType[*Refusal](e.Err); ok && r.Ruling.Hint != "" {
		text += " (" + r.Ruling.Hint + ")"
	}
	return text
}

// Unwrap gives the error behind the guard, if any.
func (e *GuardError) Unwrap() error { return e.Err }

func isGuard(err error) bool {
	_, ok := errors.AsType[*GuardError](err)
	return ok
}

// A RunRefusedError says that the server refuses the whole run: every other
// call would be refused alike.
type RunRefusedError struct{ *Refusal }

// Error names the server's answer and what to do.
func (e *RunRefusedError) Error() string {
	if e.Ruling.Hint == "" {
		return e.Refusal.Error()
	}
	return fmt.Sprintf("%v (%s)", e.Refusal, e.Ruling.Hint)
}

// Run sends what the ledger says is pending. It returns nil when all of it is
// settled; otherwise a *GuardError, a *RunRefusedError, the cause of ctx, or
// what the ledger said. What was under way when ctx ended has the grace time
// to come back; a chunk that is not settled is sent again by a later run.
func (r *Runner) Run(ctx context.Context) error {
	hard, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	group, soft := errgroup.WithContext(ctx)
	group.SetLimit(max(r.Workers, 1))
	// One grace time for all reasons to stop: a signal, a guard, a refusal.
	context.AfterFunc(soft, func() {
		t := time.NewTimer(r.Grace)
		defer t.Stop()
		select {
		case <-t.C:
			kill()
		case <-hard.Done(): // Run has returned
		}
	})
	r.groups, r.failed = map[string]*Refusal{}, r.Failed
	r.ahead = make(chan struct{}, r.sentAhead())
	first := r.feed(ctx, soft, hard, group)
	err := group.Wait()
	switch {
	case ctx.Err() != nil && (first != nil || err != nil):
		return stopped(ctx, errors.Join(first, err))
	case first != nil:
		return first
	}
	return err
}

// stopped prefers a reason that is worth more than "interrupted".
func stopped(ctx context.Context, err error) error {
	if g, ok := errors.AsType[*GuardError](err); ok {
		return g
	}
	if r, ok := errors.AsType[*RunRefusedError](err); ok {
		return r
	}
	return context.Cause(ctx)
}

// feed hands the pending chunks to the workers until one of them says stop.
func (r *Runner) feed(ctx, soft, hard context.Context, workers *errgroup.Group) error {
	canary := true
	for c, err := range r.Ledger.Pending(ctx) {
		if err != nil {
			return err
		}
		if soft.Err() != nil {
			return context.Cause(soft)
		}
		call := &Caller{door: r.Door, hard: hard, canary: canary}
		if canary {
			// Wrong credentials must cost one call, not one a worker.
			if err := r.settle(soft, call, c); err != nil {
				return err
			}
			canary = call.canary
			continue
		}
		workers.Go(func() error { return r.settle(soft, call, c) })
	}
	return nil
}

// settle brings one chunk to its end: it is in the ledger when settle returns
// nil, and stays pending otherwise.
func (r *Runner) settle(soft context.Context, call *Caller, c ledger.Chunk) error {
	if soft.Err() != nil {
		return context.Cause(soft)
	}
	if refused := r.groupRefused(c.Group); refused != nil {
		return r.done(call.hard, c, sameOutcome(refused.outcome(refused.Ruling.Class), len(c.Entries)), ledger.Cost{})
	}
	leave, err := r.goAhead(soft, call)
	if err != nil {
		return err
	}
	defer leave()
	if err := r.Ledger.Sent(call.hard, c.ID); err != nil {
		return err
	}
	outcomes, err := r.Kind.Settle(soft, call, c)
	if err == nil {
		if err = r.refuseGroup(c.Group, call.groupRefused); err == nil {
			return r.done(call.hard, c, outcomes, call.Cost)
		}
	}
	return r.undone(call, c, err)
}

// sentAhead is how many chunks may be noted as sent and still wait for their
// turn. After a crash all of these are in doubt, so they are kept few; but
// enough that the disk, which takes several of them in one write, keeps up: 8
// for 64 workers, so that at 200 a second it may take 40 ms for a write.
func (r *Runner) sentAhead() int { return max(8, r.Workers/8) }

// goAhead waits for one of these places. It is left when the chunk's first
// call has its turn, and at the latest by calling leave.
func (r *Runner) goAhead(ctx context.Context, call *Caller) (leave func(), err error) {
	select {
	case r.ahead <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	leave = sync.OnceFunc(func() { <-r.ahead })
	call.onTurn = leave
	return leave, nil
}

// done writes the outcomes of a chunk, and stops a run with too many failures.
func (r *Runner) done(ctx context.Context, c ledger.Chunk, outcomes []ledger.Outcome, cost ledger.Cost) error {
	// The answer is there, so it is written, even if the grace time is over.
	if err := r.Ledger.Settle(context.WithoutCancel(ctx), c.ID, outcomes, cost); err != nil {
		return err
	}
	var rows [2]int64 // succeeded, failed
	for i, o := range outcomes {
		if o.Class == "" {
			rows[0] += int64(len(c.Entries[i].Rows))
		} else {
			rows[1] += int64(len(c.Entries[i].Rows))
		}
	}
	r.Door.Meter.settled(rows[0], rows[1], cost)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed += rows[1]
	if r.MaxErrors.Exceeded(r.failed, r.Rows) {
		return &GuardError{Reason: fmt.Sprintf("%d rows have failed, more than the %s allowed", r.failed, r.MaxErrors)}
	}
	return nil
}

// undone leaves a chunk for a later run. If none of its calls can have had an
// effect, it is no more in doubt than before.
func (r *Runner) undone(call *Caller, c ledger.Chunk, why error) error {
	refused, ok := refusalOf(why)
	stop := ok && refused.Verdict == chat.StopRun
	if call.Cost.Calls == 0 || stop && call.Cost.Calls == 1 {
		if err := r.Ledger.Unsent(context.WithoutCancel(call.hard), c.ID); err != nil {
			return errors.Join(why, err)
		}
	}
	if stop {
		return &RunRefusedError{refused}
	}
	return why
}

// deniedGroups is how many groups must all be refused for lack of permission,
// and none be accepted, before that is taken for a want of the app as a whole.
const deniedGroups = 3

// refuseGroup remembers that the server refused a whole group, so that the
// rest of the group costs no call.
func (r *Runner) refuseGroup(group string, why *Refusal) error {
	if why == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.groups[group] == nil {
		r.groups[group] = why
		if why.Ruling.Class == ClassNoPermission {
			r.denied++
		}
	}
	if r.denied >= deniedGroups && r.Door.acceptedOf(why.API) == 0 {
		stop := *why
		stop.Verdict = chat.StopRun
		return &stop
	}
	return nil
}

func (r *Runner) groupRefused(group string) *Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.groups[group]
}

func sameOutcome(o ledger.Outcome, n int) []ledger.Outcome {
	all := make([]ledger.Outcome, n)
	for i := range all {
		all[i] = o
	}
	return all
}

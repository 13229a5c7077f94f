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
	SettleWith(ctx context.Context, chunk int64, outcomes []ledger.Outcome, note []byte, c ledger.Cost) error

	// For a RowKind: the same for one entry of a chunk.
	SentEntry(ctx context.Context, chunk int64, entry int) error
	UnsentEntry(ctx context.Context, chunk int64, entry int) error
	SettleEntry(ctx context.Context, chunk int64, entry int, o ledger.Outcome, c ledger.Cost) error
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
	Known     func()        // called once, when the server has accepted a call of the run; may be nil

	slots chan struct{}           // one for each call that may be under way
	halt  context.CancelCauseFunc // ends the run; before a slot is given back, so that nobody begins then
	ahead chan struct{}           // a place for each chunk or row between its note and its first turn

	mu     sync.Mutex
	groups map[string]ledger.Outcome // under mu; of all rows of a group that are not settled yet
	denied int                       // under mu; groups refused for lack of permission
	failed int64                     // under mu
	sick   sickness                  // under mu
}

// A GuardError stopped a run that went wrong. What is not settled can be
// resumed.
type GuardError struct {
	Reason string
	Err    error // may be nil
	Host   bool  // it is this host that it went wrong on; of the run it says nothing
	Silent bool  // no call of this process was ever answered
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
	stopping, halt := context.WithCancelCause(ctx)
	defer halt(nil)
	r.halt = halt
	group, soft := errgroup.WithContext(stopping)
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
	r.groups, r.failed = map[string]ledger.Outcome{}, r.Failed
	r.slots, r.ahead = make(chan struct{}, max(r.Workers, 1)), make(chan struct{}, r.sentAhead())
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

// feed hands the pending chunks to the workers until one of them says stop. The
// first call waits until no other run on this server is about to make its first.
func (r *Runner) feed(ctx, soft, hard context.Context, workers *errgroup.Group) error {
	front := r.Door.front()
	first, err := front.introduce(soft)
	if err != nil {
		return err
	}
	canary := true
	tell := sync.OnceFunc(func() {
		if r.Known != nil {
			r.Known()
		}
	})
	err = r.handOut(ctx, soft, hard, workers, &canary, func() {
		tell()
		if first {
			first = false
			front.introduced(true, nil)
		}
	})
	if first {
		refused, _ := errors.AsType[*RunRefusedError](err)
		front.introduced(!canary, refused)
	}
	return err
}

// handOut is feed without its beginning and end. known is called when the server
// has proved that it knows us.
func (r *Runner) handOut(ctx, soft, hard context.Context, workers *errgroup.Group, canary *bool, known func()) error {
	for c, err := range r.pending(ctx, soft, hard, canary) {
		if err != nil {
			return err
		}
		select {
		case r.slots <- struct{}{}:
		case <-soft.Done():
		}
		if soft.Err() != nil {
			return context.Cause(soft)
		}
		call := &Caller{door: r.Door, hard: hard, slots: r.slots, canary: *canary}
		if !*canary {
			known()
			workers.Go(func() error { return r.work(soft, call, c) })
			continue
		}
		if err := r.alone(soft, call, c, workers); err != nil {
			return err
		}
		if *canary = call.canary; !*canary {
			known()
		}
	}
	return nil
}

// alone lets a worker begin with the first chunk, and returns when the server has
// accepted a call of it, or it is settled: wrong credentials must cost one call,
// not one a worker, and so must calls of a size that the server does not take.
func (r *Runner) alone(soft context.Context, call *Caller, c ledger.Chunk, workers *errgroup.Group) error {
	accepted, ended := make(chan struct{}), make(chan struct{})
	call.onAccept = sync.OnceFunc(func() { close(accepted) })
	var failed error
	workers.Go(func() error {
		defer close(ended)
		failed = r.work(soft, call, c)
		return failed
	})
	select {
	case <-accepted:
		return nil
	case <-ended:
		return failed
	}
}

// work settles one chunk and gives its slot back.
func (r *Runner) work(soft context.Context, call *Caller, c ledger.Chunk) error {
	defer func() { <-r.slots }()
	err := r.settle(soft, call, c)
	if err != nil {
		r.halt(err)
	}
	return err
}

// settle brings one chunk to its end: it is in the ledger when settle returns
// nil, and stays pending otherwise.
func (r *Runner) settle(soft context.Context, call *Caller, c ledger.Chunk) error {
	if soft.Err() != nil {
		return context.Cause(soft)
	}
	if o, known := r.outcomeOf(c.Group); known && len(c.Settled) == 0 {
		return r.done(call.hard, c, Result{Outcomes: sameOutcome(o, len(c.Entries))}, ledger.Cost{})
	}
	if k, ok := r.Kind.(RowKind); ok {
		return r.settleRows(soft, call, k, c)
	}
	leave, err := r.goAhead(soft, call)
	if err != nil {
		return err
	}
	defer leave()
	if err := r.Ledger.Sent(call.hard, c.ID); err != nil {
		return err
	}
	got, err := r.Kind.Settle(soft, call, c)
	if err == nil {
		err = r.refuseGroup(c.Group, call.groupRefused)
	}
	if err == nil && call.gaveUp != nil {
		err = r.ail(call.gaveUp)
	}
	if err != nil {
		return r.undone(call, c, err)
	}
	return r.done(call.hard, c, got, call.Cost)
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
func (r *Runner) done(ctx context.Context, c ledger.Chunk, got Result, cost ledger.Cost) error {
	// The answer is there, so it is written, even if the grace time is over.
	if err := r.Ledger.SettleWith(context.WithoutCancel(ctx), c.ID, got.Outcomes, got.Note, cost); err != nil {
		return err
	}
	var rows settledRows
	for i, o := range got.Outcomes {
		if _, counted := c.Settled[i]; !counted {
			rows.add(o, len(c.Entries[i].Rows))
		}
	}
	return r.count(rows, cost)
}

// settledRows are rows by what became of them.
type settledRows struct {
	succeeded int64
	failed    map[string]int64 // by class; nil: none
}

func (s *settledRows) add(o ledger.Outcome, rows int) {
	if o.Class == "" {
		s.succeeded += int64(rows)
		return
	}
	if s.failed == nil {
		s.failed = map[string]int64{}
	}
	s.failed[o.Class] += int64(rows)
}

// count counts rows that are settled.
func (r *Runner) count(rows settledRows, cost ledger.Cost) error {
	r.Door.Meter.settled(rows, cost)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range rows.failed {
		r.failed += n
	}
	if r.MaxErrors.Exceeded(r.failed, r.Rows) {
		return TooManyFailed(r.failed, r.MaxErrors)
	}
	return nil
}

// TooManyFailed is the guard of a run of which more rows have failed than may.
func TooManyFailed(failed int64, most Limit) *GuardError {
	return &GuardError{Reason: fmt.Sprintf("%d rows have failed, more than the %s allowed", failed, most)}
}

// undone leaves a chunk for a later run. If none of its calls can have had an
// effect, it is no more in doubt than before.
func (r *Runner) undone(call *Caller, c ledger.Chunk, why error) error {
	refused, ok := refusalOf(why)
	stop := ok && refused.Verdict == chat.StopRun
	if noEffect(call.Cost, stop) {
		if err := r.Ledger.Unsent(context.WithoutCancel(call.hard), c.ID); err != nil {
			return errors.Join(why, err)
		}
	}
	if stop {
		return &RunRefusedError{refused}
	}
	return why
}

// noEffect says that what cost this much has had no effect at the server,
// although nothing is known of its end but that the run is to stop, if it is.
func noEffect(cost ledger.Cost, stop bool) bool {
	return cost.Calls == 0 || stop && cost.Calls == 1
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
	if _, known := r.groups[group]; !known {
		r.groups[group] = why.outcome(why.Ruling.Class)
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

// outcomeOf is what becomes of all rows of a group without a call, if that is
// known.
func (r *Runner) outcomeOf(group string) (o ledger.Outcome, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o, known = r.groups[group]
	return o, known
}

func sameOutcome(o ledger.Outcome, n int) []ledger.Outcome {
	all := make([]ledger.Outcome, n)
	for i := range all {
		all[i] = o
	}
	return all
}

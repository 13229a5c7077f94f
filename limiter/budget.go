package limiter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// catchUp is how many slots the bucket may make up for. It must not be 1:
	// a timer that wakes 0.1 ms late each time would cost 2 % of 200 a second.
	// With 4, what a busy process sleeps beyond 20 ms is lost: 98.7 to 99.4 %
	// of 200 were used in a whole run on two cores, with 16 (80 ms) 99.5 %. It
	// is not less safe, since the lanes hold the limit.
	catchUp = 16

	// poll is the longest sleep between two looks for a lane: another process
	// may give one back, or die, without telling.
	poll = 10 * time.Millisecond
)

// errBusy is returned by a store that somebody else has locked for longer than
// is usual. Nothing was read or changed; try again.
var errBusy = errors.New("lanes are locked by another process, which may be stopped")

// A budget is n lanes and the one line in this process that waits for them.
type budget struct {
	api    string
	n      int           // lanes
	rest   time.Duration // one second and the margin
	lanes  Lanes
	closed <-chan struct{}
	common *budget // what each call draws on as well; nil for nothing
	shared bool    // by APIs, which may have lanes out of use on their own
	name   string  // of this process, for those who look
	way    uint64  // of its calls

	line   line
	bucket *rate.Limiter // of who has the baton of line
	paid   bool          // likewise; the slot of a waiter that left is the next one's

	mu      sync.Mutex
	held    []bool           // under mu; by lane: taken here and not done
	calls   int              // under mu; how many are held
	given   []given          // under mu; done, but not yet in the store
	slow    []string         // under mu; SlowDown of these APIs, but not yet in the store
	closing bool             // under mu; no lane may be taken any more
	trips   trips            // under mu
	took    int              // under mu; calls so far
	share   int              // under mu; lanes that this process could have when it last looked
	gates   map[string]*line // under mu; where calls of an API wait that has lanes out of use
}

// A holding is one lane in use by one call.
type holding struct {
	lane   int
	ready  time.Duration // when the rest before it ended, on the store's clock
	since  time.Duration // the call did not leave before, on the store's clock
	last   time.Duration // nor may it from then on, on the store's clock; 0: there is no such time
	common *holding      // the lane of the common budget, nil if there is none
}

// given is a lane on its way back to the store.
type given struct {
	lane    int
	ready   time.Duration // on the store's clock
	shorter time.Duration // so much sooner for what a call takes at least
}

func newBudget(api string, n int, rest time.Duration, lanes Lanes, closed <-chan struct{}) *budget {
	b := &budget{
		api: api, n: n, rest: rest, lanes: lanes, closed: closed, way: wayID(""),
		bucket: rate.NewLimiter(perSecond(n, rest), catchUp),
		held:   make([]bool, n),
		gates:  map[string]*line{},
		share:  n,
	}
	b.bucket.AllowN(time.Now(), catchUp-1) // start with one slot, not with all
	return b
}

// take waits for the baton, for a slot and then for a lane, of this budget and
// then of the common one. Whatever ends it early, baton, slot and lane are
// left for the next one.
func (b *budget) take(ctx context.Context, q *Queue, ticket uint64, api string) (holding, error) {
	h, err := b.takeOnce(ctx, q, ticket, api)
	if !errors.Is(err, errGated) {
		return h, err
	}
	// It may be a while. Calls of other APIs are not to wait behind this one,
	// so it waits elsewhere, and one at a time tries again.
	gate := b.gate(api)
	w := gate.join(&place{}, ticket)
	defer gate.leave(w, false)
	if err := b.baton(ctx, w); err != nil {
		return holding{}, err
	}
	for errors.Is(err, errGated) {
		if err := b.sleep(ctx, poll); err != nil {
			return holding{}, err
		}
		if b.isGated(api) {
			continue
		}
		h, err = b.takeOnce(ctx, q, ticket, api)
	}
	return h, err
}

// takeOnce is take, but for the gate.
//
// The baton is kept until the common lane is there. So the slot can still be
// left to the next one, and calls leave in the order in which they came. Those
// who hold something here wait there and never the other way round: they
// cannot lock each other out.
func (b *budget) takeOnce(ctx context.Context, q *Queue, ticket uint64, api string) (h holding, err error) {
	w := b.line.join(q.place(b), ticket)
	had := false
	defer func() { b.line.leave(w, had) }()
	if h, err = b.takeHere(ctx, w, api); err != nil {
		return h, err
	}
	if b.common != nil {
		behind, err := b.common.take(ctx, q, ticket, api)
		if err != nil {
			b.give(given{lane: h.lane, ready: h.ready}) // it was not used, and need not rest
			return holding{}, err
		}
		h.common, h.since = &behind, b.lanes.Now()
		b.extend(&h)
	}
	b.paid, had = false, true
	return h, nil
}

// takeHere takes a lane of this budget. w has the baton when it has succeeded.
func (b *budget) takeHere(ctx context.Context, w *waiter, api string) (holding, error) {
	for {
		if err := b.turn(ctx, w); err != nil {
			return holding{}, err
		}
		h, wait, err := b.look(b.tag(api))
		if err != nil && !errors.Is(err, errBusy) {
			return holding{}, err
		}
		if err == nil && h.lane >= 0 {
			return h, nil
		}
		if err := b.sleep(ctx, wait); err != nil {
			return holding{}, err
		}
	}
}

// turn waits until w has the baton, a slot is paid for, and nobody is before w.
func (b *budget) turn(ctx context.Context, w *waiter) error {
	for {
		if err := b.baton(ctx, w); err != nil {
			return err
		}
		if err := b.pace(ctx); err != nil {
			return err
		}
		if !b.line.yield(w) {
			return nil
		}
	}
}

// baton waits until w has the baton of its line.
func (b *budget) baton(ctx context.Context, w *waiter) error {
	if w.has {
		return nil
	}
	select {
	case <-w.baton:
		w.has = true
		return nil
	case <-ctx.Done():
		return cancelled(ctx)
	case <-b.closed:
		return ErrClosed
	}
}

// pace waits for a slot of the bucket. The caller holds the baton.
func (b *budget) pace(ctx context.Context) error {
	if b.paid {
		return nil
	}
	r := b.bucket.Reserve()
	if err := b.sleep(ctx, r.Delay()); err != nil {
		r.Cancel()
		return err
	}
	b.paid = true
	return nil
}

// sleep waits for d, or less if ctx is done or the limiter closes.
func (b *budget) sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return cancelled(ctx)
	}
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return cancelled(ctx)
	case <-b.closed:
		return ErrClosed
	}
}

// look takes a lane for a call of api if one is ready. If none is, h.lane is -1 and
// wait says when to look again.
func (b *budget) look(api string) (h holding, wait time.Duration, err error) {
	h.lane, wait = -1, poll
	closing, gated := false, false
	err = b.update(func(t *Table) {
		if closing = b.closing; closing {
			return
		}
		if h.lane, wait, gated = t.take(b.rest, api); h.lane >= 0 {
			h.ready, h.since, h.last = t.lanes[h.lane].ready, t.now, t.last()
			b.held[h.lane] = true
			b.calls++
			b.took++
		}
		b.fit(t.atOnce())
	})
	switch {
	case err == nil && closing:
		err = ErrClosed
	case err == nil && gated:
		err = errGated
	case err == nil:
		return h, wait, nil
	}
	if h.lane >= 0 { // taken here, but not in the store
		b.mu.Lock()
		b.held[h.lane] = false
		b.calls--
		b.took--
		b.mu.Unlock()
	}
	return h, poll, fmt.Errorf("take a lane: %w", err)
}

// fit lets the bucket run as fast as the lanes allow that this process can have:
// faster, a second's calls would leave at its beginning.
func (b *budget) fit(lanes int) {
	if lanes != b.share && lanes > 0 {
		b.share = lanes
		b.bucket.SetLimit(perSecond(lanes, b.rest))
	}
}

// perSecond is how often n lanes can be used. The margin of their rest does not
// count: the lanes are the wall, and the bucket must not be another.
func perSecond(n int, rest time.Duration) rate.Limit {
	if rest < 2*time.Second {
		return rate.Limit(n)
	}
	return rate.Limit(float64(n) / rest.Seconds())
}

// done lets each lane of a call rest from the latest moment at which the call
// can have reached the server.
func (b *budget) done(h holding, roundTrip time.Duration, answered bool) {
	// The clock is read first: whatever holds us up from here on, the lane
	// rests from now.
	now := b.lanes.Now()
	arrived := now
	b.mu.Lock()
	if answered {
		b.trips.note(roundTrip)
		// A call cannot have reached the server before it had its lane.
		arrived = max(now-b.trips.credit(), h.since)
	}
	b.mu.Unlock()
	b.give(given{h.lane, arrived + b.rest, now - arrived})
	if h.common != nil {
		b.common.done(*h.common, roundTrip, answered)
	}
}

// give gives back a lane that was taken here.
func (b *budget) give(g given) {
	b.mu.Lock()
	b.held[g.lane] = false
	b.given = append(b.given, g)
	b.mu.Unlock()

	// An error is not lost: the lane stays in given, and the next Take that
	// cannot use the store reports it.
	_ = b.update(nil)

	b.mu.Lock()
	b.calls--
	last := b.closing && b.calls == 0
	b.mu.Unlock()
	if last {
		_ = b.lanes.Close() // as in Close, but nobody is left to tell
	}
}

// slowDown takes lanes of api out of use, or of all if it is "".
func (b *budget) slowDown(api string) {
	b.mu.Lock()
	b.slow = append(b.slow, b.tag(api))
	b.mu.Unlock()
	_ = b.update(nil) // as in done
}

// update changes the lanes in one step: first what this process still owes the
// store, then f, which runs under b.mu.
func (b *budget) update(f func(*Table)) error {
	var owed []given
	var slow []string
	waiting := b.line.waiting()
	err := b.lanes.Update(b.n, func(t *Table) {
		b.mu.Lock()
		defer b.mu.Unlock()
		t.goes(b.way)
		owed, slow = b.given, b.slow
		b.given, b.slow = nil, nil
		for _, g := range owed {
			t.give(g.lane, g.ready, g.shorter)
		}
		t.settle(b.held, b.rest)
		for _, api := range slow {
			t.slowDown(t.cutOf(api))
		}
		t.shorten(b.trips.credit())
		if f != nil {
			f(t)
		}
		t.said = utterance{b.name, b.took, waiting}
	})
	if err != nil {
		b.mu.Lock()
		b.given = append(b.given, owed...)
		b.slow = append(b.slow, slow...)
		b.mu.Unlock()
	}
	return err
}

func (b *budget) status() (Status, error) {
	s := Status{API: b.api, Lanes: b.n, Waiting: b.line.waiting()}
	err := b.update(func(t *Table) {
		s.Held, s.Resting = t.busy()
		s.Leased = t.size()
		s.OutOfUse = t.out(0, s.Leased)
		for i, c := range t.cuts {
			if out := t.out(i, s.Leased); i > 0 && out > 0 {
				if s.SlowAPIs == nil {
					s.SlowAPIs = map[string]int{}
				}
				s.SlowAPIs[c.name()] = out
			}
		}
	})
	return s, err
}

// close leaves the store, or lets the last done do it.
func (b *budget) close() error {
	b.mu.Lock()
	b.closing = true
	idle := b.calls == 0
	owes := len(b.given) > 0
	b.mu.Unlock()
	if !idle {
		return nil
	}
	if owes {
		// Lanes that cannot be given back here are dead lanes to the
		// others, and rest before they are used again.
		_ = b.update(nil)
	}
	if err := b.lanes.Close(); err != nil {
		return fmt.Errorf("close lanes: %w", err)
	}
	return nil
}

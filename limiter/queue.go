package limiter

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A Queue is where the calls of one job wait, if several jobs share a limiter.
// Queues with waiters take turns, however many waiters there are in each:
// while three jobs have calls to make, each gets a third of the budget, and one
// that is alone gets all of it. A queue without waiters costs nothing and
// saves nothing up. It need not be closed. Safe for concurrent use.
type Queue struct {
	lim     *Limiter
	tickets atomic.Uint64 // how many calls have come
	ahead   atomic.Uint64 // and by TakeAhead

	mu     sync.Mutex
	places map[*budget]*place // under mu; where this queue has ever waited
}

// Queue returns a new queue. Make one for each job, not for each call: the
// first call of a queue is served before the next ones of all others.
func (l *Limiter) Queue() *Queue {
	return &Queue{lim: l, places: map[*budget]*place{}}
}

// Take is [Limiter.Take] for a call of this queue. The calls of one queue that
// draw on the same budgets are served in the order in which they came.
func (q *Queue) Take(ctx context.Context, api string) (done func(roundTrip time.Duration, answered bool), late func() bool, err error) {
	return q.take(ctx, api, behindAll+q.tickets.Add(1))
}

// TakeAhead is Take for a call on which others depend, like the next page behind
// a cursor: it goes before the calls of this queue that came by Take. Other
// queues are not concerned.
func (q *Queue) TakeAhead(ctx context.Context, api string) (done func(roundTrip time.Duration, answered bool), late func() bool, err error) {
	return q.take(ctx, api, q.ahead.Add(1))
}

// behindAll is more than all tickets of TakeAhead.
const behindAll = 1 << 62

func (q *Queue) take(ctx context.Context, api string, ticket uint64) (done func(roundTrip time.Duration, answered bool), late func() bool, err error) {
	if ctx.Err() != nil {
		return nil, nil, cancelled(ctx)
	}
	b, err := q.lim.budget(api)
	if err != nil {
		return nil, nil, err
	}
	h, err := b.take(ctx, q, ticket, api)
	if err != nil {
		return nil, nil, err
	}
	var once sync.Once
	done = func(roundTrip time.Duration, answered bool) {
		once.Do(func() { b.done(h, roundTrip, answered) })
	}
	return done, func() bool { return b.late(h) }, nil
}

// SlowDown is [Limiter.SlowDown]: it slows all queues down, for they share the
// budget that the server found exceeded.
func (q *Queue) SlowDown(api string) { q.lim.SlowDown(api) }

// place is where the queue waits for the lanes of b.
func (q *Queue) place(b *budget) *place {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.places[b]
	if p == nil {
		p = &place{}
		q.places[b] = p
	}
	return p
}

package jobs

import (
	"context"
	"sync"
	"sync/atomic"

	"chatbatch/io/ledger"
)

// Each calls do for each of 0 to n-1, in that order, side by side as far as
// workers of the run have nothing else to do. Each do gets a caller for its own
// calls; what they cost is the cost of c in the end.
//
// After the first error no further do begins, and those under way get a ctx that
// is done; Each returns that error when all have returned. (ctx is cancelled
// without a cause: the error of one must not be taken for the answer to another.)
//
// Before the server has proved to know us, nothing goes side by side.
func (c *Caller) Each(ctx context.Context, n int, do func(ctx context.Context, call *Caller, i int) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := &sides{owner: c, n: int64(n), do: do, stop: stop}
	s.work(ctx, c)
	s.helpers.Wait()
	c.Cost.Calls += s.cost.Calls
	c.Cost.Retries += s.cost.Retries
	return s.err
}

// sides is one call of Each.
type sides struct {
	owner   *Caller
	n       int64
	do      func(ctx context.Context, call *Caller, i int) error
	stop    context.CancelFunc
	next    atomic.Int64
	helpers sync.WaitGroup

	mu   sync.Mutex
	err  error       // under mu; the first
	cost ledger.Cost // under mu; of the helpers
}

// work takes one item after the other, and lets others help with the rest.
func (s *sides) work(ctx context.Context, call *Caller) {
	for ctx.Err() == nil {
		i := s.next.Add(1) - 1
		if i >= s.n {
			return
		}
		if i+1 < s.n {
			s.recruit(ctx, call)
		}
		if err := s.do(ctx, call, int(i)); err != nil {
			s.fail(err)
			return
		}
	}
	// Cancelled from outside: the items that are left were not done.
	if s.next.Load() < s.n {
		s.fail(context.Cause(ctx))
	}
}

// recruit starts one helper if a worker is free. A helper recruits the next.
func (s *sides) recruit(ctx context.Context, call *Caller) {
	if call.canary {
		return
	}
	select {
	case call.slots <- struct{}{}:
	default: // none is free, or there are none
		return
	}
	s.helpers.Go(func() {
		defer func() { <-call.slots }()
		helper := &Caller{door: call.door, hard: call.hard, slots: call.slots}
		s.work(ctx, helper)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.cost.Calls += helper.Cost.Calls
		s.cost.Retries += helper.Cost.Retries
	})
}

func (s *sides) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.stop()
}

package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"chatbatch/io/chat"
)

// A sideCase is one call of Each.
type sideCase struct {
	n, workers, busy int
	took             []time.Duration
	fails            int // the item that fails; -1: none
	calls            []int
	cancelAt         time.Duration // 0: never
	canary           bool
}

func drawSide(rt *rapid.T) sideCase {
	c := sideCase{n: rapid.IntRange(0, 25).Draw(rt, "n"), workers: rapid.IntRange(1, 8).Draw(rt, "workers")}
	c.busy = rapid.IntRange(0, c.workers-1).Draw(rt, "busy")
	for range c.n {
		c.took = append(c.took, time.Duration(rapid.IntRange(1, 5000).Draw(rt, "took"))*time.Millisecond)
		c.calls = append(c.calls, rapid.IntRange(0, 3).Draw(rt, "calls"))
	}
	c.fails = rapid.IntRange(-c.n-1, c.n-1).Draw(rt, "fails")
	if rapid.Bool().Draw(rt, "cancelled") {
		c.cancelAt = time.Duration(rapid.IntRange(1, 20_000).Draw(rt, "cancelAt"))*time.Millisecond + 500*time.Microsecond
	}
	c.canary = rapid.Bool().Draw(rt, "canary")
	return c
}

// sideLog is what happened during one call of Each.
type sideLog struct {
	mu        sync.Mutex
	begun     []int
	ended     map[int]bool
	lastBegun time.Time
	failedAt  time.Time
	now, most int
	early     int // most at once before the server knew us
	proven    bool
	cost      int
}

var errSide = errors.New("this item fails")

// do is one item: its first call proves that the server knows us.
func (l *sideLog) do(c sideCase) func(context.Context, *Caller, int) error {
	return func(ctx context.Context, call *Caller, i int) error {
		l.begin(i)
		defer l.end(i)
		half := time.NewTimer(c.took[i] / 2)
		defer half.Stop()
		select {
		case <-half.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for range c.calls[i] {
			if err := call.Do(ctx, "api", 0, func(context.Context) error { return nil }); err != nil {
				return err
			}
			l.prove()
		}
		time.Sleep(c.took[i] / 2)
		if i == c.fails {
			l.fail()
			return errSide
		}
		return nil
	}
}

func (l *sideLog) begin(i int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun = append(l.begun, i)
	l.lastBegun = time.Now()
	l.now++
	l.most = max(l.most, l.now)
	if !l.proven {
		l.early = max(l.early, l.now)
	}
}

func (l *sideLog) end(i int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now--
	l.ended[i] = true
}

func (l *sideLog) prove() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.proven = true
	l.cost++
}

func (l *sideLog) fail() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failedAt = time.Now()
}

// Whatever happens: items begin in order, never more at once than there are
// free workers, the first error wins and stops the rest, and all is tidy behind.
func TestEach(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := drawSide(rt)
		log := &sideLog{ended: map[int]bool{}, proven: !c.canary}
		stop := errors.New("the user has enough")
		var err error
		var took time.Duration
		var call *Caller
		synctest.Test(t, func(t *testing.T) {
			d, _ := newDoor()
			call = lone(t.Context(), d, c.workers)
			call.canary = c.canary
			for range c.busy {
				call.slots <- struct{}{}
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if c.cancelAt > 0 {
				timer := time.AfterFunc(c.cancelAt, func() { cancel(stop) })
				defer timer.Stop()
			}
			begin := time.Now()
			err = call.Each(ctx, c.n, log.do(c))
			took = time.Since(begin)
			if n := len(call.slots); n != 1+c.busy {
				t.Errorf("%d workers are taken behind it, want %d", n, 1+c.busy)
			}
		})
		if call.Cost.Calls != log.cost {
			rt.Errorf("the calls cost %d, want %d", call.Cost.Calls, log.cost)
		}
		checkSide(rt, c, log, err, stop, took)
	})
}

func checkSide(rt *rapid.T, c sideCase, log *sideLog, err, stop error, took time.Duration) {
	order := slices.Clone(log.begun)
	slices.Sort(order)
	for i, place := range order {
		if i != place {
			rt.Fatalf("the items %v were begun, not one after the other", log.begun)
		}
	}
	if c.workers-c.busy == 1 && !slices.IsSorted(log.begun) {
		rt.Errorf("one worker began %v", log.begun)
	}
	if len(log.ended) != len(log.begun) || log.now != 0 {
		rt.Errorf("%d of %d items had ended when Each returned", len(log.ended), len(log.begun))
	}
	if log.most > c.workers-c.busy || log.early > 1 {
		rt.Errorf("%d items at once with %d free workers, %d before the server knew us", log.most, c.workers-c.busy, log.early)
	}
	switch {
	case err == nil && len(log.begun) != c.n:
		rt.Errorf("it returned nil after %d of %d items", len(log.begun), c.n)
	case err == nil && c.fails >= 0:
		rt.Errorf("item %d failed, and it returned nil", c.fails)
	case err == nil, errors.Is(err, errSide):
	case errors.Is(err, stop) && c.cancelAt > 0 && took >= c.cancelAt:
	default:
		rt.Errorf("it returned %v", err)
	}
	if !log.failedAt.IsZero() && log.lastBegun.After(log.failedAt) {
		rt.Errorf("an item was begun after one had failed")
	}
}

// All free workers help.
func TestEachIsSideBySide(t *testing.T) {
	for _, test := range []struct {
		workers, busy int
		took          time.Duration
	}{{1, 0, 64}, {4, 0, 16}, {64, 0, 1}, {64, 56, 8}, {100, 0, 1}} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, _ := newDoor()
				call := lone(t.Context(), d, test.workers)
				for range test.busy {
					call.slots <- struct{}{}
				}
				begin := time.Now()
				err := call.Each(t.Context(), 64, func(context.Context, *Caller, int) error { time.Sleep(time.Second); return nil })
				if took := time.Since(begin); err != nil || took != test.took*time.Second {
					t.Errorf("it took %v (%v), want %d s", took, err, test.took)
				}
			})
		})
	}
}

// A worker that becomes free on the way helps from then on.
func TestEachTakesWorkersThatBecomeFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := newDoor()
		call := lone(t.Context(), d, 2)
		call.slots <- struct{}{}
		time.AfterFunc(9500*time.Millisecond, func() { <-call.slots })
		begin := time.Now()
		if err := call.Each(t.Context(), 20, func(context.Context, *Caller, int) error { time.Sleep(time.Second); return nil }); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 15*time.Second {
			t.Errorf("it took %v, want 10 items alone and 10 by two", took)
		}
	})
}

// turnLimiter gives one turn, and lets the others wait for ever.
type turnLimiter struct {
	openLimiter
	turns chan struct{}
}

func (l *turnLimiter) Take(ctx context.Context, api string) (func(time.Duration, bool), func() bool, error) {
	select {
	case l.turns <- struct{}{}:
		return l.openLimiter.Take(ctx, api)
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
}

// The refusal of one call is not the answer to those that were stopped by it.
func TestEachDoesNotMixUpRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Door{Limiter: &turnLimiter{turns: make(chan struct{}, 1)}, Retry: DefaultRetry(), Meter: &Meter{}}
		call := lone(t.Context(), d, 8)
		var mu sync.Mutex
		var others []error
		err := call.Each(t.Context(), 8, func(ctx context.Context, call *Caller, i int) error {
			err := call.Do(ctx, "api", anyRetries, func(context.Context) error { time.Sleep(time.Second); return refuse(10010) })
			mu.Lock()
			defer mu.Unlock()
			if _, refused := refusalOf(err); !refused {
				others = append(others, err)
			}
			return err
		})
		if r, ok := refusalOf(err); !ok || chat.CodeOf(r) != 10010 {
			t.Errorf("it returned %v, want the refusal", err)
		}
		if len(others) != 7 {
			t.Fatalf("%d of 8 were stopped, want 7: %v", len(others), others)
		}
		for _, err := range others {
			if !errors.Is(err, context.Canceled) || chat.CodeOf(err) != 0 {
				t.Errorf("a call that was stopped says %v", err)
			}
		}
	})
}

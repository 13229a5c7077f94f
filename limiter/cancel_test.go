package limiter

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// idle fails the test unless nothing is held and all n lanes can be taken.
func idle(t *testing.T, l *Limiter, n int) {
	t.Helper()
	time.Sleep(1100 * time.Millisecond)
	got, err := l.Status()
	if diff := cmp.Diff([]Status{{Lanes: n, Leased: n}}, got); err != nil || diff != "" {
		t.Errorf("status (-want +got): %v\n%s", err, diff)
	}
	began := time.Now()
	for range n {
		done, _, err := l.Take(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer done(0, true)
	}
	// Each waits for a slot at most; none may have to wait for a lane.
	if got := time.Since(began); got > time.Second {
		t.Errorf("got %d lanes in %v, want them within a second", n, got)
	}
}

func TestCancelAtEachPoint(t *testing.T) {
	const n, ms = 4, time.Millisecond
	tests := []struct {
		name  string
		take  int // lanes taken before
		wait  int // waiters in the queue before
		after time.Duration
	}{
		{"before the queue", 0, 0, 0},
		{"in the queue", n, 3, 300 * ms},
		{"at the bucket", 1, 0, 100 * ms},
		{"when its slot comes", 1, 0, 250 * ms},
		{"for a lane", n, 0, 700 * ms},
		{"when the poll ends", n, 0, 260 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLimiter(t, Options{QPS: n})
				defer l.Close()
				var dones []func(time.Duration, bool)
				for range tt.take {
					done, _, err := l.Take(t.Context(), "")
					if err != nil {
						t.Fatal(err)
					}
					dones = append(dones, done)
				}
				var wg sync.WaitGroup
				for range tt.wait {
					wg.Go(func() { takeWithin(t, l, time.Hour) })
					synctest.Wait()
				}
				began := time.Now()
				takeWithin(t, l, tt.after)
				if late := time.Since(began) - tt.after; late > 0 {
					t.Errorf("got an answer %v late", late)
				}
				for _, done := range dones {
					done(0, true)
				}
				wg.Wait()
				idle(t, l, n)
			})
		})
	}
}

// takeWithin takes a lane and gives it back, or is cancelled after d.
func takeWithin(t *testing.T, l *Limiter, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	done, _, err := l.Take(ctx, "")
	if err == nil {
		done(0, true)
	} else if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
}

func TestCancelCause(t *testing.T) {
	l := newLimiter(t, Options{QPS: 1})
	defer l.Close()
	why := errors.New("guard")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, _, err := l.Take(ctx, ""); !errors.Is(err, why) {
		t.Errorf("got %v, want the cause", err)
	}
}

// A slot that was paid for and not used is the next one's.
func TestCancelKeepsTheSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Options{QPS: 2})
		defer l.Close()
		start := time.Now()
		for range 2 { // at 0 and 500 ms; lanes are ready at 1002 and 1502 ms
			done, _, err := l.Take(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			done(0, true)
		}
		// This one gets the slot of 1000 ms, and no lane.
		ctx, cancel := context.WithDeadline(t.Context(), start.Add(1001*time.Millisecond))
		defer cancel()
		if _, _, err := l.Take(ctx, ""); err == nil {
			t.Fatal("got a lane that rests")
		}
		if _, _, err := l.Take(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(start); got != 1002*time.Millisecond {
			t.Errorf("got the lane at %v, want 1.002s", got)
		}
	})
}

// hookLanes are lanes in memory that run a hook before each Update, and fail
// after it as often as told, with nothing stored.
type hookLanes struct {
	*memoryLanes
	hook func()
	fail int
}

func (h *hookLanes) Update(n int, f func(*Table)) error {
	if h.hook != nil {
		h.hook()
	}
	if h.fail == 0 {
		return h.memoryLanes.Update(n, f)
	}
	h.fail--
	return errors.Join(errBroken, h.memoryLanes.Update(n, func(t *Table) {
		lost := *t
		lost.lanes = slices.Clone(t.lanes)
		f(&lost)
	}))
}

var errBroken = errors.New("disk is on fire")

func newHooked(t *testing.T, n int) (*Limiter, *hookLanes) {
	lanes, err := Memory()("")
	if err != nil {
		t.Fatal(err)
	}
	h := &hookLanes{memoryLanes: lanes.(*memoryLanes)}
	return newLimiter(t, Options{QPS: n, Lanes: func(string) (Lanes, error) { return h, nil }}), h
}

// What the store did not take is told and is not forgotten.
func TestBrokenStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, h := newHooked(t, 4)
		defer l.Close()
		done, _, err := l.Take(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		h.fail = 3
		done(0, true)
		l.SlowDown("")
		if _, _, err := l.Take(t.Context(), ""); !errors.Is(err, errBroken) {
			t.Errorf("got %v, want %v", err, errBroken)
		}
		time.Sleep(1002 * time.Millisecond) // since done, not since it was stored
		got, err := l.Status()
		if diff := cmp.Diff([]Status{{Lanes: 4, Leased: 4, OutOfUse: 1}}, got); err != nil || diff != "" {
			t.Errorf("status of the mended store (-want +got): %v\n%s", err, diff)
		}
	})
}

// Close comes while a lane is about to be taken, and another is in use.
func TestCloseWhileTaking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, h := newHooked(t, 2)
		done, _, err := l.Take(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		h.hook = func() { l.Close() }
		if _, _, err := l.Take(t.Context(), ""); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
		h.hook = nil
		done(0, true)
		if err := h.Update(2, func(*Table) {}); !errors.Is(err, ErrClosed) {
			t.Errorf("lanes: got %v, want ErrClosed", err)
		}
	})
}

// Whatever waiters do, no lane, baton or slot is lost.
func TestRandomCancels(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(rt, "lanes")
		waiters := rapid.IntRange(1, 40).Draw(rt, "waiters")
		patience := rapid.SliceOfN(rapid.IntRange(0, 4000), waiters, waiters).Draw(rt, "patience in ms")
		hold := rapid.SliceOfN(rapid.IntRange(0, 2500), waiters, waiters).Draw(rt, "call in ms")
		synctest.Test(t, func(t *testing.T) {
			l := newLimiter(t, Options{QPS: n})
			defer l.Close()
			var wg sync.WaitGroup
			for i := range waiters {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(patience[i])*time.Millisecond)
					defer cancel()
					done, _, err := l.Take(ctx, "")
					if err != nil {
						return
					}
					time.Sleep(time.Duration(hold[i]) * time.Millisecond)
					done(0, rand.IntN(2) == 0)
				})
			}
			wg.Wait()
			idle(t, l, n)
		})
	})
}

func TestDoneTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Options{QPS: 1})
		defer l.Close()
		first, _, err := l.Take(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		first(0, true)
		if _, _, err := l.Take(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		first(0, true) // the lane is another call's by now
		got, err := l.Status()
		if diff := cmp.Diff([]Status{{Lanes: 1, Leased: 1, Held: 1}}, got); err != nil || diff != "" {
			t.Errorf("status (-want +got): %v\n%s", err, diff)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lanes Lanes
		l := newLimiter(t, Options{QPS: 1, Lanes: func(key string) (_ Lanes, err error) {
			lanes, err = Memory()(key)
			return lanes, err
		}})
		done, _, err := l.Take(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		errs := make(chan error)
		for range 3 { // one at the bucket or the lanes, two in the queue
			go func() {
				_, _, err := l.Take(t.Context(), "")
				errs <- err
			}()
		}
		time.Sleep(500 * time.Millisecond)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		for range 3 {
			if err := <-errs; !errors.Is(err, ErrClosed) {
				t.Errorf("waiter: got %v, want ErrClosed", err)
			}
		}
		if _, _, err := l.Take(t.Context(), ""); !errors.Is(err, ErrClosed) {
			t.Errorf("Take after Close: got %v, want ErrClosed", err)
		}
		if err := lanes.Update(1, func(*Table) {}); err != nil {
			t.Errorf("lanes with a call under way: got %v, want them open", err)
		}
		done(0, true)
		if err := lanes.Update(1, func(*Table) {}); !errors.Is(err, ErrClosed) {
			t.Errorf("lanes after the last call: got %v, want ErrClosed", err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

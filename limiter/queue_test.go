package limiter

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// in is how many of the sends lie in [from, to).
func (w *world) in(from, to time.Duration) (calls int) {
	for _, at := range w.sends {
		if at >= from && at < to {
			calls++
		}
	}
	return calls
}

// together runs one world for each queue, with so many workers and for so long,
// and returns what left and arrived of all of them.
func together(t *testing.T, worlds []*world, queues []taker, workers []int, d []time.Duration) *world {
	var wg sync.WaitGroup
	for i, w := range worlds {
		wg.Go(func() { w.run(t, queues[i], workers[i], d[i]) })
	}
	wg.Wait()
	return sum(worlds...)
}

// sum is a world with the calls of others that began together.
func sum(worlds ...*world) *world {
	all := &world{}
	for _, w := range worlds {
		all.sends = append(all.sends, w.sends...)
		all.arrivals = append(all.arrivals, w.arrivals...)
	}
	return all
}

// Three queues share equally, whatever the number of their waiters; what one
// does not want the others have.
func TestSharesOfQueues(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	for _, call := range []time.Duration{0, ms, 12 * ms} {
		t.Run(fmt.Sprint("calls of ", call), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 200
				l := newLimiter(t, Options{QPS: n})
				defer l.Close()
				// The limiter itself is the queue of those who have none.
				queues := []taker{l, l.Queue(), l.Queue()}
				worlds := []*world{{service: call}, {service: call}, {service: call}}
				all := together(t, worlds, queues, []int{64, 8, 1}, []time.Duration{32 * s, 22 * s, 12 * s})
				check := func(from time.Duration, want ...int) {
					for i, w := range worlds {
						if got := w.in(from, from+9*s); got < want[i]-9*n/100 || got > want[i]+9*n/100 {
							t.Errorf("queue %d in 9 s from %v: got %d calls, want about %d", i, from, got, want[i])
						}
					}
				}
				check(2*s, 600, 600, 600)
				check(12*s+100*ms, 900, 900, 0)
				check(22*s+100*ms, 1800, 0, 0)
				all.check(t, n)
				if use := useOf(all.sends, n, 2*s); use < 0.985 {
					t.Errorf("got use %.4f, want nearly all", use)
				}
			})
		})
	}
}

// A call that goes ahead waits for a slot or two, however many wait in its queue,
// and takes nothing from another queue.
func TestTakeAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 200
		l := newLimiter(t, Options{QPS: n})
		defer l.Close()
		q, other := l.Queue(), l.Queue()
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		calls := make([]int, 3) // by Take and by TakeAhead of q, by Take of the other
		var wg sync.WaitGroup
		for i, take := range []func(context.Context, string) (func(time.Duration, bool), func() bool, error){q.Take, q.TakeAhead, other.Take} {
			workers := []int{64, 1, 64}[i]
			var mu sync.Mutex
			for range workers {
				wg.Go(func() {
					for {
						done, _, err := take(ctx, "api")
						if err != nil {
							return
						}
						time.Sleep(time.Millisecond)
						done(0, true)
						mu.Lock()
						calls[i]++
						mu.Unlock()
					}
				})
			}
		}
		wg.Wait()
		// It comes back after 1 ms, so it has each turn of its queue.
		if calls[1] < 900 || calls[0] > 100 || calls[2] < 900 {
			t.Errorf("got %d calls by Take, %d ahead, %d of the other queue; want few, about 1000, about 1000", calls[0], calls[1], calls[2])
		}
	})
}

// A single waiter has all of the budget that it can use, through a queue as well
// as without.
func TestOneWaiterAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Options{QPS: 50})
		defer l.Close()
		l.Queue()
		w := &world{service: time.Millisecond}
		w.run(t, l.Queue(), 1, time.Minute)
		w.check(t, 50)
		if use := useOf(w.sends, 50, 3*time.Second); use < 0.99 {
			t.Errorf("got use %.4f, want at least 0.99", use)
		}
	})
}

// Who did not wait for long has no more than its share afterwards.
func TestNoCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Options{QPS: 100})
		defer l.Close()
		busy, idle := l.Queue(), l.Queue()
		done, _, err := idle.Take(t.Context(), "api")
		if err != nil {
			t.Fatal(err)
		}
		done(0, true)
		a, b := &world{}, &world{}
		var wg sync.WaitGroup
		wg.Go(func() { a.run(t, busy, 4, 30*time.Second) })
		time.Sleep(20*time.Second + time.Millisecond)
		wg.Go(func() { b.run(t, idle, 40, 10*time.Second) })
		wg.Wait()
		for _, d := range []time.Duration{100 * time.Millisecond, time.Second, 9 * time.Second} {
			from := b.start.Sub(a.start)
			if x, y := a.in(from, from+d), b.in(0, d); y > x+1 || y < x-1 {
				t.Errorf("in %v from the idle one's return: got %d calls of the busy one and %d of the other", d, x, y)
			}
		}
	})
}

// order lets calls wait one after the other, each named by queue and number, and
// returns them as they were served.
func order(t *testing.T, queues map[byte]taker, calls []string, api func(call string) string) []string {
	var mu sync.Mutex
	var got []string
	var wg sync.WaitGroup
	for _, call := range calls {
		wg.Go(func() {
			done, _, err := queues[call[0]].Take(t.Context(), api(call))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			got = append(got, call)
			mu.Unlock()
			done(0, true)
		})
		synctest.Wait() // it is in the line now
	}
	wg.Wait()
	return got
}

func TestQueuesTakeTurns(t *testing.T) {
	tests := []struct {
		name        string
		calls, want []string
	}{
		{"one queue", []string{"a1", "a2", "a3"}, []string{"a1", "a2", "a3"}},
		{"uneven", []string{"a1", "a2", "a3", "a4", "b1", "b2", "c1"}, []string{"a1", "b1", "c1", "a2", "b2", "a3", "a4"}},
		{"mixed", []string{"a1", "b1", "b2", "a2", "c1", "b3", "c2"}, []string{"a1", "b1", "c1", "a2", "b2", "c2", "b3"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLimiter(t, Options{QPS: 5})
				defer l.Close()
				queues := map[byte]taker{'z': l, 'a': l.Queue(), 'b': l.Queue(), 'c': l.Queue()}
				// The first slot is another's, so that all have to wait.
				order(t, queues, []string{"z"}, func(string) string { return "" })
				got := order(t, queues, tt.calls, func(string) string { return "" })
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("order of service (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A waiter that leaves without a lane has not had the turn of its queue.
func TestCancelledHasNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Options{QPS: 5})
		defer l.Close()
		queues := map[byte]taker{'z': l, 'a': l.Queue(), 'b': l.Queue()}
		order(t, queues, []string{"z"}, func(string) string { return "" })
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, _, err := queues['a'].Take(ctx, ""); err == nil {
			t.Error("got a lane before the slot")
		}
		got := order(t, queues, []string{"a1", "b1"}, func(string) string { return "" })
		if diff := cmp.Diff([]string{"a1", "b1"}, got); diff != "" {
			t.Errorf("order of service (-want +got):\n%s", diff)
		}
	})
}

// Calls to an API with a budget of its own keep their order among each other and
// hold up no others; when they have their own lane they are in the common line
// as if they had always been there.
func TestOrderWithOwnBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Options{QPS: 4, APIs: map[string]int{"list": 1}})
		defer l.Close()
		queues := map[byte]taker{'l': l, 'm': l}
		api := func(call string) string {
			if call[0] == 'l' {
				return "list"
			}
			return "marks"
		}
		// The second l has its own lane after 1002 ms, when m4 is first in the
		// common line and gets a lane too: either of them may be the next.
		got := order(t, queues, []string{"l1", "l2", "m1", "m2", "m3", "m4", "m5", "m6"}, api)
		at := slices.Index(got, "l2")
		if at != 4 && at != 5 {
			t.Fatalf("got order %v, want l2 next to m4", got)
		}
		want := []string{"l1", "m1", "m2", "m3", "m4", "m5", "m6"}
		if diff := cmp.Diff(want, slices.Delete(got, at, at+1)); diff != "" {
			t.Errorf("order of the others (-want +got):\n%s", diff)
		}
	})
}

// The wall holds for all queues together, whatever happens.
func TestWallHoldsForQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 40
		l := newLimiter(t, Options{QPS: n, APIs: map[string]int{"list": 1, "info": 7}})
		defer l.Close()
		chaos := func(api string) *world {
			return &world{
				path: 5 * time.Millisecond, jitter: 8 * time.Millisecond, service: 10 * time.Millisecond, uneven: 100 * time.Millisecond,
				lost: 0.01, stall: 0.01, refused: 0.002, stopAt: time.Second, stopFor: 2 * time.Second, api: api,
			}
		}
		worlds := []*world{chaos("marks"), chaos("unread"), chaos("list"), chaos("info"), chaos("list")}
		q := l.Queue()
		queues := []taker{l, l.Queue(), q, q, l.Queue()}
		d := virtual(n) / 5
		all := together(t, worlds, queues, []int{30, 4, 3, 20, 1}, []time.Duration{d, d, d, d, d})
		all.check(t, n)
		worlds[3].check(t, 7)
		sum(worlds[2], worlds[4]).check(t, 1)
		for i, w := range worlds {
			t.Logf("world %d: %d calls", i, len(w.sends))
			if len(w.sends) < int(0.3*d.Seconds()) {
				t.Errorf("world %d: got %d calls in %v", i, len(w.sends), d)
			}
		}
	})
}

// A waiter that has just been given the baton and leaves passes it on.
func TestLineAfterCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Options{QPS: 1})
		defer l.Close()
		if _, _, err := l.Take(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 5 {
			q := l.Queue()
			for range 5 {
				wg.Go(func() {
					if _, _, err := q.Take(ctx, ""); err == nil {
						t.Error("got a lane, and there is none")
					}
				})
			}
		}
		time.Sleep(100 * time.Millisecond)
		cancel()
		wg.Wait()
		empty(t, l)
	})
}

// empty fails the test if somebody is still in a line.
func empty(t *testing.T, l *Limiter) {
	t.Helper()
	for _, b := range l.some("") {
		b.line.mu.Lock()
		if b.line.holder != nil || len(b.line.places) > 0 {
			t.Errorf("line of %q: got holder %v and %d places, want nobody", b.api, b.line.holder, len(b.line.places))
		}
		b.line.mu.Unlock()
	}
}

package limiter

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// worstSecond is the most times inside any window (t-1s, t].
func worstSecond(times []time.Duration) (worst int) {
	times = slices.Sorted(slices.Values(times))
	first := 0
	for i, t := range times {
		for t-times[first] >= time.Second {
			first++
		}
		worst = max(worst, i-first+1)
	}
	return worst
}

// useOf is the share of n calls a second that was used after from. It measures
// over a multiple of n calls, since calls may come in waves of n.
func useOf(times []time.Duration, n int, from time.Duration) float64 {
	times = slices.Sorted(slices.Values(times))
	first, _ := slices.BinarySearch(times, from)
	waves := (len(times) - 1 - first) / n
	if waves < 1 {
		return 0
	}
	return float64(waves) / (times[first+waves*n] - times[first]).Seconds()
}

func TestWorstSecond(t *testing.T) {
	ms := func(n ...int) (all []time.Duration) {
		for _, m := range n {
			all = append(all, time.Duration(m)*time.Millisecond)
		}
		return all
	}
	tests := []struct {
		name  string
		times []time.Duration
		want  int
	}{
		{"none", nil, 0},
		{"one", ms(5), 1},
		{"a second apart", ms(0, 1000, 2000), 1},
		{"just less", ms(0, 999, 1999), 2},
		{"any order", ms(2500, 0, 2600, 1700), 3},
	}
	for _, tt := range tests {
		if got := worstSecond(tt.times); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

// A world is a server at the end of a path, and workers with an endless supply
// of calls. It lives in a bubble.
type world struct {
	path    time.Duration // each way, at least
	jitter  time.Duration // on the way there, at most
	service time.Duration // at the server, at least
	uneven  time.Duration // on top of service, at most

	lost, stall, refused float64       // shares of calls: no answer; worker late; frequency code
	stopAt, stopFor      time.Duration // the whole process stands still

	api   string        // "" for "api"
	way   string        // of its calls
	joins time.Duration // after the others
	dies  bool          // the limiter is closed before its time

	start           time.Time
	mu              sync.Mutex
	sends, arrivals []time.Duration
}

func upTo(d time.Duration) time.Duration { return time.Duration(rand.Float64() * float64(d)) }

// frozen waits while the process stands still.
func (w *world) frozen() {
	if at := time.Since(w.start); at >= w.stopAt && at < w.stopAt+w.stopFor {
		time.Sleep(w.stopAt + w.stopFor - at)
	}
}

// A taker is a Limiter or a Queue of one.
type taker interface {
	Take(ctx context.Context, api string) (done func(service time.Duration, answered bool), late func() bool, err error)
	SlowDown(api string)
}

// call is one call, from its lane to its answer. It asks late right before it leaves.
func (w *world) call(l taker, done func(time.Duration, bool), late func() bool) {
	if rand.Float64() < w.stall {
		time.Sleep(upTo(4 * time.Second))
	}
	w.frozen()
	if late() {
		done(0, false)
		return
	}
	sent := time.Now()
	there := w.path + upTo(w.jitter)
	w.mu.Lock()
	w.sends = append(w.sends, sent.Sub(w.start))
	w.arrivals = append(w.arrivals, sent.Sub(w.start)+there)
	w.mu.Unlock()
	if rand.Float64() < w.lost {
		time.Sleep(max(there, upTo(3*time.Second)))
		w.frozen()
		done(0, false)
		return
	}
	time.Sleep(there + w.service + upTo(w.uneven) + w.path)
	w.frozen()
	if rand.Float64() < w.refused {
		l.SlowDown(cmp.Or(w.api, "api"))
	}
	done(time.Since(sent), true)
}

// run lets the workers call for d.
func (w *world) run(t *testing.T, l taker, workers int, d time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	w.start = time.Now()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				done, late, err := l.Take(ctx, cmp.Or(w.api, "api"))
				if err != nil {
					if !errors.Is(err, context.DeadlineExceeded) && !(w.dies && errors.Is(err, ErrClosed)) {
						t.Errorf("got %v, want the deadline", err)
					}
					return
				}
				w.call(l, done, late)
			}
		})
	}
	wg.Wait()
}

// check fails the test if more than n calls left or arrived within a second.
func (w *world) check(t *testing.T, n int) {
	t.Helper()
	sends, arrivals := worstSecond(w.sends), worstSecond(w.arrivals)
	if sends > n || arrivals > n {
		t.Errorf("got %d sends and %d arrivals in one second, want at most %d", sends, arrivals, n)
	}
	t.Logf("%d calls, in one second at most %d sends and %d arrivals", len(w.sends), sends, arrivals)
}

package limiter

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// newcomer joins a fleet at a time, sends for d, and ends.
func (f *fleet) newcomer(t *testing.T, d time.Duration) {
	h := newHost(t, f.book, 100+len(f.hosts), f.n)
	h.world.run(t, h.lim, 64, d)
	h.lim.Close()
	f.hosts = append(f.hosts, h)
}

// To a host that has just come, all others look dead if the registry's clock has
// jumped before: it must not take their lanes.
func TestNewcomerAfterClockJump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, 200)
		f.run(t, 30*time.Second, func() {
			time.Sleep(10*time.Second + 100*time.Millisecond)
			f.book.change(func() { f.book.skew = 10 * time.Second })
			f.newcomer(t, 10*time.Second)
		})
		f.check(t, 4*time.Second, 30*time.Second)
	})
}

// A clock that goes back after the registry was started again keeps nobody out.
func TestNewcomerAfterClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, 200)
		f.run(t, 60*time.Second, func() {
			for _, change := range []func(){func() { f.book.server = "two" }, func() { f.book.skew = -time.Hour }} {
				time.Sleep(5 * time.Second)
				f.book.change(change)
			}
			f.newcomer(t, 40*time.Second)
		})
		f.check(t, 4*time.Second, 60*time.Second)
		if got := len(f.hosts[1].world.sends); got < 2500 {
			t.Errorf("got %d calls of the newcomer in 40 s, want about 100 a second", got)
		}
	})
}

// Hosts that know of different numbers of lanes have their parts, whoever came first.
func TestFleetOfSizes(t *testing.T) {
	t.Parallel() // its time is that of a bubble
	tests := []struct{ limits, want []int }{
		{[]int{200, 66}, []int{134, 66}},
		{[]int{66, 200}, []int{66, 134}},
		{[]int{200, 66, 66}, []int{134, 33, 33}},
		{[]int{200, 120, 40}, []int{80, 80, 40}},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.limits), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fleet{book: newBook(), n: 200, start: time.Now()}
				var all sync.WaitGroup
				for i, n := range tt.limits {
					h := newHost(t, f.book, i, n)
					f.hosts = append(f.hosts, h)
					all.Go(func() {
						time.Sleep(time.Duration(i) * 5 * time.Second)
						h.world.run(t, h.lim, 64, 60*time.Second)
						h.lim.Close()
					})
				}
				all.Wait()
				const from, to = 30 * time.Second, 58 * time.Second
				f.check(t, from, to)
				for i, want := range tt.want {
					one := &fleet{hosts: f.hosts[i : i+1], start: f.start}
					got, _ := one.calls(from, to)
					if each := float64(got) / (to - from).Seconds(); each < 0.95*float64(want) || each > 1.02*float64(want) {
						t.Errorf("host %d: got %.1f calls a second, want about %d", i, each, want)
					}
				}
			})
		})
	}
}

// asAnother is lanes in memory as another process sees them.
type asAnother struct {
	*memoryLanes
	self uint32
}

func (m asAnother) Update(n int, f func(*Table)) error {
	return m.memoryLanes.Update(n, func(t *Table) {
		t.self = m.self
		f(t)
	})
}

// neighbours lets processes of one host send side by side, a world and a number
// of workers each, and returns all arrivals.
func neighbours(t *testing.T, d time.Duration, worlds []*world, workers []int) (all []time.Duration) {
	start := time.Now()
	shared := newMemory(lease{})
	var running sync.WaitGroup
	for i, w := range worlds {
		l := newLimiter(t, Options{QPS: 200, Way: w.way, Lanes: func(string) (Lanes, error) { return asAnother{shared, uint32(i + 1)}, nil }})
		running.Go(func() {
			time.Sleep(w.joins)
			w.run(t, l, workers[i], d-w.joins)
		})
	}
	running.Wait()
	for _, w := range worlds {
		for _, at := range w.arrivals {
			all = append(all, at+w.start.Sub(start))
		}
	}
	return all
}

// What a process with a long way to the server leaves is not at once for one with
// a short way.
func TestWaysOfDifferentLength(t *testing.T) {
	t.Parallel() // its time is that of a bubble
	for _, far := range []time.Duration{2, 10, 50, 300} {
		for _, joins := range [][2]time.Duration{{0, 0}, {0, 5 * time.Second}, {5 * time.Second, 0}} {
			synctest.Test(t, func(t *testing.T) {
				worlds := []*world{
					{way: "proxy", joins: joins[0], path: far * time.Millisecond, jitter: time.Millisecond, service: 5 * time.Millisecond},
					{joins: joins[1], path: time.Millisecond, jitter: time.Millisecond, service: 5 * time.Millisecond},
				}
				all := neighbours(t, 20*time.Second, worlds, []int{128, 64})
				if worst := worstSecond(all); worst > 200 {
					t.Errorf("%d ms and 1 ms: got %d arrivals in one second, want at most 200", far, worst)
				}
				equalAtTheEnd(t, worlds, 20*time.Second, 0.6) // a call of the long way keeps its lane for longer
			})
		}
	}
}

// equalAtTheEnd fails the test if one world had less than this part of the calls of
// another in the last ten seconds.
func equalAtTheEnd(t *testing.T, worlds []*world, d time.Duration, part float64) {
	t.Helper()
	var calls []int
	for _, w := range worlds {
		calls = append(calls, w.in(d-10*time.Second-w.joins, d-w.joins))
	}
	if float64(slices.Min(calls)) < part*float64(slices.Max(calls)) {
		t.Errorf("got %v calls at the end, want equal ones", calls)
	}
}

// A process that comes when another uses the whole budget has its share soon,
// however long their calls take, although it knows nothing of that yet.
func TestLateNeighbour(t *testing.T) {
	t.Parallel() // its time is that of a bubble
	for _, service := range [][2]time.Duration{{5, 5}, {20, 20}, {300, 300}, {300, 20}, {20, 300}} {
		synctest.Test(t, func(t *testing.T) {
			worlds := []*world{
				{path: time.Millisecond, service: service[0] * time.Millisecond},
				{path: time.Millisecond, service: service[1] * time.Millisecond, joins: 10 * time.Second},
			}
			all := neighbours(t, 22*time.Second, worlds, []int{128, 128})
			if worst := worstSecond(all); worst > 200 {
				t.Errorf("%d ms: got %d arrivals in one second, want at most 200", service, worst)
			}
			equalAtTheEnd(t, worlds, 22*time.Second, 0.95)
		})
	}
}

// A process that sends little takes little from one that sends much.
func TestLightNeighbours(t *testing.T) {
	for _, light := range []int{1, 3, 7} {
		synctest.Test(t, func(t *testing.T) {
			worlds := []*world{{path: time.Millisecond, service: 20 * time.Millisecond}}
			workers := []int{64}
			for range light {
				worlds = append(worlds, &world{path: time.Millisecond, service: time.Second})
				workers = append(workers, 1)
			}
			all := neighbours(t, 30*time.Second, worlds, workers)
			slices.Sort(all)
			if use := useOf(all, 200, 4*time.Second); use < 0.94 || worstSecond(all) > 200 {
				t.Errorf("%d light ones: got use %.4f, at most %d in one second, want at least 0.94, at most 200", light, use, worstSecond(all))
			}
		})
	}
}

// fault lets one thing happen that can happen. A registry that forgets is in
// [TestFleetEvents]: it may forget only what a replica can lag behind.
func (f *fleet) fault(t *testing.T) {
	b, h := f.book, f.hosts[rand.IntN(len(f.hosts))]
	what := []string{"cut", "hang", "deaf", "", "", "clock", "server"}[rand.IntN(7)]
	t.Logf("%v: %q", time.Since(f.start).Round(time.Millisecond), what)
	switch what {
	case "clock":
		b.change(func() { b.skew += upTo(20*time.Second) - 10*time.Second })
	case "server":
		b.change(func() { b.server += "'" })
	default:
		h.desk.set(what)
	}
}

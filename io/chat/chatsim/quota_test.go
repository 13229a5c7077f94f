package chatsim

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// served sends n calls at once and says how many were not refused.
func served(t *testing.T, c *caller, n, refusal int) (ok int) {
	t.Helper()
	for range n {
		switch r := c.set("class", 1000, "s1"); r.code() {
		case 0:
			ok++
		case refusal:
		default:
			t.Fatalf("got code %d", r.code())
		}
	}
	return ok
}

// A step sends calls at a moment and expects so many of them to be served.
type step struct {
	at         time.Duration
	calls, own int
}

func TestQuota(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name    string
		sc      Scenario
		refusal int
		steps   []step
	}{
		{"the default is 200 in any second", Scenario{}, 60007, []step{{0, 300, 200}, {999 * ms, 10, 0}, {1000 * ms, 300, 200}}},
		{"sliding", Scenario{QPS: 10}, 60007, []step{{900 * ms, 10, 10}, {1100 * ms, 10, 0}, {1899 * ms, 1, 0}, {1900 * ms, 11, 10}}},
		{"sliding, bit by bit", Scenario{QPS: 10}, 60007, []step{{0, 4, 4}, {500 * ms, 8, 6}, {1000 * ms, 8, 4}, {1500 * ms, 8, 6}}},
		{"fixed lets twice as many over a boundary", Scenario{QPS: 10, Window: "fixed"}, 60007, []step{{900 * ms, 12, 10}, {1100 * ms, 12, 10}, {1999 * ms, 1, 0}, {2000 * ms, 1, 1}}},
		{"rejected calls do not count", Scenario{QPS: 10}, 60007, []step{{0, 10, 10}, {500 * ms, 10, 0}, {1000 * ms, 10, 10}}},
		{"rejected calls count", Scenario{QPS: 10, CountRejected: true}, 60007, []step{{0, 10, 10}, {500 * ms, 10, 0}, {1000 * ms, 10, 0}, {2000 * ms, 10, 10}}},
		{"no quota", Scenario{QPS: -1}, 60007, []step{{0, 5000, 5000}}},
		{"another code", Scenario{QPS: 1, OverQuotaCode: 60018}, 60018, []step{{0, 2, 1}}},
		{"of the app", Scenario{QPS: -1, AppQPS: 5}, 60011, []step{{0, 10, 5}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCaller(t, newSim(t, class(tt.sc)))
				start := time.Now() // a whole second in a bubble
				for _, step := range tt.steps {
					time.Sleep(time.Until(start.Add(step.at)))
					if got := served(t, c, step.calls, tt.refusal); got != step.own {
						t.Errorf("at %v: %d of %d calls were served, want %d", step.at, got, step.calls, step.own)
					}
				}
			})
		})
	}
}

func TestQuotaScope(t *testing.T) {
	for scope, want := range map[string]int{"app": 60007, "api": 0} {
		synctest.Test(t, func(t *testing.T) {
			c := newCaller(t, newSim(t, class(Scenario{QPS: 3, QPSScope: scope})))
			if got := served(t, c, 5, 60007); got != 3 {
				t.Errorf("scope %s: %d served, want 3", scope, got)
			}
			wantCode(t, c.members("class", 0, 0), want)
		})
	}
}

// A call that is refused has no effect and no fault, and calls that are not
// the API's do not use the quota up.
func TestOverQuotaHasNoEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, class(Scenario{QPS: 1, Faults: []Fault{{Kind: KindReset, After: 1, Count: 1}}}))
		c := newCaller(t, s)
		wantCode(t, c.with("sdkappid", "").set("class", 1000, "s9"), 60012)
		wantCode(t, c.set("class", 1000, "s1"), 0)
		wantCode(t, c.set("class", 1000, "s2"), 60007)
		wantMarks(t, s, map[string][]uint64{"s1": {1000}})
		time.Sleep(time.Second)
		if r := c.set("class", 1000, "s2"); r.err == nil {
			t.Error("the fault of the second call was lost on one that was refused")
		}
	})
}

// The sliding window admits exactly what the definition says, and peak finds
// what MaxInWindow finds.
func TestWindowsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gaps := rapid.SliceOf(rapid.SampledFrom([]int{0, 0, 1, 10, 100, 250, 500, 999, 1000, 1001})).Draw(t, "gaps")
		quota := rapid.IntRange(1, 5).Draw(t, "quota")
		start := time.Unix(1_700_000_000, 0)
		w := newWindow(quota, &Scenario{}, start)
		var p peak
		var at time.Duration
		var all, served []time.Time
		for _, gap := range gaps {
			at += time.Duration(gap) * time.Millisecond
			now := start.Add(at)
			inside := 0
			for _, s := range served {
				if s.After(now.Add(-time.Second)) {
					inside++
				}
			}
			if got, want := w.admit(at), inside < quota; got != want {
				t.Fatalf("at %v with %d inside: admitted %v, want %v", at, inside, got, want)
			}
			if inside < quota {
				served = append(served, now)
			}
			all = append(all, now)
			p.add(at)
		}
		if got := MaxInWindow(served, time.Second); got > quota {
			t.Fatalf("%d calls in a second, want at most %d", got, quota)
		}
		slices.Reverse(all)
		if got := MaxInWindow(all, time.Second); got != p.most {
			t.Fatalf("got %d by MaxInWindow, %d by peak", got, p.most)
		}
	})
}

func TestMaxInWindow(t *testing.T) {
	at := func(ms ...int) (times []time.Time) {
		for _, m := range ms {
			times = append(times, time.UnixMilli(int64(m)))
		}
		return times
	}
	tests := []struct {
		name  string
		times []time.Time
		d     time.Duration
		want  int
	}{
		{"none", nil, time.Second, 0},
		{"one", at(5), time.Second, 1},
		{"half-open", at(0, 1000), time.Second, 1},
		{"inside", at(0, 999), time.Second, 2},
		{"at once", at(3, 3, 3), time.Second, 3},
		{"unsorted", at(2500, 0, 1200, 900, 1800, 300), time.Second, 3},
		{"a second that is no whole one", at(0, 600, 700, 1500, 1550, 1700), time.Second, 4},
		{"another length", at(0, 10, 20, 29), 20 * time.Millisecond, 3},
		{"no length", at(0, 0), 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := slices.Clone(tt.times)
			if got := MaxInWindow(tt.times, tt.d); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
			if !slices.Equal(before, tt.times) {
				t.Error("the times were sorted in place")
			}
		})
	}
}

// More calls than the ring of a peak has room for, when it is not at its
// beginning.
func TestPeakGrows(t *testing.T) {
	var p peak
	var all []time.Time
	at := time.Duration(0)
	for i := range 2000 {
		at += []time.Duration{30 * time.Millisecond, 1, 7 * time.Millisecond}[i/700]
		p.add(at)
		all = append(all, time.Unix(0, 0).Add(at))
	}
	if got := MaxInWindow(all, time.Second); p.most != got || p.n > got {
		t.Errorf("got %d, now %d, want %d", p.most, p.n, got)
	}
}

//go:build linux

package chaos

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestFleetBudget holds hosts to one budget, the default one, as the server counts it: in
// no second more calls than that; a share for each host; and the books of a run without
// faults. How much of the budget is used depends on what else the machine does, so it is
// only said. With -full it is a measurement:
//
//	go test ./cmd/chatbatch/chaos -run TestFleetBudget -full -v
func TestFleetBudget(t *testing.T) {
	const budget = 200
	for name, hosts := range some(map[string]int{"1 host": 1, "2 hosts": 2, "4 hosts": 4}, "4 hosts") {
		t.Run(name, func(t *testing.T) {
			if !*full {
				t.Parallel()
			}
			f := newFleet(t, budget, aCallEach, times(1000, 6000))
			f.slow = 30 * time.Millisecond
			for range hosts {
				f.host("--workers", "64")
			}
			began := time.Now()
			e := f.begun(1).end()
			took := time.Since(began)
			e.want(t, exitOK)
			lost := f.check([]summary{f.summary(e)})
			if n := f.api.busiest(); n > budget {
				t.Errorf("%d calls in one second, %d are allowed", n, budget)
			}
			for _, h := range f.hosts {
				if f.shares()[h.name] == 0 {
					t.Errorf("no call came from %s", h.name)
				}
			}
			use := f.api.use()
			t.Logf("%s: %.1f calls a second while all are at work, %.1f %% of %d; %.1f over all; at most %d in any second; by host: %v",
				name, use, use*100/budget, budget, float64(f.api.count())/took.Seconds(), f.api.busiest(), f.shares())
			tried.add("fleet: one budget of "+name, 1, lost)
		})
	}
}

// aCallEach is a roster each row of which is a call.
func aCallEach(p *place, size int) *deed {
	var rows []row
	for i := range size {
		group, account := fmt.Sprintf("@TGS#%d", i%20), fmt.Sprintf("student %d", i)
		p.api.join(group, account)
		rows = append(rows, row{fmt.Sprintf("同学 %d,%s,%s,1000", i, group, account), ""})
	}
	return &deed{
		place: p, jobs: 1, code: exitOK,
		args:  []string{"marks", "set", p.roster("class.csv", classHeader, rows), "--chunk-size", "1"},
		check: func(runs []summary) int { return p.marksLost(runs[0], rows) + p.wrongMarks(rows) },
	}
}

// use is how many calls a second have come, without the first two seconds and the last two.
func (s *server) use() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortFunc(s.arrivals, time.Time.Compare)
	first, last := s.arrivals[0].Add(2*time.Second), s.arrivals[len(s.arrivals)-1].Add(-2*time.Second)
	n := 0
	for _, at := range s.arrivals {
		if at.After(first) && !at.After(last) {
			n++
		}
	}
	return float64(n) / last.Sub(first).Seconds()
}

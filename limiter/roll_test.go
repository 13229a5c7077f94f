package limiter

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func lanesOf(t testing.TB, text string) (s laneSet) {
	t.Helper()
	if err := s.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s laneSet) String() string {
	text, _ := s.MarshalText()
	return string(text)
}

func TestLaneSet(t *testing.T) {
	for _, text := range []string{"", "0", "0-199", "0-9,11,13-14", "4999"} {
		if got := lanesOf(t, text).String(); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	for _, text := range []string{"-", "1-", "2-1", "a", "1,,2", "-1", "0-4294967295", "1,", " 1", "100000"} {
		var s laneSet
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: got %v, want an error", text, s)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, n := range []int{1, 2, 52, 53, 54, 200, 5000, 100000} {
		seen := make([]bool, n)
		low := 0
		count := 0
		for lane := range spread(n) {
			if seen[lane] {
				t.Fatalf("%d: lane %d twice", n, lane)
			}
			seen[lane] = true
			if count++; count <= n/2 && lane < n/2 {
				low++
			}
		}
		if count != n {
			t.Errorf("%d: got %d lanes", n, count)
		}
		if n >= 200 && (low < n/5 || low > n*3/10) {
			t.Errorf("%d: got %d small numbers in the first half, want about %d", n, low, n/4)
		}
	}
}

func FuzzLaneSet(f *testing.F) {
	f.Add("0-99,150")
	f.Fuzz(func(t *testing.T, text string) {
		var s, again laneSet
		if s.UnmarshalText([]byte(text)) != nil {
			return
		}
		out, err := s.MarshalText()
		if err == nil {
			err = again.UnmarshalText(out)
		}
		if diff := cmp.Diff(slices.Collect(s.all()), slices.Collect(again.all())); err != nil || diff != "" {
			t.Errorf("%q as %q: %v\n%s", text, out, err, diff)
		}
	})
}

func TestEntitlements(t *testing.T) {
	tests := []struct {
		name  string
		lanes int
		wants []int
		want  []int // of the hosts in order
	}{
		{"one alone has all", 200, []int{200}, []int{200}},
		{"equal ones", 200, []int{200, 200, 200, 200}, []int{50, 50, 50, 50}},
		{"who wants less has that", 200, []int{10, 200, 200}, []int{10, 95, 95}},
		{"there is enough", 200, []int{10, 20, 30}, []int{10, 20, 30}},
		{"idle ones have none", 200, []int{0, 200, 0}, []int{0, 200, 0}},
		{"a division leaves some over", 200, []int{200, 200, 200}, []int{66, 67, 67}},
		{"more hosts than lanes take turns", 2, []int{2, 2, 2}, []int{1, 1, 0}},
		{"nobody", 200, nil, nil},
	}
	for _, tt := range tests {
		r := &roll{Lanes: tt.lanes, Hosts: map[string]tenant{}}
		var ids []string
		for i, n := range tt.wants {
			ids = append(ids, fmt.Sprint(i))
			r.Hosts[ids[i]] = tenant{Limit: tt.lanes, pulse: pulse{Wants: n}}
		}
		got := r.entitlements(0)
		for i, id := range ids {
			if got[id] != tt.want[i] {
				t.Errorf("%s: host %d: got %d lanes, want %d", tt.name, i, got[id], tt.want[i])
			}
		}
	}
}

// Hosts that know of fewer lanes share these, and the others have the rest.
func TestEntitlementsOfSizes(t *testing.T) {
	tests := []struct{ limits, want []int }{
		{[]int{200, 66}, []int{134, 66}},
		{[]int{200, 66, 66}, []int{134, 33, 33}},
		{[]int{200, 120, 40}, []int{80, 80, 40}},
		{[]int{200, 10, 10, 20}, []int{180, 5, 5, 10}},
		{[]int{50, 50, 1, 1, 1}, []int{24, 25, 1, 0, 0}},
	}
	for _, tt := range tests {
		r := &roll{Hosts: map[string]tenant{}}
		for i, n := range tt.limits {
			r.Hosts[fmt.Sprint(i)] = tenant{Limit: n, pulse: pulse{Wants: n}}
			r.Lanes = max(r.Lanes, n)
		}
		var got []int
		for i := range tt.limits {
			got = append(got, r.entitlements(0)[fmt.Sprint(i)])
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tt.limits, diff)
		}
	}
}

// All have had the same after all turns, whoever they are.
func TestTurns(t *testing.T) {
	for _, tt := range []struct{ hosts, lanes int }{{3, 1}, {3, 2}, {7, 3}, {8, 10}, {5, 99}} {
		r := &roll{Lanes: tt.lanes, Hosts: map[string]tenant{}}
		for i := range tt.hosts {
			r.Hosts[fmt.Sprint(i)] = tenant{Limit: tt.lanes, pulse: pulse{Wants: tt.lanes}}
		}
		had := map[string]int{}
		for turn := range 3 * tt.hosts {
			for id, n := range r.entitlements(int64(turn) * turnsOf.Microseconds()) {
				had[id] += n
			}
		}
		all := slices.Sorted(maps.Values(had))
		if len(all) != tt.hosts || all[0] != all[tt.hosts-1] {
			t.Errorf("%d hosts, %d lanes: got %v after all turns, want equal", tt.hosts, tt.lanes, had)
		}
	}
}

// A rollModel holds a roll against what each host may be doing.
type rollModel struct {
	roll  roll
	rev   int64
	now   time.Time
	using map[string]laneSet   // by host: ours or leaving there, until its lease ends
	ends  map[string]time.Time // of its lease, as the host counts it
}

// check fails the test if two hosts may be using a lane.
func (m *rollModel) check(t *rapid.T) {
	owner := map[int]string{}
	for id, h := range m.roll.Hosts {
		for lane := range h.Lanes.all() {
			if other, taken := owner[lane]; taken {
				t.Fatalf("lane %d is of %s and %s", lane, id, other)
			}
			owner[lane] = id
			if m.roll.Free.has(lane) {
				t.Fatalf("lane %d of %s is free", lane, id)
			}
			if lane >= h.Limit {
				t.Fatalf("lane %d of %s, which can use %d", lane, id, h.Limit)
			}
		}
	}
	for id, lanes := range m.using {
		for lane := range lanes.all() {
			if other := owner[lane]; other != id && m.now.Before(m.ends[id]) {
				t.Fatalf("lane %d is used by %s until %v and is of %q", lane, id, m.ends[id].Sub(m.now), other)
			}
		}
	}
}

// ask lets a host do what it does every two seconds.
func (m *rollModel) ask(t *rapid.T, a ask) {
	began := m.now
	m.now = m.now.Add(time.Duration(rapid.IntRange(0, 900).Draw(t, "ms to the registry")) * time.Millisecond)
	m.beat(a)
	rec := record{rev: m.rev, roll: m.roll, now: m.now, server: "one"}
	g, changed := rec.roll.enter(rec, a)
	if changed {
		m.roll, m.rev = rec.roll, m.rev+1
	}
	for lane := range g.fresh.all() {
		if g.rested.has(lane) {
			t.Fatalf("lane %d is both rested and not", lane)
		}
	}
	m.now = m.now.Add(time.Duration(rapid.IntRange(0, 900).Draw(t, "ms back")) * time.Millisecond)
	m.using[a.host], m.ends[a.host] = copyLanes(m.roll.Hosts[a.host].Lanes), began.Add(leaseAtHost)
}

// beat is what the registry does before it is asked.
func (m *rollModel) beat(a ask) {
	if h, known := m.roll.Hosts[a.host]; known {
		h.Until, h.pulse = m.now.Add(leaseInTable).UnixMicro(), a.pulse
		m.roll.Hosts[a.host] = h
	}
}

func copyLanes(s laneSet) laneSet { return laneSet{slices.Clone(s.in)} }

func TestRollNeverSharesALane(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &rollModel{now: time.Unix(1e9, 0), using: map[string]laneSet{}, ends: map[string]time.Time{}}
		lanes := rapid.IntRange(1, 30).Draw(t, "lanes")
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			host := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "host")
			a := ask{host: host, limit: lanes, pulse: pulse{Wants: rapid.IntRange(0, lanes).Draw(t, "wants")}}
			a.late = !m.ends[host].IsZero() && m.now.After(m.ends[host])
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				m.now = m.now.Add(time.Duration(rapid.IntRange(0, 9000).Draw(t, "ms nobody asks")) * time.Millisecond)
			case 1: // it ends
				rested := m.using[host]
				m.using[host] = laneSet{}
				m.roll.leave(host, rested)
				m.rev++
			case 2: // a smaller budget
				a.limit = rapid.IntRange(1, lanes).Draw(t, "limit")
				a.Wants = min(a.Wants, a.limit)
				m.ask(t, a)
			case 3, 4: // it hands some back, which it has ceased to use
				for lane := range m.using[host].all() {
					if rapid.Bool().Draw(t, "gives") {
						a.give.add(lane)
					}
				}
				in := m.using[host]
				for lane := range a.give.all() {
					in.remove(lane)
				}
				m.using[host] = in
				m.ask(t, a)
			default:
				m.ask(t, a)
			}
			m.check(t)
		}
	})
}

// However a fleet has come to its lanes, when all want all, all have the same
// after a few rounds.
func TestRollSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lanes := rapid.IntRange(1, 60).Draw(t, "lanes")
		hosts := rapid.IntRange(1, 6).Draw(t, "hosts")
		r := roll{Hosts: map[string]tenant{}}
		now := time.Unix(1e9+1, 0) // early in a turn
		for lane := range lanes {
			owner := rapid.IntRange(-2, hosts-1).Draw(t, "owner")
			switch owner {
			case -2:
			case -1:
				r.Free.add(lane)
			default:
				h := r.Hosts[fmt.Sprint(owner)]
				h.Limit, h.Until = lanes, now.Add(time.Minute).UnixMicro()
				h.Lanes.add(lane)
				r.Hosts[fmt.Sprint(owner)] = h
			}
		}
		surplus := map[string]int{}
		for range 4 {
			for i := range hosts {
				a := ask{host: fmt.Sprint(i), limit: lanes, pulse: pulse{Wants: lanes}}
				for lane := range r.Hosts[a.host].Lanes.all() {
					if surplus[a.host] > 0 {
						a.give.add(lane)
						surplus[a.host]--
					}
				}
				g, _ := r.enter(record{rev: 1, roll: r, now: now, server: ""}, a)
				surplus[a.host] = g.surplus
			}
		}
		entitled := r.entitlements(now.UnixMicro())
		for id, h := range r.Hosts {
			if got := h.Lanes.count(); got != entitled[id] {
				t.Fatalf("host %s: got %d lanes, want %d of %d", id, got, entitled[id], lanes)
			}
		}
	})
}

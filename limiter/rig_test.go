package limiter

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// A rig is one server that counts, and the senders that call it. Simulated
// hosts are senders with a directory of their own: what they share, they share
// by the database.
type rig struct {
	testing.TB
	clock   wallClock
	server  *process
	url     string
	senders []*member
}

type member struct {
	*process
	sender
	goes bool // it has had an answer
	gone bool // killed: it can say nothing
	left bool // told to end before the others
}

func newRig(tb testing.TB, r route) *rig {
	tb.Helper()
	f := &rig{TB: tb, clock: newWallClock(), server: start(tb, "counter", r)}
	f.server.hear(tb, &f.url)
	return f
}

// join starts a sender. Its name is "a", "b" and so on if it has none.
func (f *rig) join(s sender) *member {
	f.Helper()
	if s.Name == "" {
		s.Name = string(rune('a' + len(f.senders)))
	}
	s.URL = f.url
	m := &member{process: start(f, "sender", s), sender: s}
	f.senders = append(f.senders, m)
	return m
}

// burn keeps all cores busy until the returned function is called.
func (f *rig) burn() (stop func()) {
	var all []*process
	for range runtime.NumCPU() {
		all = append(all, start(f, "burner", nil))
	}
	return func() {
		for _, p := range all {
			p.end(f)
			_ = p.Wait()
		}
	}
}

// kill ends a sender as a crash would.
func (f *rig) kill(m *member) {
	f.Helper()
	if err := m.Process.Kill(); err != nil {
		f.Error(err)
	}
	m.gone = true
}

// names are those of the senders that share the budget.
func (f *rig) names() (names []string) {
	for _, m := range f.senders {
		if !m.Free {
			names = append(names, m.Name)
		}
	}
	return names
}

// end ends all and returns what they saw.
func (f *rig) end() *seen {
	f.Helper()
	s := &seen{calls: map[string][]call{}}
	for _, m := range f.senders {
		if !m.gone && !m.left {
			m.end(f)
		}
	}
	for _, m := range f.senders {
		if !m.gone {
			f.hear(m, s)
		}
		s.cpu += m.used()
	}
	f.server.end(f)
	f.server.hear(f, &s.arrivals)
	_ = f.server.Wait()
	slices.SortFunc(s.arrivals, func(a, b arrival) int { return int(a.At - b.At) })
	return s
}

// ready waits until all senders have had an answer: on a busy machine it takes a
// while until a process runs.
func (f *rig) ready() {
	f.Helper()
	for _, m := range f.senders {
		f.goes(m)
	}
}

// goes waits until one sender has had an answer.
func (f *rig) goes(m *member) {
	f.Helper()
	if !m.goes {
		m.hear(f, &m.goes)
	}
}

// hear notes what a sender that was told to end says.
func (f *rig) hear(m *member, s *seen) {
	f.Helper()
	f.goes(m)
	var calls []call
	m.process.hear(f, &calls)
	s.calls[m.Name] = calls
}

// leave ends one sender before the others. It says what it has to say at the end.
func (f *rig) leave(m *member) {
	f.Helper()
	m.left = true
	m.end(f)
}

// waits are how long calls waited for leave, the shortest first, in those names,
// once warm.
func (s *seen) waits(names []string) (all []time.Duration) {
	for _, name := range names {
		for _, c := range s.calls[name] {
			if c.Wanted >= s.warm() && c.Wrote > 0 {
				all = append(all, c.Allowed-c.Wanted)
			}
		}
	}
	slices.Sort(all)
	return all
}

func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(p/100*float64(len(sorted)-1))]
}

// silence is the longest time between two arrivals behind from.
func (s *seen) silence(from time.Duration) (longest time.Duration) {
	times := s.times()
	first, _ := slices.BinarySearch(times, from)
	for i := max(first, 1); i < len(times); i++ {
		longest = max(longest, times[i]-max(times[i-1], from))
	}
	return longest
}

// after is how long behind from the first call arrived.
func (s *seen) after(from time.Duration) time.Duration {
	times := s.times()
	first, _ := slices.BinarySearch(times, from)
	if first == len(times) {
		return -1
	}
	return times[first] - from
}

// back is how long behind from at least part of n calls a second come from those
// names again, over two seconds: 0 if they never were fewer, -1 if they stayed
// fewer.
func (s *seen) back(from time.Duration, n int, part float64, names ...string) time.Duration {
	times := s.times(names...)
	if from == 0 || len(times) == 0 {
		return -1
	}
	const window = 2 * time.Second
	fewer := false
	for at := from; at+window <= times[len(times)-1]; at += 50 * time.Millisecond {
		first, _ := slices.BinarySearch(times, at)
		end, _ := slices.BinarySearch(times, at+window)
		enough := float64(end-first) >= part*float64(n)*window.Seconds()
		switch {
		case !enough:
			fewer = true
		case fewer:
			return at - from
		case at-from > leaseInTable+window:
			return 0 // what comes now has another reason
		}
	}
	if fewer {
		return -1
	}
	return 0
}

// log writes how many calls of each sender arrived in each second.
func (s *seen) log(tb testing.TB, names []string) {
	tb.Helper()
	if len(s.arrivals) == 0 {
		return
	}
	begin, end := s.arrivals[0].At, s.arrivals[len(s.arrivals)-1].At
	for _, name := range names {
		counts := make([]int, (end-begin)/time.Second+1)
		for _, at := range s.times(name) {
			counts[(at-begin)/time.Second]++
		}
		tb.Logf("%s: %v", name, counts)
	}
}

// keep writes down the worst second and what the senders know of its calls.
func (s *seen) keep(tb testing.TB) string {
	type known struct {
		arrival
		call
	}
	times := s.times()
	end := 0
	for i, t := range times {
		in := times[:i+1]
		at, _ := slices.BinarySearch(in, t-time.Second+1)
		best, _ := slices.BinarySearch(times[:end+1], times[end]-time.Second+1)
		if i-at > end-best {
			end = i
		}
	}
	var lines strings.Builder
	fmt.Fprintln(&lines, `{"note": "the worst second and two around it; times are since 1970, in ns"}`)
	for _, a := range s.arrivals {
		if a.At < times[end]-2500*time.Millisecond || a.At > times[end]+500*time.Millisecond {
			continue
		}
		k := known{arrival: a}
		if calls := s.calls[a.From]; a.Call < len(calls) {
			k.call = calls[a.Call]
		}
		b, _ := json.Marshal(k)
		fmt.Fprintf(&lines, "%s\n", b)
	}
	file, err := os.CreateTemp("", "limiter-worst-second-*.jsonl")
	if err != nil {
		tb.Error(err)
		return "nowhere"
	}
	defer file.Close()
	if _, err := file.WriteString(lines.String()); err != nil {
		tb.Error(err)
	}
	return file.Name()
}

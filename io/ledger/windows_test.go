package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// took is the latency of calls that took so long.
func took(times ...time.Duration) *Latency {
	l := &Latency{}
	for _, d := range times {
		l.Add(d)
	}
	return l
}

// A seen window is one as it can be compared.
type seenWindow struct {
	Unix    int64
	Seconds int
	Calls   int64
	Max     time.Duration
	Failed  map[string]int64
}

func windowsOf(t testing.TB, v *View) (list []seenWindow) {
	t.Helper()
	for w, err := range v.Latencies(t.Context()) {
		must(t, err)
		list = append(list, seenWindow{w.Unix, w.Seconds, w.Latency.Calls(), w.Latency.At(100), w.Failed})
	}
	for w, err := range v.Failing(t.Context()) {
		must(t, err)
		list = append(list, seenWindow{Unix: w.Unix, Failed: w.Failed})
	}
	return list
}

func windowsNow(t *testing.T, l *Ledger) []seenWindow {
	t.Helper()
	v, err := l.View(t.Context())
	must(t, err)
	defer v.Close()
	return windowsOf(t, v)
}

func TestWindowsOfARun(t *testing.T) { onBoth(t, testWindowsOfARun) }

func testWindowsOfARun(t *testing.T, create creating) {
	const at = 1_795_312_327
	const ms = 255 * time.Microsecond // it is told apart exactly
	for _, test := range []struct {
		name string
		add  [][]Window // one after the other
		want []seenWindow
	}{
		{name: "nothing", add: [][]Window{nil, {}, {{Unix: at, Seconds: 1}}, {{Unix: at, Seconds: 1, Latency: &Latency{}}}}},
		{
			name: "in order, whatever the order in which they come",
			add:  [][]Window{{{at + 2, 2, took(ms), nil}, {at, 1, took(ms, ms), nil}}, {{at + 1, 1, took(ms), nil}}},
			want: []seenWindow{{at, 1, 2, ms, nil}, {at + 1, 1, 1, ms, nil}, {at + 2, 2, 1, ms, nil}},
		},
		{
			name: "those of one second are both kept, and their rows added up",
			add:  [][]Window{{{at, 1, took(ms), map[string]int64{"a": 1, "b": 2}}}, {{at, 4, took(ms, ms), map[string]int64{"a": 5}}}},
			want: []seenWindow{{at, 1, 1, ms, nil}, {at, 4, 2, ms, nil}, {Unix: at, Failed: map[string]int64{"a": 6}}, {Unix: at, Failed: map[string]int64{"b": 2}}},
		},
		{
			name: "failures without an answer",
			add:  [][]Window{{{at, 1, nil, map[string]int64{"no_answer": 3}}}},
			want: []seenWindow{{Unix: at, Failed: map[string]int64{"no_answer": 3}}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, l := create(t, "r1")
			planSmall(t, l)
			for _, windows := range test.add {
				must(t, l.AddWindows(t.Context(), windows, nil))
			}
			diff(t, "windows", windowsNow(t, l), test.want)
		})
	}
}

// The latency of a run is that of all its sessions, also of one that was killed.
func TestLatencyOfAResumedRun(t *testing.T) { onBoth(t, testLatencyOfAResumedRun) }

func testLatencyOfAResumedRun(t *testing.T, create creating) {
	s, l := create(t, "r1")
	planSmall(t, l)
	ctx := t.Context()
	if sum := summaryOf(t, l); sum.Latency != nil {
		t.Errorf("of a run without calls: got %+v", sum.Latency)
	}
	must(t, l.Begin(ctx))
	must(t, l.AddWindows(ctx, nil, took(time.Millisecond)))
	must(t, l.AddWindows(ctx, nil, took(time.Millisecond, 2*time.Millisecond))) // so far, not besides
	must(t, l.Close())                                                          // and no End
	l, err := s.Open(ctx, "r1")
	must(t, err)
	defer l.Close()
	must(t, l.Begin(ctx))
	must(t, l.AddWindows(ctx, nil, took(100*time.Millisecond, 100*time.Millisecond)))
	must(t, l.End(ctx, Interrupted, Session{}))
	text, err := json.Marshal(summaryOf(t, l).Latency)
	must(t, err)
	if want := `{"p50":2.01,"p95":100.35,"p99":100.35,"max":100.35}`; string(text) != want {
		t.Errorf("got %s, want %s", text, want)
	}
}

func TestWindowsThatCannotBeKeptOrRead(t *testing.T) {
	s, l := create(t, "r1")
	if err := l.AddWindows(t.Context(), []Window{{Unix: 1}}, nil); !errors.Is(err, ErrNotQueued) {
		t.Errorf("of a run that is being planned: got %v, want ErrNotQueued", err)
	}
	planSmall(t, l)
	must(t, l.Begin(t.Context()))
	must(t, l.AddWindows(t.Context(), []Window{{1, 1, took(1), nil}, {2, 1, took(1), nil}}, took(1, 1)))
	v := viewOf(t, l)
	n := 0
	for range v.Latencies(t.Context()) {
		n++
		break
	}
	if n != 1 {
		t.Errorf("got %d windows after the first, want none", n-1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var last error
	for _, err := range v.Failing(ctx) {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", last)
	}
	v.Close()
	must(t, l.Close())
	// What the disk has spoilt is not believed.
	db, err := sql.Open("sqlite", l.Path())
	must(t, err)
	defer db.Close()
	for _, spoil := range []string{"UPDATE latency SET histogram = substr(histogram, 1, 40)", "UPDATE session SET latency = replace(latency, 'A', 'B')"} {
		_, err := db.Exec(spoil)
		must(t, err)
	}
	again, err := s.OpenRead(t.Context(), "r1")
	must(t, err)
	defer again.Close()
	v = viewOf(t, again)
	for _, err := range v.Latencies(t.Context()) {
		last = err
	}
	if !errors.Is(last, ErrDamaged) {
		t.Errorf("a window: got %v, want ErrDamaged", last)
	}
	if _, err := v.Summary(t.Context()); !errors.Is(err, ErrDamaged) {
		t.Errorf("a session: got %v, want ErrDamaged", err)
	}
}

// However calls are spread over windows and sessions, encoded and merged, in whatever
// order, it is as if one had been told of all of them.
func TestLatencyIsMergedExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfN(rapid.Int64Range(0, int64(15*time.Minute)), 1, 300).Draw(t, "times")
		parts := make([]Latency, rapid.IntRange(1, 9).Draw(t, "parts"))
		whole := &Latency{}
		for _, n := range times {
			whole.Add(time.Duration(n))
			parts[rapid.IntRange(0, len(parts)-1).Draw(t, "part")].Add(time.Duration(n))
		}
		rand.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		merged := &Latency{}
		for i := range parts {
			if parts[i].Calls() == 0 {
				continue
			}
			text, err := parts[i].encode()
			if err != nil {
				t.Fatal(err)
			}
			again, err := decodeLatency([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			merged.Merge(again)
		}
		if !merged.counts.Equals(whole.counts) || merged.Calls() != int64(len(times)) {
			t.Fatalf("got %d calls, %+v; want %d, %+v", merged.Calls(), merged.Quantiles(), whole.Calls(), whole.Quantiles())
		}
		// And what it says is near what it was told.
		slices.Sort(times)
		for _, percent := range []float64{50, 95, 99, 100} {
			rank := max(1, int(percent/100*float64(len(times))+0.5))
			if rank > len(times) {
				rank = len(times)
			}
			exact := min(max(times[rank-1], int64(leastTrip)), int64(longestTrip))
			got := int64(merged.At(percent))
			if got < exact-int64(leastTrip) || float64(got) > float64(exact)*1.008+float64(leastTrip) {
				t.Fatalf("%v %%: got %v, want %v", percent, time.Duration(got), time.Duration(exact))
			}
		}
	})
}

func TestLatencyWithin(t *testing.T) {
	l := took(time.Millisecond, 10*time.Millisecond, 10*time.Millisecond, time.Second, time.Hour)
	diff(t, "within", l.Within(500*time.Microsecond, 5*time.Millisecond, 20*time.Millisecond, 2*time.Second, 20*time.Minute), []int64{0, 1, 3, 4, 5})
	diff(t, "of none", (*Latency)(nil).Within(time.Second), []int64{0})
	if s := l.Sum(); s < 601*time.Second || s > 606*time.Second {
		t.Errorf("sum: got %v", s) // what is longer than 10 minutes counts as that
	}
	if c := l.Clone(); !c.counts.Equals(l.counts) || c.counts == l.counts {
		t.Error("a clone is not alike, or not its own")
	}
	if l.Reset(); l.Calls() != 0 || l.Quantiles() != nil || l.At(50) != 0 || l.Sum() != 0 {
		t.Errorf("after Reset: %d calls", l.Calls())
	}
}

func FuzzDecodeLatency(f *testing.F) {
	text, err := took(time.Millisecond, time.Second).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(text))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := decodeLatency(text)
		if (l == nil) != errors.Is(err, ErrDamaged) {
			t.Fatalf("got %v, %v", l, err)
		}
		if l != nil {
			(&Latency{}).Merge(l)
		}
	})
}

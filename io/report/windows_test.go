package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"chatbatch/io/ledger"
)

// calls is the latency of calls that took so many milliseconds.
func calls(ms ...int) *ledger.Latency {
	l := &ledger.Latency{}
	for _, n := range ms {
		l.Add(time.Duration(n) * time.Millisecond)
	}
	return l
}

// curveOf is the curve of a run that has these seconds and windows on record.
func curveOf(t *testing.T, seconds []ledger.Second, windows []ledger.Window) *drawn {
	t.Helper()
	l := planned(t, 1, 1)
	must(t, l.AddPace(t.Context(), seconds))
	must(t, l.AddWindows(t.Context(), windows, nil))
	v, err := l.View(t.Context())
	must(t, err)
	defer v.Close()
	var c curve
	for s, err := range v.Pace(t.Context()) {
		must(t, err)
		c.add(s)
	}
	d, err := c.drawnWith(t.Context(), v)
	must(t, err)
	return d
}

// points writes what may be missing.
func points(list []*float64) string {
	var words []string
	for _, v := range list {
		if v == nil {
			words = append(words, "-")
		} else {
			words = append(words, fmt.Sprint(*v))
		}
	}
	return strings.Join(words, " ")
}

func TestCurveOfWindows(t *testing.T) {
	d := curveOf(t, []ledger.Second{{Unix: 100, Calls: 1}, {Unix: 101, Calls: 3}, {Unix: 103, Calls: 1}}, []ledger.Window{
		{Unix: 100, Seconds: 1, Latency: calls(10), Failed: map[string]int64{"a": 1}},
		{Unix: 101, Seconds: 1, Latency: calls(20, 20), Failed: map[string]int64{"b": 7}},
		{Unix: 101, Seconds: 1, Latency: calls(200), Failed: map[string]int64{"a": 2}}, // of another session
		{Unix: 103, Seconds: 1, Latency: calls(40)},
		{Unix: 107, Seconds: 1, Failed: map[string]int64{"a": 1}}, // settled behind the last call
	})
	for _, of := range []struct{ name, got, want string }{
		{"half", points(d.Trips.P50), "10.1 20.1 - 40.2"},
		{"95 %", points(d.Trips.P95), "10.1 200.7 - 40.2"},
		{"99 %", points(d.Trips.P99), "10.1 200.7 - 40.2"},
	} {
		if of.got != of.want {
			t.Errorf("%s: got %s, want %s", of.name, of.got, of.want)
		}
	}
	if d := cmp.Diff([]failing{{"b", []int64{0, 7, 0, 0}}, {"a", []int64{1, 2, 0, 1}}}, d.Failing); d != "" {
		t.Errorf("failing: got + want -\n%s", d)
	}
	if d := curveOf(t, []ledger.Second{{Unix: 100, Calls: 1}}, nil); d.Trips != nil || d.Failing != nil {
		t.Errorf("of nothing: got %+v", d)
	}
	if d := curveOf(t, nil, []ledger.Window{{Unix: 100, Seconds: 1, Latency: calls(1)}}); d != nil {
		t.Errorf("without a pace: got %+v", d)
	}
}

// Of many classes the rarest are drawn as one, and none is lost.
func TestManyClassesAreDrawn(t *testing.T) {
	for classes, want := range map[int]string{8: "c7 c6 c5 c4 c3 c2 c1 c0", 9: "c8 c7 c6 c5 c4 c3 c2 others", 20: "c19 c18 c17 c16 c15 c14 c13 others"} {
		w := ledger.Window{Unix: 100, Seconds: 1, Failed: map[string]int64{}}
		all := int64(0)
		for i := range classes {
			w.Failed[fmt.Sprint("c", i)] = int64(i + 1)
			all += int64(i + 1)
		}
		var names []string
		for _, f := range curveOf(t, []ledger.Second{{Unix: 100, Calls: 1}}, []ledger.Window{w}).Failing {
			names = append(names, f.Class)
			all -= f.Rows[0]
		}
		if got := strings.Join(names, " "); got != want || all != 0 {
			t.Errorf("got %s, %d rows too few; want %s", got, all, want)
		}
	}
}

// However long a run was, and whatever its pauses: a second of it lies in the point
// that its calls are in, and what lies in none is drawn beside the nearest.
func TestPlaceOfASecond(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c curve
		steps := rapid.SliceOfN(rapid.OneOf(rapid.Int64Range(1, 5), rapid.Int64Range(500, 800), rapid.Int64Range(1, 100_000)), 1, 3000).Draw(t, "steps")
		unix := rapid.Int64Range(0, 1<<32).Draw(t, "start")
		seconds := []int64{unix}
		for _, s := range steps {
			unix += s
			seconds = append(seconds, unix)
		}
		for i, s := range seconds {
			c.add(ledger.Second{Unix: s, Calls: i + 1})
		}
		got := make([]int, len(c.list))
		before := 0
		for i, s := range seconds {
			at := c.place(s)
			if got[at] += i + 1; at < before {
				t.Fatalf("second %d is drawn in point %d, behind %d", s, at, before)
			}
			if between := c.place(s - 1); between < before || between > at {
				t.Fatalf("second %d is drawn in point %d, between %d and %d", s-1, between, before, at)
			}
			before = at
		}
		for i, p := range c.list {
			if p.calls != got[i] {
				t.Fatalf("point %d has %d calls, and %d of its seconds", i, p.calls, got[i])
			}
		}
	})
}

// The latency of a point is that of all its calls, however many windows it has: as
// if the curve had never been halved.
func TestLatencyOfAHalvedCurve(t *testing.T) {
	const width = 4
	var seconds []ledger.Second
	var windows []ledger.Window
	want := make([]ledger.Latency, maxPoints)
	all := &ledger.Latency{}
	for i := range int64(maxPoints * width) {
		seconds = append(seconds, ledger.Second{Unix: 1000 + i, Calls: 2})
		w := ledger.Window{Unix: 1000 + i, Seconds: 1, Latency: calls(int(i%97)+1, int(i*i%1009)+1)}
		want[i/width].Merge(w.Latency)
		all.Merge(w.Latency)
		windows = append(windows, w)
	}
	d := curveOf(t, seconds, windows)
	if d.Width != width || len(d.Trips.P50) != maxPoints {
		t.Fatalf("got %d points of %d s", len(d.Trips.P50), d.Width)
	}
	for i := range want {
		q := want[i].Quantiles()
		if *d.Trips.P50[i] != tenths(q.P50) || *d.Trips.P95[i] != tenths(q.P95) || *d.Trips.P99[i] != tenths(q.P99) {
			t.Fatalf("point %d: got %v %v %v, want %+v", i, *d.Trips.P50[i], *d.Trips.P95[i], *d.Trips.P99[i], q)
		}
	}
}

func TestTripText(t *testing.T) {
	for ms, want := range map[float64]string{0.024: "0.02 ms", 0.996: "1.0 ms", 1.26: "1.3 ms", 9.96: "10 ms", 31.4: "31 ms", 1234.5: "1,235 ms", 12_345: "12.3 s"} {
		if got := tripText(ms); got != want {
			t.Errorf("%v: got %q, want %q", ms, got, want)
		}
	}
}

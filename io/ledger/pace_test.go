package ledger

import (
	"context"
	"errors"
	"os"
	"testing"
)

func paceOf(t testing.TB, v *View) (list []Second) {
	t.Helper()
	for s, err := range v.Pace(t.Context()) {
		must(t, err)
		list = append(list, s)
	}
	return list
}

// paceNow is the pace as a reader of its own sees it.
func paceNow(t *testing.T, s store) []Second {
	t.Helper()
	l, err := s.OpenRead(t.Context(), "r1")
	must(t, err)
	defer l.Close()
	v, err := l.View(t.Context())
	must(t, err)
	defer v.Close()
	return paceOf(t, v)
}

func TestPace(t *testing.T) { onBoth(t, testPace) }

func testPace(t *testing.T, create creating) {
	const at = 1_795_312_327
	for _, test := range []struct {
		name string
		add  [][]Second // one after the other
		want []Second
	}{
		{name: "nothing", add: [][]Second{nil, {}}},
		{
			name: "in order, whatever the order in which they come",
			add:  [][]Second{{{at + 2, 5, 0, 0, 20, 20}, {at, 3, 1, 2, 18, 20}}, {{at + 1, 0, 0, 1, 17, 20}}},
			want: []Second{{at, 3, 1, 2, 18, 20}, {at + 1, 0, 0, 1, 17, 20}, {at + 2, 5, 0, 0, 20, 20}},
		},
		{
			name: "of the same second all is counted, and the lanes when most were missing",
			add:  [][]Second{{{at, 3, 1, 2, 18, 20}, {at, 4, 2, 1, 15, 20}}, {{at, 10, 0, 0, 12, 16}}},
			want: []Second{{at, 17, 3, 3, 15, 20}},
		},
		{
			name: "of hosts that have leased more and less lanes, none of which is missing",
			add:  [][]Second{{{at, 100, 0, 0, 179, 179}}, {{at, 20, 0, 0, 21, 21}}},
			want: []Second{{at, 120, 0, 0, 179, 179}},
		},
		{
			name: "lanes that are not known are not missing",
			add:  [][]Second{{{at, 3, 0, 0, 0, 0}, {at + 1, 3, 0, 0, 5, 20}}, {{at, 1, 0, 0, 18, 20}, {at + 1, 1, 0, 0, 0, 0}}},
			want: []Second{{at, 4, 0, 0, 18, 20}, {at + 1, 4, 0, 0, 5, 20}},
		},
		{
			name: "a year before 1970",
			add:  [][]Second{{{1, 1, 0, 0, 1, 1}, {-1, 1, 0, 0, 1, 1}}},
			want: []Second{{-1, 1, 0, 0, 1, 1}, {1, 1, 0, 0, 1, 1}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, l := create(t, "r1")
			planSmall(t, l)
			for _, seconds := range test.add {
				must(t, l.AddPace(t.Context(), seconds))
			}
			diff(t, "pace", paceNow(t, s), test.want)
		})
	}
}

// Another process resumes the run in the very second in which the last one ended.
func TestPaceOfAResumedRun(t *testing.T) { onBoth(t, testPaceOfAResumedRun) }

func testPaceOfAResumedRun(t *testing.T, create creating) {
	s, l := create(t, "r1")
	planSmall(t, l)
	ctx := t.Context()
	must(t, l.Begin(ctx))
	must(t, l.AddPace(ctx, []Second{{100, 7, 0, 0, 20, 20}, {101, 3, 1, 1, 18, 20}}))
	must(t, l.End(ctx, Interrupted, Session{Refused: 1}))
	must(t, l.Close())
	l, err := s.Open(ctx, "r1")
	must(t, err)
	defer l.Close()
	must(t, l.Begin(ctx))
	must(t, l.AddPace(ctx, []Second{{101, 4, 4, 2, 17, 20}, {102, 1, 0, 0, 20, 20}}))
	must(t, l.End(ctx, Interrupted, Session{Refused: 2}))
	diff(t, "pace", paceNow(t, s), []Second{{100, 7, 0, 0, 20, 20}, {101, 7, 5, 3, 17, 20}, {102, 1, 0, 0, 20, 20}})
	if sum := summaryOf(t, l); sum.Refused != 3 {
		t.Errorf("got %+v", sum)
	}
}

// What AddPace has returned for outlasts the process, and so does what Note was
// given a second ago.
func TestPaceOutlastsAKill(t *testing.T) {
	s, l := create(t, "r1")
	planSmall(t, l)
	ctx := t.Context()
	must(t, l.Begin(ctx))
	must(t, l.AddPace(ctx, []Second{{100, 7, 0, 0, 20, 20}}))
	dead := Store{t.TempDir()}
	must(t, os.CopyFS(dead.Path("r1"), os.DirFS(s.Path("r1")))) // as the disk has it, with nothing closed
	must(t, l.AddPace(ctx, []Second{{101, 7, 0, 0, 20, 20}}))
	must(t, os.Chmod(dead.Path("r1"), 0o700))
	again, err := dead.Open(ctx, "r1")
	must(t, err)
	must(t, again.Close())
	diff(t, "pace", paceNow(t, dead), []Second{{100, 7, 0, 0, 20, 20}})
}

func TestPaceThatCannotBeKept(t *testing.T) {
	_, l := create(t, "r1")
	if err := l.AddPace(t.Context(), []Second{{Unix: 1}}); !errors.Is(err, ErrNotQueued) {
		t.Errorf("of a run that is being planned: got %v, want ErrNotQueued", err)
	}
	planSmall(t, l)
	must(t, l.AddPace(t.Context(), []Second{{Unix: 1}, {Unix: 2}}))
	v, err := l.View(t.Context())
	must(t, err)
	defer v.Close()
	n := 0
	for range v.Pace(t.Context()) {
		n++
		break
	}
	if n != 1 {
		t.Errorf("got %d seconds after the first, want none", n-1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var last error
	for _, err := range v.Pace(ctx) {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", last)
	}
}

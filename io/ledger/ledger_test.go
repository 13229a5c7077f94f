package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("LEDGER_TEST_WRITER"); dir != "" {
		os.Exit(beWriter(dir))
	}
	if dir := os.Getenv("LEDGER_TEST_LOCKER"); dir != "" {
		os.Exit(beLocker(dir))
	}
	code := m.Run()
	cleanUp()
	os.Exit(code)
}

func meta(run string) Meta {
	return Meta{
		Run: run, Kind: "marks set", Endpoint: "https://console.tim.qq.com", SDKAppID: 1400000000, Identifier: "admin",
		Input: "class.csv", InputSHA256: "ab12", Options: map[string]string{"chunk-size": "500"},
		Format: "csv", Header: "group_id,account,marks", NewLine: "\n",
		Created: time.Date(2026, 11, 22, 1, 49, 12, 0, time.UTC), Version: "test",
	}
}

func create(t testing.TB, run string) (Store, *Ledger) {
	t.Helper()
	s := Store{filepath.Join(t.TempDir(), "runs")}
	l, err := s.Create(t.Context(), meta(run))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return s, l
}

// planSmall plans 8 rows: rows 1 and 6 are bad, 0 2 4 are of group g1 (0 and 4
// share an entry), 3 5 7 of g2. Lines are 2, 3, 5, 6, …: line 4 is blank.
func planSmall(t testing.TB, l *Ledger) {
	t.Helper()
	must(t, planSmallErr(t.Context(), l))
}

func planSmallErr(ctx context.Context, l *Ledger) error {
	for num := range int64(8) {
		line := num + 2
		if num >= 2 {
			line++
		}
		if err := l.PlanSource(num, line, fmt.Sprintf("row %d as written 班级", num)); err != nil {
			return err
		}
	}
	return errors.Join(
		l.PlanFailed(1, Outcome{Class: "bad_row", Error: "column marks: \"010\""}),
		l.PlanFailed(6, Outcome{Class: "bad_row", Error: "no account"}),
		l.PlanChunk("g1", []Entry{{"ann", []byte{1}, []int64{0, 4}}, {"bob", []byte{1}, []int64{2}}}),
		l.PlanChunk("g2", []Entry{{"cat", nil, []int64{7}}, {"dan", []byte{2, 3}, []int64{3}}, {"eve", []byte{2, 3}, []int64{5}}}),
		l.PlanDone(ctx, 8, 0),
	)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func rowsOf(t testing.TB, l *Ledger) []RowOutcome {
	t.Helper()
	var list []RowOutcome
	for r, err := range l.Rows(t.Context()) {
		must(t, err)
		list = append(list, r)
	}
	return list
}

func pendingOf(t testing.TB, l *Ledger) []Chunk {
	t.Helper()
	var list []Chunk
	for c, err := range l.Pending(t.Context()) {
		must(t, err)
		list = append(list, c)
	}
	return list
}

func diff(t testing.TB, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: got + want -\n%s", what, d)
	}
}

func TestRunFromPlanToFinish(t *testing.T) { onBoth(t, testRunFromPlanToFinish) }

func testRunFromPlanToFinish(t *testing.T, create creating) {
	s, l := create(t, "r1")
	planSmall(t, l)
	ctx := t.Context()
	diff(t, "pending", pendingOf(t, l), []Chunk{
		{1, "g1", []Entry{{"ann", []byte{1}, []int64{0, 4}}, {"bob", []byte{1}, []int64{2}}}, false, nil},
		{2, "g2", []Entry{{"cat", nil, []int64{7}}, {"dan", []byte{2, 3}, []int64{3}}, {"eve", []byte{2, 3}, []int64{5}}}, false, nil},
	})
	must(t, l.Begin(ctx))
	must(t, l.Sent(ctx, 1))
	offline := Outcome{"offline_or_absent", 0, "not in the answer", 1}
	must(t, l.Settle(ctx, 1, []Outcome{offline, {Attempts: 1}}, Cost{3, 2}))
	if err := l.End(ctx, Finished, Session{}); !errors.Is(err, ErrUnbalanced) {
		t.Errorf("End with an open chunk: got %v, want ErrUnbalanced", err)
	}
	must(t, l.Sent(ctx, 2))
	refused := Outcome{"refused", 10004, "bad\naccount", 2}
	must(t, l.Settle(ctx, 2, []Outcome{{}, refused, offline}, Cost{5, 1}))
	must(t, l.End(ctx, Finished, Session{Calls: 1, Retries: 1, MaxCallsInOneSecond: 9, Seconds: 4}))
	must(t, l.Close())

	l, err := s.OpenRead(ctx, "r1")
	must(t, err)
	defer l.Close()
	sum, err := l.Summary(ctx)
	must(t, err)
	if sum.Started == nil || sum.Finished == nil || sum.Started.Location() != time.UTC {
		t.Errorf("started %v, finished %v", sum.Started, sum.Finished)
	}
	sum.Started, sum.Finished = nil, nil
	diff(t, "summary", sum, Summary{
		Run: "r1", Kind: "marks set", State: Finished, Rows: 8, Succeeded: 2, Failed: 6,
		Calls: 9, Retries: 4, Chunks: 2, Groups: 2, ByCode: map[string]int64{"0": 5, "10004": 1},
		ByClass: map[string]int64{"bad_row": 2, "offline_or_absent": 3, "refused": 1},
		Seconds: 4, CallsPerSecond: 9.0 / 4, MaxCallsInOneSecond: 9,
	})
	raw := func(n int) string { return fmt.Sprintf("row %d as written 班级", n) }
	diff(t, "rows", rowsOf(t, l), []RowOutcome{
		{0, 2, raw(0), Failed, offline},
		{1, 3, raw(1), Failed, Outcome{Class: "bad_row", Error: "column marks: \"010\""}},
		{2, 5, raw(2), Succeeded, Outcome{Attempts: 1}},
		{3, 6, raw(3), Failed, refused},
		{4, 7, raw(4), Failed, offline},
		{5, 8, raw(5), Failed, offline},
		{6, 9, raw(6), Failed, Outcome{Class: "bad_row", Error: "no account"}},
		{7, 10, raw(7), Succeeded, Outcome{}},
	})
	diff(t, "meta", l.Meta(), meta("r1"))
	ex, err := l.Examples(ctx)
	must(t, err)
	diff(t, "examples", ex, []Example{
		{"offline_or_absent", 0, 3, 0, 2, raw(0), "not in the answer"},
		{"bad_row", 0, 2, 1, 3, raw(1), "column marks: \"010\""},
		{"refused", 10004, 1, 3, 6, raw(3), "bad\naccount"},
	})
}

func TestReplay(t *testing.T) { onBoth(t, testReplay) }

func testReplay(t *testing.T, create creating) {
	s, l := create(t, "r1")
	planSmall(t, l)
	ctx := t.Context()
	doubts := func(l *Ledger) (list []bool) {
		for _, c := range pendingOf(t, l) {
			list = append(list, c.InDoubt)
		}
		return list
	}
	reopen := func() {
		t.Helper()
		must(t, l.Close())
		var err error
		l, err = s.Open(ctx, "r1")
		must(t, err)
	}
	must(t, l.Begin(ctx))
	must(t, l.Sent(ctx, 1))
	must(t, l.Sent(ctx, 2))
	must(t, l.Unsent(ctx, 2))
	diff(t, "in doubt within the session", doubts(l), []bool{false, false})
	reopen() // as after a kill: no End
	diff(t, "state", l.State(), Running)
	diff(t, "in doubt before Begin", doubts(l), []bool{true, false})
	must(t, l.Begin(ctx))
	diff(t, "in doubt", doubts(l), []bool{true, false})
	must(t, l.Sent(ctx, 1))
	must(t, l.Sent(ctx, 1)) // again: nothing
	must(t, l.Sent(ctx, 2))
	if sum, _ := l.Summary(ctx); sum.Replayed != 1 {
		t.Errorf("replayed: got %d, want 1", sum.Replayed)
	}
	must(t, l.Unsent(ctx, 1)) // it did not go out again, but it did before
	must(t, l.Unsent(ctx, 1)) // again: it is not this session's any more
	must(t, l.End(ctx, Interrupted, Session{}))
	reopen()
	diff(t, "in doubt after Unsent", doubts(l), []bool{true, true})
	if sum, _ := l.Summary(ctx); sum.Replayed != 0 || sum.State != Interrupted || sum.Finished == nil {
		t.Errorf("got replayed %d, state %s, finished %v", sum.Replayed, sum.State, sum.Finished)
	}
	must(t, l.Begin(ctx))
	must(t, l.Sent(ctx, 1))
	must(t, l.Settle(ctx, 1, make([]Outcome, 2), Cost{1, 0}))
	diff(t, "in doubt at last", doubts(l), []bool{true})
	if sum, _ := l.Summary(ctx); sum.Replayed != 1 {
		t.Errorf("replayed: got %d, want 1", sum.Replayed)
	}
	must(t, l.Close())
}

func TestRefusals(t *testing.T) { onBoth(t, testRefusals) }

func testRefusals(t *testing.T, create creating) {
	s, l := create(t, "r1")
	ctx := t.Context()
	if err := l.Begin(ctx); !errors.Is(err, ErrNotQueued) {
		t.Errorf("Begin while planning: got %v", err)
	}
	planSmall(t, l)
	if err := l.PlanSource(8, 20, ""); err == nil {
		t.Error("planning after PlanDone: no error")
	}
	for name, err := range map[string]error{
		"Sent before Begin":  l.Sent(ctx, 1),
		"End before Begin":   l.End(ctx, Interrupted, Session{}),
		"too few outcomes":   l.Settle(ctx, 1, make([]Outcome, 1), Cost{}),
		"too many outcomes":  l.Settle(ctx, 1, make([]Outcome, 3), Cost{}),
		"unknown chunk":      l.Settle(ctx, 3, make([]Outcome, 3), Cost{}),
		"settled meanwhile":  errors.Join(l.Settle(ctx, 1, make([]Outcome, 2), Cost{1, 0}), l.Settle(ctx, 1, make([]Outcome, 2), Cost{1, 0})),
		"begun twice":        errors.Join(l.Begin(ctx), l.Begin(ctx)),
		"sent what is none":  l.Sent(ctx, 9),
		"sent after settled": l.Sent(ctx, 1),
		"ended as planned":   l.End(ctx, Planned, Session{}),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	sum, err := l.Summary(ctx)
	must(t, err)
	if sum.Succeeded != 3 || sum.Calls != 1 {
		t.Errorf("refused changes were counted: %+v", sum)
	}
	must(t, l.Settle(ctx, 2, make([]Outcome, 3), Cost{1, 0}))
	must(t, l.End(ctx, Finished, Session{}))
	if err := l.Begin(ctx); !errors.Is(err, ErrFinished) {
		t.Errorf("Begin of a finished run: got %v, want ErrFinished", err)
	}
	must(t, l.Close())
	must(t, l.Close())
	if err := l.Begin(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("Begin after Close: got %v, want ErrClosed", err)
	}
	l, err = s.OpenRead(ctx, "r1")
	must(t, err)
	defer l.Close()
	if err := l.Begin(ctx); !errors.Is(err, ErrNotQueued) {
		t.Errorf("Begin on a reader: got %v, want ErrNotQueued", err)
	}
}

func TestCancelledCallerLosesNothing(t *testing.T) { onBoth(t, testCancelledCallerLosesNothing) }

func testCancelledCallerLosesNothing(t *testing.T, create creating) {
	_, l := create(t, "r1")
	planSmall(t, l)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("somebody pressed ^C")
	cancel(why)
	if err := l.Begin(ctx); !errors.Is(err, ErrNotQueued) || !errors.Is(err, why) {
		t.Errorf("got %v, want ErrNotQueued and the cause", err)
	}
	must(t, l.Begin(t.Context()))

	// Taken by the writer and then cancelled: it is on disk when it returns.
	ctx, cancel = context.WithCancelCause(t.Context())
	err := l.change(ctx, "test", need{}, func(b *batch) error {
		cancel(why)
		b.books.calls = 77
		return nil
	})
	sum, err2 := l.Summary(t.Context())
	if err != nil || err2 != nil || sum.Calls != 77 {
		t.Errorf("got %v, %v and %d calls, want 77", err, err2, sum.Calls)
	}
}

func TestPlanMustBalance(t *testing.T) { onBoth(t, testPlanMustBalance) }

func testPlanMustBalance(t *testing.T, create creating) {
	tests := []struct {
		name string
		plan func(l *Ledger) error
		want error
	}{
		{"a row in no chunk", func(l *Ledger) error {
			return errors.Join(l.PlanSource(0, 2, "a"), l.PlanSource(1, 3, "b"), l.PlanChunk("g", []Entry{{"a", nil, []int64{0}}}), l.PlanDone(l.base, 2, 0))
		}, ErrUnbalanced},
		{"a row too many", func(l *Ledger) error {
			return errors.Join(l.PlanSource(0, 2, "a"), l.PlanFailed(0, Outcome{Class: "x"}), l.PlanChunk("g", []Entry{{"a", nil, []int64{0}}}), l.PlanDone(l.base, 1, 0))
		}, ErrUnbalanced},
		{"a row not on record", func(l *Ledger) error {
			return errors.Join(l.PlanFailed(0, Outcome{Class: "x"}), l.PlanDone(l.base, 1, 0))
		}, ErrUnbalanced},
		{"rows out of order", func(l *Ledger) error { return l.PlanSource(1, 2, "a") }, nil},
		{"lines out of order", func(l *Ledger) error { return errors.Join(l.PlanSource(0, 3, "a"), l.PlanSource(1, 2, "b")) }, nil},
		{"a failure without a class", func(l *Ledger) error { return l.PlanFailed(0, Outcome{}) }, nil},
		{"an entry without a row", func(l *Ledger) error { return l.PlanChunk("g", []Entry{{"a", nil, nil}}) }, nil},
		{"an empty chunk", func(l *Ledger) error { return l.PlanChunk("g", nil) }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, l := create(t, "r1")
			err := tt.plan(l)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if again := l.PlanDone(t.Context(), 0, 0); again == nil {
				t.Error("PlanDone after an error: got nil")
			}
			must(t, l.Close())
			if _, err := s.Open(t.Context(), "r1"); !errors.Is(err, ErrNotPlanned) {
				t.Errorf("Open: got %v, want ErrNotPlanned", err)
			}
		})
	}
}

func TestEmptyInput(t *testing.T) { onBoth(t, testEmptyInput) }

func testEmptyInput(t *testing.T, create creating) {
	_, l := create(t, "r1")
	ctx := t.Context()
	must(t, l.PlanDone(ctx, 0, 0))
	must(t, l.Begin(ctx))
	must(t, l.End(ctx, Finished, Session{}))
	if rows, chunks := rowsOf(t, l), pendingOf(t, l); len(rows)+len(chunks) != 0 {
		t.Errorf("got %v, %v", rows, chunks)
	}
}

// In a bubble, time is its own: figures are written after a second of it, and
// Close leaves no goroutine behind.
func TestFiguresAreWrittenEachSecond(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := Store{dir}
		l, err := s.Create(t.Context(), meta("r1"))
		must(t, err)
		planSmall(t, l)
		must(t, l.Begin(t.Context()))
		l.Note(Session{Calls: 7, MaxCallsInOneSecond: 5})
		time.Sleep(100 * time.Millisecond)
		sum, err := l.Summary(t.Context())
		must(t, err)
		if sum.Calls != 0 {
			t.Errorf("calls after 0.1 s: got %d", sum.Calls)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		sum, err = l.Summary(t.Context())
		must(t, err)
		if sum.Calls != 7 || sum.MaxCallsInOneSecond != 5 || sum.Seconds < 1 || sum.Seconds > 2.2 {
			t.Errorf("after 2.1 s: got %+v", sum)
		}
		time.Sleep(8 * time.Second)
		must(t, l.End(t.Context(), Expired, Session{Calls: 8, MaxCallsInOneSecond: 5}))
		time.Sleep(5 * time.Second) // at rest: this does not count
		sum, err = l.Summary(t.Context())
		must(t, err)
		if sum.Calls != 8 || sum.Seconds < 10 || sum.Seconds > 10.2 || sum.Finished.Sub(*sum.Started) > 11*time.Second {
			t.Errorf("after End: got %+v", sum)
		}
		must(t, l.Close())
	})
}

// The result does not depend on how large the windows are, and windows become
// smaller when the outcomes take too much room.
func TestWindows(t *testing.T) { onBoth(t, testWindows) }

func testWindows(t *testing.T, create creating) {
	_, l := create(t, "r1")
	const rows = 40_000
	long := strings.Repeat("e", 400)
	reason := func(i int64) Outcome { return Outcome{Class: "bad_row", Error: fmt.Sprint(long, i)} }
	var entries []Entry
	for i := range int64(rows) {
		must(t, l.PlanSource(i, i+2, fmt.Sprint(i)))
		if i%2 == 0 {
			must(t, l.PlanFailed(i, reason(i)))
			continue
		}
		// From both ends: each chunk has rows of every window.
		if entries = append(entries, Entry{"a", nil, []int64{i}}); len(entries) == rows/2 {
			for k := 0; k < len(entries); k += 500 {
				var c []Entry
				for j := range 500 {
					c = append(c, entries[(k/500+j*(len(entries)/500))%len(entries)])
				}
				must(t, l.PlanChunk("g", c))
			}
		}
	}
	must(t, l.PlanDone(t.Context(), rows, 0))
	must(t, l.Settle(t.Context(), 1, make([]Outcome, 500), Cost{1, 0}))
	v, err := l.View(t.Context())
	must(t, err)
	defer v.Close()
	for _, size := range []int64{1, 777, windowRows} {
		n := int64(0)
		r := &rowReader{v: v, ctx: t.Context(), size: size, yield: func(r RowOutcome, _ error) bool {
			want, status := reason(n), Failed
			if n%2 == 1 {
				if want, status = (Outcome{}), Unprocessed; (n/2)%40 == 0 {
					status = Succeeded
				}
			}
			if r.Num != n || r.Raw != fmt.Sprint(n) || r.Outcome != want || r.Status != status {
				t.Errorf("row %d: got %+v, want %v %v", n, r, status, want)
				return false
			}
			n++
			return true
		}}
		if err := r.run(); err != nil || n != rows {
			t.Errorf("windows of %d: %d rows, %v", size, n, err)
		}
		if size == windowRows && (r.size >= rows || r.size < windowLeast) {
			t.Errorf("the window was not made smaller: %d", r.size)
		}
	}
}

// What the input is like is known again: by this version, and of a ledger that
// an older one has made.
func TestMetaStored(t *testing.T) { onBoth(t, testMetaStored) }

func testMetaStored(t *testing.T, create creating) {
	for _, header := range []string{"群组,账号", "\xc8\xba\xd7\xe9;\xd5\xcb\xba\xc5", ""} {
		m := meta("r1")
		m.Header, m.Encoding, m.Delimiter = header, "gb18030", ";"
		s := Store{filepath.Join(t.TempDir(), "runs")}
		l, err := s.Create(t.Context(), m)
		must(t, err)
		must(t, l.PlanDone(t.Context(), 0, 0))
		must(t, l.Close())
		l, err = s.OpenRead(t.Context(), "r1")
		must(t, err)
		defer l.Close()
		if diff := cmp.Diff(m, l.Meta()); diff != "" {
			t.Errorf("meta (-want +got):\n%s", diff)
		}
	}
	var old Meta
	must(t, json.Unmarshal([]byte(`{"run":"r1","kind":"marks set","format":"csv","header":"群组,账号","newline":"\r\n","created":"2026-11-22T01:49:12Z"}`), &old))
	if old.Header != "群组,账号" || old.NewLine != "\r\n" || old.Encoding != "" || old.Delimiter != "" || old.Run != "r1" {
		t.Errorf("got %+v", old)
	}
}

// fileOf is the file of a ledger that has one.
func fileOf(l *Ledger) *file { return l.disk.(*file) }

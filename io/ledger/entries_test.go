package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

func summaryOf(t testing.TB, l *Ledger) Summary {
	t.Helper()
	s, err := l.Summary(t.Context())
	must(t, err)
	return s
}

func TestEntriesOneByOne(t *testing.T) { onBoth(t, testEntriesOneByOne) }

func testEntriesOneByOne(t *testing.T, create creating) {
	s, l := create(t, "r1")
	planSmall(t, l)
	ctx := t.Context()
	bad := Outcome{"refused", 10004, "no such account", 2}
	worse := Outcome{"refused", 10004, "not either", 1}
	must(t, l.Begin(ctx))
	must(t, l.SentEntry(ctx, 2, 1))
	must(t, l.SettleEntry(ctx, 2, 1, bad, Cost{2, 1}))
	must(t, l.SettleEntry(ctx, 2, 0, Outcome{Attempts: 1}, Cost{1, 0}))
	must(t, l.SettleEntry(ctx, 1, 0, worse, Cost{1, 0})) // two rows

	// What is settled by itself counts at once.
	sum := summaryOf(t, l)
	if sum.Succeeded != 1 || sum.Failed != 5 || sum.Unprocessed != 2 || sum.Calls != 4 || sum.Retries != 1 {
		t.Errorf("got %+v", sum)
	}
	diff(t, "codes", sum.ByCode, map[string]int64{"0": 2, "10004": 3})
	rows := rowsOf(t, l)
	for num, want := range map[int]Outcome{0: worse, 4: worse, 3: bad, 7: {Attempts: 1}} {
		diff(t, fmt.Sprint("row ", num), rows[num].Outcome, want)
	}
	if rows[2].Status != Unprocessed || rows[5].Status != Unprocessed || rows[7].Status != Succeeded {
		t.Errorf("got %+v", rows)
	}
	pending := pendingOf(t, l)
	diff(t, "chunk 1", pending[0].Settled, map[int]Outcome{0: worse})
	diff(t, "chunk 2", pending[1].Settled, map[int]Outcome{0: {Attempts: 1}, 1: bad})
	ex, err := l.Examples(ctx)
	must(t, err)
	if ex[0].Code != 10004 || ex[0].Rows != 3 || ex[0].Num != 3 {
		t.Errorf("examples: got %+v", ex)
	}

	// The recorded outcome stands, whatever the chunk is settled with.
	must(t, l.Settle(ctx, 2, []Outcome{bad, {}, {Attempts: 7}}, Cost{1, 1}))
	must(t, l.Settle(ctx, 1, make([]Outcome, 2), Cost{}))
	sum = summaryOf(t, l)
	if sum.Succeeded != 3 || sum.Failed != 5 || sum.Calls != 5 || sum.Retries != 2 {
		t.Errorf("got %+v", sum)
	}
	diff(t, "row 3", rowsOf(t, l)[3].Outcome, bad)
	diff(t, "row 5", rowsOf(t, l)[5].Outcome, Outcome{Attempts: 7})
	var left int
	ask(t, l, "SELECT count(*) FROM entry", &left)
	var calls, retries int
	ask(t, l, "SELECT calls, retries FROM progress WHERE chunk = 2", &calls, &retries)
	if left != 0 || calls != 4 || retries != 2 {
		t.Errorf("%d records of entries are left; chunk 2 took %d calls, %d retries", left, calls, retries)
	}
	must(t, l.End(ctx, Finished, Session{}))
	must(t, l.Close())
	l, err = s.OpenRead(ctx, "r1")
	must(t, err)
	defer l.Close()
	if again := summaryOf(t, l); again.Succeeded != 3 || again.Failed != 5 {
		t.Errorf("reopened: got %+v", again)
	}
}

func TestEntriesInDoubt(t *testing.T) { onBoth(t, testEntriesInDoubt) }

func testEntriesInDoubt(t *testing.T, create creating) {
	s, l := create(t, "r1")
	planSmall(t, l)
	ctx := t.Context()
	check := func(when string, replayed int64, doubts ...bool) {
		t.Helper()
		var got []bool
		for _, c := range pendingOf(t, l) {
			got = append(got, c.InDoubt)
		}
		diff(t, when, got, doubts)
		if n := summaryOf(t, l).Replayed; n != replayed {
			t.Errorf("%s: replayed %d, want %d", when, n, replayed)
		}
	}
	reopen := func() {
		t.Helper()
		must(t, l.Close())
		var err error
		l, err = s.Open(ctx, "r1")
		must(t, err)
	}
	must(t, l.Begin(ctx))
	must(t, l.SentEntry(ctx, 1, 0))
	must(t, l.SettleEntry(ctx, 1, 0, Outcome{}, Cost{1, 0}))
	must(t, l.SentEntry(ctx, 2, 2))
	must(t, l.SentEntry(ctx, 2, 1))
	must(t, l.UnsentEntry(ctx, 2, 1))
	must(t, l.UnsentEntry(ctx, 2, 0)) // nobody sent it: nothing
	check("within the session", 0, false, false)
	reopen() // as after a kill: no End
	check("after it", 0, false, true)
	must(t, l.Begin(ctx))
	must(t, l.SentEntry(ctx, 2, 1)) // was taken back: no replay
	must(t, l.SentEntry(ctx, 2, 2))
	must(t, l.SentEntry(ctx, 2, 2)) // again: nothing
	check("sent again", 1, false, false)
	must(t, l.UnsentEntry(ctx, 2, 2)) // it did not go out again, but it did before
	must(t, l.UnsentEntry(ctx, 2, 2)) // again: it is not this session's any more
	check("taken back", 0, false, true)
	must(t, l.SentEntry(ctx, 2, 2))
	reopen()
	must(t, l.Begin(ctx))
	must(t, l.SentEntry(ctx, 2, 2))
	must(t, l.SettleEntry(ctx, 2, 2, Outcome{}, Cost{1, 0}))
	must(t, l.SettleEntry(ctx, 2, 1, Outcome{}, Cost{1, 0})) // sent by an earlier session, settled by this one
	check("settled", 2, false, false)
	must(t, l.Close())
}

func TestEntryRefusals(t *testing.T) { onBoth(t, testEntryRefusals) }

func testEntryRefusals(t *testing.T, create creating) {
	_, l := create(t, "r1")
	planSmall(t, l)
	ctx := t.Context()
	if err := l.SentEntry(ctx, 1, 0); err == nil {
		t.Error("sent before Begin: no error")
	}
	must(t, l.Begin(ctx))
	must(t, l.SettleEntry(ctx, 1, 0, Outcome{}, Cost{1, 0}))
	must(t, l.Settle(ctx, 2, make([]Outcome, 3), Cost{1, 0}))
	tests := []struct {
		name         string
		chunk        int64
		entry        int
		isSettledYet bool
	}{
		{"no such chunk", 3, 0, false},
		{"no such entry", 1, 2, false},
		{"an entry before the first", 1, -1, false},
		{"settled by itself", 1, 0, true},
		{"settled with its chunk", 2, 0, true},
	}
	for _, tt := range tests {
		for what, err := range map[string]error{
			"SentEntry":   l.SentEntry(ctx, tt.chunk, tt.entry),
			"UnsentEntry": l.UnsentEntry(ctx, tt.chunk, tt.entry),
			"SettleEntry": l.SettleEntry(ctx, tt.chunk, tt.entry, Outcome{Class: "x"}, Cost{9, 9}),
		} {
			if err == nil || errors.Is(err, ErrSettled) != tt.isSettledYet {
				t.Errorf("%s, %s: got %v", tt.name, what, err)
			}
		}
	}
	if err := l.End(ctx, Finished, Session{}); !errors.Is(err, ErrUnbalanced) {
		t.Errorf("End with an entry open: got %v, want ErrUnbalanced", err)
	}
	if sum := summaryOf(t, l); sum.Succeeded != 5 || sum.Calls != 2 {
		t.Errorf("refused changes were counted: %+v", sum)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := l.SettleEntry(cancelled, 1, 1, Outcome{}, Cost{}); !errors.Is(err, ErrNotQueued) {
		t.Errorf("cancelled: got %v, want ErrNotQueued", err)
	}
}

// Whoever comes first, an entry has one outcome: that of the caller who was told
// that it is settled.
func TestEntriesRaceWithTheirChunk(t *testing.T) { onBoth(t, testEntriesRaceWithTheirChunk) }

func testEntriesRaceWithTheirChunk(t *testing.T, create creating) {
	_, l := create(t, "r1")
	const chunks, size = 40, 12
	for c := range int64(chunks) {
		var entries []Entry
		for i := range int64(size) {
			must(t, l.PlanSource(c*size+i, c*size+i+2, ""))
			entries = append(entries, Entry{"a", nil, []int64{c*size + i}})
		}
		must(t, l.PlanChunk("g", entries))
	}
	must(t, l.PlanDone(t.Context(), chunks*size, 0))
	must(t, l.Begin(t.Context()))
	single, whole := Outcome{Class: "single"}, make([]Outcome, size)
	for i := range whole {
		whole[i].Class = "chunk"
	}
	var mine [chunks * size]bool // settled by itself; each is one goroutine's
	var wg sync.WaitGroup
	for c := range chunks {
		for i := range size {
			wg.Go(func() {
				err := l.SettleEntry(t.Context(), int64(c+1), i, single, Cost{1, 0})
				if mine[c*size+i] = err == nil; err != nil && !errors.Is(err, ErrSettled) {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			if err := l.Settle(t.Context(), int64(c+1), whole, Cost{1, 0}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	n := int64(0)
	for _, r := range rowsOf(t, l) {
		want := "chunk"
		if mine[r.Num] {
			want = "single"
			n++
		}
		if r.Outcome.Class != want {
			t.Errorf("row %d: got %+v, want %s", r.Num, r.Outcome, want)
		}
	}
	sum := summaryOf(t, l)
	if sum.Failed != chunks*size || sum.ByClass["single"] != n || sum.ByClass["chunk"] != chunks*size-n || sum.Calls != chunks+n {
		t.Errorf("%d by themselves: got %+v", n, sum)
	}
	t.Logf("%d of %d by themselves", n, chunks*size)
}

// Folding keeps the file small: what entries took while they were settled one by
// one is used again.
func TestEntriesDoNotGrowTheFile(t *testing.T) {
	_, l := create(t, "r1")
	planMany(t, l, 24*100, false) // 24 chunks
	must(t, l.Begin(t.Context()))
	pages := func() (n int64) {
		must(t, fileOf(l).read.QueryRow("PRAGMA page_count").Scan(&n))
		return n
	}
	before := pages()
	for _, c := range pendingOf(t, l) {
		settleEntries(t, l, c, 64)
	}
	if grown := (pages() - before) * 4096; grown > 64<<10 {
		t.Errorf("2,400 entries of 24 chunks took %d bytes", grown)
	}
	must(t, l.End(t.Context(), Finished, Session{}))
}

// settleEntries sends and settles the entries of a chunk with so many callers,
// and then the chunk.
func settleEntries(t testing.TB, l *Ledger, c Chunk, callers int) {
	t.Helper()
	outcomes := someOutcomes(len(c.Entries))
	work := make(chan int)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := range work {
				if err := l.SentEntry(t.Context(), c.ID, i); err != nil {
					t.Error(err)
				}
				if err := l.SettleEntry(t.Context(), c.ID, i, outcomes[i], Cost{1, 0}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range c.Entries {
		if _, settled := c.Settled[i]; !settled {
			work <- i
		}
	}
	close(work)
	wg.Wait()
	must(t, l.Settle(t.Context(), c.ID, outcomes, Cost{}))
}

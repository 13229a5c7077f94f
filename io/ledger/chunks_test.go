package ledger

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

func chunksOf(t testing.TB, v *View) (list []ChunkResult) {
	t.Helper()
	for c, err := range v.Chunks(t.Context()) {
		must(t, err)
		list = append(list, c)
	}
	return list
}

func TestChunks(t *testing.T) { onBoth(t, testChunks) }

func testChunks(t *testing.T, create creating) {
	_, l := create(t, "r1")
	planning, err := l.View(t.Context())
	must(t, err)
	for _, err := range planning.Chunks(t.Context()) {
		if !errors.Is(err, ErrNotPlanned) {
			t.Errorf("while planning: got %v, want ErrNotPlanned", err)
		}
	}
	planning.Close() // PlanDone would wait for it
	for num := range int64(7) {
		must(t, l.PlanSource(num, num+2, ""))
	}
	// Plan order is not the order of the input.
	must(t, l.PlanChunk("g4", []Entry{{"", []byte("public"), []int64{4}}}))
	must(t, l.PlanChunk("g0", []Entry{{"", nil, []int64{5, 0}}}))
	must(t, l.PlanChunk("g3", []Entry{{"a", []byte{}, []int64{6}}, {"b", []byte("2"), []int64{3}}}))
	must(t, l.PlanChunk("g1", []Entry{{"", []byte("x"), []int64{1}}}))
	must(t, l.PlanFailed(2, Outcome{Class: "bad_row"}))
	must(t, l.PlanDone(t.Context(), 7, 1))
	old := viewOf(t, l)
	ctx := t.Context()
	began := time.Now().Add(-time.Millisecond)
	denied := Outcome{"no_permission", 10007, "not an administrator", 1}
	must(t, l.SettleWith(ctx, 1, []Outcome{{Attempts: 3}}, []byte("spans"), Cost{3, 0}))
	must(t, l.SettleWith(ctx, 2, []Outcome{denied}, []byte{}, Cost{1, 0}))
	must(t, l.SettleEntry(ctx, 3, 0, denied, Cost{1, 0}))
	must(t, l.Settle(ctx, 4, []Outcome{{}}, Cost{1, 0}))
	got := chunksOf(t, viewOf(t, l))
	for i := range got {
		if at := got[i].SettledAt; (got[i].Status != Unprocessed) != (at.After(began) && !at.After(time.Now()) && at.Location() == time.UTC) {
			t.Errorf("chunk %d: settled at %v", got[i].ID, at)
		}
		got[i].SettledAt = time.Time{}
	}
	diff(t, "chunks", got, []ChunkResult{
		{ID: 2, Group: "g0", FirstRow: 0, Rows: 2, Status: Failed, Outcome: denied, Note: []byte{}},
		{ID: 4, Group: "g1", FirstRow: 1, Rows: 1, Status: Succeeded, Data: []byte("x")},
		{ID: 3, Group: "g3", FirstRow: 3, Rows: 2},
		{ID: 1, Group: "g4", FirstRow: 4, Rows: 1, Status: Succeeded, Outcome: Outcome{Attempts: 3}, Data: []byte("public"), Note: []byte("spans")},
	})
	for _, c := range chunksOf(t, old) {
		if c.Status != Unprocessed {
			t.Errorf("a view of the moment before: %+v", c)
		}
	}
	if n := summaryOf(t, l).Superseded; n != 1 {
		t.Errorf("superseded: got %d, want 1", n)
	}
	tamper(t, l, "UPDATE progress SET note = cast(x'00' || note AS BLOB)", `UPDATE chatbatch_progress SET note = '\x00'::bytea || note`)
	for _, err := range viewOf(t, l).Chunks(ctx) {
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "chunk 2") {
			t.Errorf("a damaged note: got %v", err)
		}
	}
}

// Nothing is sorted: a sort of a million groups would take memory or a disk.
func TestChunksComeByTheIndex(t *testing.T) {
	_, l := create(t, "r1")
	planSmall(t, l)
	v := viewOf(t, l).at.(*fileLook)
	query, args := v.selectChunks(selection{byRow: true, asks: true})
	rows, err := v.conn.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	must(t, err)
	defer rows.Close()
	plan := ""
	for rows.Next() {
		var id, parent, unused int
		var step string
		must(t, rows.Scan(&id, &parent, &unused, &step))
		plan += step + "\n"
	}
	if !strings.Contains(plan, "INDEX chunk_lo") || strings.Contains(plan, "TEMP") {
		t.Errorf("got %s", plan)
	}
}

// LEDGER_GROUPS=1000000 go test -run TestChunksInBoundedMemory -v ./io/ledger
func TestChunksInBoundedMemory(t *testing.T) {
	groups, _ := strconv.Atoi(os.Getenv("LEDGER_GROUPS"))
	if groups == 0 {
		groups = 20_000
	}
	_, l := create(t, "r1")
	start := time.Now()
	for num := range int64(groups) {
		must(t, l.PlanSource(num, num+2, "@TGS#1GROUP"+strconv.FormatInt(num, 10)))
	}
	for i := range int64(groups) { // in some other order
		num := i * 7919 % int64(groups)
		must(t, l.PlanChunk("@TGS#1GROUP"+strconv.FormatInt(num, 10), []Entry{{"", nil, []int64{num}}}))
	}
	must(t, l.PlanDone(t.Context(), int64(groups), 0))
	t.Logf("planned in %v", time.Since(start))
	runtime.GC()
	var m runtime.MemStats
	start, most, n := time.Now(), uint64(0), int64(0)
	for c, err := range viewOf(t, l).Chunks(t.Context()) {
		must(t, err)
		if c.FirstRow != n {
			t.Fatalf("row %d comes at place %d", c.FirstRow, n)
		}
		if n++; n%5_000 == 0 {
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
	}
	t.Logf("%d chunks in %v, heap at most %.1f MiB", n, time.Since(start), float64(most)/(1<<20))
	if n != int64(groups) || most > 40<<20 {
		t.Errorf("%d of %d chunks, heap %d", n, groups, most)
	}
}

package ledger

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

// planMany plans so many rows, interleaved over 24 groups, and settles the
// chunks if asked; of each chunk every tenth entry fails.
func planMany(t testing.TB, l *Ledger, rows int, settle bool) {
	t.Helper()
	const groups, size = 24, 500
	for num := range rows {
		if err := l.PlanSource(int64(num), int64(num+2), "@TGS#1GROUP"+strconv.Itoa(num%groups)+",student-"+strconv.Itoa(num)+",1000"); err != nil {
			t.Fatal(err) // not must: t.Helper would cost a quarter of the time
		}
	}
	data := []byte{232, 7}
	for g := range groups {
		var chunk []Entry
		for num := g; num < rows; num += groups {
			chunk = append(chunk, Entry{"student-" + strconv.Itoa(num), data, []int64{int64(num)}})
			if len(chunk) == size {
				must(t, l.PlanChunk(fmt.Sprint("@TGS#1GROUP", g), chunk))
				chunk = chunk[:0]
			}
		}
		if len(chunk) > 0 {
			must(t, l.PlanChunk(fmt.Sprint("@TGS#1GROUP", g), chunk))
		}
	}
	must(t, l.PlanDone(t.Context(), int64(rows), 0))
	if !settle {
		return
	}
	must(t, l.Begin(t.Context()))
	settleAll(t, l, 64)
}

func someOutcomes(n int) []Outcome {
	out := make([]Outcome, n)
	for i := range out {
		out[i].Attempts = 1
		if i%10 == 3 {
			out[i] = Outcome{"offline_or_absent", 0, "not in the answer", 1}
		}
	}
	return out
}

// settleAll sends and settles what is pending with so many callers.
func settleAll(t testing.TB, l *Ledger, callers int) (chunks int) {
	work := make(chan Chunk)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for c := range work {
				if err := l.Sent(t.Context(), c.ID); err != nil {
					t.Error(err)
				}
				if err := l.Settle(t.Context(), c.ID, someOutcomes(len(c.Entries)), Cost{1, 0}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for c, err := range l.Pending(t.Context()) {
		must(t, err)
		work <- c
		chunks++
	}
	close(work)
	wg.Wait()
	return chunks
}

// benchBoth measures each kind of store. PG_BENCH is the address of a database whose
// server syncs, as that of the tests does not; it must be empty.
func benchBoth(b *testing.B, bench func(b *testing.B, create creating)) {
	b.Run("file", func(b *testing.B) {
		bench(b, func(t testing.TB, run string) (store, *Ledger) { return create(t, run) })
	})
	b.Run("postgres", func(b *testing.B) {
		var s *heldStore
		var runs int
		bench(b, func(t testing.TB, run string) (store, *Ledger) {
			if s == nil {
				s = newHeldStore(b)
			}
			runs++
			l, err := s.Create(t.Context(), meta(fmt.Sprint(run, "-", runs)))
			must(t, err)
			t.Cleanup(func() { l.Close() })
			return s, l
		})
	})
}

func BenchmarkPlan(b *testing.B) {
	const rows = 500_000
	benchBoth(b, func(b *testing.B, create creating) {
		for b.Loop() {
			_, l := create(b, "r1")
			planMany(b, l, rows, false)
			must(b, l.Close())
		}
		b.ReportMetric(float64(b.N*rows)/b.Elapsed().Seconds(), "rows/s")
	})
}

// One operation is a chunk of 500, sent and settled: two durable changes.
func BenchmarkSettle(b *testing.B) {
	benchBoth(b, func(b *testing.B, create creating) {
		for _, callers := range []int{1, 16, 64} {
			b.Run(fmt.Sprint(callers), func(b *testing.B) {
				_, l := create(b, "r1")
				planMany(b, l, b.N*500, false)
				must(b, l.Begin(b.Context()))
				b.ResetTimer()
				settleAll(b, l, callers)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "chunks/s")
			})
		}
	})
}

// One operation is an entry, sent and settled by itself: two durable changes.
// Chunks of 500 are folded in between.
func BenchmarkSettleEntries(b *testing.B) {
	benchBoth(b, func(b *testing.B, create creating) {
		for _, callers := range []int{1, 16, 64} {
			b.Run(fmt.Sprint(callers), func(b *testing.B) {
				_, l := create(b, "r1")
				planMany(b, l, b.N, false)
				must(b, l.Begin(b.Context()))
				b.ResetTimer()
				for c, err := range l.Pending(b.Context()) {
					must(b, err)
					settleEntries(b, l, c, callers)
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
			})
		}
	})
}

// One operation is a group of an export: 64 KiB kept, and a durable change.
func BenchmarkKeepAndSettle(b *testing.B) { benchBoth(b, benchKeepAndSettle) }

func benchKeepAndSettle(b *testing.B, create creating) {
	_, l := create(b, "r1")
	planMany(b, l, b.N*500, false)
	must(b, l.Begin(b.Context()))
	data := make([]byte, 64<<10)
	b.SetBytes(int64(len(data)))
	b.ResetTimer()
	work := make(chan Chunk)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for c := range work {
				s, err := l.Keep(b.Context(), data)
				if err == nil {
					err = l.SettleWith(b.Context(), c.ID, someOutcomes(len(c.Entries)), fmt.Append(nil, s), Cost{1, 0})
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	for c, err := range l.Pending(b.Context()) {
		must(b, err)
		work <- c
	}
	close(work)
	wg.Wait()
}

// LEDGER_ROWS=5000000 go test -run TestRowsInBoundedMemory -v ./io/ledger
func TestRowsInBoundedMemory(t *testing.T) {
	rows, _ := strconv.Atoi(os.Getenv("LEDGER_ROWS"))
	if rows == 0 {
		rows = 100_000
	}
	_, l := create(t, "r1")
	start := time.Now()
	planMany(t, l, rows, true)
	t.Logf("planned and settled in %v", time.Since(start))
	runtime.GC()
	var m runtime.MemStats
	start, most, n := time.Now(), uint64(0), 0
	for _, err := range l.Rows(t.Context()) {
		must(t, err)
		if n++; n%20_000 == 0 {
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
	}
	d := time.Since(start)
	t.Logf("%d rows in %v, %.2f M/s, heap at most %.1f MiB", n, d, float64(n)/1e6/d.Seconds(), float64(most)/(1<<20))
	if n != rows || most > 40<<20 {
		t.Errorf("%d of %d rows, heap %d", n, rows, most)
	}
}

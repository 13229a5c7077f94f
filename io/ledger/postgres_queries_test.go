package ledger

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"chatbatch/limiter/pgtest"
)

const (
	fillRunsSQL = `ALTER TABLE chatbatch_chunk SET (autovacuum_enabled = false);
		ALTER TABLE chatbatch_progress SET (autovacuum_enabled = false);
		ALTER TABLE chatbatch_entry SET (autovacuum_enabled = false);`
	fillRunSQL = `INSERT INTO chatbatch_chunk SELECT %[1]d, n, 'g', 1, 1, n, n, '', '' FROM generate_series(1, 20000) AS n;
		INSERT INTO chatbatch_progress (run, chunk) SELECT %[1]d, n FROM generate_series(1, 20000) AS n;
		INSERT INTO chatbatch_entry SELECT %[1]d, n / 10, n %% 10, 0, 0, 0, 0, '' FROM generate_series(1, 20000) AS n;`
)

// What is asked for is read, and not all of its run, whatever the database knows of the
// run: no statistics at all, those from before it was planned, or its own.
func TestQueriesReadWhatIsAsked(t *testing.T) {
	fill := func(run int) string { return fmt.Sprintf(fillRunSQL, run) }
	for _, tt := range []struct{ name, filled string }{
		{"no statistics", fill(1) + fill(2)},
		{"statistics from before the run", fill(1) + "ANALYZE;" + fill(2)},
		{"statistics of the run", fill(1) + fill(2) + "ANALYZE;"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url := pgMigrated(t)
			pgtest.SQL(t, url, fillRunsSQL+tt.filled)
			conn, err := pgx.Connect(t.Context(), url)
			must(t, err)
			defer conn.Close(t.Context())
			d := &pgRun{no: 2}
			for name, s := range map[string]selection{
				"in order":              {asks: true, nums: true, after: 500},
				"open, in order":        {open: true, asks: true, nums: true, after: 500, limit: pendingStep},
				"in order of the input": {byRow: true, asks: true, after: 500},
				"in a window":           {nums: true, after: 500, hi: 1 << 20},
			} {
				query, args, size := (&pgLook{d: d}).selectChunks(s, chunkRow{id: 500, lo: 500})
				checkReads(t, conn, name, lookSettingsSQL, query, args, size, size)
			}
			few := []int64{70, 19000, 12, 12345, 600}
			checkReads(t, conn, "what a batch needs", settingsSQL, loadChunksSQL, []any{d.no, few, few, few}, len(few), len(few))
			checkReads(t, conn, "entries", settingsSQL, loadEntriesSQL, []any{d.no, few[:2], few[2:3], []int64{5}}, 11, 11) // chunk 19000 has none
			many := make([]int64, maxBatch)
			texts := make([][]byte, maxBatch)
			for i := range many {
				many[i] = int64(19000 - i)
			}
			checkReads(t, conn, "what a full batch needs", settingsSQL, loadChunksSQL, []any{d.no, many, many, many}, maxBatch, maxBatch)
			checkReads(t, conn, "change of chunks", settingsSQL, saveChunksSQL, []any{d.no, many, many, many, many, many, many, many, texts, texts, many}, maxBatch, 0)
			checkReads(t, conn, "end of entries", settingsSQL, removeEntriesSQL, []any{d.no, []int64{70, 71}, []int64{3, 4}}, 2, 0)
			checkReads(t, conn, "end of the entries of chunks", settingsSQL, removeFoldedSQL, []any{d.no, few}, 40, 0)
		})
	}
}

// checkReads puts a question, and looks how many rows of each table were read for it: not
// more than twice most, and some. want is how many rows it answers with.
func checkReads(t *testing.T, conn *pgx.Conn, name, settings, query string, args []any, most, want int) {
	t.Helper()
	ctx := t.Context()
	tx, err := conn.Begin(ctx)
	must(t, err)
	defer func() { must(t, tx.Rollback(ctx)) }()
	_, err = tx.Exec(ctx, settings)
	must(t, err)
	before := tablesRead(t, tx)
	rows, err := tx.Query(ctx, query, append([]any{pgx.QueryExecModeExec}, args...)...)
	must(t, err)
	got := 0
	for rows.Next() {
		got++
	}
	rows.Close()
	must(t, rows.Err())
	if got != want {
		t.Errorf("%s: %d rows came, want %d", name, got, want)
	}
	some := false
	for table, read := range tablesRead(t, tx) {
		read -= before[table]
		some = some || read > 0
		if read > 2*most {
			t.Errorf("%s: %d rows of %s were read for %d", name, read, table, most)
		}
	}
	if !some {
		t.Errorf("%s: nothing was read", name)
	}
}

// tablesRead is how many rows of each table this connection has read.
func tablesRead(t *testing.T, tx pgx.Tx) map[string]int {
	t.Helper()
	rows, err := tx.Query(t.Context(), `SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
		FROM pg_stat_xact_user_tables WHERE schemaname = current_schema()`)
	must(t, err)
	read := map[string]int{}
	var table string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&table, &n}, func() error { read[table] = n; return nil })
	must(t, err)
	return read
}

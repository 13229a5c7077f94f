package ledger

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// tablesOf returns the schema of a file, as SQLite has it.
func tablesOf(t *testing.T, path string) (all []string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	must(t, err)
	defer db.Close()
	rows, err := db.Query("SELECT name || ': ' || coalesce(sql, '') FROM sqlite_master ORDER BY name")
	must(t, err)
	defer rows.Close()
	for rows.Next() {
		var text string
		must(t, rows.Scan(&text))
		all = append(all, text)
	}
	return all
}

// oldRun makes a run as version 1 of the schema has it: planSmall's, the first
// chunk sent and the second settled, and then killed.
func oldRun(t *testing.T) Store {
	t.Helper()
	s, l := create(t, "r1")
	planSmall(t, l)
	must(t, l.Begin(t.Context()))
	must(t, l.Sent(t.Context(), 1))
	must(t, l.Settle(t.Context(), 2, []Outcome{{}, {Class: "refused"}, {}}, Cost{2, 1}))
	must(t, l.Close())
	db, err := sql.Open("sqlite", l.Path())
	must(t, err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, statement := range []string{
		"DROP TABLE entry", "DROP INDEX chunk_lo",
		"ALTER TABLE progress DROP COLUMN settled", "ALTER TABLE progress DROP COLUMN note",
		"ALTER TABLE books DROP COLUMN superseded", "ALTER TABLE books DROP COLUMN kept",
		"PRAGMA user_version = 1", "PRAGMA wal_checkpoint(TRUNCATE)",
	} {
		_, err := db.Exec(statement)
		must(t, err)
	}
	one := filepath.Join(t.TempDir(), "one.db")
	real, err := sql.Open("sqlite", one)
	must(t, err)
	_, err = real.Exec(schemaOne)
	must(t, errors.Join(err, real.Close()))
	if got, want := len(tablesOf(t, l.Path())), len(tablesOf(t, one)); got != want {
		t.Fatalf("it is not as version 1 had it: %d tables, want %d", got, want)
	}
	return s
}

func TestOldLedgerIsReadAsItIs(t *testing.T) {
	s := oldRun(t)
	path := filepath.Join(s.Path("r1"), fileName)
	before, err := os.ReadFile(path)
	must(t, err)
	l, err := s.OpenRead(t.Context(), "r1")
	must(t, err)
	sum := summaryOf(t, l)
	if sum.Succeeded != 2 || sum.Failed != 3 || sum.Unprocessed != 3 || sum.Superseded != 0 || l.HasKept() {
		t.Errorf("got %+v, HasKept %v", sum, l.HasKept())
	}
	if n := len(rowsOf(t, l)); n != 8 {
		t.Errorf("got %d rows", n)
	}
	pending := pendingOf(t, l)
	if len(pending) != 1 || !pending[0].InDoubt || pending[0].Settled != nil {
		t.Errorf("pending: got %+v", pending)
	}
	v := viewOf(t, l)
	diff(t, "chunks", chunksOf(t, v), []ChunkResult{
		{ID: 1, Group: "g1", FirstRow: 0, Rows: 3, Data: []byte{1}},
		{ID: 2, Group: "g2", FirstRow: 3, Rows: 3, Status: Succeeded},
	})
	if _, err := v.Kept(Span{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("Kept: got %v, want ErrDamaged", err)
	}
	v.Close()
	must(t, l.Close())
	after, err := os.ReadFile(path)
	must(t, err)
	if string(before) != string(after) {
		t.Error("reading changed the file")
	}
}

func TestOldLedgerGoesOn(t *testing.T) {
	s := oldRun(t)
	ctx := t.Context()
	reader, err := s.OpenRead(ctx, "r1") // it is there already
	must(t, err)
	l, err := s.Open(ctx, "r1")
	must(t, err)
	must(t, l.Begin(ctx))
	must(t, l.SentEntry(ctx, 1, 0))
	must(t, l.SettleEntry(ctx, 1, 0, Outcome{Class: "refused"}, Cost{1, 0}))
	if sum := summaryOf(t, reader); sum.Failed != 5 {
		t.Errorf("the reader sees %+v", sum)
	}
	if r := rowsOf(t, reader)[4]; r.Status != Failed {
		t.Errorf("the reader sees %+v", r)
	}
	must(t, reader.Close())
	span := keep(t, l, "members")
	must(t, l.SettleWith(ctx, 1, make([]Outcome, 2), fmt.Append(nil, span), Cost{}))
	must(t, l.End(ctx, Finished, Session{}))
	sum := summaryOf(t, l)
	if sum.Succeeded != 3 || sum.Failed != 5 || sum.Calls != 3 {
		t.Errorf("got %+v", sum)
	}
	v, err := l.View(ctx)
	must(t, err)
	list := chunksOf(t, v)
	if string(list[0].Note) != fmt.Sprint(span) || list[0].SettledAt.IsZero() || !list[1].SettledAt.IsZero() {
		t.Errorf("chunks: got %+v", list)
	}
	v.Close()
	must(t, l.Close())

	_, fresh := create(t, "r1")
	must(t, fresh.Close())
	diff(t, "tables", tablesOf(t, l.Path()), tablesOf(t, fresh.Path()))
	head, err := os.ReadFile(l.Path())
	must(t, err)
	if head[63] != version {
		t.Errorf("the first bytes say version %d", head[63])
	}
}

// A process that dies in the middle of it leaves the ledger as it was.
func TestUpgradeIsOneStep(t *testing.T) {
	s := oldRun(t)
	path := filepath.Join(s.Path("r1"), fileName)
	before := tablesOf(t, path)
	db, err := sql.Open("sqlite", path)
	must(t, err)
	_, err = db.Exec("ALTER TABLE books ADD COLUMN kept TEXT") // in the way of the last step
	must(t, errors.Join(err, db.Close()))
	if l, err := s.Open(t.Context(), "r1"); err == nil {
		l.Close()
		t.Fatal("no error")
	}
	db, err = sql.Open("sqlite", path)
	must(t, err)
	_, err = db.Exec("ALTER TABLE books DROP COLUMN kept")
	must(t, errors.Join(err, db.Close()))
	diff(t, "tables", tablesOf(t, path), before)
	l, err := s.Open(t.Context(), "r1")
	must(t, err)
	must(t, l.Close())
}

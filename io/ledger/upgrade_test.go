package ledger

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
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

// undone is what takes a schema back to the version before it.
var undone = map[int][]string{
	5: {"DROP TABLE latency", "DROP TABLE failing", "ALTER TABLE session DROP COLUMN latency"},
	4: {"ALTER TABLE run DROP COLUMN sum"},
	3: {"DROP TABLE pace", "ALTER TABLE session DROP COLUMN refused"},
	2: {
		"DROP TABLE entry", "DROP INDEX chunk_lo",
		"ALTER TABLE progress DROP COLUMN settled", "ALTER TABLE progress DROP COLUMN note",
		"ALTER TABLE books DROP COLUMN superseded", "ALTER TABLE books DROP COLUMN kept",
	},
}

// oldRun makes a run as version old of the schema has it: planSmall's, the first
// chunk sent and the second settled, and then killed.
func oldRun(t *testing.T, old int) Store {
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
	var statements []string
	for v := version; v > old; v-- {
		statements = append(statements, undone[v]...)
	}
	for _, statement := range append(statements, fmt.Sprintf("PRAGMA user_version = %d", old), "PRAGMA wal_checkpoint(TRUNCATE)") {
		_, err := db.Exec(statement)
		must(t, err)
	}
	like := filepath.Join(t.TempDir(), "like.db")
	real, err := sql.Open("sqlite", like)
	must(t, err)
	all := schemas()
	for _, schema := range all[:old] {
		_, err := real.Exec(schema)
		must(t, err)
	}
	must(t, real.Close())
	diff(t, fmt.Sprintf("tables of version %d", old), tablesOf(t, l.Path()), tablesOf(t, like))
	return s
}

// ofEachOldVersion runs a test for each version that is upgraded.
func ofEachOldVersion(t *testing.T, test func(t *testing.T, s Store)) {
	for old := 1; old < version; old++ {
		t.Run(fmt.Sprint(old), func(t *testing.T) { test(t, oldRun(t, old)) })
	}
}

func TestOldLedgerIsReadAsItIs(t *testing.T) { ofEachOldVersion(t, oldLedgerIsReadAsItIs) }

func oldLedgerIsReadAsItIs(t *testing.T, s Store) {
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
	chunks := chunksOf(t, v)
	chunks[1].SettledAt = time.Time{} // version 1 does not know it
	diff(t, "chunks", chunks, []ChunkResult{
		{ID: 1, Group: "g1", FirstRow: 0, Rows: 3, Data: []byte{1}},
		{ID: 2, Group: "g2", FirstRow: 3, Rows: 3, Status: Succeeded},
	})
	if list := paceOf(t, v); len(list) != 0 {
		t.Errorf("pace: got %+v", list)
	}
	if list := windowsOf(t, v); len(list) != 0 || sum.Latency != nil {
		t.Errorf("windows: got %+v, latency %+v", list, sum.Latency)
	}
	groups, err := v.Groups(t.Context())
	must(t, err)
	diff(t, "groups", groups, []GroupBooks{{"g1", 3, 0, 0, 3}, {"g2", 3, 2, 1, 0}})
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

func TestOldLedgerGoesOn(t *testing.T) { ofEachOldVersion(t, oldLedgerGoesOn) }

func oldLedgerGoesOn(t *testing.T, s Store) {
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
	must(t, l.AddPace(ctx, []Second{{Unix: 7, Calls: 1}}))
	must(t, l.AddWindows(ctx, []Window{{Unix: 7, Seconds: 1, Latency: took(3 * time.Millisecond)}}, took(3*time.Millisecond)))
	must(t, l.End(ctx, Finished, Session{Refused: 2}))
	sum := summaryOf(t, l)
	if sum.Latency == nil || len(windowsNow(t, l)) != 1 {
		t.Errorf("got latency %+v", sum.Latency)
	}
	if sum.Succeeded != 3 || sum.Failed != 5 || sum.Calls != 3 || sum.Refused != 2 {
		t.Errorf("got %+v", sum)
	}
	v, err := l.View(ctx)
	must(t, err)
	list := chunksOf(t, v)
	if string(list[0].Note) != fmt.Sprint(span) || list[0].SettledAt.IsZero() {
		t.Errorf("chunks: got %+v", list)
	}
	diff(t, "pace", paceOf(t, v), []Second{{Unix: 7, Calls: 1}})
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
func TestUpgradeIsOneStep(t *testing.T) { ofEachOldVersion(t, upgradeIsOneStep) }

func upgradeIsOneStep(t *testing.T, s Store) {
	path := filepath.Join(s.Path("r1"), fileName)
	before := tablesOf(t, path)
	db, err := sql.Open("sqlite", path)
	must(t, err)
	_, err = db.Exec("ALTER TABLE session ADD COLUMN latency TEXT") // in the way of the last step
	must(t, errors.Join(err, db.Close()))
	if l, err := s.Open(t.Context(), "r1"); err == nil {
		l.Close()
		t.Fatal("no error")
	}
	db, err = sql.Open("sqlite", path)
	must(t, err)
	_, err = db.Exec("ALTER TABLE session DROP COLUMN latency")
	must(t, errors.Join(err, db.Close()))
	diff(t, "tables", tablesOf(t, path), before)
	l, err := s.Open(t.Context(), "r1")
	must(t, err)
	must(t, l.Close())
}

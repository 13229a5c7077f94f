package ledger

import (
	"bytes"
	"chatbatch/limiter/pgtest"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// What is migrated is migrated once, whoever does it and how often.
func TestMigratePostgres(t *testing.T) {
	url := pgURL(t)
	_, err := OpenPostgres(t.Context(), PostgresOptions{URL: url})
	if !errors.Is(err, ErrNotMigrated) || !strings.Contains(err.Error(), "chatbatch migrate") {
		t.Errorf("without tables: got %v", err)
	}
	made := pgtest.Contest(t, 4, func(int) (bool, error) { return MigratePostgres(t.Context(), url) })
	if made != 1 {
		t.Errorf("%d of 4 made the tables", made)
	}
	openPG(t, url)
}

// Tables of a newer program, or of another, are left alone.
func TestForeignTables(t *testing.T) {
	for name, tt := range map[string]struct{ comment, says string }{
		"newer":         {"'chatbatch ledger v9: x'", "use a newer chatbatch"},
		"another's":     {"'my runs'", "rename it, or use another database or schema"},
		"without a say": {"NULL", "rename it, or use another database or schema"},
	} {
		t.Run(name, func(t *testing.T) {
			url := pgURL(t)
			pgtest.SQL(t, url, "CREATE TABLE chatbatch_run (n int); COMMENT ON TABLE chatbatch_run IS "+tt.comment)
			_, err := OpenPostgres(t.Context(), PostgresOptions{URL: url})
			_, err2 := MigratePostgres(t.Context(), url)
			for _, err := range []error{err, err2} {
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("got %v, want it to say %q", err, tt.says)
				}
			}
		})
	}
}

// Nothing that goes wrong says the password.
func TestPostgresErrorsHoldNoSecret(t *testing.T) {
	const secret = "Qx7-hush-Hush"
	for _, url := range []string{
		"postgres://jobs:" + secret + "@127.0.0.1:1/chat", "postgres://jobs:a@" + secret + "@127.0.0.1:1/chat",
		"postgres://127.0.0.1:1/chat?password=" + secret, "postgres://jobs:" + secret + "@127.0.0.1:x/chat",
		"postgres://jobs:" + secret + "@127.0.0.1:1/chat?pool_max_conns=" + secret,
	} {
		for _, err := range []error{
			func() error { _, err := OpenPostgres(t.Context(), PostgresOptions{URL: url}); return err }(),
			func() error { _, err := MigratePostgres(t.Context(), url); return err }(),
		} {
			if err == nil || strings.Contains(fmt.Sprintf("%v %+v", err, err), secret) {
				t.Errorf("got %v", err)
			}
		}
	}
}

func TestPostgresFindAndList(t *testing.T) {
	s := newHeldStore(t)
	ctx := t.Context()
	key := meta("").Key()
	other := meta("")
	other.Kind = "marks delete"
	add := func(run string, m Meta, state State) {
		t.Helper()
		m.Run = run
		l, err := s.Create(ctx, m)
		must(t, err)
		defer func() { must(t, l.Close()) }()
		if state == Planning {
			return
		}
		planSmall(t, l)
		if state == Planned {
			return
		}
		must(t, l.Begin(ctx))
		must(t, l.Settle(ctx, 1, make([]Outcome, 2), Cost{1, 0}))
		must(t, l.Settle(ctx, 2, make([]Outcome, 3), Cost{1, 0}))
		must(t, l.End(ctx, state, Session{}))
	}
	find := func(want string) {
		t.Helper()
		list, err := s.List(ctx)
		must(t, err)
		if got, err := s.Find(ctx, list, key); got != want || err != nil {
			t.Errorf("Find: got %q, %v, want %q", got, err, want)
		}
	}
	find("")
	add("20260101T000000.000Z-000001", meta(""), Interrupted)
	add("20260101T000000.000Z-000002", other, Finished)
	add("20260101T000000.000Z-000003", meta(""), Planning)
	find("20260101T000000.000Z-000001")
	list, err := s.List(ctx)
	must(t, err)
	if len(list) != 2 || list[0].Run != "20260101T000000.000Z-000001" || list[1].Run != "20260101T000000.000Z-000002" { // r3 was never begun
		t.Errorf("got %+v", list)
	}
	diff(t, "books", list[1].Books, Books{8, 6, 2, 0})
	diff(t, "meta", list[0].Meta.Header, meta("").Header)
	if list[1].Finished.IsZero() || list[1].State != Finished || list[1].Reported {
		t.Errorf("got %+v", list[1])
	}
	if id := s.NewRun(ctx, key, time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)); !strings.HasPrefix(id, "20260101T000000.001Z-") {
		t.Errorf("got %q", id)
	}
	add("20991122T014912.999Z-ffffff", meta(""), Planned)
	if id := s.NewRun(ctx, key, time.Now()); id <= "20991122T014912.999Z-ffffff" {
		t.Errorf("a new run %q comes before the newest", id)
	}
	pgtest.SQL(t, s.url, "UPDATE chatbatch_run SET meta = meta || '\\x20' WHERE run LIKE '2099%'")
	list, err = s.List(ctx)
	must(t, err)
	if _, err := s.Find(ctx, list, key); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "--fresh") {
		t.Errorf("a run that cannot be read: got %v", err)
	}
	must(t, s.Remove(ctx, "20260101T000000.000Z-000001"))
	if err := s.Remove(ctx, "20260101T000000.000Z-000001"); !errors.Is(err, ErrNoRun) {
		t.Errorf("Remove again: got %v", err)
	}
	if _, err := s.OpenRead(ctx, "20260101T000000.000Z-000001"); !errors.Is(err, ErrNoRun) {
		t.Errorf("OpenRead: got %v", err)
	}
}

// Remove leaves nothing of the run, and nothing less of its neighbour.
func TestPostgresRemove(t *testing.T) {
	s := newHeldStore(t)
	ctx := t.Context()
	for _, run := range []string{"r1", "r2"} {
		l, err := s.Create(ctx, meta(run))
		must(t, err)
		planSmall(t, l)
		must(t, l.Begin(ctx))
		keep(t, l, "members")
		must(t, l.SettleEntry(ctx, 2, 0, Outcome{Class: "refused"}, Cost{1, 0}))
		must(t, l.AddPace(ctx, []Second{{Unix: 7, Calls: 1}}))
		trip := &Latency{}
		trip.Add(time.Millisecond)
		must(t, l.AddWindows(ctx, []Window{{Unix: 7, Seconds: 10, Latency: trip, Failed: map[string]int64{"refused": 1}}}, trip))
		must(t, l.Close())
	}
	rows := func(table string) (n int) {
		must(t, s.pool.QueryRow(ctx, "SELECT count(*) FROM chatbatch_"+table).Scan(&n))
		return n
	}
	before := map[string]int{}
	for _, table := range append(partTables(), "run") {
		if before[table] = rows(table); before[table] == 0 {
			t.Errorf("there is nothing in %s", table)
		}
	}
	must(t, s.Remove(ctx, "r1"))
	for table, n := range before {
		if got := rows(table); got != n/2 {
			t.Errorf("%s has %d rows of %d", table, got, n)
		}
	}
}

func TestPostgresKeep(t *testing.T) {
	s := newHeldStore(t)
	ctx := t.Context()
	l, err := s.Create(ctx, meta("r1"))
	must(t, err)
	if _, err := l.Keep(ctx, nil); !errors.Is(err, ErrNotQueued) {
		t.Errorf("while planning: got %v, want ErrNotQueued", err)
	}
	planSmall(t, l)
	must(t, l.Begin(ctx))
	want := map[Span]string{}
	for _, data := range []string{"members of g1", "", strings.Repeat("班级", 100_000)} {
		want[keep(t, l, data)] = data
	}
	must(t, l.Close())
	if _, err := l.Keep(ctx, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: got %v, want ErrClosed", err)
	}
	l, err = s.Open(ctx, "r1")
	must(t, err)
	defer l.Close()
	want[keep(t, l, "of another session")] = "of another session"
	if len(want) != 4 || !l.HasKept() {
		t.Errorf("got %v", want)
	}
	for span, data := range want {
		if got, err := kept(t, l, span); string(got) != data || err != nil {
			t.Errorf("%v: got %d bytes, %v", span, len(got), err)
		}
	}
	for span := range want {
		for _, wrong := range []Span{{span.Offset + 99, span.Length}, {span.Offset, span.Length + 1}} {
			if _, err := kept(t, l, wrong); !errors.Is(err, ErrDamaged) {
				t.Errorf("%v: got %v, want ErrDamaged", wrong, err)
			}
		}
	}
	pgtest.SQL(t, s.url, `UPDATE chatbatch_kept SET data = set_byte(data, 0, 99)`)
	for span := range want {
		if _, err := kept(t, l, span); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "--fresh") {
			t.Errorf("a flipped bit: got %v", err)
		}
	}
	for range 2 {
		must(t, l.DropKept(ctx))
	}
	for span := range want {
		if _, err := kept(t, l, span); !errors.Is(err, ErrDropped) {
			t.Errorf("after DropKept: got %v", err)
		}
	}
	if _, err := l.Keep(ctx, nil); !errors.Is(err, ErrDropped) || l.HasKept() {
		t.Errorf("after DropKept: got %v", err)
	}
	var left int
	must(t, s.pool.QueryRow(ctx, "SELECT count(*) FROM chatbatch_kept").Scan(&left))
	if left != 0 {
		t.Errorf("%d pieces are left", left)
	}
}

// A lock has one holder, on whatever host, and ends with it.
func TestPostgresLock(t *testing.T) {
	url := pgMigrated(t)
	one, two := openPG(t, url), openPG(t, url)
	ctx := t.Context()
	unlock, err := one.Lock(ctx, "k", false)
	must(t, err)
	if _, err := two.Lock(ctx, "k", false); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
	free, err := two.Lock(ctx, "other", false)
	must(t, err)
	free()
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := two.Lock(short, "k", true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of ctx", err)
	}
	waited := make(chan error)
	go func() {
		unlock, err := two.Lock(ctx, "k", true)
		if err == nil {
			unlock()
		}
		waited <- err
	}()
	unlock()
	must(t, <-waited)

	// Of a holder that has died nobody hears any more.
	_, err = one.Lock(ctx, "k", false)
	must(t, err)
	dead, err := one.held("k")
	must(t, err)
	dead.stop()
	<-dead.ended
	unlock, err = two.Lock(ctx, "k", false)
	must(t, err)
	unlock()
	var left int
	must(t, one.pool.QueryRow(ctx, "SELECT count(*) FROM chatbatch_lock").Scan(&left))
	if left != 0 {
		t.Errorf("%d locks are left", left)
	}
}

// Who has lost the lock of a run changes nothing any more.
func TestLostLock(t *testing.T) {
	s := newHeldStore(t)
	ctx := t.Context()
	l, err := s.Create(ctx, meta("r1"))
	must(t, err)
	planSmall(t, l)
	must(t, l.Begin(ctx))
	must(t, l.Settle(ctx, 1, make([]Outcome, 2), Cost{1, 0}))
	pgtest.SQL(t, s.url, "UPDATE chatbatch_lock SET until = '-infinity'")
	other := openPG(t, s.url)
	unlock, err := other.Lock(ctx, l.Meta().Key(), false)
	must(t, err)
	defer unlock()
	for range 2 {
		err := l.Settle(ctx, 2, make([]Outcome, 3), Cost{1, 0})
		if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "another has taken over") {
			t.Errorf("got %v, want ErrLocked", err)
		}
	}
	must(t, l.Close())
	l, err = other.Open(ctx, "r1")
	must(t, err)
	defer l.Close()
	if sum := summaryOf(t, l); sum.Unprocessed != 3 || sum.Calls != 1 {
		t.Errorf("got %+v", sum)
	}
}

// Groups and errors may have any bytes.
func TestPostgresTakesAnyBytes(t *testing.T) {
	s := newHeldStore(t)
	ctx := t.Context()
	m := meta("r1")
	m.Header, m.Input = "\xff\x00group", "班级.csv"
	l, err := s.Create(ctx, m)
	must(t, err)
	defer l.Close()
	group, raw := "g\x00\xff班", "a\x00\xfe,\xff"
	must(t, l.PlanSource(0, 2, raw))
	must(t, l.PlanChunk(group, []Entry{{"\x00\xff", bytes.Repeat([]byte{0}, 3), []int64{0}}}))
	must(t, l.PlanDone(ctx, 1, 0))
	for c, err := range l.Pending(ctx) {
		must(t, err)
		diff(t, "chunk", c, Chunk{ID: 1, Group: group, Entries: []Entry{{"\x00\xff", []byte{0, 0, 0}, []int64{0}}}})
	}
	bad := Outcome{Class: "refused", Error: "said \x00\xff"}
	must(t, l.Begin(ctx))
	must(t, l.Settle(ctx, 1, []Outcome{bad}, Cost{}))
	diff(t, "rows", rowsOf(t, l), []RowOutcome{{0, 2, raw, Failed, bad}})
	r, err := s.OpenRead(ctx, "r1")
	must(t, err)
	defer r.Close()
	diff(t, "header", r.Meta().Header, m.Header)
}

package ledger

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"chatbatch/limiter/pgtest"
)

// formThreeURL is a database with tables of form 3.
func formThreeURL(t *testing.T) string {
	t.Helper()
	url := pgURL(t)
	for _, form := range forms()[:3] {
		pgtest.SQL(t, url, form)
	}
	pgtest.SQL(t, url, `COMMENT ON TABLE chatbatch_run IS 'chatbatch ledger v3: the runs of all hosts'`)
	return url
}

// An upgrade does not keep hosts from the tables while it waits for somebody who reads
// for long.
func TestMigrateBesideReaders(t *testing.T) {
	url := formThreeURL(t)
	ctx := t.Context()
	p, err := newPostgres(ctx, PostgresOptions{URL: url})
	must(t, err)
	defer p.Close()
	reader, err := p.pool.Begin(ctx)
	must(t, err)
	_, err = reader.Exec(ctx, "SELECT FROM chatbatch_run")
	must(t, err)
	migrated := make(chan bool)
	go func() {
		changed, err := MigratePostgres(ctx, url)
		if err != nil {
			t.Error(err)
		}
		migrated <- changed
	}()
	for waits := false; !waits; {
		must(t, p.pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_locks WHERE relation = 'chatbatch_run'::regclass AND NOT granted)`).Scan(&waits))
	}
	host, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if _, err := p.pool.Exec(host, "UPDATE chatbatch_run SET known = true"); err != nil {
		t.Errorf("a host, while the upgrade waits for a reader: %v", err)
	}
	must(t, reader.Rollback(ctx))
	if !<-migrated {
		t.Error("nothing was changed")
	}
}

// Tables of form 3 with runs in them are brought up to date: runs are as they were.
func TestMigrateFormThree(t *testing.T) {
	url := formThreeURL(t)
	pgtest.SQL(t, url, `INSERT INTO chatbatch_schedule VALUES ('night', '{}', 'c', 'l', now(), now());
		INSERT INTO chatbatch_kept VALUES (1, 7, 'abc')`)
	for n, state := range []string{"finished", "running", "stopped"} {
		m := meta(fmt.Sprint("r", n))
		text, err := m.MarshalJSON()
		must(t, err)
		pgtest.SQL(t, url, fmt.Sprintf(`INSERT INTO chatbatch_run (run, key, meta, sum, state, told, fleet, waited)
			VALUES ('%s', '%s', convert_to('%s', 'UTF8'), %d, '%s', %t, %d, true)`, m.Run, m.Key(), text, checksum(text, ""), state, state == "finished", n))
	}
	if _, err := OpenPostgres(t.Context(), PostgresOptions{URL: url}); !errors.Is(err, ErrNotMigrated) {
		t.Errorf("opened before: %v", err)
	}
	for _, want := range []bool{true, false} {
		if changed, err := MigratePostgres(t.Context(), url); err != nil || changed != want {
			t.Fatalf("changed %v, %v", changed, err)
		}
	}
	s := openPG(t, url)
	list, err := s.List(t.Context())
	must(t, err)
	for n, i := range list {
		at, err := s.Publication(t.Context(), i.Run)
		if err != nil || !at.Publish.Over() || i.Err != nil || i.Reported != (n == 0) {
			t.Errorf("%+v: %+v, %v", i, at, err)
		}
	}
	if len(list) != 3 {
		t.Errorf("got %d runs", len(list))
	}
	if at, err := s.Standing(t.Context(), "r1"); err != nil || at.Fleet != 1 || at.State != Running {
		t.Errorf("got %+v, %v", at, err)
	}
}

package limiter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"chatbatch/limiter/pgtest"
)

// 8 hosts change one roll: no change is lost, and each has a revision of its own.
func testPGMany(t *testing.T, url string) {
	const hosts, times = 8, 25
	pgMustStore(t, pgOpened(t, url), "app", 0, pgTwoHosts(), true)
	var all sync.WaitGroup
	for i := range hosts {
		r, me := pgOpened(t, url), fmt.Sprint("host", i)
		all.Go(func() {
			if err := pgHammer(pgWithin(t, 4*pgAmple), r, me, times); err != nil {
				t.Errorf("%s: %v", me, err)
			}
		})
	}
	all.Wait()
	rec := pgMustLoad(t, pgOpened(t, url), "app")
	if got := rec.roll.Slow["all"]; got != hosts*times {
		t.Errorf("%d of %d changes are left", got, hosts*times)
	}
	for i := range hosts {
		me := fmt.Sprint("host", i)
		if got := rec.roll.Hosts[me].Calls; got != times {
			t.Errorf("the last beat of %s that is left is %d of %d", me, got, times)
		}
	}
	if want := int64(1 + 2*hosts*times); rec.rev != want {
		t.Errorf("revision %d, want %d", rec.rev, want)
	}
}

// pgHammer adds to the roll and beats, times times each.
func pgHammer(ctx context.Context, r *pgRegistry, me string, times int) error {
	for i := range times {
		for stored := false; !stored; {
			rec, err := r.load(ctx, "app")
			if err != nil {
				return err
			}
			rec.roll.Slow["all"]++
			if _, known := rec.roll.Hosts[me]; !known {
				rec.roll.Hosts[me] = tenant{Name: me}
			}
			if stored, err = r.store(ctx, "app", rec.rev, rec.roll); err != nil {
				return err
			}
		}
		if _, known, err := r.beat(ctx, "app", me, pulse{Calls: i + 1}); err != nil || !known {
			return fmt.Errorf("beat %d: %v, %w", i, known, err)
		}
	}
	return nil
}

func testPGSerializable(t *testing.T, s *pgtest.Server) {
	url := pgMigrated(t, s)
	pgtest.SQL(t, s.URL(), `CREATE ROLE strict LOGIN SUPERUSER; ALTER ROLE strict SET default_transaction_isolation = 'serializable'`)
	testPGMany(t, strings.Replace(url, "postgres@", "strict@", 1))
}

func testPGManyBegin(t *testing.T, s *pgtest.Server) {
	url := pgMigrated(t, s)
	var hosts []*pgRegistry
	for range 8 {
		hosts = append(hosts, pgOpened(t, url))
	}
	stored := pgtest.Contest(t, len(hosts), func(i int) (bool, error) {
		return hosts[i].store(pgWithin(t, pgAmple), "app", 0, roll{Lanes: i})
	})
	if stored != 1 {
		t.Errorf("%d of 8 have made the roll, want 1", stored)
	}
}

// pgLocked runs f while another transaction has changed the row and not ended.
func pgLocked(t *testing.T, url string, f func()) {
	t.Helper()
	ctx := pgWithin(t, pgAmple)
	conn, err := pgconn.Connect(ctx, url+"&application_name=lock")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, text := range []string{"BEGIN; UPDATE chatbatch_lanes SET rev = rev", "COMMIT"} {
		if _, err := conn.Exec(ctx, text).ReadAll(); err != nil {
			t.Fatal(err)
		}
		if text != "COMMIT" {
			f()
		}
	}
}

func testPGClockAfterWait(t *testing.T, s *pgtest.Server) {
	url := pgMigrated(t, s)
	r := pgOpened(t, url)
	pgMustStore(t, r, "app", 0, pgTwoHosts(), true)
	done := make(chan record, 1)
	var freed time.Time
	pgLocked(t, url, func() {
		go func() {
			rec, _, err := r.beat(pgWithin(t, pgAmple), "app", "a", pulse{})
			if err != nil {
				t.Error(err)
			}
			done <- rec
		}()
		pgWaitFor(t, "the beat to wait", func() bool {
			return pgtest.SQL(t, url, `SELECT count(*) FROM pg_locks WHERE NOT granted`)[0] == "1"
		})
		time.Sleep(50 * time.Millisecond)
		freed = time.Now()
	})
	rec := <-done
	if until := time.UnixMicro(rec.roll.Hosts["a"].Until); until.Before(freed.Add(leaseInTable)) || rec.now.Before(freed) {
		t.Errorf("free at %v, the lease ends at %v, now was %v", freed, until, rec.now)
	}
}

// A row that somebody keeps locked holds no call beyond its time, and no connection
// of calls that were given up.
func testPGNoHeap(t *testing.T, s *pgtest.Server) {
	url := pgMigrated(t, s)
	r := pgOpened(t, url)
	pgMustStore(t, r, "app", 0, pgTwoHosts(), true)
	pgLocked(t, url, func() {
		for range 5 {
			began := time.Now()
			_, _, err := r.beat(pgWithin(t, 100*time.Millisecond), "app", "a", pulse{Wants: 99})
			if !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > time.Second {
				t.Errorf("locked: %v after %v", err, time.Since(began))
			}
		}
		pgWaitFor(t, "the server to give up", func() bool {
			return pgtest.SQL(t, url, `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chatbatch'`)[0] == "0"
		})
	})
	rec := pgMustLoad(t, r, "app")
	if rec.rev != 1 {
		t.Errorf("revision %d, want 1", rec.rev)
	}
}

package ledger

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"chatbatch/limiter/pgtest"
)

// plannedRun is a run of so many chunks of a row that nobody has in hand yet.
func plannedRun(t *testing.T, s *heldStore, chunks int64) Meta {
	t.Helper()
	l, err := s.Create(t.Context(), meta("r1"))
	must(t, err)
	for num := range chunks {
		must(t, l.PlanSource(num, num+2, "row"))
		must(t, l.PlanChunk("g", []Entry{{"a", nil, []int64{num}}}))
	}
	must(t, l.PlanDone(t.Context(), chunks, 0))
	must(t, l.Close())
	return l.Meta()
}

// The server is lost in the middle of a long release: nothing of that is left, and it is
// done again, whole.
func TestReleaseThroughCrashOfTheServer(t *testing.T) {
	server := pgtest.Start(t)
	_, err := MigratePostgres(t.Context(), server.URL())
	must(t, err)
	s := &heldStore{openPG(t, server.URL()), server.URL()}
	const chunks = 2*releaseStep + 7
	m := plannedRun(t, s, chunks)
	pgtest.SQL(t, s.url, "CREATE TABLE given (chunk bigint)")
	calls := 0
	released, err := s.Release(t.Context(), m, Orders{}, func(ctx context.Context, tx pgx.Tx, open []int64) error {
		if calls++; calls == 2 {
			server.Stop(t)
			server.Restart(t)
		}
		_, err := tx.Exec(ctx, "INSERT INTO given SELECT unnest($1::bigint[])", open)
		return err
	})
	if must(t, err); !released || calls < 5 {
		t.Errorf("released: %v, by %d calls", released, calls)
	}
	var given []int64
	rows, err := s.readers.Query(t.Context(), "SELECT chunk FROM given ORDER BY chunk")
	must(t, err)
	given, err = pgx.CollectRows(rows, pgx.RowTo[int64])
	must(t, err)
	if len(given) != chunks || len(slices.Compact(given)) != chunks {
		t.Errorf("%d chunks were given out, want %d", len(given), chunks)
	}
	at, err := s.Standing(t.Context(), "r1")
	if must(t, err); at.State != Running || at.Fleet != 1 || at.Open != chunks {
		t.Errorf("got %+v", at)
	}
}

// A release may take longer than the lock of its run lasts: until it is done others see
// the run as it was, and none can take it.
func TestReleaseLongerThanItsLock(t *testing.T) {
	s := newHeldStore(t)
	m := plannedRun(t, s, 3)
	first, err := s.held(m.Key())
	must(t, err)
	first.unlock()
	const length = 300 * time.Millisecond
	short := newLease(m.Key(), length)
	got, _, err := s.take(t.Context(), short)
	if must(t, err); !got {
		t.Fatal("the lock is not free")
	}
	// Without a heart: that waits for the release as others do, and may be the last.
	short.stop, short.free = func() {}, func() {}
	s.leases[m.Key()] = short
	tried := make(chan bool)
	_, err = s.Release(t.Context(), m, Orders{}, func(ctx context.Context, tx pgx.Tx, _ []int64) error {
		if at, err := s.Standing(ctx, "r1"); err != nil || at.State != Planned {
			t.Errorf("meanwhile: got %+v, %v", at, err)
		}
		go func() {
			got, _, err := s.take(t.Context(), newLease(m.Key(), length))
			if err != nil {
				t.Error(err)
			}
			tried <- got
		}()
		_, err := tx.Exec(ctx, "SELECT pg_sleep(1)")
		return err
	})
	must(t, err)
	if <-tried {
		t.Error("another has taken the lock")
	}
	if at, err := s.Standing(t.Context(), "r1"); err != nil || at.State != Running {
		t.Errorf("got %+v, %v", at, err)
	}
}

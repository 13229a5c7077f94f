package fleet

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"chatbatch/io/ledger"
	"chatbatch/jobs"
	"chatbatch/limiter/pgtest"
)

// givenRun is a run of one row that was given to hosts, in a database of its own; give gives
// it to them again.
func givenRun(t *testing.T) (store *ledger.Postgres, run string, give func(o ledger.Orders)) {
	t.Helper()
	ctx := t.Context()
	url := pgtest.Start(t).URL()
	_, err := ledger.MigratePostgres(ctx, url)
	if err == nil {
		store, err = ledger.OpenPostgres(ctx, ledger.PostgresOptions{URL: url})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	m := ledger.Meta{Run: "r1", Kind: "marks set"}
	if _, err := store.Lock(ctx, m.Key(), false); err != nil {
		t.Fatal(err)
	}
	l, err := store.Create(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(l.PlanSource(0, 2, "row"), l.PlanChunk("g", []ledger.Entry{{Account: "a", Rows: []int64{0}}}), l.PlanDone(ctx, 1, 0), l.Close())
	if err != nil {
		t.Fatal(err)
	}
	give = func(o ledger.Orders) {
		t.Helper()
		released, err := store.Release(ctx, m, o, func(context.Context, pgx.Tx, []int64) error { return nil })
		if err != nil || !released {
			t.Fatal(released, err)
		}
	}
	give(ledger.Orders{MaxErrors: "1"})
	return store, m.Run, give
}

// A crew that is about to leave a run which was stopped, and given to the hosts again with
// other orders, neither stops it by the old ones nor goes on by them.
func TestCrewOfOldOrders(t *testing.T) {
	store, run, give := givenRun(t)
	ctx := t.Context()
	w := &Worker{Store: store, Log: slog.New(slog.DiscardHandler)}
	c := newCrew(w, &Service{Log: w.Log, Equip: func(context.Context, *ledger.Ledger) (Gear, error) { return Gear{}, nil }}, run)
	var err error
	if c.Ledger, err = store.Join(ctx, run, time.Minute); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.equip(ctx); err != nil {
		t.Fatal(err)
	}
	if changed, err := store.Halt(ctx, run, 0, ledger.Interrupted, "it was paused"); err != nil || !changed {
		t.Fatal(changed, err)
	}
	give(ledger.Orders{MaxErrors: "1000"})

	if err := c.verdict(ctx, &jobs.GuardError{Reason: "2 rows have failed, more than the 1 allowed"}); !errors.Is(err, errHalted) {
		t.Errorf("got %v", err)
	}
	c.known(ctx)
	if s, err := store.Standing(ctx, run); err != nil || s.State != ledger.Running || s.Known {
		t.Errorf("got %+v, %v", s, err)
	}
	working, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	c.watch(working, &jobs.Meter{}, stop)
	if err := context.Cause(working); !errors.Is(err, errHalted) {
		t.Errorf("got %v", err)
	}
}

// A host that cannot work on a run does not join it anew for each of its chunks.
func TestCrewThatCannot(t *testing.T) {
	store, run, _ := givenRun(t)
	ctx, cancel := context.WithCancel(t.Context())
	w := &Worker{Store: store, Log: slog.New(slog.DiscardHandler), crews: map[string]*crew{}}
	cannot := errors.New("the limiter has no such file")
	of := &Service{Log: w.Log, Equip: func(context.Context, *ledger.Ledger) (Gear, error) { return Gear{}, cannot }}
	for range 5 {
		if _, err := w.crewOf(ctx, of, run); !errors.Is(err, cannot) {
			t.Errorf("got %v", err)
		}
	}
	cancel()
	w.working.Wait()
	l, err := store.Join(t.Context(), run, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if n := l.SessionID(); n != 2 {
		t.Errorf("it has joined %d times", n-1)
	}
}

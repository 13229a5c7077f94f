package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"chatbatch/limiter/pgtest"
)

// sharedRun plans a run of so many chunks of ten rows and gives it to hosts.
func sharedRun(t *testing.T, s *heldStore, chunks int, o Orders) {
	t.Helper()
	ctx := t.Context()
	l, err := s.Create(ctx, meta("r1"))
	must(t, err)
	var num int64
	for c := range chunks {
		var entries []Entry
		for range 10 {
			must(t, l.PlanSource(num, num+2, "row"))
			entries = append(entries, Entry{fmt.Sprint("a", num), nil, []int64{num}})
			num++
		}
		must(t, l.PlanChunk(fmt.Sprint("g", c%7), entries))
	}
	must(t, l.PlanDone(ctx, num, 0))
	must(t, l.Close())
	given := map[int64]int{}
	released, err := s.Release(ctx, l.Meta(), o, func(_ context.Context, _ pgx.Tx, open []int64) error {
		for _, c := range open {
			given[c]++
		}
		return nil
	})
	if must(t, err); !released || len(given) != chunks {
		t.Fatalf("released: %v, %d chunks, want %d", released, len(given), chunks)
	}
}

func join(t *testing.T, p *Postgres, length time.Duration) *Ledger {
	t.Helper()
	l, err := p.Join(t.Context(), "r1", length)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// unheard makes a host that has joined one of which nothing was heard for too long: neither
// its heart nor what it commits is, until it wakes.
func unheard(t *testing.T, s *heldStore, l *Ledger) (wakes func()) {
	t.Helper()
	by := l.disk.(*pgRun).by
	by.stop()
	<-by.ended
	by.order.Lock()
	pgtest.SQL(t, s.url, "UPDATE chatbatch_lock SET until = now() - interval '1 second' WHERE key = '"+by.key+"'")
	return by.order.Unlock
}

// A sign of life does not become younger when the clock on the wall is set back.
func TestSignsOfLifeKnowBothClocks(t *testing.T) {
	s := newHeldStore(t)
	sharedRun(t, s, 1, Orders{})
	at := *join(t, s.Postgres, time.Minute).disk.(*pgRun).by.alive.Load()
	if !strings.Contains(at.String(), " m=") {
		t.Errorf("a sign of life at %v is known by the clock on the wall alone", at)
	}
	if ago := since(at.Add(-time.Minute)); ago < time.Minute {
		t.Errorf("a minute ago is %v", ago)
	}
}

// A host knows how far its clock is off, also if the database takes its time to say.
func TestClockAhead(t *testing.T) {
	s := newHeldStore(t)
	for _, off := range []time.Duration{0, time.Hour, -time.Hour} {
		pgtest.SQL(t, s.url, fmt.Sprintf(`CREATE OR REPLACE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
			AS 'SELECT pg_catalog.clock_timestamp() + interval ''%d s'' FROM pg_sleep(0.3)'`, int(off.Seconds())))
		p := openPG(t, s.url+",pg_catalog") // the system's own comes after that of the test
		ahead, err := p.ClockAhead(t.Context())
		if must(t, err); (ahead+off).Abs() > time.Second || off == 0 && ahead != 0 {
			t.Errorf("%v: got %v", off, ahead)
		}
	}
}

// Several hosts settle chunks of one run, each with something else in the same
// transaction.
func TestJoined(t *testing.T) {
	s := newHeldStore(t)
	ctx := t.Context()
	const chunks, hosts = 60, 3
	sharedRun(t, s, chunks, Orders{})
	pgtest.SQL(t, s.url, "CREATE TABLE done (chunk bigint PRIMARY KEY)")
	var wg sync.WaitGroup
	for h := range hosts {
		wg.Go(func() {
			l, err := openPG(t, s.url).Join(ctx, "r1", time.Minute)
			for c := int64(h + 1); err == nil && c <= chunks; c += hosts {
				err = settleAlso(ctx, l, c)
			}
			if err == nil {
				err = errors.Join(l.Leave(ctx, Session{Calls: 1, MaxCallsInOneSecond: 3}), l.Close())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	must(t, s.Finish(ctx, "r1"))
	l, err := s.OpenRead(ctx, "r1")
	must(t, err)
	defer l.Close()
	sum := summaryOf(t, l)
	if sum.State != Finished || sum.Succeeded != chunks*9 || sum.Failed != chunks || sum.Calls != chunks+hosts || sum.ByClass["refused"] != chunks || sum.Replayed != 0 {
		t.Errorf("got %+v", sum)
	}
	var done int64
	must(t, s.pool.QueryRow(ctx, "SELECT count(*) FROM done").Scan(&done))
	if done != chunks {
		t.Errorf("%d chunks are noted beside, want %d", done, chunks)
	}
	if at, err := s.Standing(ctx, "r1"); err != nil || at.Hosts != 0 || at.Open != 0 || at.Fleet != 1 {
		t.Errorf("got %+v, %v", at, err)
	}
}

// settleAlso settles a chunk, after what was to be done with it has failed once.
func settleAlso(ctx context.Context, l *Ledger, chunk int64) error {
	if _, err := l.Claim(ctx, chunk); err != nil {
		return err
	}
	if err := l.Sent(ctx, chunk); err != nil {
		return err
	}
	outcomes := make([]Outcome, 10)
	outcomes[chunk%10] = Outcome{Class: "refused", Code: 10004}
	err := l.SettleAlso(ctx, chunk, outcomes, []byte("note"), Cost{1, 0}, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO done VALUES ($1)", chunk)
		return err
	})
	if err != nil {
		return err
	}
	if _, err := l.Claim(ctx, chunk); !errors.Is(err, ErrSettled) {
		return fmt.Errorf("claimed again: got %w", err)
	}
	return nil
}

// A chunk has one owner. Who has not been heard of for too long loses what is in its
// hands, and can settle nothing any more.
func TestClaims(t *testing.T) {
	s := newHeldStore(t)
	ctx := t.Context()
	sharedRun(t, s, 3, Orders{})
	one, two := join(t, s.Postgres, time.Minute), join(t, openPG(t, s.url), time.Minute)
	claim := func(l *Ledger, chunk int64, want error) {
		t.Helper()
		c, err := l.Claim(ctx, chunk)
		if !errors.Is(err, want) || want == nil && (err != nil || c.ID != chunk || len(c.Entries) != 10) {
			t.Fatalf("claim chunk %d: got %v, %v, want %v", chunk, c.ID, err, want)
		}
	}
	claim(one, 1, nil)
	claim(one, 1, nil)
	claim(two, 1, ErrTaken)
	claim(two, 2, nil)
	claim(one, 2, ErrTaken)
	must(t, one.Sent(ctx, 1))

	// Its heart stops. Until it is buried it goes on, then it is another's turn.
	wakes := unheard(t, s, one)
	claim(two, 1, ErrTaken)
	must(t, s.Bury(ctx))
	wakes()
	if _, lost := two.Heard(); lost {
		t.Error("a host that lives was buried")
	}
	claim(two, 1, nil)
	if err := one.Settle(ctx, 1, make([]Outcome, 10), Cost{1, 0}); !errors.Is(err, ErrLocked) {
		t.Errorf("settled by a host that was buried: got %v", err)
	}
	if _, lost := one.Heard(); !lost {
		t.Error("a host does not know that it was buried")
	}
	must(t, two.Sent(ctx, 1))
	must(t, two.Settle(ctx, 1, make([]Outcome, 10), Cost{1, 0}))

	// Who leaves gives back.
	three := join(t, openPG(t, s.url), time.Minute)
	claim(three, 2, ErrTaken)
	must(t, two.Leave(ctx, Session{}))
	must(t, two.Close())
	claim(three, 2, nil)
	if sum := summaryOf(t, three); sum.Succeeded != 10 || sum.Replayed != 1 {
		t.Errorf("got %+v", sum)
	}
}

// A run that is given to hosts is theirs alone until it is halted.
func TestRelease(t *testing.T) {
	s := newHeldStore(t)
	ctx := t.Context()
	sharedRun(t, s, 3, Orders{MaxErrors: "5"})
	none := func(context.Context, pgx.Tx, []int64) error { return errors.New("given twice") }
	if released, err := s.Release(ctx, meta("r1"), Orders{}, none); released || err != nil {
		t.Errorf("released again: %v, %v", released, err)
	}
	if _, err := s.Open(ctx, "r1"); !errors.Is(err, ErrLocked) {
		t.Errorf("opened: got %v", err)
	}
	if err := s.Remove(ctx, "r1"); !errors.Is(err, ErrLocked) {
		t.Errorf("removed: got %v", err)
	}
	l := join(t, s.Postgres, time.Minute)
	first, known, err := s.Introduce(ctx, "r1", l.SessionID())
	if must(t, err); !first || known {
		t.Errorf("introduce: %v, %v", first, known)
	}
	other := join(t, s.Postgres, time.Minute)
	if first, known, err := s.Introduce(ctx, "r1", other.SessionID()); first || known || err != nil {
		t.Errorf("introduce beside another: %v, %v, %v", first, known, err)
	}
	must(t, l.Close())
	if first, _, err := s.Introduce(ctx, "r1", other.SessionID()); !first || err != nil {
		t.Errorf("introduce after another has left: %v, %v", first, err)
	}
	must(t, s.Introduced(ctx, "r1", 2))
	if at, err := s.Standing(ctx, "r1"); err != nil || at.Known {
		t.Errorf("introduced for another time: got %+v, %v", at, err)
	}
	must(t, s.Introduced(ctx, "r1", 1))
	if _, known, err := s.Introduce(ctx, "r1", 77); !known || err != nil {
		t.Errorf("introduced: %v, %v", known, err)
	}
}

// A run that is halted is nobody's until it is given out again, and when it is cancelled it
// does not go on by its command.
func TestHalt(t *testing.T) {
	s := newHeldStore(t)
	ctx := t.Context()
	sharedRun(t, s, 3, Orders{MaxErrors: "5"})
	must(t, s.Introduced(ctx, "r1", 1))
	changed, err := s.Halt(ctx, "r1", 2, Refused, "no key")
	if must(t, err); changed {
		t.Error("it was halted by what is of another time")
	}
	changed, err = s.Halt(ctx, "r1", 1, Refused, "no key")
	if must(t, err); !changed {
		t.Error("it was not halted")
	}
	if _, err := s.Open(ctx, "r1"); !errors.Is(err, ErrShared) {
		t.Errorf("opened when it was halted: got %v", err)
	}
	if changed, err = s.Halt(ctx, "r1", 0, Stopped, "too late"); changed || err != nil {
		t.Errorf("halted again: %v, %v", changed, err)
	}
	at, err := s.Standing(ctx, "r1")
	if must(t, err); at.State != Refused || at.Why != "no key" || at.MaxErrors != "5" || !at.Known || at.Open != 3 {
		t.Errorf("got %+v", at)
	}
	if _, err := s.Join(ctx, "r1", time.Minute); !errors.Is(err, ErrNotRunning) {
		t.Errorf("joined a run that was halted: got %v", err)
	}
	must(t, s.Finish(ctx, "r1")) // it is not
	released, err := s.Release(ctx, meta("r1"), Orders{MaxErrors: "6"}, func(context.Context, pgx.Tx, []int64) error { return nil })
	if must(t, err); !released {
		t.Error("it was not given out again")
	}
	at, err = s.Standing(ctx, "r1")
	if must(t, err); at.State != Running || at.Why != "" || at.MaxErrors != "6" || at.Known || at.Fleet != 2 {
		t.Errorf("given out again: got %+v", at)
	}
	changed, err = s.Cancel(ctx, "r1")
	if must(t, err); !changed {
		t.Error("it was not cancelled")
	}
	list, err := s.List(ctx)
	must(t, err)
	if run, err := s.Find(ctx, list, meta("r1").Key()); run != "" || err != nil {
		t.Errorf("a run that was cancelled goes on: %q, %v", run, err)
	}
}

// Hosts add to the same seconds and classes at once, in whatever order they come: none has
// to be broken off because two wait for each other, which would look like a database that
// is lost.
func TestPaceOfHostsTogether(t *testing.T) {
	s := newHeldStore(t)
	sharedRun(t, s, 1, Orders{})
	ctx := t.Context()
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	var hosts sync.WaitGroup
	for h := range 2 {
		p, err := OpenPostgres(ctx, PostgresOptions{URL: s.url, Log: log})
		must(t, err)
		defer p.Close()
		l := join(t, p, time.Minute)
		var pace []Second
		var windows []Window
		for n := range 100 {
			pace = append(pace, Second{Unix: int64(n), Calls: 1})
			windows = append(windows, Window{Unix: int64(n), Seconds: 1, Failed: map[string]int64{"a": 1, "b": 1, "c": 1, "d": 1}})
		}
		if h == 1 {
			slices.Reverse(pace)
			slices.Reverse(windows)
		}
		hosts.Go(func() {
			for range 10 {
				if err := errors.Join(l.AddPace(ctx, pace), l.AddWindows(ctx, windows, nil)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	hosts.Wait()
	if said.Len() > 0 {
		t.Errorf("it said:\n%s", said.String())
	}
	v := viewOf(t, join(t, s.Postgres, time.Minute))
	for second, err := range v.Pace(ctx) {
		if must(t, err); second.Calls != 20 {
			t.Fatalf("got %+v", second)
		}
	}
	for w, err := range v.Failing(ctx) {
		for class, rows := range w.Failed {
			if must(t, err); rows != 20 {
				t.Fatalf("second %d, %s: %d rows", w.Unix, class, rows)
			}
		}
	}
}

// Whoever joins a run that is removed just then leaves nothing behind.
func TestJoinOfARemovedRun(t *testing.T) {
	s := newHeldStore(t)
	sharedRun(t, s, 1, Orders{})
	l, err := s.OpenRead(t.Context(), "r1")
	must(t, err)
	d := l.disk.(*pgRun)
	d.by = newLease(joinPrefix+newHolder(), time.Minute)
	_, _, err = s.take(t.Context(), d.by)
	must(t, err)
	pgtest.SQL(t, s.url, "DELETE FROM chatbatch_run") // before its last step
	l.readOnly = false
	l.startWriter()
	defer l.Close()
	if err := l.Begin(t.Context()); !errors.Is(err, ErrNoRun) {
		t.Errorf("got %v", err)
	}
	if n := pgtest.SQL(t, s.url, "SELECT count(*) FROM chatbatch_session"); n[0] != "0" {
		t.Errorf("%s sessions", n[0])
	}
}

// A host that shows a sign of life while it is taken for dead lives on.
func TestBuryTheLiving(t *testing.T) {
	s := newHeldStore(t)
	sharedRun(t, s, 1, Orders{})
	ctx := t.Context()
	l := join(t, s.Postgres, time.Minute)
	by := l.disk.(*pgRun).by
	by.stop() // its heart; the sign comes by hand
	<-by.ended
	pgtest.SQL(t, s.url, "UPDATE chatbatch_lock SET until = now() - interval '1 second' WHERE key LIKE 'joined-%'")
	sign, err := s.pool.Begin(ctx)
	must(t, err)
	_, err = sign.Exec(ctx, beatSQL, by.key, by.holder, by.length.Microseconds())
	must(t, err)
	buried, other := make(chan error, 1), openPG(t, s.url)
	go func() { buried <- other.Bury(ctx) }()
	for waits := false; !waits; {
		select {
		case err := <-buried:
			must(t, err)
			waits = true
			buried <- nil
		default: // or it waits for the sign
			must(t, s.pool.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)").Scan(&waits))
		}
	}
	must(t, sign.Commit(ctx))
	must(t, <-buried)
	if _, err := l.Claim(ctx, 1); err != nil {
		t.Errorf("it was buried: %v", err)
	}
}

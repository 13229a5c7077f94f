package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"chatbatch/limiter/pgtest"
)

// behindProxy is a store that reaches its database by a proxy.
func behindProxy(t *testing.T, patience time.Duration, log *slog.Logger) (*heldStore, *pgtest.Proxy) {
	t.Helper()
	direct := pgMigrated(t)
	proxy := pgtest.NewProxy(t, pgServer(t).Addr())
	url := proxy.URL(direct)
	p, err := OpenPostgres(t.Context(), PostgresOptions{URL: url, Patience: patience, Log: log})
	must(t, err)
	t.Cleanup(p.Close)
	return &heldStore{p, direct}, proxy
}

// When the connection is lost while a transaction is committed nobody knows whether it
// was. It is done once in any case.
func TestCommitOfUnknownEnd(t *testing.T) {
	for name, committed := range map[string]bool{"it was committed": true, "it was not": false} {
		t.Run(name, func(t *testing.T) {
			s := newHeldStore(t)
			ctx := t.Context()
			must(t, s.lock(ctx, "k"))
			by, err := s.held("k")
			must(t, err)
			pgtest.SQL(t, s.url, "CREATE TABLE done (n int)")
			tries := 0
			for range 3 {
				first := true
				err := s.durably(ctx, by, askTime, func(ctx context.Context, tx *pgTx) error {
					if err := tx.begin(ctx, nil); err != nil {
						return err
					}
					tries++
					tx.last.Queue("INSERT INTO done VALUES (1)")
					if !first {
						return nil
					}
					first = false
					if committed {
						must(t, tx.end(ctx))
					}
					_ = tx.conn.Close(ctx)
					return io.ErrUnexpectedEOF
				})
				must(t, err)
			}
			var rows int
			must(t, s.pool.QueryRow(ctx, "SELECT count(*) FROM done").Scan(&rows))
			want := 3
			if !committed {
				want = 6
			}
			if rows != 3 || tries != want {
				t.Errorf("done %d times in %d tries, want 3 in %d", rows, tries, want)
			}
		})
	}
}

// What was committed may be impossible a second time: that it was done is found out before
// that counts.
func TestCommitThatCannotBeRepeated(t *testing.T) {
	s := newHeldStore(t)
	ctx := t.Context()
	must(t, s.lock(ctx, "k"))
	by, err := s.held("k")
	must(t, err)
	pgtest.SQL(t, s.url, "CREATE TABLE done (n int PRIMARY KEY)")
	must(t, s.durably(ctx, by, askTime, func(ctx context.Context, tx *pgTx) error {
		if err := tx.begin(ctx, func(q *pgx.Batch) { q.Queue("INSERT INTO done VALUES (1)") }); err != nil {
			return err
		}
		must(t, tx.end(ctx))
		_ = tx.conn.Close(ctx)
		return io.ErrUnexpectedEOF
	}))
}

// What comes behind a commit that was given up, and had been made all the same, is not
// taken for it.
func TestCommitBehindOneThatWasGivenUp(t *testing.T) {
	s := newHeldStore(t)
	s.patience = time.Nanosecond
	ctx := t.Context()
	must(t, s.lock(ctx, "k"))
	by, err := s.held("k")
	must(t, err)
	pgtest.SQL(t, s.url, "CREATE TABLE done (n int)")
	for n := range 3 {
		err := s.durably(ctx, by, askTime, func(ctx context.Context, tx *pgTx) error {
			if err := tx.begin(ctx, nil); err != nil {
				return err
			}
			tx.last.Queue("INSERT INTO done VALUES ($1)", n)
			must(t, tx.end(ctx))
			return io.ErrUnexpectedEOF
		})
		if !errors.Is(err, ErrUnreachable) {
			t.Errorf("got %v, want ErrUnreachable", err)
		}
	}
	var rows int
	must(t, s.pool.QueryRow(ctx, "SELECT count(*) FROM done").Scan(&rows))
	if rows != 3 {
		t.Errorf("%d of 3 were done", rows)
	}
}

// The network is cut again and again while many settle; or the server is stopped as a
// crash would. Each chunk is settled once, and what a method has returned for is there.
func TestSettleThroughOutages(t *testing.T) {
	s, proxy := behindProxy(t, time.Minute, nil)
	throughOutages(t, s, func() {
		proxy.Cut()
		time.Sleep(rand.N(80 * time.Millisecond))
		proxy.Heal()
	})
}

func TestSettleThroughCrashesOfTheServer(t *testing.T) {
	server := pgtest.Start(t)
	_, err := MigratePostgres(t.Context(), server.URL())
	must(t, err)
	s := &heldStore{openPG(t, server.URL()), server.URL()}
	throughOutages(t, s, func() {
		server.Stop(t)
		server.Restart(t)
	})
}

func throughOutages(t *testing.T, s *heldStore, trouble func()) {
	ctx := t.Context()
	l, err := s.Create(ctx, meta("r1"))
	must(t, err)
	defer l.Close()
	const rows = 100_000
	planMany(t, l, rows, false)
	must(t, l.Begin(ctx))
	var settled atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; n < 6; n++ {
			select {
			case <-stop:
				return
			case <-time.After(30*time.Millisecond + rand.N(100*time.Millisecond)):
			}
			trouble()
		}
	}()
	work := make(chan Chunk)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for c := range work {
				time.Sleep(rand.N(40 * time.Millisecond)) // the call
				err := l.Sent(ctx, c.ID)
				if err == nil {
					err = l.Settle(ctx, c.ID, someOutcomes(len(c.Entries)), Cost{1, 0})
				}
				if err != nil {
					t.Errorf("chunk %d: %v", c.ID, err)
					return
				}
				settled.Add(1)
			}
		})
	}
	for c, err := range l.Pending(ctx) {
		must(t, err)
		work <- c
	}
	close(work)
	wg.Wait()
	close(stop)
	<-stopped
	must(t, l.End(ctx, Finished, Session{}))
	sum := summaryOf(t, l)
	if sum.Chunks != settled.Load() || sum.Calls != sum.Chunks || sum.Replayed != 0 || sum.Unprocessed != 0 {
		t.Errorf("settled %d: got %+v", settled.Load(), sum)
	}
	if n := int64(len(rowsOf(t, l))); n != rows {
		t.Errorf("got %d rows", n)
	}
}

// A database that stays away ends the run, and says so. What was not told to be there
// may be there or not; what was told is.
func TestPatienceHasAnEnd(t *testing.T) {
	var said bytes.Buffer
	s, proxy := behindProxy(t, 300*time.Millisecond, slog.New(slog.NewTextHandler(&said, nil)))
	ctx := t.Context()
	l, err := s.Create(ctx, meta("r1"))
	must(t, err)
	planSmall(t, l)
	must(t, l.Begin(ctx))
	must(t, l.Settle(ctx, 1, make([]Outcome, 2), Cost{1, 0}))
	proxy.Cut()
	for range 2 {
		err = l.Settle(ctx, 2, make([]Outcome, 3), Cost{1, 0})
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "settle chunk 2") {
			t.Errorf("got %v, want ErrUnreachable", err)
		}
	}
	if _, err := l.Summary(ctx); !errors.Is(err, ErrUnreachable) {
		t.Errorf("Summary: got %v, want ErrUnreachable", err)
	}
	must(t, l.Close())
	if n := strings.Count(said.String(), "is lost"); n != 1 {
		t.Errorf("told %d times: %s", n, said.String())
	}
	proxy.Heal()
	l, err = s.Open(ctx, "r1")
	must(t, err)
	defer l.Close()
	if sum := summaryOf(t, l); sum.Succeeded != 3 || sum.Calls != 1 {
		t.Errorf("got %+v", sum)
	}
	if !strings.Contains(said.String(), "is back") {
		t.Errorf("got %s", said.String())
	}
}

// Who gives up waits for a silent database no longer, however patient the store is, and
// closes it all the same.
func TestGiveUp(t *testing.T) {
	s, proxy := behindProxy(t, 24*time.Hour, nil)
	ctx := t.Context()
	l, err := s.Create(ctx, meta("r1"))
	must(t, err)
	planSmall(t, l)
	must(t, l.Begin(ctx))
	proxy.Hang()
	ended := make(chan error)
	go func() { ended <- l.Settle(ctx, 1, make([]Outcome, 2), Cost{1, 0}) }()
	go func() { ended <- s.Introduced(ctx, "r1", 1) }()
	time.Sleep(100 * time.Millisecond) // until they wait
	s.GiveUp()
	for range 2 {
		if err := <-ended; !errors.Is(err, ErrUnreachable) {
			t.Errorf("got %v, want ErrUnreachable", err)
		}
	}
	if _, err := s.Standing(ctx, "r1"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("asked later: got %v, want ErrUnreachable", err)
	}
	must(t, l.Close())
}

// A plan is made whole through outages, too.
func TestPlanThroughOutages(t *testing.T) {
	s, proxy := behindProxy(t, time.Minute, nil)
	l, err := s.Create(t.Context(), meta("r1"))
	must(t, err)
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 5 {
			time.Sleep(rand.N(100 * time.Millisecond))
			proxy.Cut()
			time.Sleep(20 * time.Millisecond)
			proxy.Heal()
		}
	}()
	const rows = 300_000
	planMany(t, l, rows, false)
	<-done
	sum := summaryOf(t, l)
	if sum.Rows != rows || sum.Groups != 24 {
		t.Errorf("got %+v", sum)
	}
	if n := len(rowsOf(t, l)); n != rows {
		t.Errorf("got %d rows", n)
	}
	for c, err := range l.Pending(t.Context()) {
		must(t, err)
		if c.Group == "" || len(c.Entries) == 0 {
			t.Fatal(fmt.Sprint(c.ID, c.Group))
		}
	}
}

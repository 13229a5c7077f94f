package limiter

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"chatbatch/limiter/pgtest"
)

// pgBrief is less than what a call is given in earnest.
const pgBrief = 300 * time.Millisecond

// pgLost asks without an answer: that ends in time, and is said to be an outage.
func pgLost(t *testing.T, r *pgRegistry, patience time.Duration) error {
	t.Helper()
	began := time.Now()
	_, err := r.load(pgWithin(t, patience), "app")
	if took := time.Since(began); !errors.Is(err, ErrUnreachable) || took > patience+time.Second {
		t.Errorf("after %v: %v, want %v in %v", took, err, ErrUnreachable, patience)
	}
	return err
}

func pgClosesSoon(t *testing.T, r *pgRegistry) {
	t.Helper()
	began := time.Now()
	if err := r.close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > closeTime+time.Second {
		t.Errorf("close took %v", took)
	}
	if _, err := r.load(pgWithin(t, pgAmple), "app"); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: %v, want %v", err, ErrClosed)
	}
}

func TestPostgresNetworkOutage(t *testing.T) {
	s := pgtest.Start(t)
	p := pgtest.NewProxy(t, s.Addr())
	url := p.URL(pgMigrated(t, s))
	before := runtime.NumGoroutine()
	r := pgOpened(t, url)
	pgMustStore(t, r, "app", 0, pgTwoHosts(), true)

	p.Hang()
	for range 2 { // on the connection that it has, and on a new one
		if err := pgLost(t, r, pgBrief); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("hung: %v, want %v too", err, context.DeadlineExceeded)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop it")
	time.AfterFunc(50*time.Millisecond, func() { cancel(stop) })
	if _, err := r.load(ctx, "app"); !errors.Is(err, stop) || errors.Is(err, ErrUnreachable) {
		t.Errorf("cancelled: %v, want %v", err, stop)
	}
	other := pgOpened(t, url)
	_ = pgLost(t, other, pgBrief)
	pgClosesSoon(t, other)
	p.Heal()
	if rec := pgMustLoad(t, r, "app"); rec.rev != 1 {
		t.Errorf("healed: %+v", rec)
	}

	p.Cut()
	_ = pgLost(t, r, pgAmple)
	if err := pgLost(t, r, pgAmple); !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("cut: %v", err)
	}
	p.Heal()
	pgMustLoad(t, r, "app")
	p.Cut() // unseen, between two statements
	p.Heal()
	pgMustLoad(t, r, "app")
	p.Cut()
	p.Heal()
	if ok, err := r.store(pgWithin(t, pgAmple), "app", 1, roll{}); ok || !errors.Is(err, ErrUnreachable) {
		t.Errorf("a store on a broken connection: %v, %v", ok, err)
	}
	pgMustStore(t, r, "app", 1, pgTwoHosts(), true)

	p.Hang()
	_ = pgLost(t, r, pgBrief)
	pgClosesSoon(t, r)
	p.Heal()
	pgWaitFor(t, "its goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
}

func TestPostgresServerOutage(t *testing.T) {
	s := pgtest.Start(t)
	url := pgMigrated(t, s)
	// What is promised is there after a crash, whatever was set.
	pgtest.SQL(t, url, `ALTER SYSTEM SET synchronous_commit = off`)
	pgtest.SQL(t, url, `ALTER SYSTEM SET wal_writer_delay = '10s'`)
	s.Stop(t)
	s.Restart(t)
	r := pgOpened(t, url)
	pgMustStore(t, r, "app", 0, pgTwoHosts(), true)
	for i := range 3 {
		rec := pgMustLoad(t, r, "app")
		if i == 0 {
			pgMustStore(t, r, "app", rec.rev, pgTwoHosts(), true)
		}
		if i == 1 {
			if _, known, err := r.beat(pgWithin(t, pgAmple), "app", "a", pulse{}); !known || err != nil {
				t.Fatal(known, err)
			}
		}
		rec = pgMustLoad(t, r, "app")
		s.Stop(t)
		if i == 0 {
			_ = pgLost(t, r, pgAmple)
			if err := pgLost(t, r, pgAmple); !strings.Contains(err.Error(), "connection refused") {
				t.Errorf("stopped: %v", err)
			}
		}
		s.Restart(t)
		again := pgMustLoad(t, r, "app")
		if again.rev != rec.rev || again.server == rec.server {
			t.Errorf("before the crash revision %d of server %s, then %d of %s", rec.rev, rec.server, again.rev, again.server)
		}
	}

	s.Freeze(t)
	for range 2 {
		_ = pgLost(t, r, pgBrief)
	}
	other := pgOpened(t, url)
	_ = pgLost(t, other, pgBrief)
	pgClosesSoon(t, other)
	s.Thaw(t)
	pgMustLoad(t, r, "app")
}

// silent is the address of somebody who takes connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c); _ = c.Close() }()
		}
	}()
	return l.Addr().String()
}

func TestPostgresSeveralServers(t *testing.T) {
	one, two := pgtest.Start(t), pgtest.Start(t)
	dead := pgtest.NewProxy(t, one.Addr())
	dead.Cut()
	for _, s := range []*pgtest.Server{one, two} {
		if _, err := Migrate(pgWithin(t, pgAmple), s.URL()); err != nil {
			t.Fatal(err)
		}
	}
	list := func(hosts ...string) string {
		return "postgres://postgres@" + strings.Join(hosts, ",") + "/postgres"
	}
	for name, url := range map[string]string{
		"refused first":   list(dead.Addr(), one.Addr()),
		"silent first":    list(silent(t), one.Addr()),
		"two silent":      list(silent(t), silent(t), one.Addr()) + "?sslmode=disable",
		"key and value":   "host=127.0.0.1,127.0.0.1 port=" + port(silent(t)) + "," + port(one.Addr()) + " user=postgres dbname=postgres",
		"a short timeout": list(silent(t), one.Addr()) + "?connect_timeout=2",
	} {
		if _, err := pgOpened(t, url).load(pgWithin(t, 3*time.Second), "app"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := pgLost(t, pgOpened(t, list(dead.Addr(), silent(t))), pgBrief); !strings.Contains(err.Error(), "connection refused; no answer") {
		t.Errorf("none: %v", err)
	}

	// one becomes a server that only reads: two is asked next.
	url := list(one.Addr(), two.Addr()) + "?target_session_attrs=read-write"
	r := pgOpened(t, url)
	pgMustStore(t, r, "app", 0, pgTwoHosts(), true)
	first := pgMustLoad(t, r, "app").server
	readOnly(t, one, "on")
	pgWaitFor(t, "an error", func() bool {
		_, err := r.store(pgWithin(t, pgAmple), "app", 9, roll{})
		return errors.Is(err, ErrUnreachable)
	})
	pgMustStore(t, r, "app", 0, pgTwoHosts(), true)
	if rec := pgMustLoad(t, r, "app"); rec.server == first {
		t.Error("it is the same server")
	}
	readOnly(t, two, "on")
	if err := pgLost(t, pgOpened(t, url), pgAmple); !strings.Contains(err.Error(), "target_session_attrs") {
		t.Errorf("nobody writes: %v", err)
	}
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

func readOnly(t *testing.T, s *pgtest.Server, value string) {
	t.Helper()
	pgtest.SQL(t, s.URL(), `ALTER SYSTEM SET default_transaction_read_only = `+value)
	pgtest.SQL(t, s.URL(), `SELECT pg_reload_conf()`)
	pgWaitFor(t, "the setting", func() bool {
		return pgtest.SQL(t, s.URL(), `SHOW default_transaction_read_only`)[0] == value
	})
}

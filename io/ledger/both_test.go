package ledger

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatbatch/limiter/pgtest"
)

// A store is what [Store] and [Postgres] have in common.
type store interface {
	NewRun(ctx context.Context, key string, now time.Time) string
	Create(ctx context.Context, m Meta) (*Ledger, error)
	Open(ctx context.Context, run string) (*Ledger, error)
	OpenRead(ctx context.Context, run string) (*Ledger, error)
	List(ctx context.Context) ([]Info, error)
	Find(ctx context.Context, list []Info, key string) (string, error)
	Lock(ctx context.Context, key string, wait bool) (unlock func(), err error)
	Remove(ctx context.Context, run string) error
	Sweep()
}

var (
	_ store = Store{}
	_ store = (*Postgres)(nil)
)

// creating makes a store and in it a run to be planned.
type creating func(t testing.TB, run string) (store, *Ledger)

// onBoth runs a test on each kind of store: what they do is the same.
func onBoth(t *testing.T, test func(t *testing.T, create creating)) {
	t.Run("file", func(t *testing.T) {
		test(t, func(t testing.TB, run string) (store, *Ledger) { return create(t, run) })
	})
	t.Run("postgres", func(t *testing.T) {
		test(t, func(t testing.TB, run string) (store, *Ledger) {
			t.Helper()
			s := newHeldStore(t)
			l, err := s.Create(t.Context(), meta(run))
			must(t, err)
			t.Cleanup(func() { l.Close() })
			return s, l
		})
	})
}

// server is the PostgreSQL that the tests of this package share. It ends with the test
// that started it, so that is TestMain's; see there.
var server = struct {
	sync.Mutex
	*pgtest.Server
	schemas atomic.Int64
}{}

// pgURL is the address of an empty schema, of the server of the tests or that of
// PG_BENCH.
func pgURL(t testing.TB) string {
	t.Helper()
	url := os.Getenv("PG_BENCH")
	if url == "" {
		url = pgServer(t).URL()
	}
	name := fmt.Sprintf("l%d", server.schemas.Add(1))
	pgtest.SQL(t, url, "DROP SCHEMA IF EXISTS "+name+" CASCADE; CREATE SCHEMA "+name)
	return url + "&search_path=" + name
}

// pgServer starts the server, once.
func pgServer(t testing.TB) *pgtest.Server {
	t.Helper()
	server.Lock()
	defer server.Unlock()
	if server.Server == nil {
		server.Server = pgtest.Start(lasting{t})
	}
	return server.Server
}

// lasting is a test whose clean-up is that of all tests.
type lasting struct{ testing.TB }

var lastly []func()

func (l lasting) Cleanup(f func()) { lastly = append(lastly, f) }

func (l lasting) TempDir() string {
	dir, err := os.MkdirTemp("", "ledger-")
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir)
}

// cleanUp ends what all tests shared.
func cleanUp() {
	for i := len(lastly) - 1; i >= 0; i-- {
		lastly[i]()
	}
}

// pgMigrated is the address of a schema with the tables.
func pgMigrated(t testing.TB) string {
	t.Helper()
	url := pgURL(t)
	changed, err := MigratePostgres(t.Context(), url)
	if must(t, err); !changed {
		t.Fatal("an empty schema has the tables already")
	}
	return url
}

func openPG(t testing.TB, url string) *Postgres {
	t.Helper()
	p, err := OpenPostgres(t.Context(), PostgresOptions{URL: url})
	must(t, err)
	t.Cleanup(p.Close)
	return p
}

// heldStore is a Postgres of which a test holds all locks that it needs.
type heldStore struct {
	*Postgres
	url string
}

func newHeldStore(t testing.TB) *heldStore {
	t.Helper()
	url := pgMigrated(t)
	return &heldStore{openPG(t, url), url}
}

func (s *heldStore) lock(ctx context.Context, key string) error {
	if _, err := s.held(key); err == nil {
		return nil
	}
	_, err := s.Postgres.Lock(ctx, key, false)
	return err
}

func (s *heldStore) Create(ctx context.Context, m Meta) (*Ledger, error) {
	if err := s.lock(ctx, m.Key()); err != nil {
		return nil, err
	}
	return s.Postgres.Create(ctx, m)
}

func (s *heldStore) Open(ctx context.Context, run string) (*Ledger, error) {
	l, err := s.OpenRead(ctx, run)
	if err != nil {
		return nil, err
	}
	if err := s.lock(ctx, l.Meta().Key()); err != nil {
		return nil, err
	}
	return s.Postgres.Open(ctx, run)
}

// ask puts a question to the tables of a ledger that is alone in its store.
func ask(t testing.TB, l *Ledger, query string, dest ...any) {
	t.Helper()
	if f, ok := l.disk.(*file); ok {
		must(t, f.read.QueryRow(query).Scan(dest...))
		return
	}
	query = strings.Replace(query, "FROM ", "FROM chatbatch_", 1)
	must(t, l.disk.(*pgRun).p.pool.QueryRow(t.Context(), query).Scan(dest...))
}

// tamper does something to its tables that no program of ours does.
func tamper(t testing.TB, l *Ledger, ofFile, ofPostgres string) {
	t.Helper()
	if f, ok := l.disk.(*file); ok {
		must(t, f.exec(t.Context(), ofFile))
		return
	}
	_, err := l.disk.(*pgRun).p.pool.Exec(t.Context(), ofPostgres)
	must(t, err)
}

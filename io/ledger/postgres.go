package ledger

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"chatbatch/io/postgres"
)

// ErrUnreachable is wrapped by errors that say that the database cannot be reached or
// cannot serve now: it may work later, with nothing changed.
var ErrUnreachable = postgres.ErrUnreachable

// ErrNotMigrated is wrapped by errors that say that the database has no tables of
// ledgers, or those of an older program. [MigratePostgres] makes or upgrades them.
var ErrNotMigrated = errors.New("the database is not ready for ledgers: run chatbatch migrate with this --ledger")

// usePostgres is what ledgers take of a database.
var usePostgres = postgres.Use{
	Table: "chatbatch_run", NotReady: ErrNotMigrated,
	Rights: "to keep runs: CONNECT to the database, USAGE of the schema, SELECT, INSERT, UPDATE and DELETE on the tables chatbatch_*; " +
		"for many hosts the same on the tables river_*, and USAGE of the sequences river_*",
}

// A Postgres is a store of runs in a PostgreSQL database, with which every host that
// reaches it can go on. Close it. It is safe for concurrent use, also by several
// processes and hosts.
//
// A change is in the database, and so as safe as that, when its method returns. Where
// the database is away, changes wait for it, for as long as Patience says; they are made
// once, also if the connection was lost while they were being made.
type Postgres struct {
	at       postgres.Site
	base     context.Context // of OpenPostgres, without its cancellation
	log      *slog.Logger
	patience time.Duration
	host     string

	given  context.Context // ends with GiveUp
	giveUp context.CancelFunc

	url    string            // for further pools
	params map[string]string // of their connections

	// Two pools: nobody who reads for long may keep a lock from being held.
	pool, readers *pgxpool.Pool

	mu     sync.Mutex
	leases map[string]*lease // under mu; by key
	lost   bool              // under mu; that it is away was told
}

// PostgresOptions say which database, and how.
type PostgresOptions struct {
	URL      string        // connection string, maybe with a password
	Log      *slog.Logger  // is told when the database is away, and back; nil: nobody is
	Patience time.Duration // how long to wait for a database that is away; 0: a minute
	Host     string        // what others see of this process where it joins a run
}

const (
	askTime  = 20 * time.Second // for what should take milliseconds
	longTime = 10 * time.Minute // for what may take minutes
	dialTime = 10 * time.Second

	defaultPatience = time.Minute
)

// OpenPostgres opens the database and looks whether it has the tables.
func OpenPostgres(ctx context.Context, o PostgresOptions) (*Postgres, error) {
	p, err := newPostgres(ctx, o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	conn, err := p.pool.Acquire(ctx)
	if err == nil {
		err = p.checkForm(ctx, conn.Conn())
		conn.Release()
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("open the ledger: %w", p.explain(ctx, err))
	}
	return p, nil
}

// newPostgres does not connect yet.
func newPostgres(ctx context.Context, o PostgresOptions) (*Postgres, error) {
	cfg, err := postgres.Parse(o.URL)
	if err != nil {
		return nil, err
	}
	p := &Postgres{at: postgres.SiteOf(cfg, usePostgres), base: context.WithoutCancel(ctx), log: o.Log, patience: o.Patience, host: plainHost(o.Host), leases: map[string]*lease{}}
	p.url, p.params = o.URL, cfg.RuntimeParams
	p.given, p.giveUp = context.WithCancel(p.base)
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.patience == 0 {
		p.patience = defaultPatience
	}
	if p.pool, err = newPool(ctx, o.URL, cfg.RuntimeParams, 8); err == nil {
		p.readers, err = newPool(ctx, o.URL, cfg.RuntimeParams, 4)
	}
	if err != nil {
		p.Close()
		return nil, p.at.Say("the connection string cannot be used") // what pgx says may quote it
	}
	return p, nil
}

func newPool(ctx context.Context, url string, params map[string]string, most int32) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = most
	maps.Copy(cfg.ConnConfig.RuntimeParams, params)
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = dialTime
	}
	// Nothing is prepared on a connection: a pooler such as PgBouncer may stand between.
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	return pgxpool.NewWithConfig(ctx, cfg)
}

// GiveUp ends the waiting for a database that is away: what is being asked of it is broken
// off, and that or anything else is not asked again, but is ErrUnreachable. It is for who
// must end, whatever becomes of what is not written.
func (p *Postgres) GiveUp() { p.giveUp() }

// limited is ctx for one attempt to ask the database.
func (p *Postgres) limited(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	stop := context.AfterFunc(p.given, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// Close gives the locks back that are still held, and closes the connections.
func (p *Postgres) Close() {
	p.mu.Lock()
	held := maps.Clone(p.leases)
	p.mu.Unlock()
	for _, l := range held {
		l.unlock()
	}
	p.giveUp()
	ClosePools(p.pool, p.readers)
}

// closeTime bounds the goodbye to a server. To one that is silent pgx takes 15 s and more
// to say it.
const closeTime = time.Second

// ClosePools closes pools, some of which may be nil. Connections to a server that does not
// answer are left to close by themselves.
func ClosePools(pools ...*pgxpool.Pool) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for _, pool := range pools {
			if pool != nil {
				pool.Close()
			}
		}
	}()
	select {
	case <-closed:
	case <-time.After(closeTime):
	}
}

// String names the database, without a password.
func (p *Postgres) String() string { return p.at.String() }

// explain puts an error of pgx into words that hold no password. Others stay.
func (p *Postgres) explain(ctx context.Context, err error) error {
	if err == nil || isOurs(err) {
		return err
	}
	return p.at.Explain(ctx, err)
}

// ours marks an error that did not come from pgx.
type ours struct{ error }

func (e ours) Unwrap() error { return e.error }

// isOurs says that an error is in our own words already.
func isOurs(err error) bool {
	if _, ok := errors.AsType[ours](err); ok || isOdd(err) {
		return true
	}
	for _, own := range []error{ErrUnreachable, ErrNotMigrated, ErrDamaged, ErrUnbalanced, ErrLocked, ErrNoRun, ErrNotPlanned, ErrDropped} {
		if errors.Is(err, own) {
			return true
		}
	}
	return false
}

// isOdd says that what always stands there is not there, or is of another type.
func isOdd(err error) bool {
	_, odd := errors.AsType[pgx.ScanArgError](err)
	return odd || errors.Is(err, pgx.ErrNoRows)
}

// passes says whether an error may be gone after a while.
func (p *Postgres) passes(ctx context.Context, err error) bool {
	return errors.Is(p.explain(ctx, err), ErrUnreachable)
}

// wait waits before something is tried again that has failed with err since then. It
// says whether to try.
func (p *Postgres) wait(ctx context.Context, err error, since time.Time, try int) bool {
	if ctx.Err() != nil || p.given.Err() != nil || !p.passes(ctx, err) || time.Since(since) >= p.patience {
		return false
	}
	p.tell(true)
	t := time.NewTimer(min(50*time.Millisecond<<min(try, 6), 2*time.Second))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-p.given.Done():
		return false
	case <-t.C:
		return true
	}
}

// tell says, once, that the database is away or that it is back.
func (p *Postgres) tell(lost bool) {
	p.mu.Lock()
	changed := p.lost != lost
	p.lost = lost
	p.mu.Unlock()
	switch {
	case !changed:
	case lost:
		p.log.Warn(fmt.Sprintf("the database with the ledger is lost: no more is begun until it is back; a run waits %v for that", p.patience))
	default:
		p.log.Info("the database with the ledger is back: the run goes on")
	}
}

// newHolder makes a name that nobody else has.
func newHolder() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// A lock in the database is a lease: it ends by itself leaseTime after its holder has
// last shown a sign of life, by the database's clock alone. The holder shows one
// each leaseBeat, and with every commit.
const (
	leaseTime = 6 * time.Second
	leaseBeat = time.Second
	leasePoll = 250 * time.Millisecond // between tries while waiting

	silentTries = int(2*leaseBeat/leasePoll) + 1 // until a holder without a sign is mentioned
)

// errLeaseLost says that somebody else may work on the run now.
var errLeaseLost = fmt.Errorf("%w: this one was without the database for too long, and another has taken over its run", ErrLocked)

// lease is the lock of a key that this process holds.
type lease struct {
	key, holder string
	length      time.Duration // from the last sign of life

	order   sync.Mutex // held by one transaction after the other
	commits int64      // under order; number of the last one

	stop  context.CancelFunc        // of its heart
	alive atomic.Pointer[time.Time] // when the last sign of life was sent that was heard
	lost  atomic.Bool               // it is another's now
	ended chan struct{}             // closed when that has stopped
	once  sync.Once
	free  func()
}

func newLease(key string, length time.Duration) *lease {
	return &lease{key: key, holder: newHolder(), length: length, ended: make(chan struct{})}
}

// Lock takes the lock of a key (see [Key]): who holds it may plan, run or remove the
// runs of that key. With wait it waits until it is free or ctx ends; without, it is
// ErrLocked.
//
// The lock of a process that has died ends by itself, within leaseTime. So without wait
// it may take that long too until it is known whether its holder lives.
func (p *Postgres) Lock(ctx context.Context, key string, wait bool) (unlock func(), err error) {
	if !plainName.MatchString(key) {
		return nil, fmt.Errorf("lock: %q is not a key", key)
	}
	l := newLease(key, leaseTime)
	var first string // sign of life of who holds it
	since := time.Now()
	for try := 0; ; try++ {
		got, sign, err := p.take(ctx, l)
		switch {
		case err != nil && !p.wait(ctx, err, since, try):
			return nil, fmt.Errorf("lock: %w", p.explain(ctx, err))
		case err != nil:
			continue
		case got:
			p.tell(false)
			return p.hold(ctx, l), nil
		case first == "":
			first = sign
		case sign != first && !wait:
			return nil, fmt.Errorf("%w: %s", ErrLocked, p.at)
		case sign == first && try == silentTries:
			p.log.Info(fmt.Sprintf("the process that works on this run shows no sign of life; it is taken for dead after %v", leaseTime))
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock: %w", context.Cause(ctx))
		case <-time.After(leasePoll):
		}
		since = time.Now()
	}
}

// takeSQL takes the lock if it is free. A lock that was left half an attempt ago by a
// lost connection is ours.
const takeSQL = `INSERT INTO chatbatch_lock AS l (key, holder, until, commits)
	VALUES ($1, $2, clock_timestamp() + $3 * interval '1 microsecond', 0)
	ON CONFLICT (key) DO UPDATE SET holder = excluded.holder, until = excluded.until, commits = 0
		WHERE l.until < clock_timestamp() OR l.holder = excluded.holder
	RETURNING true`

// take tries to take the lock. If another has it, sign tells its signs of life apart.
func (p *Postgres) take(ctx context.Context, l *lease) (got bool, sign string, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	now := time.Now()
	l.alive.Store(&now)
	err = p.pool.QueryRow(ctx, takeSQL, l.key, l.holder, l.length.Microseconds()).Scan(&got)
	if !errors.Is(err, pgx.ErrNoRows) {
		return got, "", err
	}
	err = p.pool.QueryRow(ctx, "SELECT holder || ' ' || until FROM chatbatch_lock WHERE key = $1", l.key).Scan(&sign)
	if errors.Is(err, pgx.ErrNoRows) { // it has just become free
		return false, "", nil
	}
	return false, sign, err
}

// hold keeps the lock alive until unlock is called, also beyond ctx.
func (p *Postgres) hold(ctx context.Context, l *lease) (unlock func()) {
	base := context.WithoutCancel(ctx)
	alive, stop := context.WithCancel(base)
	l.stop = stop
	p.mu.Lock()
	p.leases[l.key] = l
	p.mu.Unlock()
	l.free = func() {
		l.stop()
		<-l.ended
		p.mu.Lock()
		if p.leases[l.key] == l {
			delete(p.leases, l.key)
		}
		p.mu.Unlock()
		ctx, cancel := p.limited(base, time.Second)
		defer cancel()
		// Where this fails the lock ends by itself.
		_, _ = p.pool.Exec(ctx, "DELETE FROM chatbatch_lock WHERE key = $1 AND holder = $2", l.key, l.holder)
	}
	go p.beat(alive, l)
	return l.unlock
}

func (l *lease) unlock() { l.once.Do(l.free) }

// lose ends the heart of a lock that is another's now.
func (l *lease) lose() {
	l.lost.Store(true)
	l.stop()
}

const beatSQL = `UPDATE chatbatch_lock SET until = clock_timestamp() + $3 * interval '1 microsecond' WHERE key = $1 AND holder = $2`

// beat is the heart of a lock. What it misses is no harm by itself: the next commit
// finds out whether the lock is still ours.
func (p *Postgres) beat(ctx context.Context, l *lease) {
	defer close(l.ended)
	t := time.NewTicker(leaseBeat)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			ask, cancel := p.limited(ctx, askTime)
			now := time.Now()
			done, err := p.pool.Exec(ask, beatSQL, l.key, l.holder, l.length.Microseconds())
			cancel()
			switch {
			case err != nil:
			case done.RowsAffected() == 0:
				l.lost.Store(true)
			default:
				l.alive.Store(&now)
			}
		}
	}
}

// held is the lock of a key, which its caller must hold.
func (p *Postgres) held(key string) (*lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.leases[key]; l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("the lock of key %s is not held", key)
}

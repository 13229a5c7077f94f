package limiter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// openTime bounds the first look into the registry.
const openTime = 5 * time.Second

// Lease says where the hosts of a fleet lease their lanes.
type Lease struct {
	// URL is the connection string of a PostgreSQL database that has the table
	// of [Migrate], e.g. postgres://user@host/db. It may hold a password,
	// which is in no error and no log line.
	URL string

	// Host is the name of this host, for those who look at the roll.
	Host string

	// Log is told when the database is lost and sending stops, and when it goes
	// on: a line each. nil: nobody is told.
	Log *slog.Logger
}

// Postgres keeps lanes in dir as [File] does, shared by all processes of this host,
// but uses only those that the host has leased from a table in PostgreSQL. So
// all hosts that share the table share one budget.
//
// Hosts that want to send get equal parts of the lanes, and what one does not use
// the others have. A lease lasts 5 s here and 6 s in the table, and is renewed
// every 2 s in one statement by one process of the host. A host that ends hands its
// lanes back; if it dies, they come back with the end of its lease. Without
// the database nothing is sent once the lease has ended, and sending goes on by
// itself when it is back.
//
// Opening fails with [ErrUnreachable] or [ErrNotMigrated] in its chain if the table
// cannot be used now, and if other processes of the host share the same budget
// by File.
func Postgres(dir string, o Lease) func(key string) (Lanes, error) {
	// Budgets that are opened later do not end a run if the database is away just
	// then: it was there.
	var known atomic.Bool
	return func(key string) (Lanes, error) {
		reg, err := openPGRegistry(o.URL)
		if err != nil {
			return nil, err
		}
		if !known.Load() {
			if err := tryRegistry(reg, key); err != nil {
				return nil, errors.Join(err, reg.close())
			}
			known.Store(true)
		}
		file, err := openFile(dir, key, true)
		if err != nil {
			return nil, errors.Join(err, reg.close())
		}
		return newLeased(file, reg, key, o), nil
	}
}

// tryRegistry finds out what cannot be read or written.
func tryRegistry(reg registry, budget string) error {
	ctx, cancel := context.WithTimeout(context.Background(), openTime)
	defer cancel()
	_, err := reg.load(ctx, budget)
	if err == nil {
		_, _, err = reg.beat(ctx, budget, "", pulse{}) // of nobody
	}
	return err
}

// A home keeps the lanes of one host.
type home interface {
	Lanes
	alone() bool // see fileLanes
}

// leasedLanes are lanes of which the host may use some. One goroutine renews the
// lease; it begins with the first Update and ends with Close.
type leasedLanes struct {
	home
	reg    registry
	budget string
	Lease

	begin sync.Once
	n     int           // lanes; set by begin
	kick  chan struct{} // somebody wants lanes
	ctx   context.Context
	stop  context.CancelFunc
	ended chan struct{} // closed when the goroutine is gone

	// Of the goroutine.
	lost  bool // it was said that sending has stopped
	cause error
	first time.Duration // when the first renewal succeeded, on the host's clock
	seen  struct {      // of the last one that did
		registry time.Time
		host     time.Duration
	}
}

func newLeased(h home, reg registry, budget string, o Lease) *leasedLanes {
	l := &leasedLanes{home: h, reg: reg, budget: budget, Lease: o, kick: make(chan struct{}, 1), ended: make(chan struct{})}
	if l.Log == nil {
		l.Log = slog.New(slog.DiscardHandler)
	}
	l.ctx, l.stop = context.WithCancel(context.Background())
	return l
}

// Update is that of the host's lanes, and wakes who renews the lease if f found
// too few.
func (l *leasedLanes) Update(n int, f func(*Table)) error {
	hungry := false
	err := l.home.Update(n, func(t *Table) {
		f(t)
		hungry = t.hungry() && t.lease.told < t.lanesWanted()
	})
	l.begin.Do(func() {
		l.n = n
		go l.run()
	})
	if hungry {
		select {
		case l.kick <- struct{}{}:
		default:
		}
	}
	return err
}

func (l *leasedLanes) run() {
	defer close(l.ended)
	for {
		t := time.NewTimer(l.look())
		select {
		case <-l.ctx.Done():
			t.Stop()
			return
		case <-t.C:
		case <-l.kick:
			t.Stop()
		}
	}
}

// look renews the lease if it is time to, and says when to look again.
func (l *leasedLanes) look() (wait time.Duration) {
	var a ask
	var due bool
	var claimed time.Duration
	err := l.home.Update(l.n, func(t *Table) {
		if due, wait = t.due(); due {
			a, claimed = t.claim(), t.now
			a.name = l.Host
		}
		l.tell(t)
	})
	if err != nil {
		return hurryEvery // who waits for a lane is told
	}
	if !due {
		return wait
	}
	a.Calls, a.Waiting = l.activity()
	if a.hungry {
		a.Wants = min(a.limit, a.Wants+a.Waiting)
	}
	if a.Wants == 0 {
		l.leave()
		return hurryEvery
	}
	l.renew(a, claimed)
	return time.Millisecond
}

// activity is what all processes of the host do, as far as they have said.
func (l *leasedLanes) activity() (calls, waiting int) {
	if f, ok := l.home.(*fileLanes); ok {
		for _, p := range f.members.states(f.Now()) {
			calls += p.CallsLastSecond
			waiting += p.Waiting
		}
	}
	return calls, waiting
}

// renew asks the registry and writes down what it says.
func (l *leasedLanes) renew(a ask, claimed time.Duration) {
	ctx, cancel := context.WithTimeout(l.ctx, statementTime-(l.Now()-claimed))
	defer cancel()
	r, g, err := l.ask(ctx, a, claimed)
	if err != nil {
		l.cause = err
	}
	_ = l.home.Update(l.n, func(t *Table) { // what it did not store is claimed anew
		if err != nil {
			t.missed(a, claimed)
		} else {
			t.renewed(&r, g, a, claimed)
		}
		l.tell(t)
	})
}

// maxRaces is how often a change of the roll is tried that others come before.
const maxRaces = 20

// ask tells the registry what the host asks for.
func (l *leasedLanes) ask(ctx context.Context, a ask, claimed time.Duration) (roll, grant, error) {
	began := l.Now()
	rec, known, err := l.reg.beat(ctx, l.budget, a.host, a.pulse)
	if err == nil && !known {
		rec, err = l.reg.load(ctx, l.budget)
	}
	if err != nil {
		return roll{}, grant{}, err
	}
	a.jump = l.jumped(rec.now)
	l.seen.registry, l.seen.host = rec.now, began
	if l.first == 0 {
		l.first = began
	}
	// Whoever lives will have renewed until then, even if the registry's clock
	// has jumped before we came.
	a.late = a.late || l.Now()-l.first < renewEvery+time.Second
	for range maxRaces {
		g, changed := rec.roll.enter(rec, a)
		if !changed {
			return rec.roll, g, nil
		}
		if l.Now()-claimed >= statementTime {
			// We were stopped. Others may have renewed, and use what a would give.
			return roll{}, grant{}, errors.New("this process was stopped while it renewed the lease")
		}
		stored, err := l.reg.store(ctx, l.budget, rec.rev, rec.roll)
		if err != nil || stored {
			return rec.roll, g, err
		}
		if rec, err = l.reg.load(ctx, l.budget); err != nil {
			return roll{}, grant{}, err
		}
	}
	return roll{}, grant{}, fmt.Errorf("the table of lanes was changed by others %d times in a row", maxRaces)
}

// jumped says whether the registry's clock went further than ours since the last
// time: leases may then look ended that are not.
func (l *leasedLanes) jumped(now time.Time) bool {
	if l.seen.registry.IsZero() {
		return false
	}
	return now.Sub(l.seen.registry) > l.Now()-l.seen.host+time.Second
}

// leave hands everything back.
func (l *leasedLanes) leave() {
	var host string
	var rested laneSet
	err := l.home.Update(l.n, func(t *Table) {
		if t.lease.until > 0 {
			host, rested = t.lease.id(), t.depart()
		}
	})
	if err != nil || host == "" {
		return
	}
	// Not with l.ctx: this is how Close ends.
	ctx, cancel := context.WithTimeout(context.Background(), statementTime)
	defer cancel()
	if err := l.depart(ctx, host, rested); err != nil {
		return // the lease ends by itself
	}
	_ = l.home.Update(l.n, func(t *Table) { t.lease.interval, t.head = 0, true })
}

func (l *leasedLanes) depart(ctx context.Context, host string, rested laneSet) error {
	for range maxRaces {
		rec, err := l.reg.load(ctx, l.budget)
		if err != nil || !rec.roll.leave(host, rested) {
			return err
		}
		if stored, err := l.reg.store(ctx, l.budget, rec.rev, rec.roll); err != nil || stored {
			return err
		}
	}
	return errors.New("the table of lanes is busy")
}

// tell says once that sending has stopped, and once that it goes on.
func (l *leasedLanes) tell(t *Table) {
	stopped := t.lease.failing && t.now >= t.lease.until
	switch {
	case stopped && !l.lost && t.hungry():
		l.lost = true
		var cause []any
		if l.cause != nil { // else another process has tried
			cause = []any{"cause", l.cause}
		}
		l.Log.Warn("the database with the lanes is lost: nothing is sent until it is back", cause...)
	case !stopped && l.lost && t.now < t.lease.until:
		l.lost = false
		l.Log.Info("the database with the lanes is back: sending goes on")
	}
}

// Close hands the lanes back if no other process of the host uses them.
func (l *leasedLanes) Close() error {
	l.begin.Do(func() { close(l.ended) })
	l.stop()
	<-l.ended
	last := false
	if err := l.home.Update(l.n, func(*Table) { last = l.alone() }); err == nil && last && l.n > 0 {
		l.leave()
	}
	return errors.Join(l.home.Close(), l.reg.close())
}

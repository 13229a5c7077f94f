// Package limiter decides when a call may leave, so that no more than N calls
// lie inside any one second: not at the start, not after a stall, not in a
// storm of retries, and not when several processes or hosts send at once.
//
// A bucket (golang.org/x/time/rate) spaces the calls. It cannot be the wall,
// because what leaves on time does not arrive on time. The wall is made of
// lanes: N of them, one for each call that may be inside a second. A call takes
// a lane before it leaves, and the lane rests for a second after the latest
// moment at which the call can have reached the server. No lane, no call.
//
// Lanes are kept by [Memory], for one process, by [File], for all processes of a
// host, or by [Postgres], for all hosts that lease them from one table. A process
// that stalls sends late and rests late; one that is stopped keeps its lanes until
// it goes on, or until their lease has ended; one that is killed loses them to
// the others, who let them rest first. If the store cannot be reached, nothing
// is sent: the limiter never falls back to a guess.
//
// Several jobs of one process share a limiter by a [Queue] each, and take turns.
// An API that the server allows less than the rest has a budget of its own
// besides, see [Options].APIs.
package limiter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	defaultMargin = 2 * time.Millisecond
	maxMargin     = time.Second

	// maxQPS bounds the size of the table: 100,000 lanes are 1.6 MB, read
	// for each call.
	maxQPS = 100_000
)

// ErrClosed is returned by [Limiter.Take] once the limiter is closed.
var ErrClosed = errors.New("limiter is closed")

// Options say how fast calls may leave and who shares the budget.
type Options struct {
	// QPS is the most calls inside any one second, 1 to 100,000.
	QPS int

	// Share is the part of this budget, and of those of single APIs, that those
	// who share the lanes use. Zero is all.
	Share Share

	// Name says what this process does, for those who look at who shares the
	// lanes.
	Name string

	// Way says how calls reach the server, e.g. its address and that of a proxy.
	// Processes of a host that go different ways use a little less of the
	// budget while both send: the times that their calls take tell nothing of
	// the other's.
	Way string

	// Key names the budget, e.g. the SDKAppID in decimal. Processes that
	// pass the same key to the same store share one budget.
	Key string

	// PerAPI keeps a budget of QPS calls for each API instead of one for all.
	PerAPI bool

	// APIs are those with a budget of their own, in calls inside any one
	// second, 1 to 100,000, e.g. 1 for "get_appid_group_list". A call to one
	// takes a lane of that budget and, unless PerAPI, one of the common
	// budget too. It is shared like the rest, with those who name the same
	// API or keep a budget for each.
	APIs map[string]int

	// Margin is added to the second that a lane rests. It absorbs what the
	// clocks of client and server make of one second. 0 means 2 ms; at most 1 s.
	Margin time.Duration

	// Lanes opens the store of one budget. nil means Memory.
	Lanes func(key string) (Lanes, error)
}

// Limiter hands out the right to send one call. It has no goroutine of its own; of
// its stores, that of Postgres has one. Safe for concurrent use.
type Limiter struct {
	opt    Options
	closed chan struct{}
	queue  *Queue // of those who have none

	mu      sync.Mutex         // held while a budget is opened
	budgets map[string]*budget // under mu; by API, or all under ""
}

// New returns a limiter. Without PerAPI it opens the store at once, so that a
// store that cannot be used is known before the first call; the store of an
// API's own budget is opened at its first Take. Close it when no more calls leave.
func New(o Options) (*Limiter, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("check limiter options: %w", err)
	}
	o.APIs = maps.Clone(o.APIs)
	if o.Margin == 0 {
		o.Margin = defaultMargin
	}
	if o.Lanes == nil {
		o.Lanes = Memory()
	}
	l := &Limiter{opt: o, closed: make(chan struct{}), budgets: map[string]*budget{}}
	l.queue = l.Queue()
	if !o.PerAPI {
		if _, err := l.budget(""); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (o *Options) check() error {
	if o.QPS < 1 || o.QPS > maxQPS {
		return fmt.Errorf("%d calls a second, want 1 to %d", o.QPS, maxQPS)
	}
	for api, n := range o.APIs {
		if api == "" {
			return errors.New("a budget for an API without a name")
		}
		if n < 1 || n > maxQPS {
			return fmt.Errorf("%d calls to %s a second, want 1 to %d", n, api, maxQPS)
		}
	}
	if err := o.Share.check(); err != nil {
		return err
	}
	if o.Margin < 0 || o.Margin > maxMargin {
		return fmt.Errorf("margin %v, want 0 to %v", o.Margin, maxMargin)
	}
	return nil
}

// Take waits until one call of api may leave. Waiters are served in the order in
// which they came; a call that waits for the own budget of its API holds up
// none to other APIs. All who call Take here share one queue; jobs that are to
// take turns have a [Queue] each. When the attempt has ended, with an answer or without,
// the caller must call done; until then the lane is taken. Calling done again
// does nothing.
//
// roundTrip is the time from the request being written to its answer being there;
// 0 if unknown. answered says whether there was an answer at all.
//
// late says whether it is too late for the call to leave: its lane was leased, and
// may be another host's by now. Ask it as late as can be, right before each
// write of the request, for a process can be stopped anywhere and for long (by
// SIGSTOP, with its virtual machine, by a disk that hangs). If it is too late,
// give the attempt up, call done(0, false), and Take anew. Once true, late stays so.
// What remains is a stop between this look and the system call that writes.
// Lanes of Memory and of File are never late: they stay taken while their process
// is stopped. late reads a clock and no more. It may be called from several
// goroutines, and when done was called.
//
// Take fails when ctx is done, when the limiter is closed, or when the store
// cannot be used. It then holds nothing, and done and late are nil.
func (l *Limiter) Take(ctx context.Context, api string) (done func(roundTrip time.Duration, answered bool), late func() bool, err error) {
	return l.queue.Take(ctx, api)
}

// SlowDown takes a tenth of the lanes out of use for calls of api, as the answer to
// a frequency code, and more if more calls are refused within a second; one comes
// back each second, and the last one always stays. Calls to other APIs are
// slowed down with it only if api is "": that means every budget that this
// limiter has opened. Whoever shares the lanes slows down too.
func (l *Limiter) SlowDown(api string) {
	for _, b := range l.some(api) {
		b.slowDown(api)
	}
}

// Status is what the lanes of one budget do now, counted over all who share them
// on this host.
type Status struct {
	API      string // whose budget; "" for the common one
	Lanes    int    // calls allowed inside one second
	Leased   int    // of these, how many this host may use now: all, unless they are leased
	Held     int    // lanes with a call under way
	Resting  int    // lanes whose call was less than a second ago
	OutOfUse int    // lanes that SlowDown took away and that are not back yet
	Waiting  int    // calls of this process that wait for a lane

	SlowAPIs map[string]int // the same for single APIs that share this budget
}

// Status reports on each budget, in the order of the APIs.
func (l *Limiter) Status() ([]Status, error) {
	var all []Status
	for _, b := range l.some("") {
		s, err := b.status()
		if err != nil {
			return all, fmt.Errorf("read status of the limiter: %w", err)
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.API, b.API) })
	return all, nil
}

// Close ends all waiting Takes with [ErrClosed] and leaves the store. Lanes that
// rest go on resting. A lane with a call still under way stays taken until its
// done is called, for its call may yet arrive; the store is left then.
func (l *Limiter) Close() error {
	var errs []error
	for _, b := range l.end() { // without l.mu: handing lanes back may take a while
		errs = append(errs, b.close())
	}
	return errors.Join(errs...)
}

// end lets nobody in any more, and returns the open budgets the first time.
func (l *Limiter) end() []*budget {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return nil
	default:
		close(l.closed)
		return slices.Collect(maps.Values(l.budgets))
	}
}

// budget returns the budget that calls of api draw on first, and opens it if
// need be.
func (l *Limiter) budget(api string) (*budget, error) {
	own, hasOwn := l.opt.APIs[api]
	n, key := l.opt.QPS, l.opt.Key
	if hasOwn {
		n = own
	}
	if hasOwn || l.opt.PerAPI {
		key += "/" + api
	}
	name := l.name(api)
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return nil, ErrClosed
	default:
	}
	if b := l.budgets[name]; b != nil {
		return b, nil
	}
	lanes, err := l.opt.Lanes(key)
	if err != nil {
		return nil, fmt.Errorf("open lanes: %w", err)
	}
	n, second := l.opt.Share.of(n)
	b := newBudget(name, n, second+l.opt.Margin, lanes, l.closed)
	b.way = wayID(l.opt.Way)
	b.name, b.shared = l.opt.Name, name == "" && !l.opt.PerAPI
	if hasOwn && !l.opt.PerAPI {
		b.common = l.budgets[""]
	}
	l.budgets[name] = b
	return b, nil
}

// name is under what the budget is kept that calls of api draw on first.
func (l *Limiter) name(api string) string {
	if _, own := l.opt.APIs[api]; own || l.opt.PerAPI {
		return api
	}
	return ""
}

// some returns the open budgets that api stands for: "" is all of them.
func (l *Limiter) some(api string) []*budget {
	name := l.name(api)
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []*budget
	for of, b := range l.budgets {
		if of == name || api == "" {
			found = append(found, b)
		}
	}
	return found
}

func cancelled(ctx context.Context) error {
	return fmt.Errorf("wait for a lane: %w", context.Cause(ctx))
}

// Package limiter decides when a call may leave, so that no more than N calls
// lie inside any one second: not at the start, not after a stall, not in a
// storm of retries, and not when several processes of a host send at once.
//
// A bucket (golang.org/x/time/rate) spaces the calls. It cannot be the wall,
// because what leaves on time does not arrive on time. The wall is made of
// lanes: N of them, one for each call that may be inside a second. A call takes
// a lane before it leaves, and the lane rests for a second after the latest
// moment at which the call can have reached the server. No lane, no call.
//
// Lanes are kept by [Memory], for one process, or by [File], for all processes
// of a host. A process that stalls sends late and rests late; one that is
// stopped keeps its lanes until it goes on; one that is killed loses them to the
// others, who let them rest first. If the store cannot be reached, nothing is
// sent: the limiter never falls back to a guess.
package limiter

import (
	"context"
	"errors"
	"fmt"
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

	// Key names the budget, e.g. the SDKAppID in decimal. Processes that
	// pass the same key to the same store share one budget.
	Key string

	// PerAPI keeps a budget of QPS calls for each API instead of one for all.
	PerAPI bool

	// Margin is added to the second that a lane rests. It absorbs what the
	// clocks of client and server make of one second. 0 means 2 ms; at most 1 s.
	Margin time.Duration

	// Lanes opens the store of one budget. nil means Memory.
	Lanes func(key string) (Lanes, error)
}

// Limiter hands out the right to send one call. It has no goroutine of its own.
// Safe for concurrent use.
type Limiter struct {
	opt    Options
	closed chan struct{}

	mu      sync.Mutex         // held while a budget is opened
	budgets map[string]*budget // under mu; by API, or all under ""
}

// New returns a limiter. Without PerAPI it opens the store at once, so that a
// store that cannot be used is known before the first call; with PerAPI each
// API's store is opened at its first Take. Close it when no more calls leave.
func New(o Options) (*Limiter, error) {
	if o.QPS < 1 || o.QPS > maxQPS {
		return nil, fmt.Errorf("check limiter options: %d calls a second, want 1 to %d", o.QPS, maxQPS)
	}
	if o.Margin < 0 || o.Margin > maxMargin {
		return nil, fmt.Errorf("check limiter options: margin %v, want 0 to %v", o.Margin, maxMargin)
	}
	if o.Margin == 0 {
		o.Margin = defaultMargin
	}
	if o.Lanes == nil {
		o.Lanes = Memory()
	}
	l := &Limiter{opt: o, closed: make(chan struct{}), budgets: map[string]*budget{}}
	if !o.PerAPI {
		if _, err := l.budget(""); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// Take waits until one call of api may leave. Waiters are served in the order in
// which they came. When the attempt has ended, with an answer or without,
// the caller must call done; until then the lane is taken. Calling done again
// does nothing.
//
// service is the least time that the request spent behind its arrival at the
// server: the round trip less the connect time; 0 if unknown. answered says
// whether there was an answer at all.
//
// Take fails when ctx is done, when the limiter is closed, or when the store
// cannot be used. It then holds nothing.
func (l *Limiter) Take(ctx context.Context, api string) (done func(service time.Duration, answered bool), err error) {
	if ctx.Err() != nil {
		return nil, cancelled(ctx)
	}
	b, err := l.budget(api)
	if err != nil {
		return nil, err
	}
	h, err := b.take(ctx)
	if err != nil {
		return nil, err
	}
	var once sync.Once
	return func(service time.Duration, answered bool) {
		once.Do(func() { b.done(h, service, answered) })
	}, nil
}

// SlowDown takes a tenth of the lanes of api out of use, as the answer to a
// frequency code; one comes back each second. "" means every API that this
// limiter has met. Several calls within a second count as one. Whoever shares
// the lanes slows down too.
func (l *Limiter) SlowDown(api string) {
	for _, b := range l.some(api) {
		b.slowDown()
	}
}

// Status is what the lanes of one budget do now, counted over all who share them.
type Status struct {
	API      string // "" for the budget of all APIs
	Lanes    int    // calls allowed inside one second
	Held     int    // lanes with a call under way
	Resting  int    // lanes whose call was less than a second ago
	OutOfUse int    // lanes that SlowDown took away and that are not back yet
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
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return nil
	default:
		close(l.closed)
	}
	var errs []error
	for _, b := range l.budgets {
		errs = append(errs, b.close())
	}
	return errors.Join(errs...)
}

// budget returns the budget that calls of api draw on, and opens it if need be.
func (l *Limiter) budget(api string) (*budget, error) {
	key := l.opt.Key
	if !l.opt.PerAPI {
		api = ""
	} else {
		key += "/" + api
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return nil, ErrClosed
	default:
	}
	if b := l.budgets[api]; b != nil {
		return b, nil
	}
	lanes, err := l.opt.Lanes(key)
	if err != nil {
		return nil, fmt.Errorf("open lanes: %w", err)
	}
	b := newBudget(api, l.opt.QPS, time.Second+l.opt.Margin, lanes, l.closed)
	l.budgets[api] = b
	return b, nil
}

// some returns the open budgets that api stands for: "" is all of them.
func (l *Limiter) some(api string) []*budget {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []*budget
	for name, b := range l.budgets {
		if name == api || api == "" || !l.opt.PerAPI {
			found = append(found, b)
		}
	}
	return found
}

func cancelled(ctx context.Context) error {
	return fmt.Errorf("wait for a lane: %w", context.Cause(ctx))
}

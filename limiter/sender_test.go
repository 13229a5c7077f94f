package limiter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// A sender is a process that calls a server.
type sender struct {
	Name string // told to the server
	URL  string

	Dir      string // of the lanes
	Database string // "": the lanes are not leased
	Key      string // "app" if empty
	QPS      int
	Burst    int  // of a bucket alone instead of the limiter
	Free     bool // asks nobody

	Workers int     // they always have calls to make; 64 if zero
	Rate    float64 // instead of them: calls that want to leave a second
	Even    bool    // the times between them are the same, not random
}

// A call is what its sender knows of it, since 1970. Zero: it did not come to that.
type call struct {
	Wanted, Allowed, Wrote, Answered time.Duration
}

// pace waits until a call may leave, and is told when the attempt has ended.
type pace func(context.Context) (done func(roundTrip time.Duration, answered bool), late func() bool, err error)

func never() bool { return false }

// A fencedConn asks before each write whether it is too late, as the client of
// chatbatch does.
type fencedConn struct {
	net.Conn
	late atomic.Pointer[func() bool]
}

func dialFenced(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	return &fencedConn{Conn: conn}, err
}

var errLate = errors.New("the lease of the lane has ended")

func (c *fencedConn) Write(p []byte) (int, error) {
	if late := c.late.Load(); late != nil && (*late)() {
		return 0, errLate
	}
	return c.Conn.Write(p)
}

// run calls until ctx is done, and prints its calls. At the first answer it prints
// that there is one.
func (s sender) run(ctx context.Context) error {
	if s.Key == "" {
		s.Key = "app"
	}
	if s.Workers == 0 {
		s.Workers = 64
	}
	p, slowDown, closeIt, err := s.pace()
	if err != nil {
		return err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 1000, DialContext: dialFenced}
	c := &caller{sender: s, client: &http.Client{Transport: transport}, clock: newWallClock(), slowDown: slowDown}
	if s.Rate > 0 {
		err = c.offer(ctx, p)
	} else {
		err = c.work(ctx, p)
	}
	c.goes.Do(func() { c.said = say(true) })
	return errors.Join(err, closeIt(), c.said, say(c.calls))
}

func (s sender) lanes() func(key string) (Lanes, error) {
	if s.Database == "" {
		return File(s.Dir)
	}
	// What is said when the database is lost is for whoever reads the test.
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("host", s.Name)
	return Postgres(s.Dir, Lease{URL: s.Database, Host: s.Name, Log: log})
}

func (s sender) pace() (p pace, slowDown func(api string), closeIt func() error, err error) {
	none := func() error { return nil }
	switch {
	case s.Free:
		return func(context.Context) (func(time.Duration, bool), func() bool, error) {
			return func(time.Duration, bool) {}, never, nil
		}, func(string) {}, none, nil
	case s.Burst > 0:
		b := rate.NewLimiter(rate.Limit(s.QPS), s.Burst)
		return func(ctx context.Context) (func(time.Duration, bool), func() bool, error) {
			return func(time.Duration, bool) {}, never, b.Wait(ctx)
		}, func(string) {}, none, nil
	}
	l, err := New(Options{QPS: s.QPS, Key: s.Key, Lanes: s.lanes()})
	if err != nil {
		return nil, nil, nil, err
	}
	return func(ctx context.Context) (func(time.Duration, bool), func() bool, error) { return l.Take(ctx, "api") }, l.SlowDown, l.Close, nil
}

// caller makes the calls of one sender.
type caller struct {
	sender
	client   *http.Client
	clock    wallClock
	slowDown func(api string)
	goes     sync.Once // says so
	said     error

	mu    sync.Mutex
	calls []call // under mu
}

// work lets the workers call until ctx is done.
func (c *caller) work(ctx context.Context, p pace) error {
	errs := make([]error, c.Workers)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			for errs[i] == nil && ctx.Err() == nil {
				errs[i] = c.one(ctx, p)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// offer makes Rate calls a second until ctx is done, each whether or not those
// before it are back.
func (c *caller) offer(ctx context.Context, p pace) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	first := make(chan error, 1)
	for next := time.Now(); ; {
		gap := rand.ExpFloat64()
		if c.Even {
			gap = 1
		}
		next = next.Add(time.Duration(gap / c.Rate * float64(time.Second)))
		select {
		case <-ctx.Done():
			return nil
		case err := <-first:
			return err
		case <-time.After(time.Until(next)):
		}
		wg.Go(func() {
			if err := c.one(ctx, p); err != nil {
				select {
				case first <- err:
				default:
				}
			}
		})
	}
}

// one makes one call, and again while it is refused.
func (c *caller) one(ctx context.Context, p pace) error {
	for {
		this := call{Wanted: c.clock.now()}
		done, late, err := p(ctx)
		this.Allowed = c.clock.now()
		if err != nil {
			if ctx.Err() != nil || strings.Contains(err.Error(), "deadline") {
				return nil
			}
			return err
		}
		c.mu.Lock()
		n := len(c.calls)
		c.calls = append(c.calls, this)
		c.mu.Unlock()
		refused := c.post(n, &this, late)
		if this.Answered > 0 {
			c.goes.Do(func() { c.said = say(true) })
		}
		if refused {
			c.slowDown("api")
		}
		done(this.Answered-this.Wrote, this.Answered > 0)
		c.mu.Lock()
		c.calls[n] = this
		c.mu.Unlock()
		if !refused || c.Free {
			return nil
		}
	}
}

// post makes one HTTP request, unless it is too late for it, and notes in this how
// it went.
func (c *caller) post(n int, this *call, late func() bool) (refused bool) {
	var wrote atomic.Int64 // the server may answer before the transport tells
	trace := &httptrace.ClientTrace{
		GotConn:      func(g httptrace.GotConnInfo) { g.Conn.(*fencedConn).late.Store(&late) },
		WroteRequest: func(httptrace.WroteRequestInfo) { wrote.Store(int64(c.clock.now())) },
	}
	// It does not end with ctx: what has its lane shall be counted.
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace),
		http.MethodPost, fmt.Sprintf("%s/%s/%d", c.URL, c.Name, n), nil)
	if err != nil {
		return false
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	if _, err = io.Copy(io.Discard, resp.Body); err != nil {
		return false
	}
	this.Answered = c.clock.now()
	if this.Wrote = time.Duration(wrote.Load()); this.Wrote == 0 {
		this.Wrote = this.Answered // a round trip that is not known
	}
	return resp.StatusCode == http.StatusTooManyRequests
}

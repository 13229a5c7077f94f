package limiter

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A route is a path to a server and the server at its end. It runs as a process
// of its own, so that its times do not suffer from what the senders do.
type route struct {
	There, JitterThere time.Duration // before the arrival: at least, and on top at most
	Service            time.Duration // 20 ms if zero
	Back, JitterBack   time.Duration // after the service

	// Strict makes the server refuse what would be more than this many calls
	// in any one second. What it refused does not count.
	Strict int
}

// An arrival is one call as the server saw it.
type arrival struct {
	At      time.Duration // since 1970
	From    string        // name of the sender
	Call    int           // which of its calls
	Refused bool
}

type counter struct {
	route
	clock wallClock

	mu       sync.Mutex
	arrivals []arrival       // under mu
	accepted []time.Duration // under mu; only if Strict
}

// serve prints its address, counts until ctx is done, and prints the arrivals.
func (r route) serve(ctx context.Context) error {
	if r.Service == 0 {
		r.Service = 20 * time.Millisecond
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	c := &counter{route: r, clock: newWallClock(), arrivals: make([]arrival, 0, 1<<16)}
	server := &http.Server{Handler: c}
	defer server.Close()
	go func() { _ = server.Serve(ln) }() // until Close
	if err := say("http://" + ln.Addr().String()); err != nil {
		return err
	}
	<-ctx.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	return say(c.arrivals)
}

// ServeHTTP answers "/sender/number of the call".
func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d := c.There + upTo(c.JitterThere); d > 0 {
		time.Sleep(d)
	}
	at := c.clock.now()
	from, call, _ := strings.Cut(r.URL.Path[1:], "/")
	n, _ := strconv.Atoi(call)
	refused := c.note(arrival{At: at, From: from, Call: n})
	time.Sleep(c.Service + c.Back + upTo(c.JitterBack))
	if refused {
		w.WriteHeader(http.StatusTooManyRequests)
	}
	_, _ = io.WriteString(w, `{"ErrorCode":0}`)
}

func (c *counter) note(a arrival) (refused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Strict > 0 {
		c.accepted = slices.DeleteFunc(c.accepted, func(t time.Duration) bool { return a.At-t >= time.Second })
		if a.Refused = len(c.accepted) >= c.Strict; !a.Refused {
			c.accepted = append(c.accepted, a.At)
		}
	}
	c.arrivals = append(c.arrivals, a)
	return a.Refused
}

// seen is what a server saw in one measurement, by time.
type seen struct {
	arrivals []arrival
	calls    map[string][]call // what each sender knows of its calls
	cpu      time.Duration     // of all senders
}

// times are the arrivals from those names, all if there are none. What was
// refused is left out.
func (s *seen) times(from ...string) (all []time.Duration) {
	for _, a := range s.arrivals {
		if !a.Refused && (len(from) == 0 || slices.Contains(from, a.From)) {
			all = append(all, a.At)
		}
	}
	return all
}

// worst is the most arrivals in one second.
func (s *seen) worst() int { return worstSecond(s.times()) }

// warm is when the first warmth is over, in which new lanes rest and hosts find
// their shares.
func (s *seen) warm() time.Duration {
	if len(s.arrivals) == 0 {
		return 0
	}
	return s.arrivals[0].At + 4*time.Second
}

// use is the share of n calls a second that was used once warm.
func (s *seen) use(n int) float64 { return useOf(s.times(), n, s.warm()) }

// shares is the number of calls of the sender with the fewest by that of the one
// with the most, once warm.
func (s *seen) shares(names []string) float64 {
	var counts []int
	for _, name := range names {
		times := s.times(name)
		i, _ := slices.BinarySearch(times, s.warm())
		counts = append(counts, len(times)-i)
	}
	if len(counts) == 0 || slices.Max(counts) == 0 {
		return 0
	}
	return float64(slices.Min(counts)) / float64(slices.Max(counts))
}

// refused is how many calls of a sender were refused.
func (s *seen) refused(from string) (n int) {
	for _, a := range s.arrivals {
		if a.Refused && a.From == from {
			n++
		}
	}
	return n
}

// most fails the test if more than n calls arrived within a second, and keeps
// the evidence.
func (s *seen) most(tb testing.TB, n int) {
	tb.Helper()
	worst := s.worst()
	tb.Logf("%d arrivals, at most %d in one second", len(s.arrivals), worst)
	if worst > n {
		tb.Errorf("got %d arrivals in one second, want at most %d: see %s", worst, n, s.keep(tb))
	}
}

//go:build unix

package limiter

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// most fails the test if more than n calls arrived within a second.
func (c *counter) most(t testing.TB, n int) {
	t.Helper()
	worst, use := c.seen(n)
	t.Logf("%d arrivals, at most %d in one second, use %.2f %%", len(c.times), worst, 100*use)
	if worst > n {
		t.Errorf("got %d arrivals in one second, want at most %d", worst, n)
	}
}

func TestLoopback(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 6 seconds")
	}
	c := newCounter(t, 20*time.Millisecond)
	l := newLimiter(t, Options{QPS: 200, Key: "app", Lanes: File(t.TempDir())})
	defer l.Close()
	if _, err := load(t.Context(), c.URL, 64, 6*time.Second, lanePace(l)); err != nil {
		t.Error(err)
	}
	c.most(t, 200)
}

func TestLoopbackFourProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 7 seconds")
	}
	c := newCounter(t, 20*time.Millisecond)
	shares := fourProcesses(t, c, 7)
	c.most(t, 200)
	t.Logf("calls %v, share of the least to the most %.2f", shares, float64(shares[0])/float64(shares[3]))
	if shares[0] == 0 {
		t.Error("a process made no calls")
	}
}

// fourProcesses runs four processes with 16 workers each on one file, and returns
// their calls, least first.
func fourProcesses(tb testing.TB, c *counter, seconds int) (calls []int) {
	dir := tb.TempDir()
	var all []*process
	for range 4 {
		all = append(all, start(tb, "load", dir, 200, c.URL, 16, seconds))
	}
	for _, p := range all {
		calls = append(calls, p.calls(tb))
	}
	slices.Sort(calls)
	return calls
}

func TestProcessesWithDifferentQPS(t *testing.T) {
	c := newCounter(t, 10*time.Millisecond)
	dir := t.TempDir()
	large := start(t, "load", dir, 100, c.URL, 16, 4)
	small := start(t, "load", dir, 25, c.URL, 16, 4)
	a, b := large.calls(t), small.calls(t)
	c.most(t, 100)
	t.Logf("calls: %d by the large one, %d by the small one", a, b)
	if b > 25*4 || b == 0 {
		t.Errorf("got %d calls of the small one in 4 s, want 1 to 100", b)
	}
}

// The lanes of a killed process come back after a second's rest, and not before.
func TestKilledHolder(t *testing.T) {
	dir := t.TempDir()
	rested(t, dir, 5)
	p := start(t, "hold", dir, 5, 5)
	if got := p.line(t); got != "held" {
		t.Fatalf("got %q from the child", got)
	}
	l := newLimiter(t, Options{QPS: 5, Key: "app", Lanes: File(dir)})
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := l.Take(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("holder lives: got %v, want the deadline", err)
	}
	killed := time.Now()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, err := l.Take(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			got := time.Since(killed)
			t.Logf("first lane %v after the kill", got)
			if got < time.Second {
				t.Errorf("got the first lane %v after the kill, want a second's rest", got)
			}
		}
	}
	if s, err := l.Status(); err != nil || s[0].Held != 5 {
		t.Errorf("got %+v, %v, want all lanes", s, err)
	}
}

// A stopped process keeps its lanes however long: what it has in hand leaves
// when it goes on.
func TestStoppedHolderKeepsItsLanes(t *testing.T) {
	dir := t.TempDir()
	rested(t, dir, 3)
	p := start(t, "hold", dir, 3, 3)
	if got := p.line(t); got != "held" {
		t.Fatalf("got %q from the child", got)
	}
	if err := p.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	l := newLimiter(t, Options{QPS: 3, Key: "app", Lanes: File(dir)})
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	if _, err := l.Take(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
}

// Two processes call; one is stopped or killed in the middle.
func TestWallHoldsThroughSignals(t *testing.T) {
	tests := []struct {
		name string
		do   func(t *testing.T, p *process)
	}{
		{"stop", func(t *testing.T, p *process) {
			for _, s := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
				if err := p.Process.Signal(s); err != nil {
					t.Error(err)
				}
				if s == syscall.SIGSTOP {
					time.Sleep(2 * time.Second)
				}
			}
			p.calls(t)
		}},
		{"kill", func(t *testing.T, p *process) {
			if err := p.Process.Kill(); err != nil {
				t.Error(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newCounter(t, 100*time.Millisecond) // so that many lanes are held
			dir := t.TempDir()
			p := start(t, "load", dir, 60, c.URL, 16, 6)
			other := start(t, "load", dir, 60, c.URL, 16, 6)
			time.Sleep(2500 * time.Millisecond)
			tt.do(t, p)
			if n := other.calls(t); n < 60 {
				t.Errorf("got %d calls of the other in 6 s, want at least 60", n)
			}
			c.most(t, 60)
		})
	}
}

// BenchmarkLoopback is the use of 200 calls a second at a server 20 ms away on
// loopback, and the most arrivals in one second, with buckets alone beside it.
func BenchmarkLoopback(b *testing.B) {
	const d = 6 * time.Second
	report := func(b *testing.B, run func(b *testing.B, c *counter)) {
		for range b.N {
			c := newCounter(b, 20*time.Millisecond)
			run(b, c)
			worst, use := c.seen(200)
			b.ReportMetric(float64(worst), "max/s")
			b.ReportMetric(100*use, "%use")
			b.ReportMetric(0, "ns/op")
		}
	}
	single := func(p pace) func(*testing.B, *counter) {
		return func(b *testing.B, c *counter) {
			if _, err := load(b.Context(), c.URL, 64, d, p); err != nil {
				b.Error(err)
			}
		}
	}
	b.Run("lanes/1-process", func(b *testing.B) {
		report(b, func(b *testing.B, c *counter) {
			l, err := New(Options{QPS: 200, Key: "app", Lanes: File(b.TempDir())})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			single(lanePace(l))(b, c)
		})
	})
	b.Run("lanes/4-processes", func(b *testing.B) {
		report(b, func(b *testing.B, c *counter) {
			calls := fourProcesses(b, c, 7)
			b.ReportMetric(float64(calls[0])/float64(calls[3]), "min/max")
		})
	})
	b.Run("bucket/burst-200", func(b *testing.B) { report(b, single(bucketPace(rate.NewLimiter(200, 200)))) })
	b.Run("bucket/burst-1", func(b *testing.B) { report(b, single(bucketPace(rate.NewLimiter(200, 1)))) })
}

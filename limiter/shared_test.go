//go:build unix

package limiter

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"
)

func (p *process) signal(tb testing.TB, s syscall.Signal) {
	tb.Helper()
	if err := p.Process.Signal(s); err != nil {
		tb.Error(err)
	}
}

func TestLoopback(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 6 seconds")
	}
	for name, processes := range map[string]int{"1-process": 1, "4-processes": 4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newRig(t, route{})
			dir := t.TempDir()
			for range processes {
				f.join(sender{Dir: dir, QPS: 200, Workers: 64 / processes})
			}
			f.ready()
			time.Sleep(5 * time.Second)
			s := f.end()
			s.most(t, 200)
			for _, name := range f.names() {
				if len(s.times(name)) == 0 {
					t.Errorf("process %s made no calls", name)
				}
			}
		})
	}
}

func TestProcessesWithDifferentQPS(t *testing.T) {
	t.Parallel()
	f := newRig(t, route{})
	dir := t.TempDir()
	f.join(sender{Name: "large", Dir: dir, QPS: 100, Workers: 16})
	f.join(sender{Name: "small", Dir: dir, QPS: 25, Workers: 16})
	f.ready()
	time.Sleep(3 * time.Second)
	s := f.end()
	s.most(t, 100)
	large, small := s.times("large"), s.times("small")
	t.Logf("calls: %d by the large one, %d by the small one", len(large), len(small))
	if n := worstSecond(small); n > 25 || n == 0 {
		t.Errorf("got %d calls of the small one in one second, want 1 to 25", n)
	}
}

// The lanes of a killed process come back after a second's rest, and not before.
func TestKilledHolder(t *testing.T) {
	dir := t.TempDir()
	rested(t, dir, 5)
	p := start(t, "holder", holder{Dir: dir, QPS: 5, N: 5})
	var held string
	p.hear(t, &held)
	l := newLimiter(t, Options{QPS: 5, Key: "app", Lanes: File(dir)})
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, _, err := l.Take(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("holder lives: got %v, want the deadline", err)
	}
	killed := time.Now()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, _, err := l.Take(t.Context(), ""); err != nil {
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
	p := start(t, "holder", holder{Dir: dir, QPS: 3, N: 3})
	var held string
	p.hear(t, &held)
	p.signal(t, syscall.SIGSTOP)
	l := newLimiter(t, Options{QPS: 3, Key: "app", Lanes: File(dir)})
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	if _, _, err := l.Take(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
}

// Two processes call; one is stopped or killed in the middle.
func TestWallHoldsThroughSignals(t *testing.T) {
	tests := map[string]func(f *rig, m *member){
		"stop": func(f *rig, m *member) {
			m.signal(f, syscall.SIGSTOP)
			time.Sleep(2 * time.Second)
			m.signal(f, syscall.SIGCONT)
			time.Sleep(1500 * time.Millisecond)
		},
		"kill": func(f *rig, m *member) {
			f.kill(m)
			time.Sleep(3500 * time.Millisecond)
		},
	}
	for name, do := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newRig(t, route{Service: 100 * time.Millisecond}) // so that many lanes are held
			dir := t.TempDir()
			m := f.join(sender{Name: "hit", Dir: dir, QPS: 60, Workers: 16})
			f.join(sender{Name: "other", Dir: dir, QPS: 60, Workers: 16})
			f.ready()
			time.Sleep(1500 * time.Millisecond)
			do(f, m)
			s := f.end()
			s.most(t, 60)
			if n := len(s.times("other")); n < 60 {
				t.Errorf("got %d calls of the other in 6 s, want at least 60", n)
			}
		})
	}
}

package limiter

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A strictServer refuses a call that would be more than n in any second, for all
// callers together. Refused calls do not count.
type strictServer struct {
	n     int
	start time.Time
	mu    sync.Mutex
	times []time.Duration // under mu; accepted in the last second
}

func (s *strictServer) accepts() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Since(s.start)
	for len(s.times) > 0 && now-s.times[0] >= time.Second {
		s.times = s.times[1:]
	}
	if len(s.times) >= s.n {
		return false
	}
	s.times = append(s.times, now)
	return true
}

// A neighbour that does not ask takes half of the quota at the server: the run
// must go on, with few refused calls and most of what is left.
func TestNeighbour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, d = 200, 70 * time.Second
		s := &strictServer{n: n, start: time.Now()}
		l := newLimiter(t, Options{QPS: n})
		defer l.Close()
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(10 * time.Second)
			for time.Since(s.start) < d {
				s.accepts() // what it is refused is not ours
				time.Sleep(10 * time.Millisecond)
			}
		})
		var mu sync.Mutex
		var refused, accepted [int(d / time.Second)]int
		for range 64 {
			wg.Go(func() {
				for time.Since(s.start) < d-time.Second {
					done, _, err := l.Take(t.Context(), "api")
					if err != nil {
						t.Error(err)
						return
					}
					time.Sleep(5*time.Millisecond + upTo(2*time.Millisecond))
					ok := s.accepts()
					mu.Lock()
					second := min(int(time.Since(s.start)/time.Second), len(refused)-1)
					if ok {
						accepted[second]++
					} else {
						refused[second]++
					}
					mu.Unlock()
					time.Sleep(20 * time.Millisecond)
					done(27*time.Millisecond, true)
					if !ok {
						l.SlowDown("api")
						time.Sleep(200*time.Millisecond + upTo(200*time.Millisecond))
					}
				}
			})
		}
		wg.Wait()
		total, used := 0, 0
		for i := 10; i < len(refused)-1; i++ {
			total += refused[i]
			used += accepted[i]
		}
		t.Logf("refused in 59 s: %d, by second %v", total, refused[9:])
		t.Logf("accepted %d, by second %v", used, accepted[9:])
		if left := (n - 100) * 59; total > used/50 || used < left*85/100 {
			t.Errorf("got %d refused and %d accepted of %d that were left, want at most 2 %% refused and 85 %% accepted", total, used, left)
		}
	})
}

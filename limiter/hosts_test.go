//go:build unix

package limiter

import (
	"sync"
	"syscall"
	"testing"
	"time"
)

// Hosts that share a budget by a database never have more than it, whatever
// happens to them or to the database, and go on afterwards. How fast is for
// BenchmarkMeasure.
func TestHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 20 seconds")
	}
	const lanes = 30
	tests := []struct {
		name    string
		own     bool // it needs a database of its own
		proxied bool // the first one reaches the database by a proxy
		do      func(x *scene)
		silent  int  // so many hosts are without a database between hit and ending
		dead    bool // the first one does not go on
	}{
		{name: "steady", do: func(x *scene) { time.Sleep(4 * time.Second) }},
		{name: "two-processes", do: func(x *scene) {
			second := x.first.sender
			second.Name = "second"
			x.join(second)
			time.Sleep(4 * time.Second)
		}},
		{name: "killed", dead: true, do: func(x *scene) {
			x.kill(x.first)
			x.healed = x.clock.now()
			time.Sleep(8 * time.Second)
		}},
		{name: "leaves", dead: true, do: func(x *scene) {
			x.leave(x.first)
			x.healed = x.clock.now()
			time.Sleep(4 * time.Second)
		}},
		{name: "stopped", do: func(x *scene) { // longer than its lease
			x.during(8*time.Second, func() { x.first.signal(x, syscall.SIGSTOP) }, func() { x.first.signal(x, syscall.SIGCONT) })
		}},
		{name: "cut-off", proxied: true, silent: 1, do: func(x *scene) {
			x.during(8*time.Second, x.proxy.Cut, x.proxy.Heal)
		}},
		{name: "database-restarts", own: true, silent: 3, do: func(x *scene) {
			x.during(8*time.Second, func() { x.db.Stop(x) }, func() { x.db.Restart(x) })
		}},
		{name: "database-frozen", own: true, silent: 3, do: func(x *scene) {
			x.during(8*time.Second, func() { x.db.Freeze(x) }, func() { x.db.Thaw(x) })
		}},
	}
	shared := migrated(t)
	// Side by side, and not as many as there are cores: they mostly wait.
	var all sync.WaitGroup
	defer all.Wait()
	for _, tt := range tests {
		all.Go(func() {
			t.Run(tt.name, func(t *testing.T) {
				db := shared
				if tt.own {
					db = migrated(t)
				}
				x := newHostScene(t, db, 3, tt.proxied, sender{Key: t.Name(), QPS: lanes, Workers: 8})
				x.first, x.tail = x.senders[0], 5*time.Second
				x.ready()
				time.Sleep(4 * time.Second)
				tt.do(x)
				s := x.end()
				s.most(t, lanes)
				checkProgress(t, x, s, tt.silent, tt.dead)
			})
		})
	}
}

// checkProgress fails the test if a host without its database goes on for longer
// than its lease, or one makes no calls when all is well again.
func checkProgress(t *testing.T, x *scene, s *seen, silent int, dead bool) {
	t.Helper()
	for i, m := range x.senders {
		late := 0
		times := s.times(m.Name)
		for _, at := range times {
			if i < silent && at > x.hit+leaseInTable && at < x.ending {
				late++
			}
		}
		if late > 0 {
			t.Errorf("host %s made %d calls more than %v after it was cut off", m.Name, late, leaseInTable)
		}
		if len(times) == 0 || times[len(times)-1] < x.healed && !(dead && m == x.first) {
			t.Errorf("host %s: %d calls, and none at the end", m.Name, len(times))
		}
	}
}

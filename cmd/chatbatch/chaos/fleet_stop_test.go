//go:build linux

package chaos

import (
	"syscall"
	"testing"
	"time"
)

// A host that is to stop while it cannot reach the database ends all the same, soon after
// its grace time, and says what that means; another one does its work. A second signal
// ends it at once.
func TestFleetStopWithoutDatabase(t *testing.T) {
	t.Parallel()
	for name, signals := range map[string]int{"one signal": 1, "two": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 20, marksDeed, 3)
			h := f.host("--grace", "2s")
			p := f.begun(20)
			h.lose(databaseHost)
			time.Sleep(3 * time.Second) // until it waits for the database
			began := time.Now()
			for range signals {
				if err := h.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				time.Sleep(50 * time.Millisecond)
			}
			e := h.end()
			took := time.Since(began)
			t.Logf("it ended after %v, and said:\n%s", took.Round(100*time.Millisecond), e.stderr)
			if signals == 2 {
				e.want(t, exitInterrupted)
			} else {
				e.want(t, exitTryLater, "the other hosts take over what this one had in hand", "the database cannot be reached now")
			}
			if took > 20*time.Second {
				t.Errorf("it ended after %v", took)
			}
			f.host()
			e = p.end()
			e.want(t, f.code)
			tried.add("fleet: SIGTERM of a host that is cut off from the database", 1, f.check([]summary{f.summary(e)}))
		})
	}
}

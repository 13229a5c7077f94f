//go:build linux

package chaos

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A fleetFault is what happens to a fleet, by real means.
type fleetFault struct {
	hosts int // 0: three
	do    func(f *fleet)
	lost  int      // hosts whose chunks are taken over by others
	short []string // kinds for which it is tried without -full, too
}

func fleetFaults() map[string]fleetFault {
	return map[string]fleetFault{
		"SIGKILL of a host": {lost: 1, do: func(f *fleet) { _ = f.hosts[0].Process.Kill() }},
		"SIGKILL of two hosts of three": {lost: 2, do: func(f *fleet) {
			_ = f.hosts[0].Process.Kill()
			_ = f.hosts[1].Process.Kill()
		}},
		"two hosts of four killed, one cut off, PostgreSQL killed": {hosts: 4, lost: 3, short: []string{"marks set"}, do: func(f *fleet) {
			_ = f.hosts[0].Process.Kill()
			_ = f.hosts[1].Process.Kill()
			f.hosts[2].lose(databaseHost)
			time.Sleep(2 * time.Second)
			f.database.Kill(f.t)
			f.database.Restart(f.t)
			f.hosts[2].backAfter(30*time.Second, databaseHost)
		}},
		"SIGKILL of PostgreSQL": {do: func(f *fleet) {
			f.database.Kill(f.t)
			time.Sleep(2 * time.Second)
			f.database.Restart(f.t)
		}},
		"PostgreSQL stopped at once": {do: func(f *fleet) {
			f.database.Stop(f.t)
			f.database.Restart(f.t)
		}},
		"a host cut off from the database": {lost: 1, do: func(f *fleet) { f.hosts[0].cutFor(40*time.Second, databaseHost) }},
		"a host cut off from the API":      {lost: 1, do: func(f *fleet) { f.hosts[0].cutFor(40*time.Second, apiHost) }},
		"a host cut off from both":         {lost: 1, do: func(f *fleet) { f.hosts[0].cutFor(40*time.Second, databaseHost, apiHost) }},
		"a host stopped for 30 s": {lost: 1, short: []string{"unread set"}, do: func(f *fleet) {
			_ = f.hosts[0].Process.Signal(syscall.SIGSTOP)
			time.Sleep(30 * time.Second)
			f.look()
			_ = f.hosts[0].Process.Signal(syscall.SIGCONT)
		}},
	}
}

// A fleetKind is a deed that a fleet does; whatever submit takes may be one.
type fleetKind struct {
	begin func(p *place, size int) *deed
	size  int // so that there are some 250 calls
}

func fleetKinds() map[string]fleetKind {
	return map[string]fleetKind{
		"marks set": {marksDeed, 12}, "unread set": {unreadDeed, 7},
		"export members": {func(p *place, size int) *deed { return membersDeed(p, size, "members.jsonl.gz") }, 28},
	}
}

// cutFor loses what goes to servers for a while. Then the host goes on.
func (h *host) cutFor(d time.Duration, servers ...int) {
	for _, s := range servers {
		h.lose(s)
	}
	h.backAfter(d, servers...)
}

// backAfter ends that.
func (h *host) backAfter(d time.Duration, servers ...int) {
	time.Sleep(d)
	h.of.look()
	for _, s := range servers {
		h.find(s)
	}
}

// TestFleetFaults lets a fleet lose what it can lose, and holds its books to those of a run
// that nothing happens to: every row has that outcome, once; what was settled is not sent
// again; and no more than what was under way on a host is sent a second time.
func TestFleetFaults(t *testing.T) {
	t.Parallel()
	for name, fault := range fleetFaults() {
		for kind, deed := range fleetKinds() {
			if !*full && !slices.Contains(fault.short, kind) {
				continue
			}
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				f := newFleet(t, 20, deed.begin, deed.size)
				for range max(fault.hosts, 3) {
					f.host()
				}
				tried.add("fleet: "+name+", "+kind, 1, f.through(fault))
			})
		}
	}
}

// through brings a fleet through a fault, and returns how many rows are lost.
func (f *fleet) through(fault fleetFault) (lost int) {
	t := f.t
	p := f.begun(60)
	f.look()
	began, took := time.Now(), make(chan time.Duration, 1)
	go func() { // ends with the command
		<-p.ended
		took <- time.Since(began)
	}()
	fault.do(f)
	e := p.end()
	e.want(t, f.code)
	s := f.summary(e)
	t.Logf("all was done %v after; %d were replayed; calls by host: %v", (<-took).Round(time.Second), s.Replayed, f.shares())
	if most := fault.lost * fleetWorkers; s.Replayed > most {
		t.Errorf("%d were replayed, more than the %d that may have been under way", s.Replayed, most)
	}
	lost = f.again() + f.check([]summary{s})
	for _, h := range f.hosts {
		h.leave()
	}
	return lost
}

// leave ends a host that lives.
func (h *host) leave() {
	h.t.Helper()
	select {
	case <-h.ended:
		return
	default:
	}
	if err := h.Process.Signal(syscall.SIGTERM); err != nil {
		h.t.Error(err)
	}
	if e := h.end(); e.code != exitOK {
		h.t.Errorf("%s ends with exit code %d; it said:\n%s", h.name, e.code, e.stderr)
	} else {
		h.t.Logf("%s said:\n%s", h.name, e.stderr)
	}
}

// A host that cannot reach the API any more is no reason to stop a run whose calls others
// have answered, nor does a row fail for it. When it can again, it works again.
func TestFleetDeafHost(t *testing.T) {
	t.Parallel()
	for name, back := range some(map[string]bool{"for good": false, "and comes back": true}, "for good") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 20, unreadDeed, 7)
			for range 3 {
				f.host("--timeout", "4s", "--retries", "2", "--log-file", "log")
			}
			tried.add("fleet: a host loses the API "+name, 1, f.through(fleetFault{lost: 1, do: func(f *fleet) {
				deaf := f.hosts[0]
				deaf.lose(apiHost)
				if !back {
					return
				}
				f.hosts[2].leave()
				deaf.until(func() bool {
					log, _ := os.ReadFile(filepath.Join(deaf.Dir, "log"))
					return strings.Contains(string(log), "the server answers other hosts")
				})
				deaf.find(apiHost)
				f.hosts[1].leave()
			}}))
		})
	}
}

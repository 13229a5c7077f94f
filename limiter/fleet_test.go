package limiter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A book is a registry in memory, as many hosts as there are ask it. It has the
// faults of a database.
type book struct {
	mu     sync.Mutex
	rolls  map[string][]record // under mu; all revisions, newest last
	server string              // under mu
	skew   time.Duration       // under mu; of its clock
	beats  int                 // under mu
	others int                 // under mu; other statements
	delay  func() time.Duration
}

func newBook() *book {
	return &book{rolls: map[string][]record{}, server: "one", delay: func() time.Duration { return upTo(4 * time.Millisecond) }}
}

// change lets something happen to the book.
func (b *book) change(what func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	what()
}

// desk is a host's way to the book.
type desk struct {
	*book
	mu   sync.Mutex
	fail string // under mu; "cut", "hang", "deaf" (what it says arrives, and no answer comes), or nothing
}

func (d *desk) set(fail string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fail
}

var errCut = errors.New("connection refused")

// do makes one statement.
func (d *desk) do(ctx context.Context, f func()) error {
	d.mu.Lock()
	fail := d.fail
	d.mu.Unlock()
	time.Sleep(d.delay())
	switch fail {
	case "cut":
		return errCut
	case "hang":
		<-ctx.Done()
		return ctx.Err()
	}
	d.book.mu.Lock()
	f()
	d.book.mu.Unlock()
	time.Sleep(d.delay())
	if fail == "deaf" {
		<-ctx.Done()
	}
	return ctx.Err()
}

func (b *book) now() time.Time { return time.Now().Add(b.skew) }

func (b *book) last(budget string) record {
	rec := record{now: b.now(), server: b.server}
	if all := b.rolls[budget]; len(all) > 0 {
		rec.rev, rec.roll = all[len(all)-1].rev, copyRoll(all[len(all)-1].roll)
	}
	return rec
}

// copyRoll goes through JSON, as to a database and back.
func copyRoll(r roll) (c roll) {
	text, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		panic(err)
	}
	return c
}

func (b *book) write(budget string, rev int64, r roll) {
	b.rolls[budget] = append(b.rolls[budget], record{rev: rev, roll: copyRoll(r)})
}

func (d *desk) beat(ctx context.Context, budget, host string, p pulse) (rec record, known bool, err error) {
	err = d.do(ctx, func() {
		d.beats++
		rec = d.last(budget)
		var h tenant
		if h, known = rec.roll.Hosts[host]; known {
			h.pulse, h.Until = p, rec.now.Add(leaseInTable).UnixMicro()
			rec.roll.Hosts[host] = h
			rec.rev++
			d.write(budget, rec.rev, rec.roll)
		}
	})
	return rec, known, err
}

func (d *desk) load(ctx context.Context, budget string) (rec record, err error) {
	err = d.do(ctx, func() { d.others++; rec = d.last(budget) })
	return rec, err
}

func (d *desk) store(ctx context.Context, budget string, rev int64, next roll) (ok bool, err error) {
	err = d.do(ctx, func() {
		d.others++
		if ok = d.last(budget).rev == rev; ok {
			d.write(budget, rev+1, next)
		}
	})
	return ok, err
}

func (d *desk) close() error { return nil }

// A simHost is a host of a fleet, in a bubble.
type simHost struct {
	*world
	*desk
	lim  *Limiter
	home *leasedLanes
	log  *strings.Builder
}

func newHost(t *testing.T, b *book, i, n int) *simHost {
	h := &simHost{desk: &desk{book: b}, log: &strings.Builder{}}
	h.world = &world{path: time.Millisecond, jitter: time.Millisecond, service: 20 * time.Millisecond}
	log := slog.New(slog.NewTextHandler(h.log, nil))
	h.lim = newLimiter(t, Options{QPS: n, Lanes: func(key string) (Lanes, error) {
		under := newMemory(lease{leased: true, host: uint64(i + 1)})
		h.home = newLeased(under, h.desk, key, Lease{Host: fmt.Sprint("host", i), Log: log})
		return h.home, nil
	}})
	return h
}

// die ends the host at once: nothing is handed back.
func (h *simHost) die() {
	h.desk.set("cut")
	h.lim.Close()
}

// A fleet is hosts that start together.
type fleet struct {
	hosts []*simHost
	book  *book
	n     int
	start time.Time
}

func newFleet(t *testing.T, hosts, n int) *fleet {
	f := &fleet{book: newBook(), n: n, start: time.Now()}
	for i := range hosts {
		f.hosts = append(f.hosts, newHost(t, f.book, i, n))
	}
	return f
}

// ways lets something happen to all ways to the book, see desk.
func (f *fleet) ways(fail string) {
	for _, h := range f.hosts {
		h.desk.set(fail)
	}
}

// run lets all hosts call for d, while events happen, and closes them.
func (f *fleet) run(t *testing.T, d time.Duration, events func()) {
	var wg sync.WaitGroup
	if events != nil {
		wg.Go(events)
	}
	for _, h := range f.hosts {
		wg.Go(func() {
			h.world.run(t, h.lim, 64, d)
			h.lim.Close()
		})
	}
	wg.Wait()
}

// check fails the test if all hosts together have sent more than allowed, and
// returns the use of the budget from then on.
func (f *fleet) check(t *testing.T, from, to time.Duration) (use float64) {
	t.Helper()
	var sends, arrivals []time.Duration
	for _, h := range f.hosts {
		off := h.world.start.Sub(f.start)
		for i := range h.world.sends {
			sends = append(sends, h.world.sends[i]+off)
			arrivals = append(arrivals, h.world.arrivals[i]+off)
		}
	}
	if worst := worstSecond(arrivals); worst > f.n {
		t.Errorf("got %d arrivals in one second, want at most %d", worst, f.n)
	}
	in := 0
	for _, at := range arrivals {
		if at >= from && at < to {
			in++
		}
	}
	use = float64(in) / (to - from).Seconds() / float64(f.n)
	t.Logf("%d calls, at most %d arrivals in one second, use %.4f from %v to %v", len(sends), worstSecond(arrivals), use, from, to)
	return use
}

func (f *fleet) calls(from, to time.Duration) (least, most int) {
	var all []int
	for _, h := range f.hosts {
		off := h.world.start.Sub(f.start)
		n := 0
		for _, at := range h.world.sends {
			if at+off >= from && at+off < to {
				n++
			}
		}
		all = append(all, n)
	}
	return slices.Min(all), slices.Max(all)
}

func TestFleet(t *testing.T) {
	t.Parallel() // its time is that of a bubble
	for _, tt := range []struct{ hosts, n int }{{1, 200}, {2, 200}, {3, 200}, {8, 200}, {8, 10}, {5, 3}} {
		t.Run(fmt.Sprintf("%d hosts, %d a second", tt.hosts, tt.n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, tt.hosts, tt.n)
				d := 30 * time.Second
				if tt.n < 20*tt.hosts {
					d = 244 * time.Second // all have had their turns
				}
				f.run(t, d, nil)
				if use := f.check(t, 4*time.Second, d); use < 0.93 { // what turns cost if lanes are fewer than hosts
					t.Errorf("got use %.4f, want at least 0.93", use)
				}
				least, most := f.calls(4*time.Second, d)
				t.Logf("calls of a host %d to %d; %d beats, %d other statements", least, most, f.book.beats, f.book.others)
				if least < most*95/100-10 {
					t.Errorf("got %d to %d calls of a host, want equal shares", least, most)
				}
				if rec := f.book.last(""); len(rec.roll.Hosts) != 0 {
					t.Errorf("got hosts %v in the roll after all have ended", rec.roll.Hosts)
				}
			})
		})
	}
}

// What happens to a fleet of four while it sends.
func TestFleetEvents(t *testing.T) {
	t.Parallel() // its time is that of a bubble
	const n = 200
	sec := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	tests := []struct {
		name   string
		events func(f *fleet)
		lost   float64 // seconds' worth of calls from 4 s to the end, at most
	}{
		{"nothing", func(*fleet) {}, 1},
		{"the registry is away for 30 s", func(f *fleet) {
			time.Sleep(sec(10))
			f.ways("cut")
			time.Sleep(sec(30))
			f.book.change(func() { f.book.server = "started again" })
			f.ways("")
		}, 30},
		{"it hangs for 10 s", func(f *fleet) {
			time.Sleep(sec(10.7))
			f.ways("hang")
			time.Sleep(sec(10))
			f.ways("")
		}, 9},
		{"it hears and does not answer for 3 s", func(f *fleet) {
			time.Sleep(sec(10.2))
			f.ways("deaf")
			time.Sleep(sec(3))
			f.ways("")
		}, 3.8},
		{"one host is cut off for 20 s", func(f *fleet) {
			time.Sleep(sec(10))
			f.hosts[1].desk.set("cut")
			time.Sleep(sec(20))
			f.hosts[1].desk.set("")
		}, 3.8},
		{"one dies", func(f *fleet) {
			time.Sleep(sec(10))
			f.hosts[2].dies = true
			f.hosts[2].die()
		}, 3.8},
		{"one ends", func(f *fleet) {
			time.Sleep(sec(10))
			f.hosts[2].dies = true
			f.hosts[2].lim.Close()
		}, 2},
		{"the registry's clock jumps ahead", func(f *fleet) {
			time.Sleep(sec(10.5))
			f.book.change(func() { f.book.skew = time.Hour })
		}, 1},
		{"and back", func(f *fleet) {
			time.Sleep(sec(10.5))
			f.book.change(func() { f.book.skew = -time.Hour })
		}, 1},
		{"it is replaced by one that has forgotten the last 3 s", func(f *fleet) {
			time.Sleep(sec(10.5))
			f.book.mu.Lock()
			defer f.book.mu.Unlock()
			all := f.book.rolls[""]
			f.book.rolls[""], f.book.server = all[:len(all)-6], "replica"
		}, 3.8},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 4, n)
				const d = 60 * time.Second
				f.run(t, d, func() { tt.events(f) })
				use := f.check(t, 4*time.Second, d)
				if lost := (1 - use) * (d.Seconds() - 4); lost > tt.lost {
					t.Errorf("got %.1f seconds' worth of calls lost, want at most %.1f", lost, tt.lost)
				}
				for _, h := range f.hosts {
					t.Logf("%s", h.log)
				}
			})
		})
	}
}

// Whatever befalls the hosts' ways to the registry and the registry itself, in
// whatever order: never more than allowed, and it all goes on at the end.
func TestFleetUnderRandomFaults(t *testing.T) {
	t.Parallel() // its time is that of a bubble
	runs := 2
	if testing.Short() {
		runs = 1
	}
	for i := range runs {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 2+rand.IntN(4), []int{20, 60, 200}[rand.IntN(3)])
				const faults, d = 60 * time.Second, 80 * time.Second
				f.run(t, d, func() {
					for time.Since(f.start) < faults {
						time.Sleep(upTo(3 * time.Second))
						f.fault(t)
					}
					for _, h := range f.hosts {
						h.desk.set("")
					}
				})
				if use := f.check(t, d-8*time.Second, d); use < 0.9 {
					t.Errorf("got use %.4f of the budget after the faults, want at least 0.9", use)
				}
			})
		})
	}
}

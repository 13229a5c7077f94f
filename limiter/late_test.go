package limiter

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// leasing returns a limiter whose lanes are leased, and the desks of its budgets that
// were opened, by API.
func leasing(t *testing.T, o Options) (*Limiter, map[string]*desk) {
	b, desks := newBook(), map[string]*desk{}
	b.delay = func() time.Duration { return time.Millisecond }
	o.Lanes = func(key string) (Lanes, error) {
		d := &desk{book: b}
		desks[strings.TrimPrefix(key, "/")] = d
		return newLeased(newMemory(lease{leased: true, host: 1}), d, key, Lease{Host: "host"}), nil
	}
	return newLimiter(t, o), desks
}

// lateAfter returns when late becomes true, to 10 ms. It looks for d.
func lateAfter(late func() bool, d time.Duration) time.Duration {
	start := time.Now()
	for ; time.Since(start) < d; time.Sleep(10 * time.Millisecond) {
		if late() {
			return time.Since(start)
		}
	}
	return -1
}

// leaseLeft is for how long the lease of a budget lasts.
func leaseLeft(t *testing.T, b *budget) (left time.Duration) {
	t.Helper()
	if err := b.lanes.Update(b.n, func(tb *Table) { left = tb.lease.until - tb.now }); err != nil {
		t.Fatal(err)
	}
	return left
}

// The lease of a lane has ended a second ago: not before, and whether or not the
// call has ended by then, and the limiter.
func TestLate(t *testing.T) {
	for name, after := range map[string]func(l *Limiter, done func(time.Duration, bool)){
		"under way": func(*Limiter, func(time.Duration, bool)) {},
		"done":      func(_ *Limiter, done func(time.Duration, bool)) { done(0, false) },
		"closed":    func(l *Limiter, done func(time.Duration, bool)) { done(0, false); l.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, desks := leasing(t, Options{QPS: 10})
				defer l.Close()
				done, late, err := l.Take(t.Context(), "api")
				if err != nil {
					t.Fatal(err)
				}
				desks[""].set("cut")
				left := leaseLeft(t, l.budgets[""])
				after(l, done)
				got := lateAfter(late, time.Minute)
				if want := left + time.Second; got < want || got >= want+10*time.Millisecond || left < 4*time.Second {
					t.Errorf("late after %v, %v of the lease left; want %v", got, left, want)
				}
				if done(0, false); !late() {
					t.Error("not late any more")
				}
			})
		})
	}
}

// Lanes that are nobody else's are never late.
func TestNeverLate(t *testing.T) {
	for name, open := range map[string]func(string) (Lanes, error){"memory": Memory(), "file": File(t.TempDir())} {
		t.Run(name, func(t *testing.T) {
			l := newLimiter(t, Options{QPS: 10, APIs: map[string]int{groupList: 5}, Lanes: open})
			defer l.Close()
			done, late, err := l.Take(t.Context(), groupList)
			if err != nil {
				t.Fatal(err)
			}
			done(0, false)
			for _, b := range l.budgets { // as if it had taken all that time
				b.lanes = &skewed{b.lanes, time.Hour}
			}
			if late() {
				t.Error("it is late")
			}
		})
	}
}

// skewed lanes are some time ahead.
type skewed struct {
	Lanes
	by time.Duration
}

func (s *skewed) Now() time.Duration { return s.Lanes.Now() + s.by }

// A call with two lanes is late if either of them is.
func TestLateByEitherBudget(t *testing.T) {
	for _, which := range []string{"", groupList} {
		synctest.Test(t, func(t *testing.T) {
			l, desks := leasing(t, Options{QPS: 10, APIs: map[string]int{groupList: 5}})
			defer l.Close()
			done, late, err := l.Take(t.Context(), groupList)
			if err != nil {
				t.Fatal(err)
			}
			defer done(0, false)
			for _, d := range desks {
				d.set("cut")
			}
			if late() {
				t.Errorf("budget %q: late at once", which)
			}
			b := l.budgets[which]
			for ahead, want := range map[time.Duration]bool{3 * time.Second: false, 7 * time.Second: true} {
				lanes := b.lanes
				b.lanes = &skewed{lanes, ahead}
				if got := late(); got != want {
					t.Errorf("budget %q is %v ahead: late %v, want %v", which, ahead, got, want)
				}
				b.lanes = lanes
			}
		})
	}
}

// A call whose first lane has waited for the second one for longer than a lease is
// not late for that, if the lease went on.
func TestWaitForTheCommonLaneIsNotLate(t *testing.T) {
	for _, cut := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l, desks := leasing(t, Options{QPS: 1, APIs: map[string]int{groupList: 1}})
			defer l.Close()
			first, _, err := l.Take(t.Context(), "api")
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(12*time.Second, func() {
				if cut {
					desks[groupList].set("cut")
				}
			})
			time.AfterFunc(20*time.Second, func() { first(0, false) })
			done, late, err := l.Take(t.Context(), groupList)
			if err != nil {
				t.Fatal(err)
			}
			defer done(0, false)
			if late() != cut {
				t.Errorf("cut off %v: late %v", cut, late())
			}
		})
	}
}

// A call that has waited may leave for longer only if its lane was ours all the while.
func TestExtend(t *testing.T) {
	now := func(tb *Table) lane { return lane{holder: tb.self, lease: ours, ready: tb.now} }
	for name, tt := range map[string]struct {
		lane func(*Table) lane
		want bool
	}{
		"ours":    {now, true},
		"leaving": {func(tb *Table) lane { l := now(tb); l.lease = leaving; return l }, true},
		"away":    {func(tb *Table) lane { l := now(tb); l.lease = away; return l }, false},
		"back":    {func(tb *Table) lane { l := now(tb); l.ready += time.Second; return l }, false}, // and must rest
		"lost":    {func(tb *Table) lane { l := now(tb); l.holder++; return l }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, _ := leasing(t, Options{QPS: 1})
				defer l.Close()
				done, late, err := l.Take(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				defer done(0, false)
				time.Sleep(10 * time.Second) // the lease is renewed meanwhile
				b := l.budgets[""]
				if err := b.lanes.Update(1, func(tb *Table) { tb.lanes[0] = tt.lane(tb) }); err != nil {
					t.Fatal(err)
				}
				h := holding{since: b.lanes.Now(), last: time.Second}
				if b.extend(&h); b.late(h) == tt.want || !late() {
					t.Errorf("until %v, want extended: %v", h.last, tt.want)
				}
			})
		})
	}
}

// A host that stands still between lane and write for longer than its lease sends
// nothing of what it was allowed before, when others have its lanes.
func TestFleetWithAStoppedHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, 30)
		stopped := f.hosts[0]
		stopped.world.stopAt, stopped.world.stopFor = 10*time.Second, 8*time.Second
		f.run(t, 30*time.Second, func() {
			time.Sleep(10 * time.Second)
			stopped.desk.set("cut")
			time.Sleep(8 * time.Second)
			stopped.desk.set("")
		})
		if use := f.check(t, 22*time.Second, 30*time.Second); use < 0.9 {
			t.Errorf("got use %.4f afterwards, want at least 0.9", use)
		}
	})
}

package ledger

import (
	"errors"
	"sync"
	"testing"
	"time"

	"chatbatch/limiter/pgtest"
)

func nightly() Schedule {
	return Schedule{Name: "nightly", Kind: "export members", Input: "groups.csv", Cron: "0 3 * * *", Zone: "UTC", Missed: "run", Overlap: "skip"}
}

// upTo puts a schedule back to a time.
func upTo(t *testing.T, p *Postgres, at time.Time) {
	t.Helper()
	must(t, p.exec(t.Context(), "UPDATE chatbatch_schedule SET upto = $1", at))
}

// Of many hosts that decide at once, and all the time, one decides of each tick.
func TestDecideOnce(t *testing.T) {
	p := openPG(t, pgMigrated(t))
	s := nightly()
	must(t, p.HoldSchedule(t.Context(), s))
	const ticks = 40
	first := time.Now().Add(-time.Hour).Truncate(time.Second)
	upTo(t, p, first)
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[time.Time]int{}
	for range 6 {
		wg.Go(func() {
			for {
				var end bool
				decided, err := p.Decide(t.Context(), s, func(upto, _ time.Time, _ int) []Tick {
					if end = !upto.Before(first.Add(ticks * time.Minute)); end {
						return nil
					}
					return []Tick{{At: upto.Add(time.Minute), State: TickSkipped, Why: "a test"}, {At: upto.Add(2 * time.Minute), State: TickWaiting}}
				})
				if err != nil {
					t.Error(err)
				}
				if err != nil || end {
					return
				}
				mu.Lock()
				for _, d := range decided {
					got[d.At.UTC()]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	all, err := p.Ticks(t.Context(), s.Name, 1000)
	must(t, err)
	if len(all) != ticks || len(got) != ticks {
		t.Errorf("%d ticks are in the database, and %d were decided of, want %d", len(all), len(got), ticks)
	}
	for i, tick := range all {
		if want := first.Add(time.Duration(i+1) * time.Minute); !tick.At.Equal(want) || got[want.UTC()] != 1 {
			t.Errorf("got tick %v, decided of %d times, want %v", tick.At, got[want.UTC()], want)
		}
		if skipped := i%2 == 0; (tick.State == TickSkipped) != skipped || tick.Ended.IsZero() == skipped {
			t.Errorf("got %+v", tick)
		}
	}
}

// One host has a tick. What it leaves when it dies, or gives back, another goes on with;
// and what it does not have any more it cannot write.
func TestTakeTick(t *testing.T) {
	url := pgMigrated(t)
	one, two := openPG(t, url), openPG(t, url)
	s := nightly()
	must(t, one.HoldSchedule(t.Context(), s))
	if h, err := one.TakeTick(t.Context(), s.Name, "one"); h != nil || err != nil {
		t.Fatalf("where none waits: got %v, %v", h, err)
	}
	upTo(t, one, time.Now().Add(-time.Hour))
	_, err := one.Decide(t.Context(), s, func(upto, _ time.Time, _ int) []Tick {
		return []Tick{{At: upto.Add(time.Minute), State: TickWaiting}, {At: upto.Add(2 * time.Minute), State: TickWaiting}}
	})
	must(t, err)

	a, err := one.TakeTick(t.Context(), s.Name, "one")
	must(t, err)
	if _, err := two.TakeTick(t.Context(), s.Name, "two"); !errors.Is(err, ErrLocked) {
		t.Errorf("while one has it: got %v", err)
	}
	a.Run = "r1"
	must(t, a.Save(t.Context()))
	pgtest.SQL(t, url, "DELETE FROM chatbatch_lock") // as if it had been dead for long
	b, err := two.TakeTick(t.Context(), s.Name, "two")
	must(t, err)
	if !b.At.Equal(a.At) || b.Run != "r1" || b.Takes != 2 || b.Host != "two" || !b.Began.Equal(a.Began) && a.Takes > 1 {
		t.Errorf("got %+v, want the tick of %+v", b.Tick, a.Tick)
	}
	a.State = TickEnded
	if err := a.Save(t.Context()); !errors.Is(err, ErrLocked) {
		t.Errorf("who has lost it writes all the same: %v", err)
	}
	b.State, b.Code, b.Why = TickEnded, 1, "why"
	must(t, b.Save(t.Context()))
	b.Release()
	c, err := two.TakeTick(t.Context(), s.Name, "two")
	must(t, err)
	if !c.At.After(b.At) || c.Takes != 1 {
		t.Errorf("got %+v, want the next tick", c.Tick)
	}
	c.State = TickWaiting
	must(t, c.Save(t.Context()))
	c.Release()

	all, err := one.Schedules(t.Context())
	must(t, err)
	if len(all) != 1 || all[0].Schedule != s || !all[0].Open || all[0].Held || all[0].Last.State != TickWaiting {
		t.Errorf("got %+v", all)
	}
	ticks, err := one.Ticks(t.Context(), "", 2)
	must(t, err)
	if e := ticks[0]; e.State != TickEnded || e.Code != 1 || e.Why != "why" || e.Run != "r1" || e.Ended.Before(e.Began) || e.Began.IsZero() {
		t.Errorf("got %+v", e)
	}
}

// A schedule that says something else is another one. With another clock it begins anew.
func TestHoldSchedule(t *testing.T) {
	p := openPG(t, pgMigrated(t))
	old := nightly()
	must(t, p.HoldSchedule(t.Context(), old))
	long := time.Now().Add(-100 * time.Hour)
	upTo(t, p, long)
	must(t, p.HoldSchedule(t.Context(), old))
	var was time.Time
	decide := func(upto, _ time.Time, _ int) []Tick {
		was = upto
		return nil
	}
	_, err := p.Decide(t.Context(), old, decide)
	must(t, err)
	if was.Sub(long).Abs() > time.Millisecond {
		t.Errorf("held again, it begins at %v, want %v", was, long)
	}
	newer := old
	newer.Cron = "0 4 * * *"
	must(t, p.HoldSchedule(t.Context(), newer))
	was = time.Time{}
	_, err = p.Decide(t.Context(), old, decide)
	must(t, err)
	if !was.IsZero() {
		t.Error("a host with an old file decides")
	}
	_, err = p.Decide(t.Context(), newer, decide)
	must(t, err)
	if time.Since(was).Abs() > time.Minute {
		t.Errorf("with another clock it begins at %v", was)
	}
}

package fleet

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/ledger"
)

// Each tick is decided of once: it is done, missed or skipped by the rules.
func TestDecide(t *testing.T) {
	const (
		waits  = ledger.TickWaiting
		missed = ledger.TickMissed
		skips  = ledger.TickSkipped
	)
	at := func(clock string) time.Time {
		t.Helper()
		w, err := time.Parse("2006-01-02 15:04:05", "2026-11-28 "+clock)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	for _, tt := range []struct {
		name, missed, overlap, cron string
		upto, now                   string
		open                        int
		want                        []ledger.TickState
	}{
		{"none is due", RuleRun, RuleSkip, "0 * * * *", "03:00:00", "03:59:59", 0, nil},
		{"on time", RuleRun, RuleSkip, "0 * * * *", "02:00:00", "03:00:00", 0, []ledger.TickState{waits}},
		{"some seconds late", RuleSkip, RuleSkip, "0 * * * *", "02:00:00", "03:01:00", 0, []ledger.TickState{waits}},
		{"missed and done", RuleRun, RuleSkip, "0 * * * *", "02:00:00", "03:30:00", 0, []ledger.TickState{waits}},
		{"missed and left", RuleSkip, RuleSkip, "0 * * * *", "02:00:00", "03:30:00", 0, []ledger.TickState{missed}},
		{"many missed, one done", RuleRun, RuleSkip, "0 * * * *", "02:00:00", "05:30:00", 0, []ledger.TickState{missed, missed, waits}},
		{"missed, and one on time", RuleSkip, RuleSkip, "0 * * * *", "02:00:00", "05:00:01", 0, []ledger.TickState{missed, missed, waits}},
		{"one under way", RuleRun, RuleSkip, "0 * * * *", "02:00:00", "03:00:00", 1, []ledger.TickState{skips}},
		{"one under way, this one waits", RuleRun, RuleWait, "0 * * * *", "02:00:00", "03:00:00", 1, []ledger.TickState{waits}},
		{"another waits", RuleRun, RuleWait, "0 * * * *", "02:00:00", "03:00:00", 2, []ledger.TickState{skips}},
		{"two at once", RuleRun, RuleSkip, "@every 10s", "03:00:00", "03:00:20", 0, []ledger.TickState{waits, skips}},
		{"two at once, one waits", RuleRun, RuleWait, "@every 10s", "03:00:00", "03:00:30", 0, []ledger.TickState{waits, waits, skips}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := NewSchedule(ledger.Schedule{Name: "s", Cron: tt.cron, Zone: "UTC", Missed: tt.missed, Overlap: tt.overlap})
			if err != nil {
				t.Fatal(err)
			}
			var got []ledger.TickState
			last := at(tt.upto)
			for _, tick := range s.decide(last, at(tt.now), tt.open) {
				if got = append(got, tick.State); !tick.At.Equal(s.Next(last)) || tick.State != waits && tick.Why == "" {
					t.Errorf("got %+v after %v", tick, last)
				}
				last = tick.At
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// Who was away for a year hears of the newest ticks, and of no more.
func TestDecideAfterAYear(t *testing.T) {
	s := newSchedule(t, "* * * * *", "Europe/Berlin")
	now := time.Date(2026, 11, 28, 9, 0, 30, 0, time.UTC)
	ticks := s.decide(now.AddDate(-1, 0, 0), now, 0)
	if len(ticks) != mostMissed || !ticks[len(ticks)-1].At.Equal(now.Truncate(time.Minute)) || ticks[len(ticks)-1].State != ledger.TickWaiting {
		t.Errorf("got %d ticks, the last %+v", len(ticks), ticks[len(ticks)-1])
	}
}

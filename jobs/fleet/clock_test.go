package fleet

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/ledger"
)

func newSchedule(t *testing.T, cron, zone string) *Schedule {
	t.Helper()
	s, err := NewSchedule(ledger.Schedule{Name: "s", Cron: cron, Zone: zone, Missed: RuleRun, Overlap: RuleSkip})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What is meant for certain hours is done once a day, also where the clock jumps.
func TestTicksAcrossJumps(t *testing.T) {
	for _, tt := range []struct {
		name, cron, zone, after string
		want                    []string
	}{
		{
			"no jump in Shanghai", "0 3 * * *", "Asia/Shanghai", "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T03:00:00+08:00", "2026-03-30T03:00:00+08:00"},
		},
		{
			"an hour is left out in Berlin", "30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"},
		},
		{
			"two ticks meet where it jumps", "0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"},
		},
		{
			"an hour comes twice in Berlin", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"},
		},
		{
			"begun in the second of the two", "30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z",
			[]string{"2026-10-26T02:30:00+01:00"},
		},
		{
			"every hour follows the time that passes", "30 * * * *", "Europe/Berlin", "2026-10-24T23:31:00Z",
			[]string{"2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00"},
		},
		{
			"every hour where one is left out", "30 * * * *", "America/New_York", "2026-03-08T06:00:00Z",
			[]string{"2026-03-08T01:30:00-05:00", "2026-03-08T03:30:00-04:00"},
		},
		{
			"half an hour is left out on Lord Howe", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z",
			[]string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"},
		},
		{
			"midnight is left out in São Paulo", "@daily", "America/Sao_Paulo", "2018-11-03T12:00:00Z",
			[]string{"2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"},
		},
		{
			"a day is left out in Samoa", "0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z",
			[]string{"2011-12-29T12:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"},
		},
		{
			"the last of February", "0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", []string{"2028-02-29T00:00:00Z"},
		},
		{
			"every so often, on any host", "@every 10m", "Europe/Berlin", "2026-10-25T00:43:17Z",
			[]string{"2026-10-25T02:50:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T02:10:00+01:00"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSchedule(t, tt.cron, tt.zone)
			at, err := time.Parse(time.RFC3339, tt.after)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for range tt.want {
				at = s.Next(at)
				got = append(got, s.When(at))
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// Whenever one asks, the ticks are the same, and come in order.
func TestTicksFromAnywhere(t *testing.T) {
	for _, cron := range []string{"30 2 * * *", "*/20 1-3 * * *", "0 2,3 * * 0", "15 * * * *"} {
		s := newSchedule(t, cron, "Europe/Berlin")
		for _, day := range []string{"2026-03-28T00:00:00Z", "2026-10-24T00:00:00Z"} {
			from, _ := time.Parse(time.RFC3339, day)
			for at := from; at.Before(from.AddDate(0, 0, 3)); at = at.Add(7 * time.Minute) {
				next := s.Next(at)
				if !next.After(at) {
					t.Fatalf("%s: the tick after %v is %v", cron, at, next)
				}
				for between := at; between.Before(next); between = between.Add(13 * time.Minute) {
					if again := s.Next(between); !again.Equal(next) {
						t.Fatalf("%s: the tick after %v is %v, and after %v %v", cron, at, next, between, again)
					}
				}
			}
		}
	}
}

func TestBadSchedules(t *testing.T) {
	good := ledger.Schedule{Name: "s", Cron: "0 3 * * *", Zone: "UTC", Missed: RuleRun, Overlap: RuleSkip}
	for _, tt := range []struct {
		name   string
		change func(*ledger.Schedule)
		says   string
	}{
		{"too few fields", func(s *ledger.Schedule) { s.Cron = "3 *" }, `cron: "3 *": expected exactly 5 fields, found 2`},
		{"seconds", func(s *ledger.Schedule) { s.Cron = "0 0 3 * * *" }, "expected exactly 5 fields, found 6"},
		{"a minute too many", func(s *ledger.Schedule) { s.Cron = "60 3 * * *" }, "above maximum"},
		{"no such day", func(s *ledger.Schedule) { s.Cron = "0 0 30 2 *" }, "there is no such day"},
		{"a zone in it", func(s *ledger.Schedule) { s.Cron = "TZ=UTC" }, "a key of its own"},
		{"at boot", func(s *ledger.Schedule) { s.Cron = "@reboot" }, "@reboot"},
		{"no such zone", func(s *ledger.Schedule) { s.Zone = "Beijing" }, `timezone: there is no "Beijing"`},
		{"the host's zone", func(s *ledger.Schedule) { s.Zone = "Local" }, "timezone:"},
		{"no such rule", func(s *ledger.Schedule) { s.Missed = "often" }, `missed: "often" is neither run nor skip`},
		{"no such rule for two", func(s *ledger.Schedule) { s.Overlap = "queue" }, `overlap: "queue" is neither skip nor wait`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := good
			tt.change(&s)
			if _, err := NewSchedule(s); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want it to say %q", err, tt.says)
			}
		})
	}
}

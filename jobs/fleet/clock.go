package fleet

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// A clock says when the next tick is; the zero time if there is none.
type clock interface {
	Next(after time.Time) time.Time
}

// parseClock reads a cron expression of five fields, or @hourly, @daily, @weekly,
// @monthly, @yearly or @every DURATION. Its ticks are the same on every host.
func parseClock(expression string, zone *time.Location) (clock, error) {
	if strings.Contains(expression, "TZ=") {
		return nil, errors.New("the time zone has a key of its own: timezone")
	}
	p := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	parsed, err := p.Parse(expression)
	if err != nil {
		return nil, err
	}
	var c clock
	switch s := parsed.(type) {
	case cron.ConstantDelaySchedule:
		return grid(s.Delay), nil
	case *cron.SpecSchedule:
		c = ofSpec(s, zone)
	default:
		return nil, fmt.Errorf("a schedule of type %T", s) // the parser has no other
	}
	if c.Next(time.Now()).IsZero() {
		return nil, errors.New("there is no such day in the next five years")
	}
	return c, nil
}

// A grid has a tick each so often, counted from midnight UTC on the first day of year 1
// and not from when a host has begun: so 10 minutes are 0:00, 0:10 and so on.
type grid time.Duration

// Next is the next multiple.
func (g grid) Next(after time.Time) time.Time {
	return after.Truncate(time.Duration(g)).Add(time.Duration(g))
}

// ofSpec is a cron expression on the clocks of a zone. What is meant for certain hours of
// the day follows the clock on the wall, what is meant for every hour the time that
// passes.
func ofSpec(s *cron.SpecSchedule, zone *time.Location) clock {
	const everyHour = 1<<24 - 1
	if s.Hour&everyHour == everyHour {
		s.Location = zone
		return s
	}
	s.Location = time.UTC
	return wall{s, zone}
}

// A wall is the clock on the wall of a zone, which jumps with daylight saving. A tick that
// it jumps over is at the moment of the jump, and one that it shows twice is at the first
// time: a nightly job is done once in every night.
type wall struct {
	shown *cron.SpecSchedule // in UTC: as if the clock never jumped
	zone  *time.Location
}

// Next is the next tick.
func (w wall) Next(after time.Time) time.Time {
	for at := shownAt(after, w.zone); ; {
		if at = w.shown.Next(at); at.IsZero() {
			return at
		}
		if t := firstShown(at, w.zone); t.After(after) {
			return t
		}
	}
}

// shownAt is what the clock shows, as a time in UTC.
func shownAt(t time.Time, zone *time.Location) time.Time {
	_, ahead := t.In(zone).Zone()
	return t.UTC().Add(time.Duration(ahead) * time.Second)
}

// firstShown is when the clock shows something for the first time, or when it jumps over
// that.
func firstShown(shown time.Time, zone *time.Location) time.Time {
	y, m, d := shown.Date()
	t := time.Date(y, m, d, shown.Hour(), shown.Minute(), shown.Second(), 0, zone)
	begin, end := t.ZoneBounds()
	switch now := shownAt(t, zone); {
	case now.After(shown):
		return begin
	case now.Before(shown):
		return end
	case begin.IsZero():
		return t
	}
	_, before := begin.Add(-time.Second).Zone()
	if first := shown.Add(-time.Duration(before) * time.Second); first.Before(begin) {
		return first.In(zone)
	}
	return t
}

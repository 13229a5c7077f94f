package report

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"

	"chatbatch/io/aside"
	"chatbatch/io/ledger"
)

// paceHeader are the columns of pace.csv. A second is left out in which no call
// left and none was refused, if the lanes were as in the second before it.
const paceHeader = "time,calls,retries,refused,lanes\n"

// paces writes the pace into a file that will be called path, if there is any, and
// keeps what the page says of it.
func (w *writer) paces(ctx context.Context, v *ledger.View, path string) error {
	for s, err := range v.Pace(ctx) {
		if err != nil {
			return err
		}
		if w.pace == nil {
			if w.pace, err = aside.Create(path); err != nil {
				return fmt.Errorf("write reports: %w", err)
			}
			_, _ = w.pace.WriteString(paceHeader) // its error comes with the next one
		}
		w.sum.add(s)
		w.curve.add(s)
		w.line = appendSecond(w.line[:0], s)
		if _, err := w.pace.Write(w.line); err != nil {
			return fmt.Errorf("write reports: %w", err)
		}
	}
	return nil
}

// appendSecond adds the line of a second. Lanes that are not known are an empty
// field.
func appendSecond(dst []byte, s ledger.Second) []byte {
	dst = at(s).AppendFormat(dst, time.RFC3339)
	for _, n := range []int{s.Calls, s.Retries, s.Refused} {
		dst = strconv.AppendInt(append(dst, ','), int64(n), 10)
	}
	if dst = append(dst, ','); s.Budget > 0 {
		dst = strconv.AppendInt(dst, int64(s.Lanes), 10)
	}
	return append(dst, '\n')
}

func at(s ledger.Second) time.Time { return time.Unix(s.Unix, 0).UTC() }

// Pace is what the seconds of a run come to. Its zero value is that of a run
// of which no second is on record.
type Pace struct {
	Seconds int       // on record
	Budget  int       // most lanes there were when all were usable; 0: not known
	Least   int       // fewest lanes that were usable, where that was less than all
	LeastAt time.Time // when that was first, UTC; zero: never
}

// PaceOf reads the pace of a run as it is now.
func PaceOf(ctx context.Context, l *ledger.Ledger) (p Pace, err error) {
	v, err := l.View(ctx)
	if err != nil {
		return p, err
	}
	defer v.Close()
	for s, err := range v.Pace(ctx) {
		if err != nil {
			return p, err
		}
		p.add(s)
	}
	return p, nil
}

func (p *Pace) add(s ledger.Second) {
	p.Seconds++
	p.Budget = max(p.Budget, s.Budget)
	if s.Lanes < s.Budget && (p.LeastAt.IsZero() || s.Lanes < p.Least) {
		p.Least, p.LeastAt = s.Lanes, at(s)
	}
}

// line says the pace for people; "" if there is nothing to say. It speaks of lanes
// and refusals only where the run was held back by them.
func (p Pace) line(s ledger.Summary) string {
	if p.Seconds == 0 {
		return ""
	}
	line := fmt.Sprintf("pace: at most %s calls in a second", humanize.Comma(int64(s.MaxCallsInOneSecond)))
	if !p.LeastAt.IsZero() {
		// The time as pace.csv has it: that is where to look next.
		line += fmt.Sprintf("; %s lanes, least %s at %s", humanize.Comma(int64(p.Budget)), humanize.Comma(int64(p.Least)), p.LeastAt.Format(time.RFC3339))
	}
	switch {
	case s.Refused == 1:
		line += "; 1 call refused for frequency"
	case s.Refused > 1:
		line += fmt.Sprintf("; %s calls refused for frequency", humanize.Comma(s.Refused))
	}
	return line
}

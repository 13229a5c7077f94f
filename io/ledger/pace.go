package ledger

import (
	"context"
	"iter"
)

// A Second is the pace of a run in one second of the host's clock. (When that is
// set back, two seconds share a name and are counted together.)
type Second struct {
	Unix    int64 // its first moment, in seconds
	Calls   int   // that left
	Retries int   // among the Calls
	Refused int   // calls whose answer came and refused them for their frequency
	Lanes   int   // that were usable when most were missing; see Budget
	Budget  int   // lanes there are when all are usable, to the same process; 0: Lanes is not known
}

// AddPace adds to the pace of the run, in any order; what is on record for one of
// these seconds already is merged with it. The pace is not part of the books:
// nothing has to add up to it, and what a killed process had not handed in is lost.
func (l *Ledger) AddPace(ctx context.Context, seconds []Second) error {
	return l.change(ctx, "note the pace", need{}, func(b *batch) error {
		b.pace = append(b.pace, seconds...)
		return nil
	})
}

// Pace yields the seconds in which something happened, in order. There is none in
// the ledger of an older program. The error is the last item.
func (v *View) Pace(ctx context.Context) iter.Seq2[Second, error] {
	return func(yield func(Second, error) bool) {
		for s, err := range v.at.pace(ctx) {
			if !yield(s, v.l.fail("read the pace", err)) {
				return
			}
		}
	}
}

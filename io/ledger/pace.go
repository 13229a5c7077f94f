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
	Lanes   int   // the fewest that were seen usable; see Budget
	Budget  int   // lanes there are when all are usable; 0: Lanes is not known
}

// AddPace adds to the pace of the run, in any order; what is on record for one of
// these seconds already is merged with it. The pace is not part of the books:
// nothing has to add up to it, and what a killed process had not handed in is lost.
func (l *Ledger) AddPace(ctx context.Context, seconds []Second) error {
	return l.change(ctx, "note the pace", func(b *batch) error {
		for _, s := range seconds {
			b.exec(`INSERT INTO pace (second, calls, retries, refused, lanes, budget) VALUES (?, ?, ?, ?, ?, ?)
				ON CONFLICT DO UPDATE SET calls = calls + excluded.calls, retries = retries + excluded.retries,
					refused = refused + excluded.refused, budget = max(budget, excluded.budget),
					lanes = CASE WHEN budget = 0 THEN excluded.lanes WHEN excluded.budget = 0 THEN lanes
						ELSE min(lanes, excluded.lanes) END`,
				s.Unix, s.Calls, s.Retries, s.Refused, s.Lanes, s.Budget)
		}
		return nil
	})
}

// Pace yields the seconds in which something happened, in order. There is none in
// the ledger of an older program. The error is the last item.
func (v *View) Pace(ctx context.Context) iter.Seq2[Second, error] {
	return func(yield func(Second, error) bool) {
		if v.version < 3 {
			return
		}
		if err := v.pace(ctx, yield); err != nil {
			yield(Second{}, v.l.fail("read the pace", err))
		}
	}
}

func (v *View) pace(ctx context.Context, yield func(Second, error) bool) error {
	rows, err := v.conn.QueryContext(ctx, "SELECT second, calls, retries, refused, lanes, budget FROM pace ORDER BY second")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var s Second
		if err := rows.Scan(&s.Unix, &s.Calls, &s.Retries, &s.Refused, &s.Lanes, &s.Budget); err != nil {
			return err
		}
		if !yield(s, nil) {
			return nil
		}
	}
	return rows.Err()
}

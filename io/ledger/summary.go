package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"sort"
	"strconv"
	"time"
)

// Summary is what a run comes to. Rows = Succeeded + Failed + Unprocessed; the
// counts of ByCode, and those of ByClass, add up to Failed. Superseded rows are
// among all three, with the outcome of the row that replaced them.
type Summary struct {
	Run                 string           `json:"run"`
	Kind                string           `json:"kind"`
	State               State            `json:"state"`
	Rows                int64            `json:"rows"`
	Succeeded           int64            `json:"succeeded"`
	Failed              int64            `json:"failed"`
	Unprocessed         int64            `json:"unprocessed"`
	Replayed            int64            `json:"replayed"` // times that a chunk or entry in doubt was sent again
	Calls               int64            `json:"calls"`    // of sessions that were killed: only those of settled chunks
	Retries             int64            `json:"retries"`
	Chunks              int64            `json:"chunks"`
	Groups              int64            `json:"groups"`  // with at least one chunk
	ByCode              map[string]int64 `json:"by_code"` // failed rows; "0" without a code of the server
	ByClass             map[string]int64 `json:"by_class"`
	Started             *time.Time       `json:"started"`  // of the first session, UTC; nil: none yet
	Finished            *time.Time       `json:"finished"` // when the last session ended, UTC; nil: it has not
	Seconds             float64          `json:"seconds"`  // at work, over all sessions
	CallsPerSecond      float64          `json:"calls_per_second"`
	MaxCallsInOneSecond int              `json:"max_calls_in_one_second"`
	Superseded          int64            `json:"superseded,omitempty"`            // rows that a later row of the same account replaced; their outcome is its
	Refused             int64            `json:"refused_for_frequency,omitempty"` // calls that the server refused for their frequency
	Latency             *Quantiles       `json:"latency_ms,omitempty"`            // of calls that were answered; nil: not known
}

// View is a ledger as it stood at one moment, however it goes on. It keeps what has
// changed since from being cleaned away: close it soon. One goroutine at a time.
type View struct {
	l   *Ledger
	at  look
	ctx context.Context // of View, without its cancellation
}

// View takes a view.
func (l *Ledger) View(ctx context.Context) (*View, error) {
	at, err := l.disk.look(ctx)
	if err != nil {
		return nil, l.fail("read", err)
	}
	return &View{l, at, context.WithoutCancel(ctx)}, nil
}

// Close gives the view up.
func (v *View) Close() { v.at.close() }

// Summary returns what the run comes to now.
func (l *Ledger) Summary(ctx context.Context) (Summary, error) {
	v, err := l.View(ctx)
	if err != nil {
		return Summary{}, err
	}
	defer v.Close()
	return v.Summary(ctx)
}

// Summary returns what the run comes to.
func (v *View) Summary(ctx context.Context) (Summary, error) {
	s := Summary{Run: v.l.meta.Run, Kind: v.l.meta.Kind, ByCode: map[string]int64{}, ByClass: map[string]int64{}}
	sums, err := v.at.sums(ctx)
	if err == nil {
		s.enterSums(sums)
		err = v.tally(ctx, &s)
	}
	if err == nil {
		s.Latency, err = v.latency(ctx)
	}
	return s, v.l.fail("read the books", err)
}

// enterSums fills in what is not by class.
func (s *Summary) enterSums(t sums) {
	s.State, s.Rows, s.Succeeded, s.Failed, s.Superseded = t.state, t.rows, t.succeeded, t.failed, t.superseded
	s.Replayed, s.Calls, s.Retries, s.Refused = t.replayed, t.calls, t.retries, t.refused
	s.Chunks, s.Groups, s.Seconds, s.MaxCallsInOneSecond = t.chunks, t.groups, t.seconds, t.peak
	s.Unprocessed = s.Rows - s.Succeeded - s.Failed
	s.Started = moment(t.started)
	if s.State != Running {
		s.Finished = moment(t.seen)
	}
	if s.Seconds > 0 {
		s.CallsPerSecond = float64(s.Calls) / s.Seconds
	}
}

func moment(ms sql.NullInt64) *time.Time {
	if !ms.Valid {
		return nil
	}
	t := time.UnixMilli(ms.Int64).UTC()
	return &t
}

// tally adds the counts of failed rows to s.
func (v *View) tally(ctx context.Context, s *Summary) error {
	list, err := v.at.tally(ctx)
	for _, t := range list {
		s.ByClass[t.Class] += t.Rows
		s.ByCode[strconv.Itoa(t.Code)] += t.Rows
	}
	return err
}

// Example is one of the rows that failed with the same class and code.
type Example struct {
	Class     string
	Code      int
	Rows      int64 // how many there are
	Num, Line int64 // of this one
	Raw       string
	Error     string
}

// Examples returns one row for each class and code of failed rows, the most
// frequent first.
func (l *Ledger) Examples(ctx context.Context) ([]Example, error) {
	v, err := l.View(ctx)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	return v.Examples(ctx)
}

// Examples is [Ledger.Examples] for the moment of the view.
func (v *View) Examples(ctx context.Context) ([]Example, error) {
	list, err := v.at.tally(ctx)
	if err != nil {
		return nil, v.l.fail("read the books", err)
	}
	for i := range list {
		if list[i].Line, list[i].Raw, err = v.source(ctx, list[i].Num); err != nil {
			return nil, v.l.fail("read the source", err)
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].Rows > list[j].Rows })
	return list, nil
}

// source finds one row as written.
func (v *View) source(ctx context.Context, num int64) (line int64, raw string, err error) {
	b, err := v.at.source(ctx, num)
	if err != nil {
		return 0, "", err
	}
	b.of = v.l.owner()
	return b.row(num)
}

// row finds one row of a block.
func (b block) row(num int64) (line int64, raw string, err error) {
	err = b.each(func(n, l int64, r string) bool {
		if n == num {
			line, raw = l, r
		}
		return n < num
	})
	if err == nil && line == 0 {
		err = fmt.Errorf("%w: row %d is not on record", ErrUnbalanced, num)
	}
	return line, raw, err
}

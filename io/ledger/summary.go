package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"os"
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

// View is a ledger as it stood at one moment, however it goes on. It keeps the
// -wal file from shrinking: close it soon. One goroutine at a time.
type View struct {
	l       *Ledger
	conn    *sql.Conn
	ctx     context.Context // of View, without its cancellation, for Close
	version int             // of the schema; an old ledger is read as it is
	file    *os.File        // fetched.dat; nil until Kept
}

// View takes a view.
func (l *Ledger) View(ctx context.Context) (*View, error) {
	conn, err := l.read.Conn(ctx)
	if err != nil {
		return nil, l.fail("read", err)
	}
	v := &View{l: l, conn: conn, ctx: context.WithoutCancel(ctx)}
	// The transaction sees what is there when it first reads.
	if _, err = conn.ExecContext(ctx, "BEGIN"); err == nil {
		err = conn.QueryRowContext(ctx, "SELECT one FROM run").Scan(new(int))
	}
	if err == nil {
		err = conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&v.version)
	}
	if err != nil {
		v.Close()
		return nil, l.fail("read", err)
	}
	return v, nil
}

// Close gives the view up.
func (v *View) Close() {
	_, _ = v.conn.ExecContext(v.ctx, "ROLLBACK") // it only read
	_ = v.conn.Close()
	if v.file != nil {
		_ = v.file.Close() // it only read
	}
}

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
	err := v.conn.QueryRowContext(ctx, `SELECT state, rows, succeeded, failed, replayed, calls, retries, chunks, groups
		FROM run, books`).Scan(&s.State, &s.Rows, &s.Succeeded, &s.Failed, &s.Replayed, &s.Calls, &s.Retries, &s.Chunks, &s.Groups)
	if err == nil && v.version >= 2 {
		err = v.conn.QueryRowContext(ctx, "SELECT superseded FROM books").Scan(&s.Superseded)
	}
	if err == nil && v.version >= 3 {
		err = v.conn.QueryRowContext(ctx, "SELECT coalesce(sum(refused), 0) FROM session").Scan(&s.Refused)
	}
	if err == nil {
		err = v.sessions(ctx, &s)
	}
	if err == nil {
		err = v.tally(ctx, &s)
	}
	if err == nil {
		s.Latency, err = v.latency(ctx)
	}
	s.Unprocessed = s.Rows - s.Succeeded - s.Failed
	if s.Seconds > 0 {
		s.CallsPerSecond = float64(s.Calls) / s.Seconds
	}
	return s, v.l.fail("read the books", err)
}

// sessions adds what the sessions have done to s.
func (v *View) sessions(ctx context.Context, s *Summary) error {
	var first, seen sql.NullInt64
	var calls, retries int64
	err := v.conn.QueryRowContext(ctx, `SELECT min(started), max(seen), coalesce(sum(seconds), 0),
		coalesce(sum(calls), 0), coalesce(sum(retries), 0), coalesce(max(peak), 0) FROM session`).
		Scan(&first, &seen, &s.Seconds, &calls, &retries, &s.MaxCallsInOneSecond)
	s.Calls += calls
	s.Retries += retries
	s.Started = moment(first)
	if s.State != Running {
		s.Finished = moment(seen)
	}
	return err
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
	rows, err := v.conn.QueryContext(ctx, "SELECT class, code, rows FROM tally")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var class string
		var code, n int64
		if err := rows.Scan(&class, &code, &n); err != nil {
			return err
		}
		s.ByClass[class] += n
		s.ByCode[strconv.FormatInt(code, 10)] += n
	}
	return rows.Err()
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
	list, err := v.examples(ctx)
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

func (v *View) examples(ctx context.Context) ([]Example, error) {
	rows, err := v.conn.QueryContext(ctx, "SELECT class, code, rows, example, error FROM tally ORDER BY class, code")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Example
	for rows.Next() {
		var e Example
		if err := rows.Scan(&e.Class, &e.Code, &e.Rows, &e.Num, &e.Error); err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, rows.Err()
}

// source finds one row as written.
func (v *View) source(ctx context.Context, num int64) (line int64, raw string, err error) {
	b := block{of: v.l.owner()}
	err = v.conn.QueryRowContext(ctx, "SELECT first, rows, data FROM source WHERE first <= ? ORDER BY first DESC LIMIT 1", num).
		Scan(&b.first, &b.rows, &b.data)
	if err != nil {
		return 0, "", err
	}
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

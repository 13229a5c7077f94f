package ledger

import (
	"context"
	"database/sql"
	"iter"
)

// A Window is what happened in a part of a run's time: how long its calls took, and
// how many rows have failed.
type Window struct {
	Unix    int64            // its first moment, in seconds of the host's clock
	Seconds int              // how long it is
	Latency *Latency         // of the calls that were answered in it; nil: there were none
	Failed  map[string]int64 // rows that were settled as failed in it, by class
}

// AddWindows adds windows to those of the run, in any order, and notes the latency of
// all calls of the session so far. Windows that begin in the same second are all
// kept. Like the pace they are not part of the books: what a killed process had not
// handed in is lost.
func (l *Ledger) AddWindows(ctx context.Context, windows []Window, session *Latency) error {
	// Encoded here and not in the writer, as in SettleWith.
	texts := make([]string, len(windows)+1)
	for i, latency := range append(latencies(windows), session) {
		if latency.Calls() == 0 {
			continue
		}
		var err error
		if texts[i], err = latency.encode(); err != nil {
			return l.fail("note the latency", err)
		}
	}
	return l.change(ctx, "note the latency", func(b *batch) error {
		for i, w := range windows {
			if texts[i] != "" {
				b.exec("INSERT INTO latency (second, seconds, answers, histogram) VALUES (?, ?, ?, ?)",
					w.Unix, w.Seconds, w.Latency.Calls(), texts[i])
			}
			for class, rows := range w.Failed {
				b.exec(`INSERT INTO failing (second, class, rows) VALUES (?, ?, ?)
					ON CONFLICT DO UPDATE SET rows = rows + excluded.rows`, w.Unix, class, rows)
			}
		}
		if all := texts[len(windows)]; all != "" {
			b.exec("UPDATE session SET latency = ? WHERE id = ?", all, l.session.Load())
		}
		return nil
	})
}

func latencies(windows []Window) (list []*Latency) {
	for _, w := range windows {
		list = append(list, w.Latency)
	}
	return list
}

// Latencies yields the windows in which calls were answered, in order; of each
// nothing but the latency. There is none in the ledger of an older program. The
// error is the last item.
func (v *View) Latencies(ctx context.Context) iter.Seq2[Window, error] {
	return v.windows(ctx, "SELECT second, seconds, histogram FROM latency ORDER BY second, id", func(rows *sql.Rows) (w Window, err error) {
		var text sql.RawBytes
		if err = rows.Scan(&w.Unix, &w.Seconds, &text); err == nil {
			w.Latency, err = decodeLatency(text)
		}
		return w, err
	})
}

// Failing yields the windows in which rows have failed, in order: one for each
// class, and of it nothing but its rows. Rows that failed before any call are not
// among them. There is none in the ledger of an older program. The error is the last
// item.
func (v *View) Failing(ctx context.Context) iter.Seq2[Window, error] {
	return v.windows(ctx, "SELECT second, class, rows FROM failing ORDER BY second, class", func(rows *sql.Rows) (Window, error) {
		var w Window
		var class string
		var n int64
		err := rows.Scan(&w.Unix, &class, &n)
		w.Failed = map[string]int64{class: n}
		return w, err
	})
}

// windows yields what a query comes to, as scan reads a row of it.
func (v *View) windows(ctx context.Context, query string, scan func(*sql.Rows) (Window, error)) iter.Seq2[Window, error] {
	each := func(yield func(Window, error) bool) error {
		rows, err := v.conn.QueryContext(ctx, query)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			w, err := scan(rows)
			if err != nil {
				return err
			}
			if !yield(w, nil) {
				return nil
			}
		}
		return rows.Err()
	}
	return func(yield func(Window, error) bool) {
		if v.version < 5 {
			return
		}
		if err := each(yield); err != nil {
			yield(Window{}, v.l.fail("read the windows", err))
		}
	}
}

// latency is that of all sessions; nil if it is not known.
func (v *View) latency(ctx context.Context) (*Quantiles, error) {
	if v.version < 5 {
		return nil, nil
	}
	rows, err := v.conn.QueryContext(ctx, "SELECT latency FROM session WHERE latency IS NOT NULL")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all Latency
	for rows.Next() {
		var text sql.RawBytes
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		one, err := decodeLatency(text)
		if err != nil {
			return nil, err
		}
		all.Merge(one)
	}
	return all.Quantiles(), rows.Err()
}

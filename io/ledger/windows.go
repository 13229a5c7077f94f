package ledger

import (
	"context"
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
	rows := make([]windowRow, len(windows))
	for i, w := range windows {
		rows[i] = windowRow{second: w.Unix, seconds: w.Seconds, answers: w.Latency.Calls(), histogram: texts[i], failed: w.Failed}
	}
	return l.change(ctx, "note the latency", need{}, func(b *batch) error {
		b.windows = append(b.windows, rows...)
		if all := texts[len(windows)]; all != "" {
			b.latency = all
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
	return v.windows(v.at.latencies(ctx), func(r windowRow) (w Window, err error) {
		w = Window{Unix: r.second, Seconds: r.seconds}
		w.Latency, err = decodeLatency([]byte(r.histogram))
		return w, err
	})
}

// Failing yields the windows in which rows have failed, in order: one for each
// class, and of it nothing but its rows. Rows that failed before any call are not
// among them. There is none in the ledger of an older program. The error is the last
// item.
func (v *View) Failing(ctx context.Context) iter.Seq2[Window, error] {
	return v.windows(v.at.failing(ctx), func(r windowRow) (Window, error) {
		return Window{Unix: r.second, Failed: r.failed}, nil
	})
}

// windows yields what make makes of rows.
func (v *View) windows(rows iter.Seq2[windowRow, error], make func(windowRow) (Window, error)) iter.Seq2[Window, error] {
	return func(yield func(Window, error) bool) {
		for r, err := range rows {
			var w Window
			if err == nil {
				w, err = make(r)
			}
			if err != nil {
				yield(Window{}, v.l.fail("read the windows", err))
				return
			}
			if !yield(w, nil) {
				return
			}
		}
	}
}

// latency is that of all sessions; nil if it is not known.
func (v *View) latency(ctx context.Context) (*Quantiles, error) {
	texts, err := v.at.sessionLatencies(ctx)
	if err != nil {
		return nil, err
	}
	var all Latency
	for _, text := range texts {
		one, err := decodeLatency([]byte(text))
		if err != nil {
			return nil, err
		}
		all.Merge(one)
	}
	return all.Quantiles(), nil
}

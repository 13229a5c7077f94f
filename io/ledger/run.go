package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"time"
)

// Begin opens a session: the run is Running from now on. Chunks that an earlier
// session sent and did not settle are in doubt.
func (l *Ledger) Begin(ctx context.Context) error {
	return l.change(ctx, "begin", func(b *batch) error {
		switch {
		case l.State() == Finished:
			return ErrFinished
		case l.session.Load() != 0 || b.begun != 0:
			return fmt.Errorf("run %s has begun already", l.meta.Run)
		}
		var last sql.NullInt64
		b.row("SELECT max(id) FROM session", nil, &last)
		now := time.Now().UnixMilli()
		b.exec("INSERT INTO session (id, started, seen, state) VALUES (?, ?, ?, 'running')", last.Int64+1, now, now)
		b.exec("UPDATE run SET state = 'running', told = 0")
		b.state, b.begun = Running, last.Int64+1
		return nil
	})
}

// Note hands in the newest figures of the session. They are written within a
// second, with other changes, so it may be called often; it never waits.
func (l *Ledger) Note(s Session) { l.note.Store(&s) }

// End closes the session with its figures and leaves the run in state: Finished
// (every chunk must be settled), Interrupted, Stopped, Refused or Expired.
func (l *Ledger) End(ctx context.Context, state State, s Session) error {
	return l.change(ctx, "end", func(b *batch) error {
		session := l.session.Load()
		if session == 0 || b.ended {
			return fmt.Errorf("run %s has not begun", l.meta.Run)
		}
		switch state {
		case Finished:
			if err := allSettled(b); err != nil {
				return err
			}
		case Interrupted, Stopped, Refused, Expired:
		default:
			return fmt.Errorf("a session cannot end as %q", state)
		}
		b.beat(session, state, &s)
		b.exec("UPDATE run SET state = ?, told = 0", string(state))
		b.state, b.ended = state, true
		return nil
	})
}

// Reported notes that the reports of the run as it stands are written. Until
// then a finished run is one to go on with: its process may have been killed
// between the two.
func (l *Ledger) Reported(ctx context.Context) error {
	return l.change(ctx, "note the reports", func(b *batch) error {
		b.exec("UPDATE run SET told = 1")
		return nil
	})
}

func allSettled(b *batch) error {
	var chunks, settled int64
	b.row("SELECT chunks, settled FROM books", nil, &chunks, &settled)
	if open := chunks - settled - b.books.settled; b.err == nil && open != 0 {
		return fmt.Errorf("%w: the run cannot be finished while %d chunks are not settled", ErrUnbalanced, open)
	}
	return nil
}

// progress is how a chunk stands.
type progress struct {
	known       bool // there is a record of it
	sent, doubt int64
	settled     bool
}

func readProgress(b *batch, chunk int64) (p progress) {
	p.known = b.row("SELECT sent, doubt, outcomes IS NOT NULL FROM progress WHERE chunk = ?",
		[]any{chunk}, &p.sent, &p.doubt, &p.settled)
	return p
}

// Sent notes, before its first call, that a chunk is being sent. A chunk that an
// earlier session had sent counts as replayed. Calling it again does nothing.
func (l *Ledger) Sent(ctx context.Context, chunk int64) error {
	return l.change(ctx, fmt.Sprintf("note chunk %d as sent", chunk), func(b *batch) error {
		session := l.session.Load()
		p := readProgress(b, chunk)
		switch {
		case session == 0:
			return fmt.Errorf("run %s has not begun", l.meta.Run)
		case p.settled:
			return ErrSettled
		case !p.known:
			if b.err == nil && !b.row("SELECT 1 FROM chunk WHERE id = ?", []any{chunk}, new(int)) && b.err == nil {
				return fmt.Errorf("there is no chunk %d", chunk)
			}
			b.exec("INSERT INTO progress (chunk, sent, doubt) VALUES (?, ?, 0)", chunk, session)
		case p.sent == 0:
			b.exec("UPDATE progress SET sent = ? WHERE chunk = ?", session, chunk)
		case p.sent != session:
			b.exec("UPDATE progress SET sent = ?, doubt = ?, replays = replays + 1 WHERE chunk = ?", session, p.sent, chunk)
			b.books.replayed++
		}
		return nil
	})
}

// Unsent takes back a Sent of this session: no call for the chunk can have had
// an effect. A chunk that was in doubt before is in doubt again.
func (l *Ledger) Unsent(ctx context.Context, chunk int64) error {
	return l.change(ctx, fmt.Sprintf("note chunk %d as not sent", chunk), func(b *batch) error {
		p := readProgress(b, chunk)
		switch {
		case p.settled:
			return ErrSettled
		case !p.known || p.sent == 0 || p.sent != l.session.Load():
			return nil
		case p.doubt != 0:
			b.exec("UPDATE progress SET sent = doubt, doubt = 0, replays = replays - 1 WHERE chunk = ?", chunk)
			b.books.replayed--
		default:
			b.exec("UPDATE progress SET sent = 0 WHERE chunk = ?", chunk)
		}
		return nil
	})
}

// Settle notes what became of a chunk: one outcome per entry, in their order,
// and what that took. A chunk is settled once (ErrSettled).
func (l *Ledger) Settle(ctx context.Context, chunk int64, outcomes []Outcome, c Cost) error {
	blob := encodeOutcomes(outcomes) // here and not in the writer: many may do it at once
	return l.change(ctx, fmt.Sprintf("settle chunk %d", chunk), func(b *batch) error {
		if readProgress(b, chunk).settled {
			return ErrSettled
		}
		var entries int
		var numbers []byte
		if !b.row("SELECT entries, nums FROM chunk WHERE id = ?", []any{chunk}, &entries, &numbers) {
			if b.err != nil {
				return nil
			}
			return fmt.Errorf("there is no chunk %d", chunk)
		}
		if len(outcomes) != entries {
			return fmt.Errorf("%d outcomes for %d entries", len(outcomes), entries)
		}
		if err := b.count(outcomes, numbers); err != nil {
			return err
		}
		b.books.settled++
		b.books.calls += int64(c.Calls)
		b.books.retries += int64(c.Retries)
		b.exec(`INSERT INTO progress (chunk, sent, doubt, calls, retries, outcomes) VALUES (?, 0, 0, ?, ?, ?)
			ON CONFLICT DO UPDATE SET calls = excluded.calls, retries = excluded.retries, outcomes = excluded.outcomes`,
			chunk, c.Calls, c.Retries, blob)
		return nil
	})
}

// count adds the rows of a chunk to the batch's books.
func (b *batch) count(outcomes []Outcome, numbers []byte) error {
	n, err := decodeNums(numbers, len(outcomes))
	if err != nil {
		return err
	}
	var d delta
	failed := make(map[tallyKey]tallyRow)
	err = n.each(func(i int, num int64) error {
		if outcomes[i].Class == "" {
			d.succeeded++
			return nil
		}
		d.failed++
		addTally(failed, outcomes[i], 1, num)
		return nil
	})
	if err != nil {
		return err
	}
	for k, v := range failed {
		addTally(b.tally, Outcome{Class: k.class, Code: k.code, Error: v.error}, v.rows, v.example)
	}
	b.books.succeeded += d.succeeded
	b.books.failed += d.failed
	return nil
}

// pendingStep is how many chunks Pending reads at a time: 32 of 500 entries are
// about 1 MB. No transaction is held between the steps, so that a run of hours
// does not keep the -wal file from being folded into the ledger.
const pendingStep = 32

// Pending yields the chunks that are not settled, in plan order. A chunk that is
// settled while it runs may or may not be among them. The error is the last item.
func (l *Ledger) Pending(ctx context.Context) iter.Seq2[Chunk, error] {
	return func(yield func(Chunk, error) bool) {
		for last := int64(0); ; {
			chunks, err := l.pending(ctx, last)
			if err != nil {
				yield(Chunk{}, l.fail("read the plan", err))
				return
			}
			for _, c := range chunks {
				if !yield(c, nil) {
					return
				}
				last = c.ID
			}
			if len(chunks) < pendingStep {
				return
			}
		}
	}
}

func (l *Ledger) pending(ctx context.Context, after int64) ([]Chunk, error) {
	if s := l.State(); s == Planning {
		return nil, ErrNotPlanned
	}
	rows, err := l.read.QueryContext(ctx, `SELECT c.id, c.grp, c.entries, c.nums, c.asks, coalesce(p.sent, 0)
		FROM chunk c LEFT JOIN progress p ON p.chunk = c.id
		WHERE c.id > ? AND p.outcomes IS NULL ORDER BY c.id LIMIT ?`, after, pendingStep)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	session := l.session.Load()
	chunks := make([]Chunk, 0, pendingStep)
	for rows.Next() {
		var c Chunk
		var n int
		var numbers, asks sql.RawBytes
		var sent int64
		if err := rows.Scan(&c.ID, &c.Group, &n, &numbers, &asks, &sent); err != nil {
			return nil, err
		}
		if c.Entries, err = decodeEntries(append([]byte(nil), asks...), numbers, n); err != nil {
			return nil, fmt.Errorf("chunk %d: %w", c.ID, err)
		}
		c.InDoubt = sent != 0 && sent != session
		chunks = append(chunks, c)
	}
	return chunks, rows.Err()
}

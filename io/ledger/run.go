package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"slices"
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
//
// Entries that SettleEntry has settled keep their outcome, whatever is given for
// them, and c is what came on top of theirs.
func (l *Ledger) Settle(ctx context.Context, chunk int64, outcomes []Outcome, c Cost) error {
	return l.SettleWith(ctx, chunk, outcomes, nil, c)
}

// SettleWith is [Ledger.Settle] with a note of the kind's own, e.g. the spans of
// what it has kept for the chunk; nil is none. What was kept before is on disk
// before the note is.
func (l *Ledger) SettleWith(ctx context.Context, chunk int64, outcomes []Outcome, note []byte, c Cost) error {
	// Encoded here and not in the writer: many may do it at once.
	s := &settlement{chunk, outcomes, encodeOutcomes(outcomes, l.owner().outcomes(chunk)), sealNote(note, l.owner().note(chunk)), c}
	return l.settling(ctx, fmt.Sprintf("settle chunk %d", chunk), s.apply)
}

// settlement is what became of a chunk.
type settlement struct {
	chunk      int64
	outcomes   []Outcome
	blob, note []byte // outcomes encoded, and the note sealed
	cost       Cost
}

func (s *settlement) apply(b *batch) error {
	if readProgress(b, s.chunk).settled {
		return ErrSettled
	}
	entries, numbers, err := readRows(b, s.chunk)
	if err != nil {
		return err
	}
	if len(s.outcomes) != entries {
		return fmt.Errorf("%d outcomes for %d entries", len(s.outcomes), entries)
	}
	before, err := b.entries(s.chunk, entries)
	if err != nil {
		return err
	}
	err = b.count(numbers, entries, func(i int) (Outcome, bool) {
		_, counted := before.settled[i]
		return s.outcomes[i], !counted
	})
	if err != nil {
		return err
	}
	if before.settled != nil {
		s.blob = encodeOutcomes(merged(s.outcomes, before.settled), b.w.l.owner().outcomes(s.chunk))
	}
	b.books.settled++
	b.books.calls += int64(s.cost.Calls)
	b.books.retries += int64(s.cost.Retries)
	b.exec("DELETE FROM entry WHERE chunk = ?", s.chunk)
	b.exec(`INSERT INTO progress (chunk, sent, doubt, calls, retries, outcomes, settled, note) VALUES (?, 0, 0, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET calls = excluded.calls, retries = excluded.retries, outcomes = excluded.outcomes,
			settled = excluded.settled, note = excluded.note`, s.chunk, int64(s.cost.Calls)+before.calls,
		int64(s.cost.Retries)+before.retries, s.blob, time.Now().UnixMilli(), s.note)
	return nil
}

// merged returns outcomes with those that were settled before in their places.
func merged(outcomes []Outcome, settled map[int]Outcome) []Outcome {
	all := slices.Clone(outcomes)
	for i, o := range settled {
		all[i] = o
	}
	return all
}

// readRows returns how many entries a chunk has, and the numbers of its rows.
func readRows(b *batch, chunk int64) (entries int, numbers []byte, err error) {
	if !b.row("SELECT entries, nums FROM chunk WHERE id = ?", []any{chunk}, &entries, &numbers) && b.err == nil {
		return 0, nil, fmt.Errorf("there is no chunk %d", chunk)
	}
	return entries, numbers, b.err
}

// count adds the rows of a chunk's entries to the batch's books; outcome says
// what became of an entry, and whether it is to be counted now.
func (b *batch) count(numbers []byte, entries int, outcome func(i int) (o Outcome, now bool)) error {
	n, err := decodeNums(numbers, b.w.l.owner(), entries)
	if err != nil {
		return err
	}
	var d delta
	failed := make(map[tallyKey]tallyRow)
	err = n.each(func(i int, num int64) error {
		switch o, now := outcome(i); {
		case !now:
		case o.Class == "":
			d.succeeded++
		default:
			d.failed++
			addTally(failed, o, 1, num)
		}
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
	// One moment for chunks and entries: between the two, entries could be
	// folded into their chunk, and it would seem that none is settled.
	v, err := l.View(ctx)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	chunks, entries, err := v.pending(ctx, after)
	if err != nil {
		return nil, err
	}
	for _, i := range entries {
		c := &chunks[i]
		of, err := v.entries(ctx, c.ID, len(c.Entries))
		if err != nil {
			return nil, fmt.Errorf("chunk %d: %w", c.ID, err)
		}
		c.Settled, c.InDoubt = of.settled, c.InDoubt || of.inDoubt
	}
	return chunks, nil
}

// pending reads the next chunks that are not settled, and which of them have
// records of their entries.
func (v *View) pending(ctx context.Context, after int64) (chunks []Chunk, entries []int, err error) {
	rows, err := v.conn.QueryContext(ctx, `SELECT c.id, c.grp, c.lo, c.entries, c.nums, c.asks, coalesce(p.sent, 0), `+v.hasEntries()+`
		FROM chunk c LEFT JOIN progress p ON p.chunk = c.id
		WHERE c.id > ? AND p.outcomes IS NULL ORDER BY c.id LIMIT ?`, after, pendingStep)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	session, of := v.l.session.Load(), v.l.owner()
	chunks = make([]Chunk, 0, pendingStep)
	for rows.Next() {
		var c Chunk
		var n int
		var numbers, asks sql.RawBytes
		var lo, sent int64
		var has bool
		if err := rows.Scan(&c.ID, &c.Group, &lo, &n, &numbers, &asks, &sent, &has); err != nil {
			return nil, nil, err
		}
		if c.Entries, err = decodeEntries(append([]byte(nil), asks...), of.asks(c.ID, lo, c.Group), of, numbers, n); err != nil {
			return nil, nil, fmt.Errorf("chunk %d: %w", c.ID, err)
		}
		c.InDoubt = sent != 0 && sent != session
		if has {
			entries = append(entries, len(chunks))
		}
		chunks = append(chunks, c)
	}
	return chunks, entries, rows.Err()
}

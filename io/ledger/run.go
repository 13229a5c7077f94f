package ledger

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// Begin opens a session: the run is Running from now on. Chunks that an earlier
// session sent and did not settle are in doubt.
func (l *Ledger) Begin(ctx context.Context) error {
	return l.change(ctx, "begin", need{}, func(b *batch) error {
		switch {
		case l.State() == Finished:
			return ErrFinished
		case l.session.Load() != 0 || b.begun != 0:
			return fmt.Errorf("run %s has begun already", l.meta.Run)
		}
		last, err := b.from.lastSession()
		if err != nil {
			return b.broke(err)
		}
		b.state, b.begun = Running, last+1
		return nil
	})
}

// Note hands in the newest figures of the session. They are written within a
// second, with other changes, so it may be called often; it never waits.
func (l *Ledger) Note(s Session) { l.note.Store(&s) }

// End closes the session with its figures and leaves the run in state: Finished
// (every chunk must be settled), Interrupted, Stopped, Refused or Expired.
func (l *Ledger) End(ctx context.Context, state State, s Session) error {
	return l.change(ctx, "end", need{}, func(b *batch) error {
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
		b.state, b.ended = state, true
		return nil
	})
}

// Reported notes that the reports of the run as it stands are written. Until
// then a finished run is one to go on with: its process may have been killed
// between the two.
func (l *Ledger) Reported(ctx context.Context) error {
	return l.change(ctx, "note the reports", need{}, func(b *batch) error {
		b.told = true
		return nil
	})
}

func allSettled(b *batch) error {
	open, err := b.from.openChunks()
	if err != nil {
		return b.broke(err)
	}
	if open -= b.books.settled; open != 0 {
		return fmt.Errorf("%w: the run cannot be finished while %d chunks are not settled", ErrUnbalanced, open)
	}
	return nil
}

// Sent notes, before its first call, that a chunk is being sent. A chunk that an
// earlier session had sent counts as replayed. Calling it again does nothing.
func (l *Ledger) Sent(ctx context.Context, chunk int64) error {
	return l.change(ctx, fmt.Sprintf("note chunk %d as sent", chunk), need{chunk: chunk}, func(b *batch) error {
		session := l.session.Load()
		if session == 0 {
			return fmt.Errorf("run %s has not begun", l.meta.Run)
		}
		r, err := b.chunk(chunk)
		switch {
		case err != nil:
			return err
		case r.settled:
			return ErrSettled
		case r.send(session):
			b.books.replayed++
		}
		return nil
	})
}

// Unsent takes back a Sent of this session: no call for the chunk can have had
// an effect. A chunk that was in doubt before is in doubt again.
func (l *Ledger) Unsent(ctx context.Context, chunk int64) error {
	return l.change(ctx, fmt.Sprintf("note chunk %d as not sent", chunk), need{chunk: chunk}, func(b *batch) error {
		r, err := b.chunk(chunk)
		switch {
		case err != nil:
			return err
		case r.settled:
			return ErrSettled
		case r.takeBack(l.session.Load()):
			b.books.replayed--
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
	s := newSettlement(l.owner(), chunk, outcomes, note, c)
	return l.settling(ctx, fmt.Sprintf("settle chunk %d", chunk), s.needs(), s.apply)
}

// settlement is what became of a chunk.
type settlement struct {
	chunk      int64
	outcomes   []Outcome
	blob, note []byte // outcomes encoded, and the note sealed
	cost       Cost
}

// newSettlement encodes: many callers may do that at once, the writer could not.
func newSettlement(of owner, chunk int64, outcomes []Outcome, note []byte, c Cost) *settlement {
	return &settlement{chunk, outcomes, encodeOutcomes(outcomes, of.outcomes(chunk)), sealNote(note, of.note(chunk)), c}
}

func (s *settlement) needs() need { return need{chunk: s.chunk, rows: true, entries: true} }

func (s *settlement) apply(b *batch) error {
	r, err := b.chunk(s.chunk)
	if err != nil {
		return err
	}
	if r.settled {
		return ErrSettled
	}
	if len(s.outcomes) != r.entries {
		return fmt.Errorf("%d outcomes for %d entries", len(s.outcomes), r.entries)
	}
	before, err := b.l.readEntries(r.records, s.chunk, r.entries)
	if err != nil {
		return err
	}
	err = b.count(r.nums, r.entries, func(i int) (Outcome, bool) {
		_, counted := before.settled[i]
		return s.outcomes[i], !counted
	})
	if err != nil {
		return err
	}
	of := *s // a batch may have to be made again
	if before.settled != nil {
		of.blob = encodeOutcomes(merged(s.outcomes, before.settled), b.l.owner().outcomes(s.chunk))
	}
	b.books.settled++
	b.books.calls += int64(s.cost.Calls)
	b.books.retries += int64(s.cost.Retries)
	r.settle(&of, before, time.Now().UnixMilli())
	return nil
}

// count adds the rows of a chunk's entries to the batch's books; outcome says
// what became of an entry, and whether it is to be counted now.
func (b *batch) count(numbers []byte, entries int, outcome func(i int) (o Outcome, now bool)) error {
	n, err := decodeNums(numbers, b.l.owner(), entries)
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
			for since := time.Now(); err != nil && l.disk.again(ctx, err, since); {
				chunks, err = l.pending(ctx, last)
			}
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
	session, of := v.l.session.Load(), v.l.owner()
	chunks = make([]Chunk, 0, pendingStep)
	for row, err := range v.at.chunks(ctx, selection{open: true, after: after, limit: pendingStep, nums: true, asks: true}) {
		if err != nil {
			return nil, nil, err
		}
		c := Chunk{ID: row.id, Group: row.group, InDoubt: row.sent != 0 && row.sent != session}
		asks := append([]byte(nil), row.asks...) // entries are parts of it
		if c.Entries, err = decodeEntries(asks, of.asks(c.ID, row.lo, c.Group), of, row.nums, row.entries); err != nil {
			return nil, nil, fmt.Errorf("chunk %d: %w", c.ID, err)
		}
		if row.parts {
			entries = append(entries, len(chunks))
		}
		chunks = append(chunks, c)
	}
	return chunks, entries, nil
}

package ledger

import (
	"context"
	"fmt"
	"iter"
)

// SentEntry notes, before its first call, that an entry of a chunk is being sent
// by itself; entry is its place in Chunk.Entries. One that an earlier session had
// sent counts as replayed. Calling it again does nothing. It is ErrSettled for
// an entry, or a chunk, that has its outcome.
func (l *Ledger) SentEntry(ctx context.Context, chunk int64, entry int) error {
	op := fmt.Sprintf("note entry %d of chunk %d as sent", entry, chunk)
	return l.change(ctx, op, need{chunk: chunk, entry: true, place: entry}, func(b *batch) error {
		session := l.session.Load()
		if session == 0 {
			return fmt.Errorf("run %s has not begun", l.meta.Run)
		}
		p, err := b.openEntry(chunk, entry)
		if err != nil {
			return err
		}
		if p.send(session) {
			b.books.replayed++
		}
		return nil
	})
}

// UnsentEntry takes back a SentEntry of this session: no call for the entry can
// have had an effect. One that was in doubt before is in doubt again.
func (l *Ledger) UnsentEntry(ctx context.Context, chunk int64, entry int) error {
	op := fmt.Sprintf("note entry %d of chunk %d as not sent", entry, chunk)
	return l.change(ctx, op, need{chunk: chunk, entry: true, place: entry}, func(b *batch) error {
		p, err := b.openEntry(chunk, entry)
		if err != nil {
			return err
		}
		if p.takeBack(l.session.Load()) {
			b.books.replayed--
		}
		return nil
	})
}

// SettleEntry notes what became of one entry of a chunk, and what that took. It
// counts in the books at once, and an entry is settled once (ErrSettled). When
// all entries are settled, their chunk still waits for its Settle, which folds
// them into one record.
func (l *Ledger) SettleEntry(ctx context.Context, chunk int64, entry int, o Outcome, c Cost) error {
	blob := encodeOutcomes([]Outcome{o}, l.owner().entry(chunk, entry))
	op := fmt.Sprintf("settle entry %d of chunk %d", entry, chunk)
	return l.settling(ctx, op, need{chunk: chunk, rows: true, entry: true, place: entry}, func(b *batch) error {
		p, err := b.openEntry(chunk, entry)
		if err != nil {
			return err
		}
		r := b.records[chunk]
		if err := b.count(r.nums, r.entries, func(i int) (Outcome, bool) { return o, i == entry }); err != nil {
			return err
		}
		b.books.calls += int64(c.Calls)
		b.books.retries += int64(c.Retries)
		p.settle(blob, c)
		return nil
	})
}

// openEntry is the record of an entry that can still be sent and settled.
func (b *batch) openEntry(chunk int64, entry int) (*part, error) {
	r, err := b.chunk(chunk)
	if err != nil {
		return nil, err
	}
	return r.open(entry)
}

// entriesOf are the records of a chunk's entries that have one.
type entriesOf struct {
	settled        map[int]Outcome // nil if none
	inDoubt        bool            // one was sent by another session and is not settled
	calls, retries int64           // of those that are settled
}

// readEntries takes the records of the entries of a chunk of n.
func (l *Ledger) readEntries(rows iter.Seq2[*entryRow, error], chunk int64, n int) (all entriesOf, err error) {
	session := l.session.Load()
	for e, err := range rows {
		if err != nil {
			return all, err
		}
		if e.place < 0 || e.place >= n {
			return all, fmt.Errorf("%w: entry %d of %d", ErrDamaged, e.place, n)
		}
		if e.outcome == nil {
			all.inDoubt = all.inDoubt || e.sent != 0 && e.sent != session
			continue
		}
		one, _, err := decodeOutcomes(e.outcome, l.owner().entry(chunk, e.place), 1, nil)
		if err != nil {
			return all, fmt.Errorf("entry %d: %w", e.place, err)
		}
		if all.settled == nil {
			all.settled = map[int]Outcome{}
		}
		all.settled[e.place] = one[0]
		all.calls += e.calls
		all.retries += e.retries
	}
	return all, nil
}

// entries reads the records of the entries of a chunk of n.
func (v *View) entries(ctx context.Context, chunk int64, n int) (entriesOf, error) {
	return v.l.readEntries(v.at.entries(ctx, chunk), chunk, n)
}

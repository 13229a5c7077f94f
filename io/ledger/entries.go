package ledger

import (
	"context"
	"database/sql"
	"fmt"
)

// entryState is how an entry of a chunk stands.
type entryState struct {
	known       bool // there is a record of it
	sent, doubt int64
}

// readEntry finds an entry that can still be sent and settled; ErrSettled if it
// cannot, by itself or as a part of its chunk.
func readEntry(b *batch, chunk int64, entry int) (e entryState, err error) {
	var entries int
	var folded, settled bool
	found := b.row(`SELECT c.entries, p.outcomes IS NOT NULL, e.chunk IS NOT NULL, coalesce(e.sent, 0), coalesce(e.doubt, 0),
		e.outcome IS NOT NULL FROM chunk c LEFT JOIN progress p ON p.chunk = c.id
		LEFT JOIN entry e ON e.chunk = c.id AND e.place = ? WHERE c.id = ?`, []any{entry, chunk},
		&entries, &folded, &e.known, &e.sent, &e.doubt, &settled)
	switch {
	case b.err != nil:
		return e, b.err
	case !found:
		return e, fmt.Errorf("there is no chunk %d", chunk)
	case entry < 0 || entry >= entries:
		return e, fmt.Errorf("there is no entry %d: the chunk has %d", entry, entries)
	case folded || settled:
		return e, ErrSettled
	}
	return e, nil
}

// SentEntry notes, before its first call, that an entry of a chunk is being sent
// by itself; entry is its place in Chunk.Entries. One that an earlier session had
// sent counts as replayed. Calling it again does nothing. It is ErrSettled for
// an entry, or a chunk, that has its outcome.
func (l *Ledger) SentEntry(ctx context.Context, chunk int64, entry int) error {
	return l.change(ctx, fmt.Sprintf("note entry %d of chunk %d as sent", entry, chunk), func(b *batch) error {
		session := l.session.Load()
		if session == 0 {
			return fmt.Errorf("run %s has not begun", l.meta.Run)
		}
		e, err := readEntry(b, chunk, entry)
		switch {
		case err != nil:
			return err
		case !e.known:
			b.exec("INSERT INTO entry (chunk, place, sent, doubt) VALUES (?, ?, ?, 0)", chunk, entry, session)
		case e.sent != session:
			b.exec("UPDATE entry SET sent = ?, doubt = ? WHERE chunk = ? AND place = ?", session, e.sent, chunk, entry)
			b.books.replayed++
		}
		return nil
	})
}

// UnsentEntry takes back a SentEntry of this session: no call for the entry can
// have had an effect. One that was in doubt before is in doubt again.
func (l *Ledger) UnsentEntry(ctx context.Context, chunk int64, entry int) error {
	return l.change(ctx, fmt.Sprintf("note entry %d of chunk %d as not sent", entry, chunk), func(b *batch) error {
		e, err := readEntry(b, chunk, entry)
		switch {
		case err != nil:
			return err
		case !e.known || e.sent != l.session.Load():
		case e.doubt != 0:
			b.exec("UPDATE entry SET sent = doubt, doubt = 0 WHERE chunk = ? AND place = ?", chunk, entry)
			b.books.replayed--
		default:
			b.exec("DELETE FROM entry WHERE chunk = ? AND place = ?", chunk, entry)
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
	return l.settling(ctx, fmt.Sprintf("settle entry %d of chunk %d", entry, chunk), func(b *batch) error {
		if _, err := readEntry(b, chunk, entry); err != nil {
			return err
		}
		entries, numbers, err := readRows(b, chunk)
		if err != nil {
			return err
		}
		err = b.count(numbers, entries, func(i int) (Outcome, bool) { return o, i == entry })
		if err != nil {
			return err
		}
		b.books.calls += int64(c.Calls)
		b.books.retries += int64(c.Retries)
		b.exec(`INSERT INTO entry (chunk, place, sent, doubt, calls, retries, outcome) VALUES (?, ?, 0, 0, ?, ?, ?)
			ON CONFLICT DO UPDATE SET calls = excluded.calls, retries = excluded.retries, outcome = excluded.outcome`,
			chunk, entry, c.Calls, c.Retries, blob)
		return nil
	})
}

// entriesOf are the records of a chunk's entries that have one.
type entriesOf struct {
	settled        map[int]Outcome // nil if none
	inDoubt        bool            // one was sent by another session and is not settled
	calls, retries int64           // of those that are settled
}

const selectEntries = "SELECT place, sent, calls, retries, outcome FROM entry WHERE chunk = ?"

// readEntries takes the answer to selectEntries for a chunk of n entries.
func readEntries(rows *sql.Rows, l *Ledger, chunk int64, n int) (all entriesOf, err error) {
	defer rows.Close()
	session := l.session.Load()
	for rows.Next() {
		var place int
		var sent, calls, retries int64
		var blob sql.RawBytes
		if err := rows.Scan(&place, &sent, &calls, &retries, &blob); err != nil {
			return all, err
		}
		if place < 0 || place >= n {
			return all, fmt.Errorf("%w: entry %d of %d", ErrDamaged, place, n)
		}
		if blob == nil {
			all.inDoubt = all.inDoubt || sent != 0 && sent != session
			continue
		}
		one, _, err := decodeOutcomes(blob, l.owner().entry(chunk, place), 1, nil)
		if err != nil {
			return all, fmt.Errorf("entry %d: %w", place, err)
		}
		if all.settled == nil {
			all.settled = map[int]Outcome{}
		}
		all.settled[place] = one[0]
		all.calls += calls
		all.retries += retries
	}
	return all, rows.Err()
}

// entries reads the records of the entries of a chunk of n.
func (v *View) entries(ctx context.Context, chunk int64, n int) (entriesOf, error) {
	rows, err := v.conn.QueryContext(ctx, selectEntries, chunk)
	if err != nil {
		return entriesOf{}, err
	}
	return readEntries(rows, v.l, chunk, n)
}

// hasEntries is an SQL expression: whether chunk c has records of its entries.
func (v *View) hasEntries() string {
	if v.version < 2 {
		return "0"
	}
	return "EXISTS (SELECT 1 FROM entry e WHERE e.chunk = c.id)"
}

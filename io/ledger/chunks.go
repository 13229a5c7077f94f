package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"time"
)

// ChunkResult is a chunk and what became of it, in short: all there is to say
// where a chunk has one entry, as those of exports have.
type ChunkResult struct {
	ID        int64 // in plan order
	Group     string
	FirstRow  int64     // least number of its rows
	Rows      int64     // how many there are
	Status    Status    // of its first entry; Unprocessed while the chunk is not settled
	Outcome   Outcome   // of its first entry; zero if Unprocessed
	Data      []byte    // what is asked for its first entry
	Note      []byte    // of SettleWith; nil if there is none
	SettledAt time.Time // UTC; zero if it is not settled, or was by an older program
}

// Chunks yields every chunk in the order of the first row of each. The error is
// the last item. Memory is bounded, however many chunks there are. Kept may be
// called for each while it goes on.
func (v *View) Chunks(ctx context.Context) iter.Seq2[ChunkResult, error] {
	return func(yield func(ChunkResult, error) bool) {
		if err := v.chunks(ctx, yield); err != nil {
			yield(ChunkResult{}, v.l.fail("read the chunks", err))
		}
	}
}

func (v *View) chunks(ctx context.Context, yield func(ChunkResult, error) bool) error {
	var state State
	if err := v.conn.QueryRowContext(ctx, "SELECT state FROM run").Scan(&state); err != nil {
		return err
	}
	if state == Planning {
		return ErrNotPlanned
	}
	rows, err := v.conn.QueryContext(ctx, v.selectChunks())
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		c, err := scanChunk(rows, v.l.owner())
		if err != nil {
			return err
		}
		if !yield(c, nil) {
			return nil
		}
	}
	return rows.Err()
}

// selectChunks walks the index: nothing is sorted.
func (v *View) selectChunks() string {
	added := "p.note, p.settled"
	if v.version < 2 {
		added = "NULL, NULL"
	}
	return `SELECT c.id, c.grp, c.lo, c.rows, c.entries, c.asks, p.outcomes, ` + added + `
		FROM chunk c LEFT JOIN progress p ON p.chunk = c.id ORDER BY c.lo, c.id`
}

func scanChunk(rows *sql.Rows, of owner) (c ChunkResult, err error) {
	var n int
	var asks, outcomes, note sql.RawBytes
	var settled sql.NullInt64
	if err := rows.Scan(&c.ID, &c.Group, &c.FirstRow, &c.Rows, &n, &asks, &outcomes, &note, &settled); err != nil {
		return c, err
	}
	if c.Data, err = firstAsk(asks, of.asks(c.ID, c.FirstRow, c.Group)); err != nil {
		return c, fmt.Errorf("chunk %d: %w", c.ID, err)
	}
	if outcomes == nil {
		return c, nil
	}
	different, which, err := decodeOutcomes(outcomes, of.outcomes(c.ID), n, nil)
	if err == nil && n == 0 {
		err = fmt.Errorf("%w: no entries", ErrDamaged)
	}
	if err == nil && note != nil {
		c.Note, err = openNote(note, of.note(c.ID))
	}
	if err != nil {
		return c, fmt.Errorf("chunk %d: %w", c.ID, err)
	}
	c.Outcome = different[which[0]]
	c.Status = statusOf(c.Outcome)
	if settled.Valid {
		c.SettledAt = *moment(settled)
	}
	return c, nil
}

// statusOf says what an outcome comes to.
func statusOf(o Outcome) Status {
	if o.Class == "" {
		return Succeeded
	}
	return Failed
}

package ledger

import (
	"context"
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
	if err := v.planned(ctx); err != nil {
		return err
	}
	for row, err := range v.at.chunks(ctx, selection{byRow: true, asks: true}) {
		if err != nil {
			return err
		}
		c, err := chunkResult(row, v.l.owner())
		if err != nil {
			return fmt.Errorf("chunk %d: %w", row.id, err)
		}
		if !yield(c, nil) {
			return nil
		}
	}
	return nil
}

// planned says whether there is a plan to be read.
func (v *View) planned(ctx context.Context) error {
	s, err := v.at.sums(ctx)
	if err == nil && s.state == Planning {
		err = ErrNotPlanned
	}
	return err
}

func chunkResult(row *chunkRow, of owner) (c ChunkResult, err error) {
	c = ChunkResult{ID: row.id, Group: row.group, FirstRow: row.lo, Rows: row.rows}
	if c.Data, err = firstAsk(row.asks, of.asks(c.ID, c.FirstRow, c.Group)); err != nil || row.outcomes == nil {
		return c, err
	}
	different, which, err := decodeOutcomes(row.outcomes, of.outcomes(c.ID), row.entries, nil)
	if err == nil && row.entries == 0 {
		err = fmt.Errorf("%w: no entries", ErrDamaged)
	}
	if err == nil && row.note != nil {
		c.Note, err = openNote(row.note, of.note(c.ID))
	}
	if err != nil {
		return c, err
	}
	c.Outcome = different[which[0]]
	c.Status = statusOf(c.Outcome)
	if row.settled.Valid {
		c.SettledAt = *moment(row.settled)
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

package ledger

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// pgPlanStep is how many bytes of a plan go to the database in one transaction. They
// wait in memory until then.
const pgPlanStep = 2 << 20

// pgPlan puts a plan into the database, by COPY.
type pgPlan struct {
	d       *pgRun
	size    int
	refusal int64 // number of the next blob of refused rows

	sources, refusals, chunks, progress [][]any // rows that wait
}

func (p *pgPlan) source(ctx context.Context, b block) error {
	// The caller fills its blob again.
	p.sources = append(p.sources, []any{p.d.no, b.first, b.rows, append([]byte(nil), b.data...)})
	return p.took(ctx, len(b.data))
}

func (p *pgPlan) refused(ctx context.Context, r refusedRows) error {
	p.refusal++
	p.refusals = append(p.refusals, []any{p.d.no, p.refusal, r.rows, r.lo, r.hi, r.nums, r.outcomes})
	return p.took(ctx, len(r.nums)+len(r.outcomes))
}

func (p *pgPlan) chunk(ctx context.Context, c chunkRow) error {
	p.chunks = append(p.chunks, []any{p.d.no, c.id, []byte(c.group), c.rows, int64(c.entries), c.lo, c.hi, c.nums, c.asks})
	p.progress = append(p.progress, []any{p.d.no, c.id})
	return p.took(ctx, len(c.nums)+len(c.asks)+rowCost)
}

// rowCost is what a row that waits takes besides its bytes.
const rowCost = 512

func (p *pgPlan) took(ctx context.Context, size int) error {
	if p.size += size; p.size < pgPlanStep {
		return nil
	}
	return p.flush(ctx, func(*pgTx) {})
}

// flush writes what waits, and what more queues, in one transaction.
func (p *pgPlan) flush(ctx context.Context, more func(tx *pgTx)) error {
	err := p.d.p.durably(ctx, p.d.by, longTime, func(ctx context.Context, tx *pgTx) error {
		if err := tx.begin(ctx, nil); err != nil {
			return err
		}
		for _, t := range []struct {
			table string
			names []string
			rows  [][]any
		}{
			{"chatbatch_source", []string{"run", "first", "rows", "data"}, p.sources},
			{"chatbatch_refused", []string{"run", "id", "rows", "lo", "hi", "nums", "outcomes"}, p.refusals},
			{"chatbatch_chunk", []string{"run", "id", "grp", "rows", "entries", "lo", "hi", "nums", "asks"}, p.chunks},
			{"chatbatch_progress", []string{"run", "chunk"}, p.progress},
		} {
			if len(t.rows) == 0 {
				continue
			}
			if _, err := tx.conn.CopyFrom(ctx, pgx.Identifier{t.table}, t.names, pgx.CopyFromRows(t.rows)); err != nil {
				return err
			}
		}
		more(tx)
		return nil
	})
	clear(p.sources)
	clear(p.refusals)
	clear(p.chunks)
	clear(p.progress)
	p.sources, p.refusals, p.chunks, p.progress = p.sources[:0], p.refusals[:0], p.chunks[:0], p.progress[:0]
	p.size = 0
	return err
}

// seal makes the plan valid, with its last rows.
func (p *pgPlan) seal(ctx context.Context, of *planner, superseded int64) error {
	err := p.flush(ctx, func(tx *pgTx) {
		no := p.d.no
		saveSums(&tx.last, no, 0, &batch{books: delta{failed: of.failed}, tally: of.tally})
		tx.last.Queue(`UPDATE chatbatch_run SET state = 'planned', rows = $2, chunks = $3, superseded = $4,
			groups = (SELECT count(*) FROM (SELECT DISTINCT grp FROM chatbatch_chunk WHERE run = $1) AS g) WHERE no = $1`,
			no, of.next, of.chunks, superseded)
	})
	if err == nil {
		err = p.d.takeHand(ctx)
	}
	return err
}

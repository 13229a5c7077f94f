package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

const (
	sourceBlock  = 64 << 10 // bytes of text in a block of source rows
	refusedBlock = 512      // rows in a blob of refused rows
)

// planner is what lies between the planning goroutine and the disk. Nothing of
// it is durable before done: the state says "planning" until then.
type planner struct {
	to  planDisk
	err error // the first; every later call returns it

	source []byte // the block being filled
	first  int64  // number of its first row
	next   int64  // number of the next row
	line   int64  // line of the last row in the block, 0 if it is empty

	refused  []Entry // of one row each
	outcomes []Outcome
	text     int // bytes of errors in outcomes

	rows   int64 // in chunks and refused
	failed int64
	chunks int64
	tally  map[tallyKey]tallyRow
}

type tallyKey struct {
	class string
	code  int
}

type tallyRow struct {
	rows, example int64
	error         string
}

// addTally counts rows that failed alike and keeps one of them as an example.
func addTally(t map[tallyKey]tallyRow, o Outcome, rows, example int64) {
	k := tallyKey{o.Class, o.Code}
	v, ok := t[k]
	if !ok {
		v.example, v.error = example, o.Error
	}
	v.rows += rows
	t[k] = v
}

// planning runs one step of the plan and remembers its error.
func (l *Ledger) planning(op string, step func(p *planner) error) error {
	p := l.plan
	if p == nil {
		return fmt.Errorf("%s: run %s is planned already", op, l.meta.Run)
	}
	if p.err == nil {
		p.err = l.fail(op, step(p))
	}
	return p.err
}

// PlanSource notes a row as its author wrote it. Rows come in input order,
// num counting from 0 without a gap; line is the physical line, from 1.
func (l *Ledger) PlanSource(num, line int64, raw string) error {
	return l.planning("plan row", func(p *planner) error {
		if num != p.next || line < p.line {
			return fmt.Errorf("row %d (line %d) is out of order: row %d was due", num, line, p.next)
		}
		p.source = binary.AppendVarint(p.source, line-p.line)
		p.source = appendString(p.source, raw)
		p.line = line
		p.next++
		if len(p.source) < sourceBlock {
			return nil
		}
		return l.flushSource(p)
	})
}

func (l *Ledger) flushSource(p *planner) error {
	if p.next == p.first {
		return nil
	}
	blob := seal(p.source, l.owner().source(p.first))
	err := p.to.source(l.base, block{first: p.first, rows: p.next - p.first, data: blob})
	p.source, p.first, p.line = blob[:0], p.next, 0
	return err
}

// PlanFailed settles a row that fails before any call, as failed with o.
func (l *Ledger) PlanFailed(num int64, o Outcome) error {
	return l.planning("plan failed row", func(p *planner) error {
		if o.Class == "" {
			return fmt.Errorf("row %d fails without a class", num)
		}
		p.refused = append(p.refused, Entry{Rows: []int64{num}})
		p.outcomes = append(p.outcomes, o)
		p.text += len(o.Error)
		p.rows++
		p.failed++
		addTally(p.tally, o, 1, num)
		if len(p.refused) < refusedBlock && p.text < sourceBlock {
			return nil
		}
		return l.flushRefused(p)
	})
}

func (l *Ledger) flushRefused(p *planner) error {
	if len(p.refused) == 0 {
		return nil
	}
	numbers, lo, hi, rows := encodeNums(p.refused, l.owner())
	outcomes := encodeOutcomes(p.outcomes, l.owner().refused(0))
	p.refused, p.outcomes, p.text = p.refused[:0], p.outcomes[:0], 0
	return p.to.refused(l.base, refusedRows{rows, lo, hi, numbers, outcomes})
}

// PlanChunk adds a chunk. Chunks are sent in the order in which they are planned.
// The ledger keeps nothing of entries after it has returned.
func (l *Ledger) PlanChunk(group string, entries []Entry) error {
	return l.planning("plan chunk", func(p *planner) error {
		if len(entries) == 0 || slices.ContainsFunc(entries, func(e Entry) bool { return len(e.Rows) == 0 }) {
			return errors.New("chunk or entry without a row")
		}
		numbers, lo, hi, rows := encodeNums(entries, l.owner())
		p.rows += rows
		p.chunks++
		asks := encodeAsks(entries, l.owner().asks(p.chunks, lo, group))
		return p.to.chunk(l.base, chunkRow{
			id: p.chunks, group: group, rows: rows, lo: lo, hi: hi, entries: len(entries), nums: numbers, asks: asks,
		})
	})
}

// PlanDone ends the planning of a run of so many rows, in one durable step. The
// plan must balance: every row is in one chunk, or failed. superseded says how
// many of them a later row of the same account replaced: they share its outcome.
// Until PlanDone has returned nil the run counts as never begun.
func (l *Ledger) PlanDone(ctx context.Context, rows, superseded int64) error {
	err := l.planning("end the plan", func(p *planner) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if p.next != rows || p.rows != rows {
			return fmt.Errorf("%w: of %d rows, %d are on record and %d planned", ErrUnbalanced, rows, p.next, p.rows)
		}
		if superseded < 0 || superseded > rows {
			return fmt.Errorf("%w: of %d rows, %d are superseded", ErrUnbalanced, rows, superseded)
		}
		if err := errors.Join(l.flushSource(p), l.flushRefused(p)); err != nil {
			return err
		}
		return p.to.seal(l.base, p, superseded)
	})
	if err != nil {
		return err
	}
	l.plan = nil
	l.setState(Planned)
	l.startWriter()
	return nil
}

package ledger

import (
	"context"
	"fmt"
	"iter"
)

// Status says what became of a row, in short.
type Status int

// Every row is exactly one of these.
const (
	Unprocessed Status = iota // its chunk is not settled
	Succeeded
	Failed
)

// String returns the word for it.
func (s Status) String() string {
	return [...]string{"unprocessed", "succeeded", "failed"}[s]
}

// RowOutcome is a row of the input and what became of it.
type RowOutcome struct {
	Num, Line int64  // counted from 0; physical line, from 1
	Raw       string // as written
	Status    Status
	Outcome   Outcome // zero if Unprocessed
}

// A window holds what became of so many rows in a row, 4 bytes each. Chunks hold
// rows from everywhere in the input, so for each window all of them are looked
// through: 5 times for ten million rows, in 8 MiB instead of 40.
const (
	windowRows  = 2 << 20
	windowLeast = 4 << 10
	windowText  = 8 << 20 // bytes of different outcomes; then the window is made smaller
)

// What a window says of a row; from firstOutcome on it is an index.
const (
	rowNowhere     = iota // in no chunk and not failed
	rowTwice              // in two places
	rowUnprocessed        // in a chunk that is not settled
	firstOutcome
)

// Rows yields every row in input order with what became of it, as it stands when
// the iteration begins. It checks that each row has exactly one outcome or place
// in the plan (ErrUnbalanced, with row and line). The error is the last item.
// Memory is bounded, however many rows there are.
func (l *Ledger) Rows(ctx context.Context) iter.Seq2[RowOutcome, error] {
	return func(yield func(RowOutcome, error) bool) {
		v, err := l.View(ctx)
		if err != nil {
			yield(RowOutcome{}, err)
			return
		}
		defer v.Close()
		v.Rows(ctx)(yield)
	}
}

// Rows is [Ledger.Rows] for the moment of the view.
func (v *View) Rows(ctx context.Context) iter.Seq2[RowOutcome, error] {
	return func(yield func(RowOutcome, error) bool) {
		r := &rowReader{v: v, ctx: ctx, size: windowRows, yield: yield}
		if err := r.run(); err != nil {
			yield(RowOutcome{}, v.l.fail("read the rows", err))
		}
	}
}

type rowReader struct {
	v     *View
	ctx   context.Context
	yield func(RowOutcome, error) bool

	rows   int64 // of the input
	lo, hi int64 // the window
	size   int64 // of the next window
	state  []uint32
	tables outcomeTable
	which  []uint32 // for reuse
}

// outcomeTable gives each different outcome of a window a number.
type outcomeTable struct {
	list  []Outcome
	index map[Outcome]uint32
	text  int
}

func (t *outcomeTable) number(o Outcome) uint32 {
	n, ok := t.index[o]
	if !ok {
		n = uint32(len(t.list)) + firstOutcome
		t.index[o] = n
		t.list = append(t.list, o)
		t.text += 160 + len(o.Class) + len(o.Error) // 160: the entries of list and index
	}
	return n
}

// run yields all rows. It returns nil also when the consumer wants no more.
func (r *rowReader) run() error {
	sums, err := r.v.at.sums(r.ctx)
	if err != nil {
		return err
	}
	if r.rows = sums.rows; sums.state == Planning {
		return ErrNotPlanned
	}
	due := int64(0)
	for due < r.rows {
		b, err := r.block(due)
		if err != nil {
			return err
		}
		var inner error
		more := true
		err = b.each(func(num, line int64, raw string) bool {
			more, inner = r.row(num, line, raw)
			due++
			return more && inner == nil
		})
		if inner != nil {
			return inner
		}
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// block reads the block that begins with row due.
func (r *rowReader) block(due int64) (block, error) {
	b, err := r.v.at.source(r.ctx, due)
	if err == errNoRecord || err == nil && (b.first != due || b.first+b.rows > r.rows) {
		err = fmt.Errorf("%w: the source of row %d is not on record", ErrUnbalanced, due)
	}
	b.of = r.v.l.owner()
	return b, err
}

// row yields one row; more says whether the consumer wants another.
func (r *rowReader) row(num, line int64, raw string) (more bool, err error) {
	if num >= r.hi {
		if err := r.load(num); err != nil {
			return false, err
		}
	}
	o := RowOutcome{Num: num, Line: line, Raw: raw}
	switch k := r.state[num-r.lo]; k {
	case rowNowhere:
		return false, fmt.Errorf("%w: row %d (line %d) is in no chunk and did not fail", ErrUnbalanced, num, line)
	case rowTwice:
		return false, fmt.Errorf("%w: row %d (line %d) is counted twice", ErrUnbalanced, num, line)
	case rowUnprocessed:
	default:
		o.Outcome = r.tables.list[k-firstOutcome]
		o.Status = statusOf(o.Outcome)
	}
	return r.yield(o, nil), nil
}

// load fills the window that begins with row lo. When the outcomes differ so
// much that their texts take too much room, it is made smaller.
func (r *rowReader) load(lo int64) error {
	for {
		size := min(r.size, r.rows-lo)
		if int64(cap(r.state)) < size {
			r.state = make([]uint32, size)
		}
		r.lo, r.hi, r.state = lo, lo+size, r.state[:size]
		clear(r.state)
		r.tables = outcomeTable{index: make(map[Outcome]uint32)}
		full, err := r.fill()
		if err != nil {
			return err
		}
		if !full {
			break
		}
		r.size = max(size/4, windowLeast)
	}
	if r.tables.text < windowText/8 {
		r.size = min(2*r.size, windowRows)
	}
	return nil
}

// fill looks through everything that has rows of the window. It stops when the
// outcomes take too much room.
func (r *rowReader) fill() (full bool, err error) {
	if full, err = r.fillFrom(true, r.v.l.owner().refused); full || err != nil {
		return full, err
	}
	return r.fillFrom(false, r.v.l.owner().outcomes)
}

func (r *rowReader) fillFrom(refused bool, belongs func(id int64) string) (full bool, err error) {
	for c, err := range r.v.at.chunks(r.ctx, selection{refused: refused, lo: r.lo, hi: r.hi, nums: true}) {
		if err != nil {
			return false, err
		}
		var of entriesOf
		if c.outcomes == nil && c.parts {
			of, err = r.v.entries(r.ctx, c.id, c.entries)
		}
		if err == nil {
			err = r.mark(c.entries, c.nums, c.outcomes, belongs(c.id), of.settled)
		}
		if err != nil {
			return false, fmt.Errorf("chunk %d: %w", c.id, err)
		}
		if r.tables.text > windowText && r.hi-r.lo > windowLeast {
			return true, nil
		}
	}
	return false, nil
}

// mark enters the rows of one chunk, or of one blob of refused rows, that lie in
// the window. A nil outcomes means not settled, but for the entries in settled.
func (r *rowReader) mark(entries int, numbers, outcomes []byte, belongs string, settled map[int]Outcome) error {
	n, err := decodeNums(numbers, r.v.l.owner(), entries)
	if err != nil {
		return err
	}
	var different []Outcome
	if outcomes != nil {
		if different, r.which, err = decodeOutcomes(outcomes, belongs, entries, r.which); err != nil {
			return err
		}
	}
	number := make([]uint32, len(different)) // in the window's table; 0: not yet
	return n.each(func(i int, num int64) error {
		if num < 0 || num >= r.rows {
			return fmt.Errorf("%w: row %d of %d", ErrUnbalanced, num, r.rows)
		}
		if num < r.lo || num >= r.hi {
			return nil
		}
		k := uint32(rowUnprocessed)
		if outcomes != nil {
			w := r.which[i]
			if number[w] == 0 {
				number[w] = r.tables.number(different[w])
			}
			k = number[w]
		} else if o, ok := settled[i]; ok {
			k = r.tables.number(o)
		}
		if r.state[num-r.lo] != rowNowhere {
			k = rowTwice
		}
		r.state[num-r.lo] = k
		return nil
	})
}

// block is a block of source rows.
type block struct {
	of          owner
	first, rows int64
	data        []byte
}

// each calls visit with each row until it returns false.
func (b block) each(visit func(num, line int64, raw string) bool) error {
	d, err := unseal(b.data, b.of.source(b.first))
	if err != nil {
		return fmt.Errorf("source of row %d: %w", b.first, err)
	}
	// One string for all texts: a row is a part of it, and costs nothing.
	text := string(d.b)
	line := int64(0)
	for i := range b.rows {
		line += d.int()
		size := d.uint()
		at := len(text) - len(d.b)
		d.bytes(size)
		if d.bad {
			return fmt.Errorf("source of row %d: %w", b.first+i, d.end())
		}
		if !visit(b.first+i, line, text[at:at+int(size)]) {
			return nil
		}
	}
	return d.end()
}

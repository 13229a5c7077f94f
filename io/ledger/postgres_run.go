package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// pgRun is the rows of one run in a database.
type pgRun struct {
	p    *Postgres
	no   int64
	run  string
	by   *lease // nil if it is open for reading
	own  bool   // by is nobody's else, and ends with it
	hand int64  // 0 if it is open for reading, or being planned

	fetched atomic.Int64 // how much this hand has fetched, in pieces
	dropped atomic.Bool  // that was dropped
}

// place is what errors call it.
func (d *pgRun) place() string { return d.p.at.String() + ", run " + d.run }

func (d *pgRun) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*FileError](err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrUnreachable) {
		return fmt.Errorf("%s: %w", op, err)
	}
	if errors.Is(err, ErrUnreachable) {
		return fmt.Errorf("run %s: %s: %w", d.run, op, err) // it names the database
	}
	hint := ""
	switch {
	case isOdd(err):
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
		fallthrough
	case errors.Is(err, ErrDamaged):
		hint = "restore the database from a copy, or start a new run with --fresh"
	case errors.Is(err, ErrDropped):
		hint = "to fetch it again, start a new run with --fresh"
	case errors.Is(err, ErrNotPlanned):
		hint = "unless a process is planning it just now, run its command again"
	case errors.Is(err, ErrLocked):
		hint = "wait for it, or end it; then run the same command again"
	}
	return &FileError{Path: d.place(), Op: op, Hint: hint, Err: err}
}

func (d *pgRun) again(ctx context.Context, err error, since time.Time) bool {
	return d.p.wait(ctx, err, since, 3)
}

func (d *pgRun) close(context.Context) error {
	if d.own {
		d.by.unlock()
	}
	return nil
}

// commit makes changes durable in one transaction of two trips to the server: one
// reads and locks what the changes need, the other writes what they come to.
func (d *pgRun) commit(ctx context.Context, l *Ledger, changes []*change, errs []error) (b *batch, err error) {
	err = d.p.durably(ctx, d.by, askTime, func(ctx context.Context, tx *pgTx) error {
		t := &pgBatch{ctx: ctx, d: d, conn: tx.conn}
		if err := tx.begin(ctx, func(q *pgx.Batch) { t.questions(q, changes) }); err != nil {
			return err
		}
		clear(errs)
		if b = l.apply(t, changes, errs); b.err != nil {
			return b.err
		}
		for i, c := range changes {
			if c.also != nil && errs[i] == nil {
				if err := c.also(ctx, tx.lend()); err != nil {
					return err
				}
			}
		}
		d.save(&tx.last, b)
		return nil
	})
	return b, err
}

// keep goes the way of all changes: it is on disk when it returns.
func (d *pgRun) keep(ctx context.Context, l *Ledger, data []byte) (Span, error) {
	// Others may keep something for the run meanwhile, but not by this hand.
	id := d.hand<<32 | d.fetched.Add(1)
	blob := seal(append([]byte(nil), data...), l.owner().kept(id))
	c := &change{op: "keep", size: len(blob), done: make(chan error, 1), apply: func(b *batch) error {
		if d.dropped.Load() {
			return ErrDropped
		}
		b.keeps = append(b.keeps, keptRow{id, blob})
		return nil
	}}
	return Span{Offset: id, Length: int64(len(data))}, l.queue(ctx, c)
}

func (d *pgRun) hasKept(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var has bool
	err := d.p.readers.QueryRow(ctx, `SELECT NOT dropped AND EXISTS (SELECT 1 FROM chatbatch_kept k WHERE k.run = no)
		FROM chatbatch_run WHERE no = $1`, d.no).Scan(&has)
	return err == nil && has
}

// dropStep is how many pieces are removed at once: 64 MiB.
const dropStep = 1000

// dropKept notes it first, and then removes a little at a time.
func (d *pgRun) dropKept(ctx context.Context, l *Ledger) error {
	err := l.change(ctx, opDrop, need{}, func(b *batch) error {
		b.dropped = true
		d.dropped.Store(true)
		return nil
	})
	for more := true; err == nil && more; {
		err = d.p.durably(ctx, d.by, longTime, func(ctx context.Context, tx *pgTx) error {
			return tx.begin(ctx, func(q *pgx.Batch) {
				q.Queue(`DELETE FROM chatbatch_kept WHERE run = $1 AND id IN (SELECT id FROM chatbatch_kept WHERE run = $1 LIMIT $2)
					RETURNING id`, d.no, int64(dropStep)).Query(func(rows pgx.Rows) error {
					defer rows.Close()
					for more = false; rows.Next(); {
						more = true
					}
					return rows.Err()
				})
			})
		})
	}
	return l.fail(opDrop, err)
}

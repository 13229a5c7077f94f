package ledger

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// planStep is how many bytes a transaction of the plan has.
const planStep = 16 << 20

// filePlan puts a plan into a file, in large transactions.
type filePlan struct {
	f    *file
	open bool  // a transaction is open
	size int64 // bytes in it
}

func (p *filePlan) source(ctx context.Context, b block) error {
	return p.add(ctx, len(b.data), "INSERT INTO source (first, rows, data) VALUES (?, ?, ?)", b.first, b.rows, b.data)
}

func (p *filePlan) refused(ctx context.Context, r refusedRows) error {
	return p.add(ctx, len(r.nums)+len(r.outcomes),
		"INSERT INTO refused (rows, lo, hi, nums, outcomes) VALUES (?, ?, ?, ?, ?)", r.rows, r.lo, r.hi, r.nums, r.outcomes)
}

func (p *filePlan) chunk(ctx context.Context, c chunkRow) error {
	return p.add(ctx, len(c.nums)+len(c.asks),
		"INSERT INTO chunk (id, grp, rows, entries, lo, hi, nums, asks) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		c.id, c.group, c.rows, c.entries, c.lo, c.hi, c.nums, c.asks)
}

func (p *filePlan) add(ctx context.Context, size int, insert string, args ...any) error {
	if !p.open {
		if err := p.f.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
			return err
		}
		p.open, p.size = true, 0
	}
	if _, err := p.f.conn.ExecContext(ctx, insert, args...); err != nil {
		return err
	}
	p.size += int64(size)
	if p.size < planStep {
		return nil
	}
	return p.commit(ctx)
}

func (p *filePlan) commit(ctx context.Context) error {
	if !p.open {
		return nil
	}
	p.open = false
	return p.f.exec(ctx, "COMMIT")
}

// seal makes all of the plan durable and then, in one step, valid.
func (p *filePlan) seal(ctx context.Context, of *planner, superseded int64) error {
	if err := p.commit(ctx); err != nil {
		return err
	}
	f := p.f
	if err := f.exec(ctx, "PRAGMA synchronous = FULL", "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	p.open = true
	_, err := f.conn.ExecContext(ctx, `UPDATE books SET rows = ?, chunks = ?, failed = ?, superseded = ?, commits = 1,
		groups = (SELECT count(DISTINCT grp) FROM chunk)`, of.next, of.chunks, of.failed, superseded)
	if err != nil {
		return err
	}
	for k, v := range of.tally {
		if _, err := f.conn.ExecContext(ctx, "INSERT INTO tally VALUES (?, ?, ?, ?, ?)", k.class, k.code, v.rows, v.example, v.error); err != nil {
			return err
		}
	}
	if err := f.exec(ctx, "UPDATE run SET state = 'planned'", "COMMIT"); err != nil {
		return err
	}
	p.open, f.plan, f.commits = false, nil, 1
	if err := f.exec(ctx, "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return err
	}
	return errors.Join(syncDir(filepath.Dir(f.path)), syncDir(filepath.Dir(filepath.Dir(f.path))), f.seq.write(1))
}

// syncDir makes the names in a directory durable, where the system can.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !isInvalid(err) {
		return err
	}
	return nil
}

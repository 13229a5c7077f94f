package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"
)

// beat is how often the figures of a session are written, at the least; along is how
// often they go with what is written anyway. A kill loses at most this much of them: of
// the time at work with all its calls, which would look like too many calls a second.
const (
	beat  = time.Second
	along = beat / 10
)

// maxBatch bounds the changes in one commit: 256 are far more than workers, and
// keep a commit under some 10 ms.
const maxBatch = 256

// writer is the one goroutine that changes a planned ledger. It gathers what
// several workers want to commit: on the measuring machine a commit of one
// change takes as long as one of sixty-four.
type writer struct {
	l     *Ledger
	queue chan *change  // unbuffered: what it has taken, it answers
	quit  chan struct{} // closed by close
	done  chan struct{} // closed when the goroutine has ended

	// The rest belongs to the goroutine.
	stmt    map[string]*sql.Stmt
	commits int64
	broken  error // after the first failed commit; nothing is written any more
	began   time.Time
	beaten  time.Time
}

// change is what one caller waits for.
type change struct {
	op     string
	settle bool // what was kept before it must be on disk before it is
	apply  func(b *batch) error
	done   chan error // takes one
}

// batch is one transaction. A change first looks and then writes: an error that
// its apply returns by itself must leave nothing written.
type batch struct {
	ctx   context.Context
	w     *writer
	err   error // the first of SQLite; it undoes the whole batch
	books delta
	tally map[tallyKey]tallyRow
	state State // new one, if not ""
	begun int64 // number of a session that this batch began; 0: none
	ended bool  // this batch ends the session
	kept  int64 // bytes of the file of fetched data that count now; 0: as before
}

// delta is what a batch adds to the books.
type delta struct{ succeeded, failed, settled, replayed, calls, retries int64 }

func (l *Ledger) startWriter(ctx context.Context) error {
	w := &writer{l: l, queue: make(chan *change), quit: make(chan struct{}), done: make(chan struct{}), stmt: map[string]*sql.Stmt{}}
	if err := l.conn.QueryRowContext(ctx, "SELECT commits FROM books").Scan(&w.commits); err != nil {
		return l.fail("read the books", err)
	}
	l.write = w
	go w.run()
	return nil
}

// close ends the goroutine; changes that it has taken are written before.
func (w *writer) close() {
	close(w.quit)
	<-w.done
}

// change has the writer apply a change and returns when it is on disk. If ctx
// ends before the writer has taken it, the change is not made (ErrNotQueued).
// From then on it waits for the disk, whatever becomes of ctx.
func (l *Ledger) change(ctx context.Context, op string, apply func(b *batch) error) error {
	return l.queue(ctx, &change{op: op, apply: apply, done: make(chan error, 1)})
}

// settling is change for what may refer to what was kept before.
func (l *Ledger) settling(ctx context.Context, op string, apply func(b *batch) error) error {
	return l.queue(ctx, &change{op: op, settle: true, apply: apply, done: make(chan error, 1)})
}

func (l *Ledger) queue(ctx context.Context, c *change) error {
	op := c.op
	if l.readOnly || l.write == nil {
		return fmt.Errorf("%s: %w: run %s is not open for work", op, ErrNotQueued, l.meta.Run)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w: %w", op, ErrNotQueued, context.Cause(ctx))
	}
	select {
	case l.write.queue <- c:
		return <-c.done
	case <-ctx.Done():
		return fmt.Errorf("%s: %w: %w", op, ErrNotQueued, context.Cause(ctx))
	case <-l.write.quit:
		return fmt.Errorf("%s: %w: %w", op, ErrNotQueued, ErrClosed)
	}
}

func (w *writer) run() {
	defer close(w.done)
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case c := <-w.queue:
			w.commit(w.gather(c))
		case <-tick.C:
			if !w.began.IsZero() && time.Since(w.beaten) >= beat {
				w.commit(nil)
			}
		case <-w.quit:
			w.closeStatements()
			return
		}
	}
}

// gather takes whatever waits besides c.
func (w *writer) gather(c *change) []*change {
	batch := []*change{c}
	for len(batch) < maxBatch {
		select {
		case c := <-w.queue:
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

// commit writes changes in one transaction and answers each.
func (w *writer) commit(changes []*change) {
	b := &batch{ctx: w.l.base, w: w, tally: map[tallyKey]tallyRow{}}
	errs := make([]error, len(changes))
	if w.broken == nil {
		w.apply(b, changes, errs)
	}
	for i, c := range changes {
		switch {
		case w.broken != nil:
			// Also for those before the one that failed: none of them is on disk.
			errs[i] = fileError(w.l.path, c.op, w.broken)
		case errs[i] != nil:
			errs[i] = w.l.fail(c.op, errs[i])
		}
		c.done <- errs[i]
	}
}

func (w *writer) apply(b *batch, changes []*change, errs []error) {
	w.syncKept(b, changes)
	b.exec("BEGIN IMMEDIATE")
	for i, c := range changes {
		if b.err == nil {
			errs[i] = c.apply(b)
		}
	}
	b.close()
	b.exec("COMMIT")
	if b.err != nil {
		_, _ = w.l.conn.ExecContext(b.ctx, "ROLLBACK")
		// Not tried again: after a failed sync nobody knows what the disk has.
		w.broken = b.err
		return
	}
	w.commits++
	if err := w.l.seq.write(w.commits); err != nil {
		w.broken = err
		return
	}
	w.take(b)
}

// syncKept brings to disk what was kept before these changes: their callers had
// kept it when they queued. One sync serves all of them.
func (w *writer) syncKept(b *batch, changes []*change) {
	if !slices.ContainsFunc(changes, func(c *change) bool { return c.settle }) {
		return
	}
	var err error
	b.kept, err = w.l.kept.sync()
	b.err = fileError(w.l.keptPath(), "sync", err)
}

// take brings the state in memory up to what is on disk now.
func (w *writer) take(b *batch) {
	if b.state != "" {
		w.l.setState(b.state)
	}
	if b.begun != 0 {
		w.began = time.Now()
		w.beaten = w.began
		w.l.note.Store(nil)
		w.l.session.Store(b.begun)
	}
	if b.ended {
		w.began = time.Time{}
		w.l.session.Store(0)
	}
}

// close writes what the changes of a batch add up to.
func (b *batch) close() {
	d := b.books
	b.exec(`UPDATE books SET succeeded = succeeded + ?, failed = failed + ?, settled = settled + ?,
		replayed = replayed + ?, calls = calls + ?, retries = retries + ?, commits = commits + 1`,
		d.succeeded, d.failed, d.settled, d.replayed, d.calls, d.retries)
	for k, v := range b.tally {
		b.exec(`INSERT INTO tally (class, code, rows, example, error) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET rows = rows + excluded.rows`, k.class, k.code, v.rows, v.example, v.error)
	}
	if b.kept > 0 {
		b.exec("UPDATE books SET kept = ? WHERE kept >= 0", b.kept)
	}
	w := b.w
	if !w.began.IsZero() && !b.ended && time.Since(w.beaten) >= along {
		w.beaten = time.Now()
		b.beat(w.l.session.Load(), Running, w.l.note.Load())
	}
}

// beat writes the figures of a session.
func (b *batch) beat(session int64, state State, s *Session) {
	if s == nil {
		s = &Session{}
	}
	seconds := s.Seconds
	if seconds == 0 {
		seconds = time.Since(b.w.began).Seconds()
	}
	b.exec("UPDATE session SET seen = ?, state = ?, seconds = ?, calls = ?, retries = ?, refused = ?, peak = ? WHERE id = ?",
		time.Now().UnixMilli(), string(state), seconds, s.Calls, s.Retries, s.Refused, s.MaxCallsInOneSecond, session)
}

// prepared returns the statement for a text. It is called with a few constant
// texts, so the map stays small.
func (w *writer) prepared(ctx context.Context, text string) (*sql.Stmt, error) {
	if s, ok := w.stmt[text]; ok {
		return s, nil
	}
	s, err := w.l.conn.PrepareContext(ctx, text)
	if err == nil {
		w.stmt[text] = s
	}
	return s, err
}

func (w *writer) closeStatements() {
	for _, s := range w.stmt {
		_ = s.Close()
	}
}

// exec runs a statement unless one before has failed.
func (b *batch) exec(text string, args ...any) {
	if b.err != nil {
		return
	}
	s, err := b.w.prepared(b.ctx, text)
	if err == nil {
		_, err = s.ExecContext(b.ctx, args...)
	}
	b.err = err
}

// entries reads the records of the entries of a chunk of n.
func (b *batch) entries(chunk int64, n int) (entriesOf, error) {
	if b.err != nil {
		return entriesOf{}, b.err
	}
	s, err := b.w.prepared(b.ctx, selectEntries)
	if err != nil {
		return entriesOf{}, err
	}
	rows, err := s.QueryContext(b.ctx, chunk)
	if err != nil {
		return entriesOf{}, err
	}
	return readEntries(rows, b.w.l, chunk, n)
}

// row reads one row into dest; found is false if there is none.
func (b *batch) row(text string, args []any, dest ...any) (found bool) {
	if b.err != nil {
		return false
	}
	s, err := b.w.prepared(b.ctx, text)
	if err == nil {
		err = s.QueryRowContext(b.ctx, args...).Scan(dest...)
	}
	if err == sql.ErrNoRows {
		return false
	}
	b.err = err
	return err == nil
}

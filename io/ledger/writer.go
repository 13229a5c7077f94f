package ledger

import (
	"context"
	"fmt"
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

// maxBatchBytes bounds what was fetched in one commit.
const maxBatchBytes = 2 << 20

// writer is the one goroutine that changes a planned ledger. It gathers what
// several workers want to commit: on the measuring machine a commit of one
// change takes as long as one of sixty-four.
type writer struct {
	l     *Ledger
	queue chan *change  // unbuffered: what it has taken, it answers
	quit  chan struct{} // closed by close
	done  chan struct{} // closed when the goroutine has ended

	// The rest belongs to the goroutine.
	broken error // after the first failed commit; nothing is written any more
	began  time.Time
	beaten time.Time
}

// change is what one caller waits for.
type change struct {
	op     string
	settle bool // what was kept before it must be on disk before it is
	need   need
	size   int                  // bytes that it brings, if they are many
	apply  func(b *batch) error // may be called again, on another batch
	also   Also                 // what is to be done in the same transaction; nil: nothing
	done   chan error           // takes one
}

// batch is what changes come to that are made durable together, all or none. A
// change first looks and then writes: one whose apply returns an error leaves
// nothing.
type batch struct {
	l    *Ledger
	from loader
	err  error // the first of the disk; it undoes the whole batch

	records map[int64]*record // by chunk; nil: there is no such chunk
	books   delta
	tally   map[tallyKey]tallyRow
	state   State  // new one, if not ""
	told    bool   // the reports are written
	begun   int64  // number of a session that this batch began; 0: none
	lease   string // of that session, if others work beside it
	ended   bool   // this batch ends the session
	beats   []beatRow
	pace    []Second
	windows []windowRow
	latency string    // of all calls of the session so far; "": as before
	keeps   []keptRow // what was fetched, where it lies among the records
	dropped bool      // what was fetched is no longer needed
}

// beatRow are the figures of a session.
type beatRow struct {
	session int64
	state   State
	seconds float64
	Session
}

// keptRow is what was fetched.
type keptRow struct {
	id   int64
	data []byte
}

// delta is what a batch adds to the books.
type delta struct{ succeeded, failed, settled, replayed, calls, retries int64 }

func (l *Ledger) startWriter() {
	l.write = &writer{l: l, queue: make(chan *change), quit: make(chan struct{}), done: make(chan struct{})}
	go l.write.run()
}

// close ends the goroutine; changes that it has taken are written before.
func (w *writer) close() {
	close(w.quit)
	<-w.done
}

// change has the writer apply a change and returns when it is on disk. If ctx
// ends before the writer has taken it, the change is not made (ErrNotQueued).
// From then on it waits for the disk, whatever becomes of ctx.
func (l *Ledger) change(ctx context.Context, op string, n need, apply func(b *batch) error) error {
	return l.queue(ctx, &change{op: op, need: n, apply: apply, done: make(chan error, 1)})
}

// settling is change for what may refer to what was kept before.
func (l *Ledger) settling(ctx context.Context, op string, n need, apply func(b *batch) error) error {
	return l.queue(ctx, &change{op: op, settle: true, need: n, apply: apply, done: make(chan error, 1)})
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
			return
		}
	}
}

// gather takes whatever waits besides c.
func (w *writer) gather(c *change) []*change {
	batch, size := []*change{c}, c.size
	for len(batch) < maxBatch && size < maxBatchBytes {
		select {
		case c := <-w.queue:
			batch = append(batch, c)
			size += c.size
		default:
			return batch
		}
	}
	return batch
}

// commit makes changes durable together and answers each.
func (w *writer) commit(changes []*change) {
	errs := make([]error, len(changes))
	if w.broken == nil {
		b, err := w.l.disk.commit(w.l.base, w.l, changes, errs)
		if err != nil {
			// Not tried again: nobody knows what the disk has.
			w.broken = err
		} else {
			w.take(b)
		}
	}
	for i, c := range changes {
		switch {
		case w.broken != nil:
			// Also for those before the one that failed: none of them is on disk.
			errs[i] = w.l.fail(c.op, w.broken)
		case errs[i] != nil:
			errs[i] = w.l.fail(c.op, errs[i])
		}
		c.done <- errs[i]
	}
}

// take brings the state in memory up to what is on disk now.
func (w *writer) take(b *batch) {
	if b.state != "" {
		w.l.setState(b.state)
	}
	if len(b.beats) > 0 {
		w.beaten = time.Now()
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

// apply makes a batch of what changes come to, for a disk to write, with the newest
// figures of the session when they are due. It belongs to the writer.
func (l *Ledger) apply(from loader, changes []*change, errs []error) *batch {
	b := l.reckon(from, changes, errs)
	w := l.write
	if !w.began.IsZero() && !b.ended && time.Since(w.beaten) >= along {
		b.beat(l.session.Load(), Running, l.note.Load())
	}
	return b
}

// reckon makes a batch of what changes come to.
func (l *Ledger) reckon(from loader, changes []*change, errs []error) *batch {
	b := &batch{l: l, from: from, records: map[int64]*record{}, tally: map[tallyKey]tallyRow{}}
	for i, c := range changes {
		if b.err == nil && c.need.chunk != 0 {
			errs[i] = b.meet(c.need)
		}
		if b.err == nil && errs[i] == nil {
			errs[i] = c.apply(b)
		}
	}
	return b
}

// meet loads what a change needs.
func (b *batch) meet(n need) error {
	r, ok := b.records[n.chunk]
	if ok && (r == nil || r.has(n)) {
		return nil
	}
	r, err := b.from.record(n, r)
	if err != nil {
		return b.broke(err)
	}
	b.records[n.chunk] = r
	return nil
}

// chunk is the record of a chunk that the change needs.
func (b *batch) chunk(id int64) (*record, error) {
	if r := b.records[id]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("there is no chunk %d", id)
}

// broke notes an error of the disk.
func (b *batch) broke(err error) error {
	if b.err == nil {
		b.err = err
	}
	return err
}

// beat notes the figures of a session.
func (b *batch) beat(session int64, state State, s *Session) {
	if s == nil {
		s = &Session{}
	}
	seconds := s.Seconds
	if seconds == 0 {
		seconds = time.Since(b.l.write.began).Seconds()
	}
	b.beats = append(b.beats, beatRow{session, state, seconds, *s})
}

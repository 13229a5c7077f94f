package roster

import (
	"runtime"
	"slices"
	"sync"
)

// Limits bound what is decoded ahead of the row handed out. A batch of
// 256 usual lines is half a millisecond of work, a thousand times what it costs
// to pass it on.
type limits struct {
	lines int // most lines in a batch, and what is decoded in turn before the first one
	text  int // most bytes in a batch: a longer line is decoded in turn, on its own
	width int // most batches under way at the same time; with 1 all is decoded in turn
}

// maxWidth bounds the memory: more decoders would wait for the caller anyway.
const maxWidth = 4

func newLimits() limits {
	return limits{lines: 256, text: 64 << 10, width: min(runtime.GOMAXPROCS(0), maxWidth)}
}

// A batch is some lines that follow each other, and what they are decoded to.
// Its goroutine, while it runs, is the only one to touch it.
type batch[T any] struct {
	text   []byte    // the lines, without their ends
	ends   []int     // in text
	items  []item[T] // one a line
	done   int       // so many are decoded
	next   int       // the one to hand out next
	decode decoder[T]

	running sync.WaitGroup // the goroutine
}

// fill reads the next lines into the batch, as long as they fit. It reports
// whether there are any.
func (b *batch[T]) fill(g *gate, most limits) bool {
	b.text, b.ends, b.items, b.done, b.next = b.text[:0], b.ends[:0], b.items[:0], 0, 0
	for len(b.items) < most.lines {
		line, whole, err := g.hold()
		if err != nil || len(b.text)+len(line) > most.text {
			break // it stays held
		}
		g.held = false
		b.text = append(b.text, line...)
		b.ends = append(b.ends, len(b.text))
		b.items = append(b.items, item[T]{row: Row[T]{Line: g.num}, whole: whole})
	}
	return len(b.items) > 0
}

// decodeAll decodes the batch in a goroutine of its own. When a method of a
// field panics, the rest is left to item, which panics where the caller sees it.
func (b *batch[T]) decodeAll() {
	b.running.Go(func() {
		defer func() { _ = recover() }()
		for b.done < len(b.items) {
			b.decodeNext()
		}
	})
}

func (b *batch[T]) decodeNext() {
	start := 0
	if b.done > 0 {
		start = b.ends[b.done-1]
	}
	b.items[b.done].fill(b.decode, b.text[start:b.ends[b.done]])
	b.done++
}

// item gives the next item, nil if all are handed out.
func (b *batch[T]) item() *item[T] {
	if b.next == len(b.items) {
		return nil
	}
	if b.next == b.done {
		b.decodeNext()
	}
	b.next++
	return &b.items[b.next-1]
}

// sideBySide hands out rows that are decoded in batches, ahead of the one
// handed out and side by side, until the file ends or a line is too long for a
// batch. It reports whether the caller wants more.
//
// It reads in the goroutine of the caller, so that nothing is read while the
// caller does not ask for rows. What was read, but not handed out when the
// caller breaks off, waits in r.queue.
func (r *Reader[T]) sideBySide(yield func(Row[T], error) bool) bool {
	defer func() {
		for _, b := range r.queue {
			b.running.Wait()
		}
	}()
	for {
		for b := r.spare(); b != nil && b.fill(r.gate, r.limits); b = r.spare() {
			r.queue = append(r.queue, b)
			r.idle = r.idle[:len(r.idle)-1]
			b.decodeAll()
		}
		if len(r.queue) == 0 {
			return true
		}
		b := r.queue[0]
		b.running.Wait()
		for it := b.item(); it != nil; it = b.item() {
			if !r.hand(it, yield) {
				return false
			}
		}
		r.queue, r.idle = slices.Delete(r.queue, 0, 1), append(r.idle, b)
	}
}

// spare gives the last idle batch, a new one if there are few, or else nil. One
// batch more than are decoded is in use: its rows are being handed out.
func (r *Reader[T]) spare() *batch[T] {
	if len(r.idle) == 0 {
		if len(r.queue) > r.limits.width {
			return nil
		}
		d, err := r.another()
		if err != nil {
			return nil // never, since the first one was made in the same way
		}
		r.idle = append(r.idle, &batch[T]{decode: d})
	}
	return r.idle[len(r.idle)-1]
}

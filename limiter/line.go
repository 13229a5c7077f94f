package limiter

import (
	"container/list"
	"slices"
	"sync"
)

// A line is all who wait for the lanes of one budget in this process. One of
// them has the baton: that one waits for a slot and then for a lane. When waiters
// polled on their own, shares of processes were 0.66 to 0.81 of equal; with one
// at a time 0.99.
//
// Queues take turns: next is the first waiter of the queue whose last turn was
// longest ago. So between two turns of one queue each other one that waits has
// its turn, and one that did not wait has saved nothing up but its place.
type line struct {
	mu     sync.Mutex
	places []*place // under mu; those with waiters
	holder *waiter  // under mu; who has the baton, nil only if nobody waits
	turns  uint64   // under mu; how many were had
}

// A place is where a queue stands in one line. The line knows it only while it
// has waiters. The zero place is that of a new queue.
type place struct {
	waiters list.List // under line.mu; of *waiter, by ticket
	last    uint64    // under line.mu; its last turn, 0 if it had none
}

type waiter struct {
	place  *place
	at     *list.Element
	ticket uint64
	baton  chan struct{} // gets the baton; it has room, so that nobody waits to pass it
	has    bool          // the baton was got; for the waiter alone
}

// join adds a waiter. Whoever joins must leave.
func (l *line) join(p *place, ticket uint64) *waiter {
	w := &waiter{place: p, ticket: ticket, baton: make(chan struct{}, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.waiters.Len() == 0 {
		l.places = append(l.places, p)
	}
	// A call that comes from the line of its API's own budget has an older
	// ticket than those that came here at once.
	before := p.waiters.Back()
	for before != nil && before.Value.(*waiter).ticket > ticket {
		before = before.Prev()
	}
	if before == nil {
		w.at = p.waiters.PushFront(w)
	} else {
		w.at = p.waiters.InsertAfter(w, before)
	}
	if l.holder == nil {
		l.pass(w)
	}
	return w
}

// leave ends the waiting of w, with its turn had or not, and passes the baton on
// if w has it.
func (l *line) leave(w *waiter, had bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := w.place
	p.waiters.Remove(w.at)
	if had {
		l.turns++
		p.last = l.turns
	}
	if p.waiters.Len() == 0 {
		// The order of the others stays: it decides between queues that
		// never had a turn.
		l.places = slices.DeleteFunc(l.places, func(o *place) bool { return o == p })
	}
	if l.holder == w {
		l.pass(l.first())
	}
}

// yield passes the baton of w to whoever has come meanwhile and is before it,
// and says whether it did: w must wait for it again then. The turn is not
// settled when w gets the baton, because a queue with few waiters may come
// back while w waits for its slot. Three queues with calls of 12 ms at 200 a
// second and a single waiter in one of them: it had 0.25 of the calls so.
func (l *line) yield(w *waiter) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.first()
	if first == w {
		return false
	}
	w.has = false
	l.pass(first)
	return true
}

// pass gives the baton to w, who may be nil. The caller holds l.mu.
func (l *line) pass(w *waiter) {
	if l.holder = w; w != nil {
		w.baton <- struct{}{}
	}
}

// first is who is next, nil if nobody waits. The caller holds l.mu.
func (l *line) first() *waiter {
	var next *place
	for _, p := range l.places {
		if next == nil || p.last < next.last {
			next = p
		}
	}
	if next == nil {
		return nil
	}
	return next.waiters.Front().Value.(*waiter)
}

// waiting is how many wait.
func (l *line) waiting() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.places {
		n += p.waiters.Len()
	}
	return n
}

package limiter

import "time"

// longest is how far in the future a lane can become ready: a second and the
// largest margin. What lies behind it was written before the host was started,
// or by somebody else.
const longest = time.Second + maxMargin

// Lanes is where the lanes of one budget are kept. See [Memory] and [File].
type Lanes interface {
	// Update shows the first n lanes to f and stores what f changed, while
	// no other Update of the same lanes runs, in this process or another.
	// After an error the changes may be stored or not, and f may not have
	// been called.
	Update(n int, f func(*Table)) error

	// Now is the time on the clock that all who share the lanes read.
	Now() time.Duration

	// Close leaves the lanes. Those that are still held are free for others
	// after a rest. Update fails with ErrClosed from then on.
	Close() error
}

// Table is a budget as f of Lanes.Update sees it.
type Table struct {
	now   time.Duration // when Update began
	self  uint32        // who looks; never 0
	lanes []lane

	cut   int           // lanes out of use at cutAt
	cutAt time.Duration // time of the last SlowDown

	// dead says whether a holder is gone for good. nil if it is not the time
	// to look, or there are no other holders.
	dead func(holder uint32) bool

	head   bool // cut or cutAt changed
	lo, hi int  // lanes[lo:hi] holds all changed lanes
}

// A lane is the right to have one call inside a second.
type lane struct {
	ready  time.Duration // when its rest ends; while it is held, the least that this can be
	holder uint32        // who holds it, 0 for nobody
	lost   bool          // its record was missing or torn
}

// set changes one lane and notes that it must be stored.
func (t *Table) set(i int, ready time.Duration, holder uint32) {
	t.lanes[i] = lane{ready: ready, holder: holder}
	if t.lo == t.hi {
		t.lo, t.hi = i, i+1
		return
	}
	t.lo, t.hi = min(t.lo, i), max(t.hi, i+1)
}

// give ends the holding of a lane. A lane that was lost meanwhile, and that
// somebody else may have taken since, is left to settle. ready may lie in the
// past, for a lane that was not used; a rest that the lane got meanwhile stays.
func (t *Table) give(i int, ready time.Duration) {
	l := t.lanes[i]
	switch {
	case l.lost:
	case l.holder == t.self || l.holder == 0:
		t.set(i, max(ready, l.ready), 0)
	}
}

// settle makes the table agree with what the caller holds, and gives a full rest
// to every lane whose history is not known: new ones, torn ones, and those
// with a time that nobody can have meant.
func (t *Table) settle(held []bool, rest time.Duration) {
	far := t.now + longest
	for i := range t.lanes {
		l := &t.lanes[i]
		if (l.holder == t.self) == held[i] && !l.lost && (l.ready <= far || l.holder != 0) {
			continue
		}
		switch {
		case held[i] && l.holder != 0 && !l.lost:
			// It was lost, and somebody else has it now.
		case held[i] && l.lost:
			t.set(i, t.now+rest, t.self)
		case held[i]:
			t.set(i, max(t.now, l.ready), t.self) // somebody else may have used it
		default:
			t.set(i, t.now+rest, 0)
		}
	}
	if t.cutAt > t.now || t.cutAt < 0 {
		t.cutAt, t.head = t.now, true
	}
}

// take takes the lane that has rested longest. If none may be taken it returns
// -1 and the time until that can change by itself, poll if that is not known.
func (t *Table) take(rest time.Duration) (i int, wait time.Duration) {
	if i, wait = t.pick(); i < 0 && t.reclaim(rest) {
		i, wait = t.pick()
	}
	if i >= 0 {
		t.set(i, t.lanes[i].ready, t.self)
	}
	return i, wait
}

func (t *Table) pick() (best int, wait time.Duration) {
	best, wait = -1, poll
	busy := 0
	for i := range t.lanes {
		l := &t.lanes[i]
		switch {
		case l.holder != 0:
			busy++
		case l.ready > t.now:
			busy++
			wait = min(wait, l.ready-t.now)
		case best < 0 || l.ready < t.lanes[best].ready:
			best = i
		}
	}
	// Counting what is busy, rather than leaving lanes at the end unused, makes
	// a SlowDown work at once, not after the second that those lanes rest.
	if best < 0 || busy >= t.allowed() {
		return -1, wait
	}
	return best, 0
}

// reclaim takes the lanes of holders that are gone for good from them. Their
// calls may just have left, so these lanes rest from now.
func (t *Table) reclaim(rest time.Duration) (found bool) {
	if t.dead == nil {
		return false
	}
	seen := map[uint32]bool{0: false, t.self: false}
	for i, l := range t.lanes {
		gone, asked := seen[l.holder]
		if !asked {
			gone = t.dead(l.holder)
			seen[l.holder] = gone
		}
		if gone {
			t.set(i, t.now+rest, 0)
			found = true
		}
	}
	return found
}

// slowDown takes a tenth of the lanes out of use, but never the last one, and at
// most once a second: a burst of refusals is one event.
func (t *Table) slowDown() {
	n := len(t.lanes)
	if t.cut > 0 && t.now-t.cutAt < time.Second {
		return
	}
	cut := t.cutNow()
	t.cut = max(cut, min(cut+max(1, n/10), n-1)) // a larger sharer may have cut more than n
	t.cutAt, t.head = t.now, true
}

// cutNow is how many lanes are out of use now. One comes back each second.
func (t *Table) cutNow() int {
	back := (t.now - t.cutAt) / time.Second
	return int(max(0, time.Duration(t.cut)-back))
}

// allowed is how many lanes may be busy now.
func (t *Table) allowed() int { return max(1, len(t.lanes)-t.cutNow()) }

func (t *Table) busy() (held, resting int) {
	for _, l := range t.lanes {
		switch {
		case l.holder != 0:
			held++
		case l.ready > t.now:
			resting++
		}
	}
	return held, resting
}

package limiter

import "time"

// longest is how far in the future a lane can become ready, beyond its own rest:
// what lies behind it was written before the host was started, or by somebody
// else.
const longest = leaseInTable + maxMargin

// Lanes is where the lanes of one budget are kept. See [Memory], [File] and
// [Postgres].
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
	now    time.Duration // when Update began
	self   uint32        // who looks; never 0
	lanes  []lane
	cuts   [maxCuts]cut     // lanes out of use; the first is of all calls, the others of an API each
	lease  lease            // zero: nothing is leased, all lanes can be used
	ways   [2]way           // that processes go, in no order
	wishes [maxWaiting]wish // of processes, in no order

	// dead says whether a holder is gone for good. nil if it is not the time
	// to look, or there are no other holders.
	dead func(holder uint32) bool

	rest time.Duration // of a lane, once settle has said so
	said utterance     // by this process

	head    bool          // lease changed
	cutHead [maxCuts]bool // that cut changed
	lo, hi  int           // lanes[lo:hi] holds all changed lanes
}

// A lane is the right to have one call inside a second.
type lane struct {
	ready  time.Duration // when its rest ends; while it is held, the least that this can be
	holder uint32        // who holds it, 0 for nobody
	user   uint32        // who held it last; the holder, if it is held
	api    int           // which of cuts its last call was of
	lease  tenure
	short  bool // its rest was shortened by what a call takes at least
	lost   bool // its record was missing or torn
}

// set changes one lane and notes that it must be stored. A rest ends with a
// microsecond.
func (t *Table) set(i int, l lane) {
	l.ready = (l.ready + time.Microsecond - 1).Truncate(time.Microsecond)
	l.lost = false
	t.lanes[i] = l
	if t.lo == t.hi {
		t.lo, t.hi = i, i+1
		return
	}
	t.lo, t.hi = min(t.lo, i), max(t.hi, i+1)
}

// give ends the holding of a lane. A lane that was lost meanwhile, and that
// somebody else may have taken since, is left to settle. ready may lie in the
// past, for a lane that was not used; a rest that the lane got meanwhile stays.
// shorter is by how much ready comes sooner for what a call takes at least.
func (t *Table) give(i int, ready, shorter time.Duration) {
	if t.mixed() {
		ready, shorter = ready+shorter, 0
	}
	l := t.lanes[i]
	switch {
	case l.lost:
	case l.holder == t.self || l.holder == 0:
		l.ready, l.holder, l.short = max(ready, l.ready), 0, shorter > 0
		t.set(i, l)
	}
}

// settle makes the table agree with what the caller holds, and gives a full rest
// to every lane whose history is not known: new ones, torn ones, and those
// with a time that nobody can have meant.
func (t *Table) settle(held []bool, rest time.Duration) {
	t.rest = rest
	far := t.now + max(rest, time.Second) + longest
	for i := range t.lanes {
		l := t.lanes[i]
		if (l.holder == t.self) == held[i] && !l.lost && (l.ready <= far || l.holder != 0) {
			continue
		}
		switch {
		case held[i] && l.holder != 0 && !l.lost:
			// It was lost, and somebody else has it now.
			continue
		case held[i] && l.lost:
			l.ready, l.holder = t.now+rest, t.self
		case held[i]:
			l.ready, l.holder = max(t.now, l.ready), t.self // somebody else may have used it
		default:
			l.ready, l.holder = t.now+rest, 0
		}
		t.set(i, l)
	}
	t.mend()
}

// mend forgets what nobody can have meant, such as times of before the host was
// started.
func (t *Table) mend() {
	for i := range t.cuts {
		if c := &t.cuts[i]; c.at > t.now || c.at < 0 {
			c.at, t.cutHead[i] = t.now, true
		}
	}
	for i := range t.ways {
		if w := &t.ways[i]; w.at > t.now {
			*w, t.head = way{}, true
		}
	}
	for i := range t.wishes {
		if w := &t.wishes[i]; w.at > t.now {
			*w, t.head = wish{}, true
		}
	}
	if t.lease.hungry > t.now || t.lease.claimed > t.now || t.lease.until > t.now+leaseAtHost {
		// Nobody can have meant that. Who the host is stays.
		t.lease = lease{leased: t.lease.leased, host: t.lease.host, boot: t.lease.boot}
		t.head = true
	}
}

// take takes the lane that has rested longest for a call of api. If none may be
// taken it returns -1 and the time until that can change by itself, poll if
// that is not known. gated says that it is for the lanes of api being out of
// use: a call of another API may find one.
func (t *Table) take(rest time.Duration, api string) (i int, wait time.Duration, gated bool) {
	of := t.cutOf(api)
	if i, wait, gated = t.pick(of); i < 0 && t.reclaim(rest) {
		i, wait, gated = t.pick(of)
	}
	if i < 0 {
		t.lack(gated)
		if !gated {
			t.wish()
		}
		return i, wait, gated
	}
	if wait = t.yield(i, t.size()); wait > 0 {
		t.wish()
		return -1, wait, false
	}
	l := t.lanes[i]
	l.holder, l.user, l.api = t.self, t.self, of
	t.set(i, l)
	return i, wait, false
}

func (t *Table) pick(of int) (best int, wait time.Duration, gated bool) {
	best, wait = -1, poll
	size, busy, busyOf := 0, 0, 0
	for i := range t.lanes {
		l := &t.lanes[i]
		if !t.usable(i) {
			continue
		}
		size++
		ready := t.readyHere(l)
		if l.holder != 0 || ready > t.now {
			busy++
			if l.api == of {
				busyOf++
			}
			if l.holder == 0 {
				wait = min(wait, ready-t.now)
			}
		} else if best < 0 || l.ready < t.lanes[best].ready {
			best = i
		}
	}
	// Counting what is busy, rather than leaving lanes at the end unused, makes
	// a SlowDown work at once, not after the second that those lanes rest.
	if best < 0 || busy >= t.allowed(0, size) {
		return -1, wait, false
	}
	if of > 0 && busyOf >= t.allowed(of, size) {
		return -1, wait, true
	}
	return best, 0, false
}

// gated says whether calls of api must wait although others need not.
func (t *Table) gated(api string) bool {
	of := t.cutOf(api)
	if of == 0 || t.cuts[of].n == 0 {
		return false
	}
	busyOf := 0
	for i := range t.lanes {
		if l := &t.lanes[i]; t.usable(i) && l.api == of && (l.holder != 0 || l.ready > t.now) {
			busyOf++
		}
	}
	return busyOf >= t.allowed(of, t.size())
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
			l.ready, l.holder = t.now+rest, 0
			t.set(i, l)
			found = true
		}
	}
	return found
}

// usable says whether lane i is one that this host may use now.
func (t *Table) usable(i int) bool {
	return !t.lease.leased || t.lanes[i].lease == ours && i < t.lease.limit && t.now < t.lease.until
}

// size is how many lanes this host may use now.
func (t *Table) size() (n int) {
	if !t.lease.leased {
		return len(t.lanes)
	}
	for i := range t.lanes {
		if t.usable(i) {
			n++
		}
	}
	return n
}

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

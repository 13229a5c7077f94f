package limiter

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	// renewEvery is how often a host renews its lease when nothing changes, and
	// hurryEvery when it waits for lanes or others wait for its own.
	renewEvery = 2 * time.Second
	hurryEvery = 250 * time.Millisecond

	// retryEvery is the pause after a statement that failed, and stepIn how much
	// longer the other processes of the host leave it to who made the last one.
	retryEvery = 300 * time.Millisecond
	stepIn     = 300 * time.Millisecond

	// statementTime bounds all statements of one renewal. Two of them fit between
	// a renewal and the end of the lease.
	statementTime = 1200 * time.Millisecond

	// recent is for how long a wish to send counts.
	recent = 1500 * time.Millisecond

	// settling is how long a host that has just come looks more often.
	settling = 3 * time.Second
)

// A tenure says whether a lane is this host's.
type tenure uint8

const (
	away    tenure = iota // another's or nobody's
	ours                  // leased to this host
	leaving               // leased, but not used any more: it goes back when it has rested
)

// A lease is what the processes of a host know of the lanes that they have leased
// together. They keep it beside the lanes. Times are on the host's clock.
type lease struct {
	leased   bool          // false: the host has all lanes for itself
	host     uint64        // its id in the roll; never 0
	boot     uint64        // of the host; the rest means nothing after another
	limit    int           // the lanes below are those that the last renewal was about
	joined   time.Duration // when it got its first lease after it had none
	until    time.Duration // the lanes may be used before; 0: the roll does not have us
	claimed  time.Duration // when a process last began to renew
	interval time.Duration // from then to the next time
	renewer  uint32        // who that was
	failing  bool          // it did not succeed
	hungry   time.Duration // when a call last found no lane
	told     int           // lanes that the roll was last told to be wanted
	scale    int           // lanes of the whole budget
	credit   time.Duration // the most that a call's round trip has shortened a rest here
}

// id is the host's name in the roll.
func (l *lease) id() string { return fmt.Sprintf("%016x", l.host) }

// lack notes that a call has found no lane.
func (t *Table) lack(gated bool) {
	if t.lease.leased && !gated && t.now-t.lease.hungry >= recent/10 {
		t.lease.hungry, t.head = t.now, true
	}
}

// hungry says whether somebody here wants more lanes.
func (t *Table) hungry() bool { return t.lease.hungry > 0 && t.now-t.lease.hungry < recent }

// lanesWanted is how many lanes the host has use for: what was used in the last two
// seconds and some more, and much more if calls wait.
func (t *Table) lanesWanted() int {
	used := 0
	for _, l := range t.lanes {
		if l.lease != away && (l.holder != 0 || l.ready > t.now-time.Second) {
			used++
		}
	}
	if t.hungry() {
		return min(len(t.lanes), 3*used+20)
	}
	if used > 0 {
		used = min(len(t.lanes), used+used/4+2)
	}
	if l := &t.lease; l.told > used && t.now-l.claimed > 2*renewEvery {
		return l.told // nobody here has run for a while, so nobody could say anything
	}
	return used
}

// due says whether it is time to renew, and when to look again if it is not.
func (t *Table) due() (now bool, wait time.Duration) {
	l := &t.lease
	wants := t.lanesWanted()
	if wants == 0 && l.until == 0 {
		return false, renewEvery
	}
	next := l.claimed + l.interval
	news := slices.ContainsFunc(t.cuts[:], func(c cut) bool { return c.tell > 0 })
	if !l.failing && (news || wants > l.told && t.hungry()) && l.interval >= renewEvery {
		next = min(next, l.claimed+hurryEvery) // nobody knows yet
	}
	switch n := len(t.lanes); {
	case n > l.limit && l.interval >= renewEvery:
		next = min(next, l.claimed+hurryEvery) // who renewed sees only some of our lanes
	case n > l.limit:
	case l.until <= t.now:
	case n < l.limit:
		next += 4 * stepIn
	case l.renewer != t.self:
		next += stepIn // it is the other's to do, if it lives
	}
	return next <= t.now, min(max(next-t.now, time.Millisecond), hurryEvery)
}

// claim notes that this process renews now, and says for what the host asks.
func (t *Table) claim() ask {
	l := &t.lease
	l.claimed, l.interval, l.renewer, t.head = t.now, statementTime+stepIn, t.self, true
	a := ask{
		host: l.id(), limit: len(t.lanes), pulse: pulse{Wants: t.lanesWanted()},
		slow: map[string]int64{}, late: l.until > 0 && l.until < t.now,
		held: l.until > 0, hungry: t.hungry(),
	}
	size := t.size()
	for i := range t.cuts {
		if c := &t.cuts[i]; c.tell > 0 {
			a.slow[c.name()] += int64(c.tell)
			c.tell, t.cutHead[i] = 0, true
		}
	}
	a.OutOfUse = t.out(0, size)
	for i, lane := range t.lanes {
		if lane.lease == leaving && lane.holder == 0 && lane.ready+l.credit <= t.now {
			a.give.add(i)
		}
	}
	return a
}

// mine says whether nobody has renewed since claim.
func (t *Table) mine(claimed time.Duration) bool {
	return t.lease.claimed == claimed && t.lease.renewer == t.self
}

// missed notes that a renewal has failed.
func (t *Table) missed(a ask, claimed time.Duration) {
	for api, n := range a.slow {
		of := t.cutOf(api)
		t.cuts[of].tell += int(n)
		t.cutHead[of] = true
	}
	if t.mine(claimed) {
		t.lease.failing, t.lease.interval, t.head = true, t.now-claimed+retryEvery, true
	}
}

// renewed writes down what the roll has for this host after a renewal that was
// claimed at that time. A renewal that others have overtaken is left to them.
func (t *Table) renewed(r *roll, g grant, a ask, claimed time.Duration) {
	if !t.mine(claimed) {
		return
	}
	l := &t.lease
	seat := r.Hosts[a.host].Lanes
	for i := range t.lanes {
		t.assign(i, seat.has(i), g)
	}
	t.release(g.surplus-t.countOf(leaving), g.below)
	if l.until == 0 {
		l.joined = t.now
	}
	l.limit = len(t.lanes)
	l.until, l.failing, l.told, l.scale, t.head = claimed+leaseAtHost, false, a.Wants, r.Lanes, true
	t.follow(r.Slow, a.slow)
	l.interval = renewEvery
	if g.short > 0 || t.countOf(leaving) > 0 || t.now-l.joined < settling {
		l.interval = hurryEvery
	}
}

// assign makes lane i this host's or not.
func (t *Table) assign(i int, mine bool, g grant) {
	l := t.lanes[i]
	rested, fresh := g.rested.has(i), g.fresh.has(i)
	switch {
	case !mine && l.lease == away, mine && l.lease != away && !rested && !fresh:
		return
	case !mine:
		l.lease = away
	case rested: // perhaps it was handed back just now, and nobody else wants it
		l.lease = ours
	case fresh:
		l.lease, l.ready = ours, max(l.ready, t.now+t.rest)
	default:
		// The roll has given it to us without our hearing of it, or has
		// forgotten that it is another's by now.
		l.lease, l.ready = ours, max(l.ready, t.now+t.rest+leaseInTable)
	}
	t.set(i, l)
}

// release takes n more lanes out of use here, so that they can go back: first those
// below a number, which somebody waits for who can use no others, and those that
// have rested longest. If n is negative, so many that were to go back are used
// again, the last of them first.
func (t *Table) release(n, below int) {
	from, to, order := ours, leaving, 1
	if n < 0 {
		n, from, to, order = -n, leaving, ours, -1
	}
	var found []int
	for i := range spread(len(t.lanes)) { // of small numbers and great ones
		if t.lanes[i].lease == from {
			found = append(found, i)
		}
	}
	slices.SortStableFunc(found, func(a, b int) int {
		if (a < below) != (b < below) {
			return order * cmp.Compare(a, b)
		}
		return order * cmp.Compare(t.freeAt(t.lanes[a]), t.freeAt(t.lanes[b]))
	})
	for _, i := range found[:min(n, len(found))] {
		l := t.lanes[i]
		l.lease = to
		t.set(i, l)
	}
}

// freeAt is when a lane can go back, as far as is known.
func (t *Table) freeAt(l lane) time.Duration {
	if l.holder != 0 {
		return t.now + time.Hour
	}
	return max(l.ready, t.now)
}

func (t *Table) countOf(k tenure) (n int) {
	for _, l := range t.lanes {
		if l.lease == k {
			n++
		}
	}
	return n
}

// follow slows down for the refusals that other hosts have met.
func (t *Table) follow(slow, told map[string]int64) {
	for of := range t.cuts {
		c := &t.cuts[of]
		if of > 0 && c.api == [32]byte{} {
			continue
		}
		steps := uint32(slow[c.name()]) + 1 // 0 is: never heard
		news := c.heard > 0 && steps-c.heard > uint32(told[c.name()])
		if news && t.now-c.at >= time.Second {
			tell := c.tell
			t.slowDown(of)
			c.tell = tell // it is not our news
		}
		if c.heard != steps {
			c.heard, t.cutHead[of] = steps, true
		}
	}
}

// shorten notes by how much this process shortens rests. A host to which the way is
// shorter must not have its lanes before that has passed, too.
func (t *Table) shorten(credit time.Duration) {
	if credit > t.lease.credit {
		t.lease.credit, t.head = credit, true
	}
}

// depart ends the lease here and says which lanes others can use at once.
func (t *Table) depart() (rested laneSet) {
	for i, l := range t.lanes {
		if l.lease == away {
			continue
		}
		if l.holder == 0 && l.ready+t.lease.credit <= t.now {
			rested.add(i)
		}
		l.lease = away
		t.set(i, l)
	}
	l := &t.lease
	l.claimed, l.interval, l.renewer = t.now, statementTime, t.self
	l.until, l.told, l.credit, l.failing, t.head = 0, 0, 0, false, true
	return rested
}

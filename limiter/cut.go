package limiter

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"time"
)

// maxCuts is how many APIs can have lanes out of use on their own, and one for
// all. Calls of an API for which there is no place are slowed down with all.
const maxCuts = 8

// A cut is lanes that are out of use because the server found that calls are
// too frequent, all of them or those of one API.
type cut struct {
	api     [32]byte      // its name, or a hash of it; zero for all, and for a place that nobody has
	n       int           // lanes out of use at that time
	at      time.Duration // of the last step down
	refused int           // calls refused in that step

	// Between hosts, see lease.
	tell  int    // steps that the other hosts have not been told
	heard uint32 // steps of all hosts that were followed
}

func apiName(api string) (name [32]byte) {
	if len(api) > len(name) {
		return sha256.Sum256([]byte(api))
	}
	copy(name[:], api)
	return name
}

func (c *cut) name() string { return string(bytes.TrimRight(c.api[:], "\x00")) }

// cutOf finds the place of an API, or makes it; 0 if there is none left.
func (t *Table) cutOf(api string) int {
	name := apiName(api)
	for i := range t.cuts {
		if t.cuts[i].api == name {
			return i
		}
		if i > 0 && t.cuts[i].api == [32]byte{} {
			t.cuts[i], t.cutHead[i] = cut{api: name, at: t.now}, true
			return i
		}
	}
	return 0
}

// slowDown takes lanes out of use after a refused call. The first one in a second
// costs a tenth of those in use, the second nothing, and each that follows two: so
// many calls refused in a second say that far too many are sent, and one or two
// that the edge was touched. The last lane stays.
func (t *Table) slowDown(of int) {
	c, n := &t.cuts[of], t.size()
	if t.lease.leased && n == 0 {
		return
	}
	t.cutHead[of] = true
	if c.refused == 0 || t.now-c.at >= time.Second {
		out := t.out(of, n)
		step := t.tenth(n - out)
		c.n, c.at, c.refused = max(out, min(out+step, n-1)), t.now, 1 // a larger sharer may have taken more than n
		if t.lease.leased {
			c.tell++
		}
		return
	}
	if c.refused++; c.refused > 2 {
		c.n = max(c.n, min(c.n+2, n-1))
	}
}

// tenth is a tenth of n lanes. If they are a part of the budget's, it is one lane
// too many or too few at random, as often as is right: many hosts with a few lanes
// each would lose a fifth otherwise.
func (t *Table) tenth(n int) int {
	step := n / 10
	if t.lease.leased && rand.IntN(10) < n%10 {
		step++
	}
	if t.lease.leased {
		return step
	}
	return max(1, step)
}

// out is how many of n lanes are out of use now. One comes back each second; of
// a host that has leased a part of the budget, that part of one.
func (t *Table) out(of, n int) int {
	c := &t.cuts[of]
	if c.n == 0 {
		return 0
	}
	was, back := int64(c.n), int64((t.now-c.at)/time.Second)
	if t.lease.leased && t.lease.scale > 0 {
		// Many may have been out of more lanes than are leased now: they would not be
		// back for hours, at the pace of the few.
		was = min(was, max(0, int64(n-1)))
		back = int64(t.now-c.at) / int64(time.Millisecond) * int64(n) / int64(t.lease.scale) / 1000
	}
	return int(max(0, was-back))
}

// allowed is how many of n lanes may be busy now.
func (t *Table) allowed(of, n int) int { return max(1, n-t.out(of, n)) }

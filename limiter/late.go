package limiter

import "time"

// afterLease is how long a call may still leave when the lease of its lane has ended
// at the host: as long as the lane can have no new owner. There it rests for a
// second first, so a call that has just left by then does no harm.
const afterLease = leaseInTable - leaseAtHost

// last is from when on a call must not leave any more that takes a lane now; 0
// is never. It does not look at later renewals of the lease: who was stopped for
// so long that it matters takes another lane.
func (t *Table) last() time.Duration {
	if !t.lease.leased {
		return 0
	}
	return t.lease.until + afterLease
}

// late says whether it is too late for the call with h to leave.
func (b *budget) late(h holding) bool {
	return h.last > 0 && b.lanes.Now() >= h.last || h.common != nil && b.common.late(*h.common)
}

// extend looks again until when the call with h may leave, if the lease as it was has
// ended while the call waited for its common lane: a wait longer than a lease would
// make each such call late. It leaves the call late if the lease was not renewed, or
// if the lane was not this host's all the while.
func (b *budget) extend(h *holding) {
	if h.last == 0 || h.since < h.last-afterLease {
		return
	}
	_ = b.update(func(t *Table) { // after an error the call stays late
		l := t.lanes[h.lane]
		if l.lease != away && l.holder == t.self && l.ready <= t.now {
			h.last = t.last()
		}
	})
}

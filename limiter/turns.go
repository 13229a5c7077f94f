package limiter

import "time"

const (
	// maxWaiting is how many processes can be known to wait for lanes of a budget.
	maxWaiting = 16

	// wishes is for how long a process counts as waiting after it found no lane,
	// and wishAgain how often it says so.
	wishes    = 500 * time.Millisecond
	wishAgain = 20 * time.Millisecond

	// idleLane is how long a lane must be ready before a process takes it that has
	// had its share: the others could have taken it, and did not.
	idleLane = 20 * time.Millisecond
)

// A wish is of a member that has found no lane.
//
// By their wishes the processes of a host share lanes evenly: one that has had its
// share of the last second leaves the rest to those that wait. Without that,
// eight processes that had started together kept what each had got first, the
// least 0.79 of the most. (A line in which each waits for its turn made equal
// shares too, but the lanes waited with it: 2 to 3 ms each for a process to wake.)
type wish struct {
	member uint32
	at     time.Duration
}

// share is how many of size lanes this process can have at once while others wait.
func (t *Table) share(size int) int {
	wanting := 1
	for _, w := range t.wishes {
		if w.member != 0 && w.member != t.self && t.now-w.at < wishes {
			wanting++
		}
	}
	return (size + wanting - 1) / wanting
}

// yield says how long this process must leave lane i to others, which is ready.
func (t *Table) yield(i, size int) (wait time.Duration) {
	left := t.lanes[i].ready + idleLane - t.now
	if left <= 0 || t.had() < t.share(size) {
		return 0
	}
	return min(poll, left)
}

// atOnce is how many lanes this process may take in a second: what the others leave,
// and its share at least.
func (t *Table) atOnce() int {
	size, others := t.size(), 0
	share := t.share(size)
	if share == size {
		return size // nobody else waits
	}
	for i := range t.lanes {
		if l := &t.lanes[i]; t.usable(i) && l.user != t.self && (l.holder != 0 || l.ready > t.now) {
			others++
		}
	}
	return max(share, size-others)
}

// had is how many lanes this process has used in the last second.
func (t *Table) had() (n int) {
	for i := range t.lanes {
		if l := &t.lanes[i]; l.user == t.self && (l.holder != 0 || l.ready > t.now) {
			n++
		}
	}
	return n
}

// wish notes that this process waits.
func (t *Table) wish() {
	oldest := 0
	for i, w := range t.wishes {
		if w.member == t.self {
			if t.now-w.at >= wishAgain {
				t.wishes[i].at, t.head = t.now, true
			}
			return
		}
		if w.at < t.wishes[oldest].at {
			oldest = i
		}
	}
	t.wishes[oldest], t.head = wish{t.self, t.now}, true
}

package limiter

import (
	"hash/fnv"
	"time"
)

// wayLasts is for how long a way counts as gone after its last look for a lane, and
// wayAgain how often a process says that it goes it.
const (
	wayLasts = 10 * time.Second
	wayAgain = time.Second
)

// A way is how the calls of a process reach the server, e.g. by a proxy. A rest that
// was shortened by the round trips of one way is too short for who goes another:
// the next call may take less time to arrive. So where two ways are gone, rests
// are not shortened, and those that were already are made longer for the other.
type way struct {
	id uint64
	at time.Duration // when a process that goes it last looked for a lane
}

func wayID(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

// goes notes which way this process goes. The one that was gone longest ago is
// forgotten for it.
func (t *Table) goes(id uint64) {
	at := 0
	for i, w := range t.ways {
		if w.id == id && w.at > 0 {
			at = i
			break
		}
		if w.at < t.ways[at].at {
			at = i
		}
	}
	if w := &t.ways[at]; w.id != id || w.at == 0 || t.now-w.at >= wayAgain {
		*w, t.head = way{id, max(t.now, 1)}, true
	}
}

// mixed says whether more than one way is gone.
func (t *Table) mixed() bool {
	gone := 0
	for _, w := range t.ways {
		if w.at > 0 && t.now-w.at < wayLasts {
			gone++
		}
	}
	return gone > 1
}

// readyHere is when this process may use a lane.
func (t *Table) readyHere(l *lane) time.Duration {
	if l.short && l.user != t.self && t.mixed() {
		return l.ready + t.lease.credit
	}
	return l.ready
}

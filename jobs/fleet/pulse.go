package fleet

import (
	"sync"
	"time"
)

// A pulse says whether the database is there for a host, which looks at it every second or
// two. The zero one has not heard of it yet. It is safe for concurrent use.
type pulse struct {
	mu   sync.Mutex
	last time.Time // under mu
	why  error     // under mu; it has not answered since
}

// beat notes that the database has answered, or why it has not.
func (p *pulse) beat(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why = err; err == nil {
		p.last = time.Now()
	}
}

// Heard says when the database has answered last all that this host needs of it, and what
// is wrong since, if that is known: a database that is away is waited for. The zero time:
// it has not answered yet.
func (p *pulse) Heard() (last time.Time, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last, p.why
}

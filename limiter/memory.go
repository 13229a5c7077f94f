package limiter

import (
	"sync"
	"time"
)

// Memory keeps lanes in this process. They start ready, and are shared by nobody:
// each opening makes new ones.
func Memory() func(key string) (Lanes, error) {
	return func(string) (Lanes, error) { return newMemory(lease{}), nil }
}

type memoryLanes struct {
	start time.Time

	mu     sync.Mutex // held for a whole Update
	table  Table      // under mu
	closed bool       // under mu
}

func newMemory(l lease) *memoryLanes {
	return &memoryLanes{start: time.Now(), table: Table{lease: l}}
}

func (m *memoryLanes) Now() time.Duration { return time.Since(m.start) }

func (m *memoryLanes) Update(n int, f func(*Table)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	t := &m.table
	if len(t.lanes) < n {
		t.lanes = append(t.lanes, make([]lane, n-len(t.lanes))...)
	}
	t.now, t.self = m.Now(), 1
	f(t)
	return nil
}

func (m *memoryLanes) alone() bool { return true }

func (m *memoryLanes) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

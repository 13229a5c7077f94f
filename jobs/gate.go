package jobs

import (
	"context"
	"sync"
)

// A gate stops all calls of a run for a while: the server asks for that after
// too many bad signatures (70050). Whoever shuts it makes the next call alone,
// and opens it when that call has come back.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // under mu; nil while the gate is open
}

// pass waits until the gate is open.
func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut == nil {
		return nil
	}
	select {
	case <-shut:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// close shuts the gate. It says false if somebody else has.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		return false
	}
	g.shut = make(chan struct{})
	return true
}

// open must be called by the one whose close said true.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.shut)
	g.shut = nil
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut != nil
}

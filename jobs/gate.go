package jobs

import (
	"context"
	"sync"
)

// A gate stops all calls of a run for a while: the server asks for that after
// too many bad signatures (70050). Whoever shuts it makes the next call alone,
// and opens it when that call has come back.
type gate struct {
	mu      sync.Mutex
	shut    chan struct{} // under mu; nil while the gate is open
	refused *Refusal      // under mu; of the call that went alone, if it stops the run; nobody passes then
}

// pass waits until the gate is open. Its error is a *Refusal if that is what the call
// before the gate has got.
func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil {
		select {
		case <-shut:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refused != nil {
		return g.refused
	}
	return nil
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

// open must be called by the one whose close said true. refused is what its call got
// if that stops the run: those who wait must not ask again, each for itself.
func (g *gate) open(refused *Refusal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused = refused
	close(g.shut)
	g.shut = nil
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut != nil
}

func (g *gate) isRefused() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refused != nil
}

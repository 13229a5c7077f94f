package jobs

import (
	"context"
	"sync"
)

// A Front is what all runs on one server share: whether it knows us, and the
// gate. The zero value is ready; it is safe for concurrent use.
type Front struct {
	gate gate

	mu      sync.Mutex
	known   bool             // under mu; the server has answered as to one it knows
	refused *RunRefusedError // under mu; or it does not know us
	busy    chan struct{}    // under mu; closed when the one who makes the first call has done; nil: nobody does
}

// introduce says whether the caller is the one to make the first call, alone. If
// somebody else is, it waits for what comes of that: wrong credentials must cost
// one call, however many runs there are. Whoever got true must call introduced.
func (f *Front) introduce(ctx context.Context) (first bool, err error) {
	for {
		f.mu.Lock()
		busy := f.busy
		switch {
		case f.refused != nil:
			err = f.refused
		case !f.known && busy == nil:
			f.busy, first = make(chan struct{}), true
		}
		done := f.known || first || err != nil
		f.mu.Unlock()
		if done {
			return first, err
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// Refused reports whether the server was seen to refuse us: all runs that share f are
// refused from then on, without a call. What lasts longer than its runs makes a new one
// for the next: what was refused may have been mended meanwhile.
func (f *Front) Refused() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refused != nil || f.gate.isRefused()
}

// introduced says what came of the first call: the server knows us, or refuses
// us, or nothing is known yet.
func (f *Front) introduced(known bool, refused *RunRefusedError) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known, f.refused = known, refused
	close(f.busy)
	f.busy = nil
}

package jobs

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatbatch/io/chat/chatsim"
	"chatbatch/io/ledger"
)

// A dealer deals the chunks that it is given.
type dealer struct {
	*memoryLedger
	dealt chan ledger.Chunk
}

func (d dealer) Deal(ctx context.Context, _ int) []ledger.Chunk {
	select {
	case c := <-d.dealt:
		return []ledger.Chunk{c}
	case <-ctx.Done():
		return nil
	}
}

// Chunks may come one by one, whenever somebody deals one. The run ends when it is to
// stop, or when something is wrong, also while it waits for the next.
func TestDealt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, chatsim.Scenario{Open: true, Latency: 30 * time.Millisecond}, nil)
		d := dealer{s.ledger, make(chan ledger.Chunk)}
		var known atomic.Int64
		s.runner.Ledger, s.runner.Known = d, func() { known.Add(1) }
		chunks := chunksOf(25)
		s.ledger.chunks = chunks
		ctx, stop := context.WithCancelCause(t.Context())
		ended := make(chan error)
		go func() { ended <- s.runner.Run(ctx) }()
		for _, c := range chunks[:20] {
			time.Sleep(100 * time.Millisecond)
			d.dealt <- c
		}
		time.Sleep(time.Second)
		s.ledger.mu.Lock()
		n := len(s.ledger.outcomes)
		s.ledger.mu.Unlock()
		if n != 20 || known.Load() != 1 {
			t.Errorf("%d chunks settled, want 20; known %d times", n, known.Load())
		}
		stop(errors.New("enough"))
		if err := <-ended; err != nil {
			t.Errorf("stopped with nothing in hand: got %v", err)
		}

		broken := errors.New("broken")
		s.ledger.failOn[22] = broken
		go func() { ended <- s.runner.Run(t.Context()) }()
		d.dealt <- chunks[20]
		d.dealt <- chunks[21]
		if err := <-ended; !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	})
}

package jobs

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
)

// A lockedOut server locks the admin out in the midst of a run, and keeps it so.
type lockedOut struct {
	Kind
	calls [2]atomic.Int32 // refused: within the minute, and behind it
	since atomic.Int64
}

func (k *lockedOut) Settle(ctx context.Context, call *Caller, c ledger.Chunk) (Result, error) {
	err := call.Do(ctx, "api", anyRetries, func(context.Context) error {
		time.Sleep(50 * time.Millisecond)
		if c.ID <= 100 {
			return nil
		}
		now := time.Now().UnixNano()
		k.since.CompareAndSwap(0, now)
		when := 0
		if time.Duration(now-k.since.Load()) >= time.Minute {
			when = 1
		}
		k.calls[when].Add(1)
		return refuse(70050)
	})
	return Result{Outcomes: sameOutcome(ledger.Outcome{}, len(c.Entries))}, err
}

// When the minute is over one call asks whether the lock-out is, and if not, the
// run stops: another would only make it longer.
func TestLockOutForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		door, _ := newDoor()
		k := &lockedOut{}
		l := newMemoryLedger(chunksOf(1000))
		r := &Runner{Kind: k, Ledger: l, Workers: 64, Grace: time.Second, Door: door}
		err := r.Run(t.Context())
		if refused, ok := errors.AsType[*RunRefusedError](err); !ok || chat.CodeOf(refused) != 70050 {
			t.Errorf("got %v", err)
		}
		if first, later := k.calls[0].Load(), k.calls[1].Load(); first > 64 || later != 1 {
			t.Errorf("%d calls were refused, and %d when the minute was over; want one a worker, and one", first, later)
		}
		if n := len(l.outcomes); n != 100 {
			t.Errorf("%d chunks are settled, want 100", n)
		}
	})
}

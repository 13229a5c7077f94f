package jobs

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatbatch/io/chat"
	"chatbatch/io/chat/chatsim"
	"chatbatch/io/ledger"
	"chatbatch/io/roster"
)

// openText opens a roster in CSV.
func openText(t testing.TB, text string) *Input {
	t.Helper()
	in, err := OpenMarks(strings.NewReader(text), roster.Options{Format: roster.CSV})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// A memoryPlan keeps a plan.
type memoryPlan struct {
	source map[int64]string
	failed map[int64]ledger.Outcome
	chunks []ledger.Chunk
}

func newMemoryPlan() *memoryPlan {
	return &memoryPlan{source: map[int64]string{}, failed: map[int64]ledger.Outcome{}}
}

func (p *memoryPlan) PlanSource(num, line int64, raw string) error {
	p.source[num] = raw
	return nil
}

func (p *memoryPlan) PlanFailed(num int64, o ledger.Outcome) error {
	if _, twice := p.failed[num]; twice {
		return fmt.Errorf("row %d failed twice", num)
	}
	p.failed[num] = o
	return nil
}

func (p *memoryPlan) PlanChunk(group string, entries []ledger.Entry) error {
	c := ledger.Chunk{ID: int64(len(p.chunks) + 1), Group: group}
	for _, e := range entries {
		e.Data, e.Rows = slices.Clone(e.Data), slices.Clone(e.Rows)
		c.Entries = append(c.Entries, e)
	}
	p.chunks = append(p.chunks, c)
	return nil
}

// A memoryLedger is a ledger without a disk.
type memoryLedger struct {
	mu       sync.Mutex
	chunks   []ledger.Chunk
	sent     map[int64]bool
	outcomes map[int64][]ledger.Outcome
	notes    map[int64][]byte
	entries  map[int64]map[int]ledger.Outcome // settled one by one
	doubts   map[int64]map[int]bool           // entries that are sent and not settled
	kept     [][]byte
	cost     ledger.Cost
	failOn   map[int64]error // of Settle, by chunk
}

func newMemoryLedger(chunks []ledger.Chunk) *memoryLedger {
	return &memoryLedger{chunks: chunks, sent: map[int64]bool{}, outcomes: map[int64][]ledger.Outcome{}, failOn: map[int64]error{},
		notes: map[int64][]byte{}, entries: map[int64]map[int]ledger.Outcome{}, doubts: map[int64]map[int]bool{}}
}

func (l *memoryLedger) Pending(ctx context.Context) iter.Seq2[ledger.Chunk, error] {
	return func(yield func(ledger.Chunk, error) bool) {
		for _, c := range l.chunks {
			if ctx.Err() != nil {
				yield(ledger.Chunk{}, ctx.Err())
				return
			}
			l.mu.Lock()
			_, settled := l.outcomes[c.ID]
			c.InDoubt = l.sent[c.ID] || len(l.doubts[c.ID]) > 0
			c.Settled = maps.Clone(l.entries[c.ID])
			l.mu.Unlock()
			if !settled && !yield(c, nil) {
				return
			}
		}
	}
}

func (l *memoryLedger) Sent(_ context.Context, chunk int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[chunk] = true
	return nil
}

func (l *memoryLedger) Unsent(_ context.Context, chunk int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sent, chunk)
	return nil
}

func (l *memoryLedger) SentEntry(_ context.Context, chunk int64, entry int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.doubts[chunk] == nil {
		l.doubts[chunk] = map[int]bool{}
	}
	l.doubts[chunk][entry] = true
	return nil
}

func (l *memoryLedger) UnsentEntry(_ context.Context, chunk int64, entry int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.doubts[chunk], entry)
	return nil
}

func (l *memoryLedger) SettleEntry(_ context.Context, chunk int64, entry int, o ledger.Outcome, c ledger.Cost) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, twice := l.entries[chunk][entry]; twice {
		return fmt.Errorf("entry %d of chunk %d is settled twice", entry, chunk)
	}
	if l.entries[chunk] == nil {
		l.entries[chunk] = map[int]ledger.Outcome{}
	}
	l.entries[chunk][entry] = o
	delete(l.doubts[chunk], entry)
	l.cost.Calls += c.Calls
	l.cost.Retries += c.Retries
	return nil
}

// Keep keeps data in memory. A span is the place of its piece.
func (l *memoryLedger) Keep(_ context.Context, data []byte) (ledger.Span, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, slices.Clone(data))
	return ledger.Span{Offset: int64(len(l.kept) - 1), Length: int64(len(data))}, nil
}

func (l *memoryLedger) SettleWith(_ context.Context, chunk int64, outcomes []ledger.Outcome, note []byte, c ledger.Cost) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.failOn[chunk]; err != nil {
		return err
	}
	if _, twice := l.outcomes[chunk]; twice {
		return fmt.Errorf("chunk %d is settled twice", chunk)
	}
	l.outcomes[chunk], l.notes[chunk] = outcomes, note
	l.cost.Calls += c.Calls
	l.cost.Retries += c.Retries
	return nil
}

// openLimiter lets every call pass, and counts.
type openLimiter struct {
	mu      sync.Mutex
	taken   int
	ended   int
	slowed  []string
	answers int
}

func (l *openLimiter) Take(ctx context.Context, api string) (func(time.Duration, bool), func() bool, error) {
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken++
	return func(_ time.Duration, answered bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.ended++
		if answered {
			l.answers++
		}
	}, never, nil
}

// never is when calls are too late that have their turn from no limiter.
func never() bool { return false }

func (l *openLimiter) TakeAhead(ctx context.Context, api string) (func(time.Duration, bool), func() bool, error) {
	return l.Take(ctx, api)
}

func (l *openLimiter) SlowDown(api string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slowed = append(l.slowed, api)
}

// newDoor makes a door whose waits are as in production.
func newDoor() (*Door, *openLimiter) {
	l := &openLimiter{}
	return &Door{Limiter: l, Retry: DefaultRetry(), Meter: &Meter{}}, l
}

// refuse is an answer with an ErrorCode.
func refuse(code chat.Code) error {
	return &chat.Error{Command: "test", Code: code, Info: "as the test wants it"}
}

// useAtWork is the share of qps calls a second that arrived while there was work
// for all: until nine tenths of the calls were there. Behind that may be a lonely
// row that was refused several times and waits for its next attempt.
func useAtWork(calls []chatsim.Call, qps int) float64 {
	last := len(calls) * 9 / 10
	return float64(last) / calls[last].At.Sub(calls[0].At).Seconds() / float64(qps)
}

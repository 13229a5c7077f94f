package jobs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatbatch/io/chat"
	"chatbatch/io/chat/chatsim"
)

// together are n runs on one server, each of its own kind and with its own
// ledger, that share its front.
func together(t *testing.T, sc chatsim.Scenario, n int) ([]*stage, *chatsim.Sim) {
	t.Helper()
	front := &Front{}
	all := make([]*stage, n)
	for i := range all {
		switch i % 3 {
		case 0:
			all[i] = newStage(t, sc, chunksOf(30))
		case 1:
			all[i] = kindStage(t, sc, unreadChunks(t, unreadRows(30, 3), 0), func(c *chat.Client, _ *memoryLedger) Kind {
				return SetUnread(c, i%2 == 0, func(string) {})
			})
		case 2:
			all[i] = kindStage(t, sc, groupChunks(numbered("g", 30)...), func(c *chat.Client, l *memoryLedger) Kind { return ExportMembers(c, l, MembersOptions{}) })
		}
		all[i].runner.Door.Front = front
		all[i].client.HTTP = all[0].client.HTTP
	}
	return all, all[0].sim
}

// first counts the calls that left before the first one was answered.
type first struct {
	next  http.RoundTripper
	early atomic.Int64
	back  atomic.Bool
}

func (f *first) RoundTrip(r *http.Request) (*http.Response, error) {
	if !f.back.Load() {
		f.early.Add(1)
	}
	answer, err := f.next.RoundTrip(r)
	f.back.Store(true)
	return answer, err
}

// runAll runs them side by side and returns how each ended.
func runAll(ctx context.Context, all []*stage) []error {
	ends := make([]error, len(all))
	var wg sync.WaitGroup
	for i, s := range all {
		wg.Go(func() { ends[i] = s.runner.Run(ctx) })
	}
	wg.Wait()
	return ends
}

// Wrong credentials cost one call, however many runs there are, and each of them
// says why it ended.
func TestFrontWrongCredentialsCostOneCall(t *testing.T) {
	for _, n := range []int{1, 2, 7, 40} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all, sim := together(t, chatsim.Scenario{Open: true, SDKAppID: 1400000001, SecretKey: "another", Latency: 100 * time.Millisecond}, n)
				for _, s := range all {
					s.client.Signer = chat.NewKeySigner(1400000001, "administrator", "wrong", time.Hour)
				}
				for i, err := range runAll(t.Context(), all) {
					if r, ok := errors.AsType[*RunRefusedError](err); !ok || chat.CodeOf(r) == 0 {
						t.Errorf("run %d: got %v, want a RunRefusedError", i, err)
					}
					if l := all[i].ledger; len(l.outcomes)+len(l.sent)+len(l.rowOutcomes())+l.inDoubt() > 0 {
						t.Errorf("run %d: something is settled or in doubt", i)
					}
				}
				if calls := sim.Counts().Calls; calls != 1 {
					t.Errorf("%d calls, want 1", calls)
				}
			})
		})
	}
}

// The others wait for the first call, and go on when it was accepted.
func TestFrontOneGoesAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, sim := together(t, chatsim.Scenario{Open: true, Latency: 100 * time.Millisecond}, 9)
		f := &first{next: all[0].client.HTTP.Transport}
		for _, s := range all {
			s.client.HTTP = &http.Client{Transport: f}
		}
		for i, err := range runAll(t.Context(), all) {
			if err != nil {
				t.Errorf("run %d: got %v", i, err)
			}
			if n := len(all[i].ledger.rowOutcomes()); n != 30 {
				t.Errorf("run %d: %d rows of 30 are settled", i, n)
			}
		}
		if f.early.Load() != 1 || sim.Counts().Calls < 9*30 {
			t.Errorf("%d of %d calls left before the first was answered", f.early.Load(), sim.Counts().Calls)
		}
	})
}

// Who waits may be stopped, and leaves nobody waiting.
func TestFrontCancelledWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, _ := together(t, chatsim.Scenario{Open: true, Latency: 5 * time.Second}, 3)
		ends := make(chan error, 2)
		go func() { ends <- all[0].runner.Run(t.Context()) }()
		synctest.Wait()
		go func() { ends <- all[2].runner.Run(t.Context()) }()
		time.Sleep(time.Second)
		begin := time.Now()
		if err := all[1].interruptAt(t, time.Second); !errors.Is(err, errInterrupted) || time.Since(begin) > 1500*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(begin))
		}
		if l := all[1].ledger; len(l.rowOutcomes())+l.inDoubt() > 0 {
			t.Error("something is settled or in doubt")
		}
		for range 2 {
			if err := <-ends; err != nil {
				t.Errorf("got %v", err)
			}
		}
	})
}

// If nothing is known of the first call's end, the next in line makes its own:
// when the first run is stopped, and when its server cannot be reached.
func TestFrontNextInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, _ := together(t, chatsim.Scenario{Open: true, Latency: 5 * time.Second}, 2)
		all[0].runner.Grace = 500 * time.Millisecond
		end := make(chan error, 1)
		go func() { end <- all[0].interruptAt(t, time.Second) }()
		time.Sleep(100 * time.Millisecond)
		if err := all[1].runner.Run(t.Context()); err != nil || len(all[1].ledger.rowOutcomes()) != 30 {
			t.Errorf("got %v with %d rows", err, len(all[1].ledger.rowOutcomes()))
		}
		if err := <-end; !errors.Is(err, errInterrupted) {
			t.Errorf("the first: got %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		all, _ := together(t, chatsim.Scenario{Open: true, Faults: []chatsim.Fault{{Kind: chatsim.KindReset, Rate: 1}}}, 6)
		for i, err := range runAll(t.Context(), all) {
			if !isGuard(err) || len(all[i].ledger.rowOutcomes()) > 0 {
				t.Errorf("run %d: got %v", i, err)
			}
		}
	})
}

// Of many who come at once one is first, each time that nothing is known.
func TestFrontIntroduce(t *testing.T) {
	var f Front
	var at, firsts atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			first, err := f.introduce(t.Context())
			if err != nil {
				t.Errorf("got %v", err)
			}
			if !first {
				return
			}
			if at.Add(1) != 1 {
				t.Error("two are first")
			}
			n := firsts.Add(1)
			at.Add(-1)
			f.introduced(n == 5, nil) // the first four come to nothing
		})
	}
	wg.Wait()
	if n := firsts.Load(); n != 5 {
		t.Errorf("%d were first, want 5", n)
	}
	why := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	var busy Front
	if first, err := busy.introduce(t.Context()); !first || err != nil {
		t.Errorf("got %v, %v", first, err)
	}
	if first, err := busy.introduce(ctx); first || !errors.Is(err, why) {
		t.Errorf("got %v, %v", first, err)
	}
	busy.introduced(false, &RunRefusedError{&Refusal{Err: refuse(70009)}})
	if first, err := busy.introduce(t.Context()); first || chat.CodeOf(err) != 70009 {
		t.Errorf("got %v, %v", first, err)
	}
}

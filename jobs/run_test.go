package jobs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"chatbatch/io/chat"
	"chatbatch/io/chat/chatsim"
	"chatbatch/io/ledger"
	"chatbatch/limiter"
)

// A stage is a run against the simulator, without a port, inside a bubble.
type stage struct {
	sim    *chatsim.Sim
	client *chat.Client
	ledger *memoryLedger
	runner *Runner
	lim    *limiter.Limiter
}

func newStage(t *testing.T, sc chatsim.Scenario, chunks []ledger.Chunk) *stage {
	t.Helper()
	sim, err := chatsim.New(sc)
	if err != nil {
		t.Fatal(err)
	}
	key := sc.SecretKey
	if key == "" {
		key = "key"
	}
	signer := chat.NewKeySigner(1400000001, "administrator", key, time.Hour)
	client := &chat.Client{
		Endpoint: "https://sim.invalid", SDKAppID: 1400000001, Identifier: "administrator",
		Signer: signer, HTTP: &http.Client{Transport: sim},
	}
	lim, err := limiter.New(limiter.Options{QPS: 200, Key: "1400000001"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lim.Close() })
	l := newMemoryLedger(chunks)
	return &stage{sim, client, l, &Runner{
		Kind: SetMarks(client, 0), Ledger: l, Workers: 64, Grace: 15 * time.Second,
		Door: &Door{Limiter: lim.Queue(), Retry: DefaultRetry(), Renew: signer.Renew, Meter: &Meter{}},
	}, lim}
}

// chunksOf makes chunks of one account each, in groups of ten.
func chunksOf(n int) []ledger.Chunk {
	var all []ledger.Chunk
	for i := range n {
		all = append(all, ledger.Chunk{ID: int64(i + 1), Group: fmt.Sprintf("@TGS#g%d", i/10), Entries: []ledger.Entry{
			{Account: fmt.Sprintf("user%d", i), Data: encodeMarks(nil, []uint64{1000}), Rows: []int64{int64(i)}},
		}})
	}
	return all
}

// Two minutes' work with refusals and lost answers: all of it is settled as
// it should be, the ceiling holds at the server, and the budget is used.
func TestMinutesAtTheCeiling(t *testing.T) {
	const chunks = 22_000
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, chatsim.Scenario{
			Open: true, QPS: -1, Latency: 30 * time.Millisecond, Jitter: 4 * time.Millisecond, Seed: 1, Record: true,
			Faults: []chatsim.Fault{
				{Kind: chatsim.KindCode, Code: 10002, Rate: 0.05},
				{Kind: chatsim.KindLost, Rate: 0.01},
				{Kind: chatsim.KindSlow, Rate: 0.0002, Delay: 9 * time.Second},
			},
		}, chunksOf(chunks))
		begin := time.Now()
		if err := s.runner.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		took := time.Since(begin)
		for id, o := range s.ledger.outcomes {
			if len(o) != 1 || o[0].Class != "" {
				t.Fatalf("chunk %d: got %+v", id, o)
			}
		}
		if len(s.ledger.outcomes) != chunks {
			t.Errorf("%d chunks are settled, want %d", len(s.ledger.outcomes), chunks)
		}
		counts, use := s.sim.Counts(), useAtWork(s.sim.Calls(), 200)
		t.Logf("%d calls in %v: %.2f %% of the budget, at most %d in one second", counts.Calls, took, 100*use, counts.MaxInOneSecond)
		if counts.MaxInOneSecond > 200 || use < 0.98 {
			t.Errorf("got %d in one second, %.4f of the budget", counts.MaxInOneSecond, use)
		}
		if int(counts.Calls) != s.ledger.cost.Calls || counts.Calls > chunks*115/100 {
			t.Errorf("the server has seen %d calls, the ledger has %d, for %d chunks", counts.Calls, s.ledger.cost.Calls, chunks)
		}
	})
}

func TestWrongCredentialsCostOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, chatsim.Scenario{Open: true, SDKAppID: 1400000001, SecretKey: "another"}, chunksOf(1000))
		s.client.Signer = chat.NewKeySigner(1400000001, "administrator", "wrong", time.Hour)
		err := s.runner.Run(t.Context())
		if _, ok := errors.AsType[*RunRefusedError](err); !ok {
			t.Errorf("got %v, want a RunRefusedError", err)
		}
		if n := int(s.sim.Counts().Calls); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		if len(s.ledger.outcomes)+len(s.ledger.sent) > 0 {
			t.Errorf("%d settled, %d in doubt, want none", len(s.ledger.outcomes), len(s.ledger.sent))
		}
	})
}

// A signature that the server takes for expired in the middle of a run is
// renewed once, not once a worker.
func TestExpiredSignatureIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, chatsim.Scenario{
			Open: true, Latency: 20 * time.Millisecond,
			Faults: []chatsim.Fault{{Kind: chatsim.KindCode, Code: 70001, After: 100, Count: 4}},
		}, chunksOf(500))
		if err := s.runner.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(s.ledger.outcomes) != 500 {
			t.Errorf("%d settled", len(s.ledger.outcomes))
		}
	})
}

func TestGuards(t *testing.T) {
	for _, test := range []struct {
		name    string
		sc      chatsim.Scenario
		errors  string
		settled int // at most
	}{
		{"too many failures", chatsim.Scenario{Open: true, OfflineRate: 1, Latency: 20 * time.Millisecond}, "10", 100},
		{"no answer from anybody", chatsim.Scenario{Open: true, Faults: []chatsim.Fault{{Kind: chatsim.KindReset, Rate: 1}}}, "", 0},
		{"no answer any more", chatsim.Scenario{Open: true, Faults: []chatsim.Fault{{Kind: chatsim.KindReset, Rate: 1, After: 300}}}, "", 300},
		{"10002 for ever", chatsim.Scenario{Open: true, Faults: []chatsim.Fault{{Kind: chatsim.KindCode, Rate: 1}}}, "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, test.sc, chunksOf(2000))
				s.runner.MaxErrors, _ = ParseLimit(test.errors)
				s.runner.Rows = 2000
				err := s.runner.Run(t.Context())
				if _, ok := errors.AsType[*GuardError](err); !ok {
					t.Errorf("got %v, want a GuardError", err)
				}
				if n := len(s.ledger.outcomes); n > test.settled {
					t.Errorf("%d chunks are settled, want at most %d", n, test.settled)
				}
			})
		})
	}
}

func TestGroupThatIsNotThereCostsOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, chatsim.Scenario{Groups: []chatsim.Group{{ID: "@TGS#g1", Generate: chatsim.Generate{Prefix: "user", Count: 30}}}}, chunksOf(30))
		s.runner.Workers = 1
		if err := s.runner.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := int(s.sim.Counts().Calls); n != 1+10+1 {
			t.Errorf("%d calls, want 1 for each missing group and 10 for the other", n)
		}
		for id, o := range s.ledger.outcomes {
			want := chat.ClassGroupNotFound
			if id > 10 && id <= 20 {
				want = ""
			}
			if o[0].Class != want {
				t.Errorf("chunk %d: got %q, want %q", id, o[0].Class, want)
			}
		}
	})
}

func TestNoPermissionInAnyGroupStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, chatsim.Scenario{Open: true, Faults: []chatsim.Fault{{Kind: chatsim.KindCode, Code: 10007, Rate: 1}}}, chunksOf(1000))
		err := s.runner.Run(t.Context())
		if r, ok := errors.AsType[*RunRefusedError](err); !ok || chat.CodeOf(r) != 10007 {
			t.Errorf("got %v, want the run refused by 10007", err)
		}
	})
}

// Calls under way when the run is to stop may come back within the grace time.
func TestStop(t *testing.T) {
	for _, test := range []struct {
		name    string
		latency time.Duration
		took    time.Duration
		settled bool
	}{
		{"they come back", 5 * time.Second, 5 * time.Second, true},
		{"they do not", 9 * time.Second, 8 * time.Second, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, chatsim.Scenario{Open: true, Latency: test.latency}, chunksOf(1000))
				s.runner.Grace = 5 * time.Second
				why := errors.New("interrupted")
				ctx, cancel := context.WithCancelCause(t.Context())
				// The canary is back; the workers' calls are under way.
				time.AfterFunc(test.latency+2*time.Second, func() { cancel(why) })
				begin := time.Now()
				err := s.runner.Run(ctx)
				if !errors.Is(err, why) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(begin) - test.latency - 2*time.Second; took > 5*time.Second {
					t.Errorf("it took %v to stop", took)
				}
				synctest.Wait()
				counts := s.sim.Counts()
				if test.settled && len(s.ledger.outcomes) != int(counts.Calls) {
					t.Errorf("%d chunks are settled after %d calls", len(s.ledger.outcomes), counts.Calls)
				}
				if !test.settled && len(s.ledger.outcomes) != 1 {
					t.Errorf("%d chunks are settled, want the canary's", len(s.ledger.outcomes))
				}
				// What was never sent is not in doubt.
				if doubt := len(s.ledger.sent) - len(s.ledger.outcomes); doubt > int(counts.Calls)-len(s.ledger.outcomes) {
					t.Errorf("%d chunks are in doubt after %d calls, %d settled", doubt, counts.Calls, len(s.ledger.outcomes))
				}
			})
		})
	}
}

func TestLedgerErrorStopsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, chatsim.Scenario{Open: true}, chunksOf(500))
		full := errors.New("no space left on device")
		s.ledger.failOn[50] = full
		if err := s.runner.Run(t.Context()); !errors.Is(err, full) {
			t.Errorf("got %v", err)
		}
		if n := len(s.ledger.outcomes); n >= 499 {
			t.Errorf("%d chunks are settled after that", n)
		}
	})
}

// A stop while the canary is under way is a stop, not an end.
func TestStopDuringTheCanary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, chatsim.Scenario{Open: true, Latency: 3 * time.Second}, chunksOf(5))
		why := errors.New("interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(1500*time.Millisecond, func() { cancel(why) })
		if err := s.runner.Run(ctx); !errors.Is(err, why) || len(s.ledger.outcomes) != 1 {
			t.Errorf("got %v with %d chunks settled", err, len(s.ledger.outcomes))
		}
	})
}

// A first group that is not there says enough of the credentials.
func TestRefusedGroupsDoNotKeepTheWorkersWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, chatsim.Scenario{Latency: time.Second}, chunksOf(400)) // of 40 groups
		begin := time.Now()
		if err := s.runner.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestALimiterThatFailsStopsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, chatsim.Scenario{Open: true}, chunksOf(5))
		s.lim.Close()
		err := s.runner.Run(t.Context())
		if _, ok := errors.AsType[*GuardError](err); !ok || len(s.ledger.outcomes)+len(s.ledger.sent) > 0 {
			t.Errorf("got %v", err)
		}
	})
}

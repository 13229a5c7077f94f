package jobs

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"chatbatch/io/chat"
	"chatbatch/io/chat/chatsim"
)

// The budget is used, whether a chunk is large or small, and never exceeded.
func TestUnreadUsesTheBudget(t *testing.T) {
	const rows = 6000
	for _, test := range []struct {
		name         string
		groups, size int
	}{{"few large chunks", 3, 2000}, {"one chunk", 1, rows}, {"many small ones", rows / 2, 2}, {"chunks of 500", 12, 500}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := unreadStage(t, chatsim.Scenario{
					Open: true, QPS: -1, Latency: 30 * time.Millisecond, Jitter: 4 * time.Millisecond, Seed: 1, Record: true,
					Faults: []chatsim.Fault{{Kind: chatsim.KindCode, Code: 10002, Rate: 0.05}, {Kind: chatsim.KindLost, Rate: 0.01}},
				}, unreadChunks(t, unreadRows(rows, test.groups), test.size))
				c := s.watch()
				if err := s.runner.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				counts, use := s.sim.Counts(), useAtWork(s.sim.Calls(), 200)
				t.Logf("%.2f %% of the budget, at most %d in one second, %d at once", 100*use, counts.MaxInOneSecond, c.most)
				if counts.MaxInOneSecond > 200 || use < 0.98 {
					t.Errorf("got %d in one second, %.4f of the budget", counts.MaxInOneSecond, use)
				}
				if c.most > s.runner.Workers {
					t.Errorf("%d calls at once with %d workers", c.most, s.runner.Workers)
				}
				if calls := int(counts.ByCommand[chat.CommandSetUnread]); calls != s.ledger.cost.Calls || calls > rows*115/100 {
					t.Errorf("%d calls for %d rows, the ledger has %d", calls, rows, s.ledger.cost.Calls)
				}
				if got := len(s.ledger.rowOutcomes()); got != rows || len(s.ledger.outcomes) != len(s.ledger.chunks) {
					t.Errorf("%d rows are settled", got)
				}
			})
		})
	}
}

// A server that is slow is asked by all workers at once, and by no more.
func TestUnreadWithFewWorkers(t *testing.T) {
	for _, workers := range []int{1, 2, 7} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := unreadStage(t, chatsim.Scenario{Open: true, Latency: time.Second}, unreadChunks(t, unreadRows(140, 20), 0))
				s.runner.Workers = workers
				c := s.watch()
				begin := time.Now()
				if err := s.runner.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				if c.most != workers {
					t.Errorf("%d calls at once, want %d", c.most, workers)
				}
				// One look, and the first row alone.
				if took, most := time.Since(begin), time.Duration(2+(139+workers-1)/workers+3)*time.Second; took > most {
					t.Errorf("it took %v, want at most %v", took, most)
				}
			})
		})
	}
}

// A stop leaves what is settled settled, and no more in doubt than was under
// way; a later run sends the rest.
func TestUnreadStopAndGoOn(t *testing.T) {
	const rows = 3000
	for _, test := range []struct {
		name    string
		latency time.Duration
		grace   time.Duration
		size    int
		doubt   int // at most
	}{
		{"calls come back", 300 * time.Millisecond, 15 * time.Second, 500, 0},
		{"calls come back, one chunk", 300 * time.Millisecond, 15 * time.Second, rows, 0},
		{"calls do not come back", 7 * time.Second, time.Second, 500, 64},
		{"many chunks", 7 * time.Second, time.Second, 10, 64},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				groups := (rows + test.size - 1) / test.size
				s := unreadStage(t, chatsim.Scenario{Open: true, Latency: test.latency}, unreadChunks(t, unreadRows(rows, groups), test.size))
				s.runner.Grace = test.grace
				if err := s.interruptAt(t, 5*test.latency+3*time.Second); !errors.Is(err, errInterrupted) {
					t.Errorf("got %v", err)
				}
				synctest.Wait()
				first := s.sim.Counts()
				settled, doubt := len(s.ledger.rowOutcomes()), s.ledger.inDoubt()
				t.Logf("%d calls, %d rows settled, %d in doubt", first.Calls, settled, doubt)
				if settled == 0 || settled == rows || doubt > test.doubt {
					t.Errorf("%d of %d rows are settled, %d in doubt", settled, rows, doubt)
				}
				if sent := int(first.ByCommand[chat.CommandSetUnread]); sent != settled+doubt {
					t.Errorf("%d calls, for %d settled and %d in doubt", sent, settled, doubt)
				}
				again := *newRunnerLike(s.runner)
				again.Kind = SetUnread(s.client, true, func(text string) { t.Errorf("it said %q", text) })
				if err := again.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				if sent := int(s.sim.Counts().ByCommand[chat.CommandSetUnread]); sent != rows+doubt || len(s.ledger.rowOutcomes()) != rows {
					t.Errorf("%d calls in all for %d rows, %d of them in doubt", sent, rows, doubt)
				}
			})
		})
	}
}

// newRunnerLike is what the next process has.
func newRunnerLike(r *Runner) *Runner {
	return &Runner{
		Kind: r.Kind, Ledger: r.Ledger, Workers: r.Workers, Grace: r.Grace, MaxErrors: r.MaxErrors, Rows: r.Rows,
		Door: &Door{Limiter: r.Door.Limiter, Retry: r.Door.Retry, Renew: r.Door.Renew, Meter: &Meter{}},
	}
}

// A guard stops the run in the middle of a chunk; what is settled stays so.
func TestUnreadGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := unreadStage(t, chatsim.Scenario{Latency: 100 * time.Millisecond, Groups: []chatsim.Group{{ID: "g1", Type: "Public"}}},
			unreadChunks(t, unreadRows(1000, 1), 0))
		s.runner.MaxErrors, s.runner.Rows = Limit{Most: 50, Set: true}, 1000
		err := s.runner.Run(t.Context())
		if _, ok := errors.AsType[*GuardError](err); !ok {
			t.Errorf("got %v, want a GuardError", err)
		}
		n, doubt := len(s.ledger.rowOutcomes()), s.ledger.inDoubt()
		if sent := int(s.sim.Counts().ByCommand[chat.CommandSetUnread]); n < 51 || doubt > 64 || sent != n+doubt {
			t.Errorf("%d rows are settled after %d calls, %d in doubt", n, sent, doubt)
		}
		// The next process counts what had failed before.
		again := newRunnerLike(s.runner)
		again.Failed = int64(n)
		if err := again.Run(t.Context()); err == nil {
			t.Error("it went on")
		}
		if more := len(s.ledger.rowOutcomes()) - n; more > 64 {
			t.Errorf("%d rows more have failed", more)
		}
	})
}

// A group that is refused in the middle costs no more calls, also for rows of
// chunks that are settled in part.
func TestUnreadGroupRefusedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := kindStage(t, chatsim.Scenario{Open: true, Latency: 10 * time.Millisecond, Faults: []chatsim.Fault{
			{Command: chat.CommandSetUnread, Kind: chatsim.KindCode, Code: 10010, After: 100, Rate: 1},
		}}, unreadChunks(t, unreadRows(2000, 1), 0), func(c *chat.Client, _ *memoryLedger) Kind { return SetUnread(c, false, nil) })
		if err := s.runner.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		ok := 0
		for num, o := range s.ledger.rowOutcomes() {
			switch o.Class {
			case "":
				ok++
			case chat.ClassGroupNotFound:
			default:
				t.Errorf("row %d: %+v", num, o)
			}
		}
		calls := int(s.sim.Counts().Calls)
		if ok != 100 || calls > 100+64 || len(s.ledger.rowOutcomes()) != 2000 {
			t.Errorf("%d rows succeeded after %d calls", ok, calls)
		}
		if got := s.runner.Door.Meter.Read(); got.Succeeded != 100 || got.Failed != 1900 {
			t.Errorf("the meter shows %d and %d", got.Succeeded, got.Failed)
		}
	})
}

package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
)

// A room is a model of the server: who is online, who spoils a call, and what
// it answers.
type room struct {
	online     map[string]bool
	poison     map[string]bool
	poisonCode chat.Code
	offCode    chat.Code // when all of a call are offline
	most       int       // accounts a call; 0: any number
	truncated  bool      // the online list is not the whole one
	listFails  error
	group      error // answer to every call
	calls      int
	lists      int
}

func (r *room) send(_ context.Context, _ string, entries []ledger.Entry) ([]ledger.Outcome, error) {
	r.calls++
	if r.group != nil {
		return nil, r.group
	}
	if r.most > 0 && len(entries) > r.most {
		return nil, refuse(10005)
	}
	out := make([]ledger.Outcome, len(entries))
	any := false
	for i, e := range entries {
		if r.poison[e.Account] {
			return nil, refuse(r.poisonCode)
		}
		if any = any || r.online[e.Account]; !r.online[e.Account] {
			out[i] = ledger.Outcome{Class: ClassOffline}
		}
	}
	if !any {
		return nil, refuse(r.offCode)
	}
	return out, nil
}

func (r *room) list(ctx context.Context, call *Caller, _ string, _ int) (map[string]bool, bool, error) {
	for range 3 { // as many pages as a real one
		r.lists++
		if err := call.Do(ctx, "list", anyRetries, func(context.Context) error { return r.listFails }); err != nil {
			return nil, false, err
		}
	}
	return r.online, !r.truncated, nil
}

func (r *room) batch(budget int) *batch {
	return &batch{api: "mark", send: r.send, online: r.list, needsOnline: func(ledger.Entry) bool { return true }, budget: budget}
}

func members(n int) (ledger.Chunk, map[string]bool) {
	c := ledger.Chunk{ID: 1, Group: "g"}
	online := map[string]bool{}
	for i := range n {
		a := fmt.Sprintf("a%03d", i)
		c.Entries = append(c.Entries, ledger.Entry{Account: a, Rows: []int64{int64(i)}})
		online[a] = true
	}
	return c, online
}

// settle settles one chunk in a bubble, where waiting costs nothing.
func (r *room) settle(t *testing.T, c ledger.Chunk, budget int) (out []ledger.Outcome, cost ledger.Cost, err error) {
	synctest.Test(t, func(t *testing.T) {
		door, _ := newDoor()
		call := &Caller{door: door, hard: t.Context()}
		out, err = r.batch(budget).settle(t.Context(), call, c)
		cost = call.Cost
	})
	return out, cost, err
}

func classes(out []ledger.Outcome) map[string]int {
	m := map[string]int{}
	for _, o := range out {
		m[o.Class]++
	}
	return m
}

func TestOnePoisonedAccountFailsAlone(t *testing.T) {
	worst := 0
	for place := range 500 {
		c, online := members(500)
		bad := c.Entries[place].Account
		r := &room{online: online, poison: map[string]bool{bad: true}, poisonCode: 10004, offCode: 10004}
		out, cost, err := r.settle(t, c, DefaultIsolateCalls)
		if err != nil {
			t.Fatal(err)
		}
		if out[place].Class != ClassRefused || out[place].Code != 10004 || classes(out)[""] != 499 {
			t.Fatalf("place %d: got %v, %+v", place, classes(out), out[place])
		}
		worst = max(worst, cost.Calls-1)
	}
	if worst > 20 {
		t.Errorf("at worst %d extra calls, want at most 20", worst)
	}
	t.Logf("at worst %d extra calls", worst)
}

func TestAllOffline(t *testing.T) {
	for _, code := range []chat.Code{10004, 10015 + 4, 70107, 10016, 99999} {
		for _, n := range []int{1, 2, 3, 500} {
			c, _ := members(n)
			r := &room{online: map[string]bool{"somebody else": true}, offCode: code}
			out, cost, err := r.settle(t, c, DefaultIsolateCalls)
			if err != nil {
				t.Fatal(err)
			}
			if classes(out)[ClassOffline] != n {
				t.Errorf("code %d, %d accounts: got %v", code, n, classes(out))
			}
			if cost.Calls-1 > 10 {
				t.Errorf("code %d, %d accounts: %d extra calls, want at most 10", code, n, cost.Calls-1)
			}
		}
	}
}

// 10002 may be what the server says when all are offline; but when it says so
// of everything, the run stops instead of failing row after row.
func TestARefusalThatOughtToHeal(t *testing.T) {
	c, online := members(100)
	r := &room{online: map[string]bool{}, offCode: 10002}
	out, _, err := r.settle(t, c, DefaultIsolateCalls)
	if err != nil || classes(out)[ClassOffline] != 100 {
		t.Errorf("all offline: got %v, %v", classes(out), err)
	}
	for name, r := range map[string]*room{
		"the list works": {online: online, group: refuse(10002)},
		"nothing works":  {online: online, group: refuse(10002), listFails: refuse(10002)},
		"no answer":      {online: online, group: &chat.TransportError{Reason: chat.ReasonTimeout, Err: errors.New("late")}},
	} {
		_, _, err := r.settle(t, c, DefaultIsolateCalls)
		if _, ok := errors.AsType[*GuardError](err); !ok {
			t.Errorf("%s: got %v, want a GuardError", name, err)
		}
	}
	// An account that makes the server answer 10002 fails alone, too.
	r = &room{online: online, poison: map[string]bool{"a042": true}, poisonCode: 10002}
	out, _, err = r.settle(t, c, DefaultIsolateCalls)
	if err != nil || classes(out)[""] != 99 || out[42].Class != chat.ClassServerError {
		t.Errorf("poison: got %v, %+v, %v", classes(out), out[42], err)
	}
}

func TestTooManyAccountsShrinkTheCalls(t *testing.T) {
	c, online := members(500)
	r := &room{online: online, most: 100}
	synctest.Test(t, func(t *testing.T) {
		door, _ := newDoor()
		b := r.batch(DefaultIsolateCalls)
		for range 2 {
			out, err := b.settle(t.Context(), &Caller{door: door, hard: t.Context()}, c)
			if err != nil || classes(out)[""] != 500 {
				t.Fatalf("got %v, %v", classes(out), err)
			}
		}
	})
	// 500, 250, 125 are refused; then calls of 62: nine a chunk.
	if want := 3 + 9 + 9; r.calls != want {
		t.Errorf("got %d calls, want %d", r.calls, want)
	}
}

func TestGroupFateFailsTheRest(t *testing.T) {
	c, _ := members(500)
	r := &room{group: refuse(10010)}
	synctest.Test(t, func(t *testing.T) {
		door, _ := newDoor()
		call := &Caller{door: door, hard: t.Context()}
		out, err := r.batch(DefaultIsolateCalls).settle(t.Context(), call, c)
		if err != nil || classes(out)[chat.ClassGroupNotFound] != 500 || r.calls != 1 || call.groupRefused == nil {
			t.Errorf("got %v, %v after %d calls, %v", classes(out), err, r.calls, call.groupRefused)
		}
	})
}

func TestWhatTheBudgetDoesNotReach(t *testing.T) {
	c, online := members(64)
	poison := map[string]bool{}
	for _, e := range c.Entries {
		poison[e.Account] = true
	}
	r := &room{online: online, poison: poison, poisonCode: 10016}
	out, cost, err := r.settle(t, c, 12)
	if err != nil {
		t.Fatal(err)
	}
	if cost.Calls > 1+12 || classes(out)[ClassWithChunk] == 0 || classes(out)[""] != 0 {
		t.Errorf("got %v after %d calls", classes(out), cost.Calls)
	}
}

// Whoever is offline or bad, each account gets its own outcome, and a list
// that is not the whole one is never taken for proof.
func TestIsolationFindsEachAccount(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(rt, "n")
		c, online := members(n)
		r := &room{online: online, poison: map[string]bool{}, truncated: rapid.Bool().Draw(rt, "truncated")}
		codes := []chat.Code{10004, 10016, 10019, 70107, 88888}
		r.poisonCode = rapid.SampledFrom(codes).Draw(rt, "poison code")
		r.offCode = rapid.SampledFrom(codes).Draw(rt, "offline code")
		for _, e := range c.Entries {
			switch rapid.SampledFrom([]int{0, 0, 0, 0, 0, 1, 2}).Draw(rt, "fate") {
			case 1:
				delete(online, e.Account)
			case 2:
				r.poison[e.Account] = true
			}
		}
		refused := chat.Rule(r.poisonCode).Class // of an account refused alone
		out, cost, err := r.settle(t, c, 1000)
		if err != nil {
			rt.Fatal(err)
		}
		if cost.Calls > 1+1000 {
			rt.Fatalf("%d calls", cost.Calls)
		}
		for i, e := range c.Entries {
			want := []string{""}
			switch offline := !online[e.Account]; {
			case r.poison[e.Account] && offline:
				want = []string{ClassOffline, refused}
			case r.poison[e.Account]:
				want = []string{refused}
			case offline && r.truncated:
				want = []string{ClassOffline, ClassRefused} // alone, it cannot be told
			case offline:
				want = []string{ClassOffline}
			}
			if !slices.Contains(want, out[i].Class) {
				rt.Fatalf("%s: got %q, want one of %q", e.Account, out[i].Class, want)
			}
			if out[i].Attempts == 0 {
				rt.Fatalf("%s: no attempt", e.Account)
			}
		}
	})
}

// A limiter that stops the run at its second turn, as another worker would.
type stopper struct {
	openLimiter
	stop context.CancelCauseFunc
	why  error
}

func (l *stopper) Take(ctx context.Context, api string) (func(time.Duration, bool), func() bool, error) {
	if l.taken == 1 {
		l.stop(l.why)
	}
	return l.openLimiter.Take(ctx, api)
}

// What stopped the run is no answer to a chunk that was being isolated: its
// accounts stay unprocessed.
func TestTheEndOfTheRunIsNoOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, online := members(8)
		r := &room{online: online, poison: map[string]bool{"a003": true}, poisonCode: 10004}
		ctx, cancel := context.WithCancelCause(t.Context())
		why := &GuardError{Reason: "the server does not answer", Err: &Refusal{Verdict: chat.FailChunk, Err: errors.New("of another chunk")}}
		door, _ := newDoor()
		door.Limiter = &stopper{stop: cancel, why: why}
		out, err := r.batch(DefaultIsolateCalls).settle(ctx, &Caller{door: door, hard: t.Context()}, c)
		if !errors.Is(err, why) || out != nil || r.calls != 1 {
			t.Errorf("got %v, %v after %d calls", out, err, r.calls)
		}
	})
}

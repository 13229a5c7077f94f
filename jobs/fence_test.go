package jobs

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
)

// A lateLimiter gives turns of which the first ones are over when the request is to
// be written.
type lateLimiter struct {
	openLimiter
	over  int
	looks atomic.Int64 // of turns that are over
}

func (l *lateLimiter) Take(ctx context.Context, api string) (func(time.Duration, bool), func() bool, error) {
	done, late, err := l.openLimiter.Take(ctx, api)
	if l.taken <= l.over {
		dialled := false // it becomes late on the way from there to the write
		late = func() bool {
			l.looks.Add(1)
			was := dialled
			dialled = true
			return was
		}
	}
	return done, late, err
}

// A call whose turn is over before it has left is not sent, takes another turn, and
// is counted when it leaves.
func TestLateCallIsMadeAnew(t *testing.T) {
	for name, ahead := range map[string]bool{"Take": false, "TakeAhead": true} {
		t.Run(name, func(t *testing.T) {
			var came atomic.Int64
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				came.Add(1)
				_, _ = io.WriteString(w, `{"ActionStatus":"OK","ErrorCode":0}`)
			}))
			defer srv.Close()
			client := &chat.Client{
				Endpoint: srv.URL, SDKAppID: 1, Identifier: "administrator", Signer: chat.FixedSig("sig"), HTTP: chat.NewHTTPClient(1),
			}
			defer client.HTTP.CloseIdleConnections()
			l := &lateLimiter{over: 2}
			all := &Meter{}
			door := &Door{Limiter: aheadIsTake{l}, Retry: DefaultRetry(), Meter: &Meter{All: all}}
			door.Retry.Initial = time.Millisecond
			c := NewCaller(t.Context(), door, 1)
			c.ahead = ahead
			if err := c.Do(t.Context(), "get_members", anyRetries, func(ctx context.Context) error {
				_, err := client.OnlineMembers(ctx, "g", 0, 0)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if came.Load() != 1 || l.taken != 3 || l.ended != 3 || l.answers != 1 || l.looks.Load() < 4 {
				t.Errorf("%d requests came, %d turns, %d ended, %d with an answer, %d looks; want 1, 3, 3, 1, 4", came.Load(), l.taken, l.ended, l.answers, l.looks.Load())
			}
			if c.Cost != (ledger.Cost{Calls: 1}) || c.attempts != 1 {
				t.Errorf("got cost %+v, %d attempts; want a call", c.Cost, c.attempts)
			}
			for name, m := range map[string]*Meter{"run": door.Meter, "all": all} {
				if r := m.Read(); r.Calls != 1 || r.Retries != 0 || r.InOneSecond != 1 {
					t.Errorf("meter of %s: got %+v, want a call", name, r)
				}
				calls := 0
				for _, s := range m.TakePace() {
					calls += s.Calls
				}
				if calls != 1 {
					t.Errorf("pace of %s: got %d calls, want 1", name, calls)
				}
			}
		})
	}
}

type aheadIsTake struct{ *lateLimiter }

func (l aheadIsTake) TakeAhead(ctx context.Context, api string) (func(time.Duration, bool), func() bool, error) {
	return l.Take(ctx, api)
}

// A call that is late each time ends, like any that gets no answer, and has cost nothing.
func TestCallThatIsAlwaysLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		door, lim := newDoor()
		late := &chat.TransportError{Command: "test", Reason: chat.ReasonLate, Err: chat.ErrLate}
		call := &Caller{door: door, hard: t.Context()}
		err := call.Do(t.Context(), "api", anyRetries, answers(late))
		if r, ok := refusalOf(err); !ok || !r.Exhausted || r.Verdict != chat.FailChunk || !errors.Is(err, chat.ErrLate) {
			t.Errorf("got %v, want that it is given up", err)
		}
		if call.Cost != (ledger.Cost{}) || lim.taken != 13 || lim.ended != 13 || lim.answers != 0 || door.Meter.Read().Calls != 0 {
			t.Errorf("got cost %+v, %d turns, %d ended, %d answered, %+v", call.Cost, lim.taken, lim.ended, lim.answers, door.Meter.Read())
		}
	})
}

// A retry that is late is no retry.
func TestRetryThatIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		door, lim := newDoor()
		late := &chat.TransportError{Command: "test", Reason: chat.ReasonLate, Err: chat.ErrLate}
		call := &Caller{door: door, hard: t.Context()}
		if err := call.Do(t.Context(), "api", anyRetries, answers(refuse(10002), late, nil)); err != nil {
			t.Fatal(err)
		}
		if call.Cost != (ledger.Cost{Calls: 2, Retries: 1}) || call.attempts != 2 || lim.taken != 3 {
			t.Errorf("got cost %+v, %d attempts, %d turns; want 2 calls of which one is a retry", call.Cost, call.attempts, lim.taken)
		}
	})
}

// A call that is taken back was of the second in which it was counted, also when that
// one has been taken already.
func TestMeterTakesACallBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &Meter{}
		m := &Meter{All: all}
		m.call(false)
		at := m.call(true)
		pace := all.TakePace()
		time.Sleep(1500 * time.Millisecond)
		m.call(true)
		m.uncall(at, true)
		want := Reading{Calls: 2, Retries: 1, InOneSecond: 1, MaxInOneSecond: 2}
		if got := m.Read(); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if got := all.Read(); got != want {
			t.Errorf("all: got %+v, want %+v", got, want)
		}
		sum := map[int64]ledger.Second{}
		for _, s := range slices.Concat(pace, all.TakePace()) {
			one := sum[s.Unix]
			sum[s.Unix] = ledger.Second{Calls: one.Calls + s.Calls, Retries: one.Retries + s.Retries}
		}
		first, second := sum[at.Unix()], sum[time.Now().Unix()]
		if first != (ledger.Second{Calls: 1}) || second != (ledger.Second{Calls: 1, Retries: 1}) || len(sum) != 2 {
			t.Errorf("pace: got %+v", sum)
		}
		before := m.call(false)
		m.uncall(before, false)
		if got := m.Read(); got != want {
			t.Errorf("at once: got %+v, want %+v", got, want)
		}
	})
}

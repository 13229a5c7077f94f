package jobs

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatbatch/io/chat"
	"chatbatch/limiter"
)

// answers plays a list of answers, the last one for ever; nil is a success.
func answers(list ...error) func(context.Context) error {
	n := 0
	return func(context.Context) error {
		err := list[min(n, len(list)-1)]
		n++
		return err
	}
}

func TestDo(t *testing.T) {
	noAnswer := &chat.TransportError{Command: "test", Reason: chat.ReasonTimeout, Err: errors.New("too late")}
	for _, test := range []struct {
		name      string
		answers   []error
		canary    bool
		calls     int
		verdict   chat.Verdict // 0: accepted
		exhausted bool
		slowed    []string
		renewed   int
	}{
		{name: "accepted", answers: []error{nil}, calls: 1},
		{name: "10002 heals", answers: []error{refuse(10002), refuse(10002), nil}, calls: 3},
		{name: "10002 for ever", answers: []error{refuse(10002)}, calls: 13, verdict: chat.FailChunk, exhausted: true},
		{name: "60008 has few tries", answers: []error{refuse(60008)}, calls: 4, verdict: chat.FailChunk, exhausted: true},
		{name: "an unknown code has one", answers: []error{refuse(12345)}, calls: 2, verdict: chat.FailChunk, exhausted: true},
		{name: "10002, and then an unknown code", answers: []error{refuse(10002), refuse(10002), refuse(12345), nil}, calls: 4},
		{name: "no answer, and then 60008", answers: []error{noAnswer, noAnswer, noAnswer, noAnswer, refuse(60008), refuse(60008), refuse(60008), nil}, calls: 8},
		{name: "60008 and 12345 for ever", answers: []error{refuse(60008), refuse(12345), refuse(60008), refuse(12345)}, calls: 4, verdict: chat.FailChunk, exhausted: true},
		{name: "no answer heals", answers: []error{noAnswer, nil}, calls: 2},
		{name: "no answer for ever", answers: []error{noAnswer}, calls: 13, verdict: chat.FailChunk, exhausted: true},
		{name: "no answer to the canary", answers: []error{noAnswer}, canary: true, calls: 13, verdict: chat.FailChunk, exhausted: true},
		{name: "60007 slows this API", answers: []error{refuse(60007), nil}, calls: 2, slowed: []string{"api"}},
		{name: "60011 slows the app", answers: []error{refuse(60011), nil}, calls: 2, slowed: []string{""}},
		{name: "70001 is signed anew", answers: []error{refuse(70001), nil}, calls: 2, renewed: 1},
		{name: "70001 twice", answers: []error{refuse(70001)}, calls: 2, verdict: chat.StopRun, exhausted: true, renewed: 1},
		{name: "70009 stops", answers: []error{refuse(70009)}, calls: 1, verdict: chat.StopRun},
		{name: "10010 is the group's", answers: []error{refuse(10010)}, calls: 1, verdict: chat.FailGroup},
		{name: "10005 splits", answers: []error{refuse(10005)}, calls: 1, verdict: chat.Split},
		{name: "60003 is the chunk's", answers: []error{refuse(60003)}, calls: 1, verdict: chat.FailChunk},
		{name: "60003 of the canary stops", answers: []error{refuse(60003)}, canary: true, calls: 1, verdict: chat.StopRun},
		{name: "70050 waits and heals", answers: []error{refuse(70050), nil}, calls: 2},
		{name: "70050 twice stops", answers: []error{refuse(70050)}, calls: 2, verdict: chat.StopRun, exhausted: true},
		{name: "70050, then a code", answers: []error{refuse(70050), refuse(10010)}, calls: 2, verdict: chat.FailGroup},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				door, lim := newDoor()
				renewed := 0
				door.Renew = func(string) { renewed++ }
				call := &Caller{door: door, hard: t.Context(), canary: test.canary}
				err := call.Do(t.Context(), "api", anyRetries, answers(test.answers...))
				r, refused := errors.AsType[*Refusal](err)
				switch {
				case test.verdict == 0 && err != nil:
					t.Fatalf("got %v", err)
				case test.verdict != 0 && !refused:
					t.Fatalf("got %v, want a refusal", err)
				case refused && (r.Verdict != test.verdict || r.Exhausted != test.exhausted):
					t.Errorf("got %v, exhausted %v, want %v, %v", r.Verdict, r.Exhausted, test.verdict, test.exhausted)
				}
				if call.Cost.Calls != test.calls || call.Cost.Retries != test.calls-1 || lim.taken != test.calls || lim.ended != test.calls {
					t.Errorf("got %+v, %d turns, %d ended, want %d calls", call.Cost, lim.taken, lim.ended, test.calls)
				}
				if !slices.Equal(lim.slowed, test.slowed) || renewed != test.renewed {
					t.Errorf("got slowed %q, renewed %d, want %q, %d", lim.slowed, renewed, test.slowed, test.renewed)
				}
				if n := door.Meter.Read().Refused; n != int64(len(test.slowed)) {
					t.Errorf("got %d calls refused for frequency, want %d", n, len(test.slowed))
				}
			})
		})
	}
}

// An outage of a minute is outlasted, whatever the jitter.
func TestRetriesOutlastAMinute(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			door, _ := newDoor()
			call := &Caller{door: door, hard: t.Context()}
			begin := time.Now()
			err := call.Do(t.Context(), "api", anyRetries, func(context.Context) error {
				if time.Since(begin) < time.Minute {
					return &chat.TransportError{Reason: chat.ReasonConnect, Err: errors.New("refused")}
				}
				return nil
			})
			if err != nil {
				t.Errorf("after %v: %v", time.Since(begin), err)
			}
		})
	}
}

func TestNothingWithoutASignerIsSignedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		door, lim := newDoor()
		err := (&Caller{door: door, hard: t.Context()}).Do(t.Context(), "api", anyRetries, answers(refuse(70001)))
		if r, ok := errors.AsType[*Refusal](err); !ok || r.Verdict != chat.StopRun || lim.taken != 1 {
			t.Errorf("got %v after %d calls", err, lim.taken)
		}
	})
}

// While one call waits out a lock-out, no other leaves, not even those that wait
// for their turn by then; afterwards one goes alone.
func TestPauseStopsAllCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		door, _ := newDoor()
		lim, err := limiter.New(limiter.Options{QPS: 5})
		if err != nil {
			t.Fatal(err)
		}
		defer lim.Close()
		door.Limiter = lim.Queue()
		var under, after atomic.Int32
		var locked atomic.Int64 // when the lock-out was answered
		server := func(context.Context) error {
			now := time.Now().UnixNano()
			under.Add(1)
			defer under.Add(-1)
			switch from := locked.Load(); {
			case from == 0:
				time.Sleep(50 * time.Millisecond)
				locked.CompareAndSwap(0, time.Now().UnixNano())
				return refuse(70050)
			case now-from < int64(time.Minute):
				t.Errorf("a call left %v after the lock-out", time.Duration(now-from))
			case after.Add(1) == 1 && under.Load() != 1:
				t.Error("the first call after the pause was not alone")
			}
			time.Sleep(50 * time.Millisecond)
			return nil
		}
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				if err := (&Caller{door: door, hard: t.Context()}).Do(t.Context(), "api", anyRetries, server); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

// Signing anew and waiting out a lock-out are not retries: they are done also
// where none is allowed.
func TestWithoutRetries(t *testing.T) {
	for _, code := range []chat.Code{70001, 70050} {
		synctest.Test(t, func(t *testing.T) {
			door, _ := newDoor()
			door.Renew = func(string) {}
			if err := (&Caller{door: door, hard: t.Context()}).Do(t.Context(), "api", 0, answers(refuse(code), nil)); err != nil {
				t.Errorf("%d: got %v", code, err)
			}
		})
	}
}

func TestAnInterruptedCallIsNotRefused(t *testing.T) {
	why := errors.New("stop")
	for _, test := range []struct {
		name  string
		after time.Duration
	}{{"during the call", 5 * time.Millisecond}, {"while backing off", 100 * time.Millisecond}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				door, lim := newDoor()
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(test.after, func() { cancel(why) })
				err := (&Caller{door: door, hard: t.Context()}).Do(ctx, "api", anyRetries, func(context.Context) error {
					time.Sleep(10 * time.Millisecond)
					return refuse(10002)
				})
				if !errors.Is(err, why) {
					t.Errorf("got %v, want the cause", err)
				}
				if _, ok := errors.AsType[*Refusal](err); ok {
					t.Error("got a refusal")
				}
				if lim.taken != lim.ended {
					t.Errorf("%d turns taken, %d ended", lim.taken, lim.ended)
				}
			})
		})
	}
}

func TestMeterCountsTheWorstSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Meter
		for range 10 {
			m.call(false)
			time.Sleep(100 * time.Millisecond)
		}
		m.call(true) // a second after the first: ten are inside
		if r := m.Read(); r.MaxInOneSecond != 10 || r.InOneSecond != 10 || r.Calls != 11 || r.Retries != 1 {
			t.Errorf("got %+v", r)
		}
		time.Sleep(2 * time.Second)
		if r := m.Read(); r.InOneSecond != 0 || r.MaxInOneSecond != 10 {
			t.Errorf("two seconds later: got %+v", r)
		}
	})
}

// A timedLimiter keeps what it is told of the calls.
type timedLimiter struct {
	openLimiter
	told []time.Duration // of calls with an answer, one after the other
}

func (l *timedLimiter) Take(context.Context, string) (func(time.Duration, bool), func() bool, error) {
	return func(roundTrip time.Duration, answered bool) {
		if answered {
			l.told = append(l.told, roundTrip)
		}
	}, never, nil
}

// aServer answers as a function says.
type aServer func(*http.Request) (*http.Response, error)

func (f aServer) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The limiter hears of the whole round trip, behind the request's being written:
// that a call had to connect first is no part of it, and nothing is taken off.
func TestLimiterHearsOfTheRoundTrip(t *testing.T) {
	const connect, way = 40 * time.Millisecond, 30 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		l := &timedLimiter{}
		door := &Door{Limiter: l, Retry: DefaultRetry(), Meter: &Meter{}}
		client := &chat.Client{
			Endpoint: "https://chat.invalid", SDKAppID: 1, Identifier: "administrator", Signer: chat.FixedSig("sig"),
			HTTP: &http.Client{Transport: aServer(func(r *http.Request) (*http.Response, error) {
				time.Sleep(connect)
				httptrace.ContextClientTrace(r.Context()).WroteRequest(httptrace.WroteRequestInfo{})
				time.Sleep(way)
				return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"ErrorCode":0}`))}, nil
			})},
		}
		c := NewCaller(t.Context(), door, 1)
		for range 2 {
			if err := c.Do(t.Context(), "get_members", anyRetries, func(ctx context.Context) error {
				_, err := client.OnlineMembers(ctx, "g", 0, 0)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(l.told, []time.Duration{way, way}) {
			t.Errorf("got %v, want %v twice", l.told, way)
		}
	})
}

package limiter

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newLimiter(t *testing.T, o Options) *Limiter {
	t.Helper()
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// virtual is how long n calls a second are tried in a bubble.
func virtual(n int) time.Duration {
	if n > 1000 {
		return 4 * time.Second // as many calls as in 100 s at 200
	}
	if testing.Short() {
		return 20 * time.Second
	}
	return 4 * time.Minute
}

func TestUse(t *testing.T) {
	t.Parallel() // its time is that of a bubble
	for _, n := range []int{1, 10, 200, 5000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{path: time.Millisecond, jitter: 2 * time.Millisecond, service: 20 * time.Millisecond, uneven: 3 * time.Millisecond}
				l := newLimiter(t, Options{QPS: n})
				defer l.Close()
				d := virtual(n)
				w.run(t, l, max(4, n/20), d)
				w.check(t, n)
				// The first seconds do without the correction by the
				// service time: 100 answers, one second at the least.
				use := useOf(w.sends, n, max(time.Second, time.Duration(110/n)*time.Second))
				t.Logf("use %.2f %% in %v", 100*use, d)
				if use < 0.99 && !(n == 1 && testing.Short()) {
					t.Errorf("got use %.4f, want at least 0.99", use)
				}
			})
		})
	}
}

func TestWallHoldsInChaos(t *testing.T) {
	t.Parallel() // its time is that of a bubble
	for _, n := range []int{1, 10, 200, 5000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{
					path: 5 * time.Millisecond, jitter: 8 * time.Millisecond, service: 10 * time.Millisecond, uneven: 300 * time.Millisecond,
					lost: 0.01, stall: 0.01, refused: 0.1 / float64(n), // one in ten seconds
					stopAt: time.Second, stopFor: 2 * time.Second,
				}
				l := newLimiter(t, Options{QPS: n})
				defer l.Close()
				d := virtual(n)
				w.run(t, l, max(4, n/2), d)
				w.check(t, n)
				if least := int(0.2 * d.Seconds() * float64(n)); len(w.sends) < least {
					t.Errorf("got %d calls, want at least %d", len(w.sends), least)
				}
			})
		})
	}
}

func TestSlowDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Options{QPS: 50})
		defer l.Close()
		w := &world{service: time.Millisecond}
		go func() {
			time.Sleep(10*time.Second + time.Millisecond)
			for _, api := range []string{"api", ""} { // two refusals are one step
				l.SlowDown(api)
				l.SlowDown(api)
			}
		}()
		w.run(t, l, 10, 20*time.Second)
		w.check(t, 50)
		in := func(from, to time.Duration) (calls int) {
			for _, at := range w.sends {
				if at >= from && at < to {
					calls++
				}
			}
			return calls
		}
		from := 10*time.Second + time.Millisecond
		for i, want := range []int{45, 46, 47, 48, 49} {
			got := in(from+time.Duration(i)*time.Second, from+time.Duration(i+1)*time.Second)
			if got > want || got < want-2 {
				t.Errorf("second %d after SlowDown: got %d calls, want about %d", i, got, want)
			}
		}
		if got := in(16*time.Second, 17*time.Second); got < 49 {
			t.Errorf("after recovery: got %d calls, want 49 or 50", got)
		}
	})
}

func TestSlowDownPerAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Options{QPS: 20, PerAPI: true})
		defer l.Close()
		for _, api := range []string{"a", "b"} {
			done, _, err := l.Take(t.Context(), api)
			if err != nil {
				t.Fatal(err)
			}
			done(0, true)
		}
		l.SlowDown("b")
		want := []Status{{API: "a", Lanes: 20, Leased: 20, Resting: 1}, {API: "b", Lanes: 20, Leased: 20, Resting: 1, OutOfUse: 2}}
		got, err := l.Status()
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("after SlowDown(b): %v\n%s", err, diff)
		}
		time.Sleep(1100 * time.Millisecond)
		l.SlowDown("")
		want = []Status{{API: "a", Lanes: 20, Leased: 20, OutOfUse: 2}, {API: "b", Lanes: 20, Leased: 20, OutOfUse: 2}}
		got, err = l.Status()
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("after SlowDown of the app: %v\n%s", err, diff)
		}
	})
}

func TestRoundTripShortensTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Options{QPS: 1})
		defer l.Close()
		// rest is how long after a call of 500 ms the lane is ready.
		rest := func(trip time.Duration, answered bool) time.Duration {
			done, _, err := l.Take(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond)
			done(trip, answered)
			began := time.Now()
			for {
				if s, _ := l.Status(); s[0].Held+s[0].Resting == 0 {
					return time.Since(began)
				}
				time.Sleep(time.Millisecond)
			}
		}
		full := 1002 * time.Millisecond
		for i := range answersNeeded - 1 {
			if got := rest(400*time.Millisecond, true); got != full {
				t.Fatalf("answer %d: got rest %v, want %v", i+1, got, full)
			}
		}
		tests := []struct {
			name     string
			trip     time.Duration
			answered bool
			want     time.Duration
		}{
			{"the hundredth answer", 400 * time.Millisecond, true, 602 * time.Millisecond},
			{"no answer rests from its end", 400 * time.Millisecond, false, full},
			{"a longer trip counts as the smallest", 450 * time.Millisecond, true, 602 * time.Millisecond},
			{"a smaller one is the smallest from now on, less half of what is usual beyond it", 300 * time.Millisecond, true, 752 * time.Millisecond},
			{"and stays it", 400 * time.Millisecond, true, 752 * time.Millisecond},
			{"an unknown one teaches nothing", 0, true, 752 * time.Millisecond},
		}
		for _, tt := range tests {
			if got := rest(tt.trip, tt.answered); got != tt.want {
				t.Errorf("%s: got rest %v, want %v", tt.name, got, tt.want)
			}
		}
	})
}

// A caller that claims a longer round trip than its call took must not gain a lane.
func TestRoundTripIsBoundedByTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Options{QPS: 1})
		defer l.Close()
		var last time.Time
		for i := range 2 * answersNeeded {
			done, _, err := l.Take(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			if gap := time.Since(last); i > 0 && gap < time.Second {
				t.Fatalf("call %d: got %v after the one before, want a second", i, gap)
			}
			last = time.Now()
			time.Sleep(10 * time.Millisecond)
			done(time.Hour, true)
		}
	})
}

func TestFIFO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Options{QPS: 5})
		defer l.Close()
		var mu sync.Mutex
		var got, want []int
		for i := range 50 {
			want = append(want, i)
			go func() {
				done, _, err := l.Take(t.Context(), "")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				got = append(got, i)
				mu.Unlock()
				time.Sleep(upTo(500 * time.Millisecond))
				done(0, rand.IntN(2) == 0)
			}()
			synctest.Wait() // it is in the queue now
		}
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("order of service (-want +got):\n%s", diff)
		}
	})
}

func TestBucketSpacesCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Options{QPS: 100})
		defer l.Close()
		start := time.Now()
		take := func() time.Duration {
			if _, _, err := l.Take(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			return time.Since(start)
		}
		var got []time.Duration
		for range 4 {
			got = append(got, take())
		}
		time.Sleep(400 * time.Millisecond) // 40 slots are missed, catchUp are made up for
		for range catchUp + 2 {
			got = append(got, take())
		}
		ms := time.Millisecond
		want := []time.Duration{0, 10 * ms, 20 * ms, 30 * ms}
		want = append(want, slices.Repeat([]time.Duration{430 * ms}, catchUp)...)
		want = append(want, 440*ms, 450*ms)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("times of calls (-want +got):\n%s", diff)
		}
	})
}

func TestCheckOptions(t *testing.T) {
	for _, o := range []Options{
		{}, {QPS: -1}, {QPS: maxQPS + 1}, {QPS: 1, Margin: -1}, {QPS: 1, Margin: 2 * time.Second},
		{QPS: 1, APIs: map[string]int{"": 1}}, {QPS: 1, APIs: map[string]int{"a": 0}}, {QPS: 1, APIs: map[string]int{"a": maxQPS + 1}},
	} {
		if l, err := New(o); err == nil {
			l.Close()
			t.Errorf("New(%+v): got no error", o)
		}
	}
	refuse := errors.New("no lanes today")
	lanes := func(string) (Lanes, error) { return nil, refuse }
	if _, err := New(Options{QPS: 1, Lanes: lanes}); !errors.Is(err, refuse) {
		t.Errorf("New: got %v, want %v", err, refuse)
	}
	l := newLimiter(t, Options{QPS: 1, PerAPI: true, Lanes: lanes})
	if _, _, err := l.Take(t.Context(), "x"); !errors.Is(err, refuse) {
		t.Errorf("Take: got %v, want %v", err, refuse)
	}
}

func TestKeys(t *testing.T) {
	var got []string
	lanes := func(key string) (Lanes, error) {
		got = append(got, key)
		return Memory()(key)
	}
	for _, perAPI := range []bool{false, true} {
		l := newLimiter(t, Options{QPS: 10, Key: "1400000000", PerAPI: perAPI, Lanes: lanes})
		for _, api := range []string{"get_members", "modify_user_info", "get_members"} {
			done, _, err := l.Take(t.Context(), api)
			if err != nil {
				t.Fatal(err)
			}
			done(0, true)
		}
		l.Close()
	}
	want := []string{"1400000000", "1400000000/get_members", "1400000000/modify_user_info"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

package limiter

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const groupList = "get_appid_group_list"

// One call a second to one API, whatever its workers do, and the rest of the
// budget to the others.
func TestOwnBudget(t *testing.T) {
	t.Parallel() // its time is that of a bubble
	for _, workers := range []int{1, 16} {
		synctest.Test(t, func(t *testing.T) {
			const n = 200
			l := newLimiter(t, Options{QPS: n, APIs: map[string]int{groupList: 1}})
			defer l.Close()
			path := func(api string) *world {
				return &world{api: api, path: time.Millisecond, jitter: 2 * time.Millisecond, service: 20 * time.Millisecond, uneven: 3 * time.Millisecond}
			}
			worlds := []*world{path(groupList), path("modify_user_info")}
			d := virtual(n) / 5
			all := together(t, worlds, []taker{l, l}, []int{workers, 64}, []time.Duration{d, d})
			worlds[0].check(t, 1)
			if got, least := len(worlds[0].sends), int(0.95*d.Seconds())-1; got < least {
				t.Errorf("%d workers: got %d calls of the API in %v, want at least %d", workers, got, d, least)
			}
			all.check(t, n)
			if use := useOf(all.sends, n, time.Second); use < 0.99 {
				t.Errorf("%d workers: got use %.4f of the common budget, want at least 0.99", workers, use)
			}
		})
	}
}

// An API whose own budget is the larger one is held by the common one.
func TestOwnBudgetIsBoundByTheCommonOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Options{QPS: 10, APIs: map[string]int{"a": 8, "b": 100}})
		defer l.Close()
		a, b := &world{api: "a"}, &world{api: "b"}
		all := together(t, []*world{a, b}, []taker{l, l}, []int{10, 10}, []time.Duration{time.Minute, time.Minute})
		a.check(t, 8)
		all.check(t, 10)
		if use := useOf(all.sends, 10, 2*time.Second); use < 0.99 {
			t.Errorf("got use %.4f, want at least 0.99", use)
		}
		t.Logf("%d and %d calls", len(a.sends), len(b.sends))
	})
}

func TestOwnBudgetStatus(t *testing.T) {
	common := Status{Lanes: 40, Leased: 40, Resting: 2}
	tests := []struct {
		name   string
		perAPI bool
		slow   []string
		want   []Status
	}{
		{"both rest", false, nil, []Status{common, {API: groupList, Lanes: 10, Leased: 10, Resting: 1}}},
		{"the API is slowed down", false, []string{groupList}, []Status{common, {API: groupList, Lanes: 10, Leased: 10, Resting: 1, OutOfUse: 1}}},
		{"another is", false, []string{"marks"}, []Status{{Lanes: 40, Leased: 40, Resting: 2, SlowAPIs: map[string]int{"marks": 4}}, {API: groupList, Lanes: 10, Leased: 10, Resting: 1}}},
		{"the app is", false, []string{""}, []Status{{Lanes: 40, Leased: 40, Resting: 2, OutOfUse: 4}, {API: groupList, Lanes: 10, Leased: 10, Resting: 1, OutOfUse: 1}}},
		{"one for each API", true, []string{groupList}, []Status{{Lanes: 40, Leased: 40, Resting: 1}, {API: groupList, Lanes: 10, Leased: 10, Resting: 1, OutOfUse: 1}, {API: "marks", Lanes: 40, Leased: 40, Resting: 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLimiter(t, Options{QPS: 40, PerAPI: tt.perAPI, APIs: map[string]int{groupList: 10}})
				defer l.Close()
				q := l.Queue()
				apis := []string{groupList, "marks"}
				if tt.perAPI {
					apis = append([]string{""}, apis...) // no common budget, but a name like others
				}
				for _, api := range apis {
					done, _, err := q.Take(t.Context(), api)
					if err != nil {
						t.Fatal(err)
					}
					done(0, true)
				}
				for _, api := range tt.slow {
					q.SlowDown(api)
				}
				got, err := l.Status()
				if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
					t.Errorf("status (-want +got): %v\n%s", err, diff)
				}
			})
		})
	}
}

func TestOwnBudgetKeys(t *testing.T) {
	var got []string
	lanes := func(key string) (Lanes, error) {
		got = append(got, key)
		return Memory()(key)
	}
	apis := map[string]int{groupList: 1}
	for _, perAPI := range []bool{false, true} {
		l := newLimiter(t, Options{QPS: 10, Key: "1400000000", PerAPI: perAPI, APIs: apis, Lanes: lanes})
		apis["other"] = 1 // too late
		for _, api := range []string{groupList, "other"} {
			done, _, err := l.Take(t.Context(), api)
			if err != nil {
				t.Fatal(err)
			}
			done(0, true)
		}
		delete(apis, "other")
		l.Close()
	}
	want := []string{"1400000000", "1400000000/" + groupList, "1400000000/" + groupList, "1400000000/other"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

// A store of an API that cannot be opened is told, and takes nothing from the
// others.
func TestOwnBudgetWithoutStore(t *testing.T) {
	refuse := errors.New("no lanes today")
	l := newLimiter(t, Options{QPS: 10, APIs: map[string]int{groupList: 1}, Lanes: func(key string) (Lanes, error) {
		if key != "" {
			return nil, refuse
		}
		return Memory()(key)
	}})
	defer l.Close()
	if _, _, err := l.Take(t.Context(), groupList); !errors.Is(err, refuse) {
		t.Errorf("got %v, want %v", err, refuse)
	}
	if _, _, err := l.Take(t.Context(), "marks"); err != nil {
		t.Error(err)
	}
}

// A call that leaves with its own lane in hand, before it has a common one, has
// used neither lane nor slot.
func TestCancelWithOwnLane(t *testing.T) {
	const ms = time.Millisecond
	for _, after := range []time.Duration{50 * ms, 400 * ms, 401 * ms} {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLimiter(t, Options{QPS: 2, APIs: map[string]int{groupList: 1}})
				defer l.Close()
				start := time.Now()
				for range 2 { // at 0 and 500 ms; lanes are ready at 1002 and 1502 ms
					done, _, err := l.Take(t.Context(), "")
					if err != nil {
						t.Fatal(err)
					}
					done(0, true)
				}
				time.Sleep(100 * ms)
				// At 600 ms it has its own lane, and the next slot of these is
				// at 1600 ms; the next common slot is at 1000 ms.
				ctx, cancel := context.WithTimeout(t.Context(), after)
				defer cancel()
				if _, _, err := l.Take(ctx, groupList); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want the deadline", err)
				}
				want := []Status{{Lanes: 2, Leased: 2, Resting: 2}, {API: groupList, Lanes: 1, Leased: 1}}
				got, err := l.Status()
				if diff := cmp.Diff(want, got); err != nil || diff != "" {
					t.Errorf("status (-want +got): %v\n%s", err, diff)
				}
				if _, _, err := l.Take(t.Context(), groupList); err != nil {
					t.Fatal(err)
				}
				if got := time.Since(start); got != 1002*ms {
					t.Errorf("got the lane at %v, want 1.002s", got)
				}
			})
		})
	}
}

// A caller that claims more service than its call took gains no lane by the time
// that it waited for the common one.
func TestOwnLaneRestsFromTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Options{QPS: 3, APIs: map[string]int{groupList: 1}})
		defer l.Close()
		for range answersNeeded {
			done, _, err := l.Take(t.Context(), groupList)
			if err != nil {
				t.Fatal(err)
			}
			done(time.Hour, true)
		}
		for range 3 { // all common lanes are taken now
			done, _, err := l.Take(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(5*time.Second, func() { done(0, true) })
		}
		w := &world{start: time.Now()}
		for range 2 {
			done, _, err := l.Take(t.Context(), groupList)
			if err != nil {
				t.Fatal(err)
			}
			w.sends = append(w.sends, time.Since(w.start))
			done(time.Hour, true)
		}
		w.check(t, 1)
	})
}

func TestCloseWithOwnLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stores []Lanes
		l := newLimiter(t, Options{QPS: 1, APIs: map[string]int{groupList: 1}, Lanes: func(key string) (Lanes, error) {
			lanes, err := Memory()(key)
			stores = append(stores, lanes)
			return lanes, err
		}})
		done, _, err := l.Take(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 3 { // one of them with its own lane
			wg.Go(func() {
				if _, _, err := l.Take(t.Context(), groupList); !errors.Is(err, ErrClosed) {
					t.Errorf("got %v, want ErrClosed", err)
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if err := stores[1].Update(1, func(*Table) {}); !errors.Is(err, ErrClosed) {
			t.Errorf("own store: got %v, want ErrClosed", err)
		}
		done(0, true)
		if err := stores[0].Update(1, func(*Table) {}); !errors.Is(err, ErrClosed) {
			t.Errorf("common store: got %v, want ErrClosed", err)
		}
		empty(t, l)
	})
}

// Whatever waiters of several queues and APIs do, no lane, baton or slot is lost
// and the wall of each budget holds.
func TestRandomCancelsOfQueues(t *testing.T) {
	apis := []string{"marks", "a", "b"}
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(rt, "lanes")
		own := map[string]int{"a": rapid.IntRange(1, 3).Draw(rt, "lanes of a"), "b": rapid.IntRange(1, 9).Draw(rt, "lanes of b")}
		waiters := rapid.IntRange(1, 40).Draw(rt, "waiters")
		draw := func(most int, label string) []int {
			return rapid.SliceOfN(rapid.IntRange(0, most), waiters, waiters).Draw(rt, label)
		}
		patience, hold, wake := draw(5000, "patience in ms"), draw(1500, "call in ms"), draw(2000, "begin in ms")
		queue, api := draw(2, "queue"), draw(2, "API")
		synctest.Test(t, func(t *testing.T) {
			l := newLimiter(t, Options{QPS: n, APIs: own})
			defer l.Close()
			queues := []taker{l, l.Queue(), l.Queue()}
			start := time.Now()
			var mu sync.Mutex
			sends := map[string][]time.Duration{}
			var wg sync.WaitGroup
			for i := range waiters {
				wg.Go(func() {
					time.Sleep(time.Duration(wake[i]) * time.Millisecond)
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(patience[i])*time.Millisecond)
					defer cancel()
					of := apis[api[i]]
					done, _, err := queues[queue[i]].Take(ctx, of)
					if err != nil {
						return
					}
					mu.Lock()
					sends[of] = append(sends[of], time.Since(start))
					sends[""] = append(sends[""], time.Since(start))
					mu.Unlock()
					time.Sleep(time.Duration(hold[i]) * time.Millisecond)
					done(0, rand.IntN(2) == 0)
				})
			}
			wg.Wait()
			own[""] = n
			for of, most := range own {
				if worst := worstSecond(sends[of]); worst > most {
					t.Errorf("API %q: got %d sends in one second, want at most %d", of, worst, most)
				}
			}
			allIdle(t, l, own)
		})
	})
}

// allIdle fails the test unless nothing is held, nobody waits, and a call to each
// API may leave at once.
func allIdle(t *testing.T, l *Limiter, lanes map[string]int) {
	t.Helper()
	empty(t, l)
	time.Sleep(1100 * time.Millisecond)
	got, err := l.Status()
	for _, s := range got {
		if want := (Status{API: s.API, Lanes: lanes[s.API], Leased: lanes[s.API]}); err != nil || !cmp.Equal(s, want) {
			t.Errorf("got status %+v, %v, want %+v", s, err, want)
		}
	}
	for _, s := range got {
		time.Sleep(1100 * time.Millisecond) // a lane and a slot of the common budget
		began := time.Now()
		done, _, err := l.Take(t.Context(), s.API)
		if err != nil {
			t.Fatal(err)
		}
		done(0, true)
		if got := time.Since(began); got > 0 {
			t.Errorf("API %q: got a lane after %v, want it at once", s.API, got)
		}
	}
}

// Two openings of one file share the budget of an API like the common one.
func TestOwnBudgetIsShared(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	start := time.Now()
	var mu sync.Mutex
	var sends []time.Duration
	var wg sync.WaitGroup
	for _, o := range []Options{{APIs: map[string]int{groupList: 20}}, {APIs: map[string]int{groupList: 20}}, {PerAPI: true, APIs: map[string]int{groupList: 10}}} {
		o.QPS, o.Key, o.Lanes = 100, "app", File(dir)
		l := newLimiter(t, o)
		defer l.Close()
		for range 3 {
			wg.Go(func() {
				for {
					done, _, err := l.Take(ctx, groupList)
					if err != nil {
						return
					}
					mu.Lock()
					sends = append(sends, time.Since(start))
					mu.Unlock()
					done(0, true)
				}
			})
		}
	}
	wg.Wait()
	worst := worstSecond(sends)
	if worst > 20 || len(sends) < 15 {
		t.Errorf("got %d sends in 1.5 s, at most %d in one second, want about 30 and at most 20", len(sends), worst)
	}
	t.Logf("%d sends, at most %d in one second", len(sends), worst)
}

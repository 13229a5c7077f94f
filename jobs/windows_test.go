package jobs

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"chatbatch/io/chat"
	"chatbatch/io/chat/chatsim"
	"chatbatch/io/ledger"
)

// A window is over when its second is, and is taken once.
func TestMeterTakeWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Meter{}
		at := time.Now().Unix()
		m.answered(time.Millisecond)
		m.settled(settledRows{1, map[string]int64{"a": 2, "b": 1}}, ledger.Cost{})
		m.settled(settledRows{0, map[string]int64{"a": 1}}, ledger.Cost{})
		if got := m.TakeWindows(false); len(got) > 0 {
			t.Errorf("got %+v, which goes on", got)
		}
		time.Sleep(time.Second)
		m.answered(time.Second)
		got := m.TakeWindows(false)
		if len(got) != 1 || got[0].Unix != at || got[0].Seconds != 1 || got[0].Latency.Calls() != 1 || !maps.Equal(got[0].Failed, map[string]int64{"a": 3, "b": 1}) {
			t.Errorf("got %+v", got)
		}
		m.answered(time.Second)
		if got := m.TakeWindows(true); len(got) != 1 || got[0].Unix != at+1 || got[0].Latency.Calls() != 2 || got[0].Failed != nil {
			t.Errorf("got %+v, want that which goes on", got)
		}
		if got := m.TakeWindows(true); len(got) > 0 {
			t.Errorf("got %+v, taken twice", got)
		}
		if r := m.Read(); r.Succeeded != 1 || r.Failed != 4 || m.Latency().Calls() != 3 {
			t.Errorf("got %+v and %d calls", r, m.Latency().Calls())
		}
	})
}

// The longer a run, the longer its windows; nothing is lost, taken or not.
func TestWindowsGrow(t *testing.T) {
	for run, want := range map[time.Duration]int{
		-time.Hour: 1, 0: 1, time.Second: 1, 2047 * time.Second: 1, 2048 * time.Second: 2, 3 * time.Hour: 8, 10 * time.Hour: 32, 1000 * time.Hour: 2048,
	} {
		if got := windowSeconds(run); got != want {
			t.Errorf("after %v: got %d s, want %d", run, got, want)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		every := rapid.IntRange(0, 100).Draw(r, "take every")
		steps := rapid.SliceOfN(rapid.IntRange(0, 5000), 1, 200).Draw(r, "seconds between calls")
		m := &Meter{}
		var windows []ledger.Window
		most := 0
		synctest.Test(t, func(*testing.T) {
			for i, s := range steps {
				time.Sleep(time.Duration(s) * time.Second)
				m.answered(time.Duration(s))
				if every > 0 && i%every == 0 {
					windows = append(windows, m.TakeWindows(false)...)
				}
				most = max(most, len(m.windows))
			}
			windows = append(windows, m.TakeWindows(true)...)
		})
		all := &ledger.Latency{}
		for _, w := range windows {
			all.Merge(w.Latency)
		}
		if most > keepWindows || all.Calls() != int64(len(steps)) || *all.Quantiles() != *m.Latency().Quantiles() {
			r.Fatalf("at most %d windows are kept; got %d calls, want %d", most, all.Calls(), len(steps))
		}
	})
}

// Of a meter whose windows nobody takes the last one goes on.
func TestWindowsThatNobodyTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Meter{}
		began := time.Now().Unix()
		for range 3 * keepWindows {
			m.answered(time.Millisecond)
			time.Sleep(time.Second)
		}
		windows := m.TakeWindows(true)
		last := windows[len(windows)-1]
		if len(windows) != keepWindows || last.Unix != began+keepWindows-1 || last.Seconds != 2*keepWindows+1 || last.Latency.Calls() != 2*keepWindows+1 {
			t.Errorf("got %d windows, the last %+v with %d calls", len(windows), last, last.Latency.Calls())
		}
	})
}

// The latency of several jobs is that of all, and a meter for all keeps no windows:
// nobody takes them.
func TestLatencyOfSeveralJobs(t *testing.T) {
	all := &Meter{}
	a, b := &Meter{All: all}, &Meter{All: all}
	a.answered(time.Millisecond)
	b.answered(time.Second)
	b.answered(time.Second)
	if all.Latency().Calls() != 3 || a.Latency().Calls() != 1 || len(all.windows) > 0 {
		t.Errorf("got %d and %d calls, %d windows", all.Latency().Calls(), a.Latency().Calls(), len(all.windows))
	}
}

// Each attempt that is answered counts, also one that is refused and tried again,
// with the time that it was on its way: neither its turn nor its waits. One whose
// answer is lost does not.
func TestLatencyOfARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, chatsim.Scenario{
			Open: true, QPS: -1, Latency: 30 * time.Millisecond, Seed: 1, OfflineRate: 0.1,
			Faults: []chatsim.Fault{{Kind: chatsim.KindCode, Code: 10002, Rate: 0.2}, {Kind: chatsim.KindLost, Rate: 0.1}},
		}, chunksOf(200))
		if err := s.runner.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		m := s.runner.Door.Meter
		lost := s.sim.Counts().Calls - m.Latency().Calls()
		if q := m.Latency().Quantiles(); q.P50 < 30 || q.Max > 31 || lost < 5 || lost > 60 {
			t.Errorf("got %+v of %d calls, %d are not in it", q, m.Latency().Calls(), lost)
		}
		failed := map[string]int64{}
		for _, w := range m.TakeWindows(true) {
			for class, n := range w.Failed {
				failed[class] += n
			}
		}
		want := map[string]int64{}
		for _, o := range s.ledger.outcomes {
			if o[0].Class != "" {
				want[o[0].Class]++
			}
		}
		if len(want) == 0 || !maps.Equal(failed, want) {
			t.Errorf("failed: got %v, want %v", failed, want)
		}
	})
}

// Over a wire it is the round trip, without the time it took to connect.
func TestLatencyIsTheRoundTrip(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(20 * time.Millisecond)
		_, _ = w.Write([]byte(`{"ActionStatus":"OK","ErrorCode":0}`))
	}))
	defer srv.Close()
	c := &chat.Client{Endpoint: srv.URL, SDKAppID: 1, Identifier: "administrator", Signer: chat.FixedSig("sig"), HTTP: chat.NewHTTPClient(1)}
	door, _ := newDoor()
	call := &Caller{door: door, hard: t.Context()}
	if err := call.Do(t.Context(), "api", 0, func(ctx context.Context) error { return c.SetUnread(ctx, "g", "a", 1) }); err != nil {
		t.Fatal(err)
	}
	if l := door.Meter.Latency(); l.Calls() != 1 || l.At(50) < 20*time.Millisecond {
		t.Errorf("got %d calls of %v", l.Calls(), l.At(50))
	}
	if got := trip(chat.Timing{RoundTrip: time.Second}, time.Now().Add(-time.Hour)); got != time.Second {
		t.Errorf("got %v, want the round trip", got)
	}
}

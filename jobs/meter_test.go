package jobs

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"chatbatch/io/ledger"
)

// Several jobs count their calls together, and their rows apart.
func TestMeterOfSeveralJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &Meter{}
		a, b := &Meter{All: all}, &Meter{All: all}
		for range 3 {
			a.call(false)
			b.call(true)
		}
		b.refused()
		time.Sleep(time.Second)
		a.call(false)
		a.refused()
		if got, want := all.Read(), (Reading{Calls: 7, Retries: 3, Refused: 2, InOneSecond: 1, MaxInOneSecond: 6, Silent: time.Second}); got != want {
			t.Errorf("all: got %+v", got)
		}
		if got, want := b.Read(), (Reading{Calls: 3, Retries: 3, Refused: 1, MaxInOneSecond: 3, Silent: time.Second}); got != want {
			t.Errorf("b: got %+v", got)
		}
		at := time.Now().Unix() - 1
		for _, test := range []struct {
			meter *Meter
			want  []ledger.Second
		}{
			{all, []ledger.Second{{Unix: at, Calls: 6, Retries: 3, Refused: 1}, {Unix: at + 1, Calls: 1, Refused: 1}}},
			{a, []ledger.Second{{Unix: at, Calls: 3}, {Unix: at + 1, Calls: 1, Refused: 1}}},
			{b, []ledger.Second{{Unix: at, Calls: 3, Retries: 3, Refused: 1}}},
		} {
			if got := test.meter.TakePace(); !slices.Equal(got, test.want) {
				t.Errorf("pace: got %+v, want %+v", got, test.want)
			}
		}
	})
}

// The pace is taken once, and of a meter whose pace nobody takes it is bounded.
func TestMeterTakePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Meter{}
		time.Sleep(900 * time.Millisecond)
		m.call(false) // the second is that of the clock, not one since the first call
		time.Sleep(200 * time.Millisecond)
		m.call(true)
		at := time.Now().Unix()
		if got, want := m.TakePace(), []ledger.Second{{Unix: at - 1, Calls: 1}, {Unix: at, Calls: 1, Retries: 1}}; !slices.Equal(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		m.call(false)
		if got, want := m.TakePace(), []ledger.Second{{Unix: at, Calls: 1}}; !slices.Equal(got, want) {
			t.Errorf("got %+v, want what has come since: %+v", got, want)
		}
		if got := m.TakePace(); len(got) > 0 {
			t.Errorf("got %+v, taken twice", got)
		}
		for range keepPace + 5 {
			time.Sleep(time.Second)
			m.call(false)
		}
		if got := m.TakePace(); len(got) != keepPace || got[len(got)-1] != (ledger.Second{Unix: time.Now().Unix(), Calls: 1}) || got[0].Unix != time.Now().Unix()-keepPace+1 {
			t.Errorf("got %d seconds, from %+v to %+v", len(got), got[0], got[len(got)-1])
		}
		if r := m.Read(); r.Calls != 3+keepPace+5 {
			t.Errorf("got %+v", r)
		}
	})
}

// The meter tells what is in the way while calls are tried again.
func TestMeterTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		door, _ := newDoor()
		call := &Caller{door: door, hard: t.Context()}
		if err := call.Do(t.Context(), "api", anyRetries, answers(refuse(10002), nil)); err != nil {
			t.Fatal(err)
		}
		if got, want := door.Meter.Read().Trouble, "test: code 10002: as the test wants it"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// The meter tells how long calls have been leaving without an answer.
func TestMeterSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Meter{}
		silent := func(want time.Duration) {
			t.Helper()
			if got := m.Read().Silent; got != want {
				t.Errorf("silent for %v, want %v", got, want)
			}
		}
		time.Sleep(time.Minute)
		silent(0) // nobody was asked
		m.call(false)
		time.Sleep(2 * time.Second)
		m.call(true)
		silent(2 * time.Second)
		m.answered(time.Second)
		time.Sleep(time.Second)
		silent(0)
		m.uncall(m.call(false), false) // it did not leave
		time.Sleep(time.Second)
		silent(0)
	})
}

package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/report"
	"chatbatch/jobs"
)

// A patient is a host whose health is asked for. Its database answers as long as dead is
// not set.
type patient struct {
	t    *testing.T
	o    *observer
	dead bool // under the observer's mu
	last time.Time
}

func newPatient(t *testing.T) *patient {
	j, _ := watching(t, observing{})
	p := &patient{t: t, o: &observer{log: j.log, base: t.Context(), host: newHostWatch()}, last: time.Now()}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go p.o.look(ctx)
	return p
}

func (p *patient) heard() (time.Time, error) {
	if p.dead {
		return p.last, errors.New("no route")
	}
	p.last = time.Now()
	return p.last, nil
}

// after looks at the host after a while.
func (p *patient) after(d time.Duration, health, ready string) {
	p.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	if say, ok := p.o.health(time.Now()); say != health || ok != (health == "ok") {
		p.t.Errorf("health: got %q, %v; want %q", say, ok, health)
	}
	if say, ok := p.o.ready(p.t.Context(), time.Now()); say != ready || ok != (ready == "ok") {
		p.t.Errorf("ready: got %q, %v; want %q", say, ok, ready)
	}
}

// A database that is away for a while makes a host not ready; it is stuck only when that
// lasts.
func TestHealthOfAHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t)
		p.after(time.Hour, "ok", "starting")
		p.o.hostStart(p.heard)
		p.after(time.Hour, "ok", "ok")
		p.o.under(func() { p.dead = true })
		p.after(readyFor, "ok", "ok")
		p.after(time.Minute, "ok", "the database has not answered for 1m10s: no route")
		p.after(stuckAfter-time.Minute-readyFor-time.Second, "ok", "the database has not answered for 4m59s: no route")
		p.after(time.Second, "stuck: the database has not answered for 5m0s: no route", "the database has not answered for 5m0s: no route")
		p.o.under(func() { p.dead = false })
		p.after(0, "ok", "ok")
		stopping, stop := context.WithCancel(t.Context())
		stop()
		if say, ok := p.o.ready(stopping, time.Now()); ok || say != "stopping" {
			t.Errorf("got %q, %v", say, ok)
		}
	})
}

// A run is stuck when nothing at all is done with what this host has in hand of it, and
// that is not for want of the database.
func TestHealthOfAHostsRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t)
		p.o.hostStart(p.heard)
		idle := true
		one := &task{run: "R", meter: &jobs.Meter{}, lanes: func() (int, int) { return 0, 0 }, idle: func() bool { return idle }}
		ends := p.o.taskBegins(one)
		p.after(time.Hour, "ok", "ok") // others have all of it
		p.o.under(func() { idle = false })
		p.after(stuckAfter-lookEvery, "ok", "ok")
		p.after(lookEvery, "stuck: run R has got nowhere for 5m0s: no call has left", "ok")
		p.o.under(func() { one.progress = -1 }) // it was less
		p.after(lookEvery, "ok", "ok")
		p.after(stuckAfter/2, "ok", "ok")
		p.o.under(func() { p.dead = true })
		p.after(2*time.Minute, "ok", "the database has not answered for 2m0s: no route")
		p.o.under(func() { p.dead = false })
		p.after(stuckAfter-2*lookEvery, "ok", "ok") // counted from when it was back
		p.after(2*lookEvery, "stuck: run R has got nowhere for 5m0s: no call has left", "ok")
		ends()
		p.after(time.Hour, "ok", "ok")
	})
}

// A freeLimiter has a turn for everybody.
type freeLimiter struct{}

func (freeLimiter) Take(context.Context, string) (func(time.Duration, bool), func() bool, error) {
	return func(time.Duration, bool) {}, func() bool { return false }, nil
}

func (l freeLimiter) TakeAhead(ctx context.Context, api string) (func(time.Duration, bool), func() bool, error) {
	return l.Take(ctx, api)
}

func (freeLimiter) SlowDown(string) {}

// called makes a meter count so many calls.
func called(t *testing.T, m *jobs.Meter, calls int) {
	t.Helper()
	caller := jobs.NewCaller(t.Context(), &jobs.Door{Limiter: freeLimiter{}, Retry: jobs.DefaultRetry(), Meter: m}, 1)
	for range calls {
		if err := caller.Do(t.Context(), "x", 0, func(context.Context) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
}

// What runs have come to is added up: series are as many as kinds and apps, however many
// runs there are, also two of one kind at once, and no counter goes down when one ends.
func TestMetricsOfAHost(t *testing.T) {
	j, _ := watching(t, observing{metricsName: "w"})
	j.ofHost = true
	o := &observer{log: j.log, name: "w", base: t.Context(), host: newHostWatch()}
	m := report.NewHostMetrics(o.readHost)
	shown := func() string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "w.prom")
		if err := m.WriteFile(path); err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(metricsIn(t, path)) {
			if strings.HasPrefix(line, "chatbatch_calls_total{") || strings.HasPrefix(line, "chatbatch_runs{") || strings.HasPrefix(line, "chatbatch_lanes{") {
				lines = append(lines, strings.TrimPrefix(strings.TrimSpace(line), "chatbatch_"))
			}
		}
		return strings.Join(lines, "\n")
	}
	begin := func(kind string, app int64, calls int) (ends func()) {
		meter := &jobs.Meter{}
		called(t, meter, calls)
		return o.taskBegins(&task{
			workKey: workKey{kind: kind, app: app}, run: "R", meter: meter, idle: func() bool { return true }, lanes: func() (int, int) { return 1, 2 },
		})
	}
	want := func(text string) {
		t.Helper()
		if d := cmp.Diff(text, shown()); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	}
	want("")
	first, second := begin("marks set", 1, 3), begin("marks set", 1, 4)
	other := begin("marks set", 2, 5)
	want(`calls_total{kind="marks set",name="w",sdkappid="1"} 7
calls_total{kind="marks set",name="w",sdkappid="2"} 5
lanes{kind="marks set",name="w",sdkappid="1"} 2
lanes{kind="marks set",name="w",sdkappid="2"} 2
runs{kind="marks set",name="w",sdkappid="1"} 2
runs{kind="marks set",name="w",sdkappid="2"} 1`)
	first()
	first() // is of no account
	other()
	want(`calls_total{kind="marks set",name="w",sdkappid="1"} 7
calls_total{kind="marks set",name="w",sdkappid="2"} 5
lanes{kind="marks set",name="w",sdkappid="1"} 2
runs{kind="marks set",name="w",sdkappid="1"} 1
runs{kind="marks set",name="w",sdkappid="2"} 0`)
	second()
	for range 100 {
		begin("marks set", 1, 1)()
	}
	want(`calls_total{kind="marks set",name="w",sdkappid="1"} 107
calls_total{kind="marks set",name="w",sdkappid="2"} 5
runs{kind="marks set",name="w",sdkappid="1"} 0
runs{kind="marks set",name="w",sdkappid="2"} 0`)
}

// A schedule is to the metrics as a command that has its name: how its newest tick has
// ended here. One that is given back has not.
func TestMetricsOfSchedules(t *testing.T) {
	j, _ := watching(t, observing{})
	o := &observer{log: j.log, base: t.Context(), host: newHostWatch()}
	o.tickBegins("nightly")(exitOK, false)
	success := o.readHost().Schedules[0].Ends.Success
	ended := o.tickBegins("nightly")
	if s := o.readHost().Schedules; len(s) != 1 || s[0].Name != "nightly" || !s[0].Running || s[0].Ends.Exit != exitOK || success.IsZero() {
		t.Errorf("got %+v", s)
	}
	ended(0, true)
	if s := o.readHost().Schedules[0]; s.Running || !s.Ends.Success.Equal(success) || !s.Ends.Last.Equal(success) {
		t.Errorf("it was given back; got %+v", s)
	}
	o.tickBegins("nightly")(exitFailed, false)
	if s := o.readHost().Schedules[0]; s.Ends.Exit != exitFailed || !s.Ends.Success.Equal(success) || s.Ends.Finished.Equal(success) {
		t.Errorf("got %+v", s)
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatbatch/io/ledger"
)

// Each run is 8 calls, and takes a good part of the time between two ticks.
const oftenYAML = `timezone: Asia/Shanghai
qps: 10
schedules:
  - {name: often, cron: "@every 2s", kind: marks set, input: one.csv}
  - {name: other, cron: "@every 3s", kind: marks set, input: two.csv, overlap: wait}
`
const oftenRows = 8

// holdOften starts a host that holds schedules whose ticks come every few seconds.
func (f *fleetRig) holdOften() *process {
	f.t.Helper()
	dir := f.t.TempDir()
	roster := func(mark int) string {
		text := "group_id,account,marks\n"
		for g := range oftenRows {
			text += fmt.Sprintf("@TGS#%d,student 2,%d\n", g, mark)
		}
		return text
	}
	for name, text := range map[string]string{
		"often.yaml": oftenYAML, "one.csv": roster(1000), "two.csv": roster(1001),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			f.t.Fatal(err)
		}
	}
	env := append(slices.Clone(f.env), "CHATBATCH_SECRET_KEY=any")
	return start(f.t, dir, env, nil, "schedule", "often.yaml", "--endpoint", f.url, "--sdkappid", "1400000000", "--identifier", "administrator")
}

// ticksOf are the ticks of a schedule, as people are told.
func (f *fleetRig) ticksOf(name string) (all []listedTick) {
	f.t.Helper()
	stdout, code := start(f.t, f.dir, f.env, nil, "schedule", "history", name, "--json", "--limit", "1000").end(f.t)
	if code != exitOK {
		f.t.Fatalf("exit code %d", code)
	}
	for dec := json.NewDecoder(strings.NewReader(stdout)); dec.More(); {
		var t listedTick
		if err := dec.Decode(&t); err != nil {
			f.t.Fatal(err)
		}
		all = append(all, t)
	}
	return all
}

// TestScheduleKill kills hosts that hold the same schedules, again and again, around their
// ticks. Each tick is there, once, and so is its run.
func TestScheduleKill(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 4, "50")
	hosts := []*process{f.holdOften(), f.holdOften(), f.holdOften()}
	kills := 4
	if testing.Short() {
		kills = 2
	}
	for i := range kills {
		time.Sleep(time.Duration(1500+f.rng.IntN(2000)) * time.Millisecond)
		_ = hosts[i%3].Process.Kill()
		<-hosts[i%3].ended
		hosts[i%3] = f.holdOften()
	}
	f.untilDone("often", hosts[0])
	f.untilDone("other", hosts[0])
	for _, p := range hosts {
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range hosts {
		if _, code := p.end(t); code != exitOK {
			t.Errorf("a host ends with exit code %d; it said:\n%s", code, p.stderr.String())
		}
	}
	runs := map[string]bool{}
	for name, every := range map[string]time.Duration{"often": 2 * time.Second, "other": 3 * time.Second} {
		f.checkTicks(name, every, runs)
	}
	infos, err := f.store.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range infos {
		if !runs[i.Run] && i.State != ledger.Planning {
			t.Errorf("run %s belongs to no tick", i.Run)
		}
		delete(runs, i.Run)
	}
	if len(runs) > 0 {
		t.Errorf("there are no runs %v", slices.Collect(maps.Keys(runs)))
	}
}

// untilDone waits until three more ticks of a schedule have been done: what the dead had
// in hand is taken over by then.
func (f *fleetRig) untilDone(name string, p *process) {
	f.t.Helper()
	done := func() (n int) {
		for _, tick := range f.ticksOf(name) {
			if tick.State == ledger.TickEnded {
				n++
			}
		}
		return n
	}
	want := done() + 3
	if !p.until(f.t, func() bool { time.Sleep(time.Second); return done() >= want }) {
		f.t.Fatalf("a host has ended by itself; it said:\n%s", p.stderr.String())
	}
}

// checkTicks looks whether no tick of a schedule is missing, and whether those that are
// done have a run each, which is added to runs.
func (f *fleetRig) checkTicks(name string, every time.Duration, runs map[string]bool) {
	f.t.Helper()
	states := map[ledger.TickState]int{}
	var last time.Time
	var taken int
	for _, tick := range f.ticksOf(name) {
		at, err := time.Parse(time.RFC3339, tick.Tick)
		if err != nil {
			f.t.Fatal(err)
		}
		if !last.IsZero() && at.Sub(last) != every {
			f.t.Errorf("%s: %v comes after %v", name, at, last)
		}
		last = at
		states[tick.State]++
		if tick.State == ledger.TickEnded && (tick.Run == "" || *tick.Exit != exitOK || tick.Rows == nil || *tick.Rows != oftenRows) {
			f.t.Errorf("%s: got %+v", name, tick)
		}
		if runs[tick.Run] {
			f.t.Errorf("%s: run %s is of two ticks", name, tick.Run)
		}
		if tick.Run != "" {
			runs[tick.Run] = true
		}
		if tick.Takes > 1 {
			taken++
		}
	}
	f.t.Logf("%s: %v, of which %d were taken over", name, states, taken)
	if states[ledger.TickEnded] < 3 || states[ledger.TickMissed] > 0 {
		f.t.Errorf("%s: got %v", name, states)
	}
}

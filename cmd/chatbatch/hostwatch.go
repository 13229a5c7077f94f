package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"chatbatch/io/report"
	"chatbatch/jobs"
)

const (
	// stuckAfter is how long a host may do nothing with what it has in hand, or hear
	// nothing of its database, until it is called stuck: somebody may start it anew for
	// that, and what is wrong with the database or the server alone is no reason to.
	stuckAfter = 5 * time.Minute

	// readyFor is how long a host counts as ready after its database has answered. Without
	// it nothing is begun.
	readyFor = 10 * time.Second
)

// A hostWatch is what an observer knows of a host: a process that has many runs, side by
// side and one after the other. What they have come to is added up by what does not grow
// without end: schedule, kind and app.
type hostWatch struct {
	heard func() (last time.Time, why error) // of the database; under the observer's mu

	done      map[workKey]*report.WorkNow   // under the observer's mu; what has ended
	tasks     map[*task]bool                // under the observer's mu; what is under way
	schedules map[string]*report.CommandNow // under the observer's mu; how their ticks end here
}

func newHostWatch() *hostWatch {
	return &hostWatch{done: map[workKey]*report.WorkNow{}, tasks: map[*task]bool{}, schedules: map[string]*report.CommandNow{}}
}

type workKey struct {
	name, kind string
	app        int64
}

// A task is a run that a host works on.
type task struct {
	workKey
	run   string
	meter *jobs.Meter
	lanes func() (usable, of int)
	idle  func() bool // the host has nothing of it in hand

	progress int64     // of the meter
	since    time.Time // when that was seen first
}

// hostStart begins to know of a host: when it has heard last of its database.
func (o *observer) hostStart(heard func() (time.Time, error)) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.host.heard = heard
}

// taskBegins adds a run of a host; ends takes what has come of it.
func (o *observer) taskBegins(t *task) (ends func()) {
	if o == nil || o.host == nil {
		return func() {}
	}
	t.name, t.since = o.named(t.name), time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.host.tasks[t] = true
	return sync.OnceFunc(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.host.tasks, t)
		o.host.of(o.host.done, t).add(t)
	})
}

// tickBegins notes that a host works on a tick of a schedule; the one who calls ended says
// how that has ended. A tick that is given back has not.
func (o *observer) tickBegins(schedule string) (ended func(code int, again bool)) {
	if o == nil || o.host == nil {
		return func(int, bool) {}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.host.schedules[schedule]
	if c == nil {
		c = &report.CommandNow{Name: o.named(schedule), Ends: o.endsOf(o.named(schedule))}
		o.host.schedules[schedule] = c
	}
	c.Started, c.Running = time.Now(), true
	return func(code int, again bool) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if c.Running = false; !again {
			endedNow(c, code)
		}
	}
}

// endsOf is how the commands of a name have ended, as the file of metrics says.
func (o *observer) endsOf(name string) report.Ends {
	if o.path == "" {
		return report.Ends{}
	}
	ends, err := report.ReadEnds(o.path, name)
	if err != nil {
		return report.Ends{} // it was readable when the command began
	}
	return ends
}

// of is the entry of a task in all, made if there is none.
func (h *hostWatch) of(all map[workKey]*report.WorkNow, t *task) *workSum {
	if all[t.workKey] == nil {
		all[t.workKey] = &report.WorkNow{Name: t.name, Kind: t.kind, SDKAppID: t.app, ByClass: map[string]int64{}}
	}
	return (*workSum)(all[t.workKey])
}

// A workSum adds up what tasks have done.
type workSum report.WorkNow

func (s *workSum) add(t *task) {
	r := t.meter.Read()
	s.Succeeded += r.Succeeded
	s.Failed += r.Failed
	s.Calls += r.Calls
	s.Retries += r.Retries
	s.Refused += r.Refused
	for class, rows := range t.meter.FailedByClass() {
		s.ByClass[class] += rows
	}
	l := t.meter.Latency()
	l.Merge(s.Latency)
	s.Latency = l
}

// readHost is what the metrics of a host are made of.
func (o *observer) readHost() report.HostNow {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := report.HostNow{Command: o.command}
	if o.host.heard != nil {
		now.Heard, _ = o.host.heard()
	}
	for _, name := range slices.Sorted(maps.Keys(o.host.schedules)) {
		now.Schedules = append(now.Schedules, *o.host.schedules[name])
	}
	all := map[workKey]*report.WorkNow{}
	for key, w := range o.host.done {
		sum := *w
		sum.ByClass, sum.Latency = maps.Clone(w.ByClass), w.Latency.Clone()
		all[key] = &sum
	}
	for t := range o.host.tasks {
		s := o.host.of(all, t)
		s.add(t)
		s.Runs++
		s.LastSecond += t.meter.Read().InOneSecond
		s.Lanes, s.Budget = t.lanes()
	}
	for _, w := range all {
		now.Work = append(now.Work, *w)
	}
	return now
}

// see notes which runs have got on. An attempt that leaves is as good as an answer: a
// server that is away is no reason to start a host anew, nor is a database.
func (h *hostWatch) see(now time.Time) {
	away := h.heard == nil
	if !away {
		last, _ := h.heard()
		away = now.Sub(last) > readyFor
	}
	for t := range h.tasks {
		m := t.meter.Read()
		if p := m.Succeeded + m.Failed + m.Fetched + m.Calls; p != t.progress || away || t.idle() {
			t.progress, t.since = p, now
		}
	}
}

// health says in words whether a host does what it can.
func (h *hostWatch) health(now time.Time) (say string, ok bool) {
	var wrong []string
	if h.heard != nil {
		if last, why := h.heard(); !last.IsZero() && now.Sub(last) >= stuckAfter {
			wrong = append(wrong, unheard(now.Sub(last), why))
		}
	}
	for t := range h.tasks {
		if idle := now.Sub(t.since); idle >= stuckAfter {
			wrong = append(wrong, fmt.Sprintf("run %s has got nowhere for %v: no call has left", t.run, idle.Round(time.Second)))
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return "stuck: " + strings.Join(wrong, "; "), false
	}
	return "ok", true
}

func unheard(ago time.Duration, why error) string {
	text := fmt.Sprintf("the database has not answered for %v", ago.Round(time.Second))
	if why != nil {
		text += ": " + outward(why)
	}
	return text
}

// ready says in words whether a host begins what comes; stopping is the context that ends
// when it is to stop.
func (o *observer) ready(stopping context.Context, now time.Time) (say string, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if stopping.Err() != nil {
		return "stopping", false
	}
	if o.host.heard == nil {
		return "starting", false
	}
	switch last, why := o.host.heard(); {
	case last.IsZero():
		return "starting", false
	case now.Sub(last) > readyFor:
		return unheard(now.Sub(last), why), false
	}
	return "ok", true
}

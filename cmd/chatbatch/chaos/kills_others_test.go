//go:build linux

package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestKillAndWait kills a process that others wait for, with --if-locked wait: the first of
// them goes on at once, and the last finds that there is nothing left to do.
func TestKillAndWait(t *testing.T) {
	t.Parallel()
	for range times(1, 8) {
		d := fileDeed(newPlace(t), 1)
		k := newKilling(t, d)
		d.api.misbehave(func(c *call) bool { <-c.r.Context().Done(); return true })
		calls := d.api.count()
		holder := d.start(k.words()...)
		if !holder.until(func() bool { return d.api.count() > calls }) {
			t.Fatal("the first one ended:\n" + holder.stderr.String())
		}
		first := d.start("run", d.crossed(), "--if-locked", "wait")
		second := d.start("resume", "--if-locked", "wait")
		time.Sleep(k.upTo(200 * time.Millisecond))
		d.api.misbehave(nil)
		_ = holder.Process.Kill()
		k.killed(holder)
		first.end().want(t, exitFailed)
		if e := second.end(); e.code != exitOK { // "has ended meanwhile", if the first one was faster
			e.want(t, exitFailed)
		}
		tried.add("SIGKILL of a process that two others wait for", k.kills, k.finish(1))
	}
}

// TestKillCrossed begins two processes at once, with the same jobs in the opposite order,
// and kills one of them, while it has some of the locks, or all, or waits. The other one
// does the work.
func TestKillCrossed(t *testing.T) {
	needsFull(t)
	t.Parallel()
	for range times(1, 10) {
		d := fileDeed(newPlace(t), 1)
		k := newKilling(t, d)
		gate := make(chan struct{})
		d.api.misbehave(func(*call) bool { <-gate; return false })
		one := d.start(append(k.words(), "--if-locked", "wait")...)
		other := d.start("run", d.crossed(), "--if-locked", "wait", "--json")
		time.Sleep(k.upTo(2 * life))
		if k.rng.IntN(2) == 0 {
			one, other = other, one
		}
		_ = one.Process.Kill()
		one.code()
		k.kills++
		close(gate)
		other.end().want(t, exitFailed)
		tried.add("SIGKILL of one of two processes that want the same jobs in the opposite order", 1, k.finish(1))
	}
}

// crossed is a file with the jobs of a fileDeed in the opposite order.
func (d *deed) crossed() string {
	return d.file("crossed.yaml", `max-bad-rows: 50%
jobs:
  - {kind: export members, input: groups.csv, output: members.csv}
  - {kind: unread set, input: counts.csv, chunk-size: 30}
  - {kind: marks set, input: class.csv, chunk-size: 5}
`)
}

// TestKillWaiting kills processes that wait for another one, and then that one: the last
// who waits does the work.
func TestKillWaiting(t *testing.T) {
	needsFull(t)
	t.Parallel()
	d := marksDeed(newPlace(t), 1)
	k := newKilling(t, d)
	d.api.misbehave(func(c *call) bool { <-c.r.Context().Done(); return true })
	holder := d.start(k.words()...)
	holder.until(func() bool { return d.api.count() > 0 })
	for range times(2, 10) { // who waits dies, and leaves nothing
		c := d.start(append(k.words(), "--if-locked", "wait")...)
		time.Sleep(k.upTo(150 * time.Millisecond))
		_ = c.Process.Kill()
		c.code()
		k.kills++
	}
	last := d.start(append(k.words(), "--if-locked", "wait")...)
	d.api.misbehave(nil)
	_ = holder.Process.Kill()
	holder.code()
	k.kills++
	last.end().want(t, exitFailed)
	tried.add("SIGKILL of processes that wait for a lock, and of its holder", k.kills, k.finish(1))
}

// TestKillLanes kills a process that holds all lanes of the host's budget, each for a call
// that is not answered: another process goes on within seconds.
func TestKillLanes(t *testing.T) {
	t.Parallel()
	const qps = 20
	for range times(1, 5) {
		p := newPlace(t)
		rows := p.classRows(5, 60)
		name := p.roster("class.csv", classHeader, rows)
		args := []string{"marks", "set", name, "--chunk-size", "5", "--limiter", "host", "--qps", fmt.Sprint(qps), "--json"}
		p.api.misbehave(func(c *call) bool { // but for the first, which goes alone
			if c.n == 1 {
				return false
			}
			<-c.r.Context().Done()
			return true
		})
		holder := p.start(append(args, "--workers", "64")...)
		if !holder.until(func() bool { return p.api.count() > qps }) {
			t.Fatal("it ended:\n" + holder.stderr.String())
		}
		p.api.misbehave(nil)
		_ = holder.Process.Kill()
		killed := time.Now()
		holder.code()
		calls := p.api.count()
		next := p.start(args...)
		answered := next.until(func() bool { return p.api.count() > calls+1 })
		if took := time.Since(killed); !answered || took > 20*time.Second {
			t.Errorf("the next process sent nothing for %v", took)
		}
		e := next.end()
		e.want(t, exitFailed)
		if most := p.api.busiest(); most > qps {
			t.Errorf("got %d calls in a second, the budget is %d", most, qps)
		}
		if left, err := filepath.Glob(filepath.Join(p.dir, "state", "chatbatch", "lanes", "*.members", "*")); err != nil || len(left) > 0 {
			t.Errorf("left behind among the lanes: %v, %v", left, err)
		}
		s := p.summary(e)
		tried.add("SIGKILL of a process that holds all lanes of the host", 1, p.wrong(s.Run, classHeader, rows)+p.wrongMarks(rows))
	}
}

// TestKillPrune kills prune while it removes runs. Each is there as a whole or not at all,
// and the next one removes the rest.
func TestKillPrune(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	kills := 0
	prune := []string{"runs", "prune", "--force", "--unfinished", "--older-than", "0s"}
	for i := range times(2, 20) {
		for j := range 3 {
			c := p.command("marks", "set", p.roster("class.csv", classHeader, p.classRows(2, 10+i+j)), "--chunk-size", "2")
			c.killAt(p.api, 2, beforeAnswer, 0) // its rests are never resumed
			c.code()
		}
		names := len(p.names())
		c := p.start(prune...)
		c.until(func() bool { return len(p.names()) < names })
		_ = c.Process.Kill()
		if c.code() < 0 {
			kills++
		}
		p.api.misbehave(nil)
		p.list()
	}
	p.run(prune...).want(t, exitOK)
	p.swept()
	if left, err := os.ReadDir(p.runs()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	tried.add("SIGKILL of runs prune, over runs that were killed and never resumed", kills, 0)
}

// An export that was killed before it was published is one that can be resumed: prune
// leaves it alone.
func TestPruneAfterKills(t *testing.T) {
	t.Parallel()
	d := membersDeed(newPlace(t), 1, "members.csv")
	k := newKilling(t, d)
	k.times(1, k.atFiles)
	if k.over {
		t.Skip("left out: the export was faster than its kill")
	}
	before := k.names()
	d.run("runs", "prune", "--force", "--older-than", "0s").want(t, exitOK)
	if after := k.names(); len(after) != 1 || !slices.Contains(before, after[0]) {
		t.Fatalf("the runs are %v, were %v: the one that is not published should be there, the other one not", after, before)
	}
	d.earlier = nil
	d.run("resume").want(t, exitFailed)
	tried.add("runs prune of an export that was killed while it was published", 1, k.finish(1))
}

// What was killed while it planned never began, and cannot be resumed: it goes.
func TestPruneOfPlanning(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	text, _ := hugeRoster(60, 500)
	c := p.start("marks", "set", p.file("large.csv", text))
	c.until(func() bool { return len(p.names()) > 0 })
	_ = c.Process.Kill()
	c.code()
	if runs := p.list(); len(runs) != 1 || runs[0].State != "planning" {
		t.Skipf("left out: the plan was faster than its kill: %+v", runs)
	}
	p.run("runs", "prune", "--older-than", "0s").want(t, exitOK)
	if len(p.names()) != 1 {
		t.Error("it is gone, though nobody said --force")
	}
	p.run("runs", "prune", "--older-than", "0s", "--force").want(t, exitOK)
	p.swept()
	if names := p.names(); len(names) > 0 {
		t.Errorf("it is still there: %v", names)
	}
	tried.add("runs prune of a run whose planning was killed", 1, 0)
}

// TestKillAtCeiling kills a command again and again that shares the host's budget with
// another one, which goes on meanwhile: together they keep to it.
func TestKillAtCeiling(t *testing.T) {
	needsFull(t)
	t.Parallel()
	const qps = 50
	k := newKilling(t, marksDeed(newPlace(t), times(4, 16)))
	k.args = append(k.args, "--limiter", "host", "--qps", fmt.Sprint(qps))
	text := "group_id,account,marks\n"
	for m := range times(80, 500) {
		account := fmt.Sprintf("neighbour %d", m)
		k.api.join("@TGS#beside", account)
		text += "@TGS#beside," + account + ",1000\n"
	}
	beside := k.place.start("marks", "set", k.file("beside.csv", text), "--chunk-size", "1", "--limiter", "host", "--qps", fmt.Sprint(qps), "--json")
	for n := times(2, 16); n > 0; n-- {
		c := k.place.command(k.words()...)
		c.killAt(k.api, 2+k.rng.IntN(12), phase(k.rng.IntN(int(phases))), k.upTo(20*time.Millisecond))
		k.killed(c)
	}
	e := beside.end()
	e.want(t, exitOK)
	k.args, k.jobs = k.words(), 2
	k.last()
	if most := k.api.busiest(); most > qps {
		t.Errorf("got %d calls in a second, the budget is %d", most, qps)
	}
	tried.add("SIGKILL of one of two processes that share the host's budget", k.kills, k.summary(e).Unprocessed)
}

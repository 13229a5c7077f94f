//go:build linux

package chaos

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Looking at a run while it goes on, and ends, disturbs nothing: the reports that it
// leaves are those of its end.
func TestLookingOn(t *testing.T) {
	t.Parallel()
	for range times(1, 8) {
		p := newPlace(t)
		rows := p.classRows(4, 100)
		c := p.start("marks", "set", p.roster("class.csv", classHeader, rows), "--chunk-size", "2", "--workers", "8", "--json")
		if !c.until(func() bool { return p.api.count() > 20 }) {
			t.Fatal("it was too fast")
		}
		run := filepath.Base(p.runDirs()[0])
		for i := 0; c.alive(); i++ {
			p.run([][]string{{"report", run}, {"runs", "show", run}, {"runs", "list"}, {"report", run}}[i%4]...).want(t, exitOK)
		}
		e := c.end()
		e.want(t, exitFailed)
		if s := p.summary(e); s.Run != run {
			t.Errorf("got run %s, want %s", s.Run, run)
		}
		tried.add("a run that report, runs show and runs list look at until it has ended", 1, p.wrong(run, classHeader, rows)+p.wrongMarks(rows))
	}
}

// A report that was begun while the run went on, and is written when that has ended, has
// the newest books all the same.
func TestLateReport(t *testing.T) {
	t.Parallel()
	if !*full {
		t.Skip("a run waits 10 s for a reader of its ledger that is stopped: see -full")
	}
	for range 4 {
		p := newPlace(t)
		rows := p.classRows(6, 200)
		h := p.hold(30, true)
		c := p.start("marks", "set", p.roster("class.csv", classHeader, rows), "--chunk-size", "10", "--json")
		c.until(func() bool { return h.came.Load() >= 60 })
		run := filepath.Base(p.runDirs()[0])
		report := p.caught(run)
		if report == nil {
			t.Skip("it was too fast to be stopped")
		}
		h.release()
		c.end().want(t, exitFailed)
		report.signal(syscall.SIGCONT)
		report.end().want(t, exitOK)
		tried.add("a report that is stopped while it is written, until the run has ended", 1, p.wrong(run, classHeader, rows))
	}
}

// caught starts a report and stops it while its files have no names yet.
func (p *place) caught(run string) *process {
	parts := func() bool {
		found, _ := filepath.Glob(filepath.Join(p.runs(), run, ".summary.json.part-*"))
		return len(found) > 0
	}
	for range 50 {
		c := p.start("report", run)
		if c.until(parts) {
			c.signal(syscall.SIGSTOP)
			time.Sleep(20 * time.Millisecond)
			if parts() {
				return c
			}
			c.signal(syscall.SIGCONT)
		}
		c.end().want(p.t, exitOK)
	}
	return nil
}

// What must not be done to a run under way is refused, and it ends as if nothing had been.
func TestMeddling(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	rows := p.classRows(4, 30)
	input := p.roster("class.csv", classHeader, rows)
	args := []string{"marks", "set", input, "--chunk-size", "2"}
	h := p.hold(25, true)
	c := p.start(append(args, "--json")...)
	c.until(func() bool { return h.came.Load() >= 10 })
	run, calls := filepath.Base(p.runDirs()[0]), p.api.count()
	p.run("resume").want(t, exitTryLater, "another process works on this run")
	p.run("resume", run).want(t, exitTryLater, "another process works on this run")
	p.run("resume", run, run).want(t, exitUsage)
	p.run("resume", "20200101T000000.000Z-abcdef").want(t, exitUsage, "there is no run")
	p.run("resume", "--if-locked", "skip", "--quiet").want(t, exitOK)
	p.run(args...).want(t, exitTryLater)
	p.run("runs", "prune", "--force", "--older-than", "0s").want(t, exitOK)
	p.run("runs", "prune", "--force", "--older-than", "0s", "--unfinished").want(t, exitTryLater, "locked")
	p.run("retry", run, "--class", "no_such_class").want(t, exitUsage, "has not ended")
	waiter := p.speak("resume", run, "--if-locked", "wait", "--json")
	waiter.begin()
	waiter.hear("waiting for its end")
	if got := p.api.count(); got > calls+54 {
		t.Errorf("%d calls, of which %d before", got, calls)
	}
	h.release()
	e := c.end()
	e.want(t, exitFailed)
	after := waiter.end()
	after.want(t, exitFailed, "has ended meanwhile") // some rows have failed
	if a, b := p.summary(e), p.summary(after); a.Run != run || a.Succeeded != b.Succeeded || a.Failed != b.Failed || b.Calls != p.api.count() {
		t.Errorf("got %+v and %+v, %d calls", a, b, p.api.count())
	}
	p.run("resume", run).want(t, exitUsage, "has ended")
	tried.add("resume, retry, prune and the same command again while a run goes on", 10, p.wrong(run, classHeader, rows)+p.wrongMarks(rows))
}

// Retries: of what has failed so far, twice, of nothing, interrupted and gone on with.
func TestRetries(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	rows := p.classRows(4, 100)
	e := p.run("marks", "set", p.roster("class.csv", classHeader, rows), "--chunk-size", "10", "--json")
	e.want(t, exitFailed)
	run := p.summary(e).Run
	retry := []string{"retry", run, "--class", "offline_or_absent", "--workers", "1", "--grace", "0s", "--json"}
	h := p.hold(p.api.count()+2, false)
	c := p.start(retry...)
	c.until(func() bool { return h.came.Load() >= 1 })
	c.signal(syscall.SIGTERM)
	interrupted := c.end()
	interrupted.want(t, exitInterrupted, "next:  chatbatch resume")
	h.release()
	again := p.run(retry...)
	again.want(t, exitFailed, "resuming run")
	s := p.summary(again)
	if s.Run != p.summary(interrupted).Run || s.Rows != 8 || s.ByClass["offline_or_absent"] != 8 {
		t.Errorf("got %+v", s)
	}
	twice := p.run(retry...)
	twice.want(t, exitFailed, "planned run")
	for g := range 4 { // now they come
		for student := range 100 {
			if (student+7*g)%50 == 3 {
				p.api.join(fmt.Sprintf("@TGS#%d", g), fmt.Sprintf("student %d", student))
			}
		}
	}
	last := p.shell(twice.next(t) + " --json")
	last.want(t, exitOK)
	s = p.summary(last)
	if s.Succeeded != 8 {
		t.Errorf("got %+v", s)
	}
	p.run("retry", s.Run).want(t, exitOK, "has no failed rows")
	p.run("retry", s.Run, "--class", "refused").want(t, exitOK, "has no failed rows")
	p.run("retry").want(t, exitUsage)
	p.run("resume").want(t, exitUsage, "no run in")
	if left := p.remains(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	tried.add("retries: interrupted, twice, of nothing, when those who were offline have come", 7, p.wrong(run, classHeader, rows))
}

// The edges of the guards.
func TestGuards(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	input, _ := p.hall("class", 20)
	p.api.mu.Lock()
	p.api.groups["hall"].members = p.api.groups["hall"].members[2:] // two are offline
	p.api.mu.Unlock()
	for _, g := range firstOf(3, guard{"0", exitStopped}, guard{"2", exitFailed}, guard{"5%", exitStopped}, guard{"1", exitStopped}, guard{"0%", exitStopped},
		guard{"10%", exitFailed}, guard{"100%", exitFailed}) {
		e := p.run("marks", "set", input, "--chunk-size", "1", "--workers", "1", "--fresh", "--json", "--max-errors", g.most)
		e.want(t, g.code)
		s := p.summary(e)
		if g.code == exitStopped && s.Unprocessed == 0 || g.code == exitFailed && s.Failed != 2 {
			t.Errorf("--max-errors %s: %+v", g.most, s)
		}
		tried.add("the edges of --max-errors and --max-bad-rows", 1, 0)
	}
	bad := p.file("bad.csv", classHeader+"\n1,hall,class 5,1000\n2,hall,class 6,7\n"+strings.Repeat("3,hall,class 7,1000\n", 18))
	for _, g := range firstOf(2, guard{"0", exitInput}, guard{"5%", exitFailed}, guard{"0%", exitInput}, guard{"4%", exitInput}, guard{"1", exitFailed}, guard{"100%", exitFailed}) {
		calls := p.api.count()
		e := p.run("marks", "set", bad, "--fresh", "--json", "--max-bad-rows", g.most)
		e.want(t, g.code)
		if g.code == exitInput && (!strings.Contains(e.stderr, "line 3") || p.api.count() != calls) {
			t.Errorf("--max-bad-rows %s: %d calls, it said %q", g.most, p.api.count()-calls, e.stderr)
		} else if g.code == exitFailed && p.summary(e).ByClass["bad_row"] != 1 {
			t.Errorf("--max-bad-rows %s: %s", g.most, e.stdout)
		}
		tried.add("the edges of --max-errors and --max-bad-rows", 1, 0)
	}
	for _, text := range firstOf(1, "101%", "-1", "x", "-1%", "%", " ") {
		p.run("marks", "set", input, "--max-errors", text).want(t, exitUsage, "--max-errors")
		p.run("marks", "set", input, "--max-bad-rows", text).want(t, exitUsage, "--max-bad-rows")
	}
}

// A guard is a limit, and the exit code of a run with it.
type guard struct {
	most string
	code int
}

// A budget of time that is over before anything has begun, or in the first call: what is
// left goes on in as many pieces as it takes.
func TestPieces(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	input, rows := p.hall("class", 60)
	p.run("marks", "set", input, "--max-duration", "1ns", "--json").want(t, exitTryLater, "--max-duration is over")
	p.api.misbehave(func(c *call) bool { time.Sleep(20 * time.Millisecond); return false })
	args := []string{"marks", "set", input, "--chunk-size", "1", "--workers", "2", "--grace", "5s", "--json", "--quiet", "--max-duration"}
	pieces := 0
	for ; pieces < 200; pieces++ {
		e := p.run(append(args, fmt.Sprintf("%dms", 200+50*pieces))...)
		if e.code != exitTryLater {
			e.want(t, exitOK)
			break
		}
	}
	if pieces < 1 || len(p.runDirs()) != 1 || p.api.count() != 60 {
		t.Errorf("%d pieces, runs %v, %d calls", pieces, p.runDirs(), p.api.count())
	}
	tried.add("a run in pieces of --max-duration 200ms and more", pieces, p.wrong(filepath.Base(p.runDirs()[0]), classHeader, rows)+p.wrongMarks(rows))
}

// A file of jobs that is interrupted, or whose summary nobody can be told: the same
// command goes on with what has not ended, and prints one object.
func TestJobsInterrupted(t *testing.T) {
	t.Parallel()
	for range times(1, 5) {
		p := newPlace(t)
		first, rows := p.hall("class", 20)
		second, others := p.hall("other", 20)
		groups := p.groupsFile("public", 2, 300)
		p.file("jobs.yaml", "jobs:\n"+
			"  - {kind: marks set, name: a, input: "+first+", chunk-size: 1}\n"+
			"  - {kind: marks set, name: b, input: "+second+", chunk-size: 1}\n"+
			"  - {kind: export members, name: c, input: "+groups+", output: members.csv}\n")
		h := p.hold(20, true)
		c := p.start("run", "jobs.yaml", "--workers", "2", "--json", "--quiet")
		c.until(func() bool { return h.came.Load() >= 4 })
		p.run("run", "jobs.yaml", "--json").want(t, exitTryLater, "another process works on this run")
		c.signal(syscall.SIGTERM)
		time.Sleep(50 * time.Millisecond)
		h.release()
		e := c.end()
		e.want(t, exitInterrupted)
		runs := p.jobs(e, exitInterrupted)
		full := p.shell("exec chatbatch run jobs.yaml --json --quiet >/dev/full")
		full.want(t, exitStopped, "print summary", "no space left")
		lost := p.wrong(runs["a"], classHeader, rows) + p.wrong(runs["b"], classHeader, others) + p.wrongMarks(append(rows, others...))
		p.published("members.csv")
		if len(p.runDirs()) != 3 || p.api.countOf("modify_user_info") != 40 {
			t.Errorf("got runs %v, %d calls for 40 chunks", p.runDirs(), p.api.countOf("modify_user_info"))
		}
		tried.add("a file of three jobs that is interrupted, and whose summary meets a full stdout", 1, lost)
	}
}

// jobs reads the one object that a file of jobs has printed, and returns its runs by name.
func (p *place) jobs(e end, code int) map[string]string {
	p.t.Helper()
	var all struct {
		Exit int
		Jobs []struct{ Name, Run string }
	}
	if err := json.Unmarshal([]byte(e.stdout), &all); err != nil || all.Exit != code {
		p.t.Fatalf("%v: printed %q, which says %d", err, e.stdout, all.Exit)
	}
	runs := map[string]string{}
	for _, j := range all.Jobs {
		runs[j.Name] = j.Run
	}
	return runs
}

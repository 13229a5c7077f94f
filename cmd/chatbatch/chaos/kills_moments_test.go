package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// steps are system calls by which a process changes what others see of it, each with how
// often a thread of a short command makes it, about. (Names that a machine does not have
// are passed over.)
var steps = []struct {
	calls string
	often int
}{
	{"?rename,?renameat,?renameat2", 4},
	{"?unlink,?unlinkat", 3},
	{"?mkdir,?mkdirat", 2},
	{"?open,openat", 12},
	{"flock", 3},
	{"ftruncate", 3},
	{"fsync,?fdatasync", 8},
	{"pwrite64", 25},
	{"write", 6},
}

// TestKillSystemCalls kills commands of all kinds at a certain system call: so no step is
// too short to be hit. After some kills the command is given a last time.
func TestKillSystemCalls(t *testing.T) {
	t.Parallel()
	strace, err := exec.LookPath("strace")
	if err == nil {
		err = exec.Command(strace, "-qq", "-e", "trace=none", "true").Run()
	}
	if err != nil {
		t.Skipf("left out: processes are killed at system calls by strace, which does not work here: %v", err)
	}
	for name, begin := range deeds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kills, lost := 0, 0
			for want, tries := times(1, 14), 0; kills < want && tries < 3*want; tries++ {
				k := newKilling(t, begin(newPlace(t), 1))
				k.times(min(3, want-kills), func() { k.atStep(strace) })
				kills, lost = kills+k.kills, lost+k.finish(0)
			}
			if kills == 0 {
				t.Error("it was never killed")
			}
			tried.add("SIGKILL at a system call, of "+name, kills, lost)
		})
	}
}

// atStep kills the command as a thread of it begins a system call.
func (k *killing) atStep(strace string) {
	step := steps[k.rng.IntN(len(steps))]
	c := k.place.command(k.words()...)
	args := []string{strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + step.calls,
		"-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", step.calls, 1+k.rng.IntN(step.often)), binary}
	c.Path, c.Args = strace, append(args, c.Args[1:]...)
	c.begin()
	k.killed(c)
}

// TestKillPlanning kills commands of all kinds while they plan: some moments after they have
// taken their lock, or begun their run's directory.
func TestKillPlanning(t *testing.T) {
	t.Parallel()
	for name, begin := range deeds() {
		if name == "resume" {
			continue // it has a plan
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKilling(t, begin(newPlace(t), times(2, 8)))
			k.times(times(1, 12), k.planning)
			if k.kills == 0 {
				t.Error("it was never killed")
			}
			tried.add("SIGKILL while planning, of "+name, k.kills, k.finish(0))
		})
	}
}

func (k *killing) planning() {
	before, calls := len(k.runDirs()), k.api.count()
	locked := k.rng.IntN(2) == 0
	c := k.place.start(k.words()...)
	if c.until(func() bool {
		locks, _ := filepath.Glob(filepath.Join(k.runs(), "*.lock"))
		return len(k.runDirs()) > before || locked && len(locks) > 0 || k.api.count() > calls+5
	}) {
		time.Sleep(k.upTo(12 * time.Millisecond))
		_ = c.Process.Kill()
	}
	k.killed(c)
}

// TestKillSpilling kills a command that plans an input which does not fit into the memory
// for it: while the file is there to which it spills, and has no name.
func TestKillSpilling(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skipf("left out: what a process has open cannot be seen here: %v", err)
	}
	p := newPlace(t)
	text, rows := hugeRoster(300, 500)
	for _, r := range rows {
		p.api.join(r[0], r[1])
	}
	k := newKilling(t, &deed{place: p, jobs: 1, code: exitOK, args: []string{"marks", "set", p.file("huge.csv", text)}})
	k.check = func(runs []summary) int {
		lost := len(rows) - runs[0].Succeeded
		for _, marks := range p.api.allMarks() {
			if marks != "1000" {
				lost++
			}
		}
		return lost + len(rows) - len(p.api.allMarks())
	}
	k.times(times(1, 12), k.spilling)
	for _, r := range k.list() {
		if r.State == "planning" {
			p.run("resume", r.Run).want(t, exitUsage, "planning never ended", "run its command again")
		}
	}
	tried.add("SIGKILL while a large input is spilled to disk", k.kills, k.finish(1))
}

// hugeRoster has rows of some 80 bytes, each of another account, its groups interleaved.
func hugeRoster(groups, members int) (text string, rows [][2]string) {
	var b strings.Builder
	b.WriteString("group_id,account,marks\n")
	for m := range members {
		for g := range groups {
			r := [2]string{fmt.Sprintf("@TGS#a group with a long name %06d", g), fmt.Sprintf("a long account %06d of %06d", m, g)}
			fmt.Fprintf(&b, "%s,%s,1000\n", r[0], r[1])
			rows = append(rows, r)
		}
	}
	return b.String(), rows
}

func (k *killing) spilling() {
	c := k.place.start(k.words()...)
	if c.until(func() bool { return c.has(".plan-") }) {
		time.Sleep(k.upTo(100 * time.Millisecond))
		_ = c.Process.Kill()
	}
	k.killed(c)
}

// has says whether the process has a file open with text in its name.
func (c *process) has(text string) bool {
	dir := fmt.Sprintf("/proc/%d/fd", c.Process.Pid)
	files, _ := os.ReadDir(dir)
	return slices.ContainsFunc(files, func(f os.DirEntry) bool {
		name, _ := os.Readlink(filepath.Join(dir, f.Name()))
		return strings.Contains(name, text)
	})
}

// TestKillListing kills an export of all groups while it asks which there are: nothing is
// planned yet, and the next one asks again.
func TestKillListing(t *testing.T) {
	t.Parallel()
	k := newKilling(t, allGroupsDeed(newPlace(t), 1))
	for range times(3, 24) {
		c := k.place.command(k.words()...)
		c.killAt(k.api, 1+k.rng.IntN(2), phase(k.rng.IntN(int(afterAnswer))), 0)
		k.killed(c)
	}
	if names := k.names(); len(names) > len(k.earlier) {
		t.Errorf("a run was planned before the groups were known: %v", names)
	}
	tried.add("SIGKILL while the groups of the app are listed", k.kills, k.finish(times(3, 24)))
}

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
		_ = c.Process.Signal(syscall.SIGKILL)
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
// leaves it alone. What was killed while it planned is no run, and goes.
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

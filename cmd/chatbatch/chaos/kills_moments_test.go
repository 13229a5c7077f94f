//go:build linux

package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
	strace := straceOrSkip(t)
	for name, begin := range deeds("export members") {
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

// straceOrSkip is the program that kills others at a system call.
func straceOrSkip(t *testing.T) string {
	strace, err := exec.LookPath("strace")
	if err == nil {
		err = exec.Command(strace, "-qq", "-e", "trace=none", "true").Run()
	}
	if err != nil {
		t.Skipf("left out: processes are killed at system calls by strace, which does not work here: %v", err)
	}
	return strace
}

// atStep kills the command as a thread of it begins a system call.
func (k *killing) atStep(strace string) {
	step := steps[k.rng.IntN(len(steps))]
	k.under(strace, "trace="+step.calls, fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", step.calls, 1+k.rng.IntN(step.often)))
}

// under starts the command under strace with expressions, and waits for its end.
func (k *killing) under(strace, trace, inject string, more ...string) {
	k.t.Helper()
	c := k.place.command(k.words()...)
	args := append([]string{strace, "-f", "-qq", "-o", "/dev/null", "-e", trace, "-e", inject}, more...)
	c.Path, c.Args = strace, append(append(args, binary), c.Args[1:]...)
	c.begin()
	k.killed(c)
}

// TestKillDropping kills an export when it has been published, before what was fetched is
// removed. It is not published again, and least of all said to be in a file that is not
// there.
func TestKillDropping(t *testing.T) {
	t.Parallel()
	strace := straceOrSkip(t)
	d := membersDeed(newPlace(t), 1, "members.csv")
	k := newKilling(t, d)
	k.atCall() // then its directory is known
	var fetched []string
	for _, run := range k.names() {
		if !slices.Contains(k.earlier, run) {
			fetched = append(fetched, "-P", filepath.Join(k.runs(), run, "fetched.dat"))
		}
	}
	k.under(strace, "trace=?unlink,?unlinkat", "inject=?unlink,?unlinkat:signal=SIGKILL", fetched...)
	if k.kills != 2 || len(fetched) != 2 {
		t.Fatalf("it was killed %d times; runs are %v", k.kills, fetched)
	}
	run := filepath.Base(filepath.Dir(fetched[1]))
	d.run("resume", run, "-o", "other.csv").want(t, exitFailed, "it was published before, as "+d.target)
	if _, err := os.Stat(filepath.Join(d.dir, "other.csv")); err == nil {
		t.Error("it was published again")
	}
	tried.add("SIGKILL of an export between its publication and its end", 1, k.finish(2))
}

// TestKillPlanning kills commands of all kinds while they plan: some moments after they have
// taken their lock, or begun their run's directory.
func TestKillPlanning(t *testing.T) {
	t.Parallel()
	for name, begin := range deeds("marks set", "export members --all-groups") {
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
	needsFull(t)
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
	needsFull(t)
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

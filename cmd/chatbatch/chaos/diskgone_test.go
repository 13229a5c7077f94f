//go:build linux

package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// at does something once, when call n of a command comes.
func (p *place) at(command string, n int64, do func() error) {
	var calls atomic.Int64
	p.api.misbehave(func(c *call) bool {
		if c.command == command && calls.Add(1) == n {
			if err := do(); err != nil {
				p.t.Error(err)
			}
		}
		return false
	})
}

// removeUnder removes a directory in which a process may just be making a file.
func removeUnder(dir string) error {
	for {
		if err := os.RemoveAll(dir); !errors.Is(err, syscall.ENOTEMPTY) {
			return err
		}
	}
}

// TestDirectoryGoneUnderARun removes, or renames, the directory of a run, or all state,
// while the run goes on. It notices, and stops: nobody would find its books.
func TestDirectoryGoneUnderARun(t *testing.T) {
	t.Parallel()
	aside := "aside"
	for what, take := range map[string]func(p *place) error{
		"removed": func(p *place) error { return removeUnder(p.runDirs()[0]) },
		"renamed": func(p *place) error { return os.Rename(p.runs(), filepath.Join(p.dir, aside)) },
		"state":   func(p *place) error { return removeUnder(filepath.Join(p.dir, "state")) },
	} {
		for i := range times(1, 6) {
			t.Run(fmt.Sprint(what, i), func(t *testing.T) {
				p := newPlace(t)
				p.env = append(p.env, "CHATBATCH_LIMITER=host", "CHATBATCH_QPS=200")
				rows := p.classRows(10, 60)
				args := []string{"marks", "set", p.roster("class.csv", classHeader, rows), "--chunk-size", "5", "--json", "--quiet"}
				p.at("modify_user_info", int64(10+15*i), func() error { return take(p) })
				e := p.run(args...)
				e.want(t, exitStopped, "removed, renamed or replaced", "--fresh")
				p.api.misbehave(nil)
				if what == "renamed" {
					if err := errors.Join(os.RemoveAll(p.runs()), os.Rename(filepath.Join(p.dir, aside), p.runs())); err != nil {
						t.Fatal(err)
					}
				}
				before := p.api.count()
				e = p.run(args...)
				e.want(t, exitFailed)
				s := p.summary(e)
				if calls := p.api.count() - before; what == "renamed" && calls > 120 {
					t.Errorf("%d calls more: %+v", calls, s)
				}
				if most := p.api.busiest(); most > 200 {
					t.Errorf("%d calls in a second", most)
				}
				tried.add("the directory of a run, or all state, removed or renamed under it; then the same command", 1, p.wrong(s.Run, classHeader, rows)+p.wrongMarks(rows))
			})
		}
	}
}

// TestLanesHarmedUnderProcesses removes, cuts or garbles the lanes that two processes
// share, again and again while both send.
func TestLanesHarmedUnderProcesses(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.env = append(p.env, "CHATBATCH_LIMITER=host", "CHATBATCH_QPS=200")
	harms := []func(name string) error{
		os.Remove,
		func(name string) error { return os.Truncate(name, 0) },
		func(name string) error { return os.Truncate(name, 1000) },
		func(name string) error { return os.WriteFile(name, []byte(strings.Repeat("?", 6000)), 0o600) },
	}
	p.api.misbehave(func(c *call) bool {
		if c.n%150 != 0 {
			return false
		}
		files, _ := filepath.Glob(filepath.Join(p.dir, "state", "chatbatch", "lanes", "*.lanes"))
		for _, name := range files {
			if err := harms[c.n/150%len(harms)](name); err != nil && !errors.Is(err, os.ErrNotExist) {
				p.t.Error(err)
			}
		}
		return false
	})
	rows := p.classRows(10, 60*times(1, 8))
	other := p.countRows(200 * times(1, 8))
	first := p.start("marks", "set", p.roster("class.csv", classHeader, rows), "--chunk-size", "5", "--json", "--quiet")
	second := p.start("unread", "set", p.roster("counts.csv", unreadHeader, other), "--json", "--quiet")
	lost := 0
	for _, c := range []*process{first, second} {
		e := c.end()
		if e.code != exitFailed {
			t.Errorf("got exit code %d: %s", e.code, e.stderr)
		}
	}
	if most := p.api.busiest(); most > 200 {
		t.Errorf("%d calls in a second", most)
		lost = most - 200
	}
	tried.add("lanes removed, cut or garbled under two processes (lost: calls beyond 200 in a second)", p.api.count()/150, lost+p.wrongMarks(rows))
}

// TestInputGone removes the input while a run goes on that is interrupted, and resumes
// without it.
func TestInputGone(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	rows := p.classRows(10, 60)
	name := p.roster("class.csv", classHeader, rows)
	c := p.command("marks", "set", name, "--chunk-size", "5", "--quiet")
	p.signalAt(c, "modify_user_info", 20, syscall.SIGTERM)
	c.until(func() bool { return p.api.count() > 0 })
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	c.end().want(t, exitInterrupted)
	e := p.run("resume", "--json", "--quiet")
	e.want(t, exitFailed)
	tried.add("the input removed under a run, which is interrupted and resumed", 1, p.wrong(p.summary(e).Run, classHeader, rows)+p.wrongMarks(rows))
}

// TestTargetGoneUnderAnExport takes away the place where an export goes, while it is
// fetched. Put back, the same command publishes; no group is fetched again.
func TestTargetGoneUnderAnExport(t *testing.T) {
	t.Parallel()
	for what, take := range map[string]func(dir string) error{
		"removed":   os.RemoveAll,
		"a file":    func(dir string) error { return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)) },
		"directory": func(dir string) error { return os.Mkdir(filepath.Join(dir, "members.csv"), 0o700) },
		"full":      func(dir string) error { return errors.Join(os.Symlink("/dev/full", filepath.Join(dir, "members.csv"))) },
	} {
		t.Run(what, func(t *testing.T) {
			p := newPlace(t)
			out := filepath.Join(p.dir, "out")
			groups, want := p.exportOf(5, 150)
			args := []string{"export", "members", groups, "-o", "out/members.csv", "--json", "--quiet"}
			if err := os.Mkdir(out, 0o700); err != nil {
				t.Fatal(err)
			}
			p.at("get_group_member_info", 5, func() error { return take(out) })
			e := p.run(args...)
			e.want(t, exitStopped, "write export", "the same command again")
			p.api.misbehave(nil)
			before := p.api.count()
			if err := errors.Join(os.RemoveAll(out), os.Mkdir(out, 0o700)); err != nil {
				t.Fatal(err)
			}
			p.run(args...).want(t, exitOK)
			tried.add("the place of an export taken away while it is fetched", 1, p.exported("out/members.csv", want)+p.api.countOf("get_group_member_info")-before)
		})
	}
}

// TestStrangeTargets names as the file of an export what is none.
func TestStrangeTargets(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	groups, want := p.exportOf(3, 20)
	path := func(name string) string { return filepath.Join(p.dir, name) }
	err := errors.Join(os.Mkdir(path("dir.csv"), 0o700), syscall.Mkfifo(path("fifo.csv"), 0o600), os.Mkdir(path("real"), 0o700),
		os.WriteFile(path("real/old.csv"), []byte("old"), 0o600), os.Symlink("real/old.csv", path("link.csv")), os.Symlink("nowhere/x.csv", path("dangling.csv")),
		os.Symlink("loop.csv", path("loop.csv")), os.Symlink("real", path("linked dir")), os.Symlink("/dev/null", path("null.csv")))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dir.csv", "fifo.csv", "dangling.csv", "loop.csv", "null.csv", "/dev/null", "/dev/full", "none/x.csv", "groups.csv", "x.txt", "real/", strings.Repeat("x", 300) + ".csv"} {
		e := p.run("export", "members", groups, "-o", name, "--format", "csv")
		if name == "x.txt" { // the format was said
			e.want(t, exitOK)
			continue
		}
		e.want(t, exitUsage, "-o")
		tried.add("an export to what is no file", 1, 0)
	}
	for _, name := range []string{"link.csv", "linked dir/new.csv", "a name, with: strange 字.csv"} {
		p.run("export", "members", groups, "-o", name, "--quiet").want(t, exitOK)
		tried.add("an export through symbolic links, and to strange names", 1, p.exported(name, want))
	}
	if info, err := os.Lstat(path("link.csv")); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", info, err)
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode().IsRegular() {
		t.Errorf("/dev/null: %v, %v", info, err)
	}
}

// TestFullStandardOutput writes to a standard output that takes nothing.
func TestFullStandardOutput(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	groups, want := p.exportOf(3, 150)
	rows := p.classRows(4, 30)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	c := p.command("export", "members", groups, "-o", "-", "--quiet")
	c.Stdout = full
	c.begin().end().want(t, exitStopped, "space", "the same command again")
	before := p.api.count()
	e := p.run("export", "members", groups, "-o", "-", "--quiet")
	e.want(t, exitOK)
	p.file("out.csv", e.stdout)
	tried.add("a standard output that is full", 1, p.exported("out.csv", want)+p.api.count()-before)
	c = p.command("marks", "set", p.roster("class.csv", classHeader, rows), "--json", "--quiet")
	c.Stdout = full
	c.begin().end().want(t, exitStopped, "space", "the same command again")
	before = p.api.count()
	e = p.run("marks", "set", filepath.Join(p.dir, "class.csv"), "--json", "--quiet")
	e.want(t, exitFailed)
	tried.add("a standard output that is full", 1, p.wrong(p.summary(e).Run, classHeader, rows)+p.api.count()-before)
}

// TestStrangeRunsDirs keeps runs in directories with unusual names.
func TestStrangeRunsDirs(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	rows := p.classRows(4, 30)
	name := p.roster("class.csv", classHeader, rows)
	if err := errors.Join(os.Mkdir(filepath.Join(p.dir, "real"), 0o700), os.Symlink("real", filepath.Join(p.dir, "link"))); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat(strings.Repeat("d", 200)+"/", 4)
	for _, dir := range []string{"with a blank", "100%20?x=1#y&z", "link", "it's \"so\"", "班级", "-dash", long, strings.Repeat(long, 4)} {
		if !*full && len(dir)%3 > 0 {
			continue
		}
		args := []string{"marks", "set", name, "--chunk-size", "5", "--workers", "2", "--json", "--quiet", "--runs-dir", dir}
		c := p.command(args...)
		e := p.signalAt(c, "modify_user_info", 10, syscall.SIGTERM).end()
		if len(dir) > 500 { // more than SQLite takes, or the system
			e.want(t, exitUsage, "name")
			continue
		}
		e.want(t, exitInterrupted)
		e = p.run(args...)
		e.want(t, exitFailed)
		s := p.summary(e)
		p.run("report", s.Run, "--runs-dir", dir).want(t, exitOK)
		p.run("runs", "list", "--runs-dir", dir).want(t, exitOK)
		if s.Unprocessed != 0 || s.Replayed > 64 {
			t.Errorf("%s: %+v", dir, s)
		}
		tried.add("a directory of runs with an unusual name", 1, p.wrongMarks(rows))
	}
}

// TestNoHome starts the program as services may be started, without a home. Its state is
// where that of the same user's other processes is, wherever it is started.
func TestNoHome(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	u, err := user.Current()
	if err != nil || runtime.GOOS != "linux" {
		t.Skip("the state lies elsewhere: ", err)
	}
	for _, home := range []string{"", "relative"} {
		c := p.command("resume", "20260101T000000.000Z-000000")
		c.Env = append(c.Env, "HOME="+home, "XDG_STATE_HOME=state")
		c.begin().end().want(t, exitUsage, " in "+filepath.Join(u.HomeDir, ".local/state/chatbatch/runs")+";")
		tried.add("no home, or a relative one", 1, 0)
	}
}

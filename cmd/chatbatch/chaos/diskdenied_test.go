//go:build linux

package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestReadOnlyPlaces has places on a file system that cannot be written. Each command says
// which place, and what to do, and sends nothing.
func TestReadOnlyPlaces(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	d := p.newDisk("disk", 8<<20)
	rows := p.classRows(4, 30)
	name := p.roster("class.csv", classHeader, rows)
	groups, _ := p.exportOf(2, 10)
	runs := filepath.Join(d.dir, "runs")
	p.run("marks", "set", name, "--runs-dir", runs, "--quiet").want(t, exitFailed)
	dirs, _ := filepath.Glob(filepath.Join(runs, "*Z-*"))
	if len(dirs) != 1 {
		t.Fatalf("got %v", dirs)
	}
	d.seal()
	before := p.api.count()
	run := filepath.Base(dirs[0])
	stdin := func(c *process) { c.Stdin = strings.NewReader(string(p.bytes(name))) }
	lanes := func(c *process) { c.Env = append(c.Env, "CHATBATCH_LIMITER=host", "XDG_STATE_HOME="+d.dir) }
	for _, try := range []struct {
		args  []string
		also  func(*process)
		words []string
	}{
		{[]string{"marks", "set", name, "--runs-dir", runs}, nil, []string{runs, "read-only", "--runs-dir"}},
		{[]string{"marks", "set", name, "--runs-dir", filepath.Join(d.dir, "other")}, nil, []string{"read-only", "--runs-dir"}},
		{[]string{"marks", "set", "-", "--runs-dir", runs}, stdin, []string{runs, "read-only", "--runs-dir"}},
		{[]string{"marks", "set", name, "--runs-dir", filepath.Join(p.dir, "r")}, lanes, []string{d.dir, "read-only", "share", "XDG_STATE_HOME"}},
		{[]string{"export", "members", groups, "-o", filepath.Join(d.dir, "x.csv")}, nil, []string{"-o " + d.dir, "read-only"}},
		{[]string{"retry", run, "--runs-dir", runs}, nil, []string{run, "who owns"}},
		{[]string{"report", run, "--runs-dir", runs}, nil, []string{run, "who owns"}},
	} {
		c := p.command(try.args...)
		if try.also != nil {
			try.also(c)
		}
		c.begin().end().want(t, exitUsage, try.words...)
		tried.add("a place on a read-only file system", 1, p.api.count()-before)
	}
	d.open()
	p.run("retry", run, "--runs-dir", runs, "--quiet").want(t, exitFailed)
}

// nobody is a user who has nothing, and homeless one who is not even known here.
const (
	nobody   = 65534
	homeless = 54321
)

// stranger lets the program run as a user who owns nothing here but the directory mine.
func (p *place) stranger(uid int) (as func(c *process), mine string) {
	p.t.Helper()
	if os.Getuid() != 0 {
		p.t.Skip("only root can run a program as somebody else")
	}
	home, err := os.MkdirTemp("", "chatbatch-stranger-*")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = os.RemoveAll(home) })
	program, mine := filepath.Join(home, "chatbatch"), filepath.Join(home, "mine")
	err = errors.Join(os.Chmod(home, 0o755), os.Link(binary, program), os.Chmod(program, 0o755), os.Mkdir(mine, 0o700), os.Chown(mine, uid, uid))
	if err != nil {
		p.t.Fatal(err)
	}
	return func(c *process) {
		c.Path, c.Dir = program, home
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
		c.Env = append(c.Env, "HOME="+mine, "XDG_STATE_HOME="+mine)
	}, mine
}

// TestSomebodyElsesPlaces runs the program as a user who may not write, or not read, what
// another user has.
func TestSomebodyElsesPlaces(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	as, mine := p.stranger(nobody)
	rows := p.classRows(4, 30)
	text := classHeader + "\n"
	for _, r := range rows {
		text += r.text + "\n"
	}
	shared := filepath.Dir(mine)
	theirs, open := filepath.Join(shared, "theirs"), filepath.Join(shared, "open")
	if err := errors.Join(os.Mkdir(theirs, 0o755), os.Mkdir(open, 0o777), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	p.run("marks", "set", p.file("class.csv", text), "--runs-dir", open, "--quiet").want(t, exitFailed)
	before := p.api.count()
	stranger := func(args ...string) end {
		c := p.command(args...)
		as(c)
		c.Stdin = strings.NewReader(text)
		return c.begin().end()
	}
	stranger("marks", "set", "-", "--runs-dir", theirs).want(t, exitUsage, "permission denied", "--runs-dir")
	stranger("marks", "set", "-", "--runs-dir", filepath.Join(theirs, "x")).want(t, exitUsage, "permission denied", "--runs-dir")
	stranger("marks", "set", filepath.Join(p.dir, "class.csv"), "--runs-dir", mine).want(t, exitInput, "permission denied")
	stranger("marks", "set", "-", "--limiter", "host", "--runs-dir", filepath.Join(mine, "r"), "--json").want(t, exitFailed)
	if n := p.api.count(); n == before {
		t.Error("nothing was sent where it is allowed")
	}
	before = p.api.count()
	if err := os.Chmod(filepath.Join(mine, "chatbatch", "lanes"), 0o500); err != nil {
		t.Fatal(err)
	}
	lanes, _ := filepath.Glob(filepath.Join(mine, "chatbatch", "lanes", "*"))
	for _, name := range lanes {
		if err := os.Chown(name, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	stranger("marks", "set", "-", "--limiter", "host", "--fresh", "--runs-dir", filepath.Join(mine, "r")).want(t, exitUsage, "permission denied", "share")
	tried.add("a place of somebody else, as another user", 4, p.api.count()-before)
	// In a directory of all, what others have there is no obstacle.
	stranger("marks", "set", "-", "--runs-dir", open, "--quiet").want(t, exitFailed)
}

// limited runs the program under a limit of the shell's ulimit.
func (p *place) limited(limit string, args ...string) *process {
	c := p.command(args...)
	c.Args = append([]string{"sh", "-c", "ulimit " + limit + ` && exec "$0" "$@"`, binary}, args...)
	c.Path = "/bin/sh"
	return c
}

// TestLimitedFileSize lets no file grow beyond a size, smaller than the plan, than the ledger
// on its way, or than what an export fetches.
func TestLimitedFileSize(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	rows := p.classRows(20, 60)
	name := p.roster("class.csv", classHeader, rows)
	groups, want := p.exportOf(40, 300)
	for i := range times(2, 25) {
		limit := fmt.Sprintf("-f %d", 8+(times(7, 1)*i*(9*i+31))%1200) // blocks of 512 bytes, or of 1 KiB
		args := []string{"marks", "set", name, "--chunk-size", "3", "--json", "--quiet", "--fresh", "--runs-dir", filepath.Join(p.dir, fmt.Sprint(i))}
		before := p.api.count()
		e := p.limited(limit, args...).begin().end()
		if e.code == exitFailed {
			continue
		}
		e.want(t, exitStopped, "limit on the size of files", "the same command again")
		t.Logf("%s: %d calls: %.200s", limit, p.api.count()-before, e.stderr)
		e = p.run(append(args[:len(args):len(args)], "--fresh=false")...)
		e.want(t, exitFailed)
		s := p.summary(e)
		if s.Failed+s.Succeeded != len(rows) {
			t.Errorf("got %+v", s)
		}
		tried.add("a limit on the size of files, then none", 1, p.wrongMarks(rows))
	}
	args := []string{"export", "members", groups, "-o", "members.csv", "--json", "--quiet"}
	e := p.limited("-f 160", args...).begin().end()
	if e.code != exitOK {
		e.want(t, exitStopped, "limit on the size of files", "the same command again")
	}
	e = p.run(args...)
	e.want(t, exitOK)
	tried.add("a limit on the size of files, then none", 1, p.exported("members.csv", want))
}

// TestFewFileDescriptors gives the program few of them. It may not do with them, but must
// say so, and what it said of rows must be true.
func TestFewFileDescriptors(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	rows := p.classRows(10, 60)
	name := p.roster("class.csv", classHeader, rows)
	for i := range times(2, 20) {
		limit := fmt.Sprintf("-n %d", 13+3*i)
		args := []string{"marks", "set", name, "--chunk-size", "5", "--retries", "30", "--json", "--quiet", "--runs-dir", filepath.Join(p.dir, fmt.Sprint(i))}
		before := p.api.count()
		e := p.limited(limit, args...).begin().end()
		t.Logf("%s: code %d, %d calls, %.300s", limit, e.code, p.api.count()-before, e.stderr)
		switch e.code {
		case exitFailed:
		case exitUsage, exitStopped, exitTryLater:
			if e.code == exitUsage && p.api.count() > before || e.stderr == "" {
				t.Errorf("%s: %d calls, then it said %q", limit, p.api.count()-before, e.stderr)
			}
			e = p.run(args...)
		}
		e.want(t, exitFailed)
		s := p.summary(e)
		lost := s.Rows - s.Succeeded - s.ByClass["bad_row"] - s.ByClass["offline_or_absent"]
		if lost > 0 {
			t.Errorf("%s: got %+v", limit, s)
		}
		tried.add("few file descriptors, then enough", 1, lost+p.wrongMarks(rows))
	}
}

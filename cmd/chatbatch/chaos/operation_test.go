//go:build linux

package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// What the tests of a process' life have in common: signals, streams, locks, clocks.

// A hold keeps back the answers of a server, of all calls from the nth on, until it is
// released. What is kept back has had its effect if applied is set.
type hold struct {
	came    atomic.Int64
	release func()
}

func (p *place) hold(n int, applied bool) *hold {
	h, free := &hold{}, make(chan struct{})
	h.release = sync.OnceFunc(func() { close(free) })
	p.t.Cleanup(h.release)
	p.api.misbehave(func(c *call) bool {
		if c.n < n {
			return false
		}
		h.came.Add(1)
		var answer map[string]any
		if applied {
			answer = c.apply()
		}
		select {
		case <-free:
		case <-c.r.Context().Done():
			return true
		}
		if applied {
			c.send(answer)
		}
		return applied
	})
	return h
}

// hall makes a roster of n rows of one group, all online, and returns its name.
func (p *place) hall(name string, n int) (string, []row) {
	rows := make([]row, n)
	for i := range rows {
		account := fmt.Sprintf("%s %d", name, i)
		p.api.join("hall", account)
		rows[i].text = fmt.Sprintf("%d,hall,%s,1000", i, account)
	}
	return p.roster(name+".csv", classHeader, rows), rows
}

// groupsFile founds so many groups of a size and returns the name of a file of them.
func (p *place) groupsFile(name string, groups, members int) string {
	text := "group_id\n"
	for g := range groups {
		group := fmt.Sprintf("%s%d", name, g)
		p.api.found(group, "Public")
		for m := range members {
			p.api.join(group, fmt.Sprintf("%s member %d", group, m))
		}
		text += group + "\n"
	}
	return p.file(name+".csv", text)
}

// A speaker is a process whose stderr can be read while it lives.
type speaker struct {
	*process
	log string
}

// speak makes a process, not yet started, that writes its stderr into a file.
func (p *place) speak(args ...string) *speaker {
	p.t.Helper()
	c := p.command(args...)
	f, err := os.CreateTemp(p.t.TempDir(), "stderr-*")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { f.Close() })
	c.Stderr = f
	return &speaker{c, f.Name()}
}

// said is what it has said so far.
func (s *speaker) said() string {
	b, err := os.ReadFile(s.log)
	if err != nil {
		s.t.Error(err)
	}
	return string(b)
}

// hear waits until it has said a word.
func (s *speaker) hear(word string) {
	s.t.Helper()
	if !s.until(func() bool { time.Sleep(2 * time.Millisecond); return strings.Contains(s.said(), word) }) {
		s.t.Fatalf("it ended without %q:\n%s", word, s.said())
	}
}

// end waits for the end.
func (s *speaker) end() end {
	s.t.Helper()
	e := s.process.end()
	e.stderr = s.said()
	for _, bad := range []string{"goroutine ", "panic:", "DATA RACE", "runtime error", secretKey} {
		if strings.Contains(e.stderr, bad) {
			s.t.Errorf("%q in what it said:\n%s", bad, e.stderr)
		}
	}
	return e
}

// signal sends a signal.
func (c *process) signal(s os.Signal) {
	c.t.Helper()
	if err := c.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Fatal(err)
	}
}

// alive says whether it has not ended yet.
func (c *process) alive() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// soon waits for the end of a process that was told to end, and has no reason to wait.
func (c *process) soon() {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(20 * time.Second):
		c.t.Fatal("it was told to end, and does not")
	}
}

// arrived waits for the nth call.
func (c *process) arrived(p *place, n int) {
	c.t.Helper()
	if !c.until(func() bool { return p.api.count() >= n }) {
		c.t.Fatalf("it ended by itself, after %d calls:\n%s", p.api.count(), c.stderr.String())
	}
}

// shell runs a script, in which chatbatch is the program, where the place is.
func (p *place) shell(script string) end {
	p.t.Helper()
	return p.shellCommand(script).begin().end()
}

func (p *place) shellCommand(script string) *process {
	p.t.Helper()
	c := p.command()
	sh, err := exec.LookPath("sh")
	if err != nil {
		p.t.Skip("there is no shell here")
	}
	c.Path, c.Args = sh, []string{"sh", "-c", script}
	for i, v := range c.Env {
		if rest, is := strings.CutPrefix(v, "PATH="); is {
			c.Env[i] = "PATH=" + filepath.Dir(binary) + ":" + rest
		}
	}
	return c
}

var nextLine = regexp.MustCompile(`(?m)^next: +(chatbatch .*)$`)

// next is the command that a run has named last.
func (e end) next(t testing.TB) string {
	t.Helper()
	found := nextLine.FindAllStringSubmatch(e.stderr, -1)
	if len(found) == 0 {
		t.Fatalf("it names no next command:\n%s", e.stderr)
	}
	return found[len(found)-1][1]
}

// goesOn does what a command has named as the next one, which must settle all rows of
// an input, and returns how many of them are lost or wrong.
func (p *place) goesOn(e end, rows []row) int {
	p.t.Helper()
	again := p.shell(e.next(p.t) + " --json")
	again.want(p.t, exitOK)
	s := p.summary(again)
	return p.wrong(s.Run, classHeader, rows) + p.wrongMarks(rows)
}

// nothing fails the test if a command that has not begun has left anything, or sent
// anything, or printed anything for data.
func (p *place) nothing(e end) {
	p.t.Helper()
	if runs, left := p.runDirs(), p.remains(); len(runs)+len(left) > 0 || e.stdout != "" {
		p.t.Errorf("it left runs %v and %v, and printed %q", runs, left, e.stdout)
	}
}

// modes are those of all files and directories under dir, and how many have each.
func modes(t testing.TB, dir string) map[fs.FileMode]int {
	all := map[fs.FileMode]int{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all[info.Mode()]++
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return all
}

// content is what a file has, without its last line's end.
func content(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
	}
	return string(bytes.TrimSpace(b))
}

// firstOf are the first few of all, or with -full all of them.
func firstOf[T any](few int, all ...T) []T { return all[:times(min(few, len(all)), len(all))] }

// killed is the exit code of a process that a signal has ended.
const killed = -1

var terminating = []os.Signal{syscall.SIGTERM, os.Interrupt, syscall.SIGHUP}

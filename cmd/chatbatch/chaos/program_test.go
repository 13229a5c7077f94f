//go:build linux

package chaos

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Exit codes, as the README has them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInput       = 3
	exitStopped     = 4
	exitRefused     = 5
	exitInterrupted = 6
	exitUnbalanced  = 7
	exitTryLater    = 75
)

// A place is where a user works: a directory with inputs and the state of all runs,
// and a Chat API.
type place struct {
	t   testing.TB
	dir string
	api *server
	env []string // of the program, besides what all have
}

// newPlace has a Chat API of its own, see server.
func newPlace(t testing.TB) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir(), api: newServer(t)}
	p.env = []string{"CHATBATCH_ENDPOINT=" + p.api.URL, "CHATBATCH_SECRET_KEY=" + secretKey}
	return p
}

// secretKey is that of the app. It must be found nowhere.
const secretKey = "5ec2e7000chaos000key0000000000000000000000000000000000000000face"

// file writes an input and returns its name.
func (p *place) file(name, text string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// A process is the program under way.
type process struct {
	*exec.Cmd
	t              testing.TB
	stdout, stderr bytes.Buffer
	ended          chan struct{}
	in             *namespace // of its network; nil: that of the test
}

// command is the program with args, not yet started. Its environment is bare, like
// that of cron: nothing but what is said here.
func (p *place) command(args ...string) *process {
	c := &process{Cmd: exec.Command(binary, args...), t: p.t, ended: make(chan struct{})}
	c.Dir, c.Stdout, c.Stderr = p.dir, &c.stdout, &c.stderr
	c.Env = slices.Concat([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "XDG_STATE_HOME=" + filepath.Join(p.dir, "state"), "GORACE=atexit_sleep_ms=0",
		"CHATBATCH_SDKAPPID=1400000000", "CHATBATCH_IDENTIFIER=administrator", "CHATBATCH_QPS=5000", "CHATBATCH_LIMITER=memory",
	}, p.env)
	return c
}

// begin starts a process; it does not outlive the test.
func (c *process) begin() *process {
	c.t.Helper()
	start := (*exec.Cmd).Start
	if c.in != nil {
		start = c.in.start
	}
	if err := start(c.Cmd); err != nil {
		c.t.Fatal(err)
	}
	go func() {
		_ = c.Wait() // its code is in the state
		close(c.ended)
	}()
	c.t.Cleanup(func() {
		_ = c.Process.Kill()
		<-c.ended
	})
	return c
}

// start starts the program with args.
func (p *place) start(args ...string) *process {
	p.t.Helper()
	return p.command(args...).begin()
}

// patience is how long anything may take that is not measured.
const patience = 2 * time.Minute

// code waits for the end of the program and returns its exit code, -1 if a signal ended it.
func (c *process) code() int {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(patience):
		_ = c.Process.Signal(syscall.SIGQUIT)
		time.AfterFunc(10*time.Second, func() { _ = c.Process.Kill() }) // it may be stopped
		<-c.ended
		c.t.Fatalf("the program does not end; it said:\n%s", c.stderr.String())
	}
	return c.ProcessState.ExitCode()
}

// until waits for something, or the end of the program: then it says false.
func (c *process) until(ready func() bool) bool {
	c.t.Helper()
	for end := time.Now().Add(patience); !ready(); time.Sleep(100 * time.Microsecond) {
		select {
		case <-c.ended:
			return false
		default:
		}
		if time.Now().After(end) {
			c.t.Fatal("it does not come")
		}
	}
	return true
}

// An end is how a command has ended.
type end struct {
	code           int
	stdout, stderr string
}

// run runs the program to its end. Whatever happens, it must not end with a stack
// trace, and must not say a secret.
func (p *place) run(args ...string) end {
	p.t.Helper()
	return p.start(args...).end()
}

func (c *process) end() end {
	c.t.Helper()
	e := end{c.code(), c.stdout.String(), c.stderr.String()}
	for _, bad := range []string{"goroutine ", "panic:", "DATA RACE", "runtime error", secretKey} {
		if strings.Contains(e.stdout+e.stderr, bad) {
			c.t.Errorf("%q in what it said:\n%s%s", bad, e.stdout, e.stderr)
		}
	}
	return e
}

// want fails the test if the command has not ended with code, or has not said each of
// words on stderr.
func (e end) want(t testing.TB, code int, words ...string) {
	t.Helper()
	if e.code != code {
		t.Errorf("got exit code %d, want %d; it said:\n%s", e.code, code, e.stderr)
	}
	for _, word := range words {
		if !strings.Contains(e.stderr, word) {
			t.Errorf("it did not say %q, but:\n%s", word, e.stderr)
		}
	}
}

// runs is the directory of the runs.
func (p *place) runs() string { return filepath.Join(p.dir, "state", "chatbatch", "runs") }

// runDirs are the directories of runs, in the order of their begin.
func (p *place) runDirs() []string {
	dirs, _ := filepath.Glob(filepath.Join(p.runs(), "[0-9]*Z-*"))
	return slices.DeleteFunc(dirs, func(name string) bool {
		info, err := os.Stat(name)
		return err != nil || !info.IsDir()
	})
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"chatbatch/io/chat/chatsim"
	"chatbatch/io/ledger"
)

// terminate starts a run of 40 calls that take a while, and ends it by SIGTERM
// when the server has got some of them.
func terminate(t *testing.T, sc chatsim.Scenario, calls int64, signals int, args ...string) (c *course, stdout string, code int, took time.Duration) {
	c = newCourse(t, sc)
	var b strings.Builder
	b.WriteString("group_id,account,marks\n")
	for i := range 40 {
		fmt.Fprintf(&b, "g,a%d,1000\n", i)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "roster.csv"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	args = append([]string{"marks", "set", "roster.csv", "--chunk-size", "1", "--workers", "8"}, args...)
	p := start(t, c.dir, c.environ(), nil, args...)
	if !p.until(t, func() bool { return c.sim.Counts().Calls >= calls }) {
		t.Fatalf("it ended by itself:\n%s", p.stderr.String())
	}
	began := time.Now()
	for range signals {
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // two at once are one
	}
	stdout, code = p.end(t)
	return c, stdout, code, time.Since(began)
}

// SIGTERM: calls under way come back and count, the books are written, and the
// run can be resumed without sending anything twice.
func TestTerminated(t *testing.T) {
	t.Parallel()
	c, stdout, code, _ := terminate(t, chatsim.Scenario{Open: true, Latency: 600 * time.Millisecond}, 6, 1)
	got := c.read(code, stdout, "")
	calls := c.sim.Counts().Calls
	if code != exitInterrupted || got.sum.State != ledger.Interrupted || got.sum.Succeeded != calls || got.sum.Unprocessed != 40-calls {
		t.Errorf("exit code %d after %d calls, %+v", code, calls, got.sum)
	}
	got = c.command("resume")
	if got.code != exitOK || got.sum.Succeeded != 40 || got.sum.Replayed != 0 || got.sum.Calls != 40 || c.sim.Counts().Calls != 40 {
		t.Errorf("resumed: exit code %d, %d calls at the server, %+v", got.code, c.sim.Counts().Calls, got.sum)
	}
}

// Calls that do not come back within the grace time are in doubt.
func TestTerminatedWithoutAnswer(t *testing.T) {
	t.Parallel()
	hang := []chatsim.Fault{{Kind: chatsim.KindHang, Delay: 30 * time.Second, Applied: true, After: 1, Count: 8}}
	c, stdout, code, took := terminate(t, chatsim.Scenario{Open: true, KeepState: true, Faults: hang}, 9, 1, "--grace", "300ms")
	got := c.read(code, stdout, "")
	if code != exitInterrupted || got.sum.Succeeded != 1 || got.sum.Unprocessed != 39 || took > 5*time.Second {
		t.Errorf("exit code %d after %v, %+v", code, took, got.sum)
	}
	got = c.command("resume")
	if got.code != exitOK || got.sum.Succeeded != 40 || got.sum.Replayed != 8 {
		t.Errorf("resumed: exit code %d, %+v", got.code, got.sum)
	}
	if n := len(c.sim.Marks("g")); n != 40 {
		t.Errorf("got %d accounts with marks, want 40", n)
	}
}

// A second signal does not wait for anything; the next command goes on.
func TestTerminatedTwice(t *testing.T) {
	t.Parallel()
	hang := []chatsim.Fault{{Kind: chatsim.KindHang, Delay: 30 * time.Second, After: 1, Count: 8}}
	c, _, code, took := terminate(t, chatsim.Scenario{Open: true, Faults: hang}, 9, 2)
	if code != exitInterrupted || took > 5*time.Second {
		t.Errorf("got exit code %d after %v, want %d at once", code, took, exitInterrupted)
	}
	if got := c.command("resume"); got.code != exitOK || got.sum.Succeeded != 40 {
		t.Errorf("resumed: exit code %d, %+v", got.code, got.sum)
	}
}

// A pipe that brings nothing does not keep the program from ending, and what
// was not read through is no run.
func TestTerminatedWhileReading(t *testing.T) {
	t.Parallel()
	c := newCourse(t, chatsim.Scenario{Open: true})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	if _, err := w.WriteString("group_id,account,marks\ng,a1,1000\n"); err != nil {
		t.Fatal(err)
	}
	p := start(t, c.dir, c.environ(), r, "marks", "set", "-")
	time.Sleep(time.Second) // to come to the pipe
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(5 * time.Second):
		t.Fatal("it does not end")
	}
	if code := p.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("got exit code %d, want %d", code, exitInterrupted)
	}
	if runs, _ := filepath.Glob(filepath.Join(c.dir, "state", "chatbatch", "runs", "*")); len(runs) > 0 || c.sim.Counts().Calls > 0 {
		t.Errorf("got runs %v, %d calls", runs, c.sim.Counts().Calls)
	}
}

//go:build linux

package chaos

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// SIGTERM, SIGINT and SIGHUP with calls under way: they may come back, the books are
// written, nothing else is sent, and the command that is named goes on.
func TestSignalWithCallsUnderWay(t *testing.T) {
	t.Parallel()
	for i := range times(2, 15) {
		p, sig := newPlace(t), terminating[i%3]
		input, rows := p.hall("class", 40)
		h := p.hold(5+i/3, true)
		c := p.speak("marks", "set", input, "--chunk-size", "1", "--workers", "4", "--json")
		c.begin()
		c.until(func() bool { return h.came.Load() >= 4 })
		c.signal(sig)
		c.hear("A second signal exits at once")
		h.release()
		e := c.end()
		e.want(t, exitInterrupted, "interrupted; run the same command again to go on")
		s, sent := p.summary(e), p.api.count()
		if s.State != "interrupted" || s.Succeeded != sent || s.Unprocessed != 40-sent || sent > 20 {
			t.Errorf("%v after %d calls: %+v", sig, sent, s)
		}
		lost := p.goesOn(e, rows)
		if p.api.count() != 40 {
			t.Errorf("%v: %d calls for 40 chunks", sig, p.api.count())
		}
		tried.add("SIGTERM, SIGINT or SIGHUP with four calls under way", 1, lost)
	}
}

// Calls that do not come back within --grace are sent again, and counted as replayed.
func TestSignalWithoutAnswers(t *testing.T) {
	t.Parallel()
	for i := range times(1, 10) {
		p := newPlace(t)
		input, rows := p.hall("class", 20)
		h := p.hold(3, i%2 == 0)
		c := p.speak("marks", "set", input, "--chunk-size", "1", "--workers", "4", "--grace", "200ms", "--quiet", "--json")
		c.begin()
		c.until(func() bool { return h.came.Load() >= 4 })
		c.signal(syscall.SIGTERM)
		e := c.end()
		e.want(t, exitInterrupted)
		if s := p.summary(e); s.Succeeded != 2 || strings.Count(e.stderr, "\n") != 1 {
			t.Errorf("got %+v; with --quiet it said %q", s, e.stderr)
		}
		h.release()
		again := p.run("marks", "set", input, "--chunk-size", "1", "--json")
		again.want(t, exitOK)
		s := p.summary(again)
		if s.Replayed != 4 {
			t.Errorf("%d replayed, want 4", s.Replayed)
		}
		tried.add("the same with answers that do not come within --grace", 1, p.wrong(s.Run, classHeader, rows)+p.wrongMarks(rows))
	}
}

// A run that nohup has started does not end with its terminal.
func TestHangUpIsIgnoredUnderNohup(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	input, rows := p.hall("class", 10)
	h := p.hold(3, false)
	c := p.shellCommand("trap '' HUP; exec chatbatch marks set '" + input + "' --chunk-size 1 --json").begin()
	c.arrived(p, 3)
	for range 5 {
		c.signal(syscall.SIGHUP)
		time.Sleep(10 * time.Millisecond)
	}
	h.release()
	e := c.end()
	e.want(t, exitOK)
	tried.add("SIGHUP under nohup", 5, p.wrong(p.summary(e).Run, classHeader, rows))
}

// Signals that nobody has asked for change nothing.
func TestSignalsThatMeanNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	input, rows := p.hall("class", 20)
	h := p.hold(5, false)
	c := p.start("marks", "set", input, "--chunk-size", "1", "--json")
	c.arrived(p, 5)
	all := []os.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE, syscall.SIGWINCH, syscall.SIGURG, syscall.SIGCHLD, syscall.SIGALRM, syscall.SIGCONT}
	for _, sig := range all {
		c.signal(sig)
		time.Sleep(5 * time.Millisecond)
	}
	h.release()
	e := c.end()
	e.want(t, exitOK)
	tried.add("SIGUSR1, SIGPIPE and other signals that mean nothing", len(all), p.wrong(p.summary(e).Run, classHeader, rows))
}

// SIGQUIT shows what the program does, without a secret, and ends it with a code that
// does not say that nothing was sent.
func TestQuit(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	input, rows := p.hall("class", 20)
	h := p.hold(5, false)
	c := p.start("marks", "set", input, "--chunk-size", "1")
	c.arrived(p, 8)
	c.signal(syscall.SIGQUIT)
	code, said := c.code(), c.stderr.String()
	if code != exitInterrupted || !strings.Contains(said, "goroutine ") || strings.Contains(said, secretKey) || strings.Contains(said, "usersig") {
		t.Errorf("exit code %d, said:\n%s", code, said)
	}
	h.release()
	again := p.run("marks", "set", input, "--chunk-size", "1", "--json")
	again.want(t, exitOK, "resuming")
	tried.add("SIGQUIT", 1, p.wrong(p.summary(again).Run, classHeader, rows)+p.wrongMarks(rows))
}

// A signal or --max-duration at any moment from the start to the end of planning: the
// code says why, and what was not planned through is no run.
func TestEndWhilePlanning(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	var text strings.Builder
	text.WriteString("group_id,account,marks\n")
	for i := range 30_000 {
		fmt.Fprintf(&text, "g%d,a%d,1000\n", i%40, i)
	}
	input := p.file("big.csv", text.String())
	p.hold(1, false)
	for i := range times(6, 80) {
		after := time.Duration(rand.IntN(150_000)) * time.Microsecond
		args, want := []string{"marks", "set", input, "--quiet", "--json", "--grace", "0s"}, exitTryLater
		if i%2 == 0 {
			args, want = append(args, "--max-duration", after.String()), exitTryLater
		} else {
			want = exitInterrupted
		}
		c := p.start(args...)
		if want == exitInterrupted {
			time.Sleep(after)
			c.signal(syscall.SIGTERM)
		}
		e := c.end()
		if e.code == killed && want == exitInterrupted && e.stderr+e.stdout == "" {
			continue // before it was there to hear
		}
		e.want(t, want)
		if e.stdout == "" {
			p.nothing(e)
		} else if s := p.summary(e); s.Unprocessed != 30_000 {
			t.Errorf("got %+v", s)
		}
		if err := os.RemoveAll(filepath.Join(p.dir, "state")); err != nil {
			t.Fatal(err)
		}
		tried.add("SIGTERM or --max-duration at a random moment of the first 150 ms", 1, 0)
	}
}

// A waiting is a situation in which the program waits for something else than the
// answer to a call of its rows.
type waiting struct {
	name  string
	args  []string
	stdin bool // never brings its end
	calls int  // when it waits
	do    func(c *call) bool
	sent  bool // there is a run
}

func waitings() []waiting {
	refuse := func(code int) func(c *call) bool {
		return func(c *call) bool { c.refuse(code); return true }
	}
	marks := []string{"marks", "set", "class.csv", "--chunk-size", "1"}
	return []waiting{
		{name: "stdin that does not end", args: []string{"marks", "set", "-"}, stdin: true},
		{name: "the list of all groups", args: []string{"export", "members", "--all-groups", "-o", "x.csv"}, calls: 1,
			do: func(c *call) bool { <-c.r.Context().Done(); return true }},
		{name: "a list of all groups that is refused again and again", args: []string{"export", "members", "--all-groups", "-o", "x.csv"}, calls: 1, do: refuse(10002)},
		{name: "a lane", args: append(marks, "--qps", "1"), calls: 1, sent: true},
		{name: "a retry", args: marks, calls: 3, do: refuse(10002), sent: true},
		{name: "the end of a lockout (70050)", args: marks, calls: 1, do: refuse(70050), sent: true},
		{name: "a retry after HTTP 502", args: marks, calls: 2, do: func(c *call) bool { c.w.WriteHeader(502); return true }, sent: true},
	}
}

// A signal, or --max-duration, while the program waits for something: it does not go on
// waiting.
func TestEndWhileWaiting(t *testing.T) {
	t.Parallel()
	for _, w := range waitings() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			for i := range times(1, 6) {
				w.end(t, i%2 == 0)
				tried.add("SIGTERM or --max-duration while it waits for "+w.name, 1, 0)
			}
		})
	}
}

func (w waiting) end(t *testing.T, bySignal bool) {
	p := newPlace(t)
	p.hall("class", 20)
	p.api.misbehave(w.do)
	args, want := append(append([]string{}, w.args...), "--json"), exitInterrupted
	if !bySignal {
		args, want = append(args, "--max-duration", "1500ms"), exitTryLater
	}
	c := p.command(args...)
	if w.stdin {
		r, in, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		defer r.Close()
		c.Stdin = r
		if err := in.SetWriteDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		c.begin()
		// More than the pipe holds: when it is written, somebody has begun to read.
		if _, err := io.WriteString(in, classHeader+"\n"+strings.Repeat("1,hall,class 1,1000\n", 10_000)); err != nil {
			t.Fatal(err)
		}
	} else {
		c.begin()
	}
	if bySignal {
		if w.calls > 0 {
			c.arrived(p, w.calls)
		}
		time.Sleep(300 * time.Millisecond) // to come to where it waits
		c.signal(syscall.SIGTERM)
	}
	c.soon()
	e := c.end()
	e.want(t, want)
	if !w.sent {
		p.nothing(e)
		return
	}
	if s := p.summary(e); s.Rows != 20 || s.Failed != 0 {
		t.Errorf("got %+v", s)
	}
}

// A stderr that nobody reads keeps a run from talking, and not from hearing signals.
func TestSignalWithBlockedStderr(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	input, rows := p.hall("class", 30)
	h := p.hold(5, false)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	fill(t, w)
	c := p.command("marks", "set", input, "--chunk-size", "1", "--workers", "4", "--log-level", "error")
	c.Stderr = w
	c.begin()
	c.arrived(p, 5)
	c.signal(syscall.SIGTERM)
	time.Sleep(100 * time.Millisecond)
	h.release()
	summaries := func() bool {
		found, _ := filepath.Glob(filepath.Join(p.runs(), "*", "summary.json"))
		return len(found) > 0
	}
	if !c.until(summaries) { // the books are written, but nobody can be shown them
		t.Fatal("it ended by itself")
	}
	c.signal(syscall.SIGTERM)
	c.soon()
	if c.code() != exitInterrupted || p.api.count() >= 30 {
		t.Errorf("exit code %d after %d calls", c.code(), p.api.count())
	}
	again := p.run("marks", "set", input, "--chunk-size", "1", "--json")
	again.want(t, exitOK)
	tried.add("SIGTERM with a stderr that nobody reads", 1, p.wrong(p.summary(again).Run, classHeader, rows))
}

// fill writes into a pipe until nothing more goes in.
func fill(t *testing.T, w *os.File) {
	t.Helper()
	for _, size := range []int{4096, 1} {
		if err := w.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		for range 1 << 16 {
			if _, err := w.Write(bytes.Repeat([]byte("."), size)); err != nil {
				break
			}
		}
	}
	_ = w.SetWriteDeadline(time.Time{})
}

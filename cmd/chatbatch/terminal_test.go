//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"chatbatch/io/chat/chatsim"
)

// classOnScreen starts a run of 60 calls, 15 a second, on a terminal, with more in its
// environment.
func classOnScreen(t *testing.T, columns int, more []string, args ...string) (*course, *onScreen) {
	t.Helper()
	c := newCourse(t, chatsim.Scenario{Open: true})
	var b strings.Builder
	b.WriteString("group_id,account,marks\n")
	for i := range 60 {
		fmt.Fprintf(&b, "g,a%d,1000\n", i)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "三年二班.csv"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	env := append(append(c.environ(), "CHATBATCH_JSON=false"), more...)
	args = append([]string{"marks", "set", "三年二班.csv", "--chunk-size", "1", "--qps", "15"}, args...)
	return c, startOnScreen(t, c.dir, env, columns, args...)
}

// shows says which lines of a screen have these texts, in this order.
func shows(t *testing.T, lines []string, texts ...string) {
	t.Helper()
	from := 0
	for _, text := range texts {
		i := slices.IndexFunc(lines[from:], func(line string) bool { return strings.Contains(line, text) })
		if i < 0 {
			t.Fatalf("there is no %q, or not behind the others, on\n%s", text, strings.Join(lines, "\n"))
		}
		from += i
	}
}

// without says that a screen has none of these texts.
func without(t *testing.T, lines []string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(strings.Join(lines, "\n"), text) {
			t.Errorf("there is %q on\n%s", text, strings.Join(lines, "\n"))
		}
	}
}

// On a terminal, bars are at the foot while the run goes on, in lines that fit, and the
// log is above them. At the end they are gone, and the books are there.
func TestTerminal(t *testing.T) {
	t.Parallel()
	for columns, foot := range map[int]string{
		80: `marks set 三年二班\.csv  \[=+>-+\]  +\d+ %\n\d+ of 60 rows \| \d+ of 15 calls/s \| \ds left \| \d+ succeeded( \| |\n)0 failed( \| |\n)0 retries$`,
		40: `marks set 三…  \[=+>-+\]  +\d+ %\n\d+ of 60 rows \| \d+ of 15 calls/s\n\ds left \| \d+ succeeded \| 0 failed\n0 retries$`,
	} {
		t.Run(fmt.Sprint(columns), func(t *testing.T) {
			t.Parallel()
			_, s := classOnScreen(t, columns, nil)
			shows(t, s.until(foot), "INF planned run", "marks set")
			lines := s.end(exitOK)
			shows(t, lines, "INF planned run", "│ succeeded   │   60 │ 100 % │", "60 calls", "files: ")
			without(t, lines, "[=", "calls/s", "INF 5", "INF 6")
			for i, line := range lines {
				wrapped := strings.HasPrefix(line, "›")
				whole := strings.Contains(line, "│") || strings.Contains(line, "calls") || strings.Contains(line, "second")
				if wrapped && whole {
					t.Errorf("line %d does not fit:\n%s", i, strings.Join(lines, "\n"))
				}
			}
		})
	}
}

// sendingOnScreen is at the foot when rows are sent; a slow machine shows a bar while it
// plans, too.
const sendingOnScreen = `\[=+>-+\] +\d+ %\n\d+ of 60 rows \| \d+ of 15 calls/s`

// Ctrl-C: the bars go, and the books and the next command are there.
func TestTerminalInterrupted(t *testing.T) {
	t.Parallel()
	_, s := classOnScreen(t, 80, nil)
	s.until(sendingOnScreen)
	s.keys("\x03")
	lines := s.end(exitInterrupted)
	shows(t, lines, "WRN stopping; calls under way may still come back", "│ interrupted │   60 │", "next:  chatbatch resume ", "chatbatch: interrupted; run the same")
	without(t, lines, "[=", "calls/s", "^C")
	if !slices.ContainsFunc(lines, regexp.MustCompile(`^\d\d:\d\d:\d\d WRN stopping`).MatchString) {
		t.Errorf("a line is torn:\n%s", strings.Join(lines, "\n"))
	}
}

// Where bars are not wanted there are none.
func TestTerminalWithoutBars(t *testing.T) {
	t.Parallel()
	for _, env := range []string{"CHATBATCH_QUIET=1", "CHATBATCH_LOG_FORMAT=json", "TERM=dumb"} {
		t.Run(env, func(t *testing.T) {
			t.Parallel()
			c, s := classOnScreen(t, 80, []string{env})
			for c.sim.Counts().Calls < 40 {
				time.Sleep(5 * time.Millisecond)
			}
			without(t, s.lines(), "[=", "calls/s")
			if lines := s.end(exitOK); env == "CHATBATCH_QUIET=1" && len(lines) > 0 {
				t.Errorf("there is\n%s", strings.Join(lines, "\n"))
			}
		})
	}
}

// A terminal that was stopped (Ctrl-S) keeps no call from being sent, nor the books
// from being written; the program waits for it (Ctrl-Q) with its last words only.
func TestTerminalStopped(t *testing.T) {
	t.Parallel()
	c, s := classOnScreen(t, 80, nil)
	s.until(sendingOnScreen)
	s.keys("\x13")
	summaries := func() bool {
		found, _ := filepath.Glob(filepath.Join(c.dir, "state", "chatbatch", "runs", "*", "summary.json"))
		return len(found) > 0
	}
	for end := time.Now().Add(time.Minute); !summaries(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no books after %d calls", c.sim.Counts().Calls)
		}
	}
	select {
	case <-s.ended:
		t.Fatal("it ended, and nobody has seen its last words")
	case <-time.After(300 * time.Millisecond):
	}
	without(t, s.lines(), "succeeded   │")
	s.keys("\x11")
	lines := s.end(exitOK)
	shows(t, lines, "│ succeeded   │   60 │ 100 % │", "files: ")
	without(t, lines, "[=", "calls/s")
}

// Nor is a signal unheard: the first one ends the sending, the second one the program.
func TestTerminalStoppedAndInterrupted(t *testing.T) {
	t.Parallel()
	c, s := classOnScreen(t, 80, nil)
	s.until(sendingOnScreen)
	s.keys("\x13")
	s.interrupt()
	time.Sleep(time.Second)
	calls := c.sim.Counts().Calls
	s.interrupt()
	select {
	case <-s.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("it does not end")
	}
	if code := s.ProcessState.ExitCode(); code != exitInterrupted || calls == 60 {
		t.Errorf("got exit code %d after %d calls", code, calls)
	}
}

// Rows may be typed: nothing is drawn over them until they end.
func TestTerminalAsInput(t *testing.T) {
	t.Parallel()
	c := newCourse(t, chatsim.Scenario{Open: true})
	s := startOnScreen(t, c.dir, append(c.environ(), "CHATBATCH_JSON=false"), 80, "marks", "set", "-")
	s.keys("group_id,account,marks\n")
	s.keys("g,ann,1000\n")
	time.Sleep(3 * drawEvery)
	s.keys("g,bob,1000\n\x04")
	lines := s.end(exitOK)
	shows(t, lines, "group_id,account,marks", "g,ann,1000", "g,bob,1000", "INF planned run", "│ succeeded   │    2 │ 100 % │")
}

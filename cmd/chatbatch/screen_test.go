//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"
)

// An onScreen is the program on a terminal: its stdin, stdout and stderr are one, and it
// is in the foreground.
type onScreen struct {
	*exec.Cmd
	t     *testing.T
	tty   *os.File // the terminal's own end
	ended chan struct{}

	mu  sync.Mutex
	now glass // under mu
}

// startOnScreen starts the program on a terminal of columns and 24 lines.
func startOnScreen(t *testing.T, dir string, env []string, columns int, args ...string) *onScreen {
	t.Helper()
	s := &onScreen{Cmd: exec.Command("chatbatch", args...), t: t, ended: make(chan struct{}), now: newGlass(columns, 24)}
	s.Dir = dir
	s.Env = append(os.Environ(), "GORACE="+goRace, "XDG_STATE_HOME="+dir+"/state", "TERM=xterm-256color", "NO_COLOR=")
	s.Env = append(s.Env, env...)
	tty, err := pty.StartWithSize(s.Cmd, &pty.Winsize{Cols: uint16(columns), Rows: 24})
	if err != nil {
		t.Fatal(err)
	}
	s.tty = tty
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		buf := make([]byte, 4096)
		for {
			n, err := tty.Read(buf)
			s.mu.Lock()
			s.now.write(buf[:n])
			s.mu.Unlock()
			if err != nil { // the program is gone
				return
			}
		}
	}()
	go func() {
		_ = s.Wait() // the code is in the state
		<-shown
		close(s.ended)
	}()
	t.Cleanup(func() {
		_ = s.Process.Kill()
		<-s.ended
		tty.Close()
	})
	return s
}

// keys types on the keyboard.
func (s *onScreen) keys(text string) {
	s.t.Helper()
	if _, err := s.tty.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// lines is what is to be seen, without the empty end.
func (s *onScreen) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.lines()
}

// until waits until a line like this is to be seen, and returns the screen.
func (s *onScreen) until(pattern string) []string {
	s.t.Helper()
	want := regexp.MustCompile(pattern)
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if lines := s.lines(); want.MatchString(strings.Join(lines, "\n")) {
			return lines
		}
		select {
		case <-s.ended:
			s.t.Fatalf("it ended, and there is no %q on\n%s", pattern, strings.Join(s.lines(), "\n"))
		default:
		}
		if time.Now().After(end) {
			s.t.Fatalf("there is no %q on\n%s", pattern, strings.Join(s.lines(), "\n"))
		}
	}
}

// end waits for the end of the program, and returns the screen that it leaves.
func (s *onScreen) end(code int) []string {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(time.Minute):
		s.t.Fatalf("it does not end:\n%s", strings.Join(s.lines(), "\n"))
	}
	lines := s.lines()
	if got := s.ProcessState.ExitCode(); got != code {
		s.t.Errorf("got exit code %d, want %d:\n%s", got, code, strings.Join(lines, "\n"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.hidden || s.now.x != 0 || s.now.y != min(len(lines), s.now.height-1) {
		s.t.Errorf("the cursor is hidden (%v), or in column %d of line %d below\n%s", s.now.hidden, s.now.x, s.now.y, strings.Join(lines, "\n"))
	}
	return lines
}

// interrupt sends the signal of Ctrl-C, as the terminal does.
func (s *onScreen) interrupt() {
	s.t.Helper()
	if err := s.Process.Signal(syscall.SIGINT); err != nil {
		s.t.Fatal(err)
	}
}

// A glass is the screen of a terminal, as far as this program uses one. It fails
// where it meets anything else.
type glass struct {
	width, height int
	cells         [][]string // "" is the second half of a wide one
	wrapped       []bool     // the line is the rest of the one before
	x, y          int
	hidden        bool
	rest          string // of what was not complete
}

func newGlass(width, height int) glass {
	g := glass{width: width, height: height}
	for range height {
		g.cells, g.wrapped = append(g.cells, nil), append(g.wrapped, false)
	}
	return g
}

var escape = regexp.MustCompile(`^\x1b\[(\??)([0-9;]*)([A-Za-z])`)

func (g *glass) write(p []byte) {
	text := g.rest + string(p)
	for text != "" {
		if text[0] == 0x1b {
			m := escape.FindStringSubmatch(text)
			if m == nil {
				break
			}
			n, _ := strconv.Atoi(m[2])
			g.obey(m[1]+m[3], n)
			text = text[len(m[0]):]
			continue
		}
		if !utf8.FullRuneInString(text) {
			break
		}
		r, size := utf8.DecodeRuneInString(text)
		g.put(r)
		text = text[size:]
	}
	g.rest = text
}

func (g *glass) obey(what string, n int) {
	switch what {
	case "A":
		g.y = max(0, g.y-max(1, n))
	case "J":
		g.cells[g.y] = g.cells[g.y][:min(g.x, len(g.cells[g.y]))]
		for i := g.y + 1; i < g.height; i++ {
			g.cells[i], g.wrapped[i] = nil, false
		}
	case "m": // a colour
	case "?l", "?h":
		if n == 25 {
			g.hidden = what == "?l"
		}
	default:
		panic(fmt.Sprintf("what is %q %d?", what, n))
	}
}

func (g *glass) put(r rune) {
	switch r {
	case '\r':
		g.x = 0
		return
	case '\n':
		g.down(false)
		return
	}
	w := width(string(r))
	if g.x+w > g.width {
		g.down(true)
		g.x = 0
	}
	line := g.cells[g.y]
	for len(line) < g.x+w {
		line = append(line, " ")
	}
	if line[g.x] = string(r); w == 2 {
		line[g.x+1] = ""
	}
	g.cells[g.y], g.x = line, g.x+w
}

func (g *glass) down(wrapped bool) {
	if g.y++; g.y == g.height {
		g.cells, g.wrapped = append(g.cells[1:], nil), append(g.wrapped[1:], false)
		g.y--
	}
	g.wrapped[g.y] = wrapped
}

// lines has a › before what is the rest of the line before.
func (g *glass) lines() (list []string) {
	for i, line := range g.cells {
		text := strings.TrimRight(strings.Join(line, ""), " ")
		if g.wrapped[i] {
			text = "›" + text
		}
		list = append(list, text)
	}
	for len(list) > 0 && list[len(list)-1] == "" {
		list = list[:len(list)-1]
	}
	return list
}

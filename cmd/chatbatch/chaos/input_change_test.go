//go:build linux

package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// wide is a roster of so many wide rows, so that reading it takes a while. All rows have
// one mark.
func wide(rows int, mark string) string {
	var b strings.Builder
	note := strings.Repeat("x", 60_000)
	b.WriteString("group_id,account,marks,note\n")
	for i := range rows {
		fmt.Fprintf(&b, "g,m%04d,%s,%s\n", i, mark, note)
	}
	return b.String()
}

// wideRows is how many rows the file has that changes while it is read.
func wideRows() int { return times(150, 500) }

// An input that changes while it is read is refused, or it is read wholly as it was, or
// wholly as it is then: never a part of each.
func TestInputThatChangesWhileItIsRead(t *testing.T) {
	t.Parallel()
	before, after := wide(wideRows(), "1000"), wide(wideRows(), "1001")
	line := (len(before) - len("group_id,account,marks,note\n")) / wideRows()
	change := map[string]func(name string, f *os.File) error{
		"appended": func(_ string, f *os.File) error {
			_, err := f.WriteAt([]byte("g,m9999,1002,\n"), int64(len(before)))
			return err
		},
		"truncated": func(_ string, f *os.File) error { return f.Truncate(int64(len(before) - 50*line)) },
		"emptied":   func(_ string, f *os.File) error { return f.Truncate(0) },
		"rewritten": func(_ string, f *os.File) error {
			for at := 0; at < len(after); at += 1 << 20 {
				if _, err := f.WriteAt([]byte(after[at:min(at+1<<20, len(after))]), int64(at)); err != nil {
					return err
				}
			}
			return nil
		},
		"replaced": func(name string, _ *os.File) error {
			if err := os.WriteFile(name+".new", []byte(after), 0o600); err != nil {
				return err
			}
			return os.Rename(name+".new", name)
		},
		"removed": func(name string, _ *os.File) error { return os.Remove(name) },
	}
	for i := range times(1, 4) {
		for how, f := range change {
			p := newPlace(t)
			p.api.found("g", "AVChatRoom")
			for i := range wideRows() {
				p.api.join("g", fmt.Sprintf("m%04d", i))
			}
			p.api.join("g", "m9999")
			name := p.file("wide.csv", before)
			file, err := os.OpenFile(name, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			c := p.start("marks", "set", name, "--json")
			time.Sleep(time.Duration(20+40*i) * time.Millisecond)
			if err := f(name, file); err != nil {
				t.Error(err)
			}
			file.Close()
			tried.add("an input that is appended to, truncated, rewritten, replaced or removed while it is read", 1, p.mixed(how, c.end()))
		}
	}
}

// mixed says whether a run has taken rows of two versions of its input, or not all.
func (p *place) mixed(how string, e end) (lost int) {
	p.t.Helper()
	marks := map[string]int{}
	for _, mark := range p.api.allMarks() {
		marks[mark]++
	}
	if e.code == exitInput {
		if p.api.count() > 0 || len(p.runDirs()) > 0 || !strings.Contains(e.stderr, "wide.csv") {
			p.t.Errorf("%s: refused, with %d calls, runs %v; it said:\n%s", how, p.api.count(), p.runDirs(), e.stderr)
		}
		return p.api.count()
	}
	e.want(p.t, exitOK)
	s := p.summary(e)
	switch all := fmt.Sprint(marks); {
	case s.Succeeded == s.Rows && (all == fmt.Sprintf("map[1000:%d]", s.Rows) || all == fmt.Sprintf("map[1001:%d]", s.Rows)) && (s.Rows == wideRows() || how == "truncated"):
	case s.Rows == wideRows()+1 && how == "appended" && all == fmt.Sprintf("map[1000:%d 1002:1]", wideRows()):
	case s.Rows == wideRows()-50 && how == "truncated":
	default:
		lost++
		p.t.Errorf("%s: got %+v, and at the server %s", how, s, all)
	}
	return lost
}

// An input that changes between a run and the same command again is another command:
// that is said, the run that waits is named, and neither gets the other's rows.
func TestInputThatChangesBeforeTheNextTime(t *testing.T) {
	t.Parallel()
	change := map[string]func(text string) string{
		"a row more":      func(text string) string { return text + "late,m,1000\n" },
		"a row less":      func(text string) string { return text[:strings.LastIndex(text[:len(text)-1], "\n")+1] },
		"another mark":    func(text string) string { return strings.Replace(text, "g7,m,1000", "g7,m,1001", 1) },
		"another order":   func(text string) string { h, rest, _ := strings.Cut(text, "\n"); return h + "\n" + reversed(rest) },
		"other line ends": func(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") },
	}
	for how, f := range change {
		p := newPlace(t)
		text := rosterHeader + "\n"
		for i := range 60 {
			p.api.join(fmt.Sprintf("g%d", i), "m")
			text += fmt.Sprintf("g%d,m,1000\n", i)
		}
		p.api.join("late", "m")
		name := p.file("class.csv", text)
		p.killAfter(20, "marks", "set", name)
		waits := filepath.Base(p.runDirs()[0])
		changed := f(text)
		p.file("class.csv", changed)
		e := p.run("marks", "set", name, "--json")
		e.want(t, exitOK, waits, "has not ended, but had other bytes", "this is a new run", "chatbatch resume "+waits)
		s := p.summary(e)
		lost := strings.Count(changed, "\n") - 1 - s.Succeeded
		if s.Run == waits || lost != 0 {
			t.Errorf("%s: got %+v", how, s)
		}
		e = p.run("resume", waits, "--json")
		e.want(t, exitOK)
		if s := p.summary(e); s.Succeeded != 60 {
			t.Errorf("%s: resumed, it is %+v", how, s)
		}
		tried.add("an input that is changed between a killed run and the same command again", 1, max(lost, -lost))
	}
}

func reversed(text string) string {
	lines := strings.SplitAfter(text, "\n")
	for i, j := 0, len(lines)-1; i < j; i, j = i+1, j-1 {
		lines[i], lines[j] = lines[j], lines[i]
	}
	return strings.Join(lines, "")
}

// killAfter runs the program until so many calls have come, and kills it.
func (p *place) killAfter(calls int, args ...string) {
	p.t.Helper()
	hang := make(chan struct{})
	p.api.misbehave(func(c *call) bool {
		if c.n > calls {
			<-hang // until it is killed
		}
		return c.n > calls
	})
	c := p.start(args...)
	if !c.until(func() bool { return p.api.count() > calls }) {
		p.t.Fatalf("it has ended before: %s", c.stderr.String())
	}
	_ = c.Process.Kill()
	<-c.ended
	close(hang)
	p.api.misbehave(nil)
}

// The same bytes are the same command, wherever they lie and however they come.
func TestInputThatIsMoved(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"another name", "touched", "through stdin", "through a link"} {
		p := newPlace(t)
		text := rosterHeader + "\n"
		for i := range 60 {
			p.api.join(fmt.Sprintf("g%d", i), "m")
			text += fmt.Sprintf("g%d,m,1000\n", i)
		}
		name := p.file("class.csv", text)
		p.killAfter(20, "marks", "set", name)
		c := p.command("marks", "set", name, "--json")
		var err error
		switch how {
		case "another name":
			c = p.command("marks", "set", "elsewhere.csv", "--json")
			err = os.Rename(name, filepath.Join(p.dir, "elsewhere.csv"))
		case "touched":
			err = os.Chtimes(name, time.Now(), time.Now().Add(time.Hour))
		case "through stdin":
			c = p.command("marks", "set", "-", "--json")
			c.Stdin = strings.NewReader(text)
		case "through a link":
			c = p.command("marks", "set", "link.csv", "--json")
			err = os.Symlink(name, filepath.Join(p.dir, "link.csv"))
		}
		if err != nil {
			t.Fatal(err)
		}
		e := c.begin().end()
		e.want(t, exitOK, "resuming run")
		s := p.summary(e)
		if s.Succeeded != 60 || len(p.runDirs()) != 1 {
			t.Errorf("%s: got %+v in runs %v", how, s, p.runDirs())
		}
		tried.add("the same input under another name, touched, or through stdin, after a kill", 1, 60-s.Succeeded)
	}
}

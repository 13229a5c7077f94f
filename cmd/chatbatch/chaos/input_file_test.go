//go:build linux

package chaos

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const rosterHeader = "group_id,account,marks"

// refused fails the test if an input was not refused as one, with words; if anything
// was sent; or if a run was left. It returns how many calls came.
func (p *place) refused(e end, words ...string) (calls int) {
	p.t.Helper()
	e.want(p.t, exitInput, words...)
	if calls = p.api.count(); calls > 0 {
		p.t.Errorf("%d calls were sent", calls)
	}
	if left := append(p.runDirs(), p.remains()...); len(left) > 0 {
		p.t.Errorf("left behind: %v", left)
	}
	return calls
}

// What is no roster is refused before anything is sent, and it is said why.
func TestInputThatIsNoRoster(t *testing.T) {
	t.Parallel()
	row := "\ng,a,1000\n"
	for i, tt := range []struct {
		name, text string
		words      []string
	}{
		// These are no input of any kind.
		{"empty.csv", "", []string{"the file is empty"}},
		{"blank.csv", "\n \r\n\t\n\n", []string{"the file is empty"}},
		{"bom.csv", "\ufeff", []string{"the file is empty"}},
		{"boms.csv", "\ufeff\ufeff\n", []string{"the file is empty"}},
		{"nul.csv", "\x00\x00\n\x00", []string{"NUL byte"}},
		{"utf16.csv", "\xff\xfeg\x00r\x00", []string{"no column for group_id", "columns read (utf-16le)"}},
		{"utf16.jsonl", "\xfe\xff\x00{", []string{"line 1: the line ends inside the object"}},
		{"gb.csv", "\xc8\xba,\xd5\xcb,marques" + row, []string{"the first line is not UTF-8", "gb18030", "--encoding"}},
		{"zip.csv", "PK\x03\x04" + row, []string{"unpack xlsx", "damaged or cut off"}},
		{"gzip.jsonl", "\x1f\x8b\x08\x00", []string{"unpack gzip", "cut off"}},
		{"mac.csv", rosterHeader + "\rg,a,1000\r", []string{"carriage returns", "LF or CRLF"}},
		{"open.csv", `group_id,"account,marks` + row, []string{"the first line is not CSV", "quoted field"}},
		// These are no roster.
		{"twice.csv", "group_id,account,Account,marks\ng,a,a,1000\n", []string{"2 columns for account"}},
		{"alias.csv", "group_id,account,账号,marks\ng,a,a,1000\n", []string{"2 columns for account"}},
		{"few.csv", "group_id,marks\ng,1000\n", []string{"no column for account", `"group_id", "marks"`}},
		{"tabs.csv", "group_id\tacount\tmarks\ng\ta\t1000\n", []string{"no column for account", "columns read (by tab)"}},
		{"long.csv", rosterHeader + "," + strings.Repeat("x", 1<<20) + row, []string{"the first line has 65536 bytes or more"}},
		{"reserved.csv", "_line,_class" + row, []string{"only reserved columns"}},
		{"json.csv", `{"group_id":"g","account":"a","marks":[1000]}` + "\n", []string{"looks like JSONL"}},
		{"csv.jsonl", rosterHeader + row, []string{"line 1: not JSON", "line 2: not JSON", "2 of 2 rows are bad", "nothing was sent"}},
		{"array.jsonl", `[{"group_id":"g","account":"a","marks":[1000]}]`, []string{"line 1: a row must be an object, but is an array"}},
		{"deep.jsonl", `{"group_id":"g","x":` + strings.Repeat("[", 50_000) + "\n", []string{"line 1: not JSON: exceeded max depth"}},
		{"quotes.csv", rosterHeader + "\n" + strings.Repeat(`"`, 999) + "\n" + strings.Repeat(`g,"a,1000`+"\n", 99), []string{"line 3: a quoted field is not closed on its line", "100 of 100 rows are bad", "and 80 more"}},
	} {
		kinds := [][]string{{"marks", "set"}}
		if i < 12 {
			kinds = append(kinds, []string{"export", "members", "-o", "out.csv"}, []string{"marks", "delete"}, []string{"unread", "set"}, []string{"export", "online", "-o", "out.csv"})
		}
		for _, kind := range kinds[:min(len(kinds), times(2, 5))] {
			p := newPlace(t)
			e := p.run(append(kind, p.file(tt.name, tt.text))...)
			lost := p.refused(e, tt.words...)
			if !strings.HasPrefix(tt.words[0], "line") && !strings.Contains(e.stderr, tt.name) || len(e.stderr) > 4<<10 {
				t.Errorf("it does not name %s, or says too much:\n%.4000s", tt.name, e.stderr)
			}
			if _, err := os.Stat(filepath.Join(p.dir, "out.csv")); err == nil {
				t.Errorf("%s: there is an export", tt.name)
			}
			tried.add("a file that is no roster: empty, blank, a BOM, NUL bytes, other encodings and formats, headers that are none", 1, lost)
		}
	}
}

// Nothing but a header is a roster without rows.
func TestInputWithoutRows(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"header.csv": rosterHeader + "\n", "cut.csv": rosterHeader, "bom.csv": "\ufeff" + rosterHeader + "\r\n\r\n \r\n",
		"empty.jsonl": "", "blank.jsonl": "\n\n", "bom.jsonl": "\ufeff",
	} {
		p := newPlace(t)
		e := p.run("marks", "set", p.file(name, text), "--json")
		e.want(t, exitOK)
		if s := p.summary(e); s.Rows != 0 || s.Calls != 0 {
			t.Errorf("%s: got %+v", name, s)
		}
		tried.add("a file without rows", 1, p.api.count())
	}
}

// What cannot be read, or is no file, is refused.
func TestInputThatIsNoFile(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(p.dir, "dir.csv"), 0o700))
	must(os.Symlink("loop.csv", filepath.Join(p.dir, "loop.csv")))
	must(os.Symlink("nowhere.csv", filepath.Join(p.dir, "dangling.csv")))
	dir, err := os.MkdirTemp("", "chaos") // a socket has a short name
	must(err)
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s.csv")
	l, err := net.Listen("unix", socket)
	must(err)
	defer l.Close()
	for name, word := range map[string]string{
		"dir.csv": "it is a directory", "loop.csv": "too many levels of symbolic links", "dangling.csv": "no such file", "none.csv": "no such file",
		"dir.csv/x.csv": "no such file", strings.Repeat("x", 300): "file name too long", socket: "no such device", "/dev/null": "the file is empty",
		"/proc/self/mem": "input/output error",
	} {
		for _, more := range []string{"--json", "--dry-run"} {
			lost := p.refused(p.run("marks", "set", name, more), name, word)
			tried.add("an input that is no file: a directory, a loop of links, a socket, /dev/null, one that breaks while it is read", 1, lost)
		}
	}
	// Through stdin: closed, and a directory.
	closed := p.command("marks", "set", "-")
	closed.Path, closed.Args = "/bin/sh", append([]string{"sh", "-c", `exec "$0" "$@" <&-`}, closed.Args...)
	lost := p.refused(closed.begin().end(), "stdin: header: the file is empty")
	stdin := p.command("marks", "set", "-")
	d, err := os.Open(p.dir)
	must(err)
	defer d.Close()
	stdin.Stdin = d
	lost += p.refused(stdin.begin().end(), "read stdin", "is a directory")
	tried.add("stdin closed, or a directory", 2, lost)
}

// A file that its user may not read is refused; root may read all, so another user tries.
func TestInputOfSomebodyElse(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root, to try it as another user")
	}
	p := newPlace(t)
	name := p.file("class.csv", rosterHeader+"\ng,a,1000\n")
	const nobody = 65534
	state := filepath.Join(p.dir, "state")
	for _, err := range []error{
		os.Chmod(filepath.Dir(binary), 0o711), os.Chmod(filepath.Dir(p.dir), 0o711), os.Chmod(p.dir, 0o711), // on the way to both
		os.Mkdir(state, 0o700), os.Chown(state, nobody, nobody),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c := p.command("marks", "set", name)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	tried.add("a file that its user may not read", 1, p.refused(c.begin().end(), "class.csv", "permission denied"))
}

// Rows may come through a FIFO, a socket, and from a file of any name.
func TestInputThroughPipes(t *testing.T) {
	t.Parallel()
	text := rosterHeader + "\ng,a,1000\ng,b,1000\n"
	feed := func(p *place, how string) *process {
		switch how {
		case "a FIFO":
			name := filepath.Join(p.dir, "fifo.csv")
			if err := syscall.Mkfifo(name, 0o600); err != nil {
				t.Fatal(err)
			}
			c := p.start("marks", "set", name, "--json")
			f, err := os.OpenFile(name, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			fmt.Fprint(f, text)
			return c
		case "a socket":
			fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
			defer ours.Close()
			defer theirs.Close()
			c := p.command("marks", "set", "-", "--json")
			c.Stdin = theirs
			fmt.Fprint(ours, text)
			return c.begin()
		}
		return p.start("marks", "set", p.file(how, text), "--json")
	}
	for _, how := range []string{"a FIFO", "a socket", "two\nlines.csv", "-.csv", "a 'name' \"with\" $(quotes) `and` \\.csv", "名单 🎓.CSV", "\xff\xfe.csv", "x.jsonl.csv"} {
		p := newPlace(t)
		p.api.join("g", "a")
		p.api.join("g", "b")
		e := feed(p, how).end()
		e.want(t, exitOK)
		s := p.summary(e)
		if s.Succeeded != 2 {
			t.Errorf("%s: got %+v", how, s)
		}
		tried.add("rows through a FIFO, a socket, and from files of odd names", 1, 2-s.Succeeded)
	}
}

// Who waits for an input that never comes can be told to stop.
func TestInputThatNeverComes(t *testing.T) {
	t.Parallel()
	for _, command := range [][]string{{"marks", "set", "fifo"}, {"marks", "set", "-"}, {"run", "fifo"}, {"run", "-"}, {"marks", "set", "x.csv", "--sim-scenario", "fifo", "--endpoint="}} {
		p := newPlace(t)
		if err := syscall.Mkfifo(filepath.Join(p.dir, "fifo"), 0o600); err != nil {
			t.Fatal(err)
		}
		// Whether it waits cannot be seen; a signal that came too early ends it at once.
		var e end
		for wait := 300 * time.Millisecond; wait < 30*time.Second; wait *= 4 {
			if e = p.stopped(wait, command); e.code >= 0 {
				break
			}
		}
		e.want(t, exitInterrupted, "interrupted")
		tried.add("SIGTERM while an input does not come", 1, len(p.remains()))
	}
}

// stopped is how a command ends that gets SIGTERM a while after its begin, and nothing
// through stdin.
func (p *place) stopped(after time.Duration, args []string) end {
	r, w, err := os.Pipe()
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	c := p.command(args...)
	c.Stdin = r
	c.begin()
	time.Sleep(after)
	_ = c.Process.Signal(syscall.SIGTERM)
	return c.end()
}

// sparse makes a file with a hole of so many bytes.
func (p *place) sparse(name, before string, hole int64, after string) string {
	p.t.Helper()
	path := p.file(name, before)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(after), int64(len(before))+hole); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// maxResident is the memory that the README promises, in KiB; the race detector takes
// several times as much, and is not held to it.
const maxResident = 64 << 10

// lean fails the test if a process that has just been started takes more memory than
// promised. It looks at what is resident, again and again: what wait tells of a process
// counts the memory of the one that started it too.
func (c *process) lean() *process {
	most := make(chan int, 1)
	go func() {
		for peak := 0; ; time.Sleep(2 * time.Millisecond) {
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Process.Pid)) // gone: it has ended
			_, line, _ := strings.Cut(string(status), "VmHWM:")
			var now int
			_, _ = fmt.Sscan(line, &now)
			peak = max(peak, now)
			select {
			case <-c.ended:
				most <- peak
				return
			default:
			}
		}
	}()
	c.t.Cleanup(func() {
		if peak := <-most; peak > maxResident && len(buildFlags) == 0 {
			c.t.Errorf("%v took %d MiB", c.Args[1:], peak>>10)
		}
	})
	return c
}

// A line of 2 GB costs that line, and no memory.
func TestInputOfOneHugeLine(t *testing.T) {
	t.Parallel()
	hole := int64(times(16<<20, 2<<30))
	for _, tt := range []struct{ name, before, after string }{
		{"huge.csv", rosterHeader + "\ng,a,1000\n", "\ng,b,1000\n"},
		{"huge.jsonl", `{"group_id":"g","account":"a","marks":[1000]}` + "\n", "\n" + `{"group_id":"g","account":"b","marks":[1000]}` + "\n"},
	} {
		p := newPlace(t)
		p.api.join("g", "a")
		p.api.join("g", "b")
		c := p.start("marks", "set", p.sparse(tt.name, tt.before, hole, tt.after), "--max-bad-rows", "1", "--json").lean()
		e := c.end()
		e.want(t, exitFailed)
		s := p.summary(e)
		if s.Rows != 3 || s.Succeeded != 2 || s.ByClass["bad_row"] != 1 {
			t.Errorf("got %+v", s)
		}
		again := p.run("marks", "set", filepath.Join(p.runs(), s.Run, "failed"+filepath.Ext(tt.name)), "--json")
		again.want(t, exitFailed)
		if s := p.summary(again); s.Rows != 1 || s.ByClass["bad_row"] != 1 {
			t.Errorf("fed back: got %+v", s)
		}
		tried.add("a line of 2 GB (of 16 MB in the short part), in 64 MiB of memory", 1, 2-s.Succeeded)
	}
	p := newPlace(t)
	c := p.start("marks", "set", p.sparse("header.csv", "group_id", hole, ",account,marks\n")).lean()
	tried.add("a header of 2 GB", 1, p.refused(c.end(), "header.csv"))
}

//go:build linux

package chaos

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What a command prints for data is printed whole, or its exit code says that it is not.
func TestStdoutThatTakesNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	input, rows := p.hall("class", 5)
	groups := p.groupsFile("public", 2, 3)
	e := p.shell("chatbatch marks set '" + input + "' --json --quiet >/dev/full")
	e.want(t, exitStopped, "no space left")
	if n := strings.Count(e.stderr, "\n"); n != 1 {
		t.Errorf("it said %q", e.stderr)
	}
	again := p.run("marks", "set", input, "--json", "--quiet") // says it, and sends nothing
	again.want(t, exitOK)
	run := p.summary(again).Run
	lost := p.wrong(run, classHeader, rows)
	for _, args := range firstOf(4, "runs list", "limiter status", "marks set '"+input+"' --dry-run", "runs prune --older-than 0s", "runs list --json", "runs show "+run, "report "+run,
		"limiter status --json", "marks set '"+input+"' --dry-run --json") {
		e := p.shell("exec chatbatch " + args + " >/dev/full")
		if e.code == exitOK || !strings.Contains(e.stderr, "no space left") {
			t.Errorf("%s: exit code %d, it said %q", args, e.code, e.stderr)
		}
	}
	e = p.shell("chatbatch export members '" + groups + "' -o - >/dev/full")
	e.want(t, exitStopped, "no space left", "run the same command again")
	e = p.run("export", "members", groups, "-o", "-")
	e.want(t, exitOK)
	if strings.Count(e.stdout, "\n") != 7 {
		t.Errorf("got %q", e.stdout)
		lost++
	}
	if p.api.count() != 3 {
		t.Errorf("%d calls, want 3: what is done is not done again", p.api.count())
	}
	tried.add("a stdout that is full", times(6, 11), lost)
}

// A reader of an export who goes away in its middle gets it whole the next time, and
// nothing is fetched again.
func TestReaderThatGoesAway(t *testing.T) {
	t.Parallel()
	for i := range times(1, 8) {
		p := newPlace(t)
		groups := p.groupsFile("public", 4, 1500)
		script := "(chatbatch export members '" + groups + "' -o -; echo $? >code) | head -1"
		if i%2 == 1 {
			script = "(chatbatch export members '" + groups + "' -o - 2>&1; echo $? >code) | head -1" // both go away
		}
		e := p.shell(script)
		if code := content(t, filepath.Join(p.dir, "code")); code != "4" || strings.Count(e.stdout, "\n") != 1 {
			t.Errorf("exit code %s, head has %q", code, e.stdout)
		}
		calls := p.api.count()
		e = p.run("export", "members", groups, "-o", "-")
		e.want(t, exitOK)
		lost := 6001 - strings.Count(e.stdout, "\n")
		if lost != 0 || p.api.count() != calls {
			t.Errorf("%d lines are missing; %d more calls", lost, p.api.count()-calls)
		}
		tried.add("a reader of an export who goes away in its middle", 1, lost)
	}
}

// Streams that were closed before the program began, as under some crons: no file of the
// run gets their numbers, and what is printed does not end in the ledger.
func TestClosedStreams(t *testing.T) {
	t.Parallel()
	for _, closed := range []string{"<&- >&- 2>&-", "2>&-", "<&-", ">&-", ">&- 2>&-"}[:times(2, 5)] {
		p := newPlace(t)
		rows := p.classRows(3, 40)
		input := p.roster("class.csv", classHeader, rows)
		p.env = append(p.env, "CHATBATCH_LOG_LEVEL=debug", "CHATBATCH_LIMITER=host")
		e := p.shell("exec chatbatch marks set '" + input + "' --chunk-size 5 --json " + closed)
		e.want(t, exitFailed)
		dirs := p.runDirs()
		if len(dirs) != 1 {
			t.Fatalf("%s: got runs %v", closed, dirs)
		}
		lost := p.wrong(filepath.Base(dirs[0]), classHeader, rows) + p.wrongMarks(rows)
		shown := p.run("report", filepath.Base(dirs[0]))
		shown.want(t, exitOK)
		for _, name := range []string{"ledger.db", "ledger.db-seq", "failed.csv"} {
			if text := content(t, filepath.Join(dirs[0], name)); strings.Contains(text, "planned run") || strings.Contains(text, `"state":`) {
				t.Errorf("%s: what was printed is in %s", closed, name)
			}
		}
		p.private()
		tried.add("a run with stdin, stdout or stderr closed, or all three", 1, lost)
	}
}

// An export to a stdout that is closed would be lost: it is refused before a call is spent.
func TestExportToClosedStdout(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	groups := p.groupsFile("public", 1, 3)
	e := p.shell("exec chatbatch export members '" + groups + "' -o - >&-")
	e.want(t, exitUsage, "stdout is closed")
	if p.api.count() > 0 {
		t.Errorf("it made %d calls", p.api.count())
	}
	p.shell("exec chatbatch export members '"+groups+"' -o - >/dev/null").want(t, exitOK)
	p.shell("exec chatbatch marks set - <&-").want(t, exitInput, "stdin: header: the file is empty")
	tried.add("an export to a stdout that is closed", 1, 0)
}

// An export that writes to a reader who takes his time keeps no other one waiting.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	groups, others := p.groupsFile("public", 3, 3000), p.groupsFile("others", 1, 3)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	slow := p.speak("export", "members", groups, "-o", "-")
	slow.Stdout = w
	slow.begin()
	w.Close()
	defer r.Close()
	first := make([]byte, 1)
	if _, err := io.ReadFull(r, first); err != nil { // it publishes, and the pipe is soon full
		t.Fatal(err)
	}
	e := p.run("export", "members", others, "-o", "-")
	e.want(t, exitOK)
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	slow.end().want(t, exitOK)
	lost := 9001 - strings.Count(string(first)+string(rest), "\n") + 4 - strings.Count(e.stdout, "\n")
	if lost != 0 {
		t.Errorf("%d lines are missing", lost)
	}
	tried.add("two exports to stdout at once, one to a slow reader", 1, lost)
}

// Where there is no home, and none is known of the user, there is no state: it is not put
// wherever the command is given.
func TestWithoutHome(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	as, mine := p.stranger(homeless)
	_, rows := p.hall("class", 3)
	input := filepath.Join(mine, "class.csv")
	err := errors.Join(os.Rename(filepath.Join(p.dir, "class.csv"), input), os.Chown(input, homeless, homeless))
	if err != nil {
		t.Fatal(err)
	}
	runs, lost := filepath.Join(mine, "runs"), 0
	for _, home := range []string{"HOME= XDG_STATE_HOME=", "HOME=home XDG_STATE_HOME=state"} {
		run := func(args ...string) end {
			c := p.command(args...)
			as(c)
			c.Env = append(c.Env, strings.Fields(home)...)
			return c.begin().end()
		}
		run("marks", "set", input).want(t, exitUsage, "HOME", "XDG_STATE_HOME", "--runs-dir")
		run("runs", "list").want(t, exitUsage, "--runs-dir")
		run("marks", "set", input, "--limiter", "host", "--runs-dir", runs).want(t, exitUsage, "lanes", "HOME")
		run("marks", "set", input, "--dry-run").want(t, exitOK)
		e := run("marks", "set", input, "--json", "--runs-dir", runs)
		e.want(t, exitOK)
		lost += len(rows) - p.summary(e).Succeeded
	}
	for home, word := range map[string]string{"/dev/null": "not a directory", "/proc/1/nowhere": "directory of the runs"} {
		c := p.command("marks", "set", p.file("few.csv", classHeader+"\n"))
		c.Env = append(c.Env, "XDG_STATE_HOME=", "HOME="+home)
		c.begin().end().want(t, exitUsage, word)
	}
	if files, err := os.ReadDir(filepath.Dir(mine)); err != nil || len(files) != 2 { // the program, and mine
		t.Errorf("where the command was given there is %v, %v", files, err)
	}
	tried.add("no HOME, or one that is no place", 4, lost)
}

// Whatever the surroundings: the same books, in files that only their owner can read.
func TestSurroundings(t *testing.T) {
	t.Parallel()
	all := []string{
		"umask 0; exec", "exec env LANG=C LC_ALL=C TERM=dumb NO_COLOR=1 TMPDIR=/nonexistent GOMAXPROCS=1", "umask 077; exec", "exec env TMPDIR=/nonexistent", "exec env GOMAXPROCS=1",
		"exec env GOMEMLIMIT=1MiB", "exec env GOGC=1", "exec nice -n 19", "ulimit -n 32; exec", "ulimit -v 4000000; exec", "exec setsid", "exec env -u USER -u LOGNAME -u SHELL",
		"unset PATH; exec \"$CB\" \"$@\"; exec", "exec env CHATBATCH_NO_SUCH_FLAG=1 CHATBATCH_ADDR=x",
	}
	for _, env := range all[:times(2, len(all))] {
		p := newPlace(t)
		rows := p.classRows(2, 30)
		input := p.roster("class.csv", classHeader, rows)
		p.env = append(p.env, "CB="+binary)
		e := p.shell(fmt.Sprintf("set -- marks set '%s' --chunk-size 5 --limiter host; %s chatbatch \"$@\" </dev/null", input, env))
		e.want(t, exitFailed, "next:  chatbatch retry")
		if strings.Contains(e.stderr, "\x1b") || e.stdout != "" {
			t.Errorf("%s: it said %q, and %q", env, e.stderr, e.stdout)
		}
		dirs := p.runDirs()
		if len(dirs) != 1 {
			t.Fatalf("%s: got runs %v", env, dirs)
		}
		for mode := range modes(t, filepath.Join(p.dir, "state", "chatbatch")) {
			if mode != 0o600 && mode != os.ModeDir|0o700 {
				t.Errorf("%s: there are files of mode %v", env, mode)
			}
		}
		tried.add("umask, ulimit, TMPDIR, locale, GOMEMLIMIT and other surroundings", 1, p.wrong(filepath.Base(dirs[0]), classHeader, rows))
	}
}

// A directory that is gone under the program's feet.
func TestWhereNothingIs(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	input, rows := p.hall("class", 3)
	gone := "mkdir gone && cd gone && rmdir ../gone && "
	e := p.shell(gone + "exec chatbatch marks set '" + input + "' --json")
	e.want(t, exitOK)
	lost := p.wrong(p.summary(e).Run, classHeader, rows)
	p.shell(gone+"exec chatbatch marks set class.csv").want(t, exitInput, "class.csv: no such file")
	p.shell(gone+"exec chatbatch export members '"+input+"' -o x.csv").want(t, exitUsage, "x.csv")
	p.shell(gone+"exec chatbatch runs list --runs-dir here").want(t, exitOK)
	p.shell(gone+"exec chatbatch marks set '"+input+"' --runs-dir here").want(t, exitUsage, "directory of the runs")
	tried.add("a working directory that is gone", 5, lost)
}

// A variable that cannot be is named.
func TestVariables(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	input, _ := p.hall("class", 3)
	for _, v := range firstOf(3, "CHATBATCH_QPS=fast", "CHATBATCH_QPS=0", "CHATBATCH_QPS=5001", "CHATBATCH_WORKERS=-1", "CHATBATCH_IF_LOCKED=perhaps", "CHATBATCH_MAX_ERRORS=x",
		"CHATBATCH_MAX_BAD_ROWS=101%", "CHATBATCH_TIMEOUT=5", "CHATBATCH_GRACE=-1s", "CHATBATCH_LOG_LEVEL=loud", "CHATBATCH_JSON=perhaps", "CHATBATCH_MAP=x", "CHATBATCH_QPS_SCOPE=all", "CHATBATCH_REGION=mars",
		"CHATBATCH_SHARE=2", "CHATBATCH_CHUNK_SIZE=0", "CHATBATCH_SDKAPPID=0", "CHATBATCH_LIMITER=postgres") {
		name, _, _ := strings.Cut(v, "=")
		tried.add("a variable CHATBATCH_… that cannot be", 1, 0)
		p.shell("exec env "+v+" chatbatch marks set '"+input+"'").want(t, exitUsage, name)
	}
	if p.api.count() > 0 || len(p.runDirs()) > 0 {
		t.Errorf("%d calls, runs %v", p.api.count(), p.runDirs())
	}
}

// A run that another user began cannot be read, and says so.
func TestOtherUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	p := newPlace(t)
	input, rows := p.hall("class", 10)
	for _, dir := range []string{filepath.Dir(binary), p.dir, filepath.Dir(p.dir)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(input, 0o644); err != nil {
		t.Fatal(err)
	}
	h := p.hold(4, false)
	c := p.start("marks", "set", input, "--chunk-size", "1", "--workers", "1", "--grace", "0s")
	c.arrived(p, 4)
	c.signal(syscall.SIGTERM)
	c.end().want(t, exitInterrupted)
	h.release()
	run := filepath.Base(p.runDirs()[0])
	for _, args := range firstOf(2, []string{"marks", "set", input}, []string{"resume", run}, []string{"resume"}, []string{"report", run}, []string{"runs", "list"}, []string{"retry", run}) {
		other := p.command(args...)
		other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		e := other.begin().end()
		e.want(t, exitUsage, "permission denied")
	}
	e := p.run("resume", "--json")
	e.want(t, exitOK)
	tried.add("a run of root that another user would go on with", 1, p.wrong(p.summary(e).Run, classHeader, rows))
}

// All cores busy with something else.
func TestBusyHost(t *testing.T) {
	t.Parallel()
	if !*full {
		t.Skip("it takes the whole machine: see -full")
	}
	p := newPlace(t)
	for range 4 {
		p.shellCommand("i=0; while [ $i -lt 100000000 ]; do i=$((i+1)); done").begin() // none outlives the test
	}
	rows := p.classRows(12, 60)
	input := p.roster("class.csv", classHeader, rows)
	e := p.shell("exec nice -n 10 chatbatch marks set '" + input + "' --chunk-size 1 --qps 200 --limiter host --json")
	e.want(t, exitFailed)
	if n := p.api.busiest(); n > 200 {
		t.Errorf("%d calls in a second", n)
	}
	tried.add("a niced run while all cores are busy", 1, p.wrong(p.summary(e).Run, classHeader, rows))
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"chatbatch/io/chat/chatsim"
	"chatbatch/io/ledger"
	"chatbatch/limiter/pgtest"
)

// The test binary is the program too: where it is started under the name
// chatbatch, it is main.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"chatbatch": main})
}

// TestScript plays the pages of the manual in testdata/script. $ROSTERS are files
// as programs save them. Beside the commands of testscript a page may say:
//
//	exits N COMMAND…    the command ends with exit code N
//	sim FILE            a Chat API at $SIM_URL, by a scenario
//	calls N             it has got exactly N calls since the last "calls"
//	busiest N           in no second has it got more than N
//	touched             the accounts that the calls since the last "touched"
//	                    named, on stdout, one "GROUP ACCOUNT" a line
//	asked               the calls since the last "asked", on stdout: "COMMAND
//	                    GROUP N" a line; for many groups at once, how many
//	arrived N           wait until it has got N calls in all
//	hold, release       its answers are kept back meanwhile
//	marks GROUP         who has which marks there, on stdout
//	unread GROUP        who has which unread count there, on stdout
//	table FILE          a compressed file or a workbook as text, on stdout
//	encode NAME FILE…   write FILE, which is UTF-8, in the encoding NAME
//	decode NAME FILE    FILE, which is in the encoding NAME, on stdout
//	pack FILE NAME      FILE compressed as NAME, which ends in .gz or .zst
//	address             $ADDR is free to listen on
//	newest              $RUN and $DIR are the newest run and its directory
//	next N              do what the last "next:" line of stderr says, by a shell;
//	                    it ends with exit code N
//	compact FILE        a JSON file as one line on stdout
//	get URL             what a server answers, on stdout
//	mode OCTAL FILE…    rights of files
//	until REGEXP COMMAND…
//	                    do the command again and again until its stdout has that
//	interrupt           SIGINT to the command in the background; after wait,
//	exited N            that one ended with exit code N
//	hook [ANSWER]       a web hook at $HOOK_URL; it answers with ok, with another
//	                    status, or with status 200 and a text
//	told N              it has got exactly N messages since the last "told", on
//	                    stdout, one a line
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "../../testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", goRace)
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			rosters, err := filepath.Abs("../../testdata/rosters")
			if err != nil {
				return err
			}
			env.Setenv("ROSTERS", rosters)
			env.Values[stageKey{}] = &stage{}
			return nil
		},
		Cmds: scriptCommands(),
	})
}

type scriptCommand = func(*testscript.TestScript, bool, []string)

func scriptCommands() map[string]scriptCommand {
	return map[string]scriptCommand{
		"exits": exits, "sim": sim, "calls": calls, "touched": touched, "arrived": arrived,
		"hold": hold, "release": release, "marks": marks, "address": address, "newest": newest,
		"next": next, "compact": compact, "mode": mode, "interrupt": interrupt, "exited": exited,
		"asked": asked, "unread": unread, "table": tableOf, "until": until, "busiest": busiest,
		"pack": pack, "encode": encode, "decode": decode, "hook": hook, "told": toldOf, "get": getURL,
	}
}

// A stage is what the commands of one script share.
type stage struct {
	sim     *chatsim.Sim
	seen    int64 // calls that "calls" has accounted for
	stopped *exec.Cmd

	database string        // of a fleet
	proxy    *pgtest.Proxy // the way to it

	mu      sync.Mutex
	touched []string // under mu
	asked   []string // under mu
	hook    *webHook
	held    chan struct{} // under mu; answers wait until it is closed; nil: they do not
}

// ServeHTTP notes whom a call names and passes it on.
func (st *stage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the program is gone
	}
	st.mu.Lock()
	st.note(r.URL.Path, body)
	held := st.held
	st.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := httptest.NewRecorder()
	st.sim.ServeHTTP(answer, r)
	if held != nil {
		<-held
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

type stageKey struct{}

func stageOf(ts *testscript.TestScript) *stage { return ts.Value(stageKey{}).(*stage) }

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N COMMAND…")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		end, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = end.ExitCode()
	}
	if want := number(ts, args[0]); int64(got) != want {
		ts.Fatalf("got exit code %d, want %d", got, want)
	}
}

func sim(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sim FILE")
	}
	s, _, err := newSimulator(context.Background(), ts.MkAbs(args[0]), chatsim.Scenario{})
	ts.Check(err)
	st := stageOf(ts)
	if st.sim != nil {
		ts.Fatalf("there is a sim already")
	}
	st.sim = s
	srv := httptest.NewServer(st)
	ts.Defer(func() {
		st.release()
		srv.Close()
	})
	ts.Setenv("SIM_URL", srv.URL)
}

func calls(ts *testscript.TestScript, neg bool, args []string) {
	st := stageOf(ts)
	if neg || len(args) != 1 || st.sim == nil {
		ts.Fatalf("usage: calls N, after sim")
	}
	all := st.sim.Counts().Calls
	if got, want := all-st.seen, number(ts, args[0]); got != want {
		ts.Fatalf("got %d calls, want %d", got, want)
	}
	st.seen = all
}

func busiest(ts *testscript.TestScript, neg bool, args []string) {
	st := stageOf(ts)
	if neg || len(args) != 1 || st.sim == nil {
		ts.Fatalf("usage: busiest N, after sim")
	}
	if got, want := st.sim.Counts().MaxInOneSecond, number(ts, args[0]); int64(got) > want {
		ts.Fatalf("got %d calls in one second, want at most %d", got, want)
	}
}

func touched(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: touched")
	}
	st := stageOf(ts)
	st.mu.Lock()
	defer st.mu.Unlock()
	slices.Sort(st.touched)
	for _, who := range st.touched {
		fmt.Fprintln(ts.Stdout(), who)
	}
	st.touched = nil
}

func hold(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: hold")
	}
	st := stageOf(ts)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.held = make(chan struct{})
}

func (st *stage) release() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.held != nil {
		close(st.held)
		st.held = nil
	}
}

func release(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: release, after hold")
	}
	stageOf(ts).release()
}

func address(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: address")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv("ADDR", l.Addr().String())
	ts.Check(l.Close())
}

func next(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: next N")
	}
	var command string
	for line := range strings.Lines(ts.ReadFile("stderr")) {
		if text, ok := strings.CutPrefix(line, "next:"); ok {
			command = strings.TrimSpace(text)
		}
	}
	if command == "" {
		ts.Fatalf("no next command")
	}
	exits(ts, false, []string{args[0], "sh", "-c", command})
}

func compact(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: compact FILE")
	}
	var b bytes.Buffer
	ts.Check(json.Compact(&b, []byte(ts.ReadFile(args[0]))))
	fmt.Fprintln(ts.Stdout(), b.String())
}

func arrived(ts *testscript.TestScript, neg bool, args []string) {
	st := stageOf(ts)
	if neg || len(args) != 1 || st.sim == nil {
		ts.Fatalf("usage: arrived N, after sim")
	}
	want := number(ts, args[0])
	for end := time.Now().Add(20 * time.Second); st.sim.Counts().Calls < want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("got %d calls, waited for %d", st.sim.Counts().Calls, want)
		}
	}
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP COMMAND…")
	}
	want, err := regexp.Compile(args[0])
	ts.Check(err)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("it does not come: %s", args[0])
		}
	}
}

func getURL(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: get URL")
	}
	answer, err := http.Get(args[0])
	if neg != (err != nil) {
		ts.Fatalf("got %v", err)
	}
	if err != nil {
		return
	}
	defer answer.Body.Close()
	_, err = io.Copy(ts.Stdout(), answer.Body)
	ts.Check(err)
}

func marks(ts *testscript.TestScript, neg bool, args []string) {
	st := stageOf(ts)
	if neg || len(args) != 1 || st.sim == nil {
		ts.Fatalf("usage: marks GROUP, after sim")
	}
	var lines []string
	for account, marks := range st.sim.Marks(args[0]) {
		slices.Sort(marks)
		lines = append(lines, strings.Trim(fmt.Sprintln(account, marks), "\n"))
	}
	slices.Sort(lines)
	for _, line := range lines {
		fmt.Fprintln(ts.Stdout(), line)
	}
}

func newest(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: newest")
	}
	dir := filepath.Join(ts.Getenv("XDG_STATE_HOME"), "chatbatch", "runs")
	infos, err := ledger.Store{Dir: dir}.List(context.Background())
	ts.Check(err)
	if len(infos) == 0 {
		ts.Fatalf("there is no run in %s", dir)
	}
	last := infos[len(infos)-1]
	ts.Setenv("RUN", last.Run)
	ts.Setenv("DIR", filepath.Join(dir, last.Run))
}

func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mode OCTAL FILE…")
	}
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	for _, name := range args[1:] {
		info, err := os.Stat(ts.MkAbs(name))
		ts.Check(err)
		if got := info.Mode().Perm(); got != fs.FileMode(want) {
			ts.Fatalf("%s: got mode %#o, want %#o", name, got, want)
		}
	}
}

func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	background := ts.BackgroundCmds()
	if neg || len(args) != 0 || len(background) != 1 {
		ts.Fatalf("usage: interrupt, with one command in the background")
	}
	stageOf(ts).stopped = background[0]
	ts.Check(background[0].Process.Signal(os.Interrupt))
}

func exited(ts *testscript.TestScript, neg bool, args []string) {
	st := stageOf(ts)
	if neg || len(args) != 1 || st.stopped == nil {
		ts.Fatalf("usage: exited N, after interrupt and wait")
	}
	if got, want := st.stopped.ProcessState.ExitCode(), number(ts, args[0]); int64(got) != want {
		ts.Fatalf("got exit code %d, want %d", got, want)
	}
}

func number(ts *testscript.TestScript, text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	ts.Check(err)
	return n
}

package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chatbatch/io/chat/chatsim"
	"chatbatch/io/ledger"
)

// goRace is $GORACE of the program under the race detector, which otherwise
// waits a second before it ends.
const goRace = "atexit_sleep_ms=0"

// A process is the program under way.
type process struct {
	*exec.Cmd
	stdout, stderr bytes.Buffer
	ended          chan struct{}
}

// start starts the program in dir, which is also where its state is. stdin may
// be nil.
func start(t *testing.T, dir string, env []string, stdin *os.File, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command("chatbatch", args...), ended: make(chan struct{})}
	p.Dir, p.Stdout, p.Stderr = dir, &p.stdout, &p.stderr
	if stdin != nil {
		p.Stdin = stdin
	}
	p.Env = append(os.Environ(), "GORACE="+goRace, "XDG_STATE_HOME="+filepath.Join(dir, "state"), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"))
	p.Env = append(p.Env, env...)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Wait() // the code is in the state
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.ended
	})
	return p
}

// end waits for the end of the program.
func (p *process) end(t *testing.T) (stdout string, code int) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		t.Fatalf("the program does not end; it said:\n%s", p.stderr.String())
	}
	if code = p.ProcessState.ExitCode(); code > exitFailed {
		t.Logf("exit code %d; it said:\n%s", code, p.stderr.String())
	}
	return p.stdout.String(), code
}

// until waits for something, or the end of the program: then it says false.
func (p *process) until(t *testing.T, ready func() bool) bool {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ready(); time.Sleep(100 * time.Microsecond) {
		select {
		case <-p.ended:
			return false
		default:
		}
		if time.Now().After(end) {
			t.Fatal("it does not come")
		}
	}
	return true
}

// A course is a place for runs in this process: a directory and, unless the
// built-in simulator does, a Chat API over HTTP.
type course struct {
	t   *testing.T
	dir string
	sim *chatsim.Sim
	url string
}

// newCourse serves a scenario without a quota, and records its calls.
func newCourse(t *testing.T, sc chatsim.Scenario) *course {
	t.Helper()
	sc.QPS, sc.Record = -1, true
	sim, err := chatsim.New(sc)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	return &course{t, t.TempDir(), sim, srv.URL}
}

// env is the environment of the program.
func (c *course) env() map[string]string {
	return map[string]string{
		"XDG_STATE_HOME": filepath.Join(c.dir, "state"), "CHATBATCH_SECRET_KEY": "any",
		"CHATBATCH_ENDPOINT": c.url, "CHATBATCH_SDKAPPID": "1400000000", "CHATBATCH_IDENTIFIER": "administrator",
		"CHATBATCH_QPS": "5000", "CHATBATCH_LIMITER": "memory", "CHATBATCH_JSON": "1",
	}
}

// environ is env for another process.
func (c *course) environ() []string {
	var list []string
	for name, value := range c.env() {
		list = append(list, name+"="+value)
	}
	return list
}

// program runs the program in this process.
func program(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, world{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, getenv: func(name string) string { return env[name] }})
	return code, out.String(), errs.String()
}

// An end is what a run comes to for its user.
type end struct {
	code   int
	sum    ledger.Summary
	failed map[string]string // "group account" -> "class code"
	stderr string
}

// marksSet runs `marks set` over rows of group and account.
func (c *course) marksSet(rows [][2]string, args ...string) end {
	c.t.Helper()
	name := filepath.Join(c.dir, "roster.csv")
	var b strings.Builder
	b.WriteString("group_id,account,marks\n")
	for i, r := range rows {
		fmt.Fprintf(&b, "%s,%s,%d\n", r[0], r[1], 1000+i%10)
	}
	if err := os.WriteFile(name, []byte(b.String()), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return c.command(append([]string{"marks", "set", name}, args...)...)
}

func (c *course) command(args ...string) end {
	c.t.Helper()
	code, stdout, stderr := program(c.t, c.env(), args...)
	return c.read(code, stdout, stderr)
}

// read takes the summary from stdout and the failed rows from their file.
func (c *course) read(code int, stdout, stderr string) end {
	c.t.Helper()
	e := end{code: code, stderr: stderr, failed: map[string]string{}}
	if err := json.Unmarshal([]byte(stdout), &e.sum); err != nil {
		c.t.Fatalf("exit code %d, summary %q: %v; stderr:\n%s", code, stdout, err, stderr)
	}
	if s := e.sum; s.Rows != s.Succeeded+s.Failed+s.Unprocessed {
		c.t.Errorf("the books do not balance: %+v", s)
	}
	b, err := os.ReadFile(filepath.Join(c.dir, "state", "chatbatch", "runs", e.sum.Run, "failed.csv"))
	if err != nil {
		c.t.Fatal(err)
	}
	records, err := csv.NewReader(bytes.NewReader(b)).ReadAll()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, r := range records[1:] {
		e.failed[r[0]+" "+r[1]] = r[4] + " " + r[5]
	}
	return e
}

// spent counts the calls for a group, without those that only repeat what was
// refused with a code that is not known: such a call is made twice.
func (c *course) spent(group string, unknown ...int) int {
	calls, refused := 0, 0
	for _, call := range c.sim.Calls() {
		if call.Group == group {
			calls++
			if slices.Contains(unknown, call.Code) {
				refused++
			}
		}
	}
	return calls - refused/2
}

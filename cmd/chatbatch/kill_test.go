package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatbatch/io/chat/chatsim"
	"chatbatch/io/ledger"
)

// A killing is one roster, one Chat API and one command, which is killed and
// given again until it ends by itself.
type killing struct {
	t    *testing.T
	rng  *rand.Rand
	dir  string
	sim  *chatsim.Sim
	url  string
	come atomic.Int64 // calls that have arrived

	rows  []killRow
	env   []string // of the program, besides the key
	store shelf
	state map[ledger.State]int // in which the kills found the run

	planned map[string]bool // runs that were once seen with a whole plan
}

// A killRow is a row of the roster, and what must become of it.
type killRow struct{ text, group, account, marks, class string }

const (
	killGroups  = 12
	killWorkers = 16
	killHeader  = "name,group_id,account,marks"
)

// TestKill kills the program with SIGKILL at random moments while it plans and
// sends, and gives the same command again each time. At the end every row has
// the outcome that it would have had without.
func TestKill(t *testing.T) {
	t.Parallel()
	k := newKilling(t, 400)
	planning, sending := 10, 40
	if testing.Short() {
		planning, sending = 2, 8
	}
	for i := range planning {
		// Every other time once it has a ledger: until then there is but a name.
		k.killPlanning(i%2 == 1, time.Duration(i+2)*2*time.Millisecond)
	}
	for left := sending; left > 0; left-- {
		k.killSending(left)
	}
	t.Logf("killed in state %v", k.state)
	k.check(k.program().end(t))
}

// TestKillReports kills the program while it writes the reports of a run whose
// calls have all been made. The same command writes them, and makes no call.
func TestKillReports(t *testing.T) {
	t.Parallel()
	k := newKilling(t, 40)
	n := 8
	if testing.Short() {
		n = 2
	}
	var calls int64
	for i := range n {
		p, killed := k.killReporting()
		if i > 0 && k.come.Load() != calls {
			t.Fatalf("got %d calls after a kill while the reports were written, want none", k.come.Load()-calls)
		}
		calls = k.come.Load()
		if !killed && i == 0 {
			t.Fatal("it could not be killed in time")
		}
		if !killed { // it was faster
			k.check(p.end(t))
			return
		}
		if run := k.runs()[0]; run.Reported { // nothing but its last words is missing
			b, err := os.ReadFile(filepath.Join(k.store.Path(run.Run), "summary.json"))
			if err != nil {
				t.Fatal(err)
			}
			k.unlock()
			k.check(string(b), exitFailed)
			return
		}
	}
	k.check(k.program().end(t))
}

// unlock removes the lock file of a process that was killed when all was done:
// the next holder of the lock would, but there is none.
func (k *killing) unlock() {
	locks, err := filepath.Glob(filepath.Join(k.store.Dir, "*.lock"))
	for _, name := range locks {
		err = errors.Join(err, os.Remove(name))
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

// newKilling makes a roster that is sorted by student, so that its groups are
// interleaved, and a Chat API with who is named in it.
func newKilling(t *testing.T, students int) *killing {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	k := &killing{t: t, rng: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir(), state: map[ledger.State]int{}, planned: map[string]bool{}}
	runs := filepath.Join(k.dir, "state", "chatbatch", "runs")
	k.store = shelf{store: ledger.Store{Dir: runs}, Dir: runs}
	sc := chatsim.Scenario{
		Seed: seed, QPS: -1, Latency: 2 * time.Millisecond, Jitter: 4 * time.Millisecond, Record: true, Shuffle: true,
		Faults: []chatsim.Fault{
			{Kind: chatsim.KindCode, Code: 10002, Rate: 0.05},
			{Kind: chatsim.KindLost, Rate: 0.01},
		},
	}
	for g := range killGroups {
		sc.Groups = append(sc.Groups, chatsim.Group{ID: fmt.Sprintf("@TGS#%d", g)})
	}
	for s := range students {
		for g := range killGroups {
			member := chatsim.Member{Account: fmt.Sprintf("student %d", s), Offline: (s+g*7)%50 == 0}
			sc.Groups[g].Members = append(sc.Groups[g].Members, member)
			k.addRows(s, sc.Groups[g].ID, member)
		}
	}
	var err error
	if k.sim, err = chatsim.New(sc); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.come.Add(1)
		k.sim.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	k.url = srv.URL
	k.write()
	return k
}

// addRows adds the row of a member: now and then a bad one, now and then one
// more for another mark.
func (k *killing) addRows(s int, group string, m chatsim.Member) {
	row := killRow{group: group, account: m.Account, marks: fmt.Sprint(1000 + s%5)}
	if m.Offline {
		row.class = "offline_or_absent"
	}
	if s == 23 {
		row.marks, row.class = "12", "bad_row"
	}
	row.text = fmt.Sprintf("\"同学, %d\",%s, %s,%s", s, row.group, row.account, row.marks)
	k.rows = append(k.rows, row)
	if s%40 == 7 {
		row.marks = "2000"
		row.text = fmt.Sprintf("again,%s,%s,%s", row.group, row.account, row.marks)
		k.rows = append(k.rows, row)
	}
}

func (k *killing) write() {
	var b strings.Builder
	b.WriteString(killHeader + "\n")
	for _, r := range k.rows {
		b.WriteString(r.text + "\n")
	}
	if err := os.WriteFile(filepath.Join(k.dir, "roster.csv"), []byte(b.String()), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

// program starts the command. It is the same each time.
func (k *killing) program() *process {
	p := start(k.t, k.dir, append(k.env, "CHATBATCH_SECRET_KEY=any"), nil, "marks", "set", "roster.csv", "--endpoint", k.url,
		"--sdkappid", "1400000000", "--identifier", "administrator",
		"--chunk-size", "8", "--qps", "1000", "--workers", fmt.Sprint(killWorkers), "--json")
	return p
}

// kill kills the program up to most from now, and says whether it was alive.
func (k *killing) kill(p *process, most time.Duration) bool {
	k.t.Helper()
	time.Sleep(time.Duration(k.rng.Int64N(int64(most))))
	_ = p.Process.Kill()
	<-p.ended
	if p.ProcessState.ExitCode() >= 0 {
		return false // it was faster
	}
	if runs := k.runs(); len(runs) > 0 {
		k.state[runs[len(runs)-1].State]++
	}
	return true
}

// killPlanning kills the program up to most after it has made the run's
// directory, or the ledger in it. (If it was too late an earlier time there is
// nothing to plan any more; then it is killed as it begins to send.)
func (k *killing) killPlanning(ledgers bool, most time.Duration) {
	list := k.names
	if ledgers {
		list = func() []string {
			files, _ := filepath.Glob(filepath.Join(k.store.Dir, "[0-9]*", "ledger.db"))
			return files
		}
	}
	before, calls := list(), k.come.Load()
	p := k.program()
	made := func() bool {
		isNew := func(name string) bool { return !slices.Contains(before, name) }
		return slices.ContainsFunc(list(), isNew) || k.come.Load() > calls
	}
	if !p.until(k.t, made) || !k.kill(p, most) {
		k.t.Fatalf("it ended by itself:\n%s", p.stderr.String())
	}
}

// killSending kills the program after some calls, so that the run will last for
// left kills.
func (k *killing) killSending(left int) {
	average := 0
	for _, i := range k.runs() {
		average = int(i.Books.Unprocessed) / 8 / (left + 4)
	}
	target := k.come.Load() + int64(k.rng.IntN(2*max(average, 1)+1))
	p := k.program()
	if !p.until(k.t, func() bool { return k.come.Load() > target }) || !k.kill(p, 8*time.Millisecond) {
		k.t.Fatalf("it ended by itself, %d kills too early:\n%s", left, p.stderr.String())
	}
}

// killReporting lets the program come to its reports and kills it then, if it
// is not faster.
func (k *killing) killReporting() (p *process, killed bool) {
	for _, part := range k.parts() { // of an earlier kill
		if err := os.Remove(part); err != nil {
			k.t.Fatal(err)
		}
	}
	p = k.program()
	return p, p.until(k.t, func() bool { return len(k.parts()) > 0 }) && k.kill(p, 3*time.Millisecond)
}

// parts lists the reports that are being written.
func (k *killing) parts() []string {
	var parts []string
	for _, name := range k.names() {
		in, _ := filepath.Glob(filepath.Join(k.store.Path(name), ".*.part-*"))
		parts = append(parts, in...)
	}
	return parts
}

// names lists the directories of the runs.
func (k *killing) names() []string {
	dirs, _ := os.ReadDir(k.store.Dir) // not there at first
	var names []string
	for _, d := range dirs {
		if d.IsDir() && !strings.HasPrefix(d.Name(), ".") {
			names = append(names, d.Name())
		}
	}
	return names
}

// runs lists the runs, whose books must balance at any moment.
func (k *killing) runs() []ledger.Info {
	k.t.Helper()
	infos, err := k.store.List(k.t.Context())
	if err != nil {
		k.t.Fatal(err)
	}
	for _, i := range infos {
		switch b := i.Books; {
		case i.Err != nil && k.planned[i.Run]:
			k.t.Fatalf("run %s after a kill: %v", i.Run, i.Err)
		case i.Err != nil || i.State == ledger.Planning: // it was being made
		case b.Rows != int64(len(k.rows)) || b.Rows != b.Succeeded+b.Failed+b.Unprocessed:
			k.t.Fatalf("run %s after a kill: %+v", i.Run, b)
		default:
			k.planned[i.Run] = true
		}
	}
	return infos
}

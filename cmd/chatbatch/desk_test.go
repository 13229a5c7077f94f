package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"chatbatch/io/chat/chatsim"
	"chatbatch/io/ledger"
)

// A desk is where a test gives commands, in this process, to a server.
type desk struct {
	t     *testing.T
	dir   string
	url   string
	store ledger.Store
	env   func(name string) // is told of each variable that is read; nil: nobody is
}

func newDesk(t *testing.T, server http.Handler) *desk {
	t.Helper()
	srv := httptest.NewServer(server)
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	return &desk{t: t, dir: dir, url: srv.URL, store: ledger.Store{Dir: filepath.Join(dir, "runs")}}
}

// schoolDesk is one whose server has a class of two.
func schoolDesk(t *testing.T) (*desk, *chatsim.Sim) {
	t.Helper()
	sim, err := chatsim.New(chatsim.Scenario{Groups: []chatsim.Group{
		{ID: "class", Type: "Public", Members: []chatsim.Member{{Account: "ann"}, {Account: "bob"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return newDesk(t, sim), sim
}

// at is the path of a file.
func (d *desk) at(name string) string { return filepath.Join(d.dir, name) }

func (d *desk) write(name, text string) string {
	d.t.Helper()
	if err := os.WriteFile(d.at(name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return d.at(name)
}

func (d *desk) read(name string) string {
	d.t.Helper()
	text, err := os.ReadFile(d.at(name))
	if err != nil {
		d.t.Fatal(err)
	}
	return string(text)
}

// command gives a command. It returns its exit code and what it said.
func (d *desk) command(stdout io.Writer, args ...string) (code int, said string) {
	env := map[string]string{"CHATBATCH_SECRET_KEY": "any", "CHATBATCH_RUNS_DIR": d.store.Dir, "CHATBATCH_LIMITER": "memory", "XDG_STATE_HOME": d.dir}
	if args[0] != "resume" && args[0] != "retry" {
		args = append(args, "--endpoint", d.url, "--sdkappid", "1", "--identifier", "administrator")
	}
	var stderr bytes.Buffer
	code = run(d.t.Context(), args, world{stdin: strings.NewReader(""), stdout: stdout, stderr: &stderr, getenv: func(name string) string {
		if d.env != nil {
			d.env(name)
		}
		return env[name]
	}})
	return code, stderr.String()
}

// runs lists the runs.
func (d *desk) runs() []ledger.Info {
	d.t.Helper()
	infos, err := d.store.List(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return infos
}

// unreported is an export that has published its table, and whose process ended
// before the run was said to be done.
func (d *desk) unreported() (args []string, run string) {
	d.t.Helper()
	args = []string{"export", "members", d.write("groups.csv", "group_id\nclass\n"), "-o", d.at("members.csv"), "--json", "--quiet"}
	if code, said := d.command(brokenPipe{}, args...); code != exitStopped {
		d.t.Fatalf("got exit code %d: %s", code, said)
	}
	infos := d.runs()
	if len(infos) != 1 || infos[0].State != ledger.Finished || infos[0].Reported {
		d.t.Fatalf("got %+v, want one run that is finished and not reported", infos)
	}
	return args, infos[0].Run
}

// change opens a run and changes it.
func (d *desk) change(run string, change func(*ledger.Ledger) error) {
	d.t.Helper()
	l, err := d.store.Open(d.t.Context(), run)
	if err != nil {
		d.t.Fatal(err)
	}
	defer l.Close()
	if err := change(l); err != nil {
		d.t.Fatal(err)
	}
}

// checkDone holds that there is one run, which is done, and that nothing of
// people's data is left in it.
func (d *desk) checkDone(run string) {
	d.t.Helper()
	infos := d.runs()
	if len(infos) != 1 || infos[0].Run != run || !infos[0].Reported {
		d.t.Errorf("got %+v, want %s reported", infos, run)
	}
	if _, err := os.Stat(filepath.Join(d.store.Path(run), "fetched.dat")); !os.IsNotExist(err) {
		d.t.Errorf("fetched.dat: %v", err)
	}
}

// A process may be killed when it has published, before the run counts as done:
// with what was fetched still there, or without. The same command ends it.
func TestKilledBehindThePublishing(t *testing.T) {
	for _, resume := range []bool{false, true} {
		for _, dropped := range []bool{false, true} {
			t.Run(fmt.Sprintf("resume=%v dropped=%v", resume, dropped), func(t *testing.T) {
				d, sim := schoolDesk(t)
				args, run := d.unreported()
				table, calls := d.read("members.csv"), sim.Counts().Calls
				if dropped {
					d.change(run, func(l *ledger.Ledger) error { return l.DropKept(t.Context()) })
				}
				if resume {
					args = []string{"resume", run, "--json"}
				}
				var out bytes.Buffer
				if code, said := d.command(&out, args...); code != exitOK {
					t.Errorf("got exit code %d: %s", code, said)
				}
				if !strings.Contains(out.String(), `"state":"finished","rows":1,"succeeded":1,`) {
					t.Errorf("got summary %q", out.String())
				}
				if d.read("members.csv") != table || sim.Counts().Calls != calls {
					t.Errorf("%d calls, and the table is %q", sim.Counts().Calls-calls, d.read("members.csv"))
				}
				d.checkDone(run)
			})
		}
	}
}

// A run that ended while resume waited for its lock is done: nothing is
// published a second time.
func TestResumeOfARunThatEndedMeanwhile(t *testing.T) {
	d, sim := schoolDesk(t)
	_, run := d.unreported()
	calls := sim.Counts().Calls
	unlock, err := d.store.Lock(t.Context(), d.runs()[0].Meta.Key(), false)
	if err != nil {
		t.Fatal(err)
	}
	// The key is read when the run was found, and before it is locked.
	found := make(chan struct{})
	once := sync.OnceFunc(func() { close(found) })
	d.env = func(name string) {
		if name == "CHATBATCH_SECRET_KEY" {
			once()
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		code, said := d.command(io.Discard, "resume", run, "--if-locked", "wait")
		if code != exitOK || !strings.Contains(said, "run "+run+" has ended meanwhile") {
			t.Errorf("got exit code %d: %s", code, said)
		}
	})
	select {
	case <-found:
	case <-time.After(20 * time.Second):
		t.Error("resume does not come to its lock")
	}
	d.write("members.csv", "of somebody else")
	d.change(run, func(l *ledger.Ledger) error { return l.Reported(t.Context()) })
	unlock()
	wg.Wait()
	if d.read("members.csv") != "of somebody else" || sim.Counts().Calls != calls {
		t.Errorf("%d calls, and the table is %q", sim.Counts().Calls-calls, d.read("members.csv"))
	}
}

// A list of groups that has none, of three that there are, is no list: an older
// export stays.
func TestAGroupListOfNothing(t *testing.T) {
	d := newDesk(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if command := path.Base(r.URL.Path); command != "get_appid_group_list" {
			t.Errorf("got a call of %s", command)
		}
		fmt.Fprint(w, `{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":"","TotalCount":3,"GroupIdList":[],"Next":0}`)
	}))
	d.write("all.csv", "of yesterday")
	d.write("all.csv.manifest.json", "too")
	code, said := d.command(io.Discard, "export", "members", "--all-groups", "-o", d.at("all.csv"))
	if code != exitStopped || !strings.Contains(said, "the server lists none of the 3 groups") {
		t.Errorf("got exit code %d: %s", code, said)
	}
	if d.read("all.csv") != "of yesterday" || d.read("all.csv.manifest.json") != "too" || len(d.runs()) > 0 {
		t.Errorf("got %q, %v", d.read("all.csv"), d.runs())
	}
}

// Two files with the same jobs in opposite order wait for each other's locks in
// one order: each may take its first while the one in the middle is taken, and
// then nobody would get the other's.
func TestFilesInOppositeOrderDoNotWaitForEachOther(t *testing.T) {
	d, _ := schoolDesk(t)
	names := []string{"a", "b", "c"}
	for i, name := range names {
		d.write(name+".csv", fmt.Sprintf("group_id,account,unread_msg_num\nclass,ann,%d\n", i))
	}
	file := func(name string, jobs ...string) string {
		text := "jobs:\n"
		for _, j := range jobs {
			text += fmt.Sprintf("  - {name: %s, kind: unread set, input: %s.csv, check-groups: false}\n", j, j)
		}
		return d.write(name, text)
	}
	one, other := file("one.yaml", "a", "b", "c"), file("other.yaml", "c", "b", "a")
	if code, said := d.command(io.Discard, "run", one, "--quiet"); code != exitOK {
		t.Fatalf("got exit code %d: %s", code, said)
	}
	keys := map[string]string{} // by job
	for _, i := range d.runs() {
		keys[strings.TrimSuffix(filepath.Base(i.Meta.Input), ".csv")] = i.Meta.Key()
	}
	unlock, err := d.store.Lock(t.Context(), keys["b"], false)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan string, 2)
	for _, f := range []string{one, other} {
		go func() {
			code, said := d.command(io.Discard, "run", f, "--if-locked", "wait", "--quiet")
			ended <- fmt.Sprint(code, said)
		}()
	}
	free := func(name string) bool {
		unlock, err := d.store.Lock(t.Context(), keys[name], false)
		if err == nil {
			unlock()
		}
		return err == nil
	}
	// Until both are taken, which they must not be, or for long enough.
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end) && (free("a") || free("c")); {
		time.Sleep(10 * time.Millisecond)
	}
	unlock()
	for range 2 {
		select {
		case said := <-ended:
			if !strings.HasPrefix(said, "0") {
				t.Errorf("got exit code %s", said)
			}
		case <-time.After(15 * time.Second):
			t.Fatal("they wait for each other")
		}
	}
}

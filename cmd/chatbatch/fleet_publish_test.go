package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatbatch/io/chat/chatsim"
	"chatbatch/io/ledger"
	"chatbatch/limiter/pgtest"
)

// A watched moment is one at which whoever publishes is killed: at a request to the store,
// which is done or not, and not answered.
type watched struct {
	method, key string
	done        bool
	come        atomic.Bool
	over        chan struct{} // closed when it is killed
}

// throughWatch is the store behind the moment that is waited for.
func (f *fleetExport) throughWatch() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := f.watch.Load()
		if m == nil || r.Method != m.method || !strings.HasSuffix(r.URL.Path, m.key) || m.come.Load() {
			f.objects.ServeHTTP(w, r)
			return
		}
		if m.done {
			f.objects.Handle(httptest.NewRecorder(), r)
		}
		m.come.Store(true)
		<-m.over
		panic(http.ErrAbortHandler)
	})
}

// TestFleetExportKillPublisher kills each host that publishes: before the object appears,
// while it is sent, when it is there without its manifest, and when both are there and the
// host has yet to say so. Another goes on each time; what is there is whole at any moment,
// and nothing is fetched again.
func TestFleetExportKillPublisher(t *testing.T) {
	t.Parallel()
	f := newFleetExport(t, killedGroups(), chatsim.Scenario{Seed: 7})
	table, manifest := f.single("members.csv")
	f.objects.Put("exports", "members.csv", []byte(oldExport))
	moments := []*watched{
		{method: http.MethodPost, key: "members.csv"},
		{method: http.MethodPut, key: "members.csv"},
		{method: http.MethodPut, key: "members.csv", done: true},
		{method: http.MethodPut, key: manifestSuffix, done: true},
	}
	if testing.Short() {
		moments = moments[2:3]
	}
	f.host(f.server.URL(), "HOME="+t.TempDir()) // without keys: it fetches
	if _, code := f.command("submit", "export", "members", "groups.csv", "-o", "s3://exports/members.csv").end(t); code != exitOK {
		t.Fatal(code)
	}
	var calls int64
	var killed []*process
	for i, m := range moments {
		killed = append(killed, f.killPublisher(m))
		if calls != 0 && f.come.Load() != calls {
			t.Errorf("moment %d: got %d calls to publish what is fetched", i, f.come.Load()-calls)
		}
		calls = f.come.Load()
		o, _ := f.objects.Get("exports", "members.csv")
		want := []byte(oldExport)
		if m.done || m.key == manifestSuffix {
			want = table
		}
		if !bytes.Equal(o.Body, want) {
			t.Errorf("moment %d: the object has %d bytes, want %d", i, len(o.Body), len(want))
		}
		if at, err := f.ledger.Publication(t.Context(), f.newestRun()); err != nil || at.Publish != ledger.PublishByHosts {
			t.Errorf("moment %d: %+v, %v", i, at, err)
		}
	}
	f.watch.Store(nil)
	last := f.host(f.server.URL(), f.s3...)
	f.published(last)
	o, _ := f.objects.Get("exports", "members.csv")
	said, _ := f.objects.Get("exports", "members.csv"+manifestSuffix)
	if !bytes.Equal(o.Body, table) || timeless(said.Body) != manifest || f.come.Load() != calls {
		t.Errorf("%d bytes, one host writes %d, %d more calls; manifest:\n%s\nof one host:\n%s", len(o.Body), len(table), f.come.Load()-calls, timeless(said.Body), manifest)
	}
	f.checkTimes(said.Body)
	f.empty()
	f.comesBack(killed[len(killed)/2])
}

// checkTimes holds that a manifest tells of no group that was fetched when all had ended.
func (f *fleetExport) checkTimes(manifest []byte) {
	f.t.Helper()
	var m struct {
		Finished time.Time
		Groups   []struct{ Fetched time.Time }
	}
	if err := json.Unmarshal(manifest, &m); err != nil || len(m.Groups) < 2 {
		f.t.Fatal(len(m.Groups), err)
	}
	for _, g := range m.Groups {
		if g.Fetched.After(m.Finished) {
			f.t.Errorf("fetched at %v, of a run that was finished at %v", g.Fetched, m.Finished)
		}
	}
}

// killPublisher starts a host that publishes, and kills it at a moment.
func (f *fleetExport) killPublisher(m *watched) *process {
	f.t.Helper()
	m.over = make(chan struct{})
	f.watch.Store(m)
	p := f.host(f.server.URL(), f.s3...)
	if !p.until(f.t, m.come.Load) {
		f.t.Fatalf("it ended by itself:\n%s", p.stderr.String())
	}
	_ = p.Process.Kill()
	<-p.ended
	close(m.over)
	return p
}

// comesBack starts a host again that was killed while it published: it removes what it had
// yet to send.
func (f *fleetExport) comesBack(p *process) {
	f.t.Helper()
	left := func() bool {
		dirs, _ := filepath.Glob(filepath.Join(p.Dir, "state", "chatbatch", "runs", "*", outgoingName))
		return len(dirs) > 0
	}
	if !left() {
		f.t.Error("a host that was killed while it published has left nothing")
	}
	again := start(f.t, p.Dir, p.Env[len(os.Environ()):], nil, p.Args[1:]...)
	if !again.until(f.t, func() bool { return !left() }) {
		f.t.Errorf("it ended by itself:\n%s", again.stderr.String())
	}
}

// TestFleetExportDatabaseAway cuts the host that publishes off from the database, and not
// from the store, and then stops the database while a command publishes. What is
// there in the end is whole.
func TestFleetExportDatabaseAway(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	f := newFleetExport(t, killedGroups(), chatsim.Scenario{Seed: 7})
	table, _ := f.single("members.csv")
	m := &watched{method: http.MethodPut, key: "members.csv", over: make(chan struct{})}
	f.watch.Store(m)
	proxy := pgtest.NewProxy(t, f.server.Addr())
	cut := f.host(proxy.URL(f.server.URL()), f.s3...)
	if _, code := f.command("submit", "export", "members", "groups.csv", "-o", "s3://exports/members.csv").end(t); code != exitOK {
		t.Fatal(code)
	}
	if !cut.until(t, m.come.Load) {
		t.Fatal("it ended by itself")
	}
	proxy.Cut()
	other := f.host(f.server.URL(), f.s3...)
	f.published(other)
	o, _ := f.objects.Get("exports", "members.csv")
	if !bytes.Equal(o.Body, table) {
		t.Errorf("%d bytes, one host writes %d", len(o.Body), len(table))
	}
	close(m.over)
	proxy.Heal()
	f.empty()

	if _, code := f.command("submit", "export", "members", "groups.csv", "-o", "away.csv").end(t); code != exitOK {
		t.Fatal(code)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		at, err := f.ledger.Publication(t.Context(), f.newestRun())
		if err == nil && at.Ended {
			break
		}
		if time.Now().After(end) {
			t.Fatal(at, err)
		}
	}
	waiter := start(t, f.dir, append(append([]string{}, f.env...), "CHATBATCH_LEDGER="+proxy.URL(f.server.URL())), nil, "resume", f.newestRun(), "--wait")
	waiter.until(t, func() bool { // or it is faster
		parts, _ := filepath.Glob(filepath.Join(f.dir, ".away.csv.part-*"))
		return len(parts) > 0
	})
	f.server.Stop(t)
	f.server.Restart(t)
	if _, code := waiter.end(t); code != exitFailed {
		t.Errorf("exit code %d:\n%s", code, waiter.stderr.String())
	}
	t.Logf("it said:\n%s", waiter.stderr.String())
	if got, _ := f.read(f.dir, "away.csv"); !bytes.Equal(got, table) {
		t.Errorf("%d bytes, one host writes %d", len(got), len(table))
	}
}

// TestFleetExportKillWaiter kills the command that publishes a file, again and again, and
// gives it once more. No half of a file is ever there; what was fetched is there until then.
func TestFleetExportKillWaiter(t *testing.T) {
	t.Parallel()
	f := newFleetExport(t, killedGroups(), chatsim.Scenario{Seed: 7})
	table, _ := f.single("members.csv")
	target := filepath.Join(f.dir, "members.csv")
	if err := os.WriteFile(target, []byte(oldExport), 0o600); err != nil {
		t.Fatal(err)
	}
	f.host(f.server.URL())
	if _, code := f.command("submit", "export", "members", "groups.csv", "-o", "members.csv").end(t); code != exitOK {
		t.Fatal(code)
	}
	run, kills := f.newestRun(), 0
	for range 2 {
		parts := func() []string {
			parts, _ := filepath.Glob(filepath.Join(f.dir, ".members.csv.part-*"))
			return parts
		}
		for _, part := range parts() { // of an earlier kill
			if err := os.Remove(part); err != nil {
				t.Fatal(err)
			}
		}
		p := f.command("resume", run, "--wait")
		if !p.until(t, func() bool { return len(parts()) > 0 }) {
			break // it was faster
		}
		_ = p.Process.Kill()
		<-p.ended
		kills++
		if b, err := os.ReadFile(target); err != nil || string(b) != oldExport && !bytes.Equal(b, table) {
			t.Errorf("half a file: %d bytes, %v", len(b), err)
		}
	}
	two := []*process{f.command("resume", run, "--wait"), f.command("resume", run, "--wait")}
	for _, p := range two {
		// One may come when all is done: then there is nothing left to resume.
		if _, code := p.end(t); code != exitFailed && !strings.Contains(p.stderr.String(), "nothing is left to send") {
			t.Errorf("exit code %d:\n%s", code, p.stderr.String())
		}
	}
	t.Logf("%d kills", kills)
	if got, _ := f.read(f.dir, "members.csv"); kills == 0 || !bytes.Equal(got, table) {
		t.Errorf("%d kills, %d bytes, one host writes %d", kills, len(got), len(table))
	}
	f.empty()
}

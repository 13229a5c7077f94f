package main

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"chatbatch/io/chat/chatsim"
	"chatbatch/io/ledger"
	"chatbatch/io/object/s3sim"
	"chatbatch/limiter/pgtest"
)

// A fleetExport is an export of many hosts, and what one host makes of the same groups.
type fleetExport struct {
	*siege
	server *pgtest.Server
	ledger *ledger.Postgres
	groups []chatsim.Group

	objects *s3sim.Store
	s3      []string // where the store is, and its keys
	watch   atomic.Pointer[watched]
}

func newFleetExport(t *testing.T, groups []chatsim.Group, sc chatsim.Scenario) *fleetExport {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	sc.Groups, sc.QPS = groups, -1
	f := &fleetExport{siege: newSiege(t, seed, sc), server: pgtest.Start(t), groups: groups, objects: s3sim.New("exports")}
	srv := httptest.NewServer(f.throughWatch())
	t.Cleanup(srv.Close)
	f.s3 = []string{"CHATBATCH_S3_ENDPOINT=" + srv.URL, "AWS_ACCESS_KEY_ID=" + s3sim.KeyID, "AWS_SECRET_ACCESS_KEY=" + s3sim.Secret, "AWS_REGION=" + s3sim.Region}
	f.env = []string{"CHATBATCH_LEDGER=" + f.server.URL(), "CHATBATCH_ENDPOINT=" + f.url, "CHATBATCH_SDKAPPID=1400000000", "CHATBATCH_IDENTIFIER=administrator", f.s3[0]}
	if _, code := start(t, f.dir, f.env, nil, "migrate", "--limiter", f.server.URL()).end(t); code != exitOK {
		t.Fatal(code)
	}
	var err error
	if f.ledger, err = ledger.OpenPostgres(t.Context(), ledger.PostgresOptions{URL: f.server.URL()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.ledger.Close)
	f.list(f.dir)
	return f
}

// list writes the input: one group twice, and one that is not there.
func (f *fleetExport) list(dir string) {
	f.t.Helper()
	text := "group_id\n"
	for i, g := range f.groups {
		text += g.ID + "\n"
		if i == 2 {
			text += "gone\n" + f.groups[0].ID + "\n"
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "groups.csv"), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// host starts a host; more is what it has besides.
func (f *fleetExport) host(database string, more ...string) *process {
	env := append(append([]string{}, f.env...), "CHATBATCH_LEDGER="+database, "CHATBATCH_SECRET_KEY="+hostKey)
	return start(f.t, f.t.TempDir(), append(env, more...), nil, "work", "--qps", "1000", "--workers", "16", "--retry-max-elapsed", "2m", "--grace", "2s")
}

func (f *fleetExport) command(args ...string) *process {
	return start(f.t, f.dir, f.env, nil, args...)
}

// single is what one host writes, and what its manifest says.
func (f *fleetExport) single(name string) (table []byte, manifest string) {
	f.t.Helper()
	dir := f.t.TempDir()
	f.list(dir)
	p := start(f.t, dir, []string{"CHATBATCH_SECRET_KEY=any"}, nil, "export", "members", "groups.csv", "-o", name, "--limiter", "memory", "--qps", "2000",
		"--endpoint", f.url, "--sdkappid", "1400000000", "--identifier", "administrator")
	if _, code := p.end(f.t); code != exitFailed { // one group is gone
		f.t.Fatalf("one host: exit code %d", code)
	}
	return f.read(dir, name)
}

func (f *fleetExport) read(dir, name string) (table []byte, manifest string) {
	f.t.Helper()
	table, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		f.t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, name) + manifestSuffix)
	if err != nil {
		f.t.Fatal(err)
	}
	return table, timeless(text)
}

// timeless is a manifest without its run and times.
func timeless(manifest []byte) string {
	return string(regexp.MustCompile(`"(run|started|finished|fetched)": ?"[^"]*"`).ReplaceAll(manifest, nil))
}

// published waits until the one run of the rig is published.
func (f *fleetExport) published(p *process) ledger.Publication {
	f.t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if at, err := f.ledger.Publication(f.t.Context(), f.newestRun()); err == nil && at.Publish == ledger.PublishDone {
			return at
		}
	}
	f.t.Fatalf("it is never published; a host said:\n%s", p.stderr.String())
	return ledger.Publication{}
}

func (f *fleetExport) newestRun() string {
	f.t.Helper()
	list, err := f.ledger.List(f.t.Context())
	if err != nil || len(list) == 0 {
		f.t.Fatal(list, err)
	}
	return list[len(list)-1].Run
}

// empty holds that nothing of what was fetched is left, and nobody's key is there.
func (f *fleetExport) empty() {
	f.t.Helper()
	conn, err := pgx.Connect(f.t.Context(), f.server.URL())
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close(f.t.Context())
	var pieces, secrets int
	err = conn.QueryRow(f.t.Context(), `SELECT (SELECT count(*) FROM chatbatch_kept),
		(SELECT count(*) FROM chatbatch_run r WHERE r::text LIKE $1 OR r::text LIKE $2)`, "%"+s3sim.Secret+"%", "%"+hostKey+"%").Scan(&pieces, &secrets)
	if err != nil || pieces != 0 || secrets != 0 {
		f.t.Errorf("%d pieces are left, secrets are in %d runs; %v", pieces, secrets, err)
	}
}

// TestFleetExport lets three hosts do one export, for which two commands wait that have
// submitted it at once. The file is byte for byte that of one host, and so is the manifest
// but for its run and times; each group is fetched once.
func TestFleetExport(t *testing.T) {
	t.Parallel()
	f := newFleetExport(t, killedGroups(), chatsim.Scenario{Seed: 7})
	for range 3 {
		f.host(f.server.URL())
	}
	for _, name := range []string{"members.csv", "members.jsonl.gz", "members.xlsx"} {
		table, manifest := f.single(name)
		before := map[string]int{}
		for _, g := range f.groups {
			before[g.ID] = f.callsOf(g.ID)
		}
		args := []string{"submit", "export", "members", "groups.csv", "-o", name, "--wait", "--json"}
		run := ""
		for _, p := range []*process{f.command(args...), f.command(args...)} {
			stdout, code := p.end(t)
			var sum ledger.Summary
			if err := json.Unmarshal([]byte(stdout), &sum); err != nil || code != exitFailed || run != "" && sum.Run != run || sum.Failed != 1 || sum.Unprocessed != 0 || sum.Replayed != 0 {
				t.Errorf("%s: exit code %d, %+v, %v:\n%s", name, code, sum, err, p.stderr.String())
			}
			run = sum.Run
		}
		got, said := f.read(f.dir, name)
		if !bytes.Equal(got, table) || said != manifest {
			t.Errorf("%s: %d bytes, one host writes %d; manifest:\n%s\nof one host:\n%s", name, len(got), len(table), said, manifest)
		}
		for _, g := range f.groups {
			if n, one := f.callsOf(g.ID)-before[g.ID], before[g.ID]; name == "members.csv" && n != one {
				t.Errorf("group %s got %d calls, of one host %d", g.ID, n, one)
			}
		}
		f.empty()
	}
}

// TestFleetExportKill kills hosts while they fetch, and a host is told to stop. In the end
// no group is missing, and none is double.
func TestFleetExportKill(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	f := newFleetExport(t, killedGroups(), chatsim.Scenario{
		Seed: 7, Latency: 120 * time.Millisecond, Jitter: 80 * time.Millisecond,
		Faults: []chatsim.Fault{{Kind: chatsim.KindCode, Code: 10002, Rate: 0.05}, {Kind: chatsim.KindLost, Rate: 0.02}},
	})
	table, manifest := f.single("members.jsonl")
	come := f.come.Load()
	hosts := []*process{f.host(f.server.URL()), f.host(f.server.URL()), f.host(f.server.URL())}
	waiter := f.command("submit", "export", "members", "groups.csv", "-o", "members.jsonl", "--wait", "--json")
	at := func(calls int64) {
		t.Helper()
		if !waiter.until(t, func() bool { return f.come.Load()-come >= calls }) {
			t.Fatalf("it ended by itself after %d calls:\n%s", f.come.Load()-come, waiter.stderr.String())
		}
	}
	at(20)
	_ = hosts[0].Process.Kill()
	at(35)
	_ = hosts[1].Process.Kill()
	f.host(f.server.URL())
	at(45)
	_ = hosts[2].Process.Signal(syscall.SIGTERM)
	if _, code := hosts[2].end(t); code != exitOK {
		t.Errorf("a host that was to stop ends with %d:\n%s", code, hosts[2].stderr.String())
	}
	select {
	case <-waiter.ended:
	case <-time.After(2 * time.Minute):
	}
	stdout, code := waiter.end(t)
	var sum ledger.Summary
	if err := json.Unmarshal([]byte(stdout), &sum); err != nil || code != exitFailed || sum.Failed != 1 || sum.Unprocessed != 0 || sum.Replayed == 0 {
		t.Errorf("exit code %d, %+v, %v:\n%s", code, sum, err, waiter.stderr.String())
	}
	t.Logf("%d groups were replayed, %d calls", sum.Replayed, f.come.Load()-come)
	got, said := f.read(f.dir, "members.jsonl")
	if !bytes.Equal(got, table) || withoutReads(said) != withoutReads(manifest) {
		t.Errorf("%d bytes, one host writes %d; manifest:\n%s\nof one host:\n%s", len(got), len(table), said, manifest)
	}
	f.empty()
}

// withoutReads leaves out how many pages a group was read in: that is for the faults of
// the server to say.
func withoutReads(manifest string) string {
	return regexp.MustCompile(`"(pages|reads)":\d+,?`).ReplaceAllString(manifest, "")
}

// TestFleetExportTakesLong has a group whose pages, one after the other, take longer than
// the queue leaves a job in peace: it stays with its host. Who is told to stop gives it back,
// and it is fetched from its beginning.
func TestFleetExportTakesLong(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes two minutes")
	}
	const pages = 13
	town := []chatsim.Group{{ID: "@TGS#_town", Type: "Community", Generate: chatsim.Generate{Prefix: "c", Count: 100 * pages}}}
	f := newFleetExport(t, town, chatsim.Scenario{Seed: 7, Latency: 4 * time.Second})
	one, two := f.host(f.server.URL()), f.host(f.server.URL())
	waiter := f.command("submit", "export", "members", "groups.csv", "-o", "town.csv", "--wait", "--json")
	finished := func() ledger.Summary {
		select {
		case <-waiter.ended:
		case <-time.After(3 * time.Minute):
		}
		stdout, code := waiter.end(t)
		var sum ledger.Summary
		if err := json.Unmarshal([]byte(stdout), &sum); err != nil || code != exitOK || sum.Succeeded != 1 {
			t.Errorf("exit code %d, %+v, %v:\n%s\n%s", code, sum, err, waiter.stderr.String(), one.stderr.String()+two.stderr.String())
		}
		return sum
	}
	if sum := finished(); sum.Replayed != 0 || f.come.Load() != pages {
		t.Errorf("%d calls for %d pages, %d groups replayed", f.come.Load(), pages, sum.Replayed)
	}
	conn, err := pgx.Connect(t.Context(), f.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var rescued string // it may be so still: who gets it then finds that it is done
	err = conn.QueryRow(t.Context(), "SELECT coalesce(errors::text, '') FROM river_job WHERE kind = 'chatbatch_chunk'").Scan(&rescued)
	if err != nil || !strings.Contains(rescued, "rescued") {
		t.Errorf("the queue gave it to nobody else meanwhile: %q, %v", rescued, err)
	}

	waiter = f.command("submit", "export", "members", "groups.csv", "-o", "town.csv", "--wait", "--json", "--fresh")
	before := f.come.Load()
	if !waiter.until(t, func() bool { return f.come.Load() >= before+2 }) {
		t.Fatal("it ended by itself")
	}
	// Which of the two has it is not known: both are told, and a third goes on.
	for _, p := range []*process{one, two} {
		_ = p.Process.Signal(syscall.SIGTERM)
	}
	third := f.host(f.server.URL())
	for _, p := range []*process{one, two} {
		if _, code := p.end(t); code != exitOK {
			t.Errorf("a host that was to stop ends with %d", code)
		}
	}
	sum := finished()
	if got := f.come.Load() - before; sum.Replayed != 1 || got < pages+2 || got > pages+5 {
		t.Errorf("%d calls for %d pages, %d groups replayed:\n%s", got, pages, sum.Replayed, third.stderr.String())
	}
	if b, err := os.ReadFile(filepath.Join(f.dir, "town.csv")); err != nil || bytes.Count(b, []byte("\n")) != 100*pages+1 {
		t.Errorf("got %d lines, %v", bytes.Count(b, []byte("\n")), err)
	}
}

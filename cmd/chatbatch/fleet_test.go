package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"chatbatch/io/ledger"
	"chatbatch/limiter/pgtest"
)

// A fleetRig is a roster and a Chat API as those of a killing, and hosts that work on its
// run: processes that share nothing but a database.
type fleetRig struct {
	*killing
	server *pgtest.Server
	qps    string
}

// hostKey is the secret key that the hosts have.
const hostKey = "key-of-the-hosts"

func newFleet(t *testing.T, students int, qps string) *fleetRig {
	t.Helper()
	f := &fleetRig{server: pgtest.Start(t), qps: qps}
	f.killing = newKilling(t, students)
	f.env = []string{"CHATBATCH_LEDGER=" + f.server.URL()}
	_, code := start(t, f.dir, f.env, nil, "migrate", "--limiter", f.server.URL()).end(t)
	p, err := ledger.OpenPostgres(t.Context(), ledger.PostgresOptions{URL: f.server.URL()})
	if code != exitOK || err != nil {
		t.Fatal(code, err)
	}
	t.Cleanup(p.Close)
	f.store.store, f.store.database = p, p
	return f
}

// host starts a host that reaches the database by this address.
func (f *fleetRig) host(database string) *process {
	env := []string{"CHATBATCH_LEDGER=" + database, "CHATBATCH_SECRET_KEY=" + hostKey}
	return start(f.t, f.t.TempDir(), env, nil, "work", "--endpoint", f.url, "--sdkappid", "1400000000",
		"--identifier", "administrator", "--qps", f.qps, "--workers", "16", "--retry-max-elapsed", "2m")
}

func (f *fleetRig) submit(more ...string) *process {
	args := []string{"submit", "marks", "set", "roster.csv", "--endpoint", f.url, "--sdkappid", "1400000000",
		"--identifier", "administrator", "--chunk-size", "8", "--json"}
	return start(f.t, f.dir, f.env, nil, append(args, more...)...)
}

// finished waits longer for the end of a command than end does: what a dead host had in
// hand is taken over within a minute.
func (f *fleetRig) finished(p *process) (stdout string, code int) {
	select {
	case <-p.ended:
	case <-time.After(2 * time.Minute):
	}
	return p.end(f.t)
}

// TestFleet lets three hosts work on one run, which two commands have submitted at once.
// The outcome is that of the same command on one host, to the byte.
func TestFleet(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 80, "1000")
	hosts := []*process{f.host(f.server.URL()), f.host(f.server.URL()), f.host(f.server.URL())}
	two := []*process{f.submit("--wait"), f.submit("--wait")}
	var run string
	for _, p := range two {
		stdout, code := f.finished(p)
		f.check(stdout, code)
		var sum ledger.Summary
		if err := json.Unmarshal([]byte(stdout), &sum); err != nil || sum.Replayed != 0 || run != "" && run != sum.Run {
			t.Errorf("got %+v, %v", sum, err)
		}
		run = sum.Run
	}
	for _, p := range hosts {
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		_, code := p.end(t)
		if said := p.stderr.String(); code != exitOK || !strings.Contains(said, "all is given back") {
			t.Errorf("a host ends with exit code %d; it said:\n%s", code, said)
		}
	}

	f.checkDatabase()

	local := t.TempDir()
	if err := os.CopyFS(local, os.DirFS(f.dir)); err != nil {
		t.Fatal(err)
	}
	p := start(t, local, []string{"CHATBATCH_SECRET_KEY=any"}, nil, "marks", "set", "roster.csv", "--endpoint", f.url, "--sdkappid", "1400000000",
		"--identifier", "administrator", "--chunk-size", "8", "--qps", "1000", "--json", "--runs-dir", filepath.Join(local, "runs"))
	stdout, _ := p.end(t)
	var sum ledger.Summary
	if err := json.Unmarshal([]byte(stdout), &sum); err != nil {
		t.Fatal(err)
	}
	failed := func(dir, run string) string {
		b, err := os.ReadFile(filepath.Join(dir, run, "failed.csv"))
		if err != nil {
			t.Fatal(err)
		}
		return withoutAttempts(strings.ReplaceAll(string(b), run, "RUN"))
	}
	if one, many := failed(filepath.Join(local, "runs"), sum.Run), failed(f.store.Dir, run); one != many {
		t.Errorf("failed.csv of one host:\n%s\nof three:\n%s", one, many)
	}
}

// checkDatabase looks for what must not be in the database: the hosts' key, and in the
// queue anything but runs and numbers of chunks.
func (f *fleetRig) checkDatabase() {
	t := f.t
	conn, err := pgx.Connect(t.Context(), f.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rows, _ := conn.Query(t.Context(), "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'") // CollectRows has its error
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(tables) < 10 {
		t.Fatal(tables, err)
	}
	for _, name := range tables {
		var found int
		err := conn.QueryRow(t.Context(), "SELECT count(*) FROM "+pgx.Identifier{name}.Sanitize()+" AS x WHERE x::text LIKE $1", "%"+hostKey+"%").Scan(&found)
		if err != nil || found > 0 {
			t.Errorf("the key of the hosts is in %s, %d times; %v", name, found, err)
		}
	}
	var keys, states string
	err = conn.QueryRow(t.Context(), `SELECT string_agg(DISTINCT k, ' '), string_agg(DISTINCT j.state::text, ' ')
		FROM river_job j, jsonb_object_keys(j.args) AS k`).Scan(&keys, &states)
	if err != nil || keys != "chunk run" || states != "completed" {
		t.Errorf("jobs have %q and are %q; %v", keys, states, err)
	}
}

// withoutAttempts leaves out how many calls carried each row: that is for the faults of
// the server to say.
func withoutAttempts(failed string) string {
	lines := strings.Split(failed, "\n")
	for i, line := range lines {
		if end := strings.LastIndex(line, ",RUN"); end >= 0 {
			lines[i] = line[:strings.LastIndex(line[:end], ",")] + line[end:]
		}
	}
	return strings.Join(lines, "\n")
}

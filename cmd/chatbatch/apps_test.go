package main

import (
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"chatbatch/io/chat/chatsim"
	"chatbatch/limiter/pgtest"
)

// A branch is an app with a Chat API of its own, of several that one host works for.
type branch struct {
	name     string
	app, qps int64
	key      string // that the server wants
	has      string // that the host has
	rows     int
	sim      *chatsim.Sim
	url      string
}

func (b *branch) open(t *testing.T) {
	t.Helper()
	var err error
	if b.sim, err = chatsim.New(chatsim.Scenario{
		SDKAppID: b.app, SecretKey: b.key, QPS: int(b.qps), Groups: []chatsim.Group{{ID: b.name, Generate: chatsim.Generate{Prefix: b.name, Count: b.rows}}},
	}); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(b.sim)
	t.Cleanup(srv.Close)
	b.url = srv.URL
}

// branchFile writes the configuration of a host that works for several apps, with their keys.
func branchFile(t *testing.T, dir string, all []*branch) string {
	t.Helper()
	text := "identifier: administrator\nprofiles:\n"
	for _, b := range all {
		text += fmt.Sprintf("  %s: {sdkappid: %d, endpoint: '%s', qps: %d, secret-key-file: %s.key}\n", b.name, b.app, b.url, b.qps, b.name)
		write(t, filepath.Join(dir, b.name+".key"), b.has)
		var rows strings.Builder
		for i := range b.rows {
			fmt.Fprintf(&rows, "%s,%s%d,1000\n", b.name, b.name, i+1)
		}
		write(t, filepath.Join(dir, b.name+".csv"), "group_id,account,marks\n"+rows.String())
	}
	return write(t, filepath.Join(dir, "apps.yaml"), text)
}

// TestFleetApps lets one host work for three apps, each with a server and a budget of its
// own. Runs go to their app alone, and a key that is wrong ends the runs of its app alone.
func TestFleetApps(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	dir := t.TempDir()
	sg := &branch{name: "sg", app: 1400000001, qps: 20, key: "key-of-sg", has: "key-of-sg", rows: 60}
	cn := &branch{name: "cn", app: 1400000002, qps: 10, key: "key-of-cn", has: "key-of-cn", rows: 30}
	us := &branch{name: "us", app: 1400000003, qps: 20, key: "key-of-us", has: "key-of-sg", rows: 20}
	all := []*branch{sg, cn, us}
	for _, b := range all {
		b.open(t)
	}
	env := []string{"CHATBATCH_LEDGER=" + server.URL(), "CHATBATCH_CONFIG=" + branchFile(t, dir, all)}
	if _, code := start(t, dir, env, nil, "migrate", "--limiter", server.URL()).end(t); code != exitOK {
		t.Fatal(code)
	}
	numbers := filepath.Join(dir, "host.prom")
	host := start(t, t.TempDir(), env, nil, "work", "--profiles", "all", "--metrics-textfile", numbers)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the host said:\n%s", host.stderr.String())
		}
	})
	waiting := map[*branch]*process{}
	for _, b := range all {
		waiting[b] = start(t, dir, env, nil, "submit", "marks", "set", b.name+".csv", "--profile", b.name, "--chunk-size", "1", "--wait", "--json")
	}
	for b, want := range map[*branch]int{us: exitRefused, cn: exitOK, sg: exitOK} {
		if stdout, code := waiting[b].end(t); code != want {
			t.Errorf("%s: exit code %d, want %d: %s\n%s", b.name, code, want, stdout, waiting[b].stderr.String())
		}
	}
	connections(t, server, 20+len(all))
	for b, calls := range map[*branch]int64{sg: 60, cn: 30, us: 1} {
		got := b.sim.Counts()
		if got.Calls != calls || got.MaxInOneSecond > int(b.qps) || got.Accounts > calls {
			t.Errorf("%s: got %+v, want %d calls, %d a second", b.name, got, calls, b.qps)
		}
	}
	// Nobody's marks are at another app's server.
	for _, b := range []*branch{sg, cn} {
		for _, group := range []string{"sg", "cn", "us"} {
			if got, want := len(b.sim.Marks(group)), map[bool]int{true: b.rows}[group == b.name]; got != want {
				t.Errorf("the server of %s has %d marked in group %s, want %d", b.name, got, group, want)
			}
		}
	}
	if err := host.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_, code := host.end(t)
	said := host.stderr.String()
	if code != exitOK || !strings.Contains(said, "all is given back") || strings.Contains(said, "key-of") {
		t.Errorf("the host ends with exit code %d", code)
	}
	for b, calls := range map[*branch]int{sg: 60, cn: 30, us: 1} {
		if of := fmt.Sprintf(`chatbatch_calls_total{kind="marks set",name="host",sdkappid="%d"} %d`, b.app, calls); !strings.Contains(metricsIn(t, numbers), of+"\n") {
			t.Errorf("its metrics do not say %s", of)
		}
	}
	for _, b := range all { // each line says of which app it is
		if !regexp.MustCompile(`(?m) joined run \S+ .*profile=` + b.name + ` app=` + fmt.Sprint(b.app) + `\b`).MatchString(said) {
			t.Errorf("it does not say that it worked for %s", b.name)
		}
	}
}

// connections holds that the host has no more of them than so many to the database, beside
// the one that asks.
func connections(t *testing.T, server *pgtest.Server, most int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var n int
	err = conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()").Scan(&n)
	if err != nil || n > most {
		t.Errorf("the host has %d connections to the database, %v; want at most %d", n, err, most)
	}
	t.Logf("the host has %d connections to the database", n)
}

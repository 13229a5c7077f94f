package main

import (
	"encoding/json"
	"testing"

	"chatbatch/io/ledger"
	"chatbatch/limiter/pgtest"
)

// TestKillWithDatabase kills the program with SIGKILL while its run is kept in a
// database, and gives the same command again each time, as another host would: nothing
// of the one before is left but what the database has. In between the server dies, and
// comes back while the program is at work. At the end every row has the outcome that it
// would have had without.
func TestKillWithDatabase(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	if _, err := ledger.MigratePostgres(t.Context(), server.URL()); err != nil {
		t.Fatal(err)
	}
	k := newKilling(t, 120)
	k.env = []string{"CHATBATCH_LEDGER=" + server.URL(), "CHATBATCH_IF_LOCKED=wait"}
	database := func() {
		p, err := ledger.OpenPostgres(t.Context(), ledger.PostgresOptions{URL: server.URL()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		k.store.store, k.store.database = p, p
	}
	database()
	kills := 8
	if testing.Short() {
		kills = 2
	}
	for left := kills; left > 0; left-- {
		k.killSending(left)
		if left%2 == 0 { // else it is waited for the end of the dead process's lock
			if err := execSQL(t.Context(), server.URL(), "DELETE FROM chatbatch_lock"); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("killed in state %v", k.state)
	come := k.come.Load()
	p := k.program()
	if !p.until(t, func() bool { return k.come.Load() > come+10 }) {
		t.Fatalf("it ended by itself:\n%s", p.stderr.String())
	}
	server.Stop(t)
	server.Restart(t)
	k.check(p.end(t))
	if left := len(k.runs()); left != 1 {
		t.Errorf("%d runs", left)
	}
}

// TestSameCommandOnThreeHosts gives a command on three hosts at once. One works on the
// run, the others wait for it, and then begin one of their own: no run is two hosts'.
func TestSameCommandOnThreeHosts(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	if _, err := ledger.MigratePostgres(t.Context(), server.URL()); err != nil {
		t.Fatal(err)
	}
	k := newKilling(t, 40)
	k.env = []string{"CHATBATCH_LEDGER=" + server.URL(), "CHATBATCH_IF_LOCKED=wait"}
	hosts := make([]*process, 3)
	for i := range hosts {
		k.env = append(k.env, "XDG_STATE_HOME="+t.TempDir())
		hosts[i] = k.program()
	}
	for _, p := range hosts {
		stdout, code := p.end(t)
		var sum ledger.Summary
		if err := json.Unmarshal([]byte(stdout), &sum); err != nil || code != exitFailed {
			t.Fatalf("exit code %d, %v; it said:\n%s", code, err, p.stderr.String())
		}
		k.checkBooks(sum)
		if sum.Replayed != 0 {
			t.Errorf("got %+v", sum)
		}
	}
	p, err := ledger.OpenPostgres(t.Context(), ledger.PostgresOptions{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if list, err := p.List(t.Context()); err != nil || len(list) != len(hosts) {
		t.Errorf("got %d runs, %v", len(list), err)
	}
}

package main

import (
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

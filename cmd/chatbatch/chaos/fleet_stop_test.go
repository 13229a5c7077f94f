//go:build linux

package chaos

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// A host that is to stop while it cannot reach the database ends all the same, soon after
// its grace time, and says what that means; another one does its work. A second signal
// ends it at once.
func TestFleetStopWithoutDatabase(t *testing.T) {
	t.Parallel()
	for name, signals := range some(map[string]int{"one signal": 1, "two": 2}, "one signal") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 20, marksDeed, 3)
			h := f.host("--grace", "2s", "--ui", "127.0.0.1:0")
			p := f.begun(20)
			h.lose(databaseHost)
			time.Sleep(3 * time.Second) // until it waits for the database
			began := time.Now()
			for range signals {
				if err := h.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				time.Sleep(50 * time.Millisecond)
			}
			e := h.end()
			took := time.Since(began)
			t.Logf("it ended after %v, and said:\n%s", took.Round(100*time.Millisecond), e.stderr)
			if signals == 2 {
				e.want(t, exitInterrupted)
			} else {
				e.want(t, exitTryLater, "the other hosts take over what this one had in hand", "the database cannot be reached now")
			}
			if took > 20*time.Second {
				t.Errorf("it ended after %v", took)
			}
			f.host()
			e = p.end()
			e.want(t, f.code)
			tried.add("fleet: SIGTERM of a host that is cut off from the database", 1, f.check([]summary{f.summary(e)}))
		})
	}
}

// A host whose clock is wrong stops by itself, and does not begin again; the others do its
// work. The clock of a single process cannot be set: it is that of the database which this
// host sees wrong.
func TestFleetClock(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 20, marksDeed, 4)
	f.ahead(0)
	wrong := "CHATBATCH_LEDGER=" + f.database.URL() + "&search_path=wrong,public,pg_catalog"
	h := f.process("wrong-clock", wrong).begin()
	p := f.begun(10)
	f.ahead(time.Hour)
	e := h.end()
	e.want(t, exitTryLater, "the clock of this host and that of the database do not agree: it is 1h0m0s behind, and 10s are allowed: set it")
	f.ahead(-time.Hour)
	f.process("wrong-clock", wrong).begin().end().want(t, exitTryLater, "it is 1h0m0s ahead")
	f.host()
	e = p.end()
	e.want(t, f.code)
	tried.add("fleet: the clock of a host goes wrong", 1, f.check([]summary{f.summary(e)}))
}

// ahead sets the clock that the database shows to who looks at schema wrong first.
func (f *fleet) ahead(d time.Duration) {
	f.t.Helper()
	conn, err := pgx.Connect(f.t.Context(), f.database.URL())
	if err != nil {
		f.t.Fatal(err)
	}
	defer conn.Close(f.t.Context())
	_, err = conn.Exec(f.t.Context(), fmt.Sprintf(`CREATE SCHEMA IF NOT EXISTS wrong; CREATE OR REPLACE FUNCTION wrong.clock_timestamp()
		RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT pg_catalog.clock_timestamp() + interval ''%d s'''`, int(d.Seconds())))
	if err != nil {
		f.t.Fatal(err)
	}
}

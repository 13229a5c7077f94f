package ledger

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatbatch/limiter/pgtest"
)

// A survey has the sums of runs, who works on them, and what failed.
func TestSurvey(t *testing.T) {
	s := newHeldStore(t)
	ctx := t.Context()
	if got, err := s.Survey(ctx); err != nil || len(got.Runs) != 0 || got.Now.IsZero() {
		t.Errorf("without runs: %+v, %v", got, err)
	}
	sharedRun(t, s, 3, Orders{})
	at, err := OpenPostgres(ctx, PostgresOptions{URL: s.url, Host: "school-1\x00 (7)"})
	must(t, err)
	t.Cleanup(at.Close)
	l := join(t, at, time.Minute)
	chunk, err := l.Claim(ctx, 1)
	must(t, err)
	must(t, l.Sent(ctx, chunk.ID))
	outcomes := make([]Outcome, 10)
	outcomes[4] = Outcome{Class: "offline_or_absent", Code: 10015, Error: "not <there>"}
	must(t, l.Settle(ctx, chunk.ID, outcomes, Cost{Calls: 2}))

	got, err := s.Survey(ctx)
	must(t, err)
	if len(got.Runs) != 1 || len(got.Hosts) != 1 || got.More || time.Since(got.Now).Abs() > time.Minute {
		t.Fatalf("got %+v", got)
	}
	run, host := got.Runs[0], got.Hosts[0]
	if want := (Books{Rows: 30, Succeeded: 9, Failed: 1, Unprocessed: 20}); run.Run != "r1" || run.Books != want || run.State != Running || !run.Shared || run.Calls != 2 || run.Err != nil {
		t.Errorf("got run %+v", run)
	}
	if host.Run != "r1" || host.Name != "school-1? (7)" || host.Settled != 10 || host.Calls != 2 || host.LeaseEnds <= 0 || host.LeaseEnds > time.Minute {
		t.Errorf("got host %+v", host)
	}
	want := []Failure{{"r1", "offline_or_absent", 10015, 1, 4, "not <there>"}}
	if d := cmp.Diff(want, got.Failures); d != "" {
		t.Errorf("failures differ (-want +got):\n%s", d)
	}
	if line, raw, err := s.Row(ctx, "r1", 4); line != 6 || raw != "row" || err != nil {
		t.Errorf("got row %d %q, %v", line, raw, err)
	}
	if _, _, err := s.Row(ctx, "r2", 4); !errors.Is(err, ErrNoRun) {
		t.Errorf("got %v", err)
	}

	// A host that has died is there until somebody finds out; one that has left is not.
	pgtest.SQL(t, s.url, "UPDATE chatbatch_lock SET until = clock_timestamp() - interval '9 s' WHERE key LIKE 'joined-%'")
	got, err = s.Survey(ctx)
	if must(t, err); len(got.Hosts) != 1 {
		t.Errorf("got hosts %+v", got.Hosts)
	}
	must(t, l.Leave(ctx, Session{}))
	got, err = s.Survey(ctx)
	if must(t, err); len(got.Hosts) != 0 {
		t.Errorf("after it has left: %+v", got.Hosts)
	}
}

// Of many runs the newest are there, and all that are worked on.
func TestSurveyIsBounded(t *testing.T) {
	s := newHeldStore(t)
	ctx := t.Context()
	pgtest.SQL(t, s.url, fmt.Sprintf(`INSERT INTO chatbatch_run (run, key, meta, sum, state)
		SELECT 'r' || lpad(i::text, 4, '0'), 'k' || i, '{}', 0, CASE WHEN i IN (3, 4) THEN 'running' ELSE 'finished' END
		FROM generate_series(1, %d) AS i`, 2*surveyRuns))
	got, err := s.Survey(ctx)
	must(t, err)
	if len(got.Runs) != surveyRuns+2 || !got.More {
		t.Fatalf("got %d runs, more: %v", len(got.Runs), got.More)
	}
	if a, b, c := got.Runs[0].Run, got.Runs[1].Run, got.Runs[2].Run; a != "r0004" || b != "r0003" || c != fmt.Sprintf("r%04d", 2*surveyRuns) {
		t.Errorf("got %s, %s, %s first", a, b, c)
	}
}

// A database that is away is said at once, and found again when it is back.
func TestSurveyAway(t *testing.T) {
	s := newHeldStore(t)
	if _, err := s.Survey(t.Context()); err != nil {
		t.Fatal(err)
	}
	pgtest.SQL(t, s.url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	if _, err := s.Survey(t.Context()); err != nil {
		t.Errorf("with dead connections: %v", err)
	}
	p, err := newPostgres(t.Context(), PostgresOptions{URL: "postgres://jobs:hush-hush@127.0.0.1:1/chat"})
	must(t, err)
	defer p.Close()
	if _, err := p.Survey(t.Context()); !errors.Is(err, ErrUnreachable) || strings.Contains(err.Error(), "hush") {
		t.Errorf("got %v", err)
	}
}

package limiter

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatbatch/limiter/pgtest"
)

// pgAmple is more than any statement takes on a busy machine.
const pgAmple = 30 * time.Second

func pgWithin(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), d)
	t.Cleanup(cancel)
	return ctx
}

// pgEmpty is the URL of a new schema of the server.
func pgEmpty(t testing.TB, s *pgtest.Server) string {
	t.Helper()
	name := pgtest.SQL(t, s.URL(), `SELECT 't' || count(*) FROM pg_namespace`)[0]
	pgtest.SQL(t, s.URL(), `CREATE SCHEMA `+name)
	return s.URL() + "&search_path=" + name
}

// pgMigrated is the URL of a new schema with the table.
func pgMigrated(t testing.TB, s *pgtest.Server) string {
	t.Helper()
	url := pgEmpty(t, s)
	if changed, err := Migrate(pgWithin(t, pgAmple), url); err != nil || !changed {
		t.Fatalf("migrate: %v, %v", changed, err)
	}
	return url
}

func pgOpened(t testing.TB, url string) *pgRegistry {
	t.Helper()
	r, err := openPGRegistry(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.close() })
	return r
}

func pgMustLoad(t testing.TB, r *pgRegistry, budget string) record {
	t.Helper()
	rec, err := r.load(pgWithin(t, pgAmple), budget)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func pgMustStore(t testing.TB, r *pgRegistry, budget string, rev int64, next roll, want bool) {
	t.Helper()
	if ok, err := r.store(pgWithin(t, pgAmple), budget, rev, next); ok != want || err != nil {
		t.Fatalf("store at revision %d: %v, %v; want %v", rev, ok, err, want)
	}
}

// pgLanes is the set of lanes from <= lane < to.
func pgLanes(from, to int) (s laneSet) {
	for lane := from; lane < to; lane++ {
		s.add(lane)
	}
	return s
}

// pgTwoHosts is a roll with the hosts a and b.
func pgTwoHosts() roll {
	return roll{
		Lanes: 200, Free: pgLanes(150, 160), Server: "s", Since: 7, Slow: map[string]int64{"": 1, "v4/x": 2},
		Hosts: map[string]tenant{
			"a": {Name: `Å"'\$1`, Lanes: pgLanes(0, 100), Limit: 200, Until: 5, pulse: pulse{1, 2, 3, 4}},
			"b": {Name: "b", Lanes: pgLanes(100, 150), Limit: 200, Until: 6, pulse: pulse{5, 6, 7, 8}},
		},
	}
}

func pgSame(t testing.TB, got, want roll) {
	t.Helper()
	if d := cmp.Diff(want, got, cmp.AllowUnexported(tenant{}, laneSet{}, pulse{})); d != "" {
		t.Errorf("the roll differs (-want +got):\n%s", d)
	}
}

func TestPostgresRegistry(t *testing.T) {
	s := pgtest.Start(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *pgtest.Server)
	}{
		{"none", testPGNone},
		{"store and load", testPGStore},
		{"beat", testPGBeat},
		{"beat of nobody", testPGBeatOfNobody},
		{"beat before store", testPGBeatBeforeStore},
		{"late statements", testPGLate},
		{"many at once", func(t *testing.T, s *pgtest.Server) { testPGMany(t, pgMigrated(t, s)) }},
		{"many at once, serializable", testPGSerializable},
		{"many begin at once", testPGManyBegin},
		{"clock after a wait", testPGClockAfterWait},
		{"no heap of waiters", testPGNoHeap},
		{"one statement each", testPGOneStatement},
		{"nothing left on the connection", testPGNothingLeft},
		{"three rights are enough", testPGRights},
		{"names", testPGNames},
		{"damaged", testPGDamaged},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, s) })
	}
}

func testPGNone(t *testing.T, s *pgtest.Server) {
	r := pgOpened(t, pgMigrated(t, s))
	before := time.Now()
	rec := pgMustLoad(t, r, "app")
	if rec.rev != 0 || rec.server == "" || rec.now.Before(before.Add(-time.Millisecond)) || rec.now.After(time.Now().Add(time.Millisecond)) {
		t.Errorf("no roll, got %+v at %v", rec, before)
	}
	pgSame(t, rec.roll, roll{})
	if again := pgMustLoad(t, r, "app"); again.server != rec.server || !again.now.After(rec.now) {
		t.Errorf("server %q at %v, then %q at %v", rec.server, rec.now, again.server, again.now)
	}
}

func testPGStore(t *testing.T, s *pgtest.Server) {
	r := pgOpened(t, pgMigrated(t, s))
	want := pgTwoHosts()
	pgMustStore(t, r, "app", 1, want, false)
	pgMustStore(t, r, "app", 0, want, true)
	pgMustStore(t, r, "app", 0, roll{}, false)
	rec := pgMustLoad(t, r, "app")
	if rec.rev != 1 {
		t.Errorf("revision %d, want 1", rec.rev)
	}
	pgSame(t, rec.roll, want)
	want.Lanes = 300
	pgMustStore(t, r, "app", 1, want, true)
	pgMustStore(t, r, "app", 1, roll{}, false)
	pgMustStore(t, r, "other", 0, pgTwoHosts(), true)
	rec = pgMustLoad(t, pgOpened(t, r.cfgURL(t, s)), "app")
	if rec.rev != 2 {
		t.Errorf("revision %d, want 2", rec.rev)
	}
	pgSame(t, rec.roll, want)
	if rec := pgMustLoad(t, r, "another"); rec.rev != 0 {
		t.Errorf("a budget that nobody has: %+v", rec)
	}
}

// cfgURL is the URL of the registry.
func (r *pgRegistry) cfgURL(t testing.TB, s *pgtest.Server) string {
	t.Helper()
	return s.URL() + "&search_path=" + r.cfg.RuntimeParams["search_path"]
}

func testPGBeat(t *testing.T, s *pgtest.Server) {
	r := pgOpened(t, pgMigrated(t, s))
	want := pgTwoHosts()
	pgMustStore(t, r, "app", 0, want, true)
	pgMustStore(t, r, "other", 0, want, true)
	before := time.Now().Add(-time.Millisecond)
	rec, known, err := r.beat(pgWithin(t, pgAmple), "app", "a", pulse{11, 12, 13, 14})
	after := time.Now().Add(time.Millisecond)
	if err != nil || !known || rec.rev != 2 || rec.server == "" {
		t.Fatalf("beat: %+v, %v, %v", rec, known, err)
	}
	until := time.UnixMicro(rec.roll.Hosts["a"].Until)
	if until.Before(before.Add(leaseInTable)) || until.After(rec.now.Add(leaseInTable)) || rec.now.After(after) {
		t.Errorf("between %v and %v the lease was made to end at %v, now was %v", before, after, until, rec.now)
	}
	a := want.Hosts["a"]
	a.pulse, a.Until = pulse{11, 12, 13, 14}, until.UnixMicro()
	want.Hosts["a"] = a
	pgSame(t, rec.roll, want)
	loaded := pgMustLoad(t, r, "app")
	if loaded.rev != 2 || loaded.server != rec.server {
		t.Errorf("loaded %+v after %+v", loaded, rec)
	}
	pgSame(t, loaded.roll, want)
	pgSame(t, pgMustLoad(t, r, "other").roll, pgTwoHosts())
}

func testPGBeatOfNobody(t *testing.T, s *pgtest.Server) {
	r := pgOpened(t, pgMigrated(t, s))
	pgMustStore(t, r, "app", 0, pgTwoHosts(), true)
	pgMustStore(t, r, "no hosts", 0, roll{}, true)
	for _, of := range [][2]string{{"app", "c"}, {"nobody's", "a"}, {"no hosts", "a"}} {
		if rec, known, err := r.beat(pgWithin(t, pgAmple), of[0], of[1], pulse{}); known || err != nil {
			t.Errorf("beat of %v: %+v, %v, %v", of, rec, known, err)
		}
	}
	rec := pgMustLoad(t, r, "app")
	if rec.rev != 1 {
		t.Errorf("revision %d after beats of nobody, want 1", rec.rev)
	}
	pgSame(t, rec.roll, pgTwoHosts())
}

func testPGBeatBeforeStore(t *testing.T, s *pgtest.Server) {
	url := pgMigrated(t, s)
	one, two := pgOpened(t, url), pgOpened(t, url)
	pgMustStore(t, one, "app", 0, pgTwoHosts(), true)
	rec := pgMustLoad(t, one, "app")
	if _, known, err := two.beat(pgWithin(t, pgAmple), "app", "b", pulse{}); !known || err != nil {
		t.Fatal(known, err)
	}
	pgMustStore(t, one, "app", rec.rev, roll{}, false)
	pgMustStore(t, one, "app", rec.rev+1, roll{Lanes: 1}, true)
}

// What a host has sent and given up arrives after others have changed the roll.
func testPGLate(t *testing.T, s *pgtest.Server) {
	url := pgMigrated(t, s)
	p := pgtest.NewProxy(t, s.Addr())
	near := pgOpened(t, url)
	pgMustStore(t, near, "app", 0, pgTwoHosts(), true)
	far := []*pgRegistry{pgOpened(t, p.URL(url)), pgOpened(t, p.URL(url))}
	for _, r := range far {
		pgMustLoad(t, r, "app")
	}
	p.Hang()
	if _, _, err := far[0].beat(pgWithin(t, 100*time.Millisecond), "app", "a", pulse{Wants: 99}); err == nil {
		t.Fatal("a beat through a dead network")
	}
	if _, err := far[1].store(pgWithin(t, 100*time.Millisecond), "app", 1, roll{Lanes: 99}); err == nil {
		t.Fatal("a store through a dead network")
	}
	next := pgTwoHosts()
	delete(next.Hosts, "a")
	pgMustStore(t, near, "app", 1, next, true)
	p.Heal()
	for _, r := range far { // their old statements have been run when the server has seen their end
		pgMustLoad(t, r, "app")
	}
	pgWaitFor(t, "the old connections to end", func() bool {
		return pgtest.SQL(t, s.URL(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chatbatch'`)[0] == "3"
	})
	rec := pgMustLoad(t, near, "app")
	if rec.rev != 2 {
		t.Errorf("revision %d, want 2", rec.rev)
	}
	pgSame(t, rec.roll, next)
}

func pgWaitFor(t testing.TB, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > pgAmple {
			t.Fatalf("still waiting for %s", what)
		}
	}
}

func testPGOneStatement(t *testing.T, s *pgtest.Server) {
	url := pgMigrated(t, s)
	r := pgOpened(t, url+"&application_name=counted")
	pgMustStore(t, r, "app", 0, pgTwoHosts(), true) // connects
	pgtest.SQL(t, s.URL(), `ALTER SYSTEM SET log_statement = 'all'`)
	pgtest.SQL(t, s.URL(), `ALTER SYSTEM SET log_line_prefix = '[%a] '`)
	defer pgtest.SQL(t, s.URL(), `SELECT pg_reload_conf()`)
	defer pgtest.SQL(t, s.URL(), `ALTER SYSTEM RESET ALL`)
	pgtest.SQL(t, s.URL(), `SELECT pg_reload_conf()`)
	pgWaitFor(t, "the log", func() bool {
		pgMustLoad(t, r, "app")
		return strings.Contains(s.Log(t), "[counted]")
	})
	for name, run := range map[string]func(){
		"load":   func() { pgMustLoad(t, r, "app") },
		"beat":   func() { _, _, _ = r.beat(pgWithin(t, pgAmple), "app", "a", pulse{}) },
		"store":  func() { pgMustStore(t, r, "app", 0, roll{}, false) },
		"change": func() { pgMustStore(t, r, "app", -1, roll{}, false) },
	} {
		before := strings.Count(s.Log(t), "[counted] LOG:")
		run()
		pgtest.SQL(t, s.URL(), `SELECT 1`)
		log := s.Log(t)
		if n := strings.Count(log, "[counted] LOG:") - before; n != 1 {
			t.Errorf("%s: %d lines in the log, want 1", name, n)
		}
	}
}

func testPGNothingLeft(t *testing.T, s *pgtest.Server) {
	url := pgMigrated(t, s)
	pgtest.SQL(t, s.URL(), `CREATE ROLE hasty LOGIN SUPERUSER; ALTER ROLE hasty SET synchronous_commit = off`)
	r := pgOpened(t, strings.Replace(url, "postgres@", "hasty@", 1))
	if changed, err := Migrate(pgWithin(t, pgAmple), url); changed || err != nil {
		t.Error(changed, err)
	}
	pgMustStore(t, r, "app", 0, pgTwoHosts(), true)
	pgMustStore(t, r, "app", 1, pgTwoHosts(), true)
	_, _, _ = r.beat(pgWithin(t, pgAmple), "app", "a", pulse{})
	pgMustLoad(t, r, "app")
	res, err := r.ask(pgWithin(t, pgAmple), `SELECT current_setting('synchronous_commit'), (SELECT count(*) FROM pg_prepared_statements),
		(SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'),
		current_setting('application_name')`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range res.Rows[0] {
		got = append(got, string(c))
	}
	if want := "off 0 0 chatbatch"; strings.Join(got, " ") != want {
		t.Errorf("on the connection: %v, want %s", got, want)
	}
}

func testPGRights(t *testing.T, s *pgtest.Server) {
	url := pgMigrated(t, s)
	_, schema, _ := strings.Cut(url, "search_path=")
	pgtest.SQL(t, url, `CREATE ROLE worker LOGIN; GRANT USAGE ON SCHEMA `+schema+` TO worker;
		GRANT SELECT, INSERT, UPDATE ON chatbatch_lanes TO worker`)
	url = strings.Replace(url, "postgres@", "worker@", 1)
	r := pgOpened(t, url)
	pgMustStore(t, r, "app", 0, pgTwoHosts(), true)
	pgMustStore(t, r, "app", 1, pgTwoHosts(), true)
	if _, known, err := r.beat(pgWithin(t, pgAmple), "app", "a", pulse{}); !known || err != nil {
		t.Error(known, err)
	}
	pgMustLoad(t, r, "app")
	if _, err := InspectFleet(pgWithin(t, pgAmple), url); err != nil {
		t.Error(err)
	}
	if changed, err := Migrate(pgWithin(t, pgAmple), url); changed || err != nil {
		t.Error(changed, err)
	}
}

func testPGNames(t *testing.T, s *pgtest.Server) {
	r := pgOpened(t, pgMigrated(t, s))
	for _, name := range []string{"1400000000/v4/x", `'"\`, "", "𝄞 {a,b}", "$1", strings.Repeat("x", 2000)} {
		pgMustStore(t, r, name, 0, roll{Hosts: map[string]tenant{name: {Name: name}, "x": {Name: "x"}}}, true)
		rec, known, err := r.beat(pgWithin(t, pgAmple), name, name, pulse{Calls: 9})
		if err != nil || !known || rec.roll.Hosts[name].Calls != 9 || rec.roll.Hosts[name].Name != name || rec.roll.Hosts["x"].Calls != 0 {
			t.Errorf("%.20q: %+v, %v, %v", name, rec, known, err)
		}
	}
}

func testPGDamaged(t *testing.T, s *pgtest.Server) {
	url := pgMigrated(t, s)
	r := pgOpened(t, url)
	pgtest.SQL(t, url, `INSERT INTO chatbatch_lanes VALUES ('app', 1, '{"lanes": "many"}', now())`)
	if _, err := r.load(pgWithin(t, pgAmple), "app"); err == nil || !strings.Contains(err.Error(), "delete the row") {
		t.Errorf("damaged: %v", err)
	}
	if _, err := InspectFleet(pgWithin(t, pgAmple), url); err == nil || !strings.Contains(err.Error(), "delete the row") {
		t.Errorf("damaged: %v", err)
	}
}

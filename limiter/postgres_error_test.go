package limiter

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"chatbatch/limiter/pgtest"
)

func TestPostgresErrors(t *testing.T) {
	s := pgtest.Start(t)
	url := pgMigrated(t, s)
	pgtest.SQL(t, url, `CREATE ROLE poor LOGIN; CREATE ROLE full_up LOGIN CONNECTION LIMIT 0; CREATE ROLE homeless LOGIN;
		ALTER ROLE homeless SET search_path = nowhere; CREATE ROLE jobs LOGIN PASSWORD '`+secretPart+`'`)
	pgtest.SQL(t, url, `CREATE DATABASE closed`)
	pgtest.SQL(t, url, `REVOKE CONNECT ON DATABASE closed FROM public; CREATE TABLE secret (n int)`)
	_, schema, _ := strings.Cut(url, "search_path=")
	pgtest.SQL(t, url, `GRANT USAGE ON SCHEMA `+schema+` TO poor`)
	as := func(user string) string { return strings.Replace(url, "postgres@", user+"@", 1) }
	at := func(addr string) string { return strings.Replace(url, s.Addr(), addr, 1) }
	closed := pgtest.NewProxy(t, s.Addr())
	closed.Cut()

	for _, test := range []struct {
		name, url string
		is        error  // that it wraps, or nil: none of the two
		says      string // and what to do
	}{
		{"nobody listens", at(closed.Addr()), ErrUnreachable, "connection refused"},
		{"no answer", at(silent(t)), ErrUnreachable, "no answer in time"},
		{"no such host", at("nohost.invalid:5432"), ErrUnreachable, ""},
		{"too many connections", as("full_up"), ErrUnreachable, "too many connections"},
		{"no such role", as("nobody_here"), nil, "pg_hba.conf"},
		{"no such database", strings.Replace(url, "/postgres?", "/nothing?", 1), nil, "createdb"},
		{"closed database", strings.Replace(as("poor"), "/postgres?", "/closed?", 1), nil, "CONNECT"},
		{"no right to the table", as("poor"), nil, "SELECT, INSERT and UPDATE"},
		{"no schema", as("homeless"), ErrNotMigrated, "chatbatch migrate"},
		{"no table", s.URL(), ErrNotMigrated, "chatbatch migrate"},
		{"TLS wanted", strings.Replace(url, "sslmode=disable", "sslmode=require", 1), nil, "sslmode"},
		{"setting of no such value", url + "&timezone=nowhere", nil, "22023"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx := pgWithin(t, 2*time.Second)
			_, err := pgOpened(t, test.url).load(ctx, "app")
			judge(t, err, test.is, test.says)
			_, err = InspectFleet(pgWithin(t, 2*time.Second), test.url)
			judge(t, err, test.is, test.says)
			if test.is != ErrNotMigrated && test.name != "no right to the table" {
				_, err = Migrate(pgWithin(t, 2*time.Second), test.url)
				judge(t, err, test.is, test.says)
			}
		})
	}
	t.Run("passwords", func(t *testing.T) { testPGPasswords(t, s, url) })
}

func judge(t *testing.T, err, is error, says string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if errors.Is(err, ErrUnreachable) != (is == ErrUnreachable) || errors.Is(err, ErrNotMigrated) != (is == ErrNotMigrated) {
		t.Errorf("it is not %v: %v", is, err)
	}
	if !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
		t.Errorf("it does not say %q in a line: %v", says, err)
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		t.Errorf("it wraps the connection string: %v", err)
	}
}

// secretPart is in every password of the tests, and nowhere else.
const secretPart = "hunterZ2"

// testPGPasswords uses a server that asks for one.
func testPGPasswords(t *testing.T, s *pgtest.Server, url string) {
	file := pgtest.SQL(t, s.URL(), `SHOW hba_file`)[0]
	if err := os.WriteFile(file, []byte("host all jobs all scram-sha-256\nhost all refused all reject\nhost all all all trust\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pgtest.SQL(t, s.URL(), `SELECT pg_reload_conf()`)
	_, schema, _ := strings.Cut(url, "search_path=")
	pgtest.SQL(t, url, `GRANT USAGE ON SCHEMA `+schema+` TO jobs; GRANT SELECT, INSERT, UPDATE ON chatbatch_lanes TO jobs`)
	with := func(password string) string { return strings.Replace(url, "postgres@", "jobs:"+password+"@", 1) }
	refused := func() bool {
		_, err := pgOpened(t, with("wrong")).load(pgWithin(t, pgAmple), "app")
		return err != nil
	}
	pgWaitFor(t, "the server to ask for a password", refused)
	for name, wrong := range map[string]string{
		"wrong": with(secretPart + "x"), "none": strings.Replace(url, "postgres@", "jobs@", 1),
	} {
		_, err := pgOpened(t, wrong).load(pgWithin(t, pgAmple), "app")
		if err == nil || errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "~/.pgpass") || strings.Contains(err.Error(), secretPart) {
			t.Errorf("%s password: %v", name, err)
		}
	}
	pgMustLoad(t, pgOpened(t, with(secretPart)), "app")
	t.Setenv("PGPASSWORD", secretPart)
	pgMustLoad(t, pgOpened(t, strings.Replace(url, "postgres@", "jobs@", 1)), "app")
	t.Setenv("PGPASSWORD", "")
	host, port, _ := net.SplitHostPort(s.Addr())
	pass := filepath.Join(t.TempDir(), "pgpass")
	if err := os.WriteFile(pass, []byte(host+":"+port+":*:jobs:"+secretPart+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PGPASSFILE", pass)
	pgMustLoad(t, pgOpened(t, strings.Replace(url, "postgres@", "jobs@", 1)), "app")
	_, err := pgOpened(t, strings.Replace(url, "postgres@", "refused:"+secretPart+"@", 1)).load(pgWithin(t, pgAmple), "app")
	judge(t, err, nil, "pg_hba.conf")
	if strings.Contains(err.Error(), secretPart) {
		t.Error(err)
	}
}

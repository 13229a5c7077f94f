package limiter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"chatbatch/io/postgres"
	"chatbatch/limiter/pgtest"
)

func TestPostgresErrors(t *testing.T) {
	s := pgtest.Start(t)
	url := pgMigrated(t, s)
	pgSQL(t, url, `CREATE ROLE poor LOGIN; CREATE ROLE full_up LOGIN CONNECTION LIMIT 0; CREATE ROLE homeless LOGIN;
		ALTER ROLE homeless SET search_path = nowhere; CREATE ROLE jobs LOGIN PASSWORD '`+secretPart+`'`)
	pgSQL(t, url, `CREATE DATABASE closed`)
	pgSQL(t, url, `REVOKE CONNECT ON DATABASE closed FROM public; CREATE TABLE secret (n int)`)
	_, schema, _ := strings.Cut(url, "search_path=")
	pgSQL(t, url, `GRANT USAGE ON SCHEMA `+schema+` TO poor`)
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
	file := pgSQL(t, s.URL(), `SHOW hba_file`)[0]
	if err := os.WriteFile(file, []byte("host all jobs all scram-sha-256\nhost all refused all reject\nhost all all all trust\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pgSQL(t, s.URL(), `SELECT pg_reload_conf()`)
	_, schema, _ := strings.Cut(url, "search_path=")
	pgSQL(t, url, `GRANT USAGE ON SCHEMA `+schema+` TO jobs; GRANT SELECT, INSERT, UPDATE ON chatbatch_lanes TO jobs`)
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

// deadURL fails to connect in every way that there is and checks that no error says
// the secret.
func deadURL(t *testing.T, text string) (usable bool) {
	t.Helper()
	r, err := openPGRegistry(text)
	if err != nil {
		if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), secretPart) {
			t.Errorf("of %q: %v", text, err)
		}
		return false
	}
	defer r.close()
	r.cfg.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
	r.cfg.DialFunc = func(_ context.Context, network, addr string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("no " + addr + " of " + r.cfg.User)}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	errs := []error{r.at.Explain(t.Context(), &pgconn.PgError{Code: "XX000", Message: fmt.Sprint(r.cfg.User, r.cfg.Database, r.cfg.RuntimeParams)})}
	_, err = r.load(ctx, "app")
	errs = append(errs, err)
	r.cfg.LookupFunc = func(_ context.Context, host string) ([]string, error) {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	_, err = r.load(ctx, "app")
	for _, err := range append(errs, err) {
		if strings.Contains(fmt.Sprintf("%v %+v", err, err), secretPart) {
			t.Errorf("of %q: %v", text, err)
		}
	}
	return true
}

func TestPostgresURLs(t *testing.T) {
	for _, test := range []struct {
		url    string
		usable bool
	}{
		{"postgres://jobs:" + secretPart + "@db/chat", true},
		{"postgresql://jobs:" + secretPart + "@db:5432,db2:5433/chat?sslmode=disable&target_session_attrs=read-write", true},
		{"postgres://jobs:%2F%40" + secretPart + "@db/chat", true},
		{"postgres://jobs:#" + secretPart + "?@[::1]:5432/chat", true},
		{"postgres://db/chat?password=" + secretPart + "&search_path=x", true},
		{"host=db user=jobs password=" + secretPart, true},
		{"host=db user=jobs password='a b" + secretPart + `\''`, true},
		{"host='/tmp' password=" + secretPart, true},
		{`host=db user=jobs\ password=` + secretPart, true}, // a user of a strange name
		{"postgres://jobs:12/" + secretPart + "@db/chat", false},
		{"postgres://jobs:a@" + secretPart + "@db/chat", false},
		{"postgres://jobs:12/a?b=" + secretPart + "@db/chat", false},
		{"postgres://jobs:" + secretPart, false},
		{"postgres://jobs:%zz" + secretPart + "@db/chat", false},
		{"postgres://jobs:" + secretPart + "@db:port/chat", false},
		{"postgres://jobs:" + secretPart + "@db:1,db:2,db:3,db/chat?port=1,2", false},
		{"postgres://jobs:" + secretPart + "@db/chat?sslmode=sometimes", false},
		{"postgres://jobs:" + secretPart + "@db/chat?sslmode=verify-full&sslrootcert=/" + secretPart, false},
		{"postgres://jobs:" + secretPart + "@db/chat?target_session_attrs=some", false},
		{"postgres://jobs:" + secretPart + "@db/chat?connect_timeout=soon", false},
		{"postgres://jobs:" + secretPart + "@db/chat?service=none", false},
		{"postgres://db/chat?passwd=" + secretPart, false},
		{"postgres://db/chat?password=a&" + secretPart, false},
		{"postgres://db/chat?password=a&" + secretPart + "=b", false},
		{"http://jobs:" + secretPart + "@db/chat", false},
		{"postgres:/jobs:" + secretPart + "@db/chat", false},
		{"jobs:" + secretPart + "@db/chat?sslmode=disable", false},
		{"host=db password=a " + secretPart + "=b", false},
		{"host=db password=a " + secretPart, false},
		{"host=db password='a''" + secretPart + "' user=x", false},
		{"host=db pwd=" + secretPart, false},
		{"postgres://jobs:\x00" + secretPart + "@db/chat", false},
		{secretPart, false},
	} {
		if got := deadURL(t, test.url); got != test.usable {
			t.Errorf("%q: usable %v, want %v", test.url, got, test.usable)
		}
	}
}

func TestPostgresURLErrorsHelp(t *testing.T) {
	for text, want := range map[string]string{
		"mysql://db/chat":                              "does not begin with postgres://",
		"postgres://jobs:a@b@db/chat":                  "%40",
		"postgres://db:x/chat":                         "port",
		"postgres://db/chat?target_session_attrs=none": "read-write",
		"postgres://db/chat?sslmode=none":              "sslmode",
		"postgres://db/chat?keepalives=1":              "search_path",
		"host=db user":                                 "key=value",
	} {
		if _, err := openPGRegistry(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it to say %q", text, err, want)
		}
	}
}

// Wherever a password may have strange signs, and whatever follows it.
func FuzzPostgresPassword(f *testing.F) {
	for _, sign := range []string{"", "@", "/", ":", "?", "#", "%", "&", "=", " ", "'", `\`, ",", "[", "]", "@@/", "\x00", "%40", "?a=b&c", "é", "1/", "/?x="} {
		f.Add(sign, "@db/chat")
		f.Add(sign, " host=db user=jobs")
		f.Add("1"+sign, "@db,db:1/chat?sslmode=disable&password=b"+sign)
		f.Add(sign, "")
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.Contains(after, secretPart) || strings.Contains(before, secretPart) {
			t.Skip()
		}
		for _, text := range []string{
			"postgres://jobs:" + before + secretPart + "@" + after,
			"postgres://jobs:" + before + secretPart + after + "@db",
			"postgres://jobs:" + url.QueryEscape(before) + secretPart + "@" + after,
			"jobs:" + before + secretPart + after,
			"host=db password='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(before) + secretPart + "'" + after,
		} {
			deadURL(t, text)
		}
		if !strings.ContainsAny(before, " \t\r\n\v\f\\'") {
			deadURL(t, "host=db password="+before+secretPart+after)
		}
		if !strings.Contains(before, "&") {
			deadURL(t, "postgres://db/chat?password="+before+secretPart+after)
		}
	})
}

func TestPostgresVerdicts(t *testing.T) {
	starting, wrong := &pgconn.PgError{Code: "57P03"}, &pgconn.PgError{Code: "28P01"}
	distrust := &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
	for _, test := range []struct {
		name string
		err  error
		is   error
		says string
	}{
		{"one starts, one refuses", errors.Join(starting, wrong), nil, "password"},
		{"one refuses, one starts", errors.Join(wrong, starting), nil, "password"},
		{"one is away, one refuses", errors.Join(syscall.ECONNREFUSED, wrong), nil, "password"},
		{"both start", errors.Join(starting, starting), ErrUnreachable, "57P03"},
		{"a false certificate", fmt.Errorf("tls error: %w", distrust), nil, "sslrootcert"},
		{"one has a false certificate, one is away", errors.Join(distrust, syscall.ECONNREFUSED), ErrUnreachable, "no safe connection; connection refused"},
		{"an ended connection", fmt.Errorf("receive: %w", io.ErrUnexpectedEOF), ErrUnreachable, "closed the connection"},
	} {
		t.Run(test.name, func(t *testing.T) {
			judge(t, postgres.SiteOf(&pgconn.Config{}, use).Explain(t.Context(), test.err), test.is, test.says)
		})
	}
}

package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"chatbatch/limiter/pgtest"
)

// judge looks at an error: what it wraps of ErrUnreachable and errNotReady, nil is none of
// them; and what it says, in a line.
func judge(t *testing.T, err, is error, says string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, one := range []error{ErrUnreachable, errNotReady} {
		if errors.Is(err, one) != (is == one) {
			t.Errorf("it is not %v: %v", is, err)
		}
	}
	if !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
		t.Errorf("it does not say %q in a line: %v", says, err)
	}
	for _, theirs := range []any{new(*pgconn.ConnectError), new(*pgconn.PgError)} {
		if errors.As(err, theirs) {
			t.Errorf("it wraps what may hold a secret: %v", err)
		}
	}
}

func TestVerdicts(t *testing.T) {
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
		{"no table", &pgconn.PgError{Code: "42P01"}, errNotReady, "no table chairs"},
		{"an older table", &pgconn.PgError{Code: "42703"}, errNotReady, "no table chairs"},
		{"no schema", &pgconn.PgError{Code: "3F000"}, nil, "search_path"},
		{"no database", &pgconn.PgError{Code: "3D000"}, nil, "createdb"},
		{"not let in", &pgconn.PgError{Code: "28000", Message: "no entry"}, nil, "pg_hba.conf); it says: no entry (28000)"},
		{"no right", &pgconn.PgError{Code: "42501"}, nil, "to count chairs"},
		{"anything else", &pgconn.PgError{Code: "XX001", Message: "odd"}, nil, "it says: odd (XX001)"},
		{"no room for connections", &pgconn.PgError{Code: "53300"}, ErrUnreachable, "53300"},
		{"reads only, since another has taken over", &pgconn.PgError{Code: "25006"}, ErrUnreachable, "25006"},
		{"a lock that was not to be had", &pgconn.PgError{Code: "55P03"}, ErrUnreachable, "55P03"},
		{"nobody has what is asked for", pgconn.ErrReadOnlyConnection, ErrUnreachable, "target_session_attrs"},
		{"no name", &net.DNSError{IsNotFound: true}, ErrUnreachable, "no such host"},
		{"late", context.DeadlineExceeded, ErrUnreachable, "no answer in time"},
		{"the same twice", errors.Join(syscall.ECONNREFUSED, syscall.ECONNREFUSED), ErrUnreachable, "now: connection refused: check"},
		{"an ended connection", fmt.Errorf("receive: %w", io.ErrUnexpectedEOF), ErrUnreachable, "closed the connection"},
	} {
		t.Run(test.name, func(t *testing.T) {
			judge(t, SiteOf(&pgconn.Config{}, use).Explain(t.Context(), test.err), test.is, test.says)
		})
	}
}

// What the caller has cancelled is that, and no trouble of the database.
func TestCancelled(t *testing.T) {
	why := errors.New("told to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	err := SiteOf(&pgconn.Config{}, use).Explain(ctx, context.Canceled)
	if judge(t, err, nil, "told to stop"); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	late, end := context.WithTimeout(t.Context(), 0)
	defer end()
	err = SiteOf(&pgconn.Config{}, use).Explain(late, context.DeadlineExceeded)
	if judge(t, err, ErrUnreachable, "no answer in time"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// A server quotes what it was given: where that may be a part of a password, its words
// are not repeated.
func TestOddNamesAreNotQuoted(t *testing.T) {
	cfg, err := Parse("postgres://jobs@db/a%20" + secretPart)
	if err != nil {
		t.Fatal(err)
	}
	err = SiteOf(cfg, use).Explain(t.Context(), &pgconn.PgError{Code: "XX000", Message: "a " + secretPart})
	if judge(t, err, nil, "it refuses with SQLSTATE XX000"); strings.Contains(err.Error(), secretPart) {
		t.Errorf("got %v", err)
	}
}

// Errors of a server as they come.
func TestErrorsOfAServer(t *testing.T) {
	s := pgtest.Start(t)
	ask := func(url, sql string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		cfg, err := Parse(url)
		if err != nil {
			return err
		}
		conn, err := pgx.Connect(ctx, url)
		if err == nil {
			defer conn.Close(ctx)
			_, err = conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
		}
		if err == nil {
			return nil
		}
		return SiteOf(cfg, use).Explain(ctx, err)
	}
	if err := ask(s.URL(), "CREATE ROLE poor LOGIN; CREATE TABLE chairs (n int)"); err != nil {
		t.Fatal(err)
	}
	as := func(user string) string { return strings.Replace(s.URL(), "postgres@", user+":"+secretPart+"@", 1) }
	for _, tt := range []struct {
		name, url, sql string
		is             error
		says           string
	}{
		{"no such role", as("nobody"), "", nil, "pg_hba.conf"},
		{"no such database", strings.Replace(s.URL(), "/postgres?", "/nothing?", 1), "", nil, "createdb"},
		{"no right", as("poor"), "SELECT n FROM chairs", nil, "to count chairs"},
		{"no table", s.URL(), "SELECT n FROM tables", errNotReady, "no table chairs"},
		{"no column", s.URL(), "SELECT legs FROM chairs", errNotReady, "no table chairs"},
		{"it only reads", s.URL() + "&options=-c%20default_transaction_read_only%3Don", "INSERT INTO chairs VALUES (1)", ErrUnreachable, "25006"},
		{"it was told to stop", s.URL() + "&statement_timeout=50", "SELECT pg_sleep(5)", ErrUnreachable, "57014"},
		{"its connection was ended", s.URL(), "SELECT pg_terminate_backend(pg_backend_pid())", ErrUnreachable, "57P01"},
		{"no TLS", strings.Replace(s.URL(), "sslmode=disable", "sslmode=require", 1), "", nil, "sslmode"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := ask(tt.url, tt.sql)
			if judge(t, err, tt.is, tt.says); strings.Contains(err.Error(), secretPart) {
				t.Error(err)
			}
		})
	}
	s.Stop(t)
	judge(t, ask(s.URL(), ""), ErrUnreachable, "connection refused")
}

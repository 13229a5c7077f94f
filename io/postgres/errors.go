package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrUnreachable is wrapped by errors that say that the database cannot be reached or
// cannot serve now: it may work later, with nothing changed. A wrong password or a
// missing table is something else.
var ErrUnreachable = errors.New("the database cannot be reached now")

// explained is an error of the database in our words. It does not wrap those of pgx:
// they hold the connection string.
type explained struct {
	text string
	is   []error // what it wraps
}

func (e *explained) Error() string   { return e.text }
func (e *explained) Unwrap() []error { return e.is }

// Explain says what went wrong and what to do.
func (s Site) Explain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return &explained{"ask " + s.String() + ": " + cause.Error(), []error{cause}}
	}
	if e := verdict(err); e != nil {
		return s.refused(e)
	}
	if why := s.untrusted(err); why != "" {
		return s.Say("no safe connection: " + why + ": see sslmode and sslrootcert")
	}
	return s.unreachable(s.reason(err), err)
}

// Say makes an error of this database that wraps is.
func (s Site) Say(what string, is ...error) error {
	return &explained{s.String() + ": " + what, is}
}

func (s Site) unreachable(why string, err error) error {
	is := []error{ErrUnreachable}
	if errors.Is(err, context.DeadlineExceeded) {
		is = append(is, context.DeadlineExceeded)
	}
	return s.Say(ErrUnreachable.Error()+": "+why, is...)
}

// refused explains an error that the server has sent.
func (s Site) refused(e *pgconn.PgError) error {
	said := "it says: " + e.Message + " (" + e.Code + ")"
	if s.odd {
		said = "it refuses with SQLSTATE " + e.Code
	}
	switch {
	case Temporary(e.Code):
		return s.unreachable(said, nil)
	case e.Code == "42P01" || e.Code == "42703":
		return s.Say(s.use.NotReady.Error()+" (there is no table "+s.use.Table+" that this user can see)", s.use.NotReady)
	case e.Code == "28P01":
		return s.Say("the password is wrong or missing: set it in the connection string, PGPASSWORD or ~/.pgpass")
	case strings.HasPrefix(e.Code, "28"):
		return s.Say("the server does not let this user in from here (see its pg_hba.conf); " + said)
	case e.Code == "3D000":
		return s.Say("there is no such database: make it (createdb) or correct the connection string")
	case e.Code == "3F000":
		return s.Say("there is no schema for the table: make one, or set search_path")
	case e.Code == "42501":
		return s.Say("a right is missing (" + s.use.Rights + "; to migrate: CREATE on the schema); " + said)
	}
	return s.Say(said)
}

// Temporary says whether an error of the server may go away with nothing changed:
// connection trouble, lack of resources, a server that starts or stops or was told
// to cancel, one that only reads since another has taken over, and lost races.
func Temporary(code string) bool {
	for _, class := range []string{"08", "40", "53", "57"} {
		if strings.HasPrefix(code, class) {
			return true
		}
	}
	return code == "25006" || code == "55P03"
}

// verdict is the error of the server that counts, if there is one: of several
// servers tried, one that refuses for good.
func verdict(err error) (found *pgconn.PgError) {
	for _, leaf := range leaves(err) {
		if e, ok := leaf.(*pgconn.PgError); ok && (found == nil || Temporary(found.Code)) {
			found = e
		}
	}
	return found
}

// untrusted says why there is no TLS, "" if that is not the trouble, or not the only one.
func (s Site) untrusted(err error) (why string) {
	for _, leaf := range s.causes(err) {
		if !tlsTrouble(leaf) {
			return ""
		}
		why = leaf.Error()
	}
	return why
}

func tlsTrouble(leaf error) bool {
	switch leaf.(type) {
	case x509.HostnameError, x509.UnknownAuthorityError, x509.CertificateInvalidError, x509.SystemRootsError, tls.AlertError:
		return true
	}
	return leaf.Error() == noTLS
}

// noTLS is what pgx says of a server that has none.
const noTLS = "server refused TLS connection"

// causes are the leaves of an error. That there is no TLS is none, if we have tried
// without it too.
func (s Site) causes(err error) []error {
	return slices.DeleteFunc(leaves(err), func(leaf error) bool {
		return !s.onlyTLS && leaf.Error() == noTLS
	})
}

// reason says why nobody could be reached, each thing once.
func (s Site) reason(err error) string {
	var why []string
	for _, leaf := range s.causes(err) {
		if text := plainly(leaf); !slices.Contains(why, text) {
			why = append(why, text)
		}
	}
	return strings.Join(why, "; ") + ": check that it runs and that this host may connect to it"
}

func plainly(leaf error) string {
	if errno, ok := leaf.(syscall.Errno); ok {
		return errno.Error()
	}
	if e, ok := leaf.(*net.DNSError); ok && e.IsNotFound {
		return "no such host"
	}
	if e, ok := leaf.(net.Error); ok && e.Timeout() || errors.Is(leaf, context.DeadlineExceeded) {
		return "no answer in time"
	}
	switch {
	case tlsTrouble(leaf):
		return "no safe connection"
	case errors.Is(leaf, io.EOF), errors.Is(leaf, io.ErrUnexpectedEOF), errors.Is(leaf, net.ErrClosed):
		return "it has closed the connection"
	case errors.Is(leaf, pgconn.ErrReadOnlyConnection), errors.Is(leaf, pgconn.ErrReadWriteConnection),
		errors.Is(leaf, pgconn.ErrPrimaryConnection), errors.Is(leaf, pgconn.ErrStandbyConnection):
		return "no server is what target_session_attrs asks for"
	}
	return "the connection failed"
}

// leaves are the errors at the ends of a tree of wrapped ones.
func leaves(err error) []error {
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		var all []error
		for _, sub := range e.Unwrap() {
			all = append(all, leaves(sub)...)
		}
		return all
	case interface{ Unwrap() error }:
		if sub := e.Unwrap(); sub != nil {
			return leaves(sub)
		}
	}
	return []error{err}
}

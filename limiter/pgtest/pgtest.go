// Package pgtest gives a test a PostgreSQL server of its own, and a proxy that
// loses the network between the two.
//
// The server lives in a temporary directory and listens on a free port of
// 127.0.0.1, and nowhere else unless that is asked for; anybody on this host can connect to it, without a password.
// It ends with the test, and also if the test binary is killed. It does not
// sync its files: it survives a crash of its own, not one of the machine.
//
// It needs the server's programs (Debian: apt-get install postgresql) and
// Linux. It keeps an empty cluster of 25 MB in the user's cache directory, for
// making one takes seconds.
package pgtest

import (
	"os"
	"strings"
	"testing"
)

// requireEnv makes a machine without PostgreSQL an error.
const requireEnv = "CHATBATCH_TEST_REQUIRE_POSTGRES"

// missing skips the test, or fails it where nothing may be left out.
func missing(tb testing.TB, why string) {
	tb.Helper()
	if os.Getenv(requireEnv) != "" {
		tb.Fatalf("no PostgreSQL to test with, and %s is set: %s", requireEnv, why)
	}
	tb.Skipf("left out: all that needs a PostgreSQL server: %s", why)
}

// URL is the connection string of the server's superuser.
func (s *Server) URL() string { return s.URLAt("127.0.0.1") }

// URLAt is URL by one of the addresses at which the server listens.
func (s *Server) URLAt(address string) string {
	_, port, _ := strings.Cut(s.Addr(), ":")
	return "postgres://postgres@" + address + ":" + port + "/postgres?sslmode=disable"
}

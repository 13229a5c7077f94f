//go:build !linux

package pgtest

import (
	"net"
	"net/netip"
	"testing"
)

// A Server is a PostgreSQL of its own. There is none on this system, and Start
// does not return.
type Server struct{}

// Start skips the test: pgtest starts servers on Linux only.
func Start(tb testing.TB, _ ...netip.Addr) *Server {
	tb.Helper()
	missing(tb, "pgtest starts servers on Linux only")
	return nil
}

// Addr does nothing.
func (s *Server) Addr() string { return "" }

// Log does nothing.
func (s *Server) Log(testing.TB) string { return "" }

// Stop does nothing.
func (s *Server) Stop(testing.TB) {}

// Restart does nothing.
func (s *Server) Restart(testing.TB) {}

// Kill does nothing.
func (s *Server) Kill(testing.TB) {}

// Freeze does nothing.
func (s *Server) Freeze(testing.TB) {}

// Thaw does nothing.
func (s *Server) Thaw(testing.TB) {}

// reserve finds a free port. Here another program can take it meanwhile.
func reserve() (addr string, release func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	return l.Addr().String(), func() {}, l.Close()
}

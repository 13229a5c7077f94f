//go:build unix

package chat

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// narrow returns a listener that takes few bytes that nobody reads; the rest of them waits at the sender.
func narrow(t *testing.T) net.Listener {
	t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if e := c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
		}); e != nil {
			return e
		}
		return err
	}}
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// A call that was given up is not sent any more, not even what the kernel has
// of it: the limiter may have given its turn to another by then.
func TestGivenUpCallDoesNotArrive(t *testing.T) {
	const end = "end of the request"
	for _, how := range []string{"time-out", "cancelled"} {
		t.Run(how, func(t *testing.T) {
			l := narrow(t)
			conns := make(chan net.Conn, 1)
			go func() {
				conn, err := l.Accept()
				if err == nil {
					conns <- conn
				}
			}()
			c := inProcess(nil)
			c.Endpoint, c.HTTP = "http://"+l.Addr().String(), NewHTTPClient(1)
			defer c.HTTP.CloseIdleConnections()

			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.Timeout = time.Minute; how == "time-out" {
				c.Timeout = 300 * time.Millisecond
			}
			wrote := make(chan error, 1)
			ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(w httptrace.WroteRequestInfo) { wrote <- w.Err }})
			body := append(bytes.Repeat([]byte("x"), 100<<10), end...)
			if how == "cancelled" {
				time.AfterFunc(300*time.Millisecond, cancel)
			}
			_, _, err := c.post(ctx, "s", "c", body)
			if err == nil {
				t.Fatal("got an answer of a server that gives none")
			}
			if err := <-wrote; err != nil {
				t.Fatalf("the request was not queued whole: %v", err)
			}
			conn := <-conns
			defer conn.Close()
			conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			got, err := io.ReadAll(conn)
			if bytes.Contains(got, []byte(end)) {
				t.Errorf("%d bytes arrived, to the end of the request", len(got))
			}
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %v behind %d bytes, want a reset", err, len(got))
			}
		})
	}
}

// Each way of a connection is abrupt: to a server, with TLS, through a proxy.
func TestConnectionsAreAbrupt(t *testing.T) {
	ok := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, okBody) })
	srv := httptest.NewServer(ok)
	defer srv.Close()
	dialled := 0
	watched := abrupt(func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialled++
		return new(net.Dialer).DialContext(ctx, network, addr)
	})
	conn, err := watched(t.Context(), "tcp", srv.Listener.Addr().String())
	if err != nil || dialled != 1 || !lingersNot(t, conn) {
		t.Errorf("got %v after %d dials, error %v; want one that forgets", conn, dialled, err)
	}
	conn.Close()
	if _, err := watched(t.Context(), "tcp", "127.0.0.1:0"); err == nil {
		t.Error("got no error from where nobody listens")
	}
	if conn, err = abrupt(nil)(t.Context(), "tcp", srv.Listener.Addr().String()); err != nil || !lingersNot(t, conn) {
		t.Errorf("got %v, error %v; want one that forgets", conn, err)
	}
	conn.Close()
	for _, h2 := range []bool{false, true} {
		srv := httptest.NewUnstartedServer(ok)
		srv.EnableHTTP2 = h2
		srv.StartTLS()
		defer srv.Close()
		c := inProcess(nil)
		c.Endpoint, c.HTTP = srv.URL, NewHTTPClient(1)
		c.HTTP.Transport.(*http.Transport).TLSClientConfig = srv.Client().Transport.(*http.Transport).TLSClientConfig
		defer c.HTTP.CloseIdleConnections()
		var got net.Conn
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(g httptrace.GotConnInfo) { got = g.Conn }})
		if err := ping(ctx, c); err != nil {
			t.Fatal(err)
		}
		if !lingersNot(t, fencedIn(got)) {
			t.Errorf("HTTP/2 %v: the connection would go on sending", h2)
		}
	}
}

// lingersNot says whether closing conn drops what it has not sent.
func lingersNot(t *testing.T, conn net.Conn) bool {
	t.Helper()
	raw, err := conn.(*fencedConn).Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var l *unix.Linger
	if e := raw.Control(func(fd uintptr) { l, err = unix.GetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return l.Onoff == 1 && l.Linger == 0
}

package chat

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"
)

// A tally is a server that counts what reaches it.
type tally struct {
	*httptest.Server
	bytes    atomic.Int64 // but for handshakes, as far as they end before a request
	requests atomic.Int64
	conns    atomic.Int64
}

type talliedConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (c *talliedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}

type talliedListener struct {
	net.Listener
	*tally
}

func (l talliedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.conns.Add(1)
	return &talliedConn{conn, &l.bytes}, nil
}

// newTally starts one and returns its client, which has one connection.
func newTally(t *testing.T, tls bool) (*tally, *Client) {
	t.Helper()
	s := &tally{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, okBody)
	}))
	s.Listener = talliedListener{s.Listener, s}
	s.EnableHTTP2 = true // and is not spoken to by it
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if tls {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	c := inProcess(nil)
	c.Endpoint, c.HTTP = s.URL, NewHTTPClient(1)
	if tls {
		c.HTTP.Transport.(*http.Transport).TLSClientConfig.RootCAs = x509.NewCertPool()
		c.HTTP.Transport.(*http.Transport).TLSClientConfig.RootCAs.AddCert(s.Certificate())
	}
	t.Cleanup(c.HTTP.CloseIdleConnections)
	return s, c
}

// from returns a fence that is late from look n on, and counts the looks.
func from(n int64) (late func() bool, looks *atomic.Int64) {
	looks = &atomic.Int64{}
	return func() bool { return looks.Add(1) >= n }, looks
}

func checkLate(t *testing.T, err error) {
	t.Helper()
	te, ok := errors.AsType[*TransportError](err)
	if !ok || te.Reason != ReasonLate || !errors.Is(err, ErrLate) || Judge(err).Verdict != Retry {
		t.Errorf("got error %v, want one that it is too late, to try again", err)
	}
	checkNoSecrets(t, err)
}

// A call that is late at the write does not reach the server, on a new connection or
// one that was used before, and the next one does.
func TestFence(t *testing.T) {
	for _, tls := range []bool{false, true} {
		for _, reused := range []bool{false, true} {
			name := map[bool]string{false: "http", true: "https"}[tls] + map[bool]string{false: ", new", true: ", reused"}[reused]
			t.Run(name, func(t *testing.T) {
				s, c := newTally(t, tls)
				var before int64
				if reused {
					never, looks := from(1 << 40)
					if err := ping(WithFence(t.Context(), never), c); err != nil || looks.Load() < 2 {
						t.Fatalf("a call in time: %v after %d looks, want at least 2", err, looks.Load())
					}
					before = s.bytes.Load()
				}
				requests := s.requests.Load()
				late, looks := from(2) // the first look is before anything is dialled
				checkLate(t, ping(WithFence(t.Context(), late), c))
				if n := looks.Load(); n < 2 {
					t.Errorf("it looked %d times, want also before the write", n)
				}
				if n := s.bytes.Load() - before; reused && n > 0 || !tls && n > 0 {
					t.Errorf("%d bytes came", n)
				}
				if err := ping(t.Context(), c); err != nil {
					t.Errorf("the call without a fence: %v", err)
				}
				if n := s.requests.Load() - requests; n != 1 {
					t.Errorf("%d requests came, want that without a fence", n)
				}
			})
		}
	}
}

// A call that is late before anything is dialled, does not dial.
func TestFenceBeforeTheDial(t *testing.T) {
	s, c := newTally(t, false)
	late, looks := from(1)
	checkLate(t, ping(WithFence(t.Context(), late), c))
	if looks.Load() != 1 || s.conns.Load() != 0 {
		t.Errorf("%d looks, %d connections; want 1 and none", looks.Load(), s.conns.Load())
	}
	// A transport in the process has no connection to guard, but is not called.
	inside := inProcess(func(*http.Request) (*http.Response, error) { t.Error("it is called"); return nil, io.EOF })
	checkLate(t, ping(WithFence(t.Context(), late), inside))
	if err := ping(WithFence(t.Context(), nil), c); err != nil {
		t.Errorf("no fence: %v", err)
	}
}

// A fence ends with its call: the next one on the connection is sent, whoever makes it.
func TestFenceEndsWithItsCall(t *testing.T) {
	for _, tls := range []bool{false, true} {
		s, c := newTally(t, tls)
		var over atomic.Bool
		for i := range 20 {
			over.Store(false)
			if err := ping(WithFence(t.Context(), over.Load), c); err != nil {
				t.Fatal(err)
			}
			over.Store(true)
			if i%2 == 0 {
				if err := ping(t.Context(), c); err != nil {
					t.Errorf("our next call: %v", err)
				}
				continue
			}
			time.Sleep(time.Millisecond) // until the transport has the connection back
			resp, err := c.HTTP.Get(s.URL)
			if err != nil {
				t.Errorf("somebody else's call: %v", err)
				continue
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		if n := s.conns.Load(); n > 3 { // 1, but for a busy host
			t.Errorf("TLS %v: %d connections", tls, n)
		}
	}
}

// A long request that is late in its midst is broken off: that is not a call of which
// nothing was sent.
func TestFenceInTheMidstOfARequest(t *testing.T) {
	for _, tls := range []bool{false, true} {
		s, c := newTally(t, tls)
		late, _ := from(3)
		_, _, err := c.post(WithFence(t.Context(), late), "s", "c", bytes.Repeat([]byte(" "), 1<<20))
		if te, ok := errors.AsType[*TransportError](err); !ok || te.Reason == ReasonLate || errors.Is(err, ErrLate) || Judge(err).Verdict != Retry {
			t.Errorf("TLS %v: got %v, want a broken call", tls, err)
		}
		if n := s.bytes.Load(); n > 1<<19 { // perhaps none: the connection is reset
			t.Errorf("TLS %v: %d bytes came, want those of a write", tls, n)
		}
	}
}

// A call that has left, and whose time is over when its connection is closed, is not
// one that was not sent: TLS says goodbye through the same connection.
func TestFenceAfterTheCallHasLeft(t *testing.T) {
	came, end := make(chan bool, 1), make(chan bool)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { came <- true; <-end }))
	defer srv.Close()
	defer close(end)
	c := inProcess(nil)
	c.Endpoint, c.HTTP = srv.URL, NewHTTPClient(1)
	c.HTTP.Transport.(*http.Transport).TLSClientConfig = srv.Client().Transport.(*http.Transport).TLSClientConfig
	c.Timeout = 300 * time.Millisecond
	var over atomic.Bool
	go func() { over.Store(<-came) }()
	err := ping(WithFence(t.Context(), over.Load), c)
	if te, ok := errors.AsType[*TransportError](err); !ok || te.Reason != ReasonTimeout || errors.Is(err, ErrLate) {
		t.Errorf("got %v, want a time-out", err)
	}
}

// The way to a server through a proxy is guarded as well, and what opens it is not.
func TestFenceThroughAProxy(t *testing.T) {
	s, c := newTally(t, true)
	var connects atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connects.Add(1)
		to, err := net.Dial("tcp", r.Host)
		if err != nil {
			t.Error(err)
			return
		}
		defer to.Close()
		w.WriteHeader(http.StatusOK)
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		go func() {
			_, _ = io.Copy(to, buf)
			to.Close()
		}()
		_, _ = io.Copy(conn, to)
	}))
	defer proxy.Close()
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	c.HTTP.Transport.(*http.Transport).Proxy = http.ProxyURL(u)
	late, _ := from(2)
	checkLate(t, ping(WithFence(t.Context(), late), c))
	if connects.Load() != 1 || s.requests.Load() != 0 {
		t.Errorf("%d ways opened, %d requests; want 1 and none", connects.Load(), s.requests.Load())
	}
	if err := ping(WithFence(t.Context(), func() bool { return false }), c); err != nil || s.requests.Load() != 1 {
		t.Errorf("a call in time: %v, %d requests", err, s.requests.Load())
	}
}

// The wish to stop comes before the fence: such a call is not tried again.
func TestFenceOfAnInterruptedCall(t *testing.T) {
	_, c := newTally(t, false)
	ctx, cancel := context.WithCancel(t.Context())
	late := func() bool { cancel(); return true }
	if err := ping(WithFence(ctx, late), c); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was cancelled", err)
	}
}

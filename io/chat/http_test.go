package chat

import (
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "0": 0, "-1": 0, "3600": time.Minute, "99999999999999999999": 0, "9223372036854775807": time.Minute,
		"x": 0, "Sun, 22 Nov 2026 01:00:05 GMT": 5 * time.Second, "Sun, 22 Nov 2026 00:00:00 GMT": 0, "Mon, 23 Nov 2026 01:00:00 GMT": time.Minute,
	} {
		if got := retryAfter(http.Header{"Retry-After": {v}}, now); got != want {
			t.Errorf("%q: got %v, want %v", v, got, want)
		}
	}
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(429)
	})
	if r := Judge(ping(t.Context(), c)); r.Verdict != Slow || !r.WholeApp || r.Pause != 7*time.Second {
		t.Errorf("got ruling %+v", r)
	}
}

// callers counts the connections that requests came on.
type callers struct{ m sync.Map }

func (c *callers) note(r *http.Request) { c.m.Store(r.RemoteAddr, true) }

func (c *callers) count() (n int) {
	c.m.Range(func(any, any) bool { n++; return true })
	return n
}

// Whatever the answer was, its connection serves the next call.
func TestConnectionIsUsedAgain(t *testing.T) {
	bodies := []string{okBody, `{"ErrorCode":10002}`, "<html>", "", strings.Repeat(" ", 2<<20) + okBody, okBody + "}"}
	statuses := []int{200, 502, 404, 429, 307}
	var n atomic.Int32
	var conns callers
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		conns.note(r)
		i := int(n.Add(1))
		w.WriteHeader(statuses[i/len(bodies)%len(statuses)])
		body := bodies[i%len(bodies)]
		io.WriteString(w, body[len(body)-min(len(body), 1<<16):])
	})
	for range 60 {
		ping(t.Context(), c)
	}
	// One, but the transport drops a connection whose request it has not
	// seen leave within 50 ms, as on a host that is busy.
	if conns.count() > 5 || n.Load() != 60 {
		t.Errorf("got %d connections for %d requests, want 1 for 60", conns.count(), n.Load())
	}
}

func TestPool(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(map[bool]string{false: "HTTP/1.1", true: "a server that has HTTP/2"}[h2], func(t *testing.T) {
			var protos sync.Map
			var conns callers
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				conns.note(r)
				protos.Store(r.ProtoMajor, true)
				time.Sleep(time.Millisecond)
				io.WriteString(w, okBody)
			}))
			srv.EnableHTTP2 = h2
			srv.StartTLS()
			defer srv.Close()
			c := inProcess(nil)
			c.Endpoint, c.HTTP = srv.URL, NewHTTPClient(8)
			trusted := x509.NewCertPool()
			trusted.AddCert(srv.Certificate())
			c.HTTP.Transport.(*http.Transport).TLSClientConfig.RootCAs = trusted
			defer c.HTTP.CloseIdleConnections()
			var wg sync.WaitGroup
			for range 32 {
				wg.Go(func() {
					for range 20 {
						if err := ping(t.Context(), c); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			if n := conns.count(); n > 16 { // 8 at a time; some may be replaced on a busy host
				t.Errorf("got %d connections, want about 8", n)
			}
			if _, two := protos.Load(2); two {
				t.Error("HTTP/2 is used")
			}
		})
	}
}

// TestOneRequestPerCall: the transport would send a request again by itself
// when a kept connection turns out dead; no one has paid for that one.
func TestOneRequestPerCall(t *testing.T) {
	var seen sync.Map // requests, by their random
	c, srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		key := r.URL.Query().Get("random")
		if _, twice := seen.LoadOrStore(key, true); twice {
			t.Errorf("request %s came twice", key)
		}
		if n, _ := strconv.Atoi(key); n%3 == 0 {
			hijack(func(net.Conn, *http.Request) {})(w, r)
			return
		}
		io.WriteString(w, okBody)
	})
	for range 100 {
		ping(t.Context(), c)
		if err := ping(t.Context(), c); err == nil {
			srv.CloseClientConnections()
		}
		checkNoSecrets(t, ping(t.Context(), c))
	}
	if req, err := c.request(t.Context(), "s", "c", testSig, []byte("{}")); err != nil || req.GetBody != nil {
		t.Errorf("got error %v, GetBody set: %v", err, req.GetBody != nil)
	}
}

func TestNewHTTPClient(t *testing.T) {
	tr := NewHTTPClient(64).Transport.(*http.Transport)
	if tr.MaxIdleConnsPerHost != 64 || tr.MaxConnsPerHost != 64 || tr.MaxIdleConns != 0 || tr.IdleConnTimeout <= 0 || tr.IdleConnTimeout >= time.Minute || tr.Proxy == nil {
		t.Errorf("got idle per host %d, per host %d, idle %d for %v, proxy %v", tr.MaxIdleConnsPerHost, tr.MaxConnsPerHost,
			tr.MaxIdleConns, tr.IdleConnTimeout, tr.Proxy != nil)
	}
	if d := http.DefaultTransport.(*http.Transport); d.MaxConnsPerHost != 0 {
		t.Errorf("the default transport was changed: %d connections a host", d.MaxConnsPerHost)
	}
	if tr := NewHTTPClient(0).Transport.(*http.Transport); tr.MaxConnsPerHost != 1 {
		t.Errorf("got %d connections for 0, want 1", tr.MaxConnsPerHost)
	}
}

package chat

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTimingInProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const latency = 30 * time.Millisecond
		c := inProcess(func(*http.Request) (*http.Response, error) {
			time.Sleep(latency)
			return response(200, `{"ErrorCode":10002}`), nil
		})
		var got Timing
		err := ping(WithTiming(t.Context(), &got), c)
		want := Timing{RoundTrip: latency, Connect: latency, Answered: true, Sig: testSig}
		if got != want || CodeOf(err) != 10002 || got.Service() != 0 {
			t.Errorf("got %v, signature kept %v, service %v, error %v; want %v", got, got.Sig == testSig, got.Service(), err, want)
		}
	})
}

func TestTimingWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := Timing{RoundTrip: 1, Connect: 2, Answered: true, Sig: "of the call before"}
		c := inProcess(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		before := time.Now()
		err := ping(WithTiming(t.Context(), &got), c)
		if te, ok := errors.AsType[*TransportError](err); !ok || te.Reason != ReasonTimeout || time.Since(before) != 10*time.Second {
			t.Errorf("got error %v after %v, want a timeout after 10s", err, time.Since(before))
		}
		if want := (Timing{Sig: testSig}); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// An answer that is cut has not come, one with another status has.
func TestTimingAnswered(t *testing.T) {
	for body, want := range map[string]bool{"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno": true,
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno": true, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nno": false, "": false} {
		c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
			conn, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(conn, body)
			conn.Close()
		})
		var got Timing
		ping(WithTiming(t.Context(), &got), c)
		if got.Answered != want || (got.RoundTrip > 0) != want || (got.Connect > 0) != want {
			t.Errorf("%q: got %v, want answered %v", body, got, want)
		}
	}
}

func TestTimingOverTCP(t *testing.T) {
	const work = 50 * time.Millisecond
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(work)
		io.WriteString(w, okBody)
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	for name, srv := range map[string]*httptest.Server{"http": plain, "https": secure} {
		c := inProcess(nil)
		c.Endpoint, c.HTTP = srv.URL, srv.Client()
		var first, second Timing
		for _, into := range []*Timing{&first, &second} {
			if err := ping(WithTiming(t.Context(), into), c); err != nil {
				t.Fatal(err)
			}
			if !into.Answered || into.RoundTrip < work || into.RoundTrip > work+2*time.Second {
				t.Errorf("%s: got %v, want a round trip of about %v", name, *into, work)
			}
			if into.Connect <= 0 || into.Connect != max(c.net.tcp.get(), c.net.tls.get()) || into.Service() != max(0, into.RoundTrip-into.Connect) {
				t.Errorf("%s: got %v", name, *into)
			}
		}
		if first.Connect != second.Connect {
			t.Errorf("%s: got connect %v, then %v on the same connection", name, first.Connect, second.Connect)
		}
		if https := name == "https"; (c.net.tls.get() > 0) != https || c.net.tcp.get() == 0 {
			t.Errorf("%s: got TCP %v, TLS %v", name, c.net.tcp.get(), c.net.tls.get())
		}
	}
}

func TestTimingsOfManyCalls(t *testing.T) {
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, okBody) })
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 50 {
				var got Timing
				if err := ping(WithTiming(t.Context(), &got), c); err != nil || !got.Answered || got.RoundTrip <= 0 || got.Connect <= 0 {
					t.Errorf("got %v, error %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestFastest(t *testing.T) {
	var f fastest
	if f.get() != 0 {
		t.Errorf("got %v before the first, want 0", f.get())
	}
	for _, tt := range []struct{ add, want time.Duration }{{5, 5}, {7, 5}, {3, 3}, {0, 1}, {2, 1}} {
		if f.add(tt.add); f.get() != tt.want {
			t.Errorf("after %d: got %d, want %d", tt.add, f.get(), tt.want)
		}
	}
}

func TestTimingPrints(t *testing.T) {
	got := fmt.Sprintf("%+v", Timing{RoundTrip: time.Second, Connect: time.Millisecond, Answered: true, Sig: testSig})
	if want := "round trip 1s, connect 1ms, answered true"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestTimingByHooks plays a transport: what counts is the time from the
// request being written, and the fastest connect that came about.
func TestTimingByHooks(t *testing.T) {
	const ms = time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		tcp, shake, broken := 5*ms, 8*ms, error(nil)
		c := inProcess(func(r *http.Request) (*http.Response, error) {
			trace := httptrace.ContextClientTrace(r.Context())
			trace.ConnectStart("tcp", "a")
			trace.ConnectStart("tcp", "b")
			time.Sleep(tcp)
			trace.ConnectDone("tcp", "a", errors.New("refused"))
			time.Sleep(tcp)
			trace.ConnectDone("tcp", "b", broken)
			trace.TLSHandshakeStart()
			time.Sleep(shake)
			trace.TLSHandshakeDone(tls.ConnectionState{}, broken)
			trace.GotConn(httptrace.GotConnInfo{})
			time.Sleep(10 * ms) // writes
			trace.WroteRequest(httptrace.WroteRequestInfo{})
			time.Sleep(20 * ms)
			trace.WroteRequest(httptrace.WroteRequestInfo{Err: errors.New("late")})
			time.Sleep(10 * ms)
			return response(200, okBody), nil
		})
		for _, tt := range []struct {
			tcp, shake, connect time.Duration
			broken              error
		}{
			{tcp: 1 * ms, shake: 1 * ms, connect: 30 * ms, broken: errors.New("no connect")},
			{tcp: 5 * ms, shake: 8 * ms, connect: 10 * ms},
			{tcp: 6 * ms, shake: 4 * ms, connect: 10 * ms},
			{tcp: 3 * ms, shake: 9 * ms, connect: 6 * ms},
			{tcp: 1 * ms, shake: 5 * ms, connect: 4 * ms},
		} {
			tcp, shake, broken = tt.tcp, tt.shake, tt.broken
			var got Timing
			if err := ping(WithTiming(t.Context(), &got), c); err != nil {
				t.Fatal(err)
			}
			if got.RoundTrip != 30*ms || got.Connect != tt.connect || got.Service() != 30*ms-tt.connect {
				t.Errorf("TCP %v, TLS %v: got %v, want round trip 30ms, connect %v", 2*tt.tcp, tt.shake, got, tt.connect)
			}
		}
	})
}

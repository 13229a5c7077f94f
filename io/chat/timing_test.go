package chat

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A transport in the process does not say when it writes.
func TestTimingInProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := inProcess(func(*http.Request) (*http.Response, error) {
			time.Sleep(30 * time.Millisecond)
			return response(200, `{"ErrorCode":10002}`), nil
		})
		var got Timing
		err := ping(WithTiming(t.Context(), &got), c)
		if want := (Timing{Answered: true, Sig: testSig}); got != want || CodeOf(err) != 10002 {
			t.Errorf("got %v, signature kept %v, error %v; want %v", got, got.Sig == testSig, err, want)
		}
	})
}

func TestTimingWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := Timing{RoundTrip: 1, Answered: true, Sig: "of the call before"}
		c := inProcess(func(r *http.Request) (*http.Response, error) {
			httptrace.ContextClientTrace(r.Context()).WroteRequest(httptrace.WroteRequestInfo{})
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
		if got.Answered != want || got.RoundTrip > 0 && !want {
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
	for _, name := range []string{"http", "https", "HTTP/2"} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(handler)
			if srv.EnableHTTP2 = name == "HTTP/2"; name == "http" {
				srv.Start()
			} else {
				srv.StartTLS()
			}
			defer srv.Close()
			c := inProcess(nil)
			c.Endpoint, c.HTTP = srv.URL, srv.Client()
			for range 2 { // the first one connects
				var got Timing
				before := time.Now()
				err := ping(WithTiming(t.Context(), &got), c)
				if all := time.Since(before); err != nil || !got.Answered || got.RoundTrip > all || got.RoundTrip < work-20*time.Millisecond {
					t.Errorf("got %v of %v, error %v; want about %v", got, all, err, work)
				}
			}
		})
	}
}

// A server that answers at once, while it is being written to, has not had the
// request: what was measured would not be its way.
func TestTimingOfEarlyAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			io.ReadFull(conn, make([]byte, 10))
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"+okBody)
		}
	}()
	c := inProcess(nil)
	c.Endpoint, c.HTTP = "http://"+l.Addr().String(), NewHTTPClient(1)
	defer c.HTTP.CloseIdleConnections()
	var got Timing
	watched, watch := follow(t.Context())
	req, err := c.request(watched, "s", "c", testSig, make([]byte, 64<<20)) // more than buffers take
	if err != nil {
		t.Fatal(err)
	}
	if _, te := c.exchange(req, testSig, &fence{}, watch, &got); te != nil {
		t.Fatal(te)
	}
	if got != (Timing{Answered: true}) {
		t.Errorf("got %v, want an answer and no time", got)
	}
}

func TestTimingsOfManyCalls(t *testing.T) {
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Millisecond)
		io.WriteString(w, okBody)
	})
	var wg sync.WaitGroup
	var known atomic.Int32
	for range 16 {
		wg.Go(func() {
			for range 50 {
				var got Timing
				if err := ping(WithTiming(t.Context(), &got), c); err != nil || !got.Answered {
					t.Errorf("got %v, error %v", got, err)
				}
				if got.RoundTrip > 0 {
					known.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := known.Load(); n < 400 { // all, but for answers that are faster than a goroutine on a busy host
		t.Errorf("got the time of %d calls of 800", n)
	}
}

func TestTimingPrints(t *testing.T) {
	got := fmt.Sprintf("%+v", Timing{RoundTrip: time.Second, Answered: true, Sig: testSig})
	if want := "round trip 1s, answered true"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestTimingByHooks plays a transport: what counts is the time from the
// request being written, and only if it was.
func TestTimingByHooks(t *testing.T) {
	const ms = time.Millisecond
	for name, tt := range map[string]struct {
		wrote []error // what is said of the writing, 20 ms apart
		want  time.Duration
	}{
		"written":               {wrote: []error{nil}, want: 20 * ms},
		"written again":         {wrote: []error{nil, nil}, want: 20 * ms}, // what came first may not have arrived
		"broken off later":      {wrote: []error{nil, errors.New("late")}, want: 40 * ms},
		"never written whole":   {wrote: []error{errors.New("broken")}},
		"nothing said about it": {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := inProcess(func(r *http.Request) (*http.Response, error) {
					trace := httptrace.ContextClientTrace(r.Context())
					time.Sleep(10 * ms) // connects and writes
					for _, err := range tt.wrote {
						trace.WroteRequest(httptrace.WroteRequestInfo{Err: err})
						time.Sleep(20 * ms)
					}
					return response(200, okBody), nil
				})
				var got Timing
				if err := ping(WithTiming(t.Context(), &got), c); err != nil {
					t.Fatal(err)
				}
				if got.RoundTrip != tt.want || !got.Answered {
					t.Errorf("got %v, want round trip %v", got, tt.want)
				}
			})
		})
	}
}

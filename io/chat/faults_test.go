package chat

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// hijack gives a handler the bare connection.
func hijack(f func(net.Conn, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		f(conn, r)
	}
}

func write(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "%s (you asked for %s and %s)", body, r.URL, r.URL.Query().Get("usersig"))
	}
}

// Each fault is a server that gives no usable answer. Many quote the request,
// with the UserSig in it, as real servers do.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		reason  string
		status  int
		verdict Verdict
	}{
		{"502", write(502, "<html>502 Bad Gateway</html>"), ReasonStatus, 502, Retry},
		{"500", write(500, ""), ReasonStatus, 500, Retry},
		{"503", write(503, ""), ReasonStatus, 503, Retry},
		{"504", write(504, ""), ReasonStatus, 504, Retry},
		{"408", write(408, ""), ReasonStatus, 408, Retry},
		{"429", write(429, ""), ReasonStatus, 429, Slow},
		{"413", write(413, ""), ReasonStatus, 413, Split},
		{"400", write(400, ""), ReasonStatus, 400, StopRun},
		{"401", write(401, ""), ReasonStatus, 401, StopRun},
		{"403", write(403, ""), ReasonStatus, 403, StopRun},
		{"404", write(404, "404 page not found"), ReasonStatus, 404, StopRun},
		{"204", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }, ReasonStatus, 204, Retry},
		{"201 with a good body", write(201, okBody), ReasonStatus, 201, Retry},
		{"status with a long body", write(502, strings.Repeat("x", 1<<20)), ReasonStatus, 502, Retry},
		{"html with 200", write(200, "<html>"), ReasonNotJSON, 200, Retry},
		{"good body with a tail", write(200, okBody), ReasonNotJSON, 200, Retry},
		{"empty body", func(http.ResponseWriter, *http.Request) {}, ReasonNotJSON, 200, Retry},
		{"reset", hijack(func(c net.Conn, r *http.Request) { c.(*net.TCPConn).SetLinger(0) }), ReasonReset, 0, Retry},
		{"closed", hijack(func(net.Conn, *http.Request) {}), ReasonEOF, 0, Retry},
		{"cut in the header", hijack(func(c net.Conn, r *http.Request) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n")
		}), ReasonEOF, 0, Retry},
		{"cut in a header field", hijack(func(c net.Conn, r *http.Request) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le")
		}), ReasonOther, 0, Retry}, // net/http calls it malformed
		{"cut in the body", hijack(func(c net.Conn, r *http.Request) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n%s", okBody)
		}), ReasonEOF, 200, Retry},
		{"cut chunked", hijack(func(c net.Conn, r *http.Request) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(okBody), okBody)
		}), ReasonEOF, 200, Retry},
		{"reset in the body", hijack(func(c net.Conn, r *http.Request) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n%s", okBody)
			time.Sleep(20 * time.Millisecond) // the reset must not overtake the header
			c.(*net.TCPConn).SetLinger(0)
		}), ReasonReset, 200, Retry},
		{"garbage", hijack(func(c net.Conn, r *http.Request) {
			fmt.Fprintf(c, "\x00\x01 no HTTP: %s\r\n\r\n", r.URL)
		}), ReasonOther, 0, Retry},
		{"garbage status", hijack(func(c net.Conn, r *http.Request) {
			fmt.Fprintf(c, "HTTP/1.1 %s\r\n\r\n", r.URL.Query().Get("usersig"))
		}), ReasonOther, 0, Retry},
		{"broken chunks", hijack(func(c net.Conn, r *http.Request) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nusersig=%s\r\n", testSig)
		}), ReasonOther, 200, Retry},
		{"hundred megabytes", func(w http.ResponseWriter, r *http.Request) {
			if n := flood(w, 100<<20); n > 32<<20 {
				t.Errorf("%d bytes were taken, want about 2 MiB and what buffers hold", n)
			}
		}, ReasonTooLarge, 200, Retry},
		{"a list of a million", write(200, `{"ErrorCode":0,"MemberList":[{}`+strings.Repeat(",{}", 600_000)+`]}`), ReasonTooLarge, 200, Retry},
		{"never-ending body", drip, ReasonTimeout, 200, Retry},
		{"never-ending error", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(502)
			drip(w, r)
		}, ReasonTimeout, 502, Retry},
		{"no answer", func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // else the server does not see the client leave
			<-r.Context().Done()
		}, ReasonTimeout, 0, Retry},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, _ := serve(t, tt.handler)
			c.Timeout = 30 * time.Second
			if tt.reason == ReasonTimeout {
				c.Timeout = 300 * time.Millisecond
			}
			err := ping(t.Context(), c)
			te, ok := errors.AsType[*TransportError](err)
			if !ok {
				t.Fatalf("got error %v, want a TransportError", err)
			}
			if te.Command != "get_members" || te.Reason != tt.reason || te.Status != tt.status {
				t.Errorf("got %s, reason %s, status %d; want %s, %d (%v)", te.Command, te.Reason, te.Status, tt.reason, tt.status, err)
			}
			if got := Judge(err); got.Verdict != tt.verdict {
				t.Errorf("got verdict %v, want %v", got.Verdict, tt.verdict)
			}
			if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
				t.Errorf("%v looks like the end of the caller's context", err)
			}
			checkNoSecrets(t, err)
		})
	}
}

// flood writes n bytes and returns how many were taken.
func flood(w io.Writer, n int) (sent int) {
	block := []byte(strings.Repeat(" ", 64<<10))
	for sent < n {
		m, err := w.Write(block)
		sent += m
		if err != nil {
			break
		}
	}
	return sent
}

// drip sends a byte now and then, as long as someone listens.
func drip(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	for r.Context().Err() == nil {
		io.WriteString(w, " ")
		w.(http.Flusher).Flush()
		time.Sleep(10 * time.Millisecond)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var asked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		io.WriteString(w, okBody)
	}))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, location := range []string{other.URL, other.URL + "/?%s", ""} {
			c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if location != "" {
					w.Header().Set("Location", strings.Replace(location, "%s", r.URL.RawQuery, 1))
				}
				w.WriteHeader(status)
			})
			c.HTTP.CheckRedirect = nil // the client must not depend on it
			err := ping(t.Context(), c)
			te, ok := errors.AsType[*TransportError](err)
			if !ok || te.Reason != ReasonRedirect || te.Status != status || Judge(err).Verdict != StopRun {
				t.Errorf("%d to %q: got error %v, verdict %v", status, location, err, Judge(err).Verdict)
			}
			checkNoSecrets(t, err)
		}
	}
	// One that is no URL is an error of net/http, which quotes it.
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "://"+r.URL.RawQuery)
		w.WriteHeader(302)
	})
	err := ping(t.Context(), c)
	if !is[*TransportError](err) {
		t.Errorf("got error %v", err)
	}
	checkNoSecrets(t, err)
	if n := asked.Load(); n != 0 {
		t.Errorf("the other host was asked %d times, want 0", n)
	}
}

func TestTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, okBody) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	srv.StartTLS()
	defer srv.Close()
	plain := httptest.NewServer(srv.Config.Handler)
	defer plain.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(srv.Certificate())
	for _, tt := range []struct {
		name, endpoint string
		config         *tls.Config
		reason         string // "" = no error
		verdict        Verdict
	}{
		{"trusted", srv.URL, &tls.Config{RootCAs: trusted}, "", Accepted},
		{"unknown authority", srv.URL, nil, ReasonTLS, StopRun},
		{"other name", srv.URL, &tls.Config{RootCAs: trusted, ServerName: "console.tim.qq.com"}, ReasonTLS, StopRun},
		{"expired", srv.URL, &tls.Config{RootCAs: trusted, Time: func() time.Time { return time.Now().AddDate(200, 0, 0) }}, ReasonTLS, StopRun},
		{"old version", srv.URL, &tls.Config{RootCAs: trusted, MaxVersion: tls.VersionTLS12}, ReasonTLS, Retry},
		{"no TLS there", strings.Replace(plain.URL, "http:", "https:", 1), nil, ReasonTLS, Retry},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := inProcess(nil)
			c.Endpoint, c.HTTP = tt.endpoint, NewHTTPClient(1)
			c.HTTP.Transport.(*http.Transport).TLSClientConfig = tt.config
			defer c.HTTP.CloseIdleConnections()
			err := ping(t.Context(), c)
			te, ok := errors.AsType[*TransportError](err)
			if ok != (tt.reason != "") || ok && te.Reason != tt.reason {
				t.Errorf("got error %v, want reason %q", err, tt.reason)
			}
			if v := Judge(err).Verdict; v != tt.verdict {
				t.Errorf("got verdict %v, want %v", v, tt.verdict)
			}
			checkNoSecrets(t, err)
		})
	}
}

// Faults of the dialler, and of a transport that is not the standard one.
func TestNoConnection(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	dialer := func(err error) http.RoundTripper {
		return &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, err }}
	}
	opened := "https://console.tim.qq.com/v4?usersig=" + testSig
	for _, tt := range []struct {
		name, endpoint string
		transport      http.RoundTripper
		reason         string
	}{
		{"refused", "http://" + closed.Addr().String(), NewHTTPClient(1).Transport, ReasonConnect},
		{"no such host", "https://chat.invalid", dialer(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "chat.invalid", IsNotFound: true}}), ReasonDNS},
		{"dns time-out", "https://chat.invalid", dialer(&net.DNSError{Err: "i/o timeout", IsTimeout: true}), ReasonDNS},
		{"dial time-out", "https://chat.invalid", dialer(&net.OpError{Op: "dial", Err: context.DeadlineExceeded}), ReasonConnect},
		{"says the URL", "https://chat.invalid", dialer(fmt.Errorf("proxy: cannot reach %s", opened)), ReasonOther},
		{"wraps a URL error", "https://chat.invalid", dialer(fmt.Errorf("proxy: %w", &url.Error{Op: "Post", URL: opened, Err: io.EOF})), ReasonEOF},
		{"is a URL error", "https://chat.invalid", roundTripper(func(*http.Request) (*http.Response, error) {
			return nil, &url.Error{Op: "Post", URL: opened, Err: io.EOF}
		}), ReasonEOF},
		{"says the signature", "https://chat.invalid", dialer(errors.New("bad " + testSig + " and " + url.QueryEscape(testSig))), ReasonOther},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := inProcess(nil)
			c.Endpoint, c.HTTP = tt.endpoint, &http.Client{Transport: tt.transport}
			err := ping(t.Context(), c)
			te, ok := errors.AsType[*TransportError](err)
			if !ok || te.Reason != tt.reason || te.Status != 0 {
				t.Errorf("got error %v, want reason %s", err, tt.reason)
			}
			if r := Judge(err); r.Verdict != Retry || r.Then != FailChunk || r.Canary != StopRun || r.Class != ClassNoAnswer {
				t.Errorf("got ruling %+v", r)
			}
			checkNoSecrets(t, err)
		})
	}
}

// A call that is given up is neither refused nor failed.
func TestGivenUp(t *testing.T) {
	block := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	why := errors.New("second signal")
	for _, tt := range []struct {
		name string
		ctx  func(context.Context) (context.Context, func())
		want []error
	}{
		{"before", func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, func() {}
		}, []error{context.Canceled}},
		{"during", func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancel(ctx)
			return ctx, cancel
		}, []error{context.Canceled}},
		{"for a cause", func(ctx context.Context) (context.Context, func()) {
			ctx, cancel := context.WithCancelCause(ctx)
			return ctx, func() { cancel(why) }
		}, []error{context.Canceled, why}},
		{"deadline of the caller", func(ctx context.Context) (context.Context, func()) {
			return context.WithTimeout(ctx, 10*time.Millisecond)
		}, []error{context.DeadlineExceeded}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, end := tt.ctx(t.Context())
			if tt.name != "deadline of the caller" {
				time.AfterFunc(10*time.Millisecond, end)
			}
			err := ping(ctx, inProcess(block))
			for _, want := range tt.want {
				if !errors.Is(err, want) {
					t.Errorf("got error %v, want one that is %v", err, want)
				}
			}
			if is[*TransportError](err) || is[*Error](err) {
				t.Errorf("got error %#v", err)
			}
			checkNoSecrets(t, err)
			end()
		})
	}
}

// A cancelled call over TCP, with the answer's body on its way.
func TestGivenUpInTheBody(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		time.AfterFunc(50*time.Millisecond, cancel)
		drip(w, r)
	})
	err := ping(ctx, c)
	if !errors.Is(err, context.Canceled) || is[*TransportError](err) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
	checkNoSecrets(t, err)
}

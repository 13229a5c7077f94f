package notify

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// secret is in the host, in the path and in the query of the address.
const secret = "xoxb-2f1c7Qd"

const address = "https://" + secret + ".hooks.invalid/services/" + secret + "?key=" + secret

// A server answers the tries of a message.
type server func(try int, r *http.Request) (*http.Response, error)

// A wire counts the tries.
type wire struct {
	server
	tries int
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.tries++
	return w.server(w.tries, r)
}

func answer(status int, body string) (*http.Response, error) {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func always(status int) server {
	return func(int, *http.Request) (*http.Response, error) { return answer(status, "said "+secret) }
}

func fails(err error) server {
	return func(int, *http.Request) (*http.Response, error) { return nil, err }
}

func TestPost(t *testing.T) {
	hang := func(_ int, r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	tests := []struct {
		name   string
		server server
		want   string // of the error; "": the message has arrived
		tries  int
	}{
		{"all is well", always(200), "", 1},
		{"no content", always(204), "", 1},
		{"well at the third time", func(try int, r *http.Request) (*http.Response, error) {
			if try < 3 {
				return answer(502, "")
			}
			return answer(200, "ok")
		}, "", 3},
		{"never well", always(500), "HTTP status 500 (tries: 4)", 4},
		{"too many", always(429), "HTTP status 429 (tries: 4)", 4},
		{"no such hook", always(404), "HTTP status 404: it refuses the message", 1},
		{"redirected", always(307), "HTTP status 307: a redirect, which is not followed: it would show the token to another place", 1},
		{"hangs", hang, "no answer in time (tries: 4)", 4},
		{"closes", fails(io.EOF), "the connection was closed without an answer (tries: 4)", 4},
		{"refuses", fails(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), "connection refused (tries: 4)", 4},
		{"no such host", fails(&net.DNSError{Err: "no such host", Name: secret}), "its host is not known to the name server (tries: 4)", 4},
		{"anything", fails(errors.New("strange: " + secret)), "no answer (*errors.errorString) (tries: 4)", 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				w := &wire{server: tt.server}
				h := &Hook{URL: address, HTTP: &http.Client{Transport: w, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
				begun := time.Now()
				err := h.Post(ctx, Message{JSON: map[string]int{"exit": 1}})
				if d := time.Since(begun); d > 30*time.Second {
					t.Errorf("it took %v", d)
				}
				if got := text(err); got != tt.want || strings.Contains(got, secret) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				if w.tries != tt.tries {
					t.Errorf("got %d tries, want %d", w.tries, tt.tries)
				}
			})
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// The time of the whole is that of the context, and what was wrong before is said
// rather than that it is over.
func TestPostEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		w := &wire{server: always(503)}
		begun := time.Now()
		err := (&Hook{URL: address, HTTP: &http.Client{Transport: w}}).Post(ctx, Message{})
		if d := time.Since(begun); d > 2*time.Second {
			t.Errorf("it took %v", d)
		}
		if got, want := text(err), "HTTP status 503"; !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		cancel()
		if err := (&Hook{URL: address, HTTP: &http.Client{Transport: w}}).Post(ctx, Message{}); err == nil {
			t.Error("a message without any time was told")
		}
	})
}

// What the program itself uses: TLS is verified, and a redirect is not followed.
func TestClient(t *testing.T) {
	called := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called++ }))
	defer elsewhere.Close()
	var got *http.Request
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		if r.URL.Path == "/away" {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}
	}))
	defer srv.Close()
	if err := (&Hook{URL: srv.URL + "/hook"}).Post(t.Context(), Message{}); err != nil {
		t.Error(err)
	}
	if got.Method != http.MethodPost || got.Header.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("got %s of %q", got.Method, got.Header.Get("Content-Type"))
	}
	if err := (&Hook{URL: srv.URL + "/away"}).Post(t.Context(), Message{}); err == nil || called > 0 {
		t.Errorf("a redirect: got %v, %d calls elsewhere", err, called)
	}
	secure := httptest.NewUnstartedServer(nil)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	err := (&Hook{URL: secure.URL}).try(t.Context(), newClient(), nil)
	if want := "its certificate is signed by an authority that this host does not know"; text(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A proxy that wants a password says so in its status alone.
func TestProxy(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, secret, http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	client := newClient()
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	client.Transport.(*http.Transport).Proxy = http.ProxyURL(u)
	err = (&Hook{URL: address}).try(t.Context(), client, nil)
	if want := "the proxy answers with HTTP status 407"; text(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestFormats(t *testing.T) {
	m := Message{Text: "done <at> & 完", JSON: map[string]int{"exit": 0}}
	tests := []struct {
		format                 Format
		body, taken, not, code string
	}{
		{JSON, `{"exit":0}`, `{"errcode":1}`, "", ""},
		{"", `{"exit":0}`, "", "", ""},
		{Slack, `{"text":"done &lt;at&gt; &amp; 完"}`, "ok", "", ""},
		{WeCom, `{"msgtype":"text","text":{"content":"done <at> & 完"}}`, `{"errcode":0,"errmsg":"ok"}`, `{"errcode":93000,"errmsg":"` + secret + `"}`, "93000"},
		{DingTalk, `{"msgtype":"text","text":{"content":"done <at> & 完"}}`, `{"errcode":0}`, `{"errcode":310000}`, "310000"},
		{Feishu, `{"content":{"text":"done <at> & 完"},"msg_type":"text"}`, `{"StatusCode":0,"code":0}`, `{"code":19024,"msg":"Key Words Not Found"}`, "19024"},
	}
	for _, tt := range tests {
		t.Run(string(tt.format), func(t *testing.T) {
			reply := tt.taken
			var body string
			h := &Hook{URL: address, Format: tt.format, HTTP: &http.Client{Transport: &wire{server: func(_ int, r *http.Request) (*http.Response, error) {
				b, err := io.ReadAll(r.Body)
				body = string(b)
				if err != nil {
					return nil, err
				}
				return answer(200, reply)
			}}}}
			if err := h.Post(t.Context(), m); err != nil {
				t.Error(err)
			}
			if got := compact(t, body); got != compact(t, tt.body) {
				t.Errorf("got %s, want %s", got, tt.body)
			}
			if reply = tt.not; reply == "" {
				return
			}
			if got, want := text(h.Post(t.Context(), m)), "the robot refuses the message with code "+tt.code; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	if len(tests)-1 != len(Formats()) {
		t.Errorf("there are %d formats", len(Formats()))
	}
	if _, err := ParseFormat("telegraph"); err == nil {
		t.Error("telegraph is no format")
	}
}

// compact is JSON in one form.
func compact(t *testing.T, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestClip(t *testing.T) {
	long := clip(strings.Repeat("完", 1000))
	if len(long) > maxText || !strings.HasSuffix(long, "完…") {
		t.Errorf("got %d bytes, …%q", len(long), long[len(long)-9:])
	}
}

func TestCheck(t *testing.T) {
	for _, good := range []string{address, "https://u:p@h/x", "http://localhost:1/x", "http://127.8.0.1", "http://[::1]:80/"} {
		if err := Check(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", secret, "http://h.invalid/" + secret, "ftp://h/" + secret, "https:///" + secret, "https:" + secret, "https://h/%zz" + secret, "://" + secret} {
		if err := Check(bad); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}

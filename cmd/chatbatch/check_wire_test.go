package main

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatbatch/io/chat"
)

// A check does not wait for a server that does not answer longer than --timeout.
func TestCheckTimeout(t *testing.T) {
	t.Parallel()
	got := check(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then it is seen that the client has gone
		<-r.Context().Done()
	}, "--timeout", "3001ms")
	if f := got.found["answer"]; got.code != exitTryLater || !strings.Contains(f.Text, "no answer within 3.001s") || got.calls != 1 {
		t.Errorf("exit code %d, %d calls, %+v", got.code, got.calls, got.found)
	}
}

// A ready signature says for whom it was made and until when; the server judges it.
func TestCheckSignature(t *testing.T) {
	t.Parallel()
	sign := func(app int64, who string, life time.Duration) string {
		sig, err := chat.NewKeySigner(app, who, knownKey, life).UserSig()
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	var old string // of the year 2000, as it is in a bubble
	synctest.Test(t, func(*testing.T) { old = sign(1400000000, "administrator", time.Hour) })
	for _, tt := range []struct{ name, sig, state, text string }{
		{"good", sign(1400000000, "administrator", time.Hour), stateOK, "of administrator of app 1400000000, for another 59m"},
		{"another app", sign(5, "administrator", time.Hour), stateWarning, "it is of app 5, not of 1400000000"},
		{"another account", sign(1400000000, "bob\x1b[2J", time.Hour), stateWarning, "it is of bob?[2J, not of administrator"},
		{"expired", old, stateWarning, "it has expired "},
		{"a key", knownKey, stateWarning, "CHATBATCH_USERSIG: this is no UserSig, or it is not whole"},
		{"cut short", knownSig, stateWarning, "CHATBATCH_USERSIG: this is no UserSig, or it is not whole"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(groupWith(10010))
			defer srv.Close()
			env := checkEnv(t, srv.URL)
			env["CHATBATCH_USERSIG"] = tt.sig
			got := checkAt(t, env)
			f := got.found["signature"]
			if got.code != exitOK || f.State != tt.state || !strings.HasPrefix(f.Text, tt.text) || tt.state != stateOK && f.Do == "" {
				t.Errorf("exit code %d, %+v", got.code, f)
			}
			if strings.Contains(fmt.Sprint(got), tt.sig[16:]) {
				t.Errorf("the signature is shown: %+v", got)
			}
		})
	}
}

// The clock of this host is compared with the server's, whatever it answers.
func TestCheckClock(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		behind time.Duration
		answer http.HandlerFunc
		code   int
		state  string
		text   string
	}{
		{"equal", 0, groupWith(10010), exitOK, stateOK, "as the server's"},
		{"a little", 20 * time.Second, groupWith(10010), exitOK, stateOK, "behind the server's"},
		{"ahead", -2 * time.Hour, groupWith(10010), exitOK, stateWarning, "1h59m59s ahead of|2h0m0s ahead of"},
		{"behind", 2 * time.Hour, groupWith(10010), exitOK, stateWarning, "1h59m59s behind|2h0m0s behind"},
		{"behind, and expired", 25 * time.Hour, refuseWith(70001), exitRefused, stateFailed, "behind the server's"},
		{"equal, and expired", 0, refuseWith(70001), exitRefused, stateOK, "as the server's"},
		{"no Chat API", 2 * time.Hour, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, exitTryLater, stateWarning, "behind"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := check(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Date", time.Now().Add(tt.behind).UTC().Format(http.TimeFormat))
				tt.answer(w, r)
			})
			f := got.found["clock"]
			has := false
			for text := range strings.SplitSeq(tt.text, "|") {
				has = has || strings.Contains(f.Text, text)
			}
			if got.code != tt.code || f.State != tt.state || !has || f.State != stateOK && !strings.Contains(f.Do, "NTP") {
				t.Errorf("exit code %d, %+v", got.code, f)
			}
			if off := f.Behind - tt.behind.Seconds(); off < -2 || off > 2 {
				t.Errorf("%v s behind, want %v", f.Behind, tt.behind.Seconds())
			}
		})
	}
	got := check(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil
		groupWith(10010)(w, r)
	})
	if f, ok := got.found["clock"]; ok || got.code != exitOK {
		t.Errorf("exit code %d, a server without a clock: %+v", got.code, f)
	}
}

// A server whose certificate this host does not know is not called; with it, all is well.
func TestCheckTLS(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(groupWith(10010))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of the client that does not trust it
	srv.StartTLS()
	defer srv.Close()
	dir := t.TempDir()
	roots := write(t, filepath.Join(dir, "roots.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})))
	var env []string
	for name, value := range checkEnv(t, srv.URL) {
		env = append(env, name+"="+value)
	}
	ask := func(more ...string) diagnosis {
		p := start(t, dir, append(env, more...), nil, "check", "--json")
		stdout, code := p.end(t)
		return readDiagnosis(t, code, stdout, p.stderr.String())
	}
	got := ask()
	if f := got.found["tls"]; got.code != exitRefused || f.State != stateFailed || !strings.Contains(f.Text, `certificate by "O=Acme Co"`) || !strings.Contains(f.Do, "clock") {
		t.Errorf("exit code %d, %+v", got.code, got.found)
	}
	got = ask("SSL_CERT_FILE=" + roots)
	if f := got.found["tls"]; got.code != exitOK || f.State != stateOK || !strings.HasPrefix(f.Text, `TLS 1.3, certificate by "O=Acme Co", `) {
		t.Errorf("exit code %d, %+v", got.code, got.found)
	}
}

// What a proxy does is told apart from what the server does.
func TestCheckProxy(t *testing.T) {
	t.Parallel()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") == "" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer proxy.Close()
	host := strings.TrimPrefix(proxy.URL, "http://")
	var env []string
	for name, value := range checkEnv(t, "https://api.invalid") {
		env = append(env, name+"="+value)
	}
	for _, tt := range []struct {
		proxy, name, text string
		code              int
	}{
		{proxy.URL, "proxy", "HTTP status 407: the proxy " + host + " does not connect", exitRefused},
		{"http://user:hush-hush@" + host, "proxy", "HTTP status 502: the proxy " + host + " does not connect", exitTryLater},
		{"http://127.0.0.1:1", "endpoint", "no connection: ", exitTryLater},
	} {
		p := start(t, t.TempDir(), append(env, "HTTPS_PROXY="+tt.proxy), nil, "check", "--json")
		stdout, code := p.end(t)
		got := readDiagnosis(t, code, stdout, p.stderr.String())
		if f := got.found[tt.name]; code != tt.code || f.State != stateFailed || !strings.Contains(f.Text, tt.text) {
			t.Errorf("%s: exit code %d, %+v", tt.proxy, code, got.found)
		}
		if strings.Contains(stdout+p.stderr.String(), "hush") {
			t.Errorf("a password is shown: %s%s", stdout, p.stderr.String())
		}
	}
}

// What is wrong on this host is found without a call.
func TestCheckHost(t *testing.T) {
	t.Parallel()
	file := write(t, filepath.Join(t.TempDir(), "file"), "")
	for _, tt := range []struct {
		name, variable, value string
		what, text            string
		code                  int
	}{
		{"no place", "CHATBATCH_ENDPOINT", "", "endpoint", "say where the app lives", exitUsage},
		{"plain http", "CHATBATCH_ENDPOINT", "http://api.invalid", "credentials", "endpoint is plain http to api.invalid", exitUsage},
		{"no such host", "CHATBATCH_ENDPOINT", "https://api.invalid", "endpoint", "the name does not resolve", exitTryLater},
		{"no app", "CHATBATCH_SDKAPPID", "", "credentials", "--sdkappid is missing", exitUsage},
		{"no key", "CHATBATCH_SECRET_KEY", "", "credentials", "no credentials", exitUsage},
		{"no directory", "CHATBATCH_RUNS_DIR", file, "runs", "not a directory", exitUsage},
		{"no lanes", "CHATBATCH_LIMITER", "host", "budget", "make it writable", exitUsage},
		{"no database", "CHATBATCH_LIMITER", "postgres://u:hush-hush@127.0.0.1:1/db", "budget", "", exitTryLater},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			env := checkEnv(t, "https://api.invalid")
			env[tt.variable] = tt.value
			if tt.name == "no lanes" {
				env["CHATBATCH_RUNS_DIR"] = filepath.Join(env["XDG_STATE_HOME"], "runs")
				if err := os.Mkdir(filepath.Join(env["XDG_STATE_HOME"], "chatbatch"), 0o700); err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(env["XDG_STATE_HOME"], "chatbatch", "lanes"), "")
			}
			got := checkAt(t, env)
			f := got.found[tt.what]
			if got.code != tt.code || f.State != stateFailed || !strings.Contains(f.Text, tt.text) {
				t.Errorf("exit code %d, %+v", got.code, got.found)
			}
			if strings.Contains(fmt.Sprint(got), "hush") {
				t.Errorf("a password is shown: %+v", got)
			}
		})
	}
}

// Nobody listens: the address is told.
func TestCheckRefusedConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	got := checkAt(t, checkEnv(t, "http://"+address))
	if f := got.found["endpoint"]; got.code != exitTryLater || !strings.Contains(f.Text, address) || !strings.Contains(f.Do, "firewall") {
		t.Errorf("exit code %d, %+v", got.code, got.found)
	}
}

func TestWireBehind(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 400e6, time.UTC)
	for _, tt := range []struct {
		name string
		date time.Time
		trip time.Duration
		want time.Duration
		ok   bool
	}{
		{"unknown", time.Time{}, 0, 0, false},
		{"the same second", now.Truncate(time.Second), 0, 0, true},
		{"within a long round trip", now.Add(2 * time.Second).Truncate(time.Second), 4 * time.Second, 0, true},
		{"an hour", now.Truncate(time.Second).Add(time.Hour), 200 * time.Millisecond, time.Hour, true},
		{"an hour ahead", now.Truncate(time.Second).Add(-time.Hour), 200 * time.Millisecond, -time.Hour, true},
	} {
		got, ok := (&wire{written: now, first: now.Add(tt.trip), date: tt.date}).behind()
		if ok != tt.ok || (got-tt.want).Abs() > time.Second {
			t.Errorf("%s: got %v, %v; want %v, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

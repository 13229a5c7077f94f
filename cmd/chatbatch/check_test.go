package main

import (
	"encoding/json"
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
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"chatbatch/io/chat"
)

// checkEnv is the environment of a check of the server at url.
func checkEnv(t *testing.T, url string) map[string]string {
	return map[string]string{
		"XDG_STATE_HOME": t.TempDir(), "CHATBATCH_SECRET_KEY": knownKey, "CHATBATCH_LIMITER": "memory",
		"CHATBATCH_ENDPOINT": url, "CHATBATCH_SDKAPPID": "1400000000", "CHATBATCH_IDENTIFIER": "administrator",
	}
}

// A diagnosis is what a check has found, by name.
type diagnosis struct {
	code   int
	found  map[string]finding
	calls  int
	stderr string
}

// check runs a check of a server that answers each call by answer.
func check(t *testing.T, answer http.HandlerFunc, args ...string) diagnosis {
	t.Helper()
	var calls atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		answer(w, r)
	}))
	defer srv.Close()
	c := checkAt(t, checkEnv(t, srv.URL), args...)
	c.calls = int(calls.Load())
	return c
}

func checkAt(t *testing.T, env map[string]string, args ...string) diagnosis {
	t.Helper()
	code, stdout, stderr := program(t, env, append([]string{"check", "--json"}, args...)...)
	return readDiagnosis(t, code, stdout, stderr)
}

func readDiagnosis(t *testing.T, code int, stdout, stderr string) diagnosis {
	t.Helper()
	var said struct {
		Exit   int       `json:"exit"`
		Checks []finding `json:"checks"`
	}
	if err := json.Unmarshal([]byte(stdout), &said); err != nil || said.Exit != code {
		t.Fatalf("exit code %d, %v; stdout %q, stderr %q", code, err, stdout, stderr)
	}
	c := diagnosis{code: code, found: map[string]finding{}, stderr: stderr}
	for _, f := range said.Checks {
		if c.found[f.Name].Name != "" && f.Name != "endpoint" {
			t.Errorf("%s was found twice", f.Name)
		}
		c.found[f.Name] = f
	}
	return c
}

// code answers with an ErrorCode.
func refuseWith(code chat.Code) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"ActionStatus":"FAIL","ErrorCode":%d,"ErrorInfo":"the server's own words"}`, code)
	}
}

// groupWith answers that the group that was asked for is refused by itself.
func groupWith(code chat.Code) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"ActionStatus":"OK","ErrorCode":0,"GroupInfo":[{"GroupId":%q,"ErrorCode":%d,"ErrorInfo":"x"}]}`, nobodysGroup, code)
	}
}

// Each code that stops a run is told in words, with what to do, and costs one call, or a
// second one with a new signature. A code that says that the server knows us is success.
func TestCheckCodes(t *testing.T) {
	t.Parallel()
	for code, rule := range chat.Rules() {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			got := check(t, refuseWith(code))
			stops := rule.Then == chat.StopRun || rule.Canary == chat.StopRun
			heals := rule.Verdict == chat.Retry || rule.Verdict == chat.Slow
			name := "credentials"
			switch {
			case stops && got.found["permission"].Name != "":
				name = "permission"
			case !stops && heals:
				name = "answer"
			}
			f, most := got.found[name], 1
			switch {
			case stops:
				if got.code != exitRefused || f.State != stateFailed || f.Do != rule.Hint || f.Code != int(code) {
					t.Errorf("exit code %d, %+v", got.code, f)
				}
				if !strings.Contains(f.Text, rule.Meaning) || !strings.Contains(f.Text, "the server's own words") || !strings.Contains(got.stderr, rule.Hint) {
					t.Errorf("%+v, stderr %q", f, got.stderr)
				}
				if rule.Verdict == chat.Resign {
					most = 2
				}
			case heals:
				if got.code != exitTryLater || f.State != stateFailed || f.Do == "" {
					t.Errorf("exit code %d, %+v", got.code, f)
				}
				most = 1 + checkRetries
			case got.code != exitOK || f.State != stateOK:
				t.Errorf("exit code %d, %+v", got.code, got.found)
			}
			if got.calls > most || got.calls == 0 {
				t.Errorf("%d calls, want at most %d", got.calls, most)
			}
		})
	}
}

func TestCheckAnswers(t *testing.T) {
	t.Parallel()
	write := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			io.WriteString(w, "<html>no</html>")
		}
	}
	for _, tt := range []struct {
		name       string
		answer     http.HandlerFunc
		args       []string
		code       int
		what       string // the finding
		state      string
		text, does string
	}{
		{name: "nobody's group is not there", answer: groupWith(10010), what: "credentials", state: stateOK, text: "app 1400000000 knows administrator, by the secret key of CHATBATCH_SECRET_KEY, and answers in "},
		{name: "it says nothing of the group", answer: write(`{"ActionStatus":"OK","ErrorCode":0}`), what: "credentials", state: stateOK},
		{name: "no permission for groups", answer: groupWith(10007), what: "permission", state: stateWarning, text: "may not ask for groups (code 10007)", does: "--check-groups=false"},
		{name: "no permission at all", answer: refuseWith(10007), what: "permission", state: stateWarning, text: "administrator may not ask for groups"},
		{name: "a group that is there", args: []string{"--group", "g"}, what: "group", state: stateOK, text: "g is of type AVChatRoom",
			answer: write(`{"ErrorCode":0,"GroupInfo":[{"GroupId":"g","Type":"AVChatRoom"}]}`)},
		{name: "one that tells its members", args: []string{"--group", "g"}, what: "group", state: stateOK, text: "g is of type Public, with 7 members",
			answer: write(`{"ErrorCode":0,"GroupInfo":[{"GroupId":"g","Type":"Public","MemberNum":7}]}`)},
		{name: "a group that is not there", args: []string{"--group", "g"}, code: exitFailed, what: "group", state: stateFailed, text: "g: the group does not exist",
			answer: write(`{"ErrorCode":0,"GroupInfo":[{"GroupId":"g","ErrorCode":10010}]}`)},
		{name: "a group that is refused as a whole", args: []string{"--group", "g"}, code: exitFailed, what: "group", state: stateFailed, text: "g: invalid group ID", answer: refuseWith(10015)},
		{name: "a group of which nothing is said", args: []string{"--group", "g"}, code: exitFailed, what: "group", state: stateFailed, text: "g: the server says nothing of it", answer: write(`{"ErrorCode":0}`)},
		{name: "a code that nobody knows", answer: refuseWith(12345), code: exitRefused, what: "answer", state: stateFailed, text: "code 12345: the server's own words", does: "read what the server says"},
		{name: "HTML", answer: write("<html>please log in</html>"), code: exitTryLater, what: "answer", state: stateFailed, text: "what answers is not the Chat API", does: "login page"},
		{name: "status 502", answer: status(502), code: exitTryLater, what: "answer", state: stateFailed, text: "HTTP status 502"},
		{name: "status 403", answer: status(403), code: exitRefused, what: "answer", state: stateFailed, text: "HTTP status 403", does: "proxy"},
		{name: "status 407", answer: status(407), code: exitRefused, what: "answer", state: stateFailed, text: "HTTP status 407", does: "HTTPS_PROXY"},
		{name: "status 404", answer: status(404), code: exitRefused, what: "answer", state: stateFailed, text: "HTTP status 404", does: "check the endpoint"},
		{name: "a redirect", code: exitRefused, what: "answer", state: stateFailed, text: "it redirects (302): to host elsewhere.invalid, not followed", does: "check the endpoint",
			answer: func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://elsewhere.invalid/", http.StatusFound)
			}},
		{name: "a connection that ends", code: exitTryLater, what: "answer", state: stateFailed, text: "the connection", does: "check the network",
			answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{name: "a server that asks to wait", code: exitTryLater, what: "answer", state: stateFailed, text: "HTTP status 503",
			answer: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "60")
				w.WriteHeader(http.StatusServiceUnavailable)
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := check(t, tt.answer, tt.args...)
			f := got.found[tt.what]
			if got.code != tt.code || f.State != tt.state || !strings.Contains(f.Text, tt.text) || !strings.Contains(f.Do, tt.does) {
				t.Errorf("exit code %d, want %d; want %q in %+v", got.code, tt.code, tt.text, got.found)
			}
		})
	}
}

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

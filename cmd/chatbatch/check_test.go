package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

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

// refuseWith answers with an ErrorCode.
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

// Where a region does not know the app, the one that was asked and the others are named.
func TestCheckRegion(t *testing.T) {
	for code, want := range map[chat.Code]bool{60006: true, 70016: true, 70020: true, 70009: false} {
		o := &options{server: server{region: "sg"}}
		c := &checkup{job: &job{options: o, w: world{stdout: io.Discard}}}
		if c.refusal(&chat.Error{Code: code}); strings.Contains(c.found[0].Do, "; asked was sg of cn sg kr") != want {
			t.Errorf("%d: got %+v", code, c.found[0])
		}
	}
}

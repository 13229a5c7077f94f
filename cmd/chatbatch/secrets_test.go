package main

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"chatbatch/io/chat/chatsim"
)

const (
	knownKey = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"
	knownSig = "eJyrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBwoYGBgYWMPnilOzEgoLMFCUrQwMDQwMDEDADiqdWFGQWpQLFTE1NjYCqwMIlmbkgMTNDC0sjU2NjE6iRxUAQlWTgFhSY6hOQVp6WZB5WmuRpVJAY4u9bWu"
)

// Nothing that a run leaves or says has the key, a signature made from it, or a
// signature that was given: not at --log-level debug, not when nobody answers,
// not when the server or a proxy says the signature back.
func TestSecrets(t *testing.T) {
	t.Parallel()
	echo := "the usersig {usersig} is not good"
	scenario := func(faults ...chatsim.Fault) http.Handler {
		sim, err := chatsim.New(chatsim.Scenario{
			QPS: -1, Faults: faults, Groups: []chatsim.Group{
				{ID: "g", Generate: chatsim.Generate{Prefix: "a", Count: 30}},
				{ID: "p", Type: "Public", Generate: chatsim.Generate{Prefix: "a", Count: 300}},
				{ID: "@TGS#_c", Type: "Community", Generate: chatsim.Generate{Prefix: "a", Count: 300}},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return sim
	}
	tests := []struct {
		name   string
		server http.Handler // nil: nobody listens
	}{
		{"all is well", scenario()},
		{"nobody answers", nil},
		{"refused, and said back", scenario(chatsim.Fault{Kind: chatsim.KindCode, Code: 70003, Info: echo, Rate: 1})},
		{"some rows refused, and said back", scenario(chatsim.Fault{Kind: chatsim.KindCode, Code: 10004, Info: echo, Rate: 0.5})},
		{"retried, and said back", scenario(chatsim.Fault{Kind: chatsim.KindCode, Code: 10002, Info: echo, Rate: 0.7})},
		{"a code that is not known", scenario(chatsim.Fault{Kind: chatsim.KindCode, Code: 99999, Info: echo, Rate: 0.7})},
		{"resets and cuts", scenario(
			chatsim.Fault{Kind: chatsim.KindReset, Rate: 0.3}, chatsim.Fault{Kind: chatsim.KindCut, Rate: 0.3}, chatsim.Fault{Kind: chatsim.KindGarbage, Rate: 0.3})},
		{"a proxy's page with the address", page(502)},
		{"a page for a client's mistake", page(403)},
		{"a page that says it is well", page(200)},
		{"a redirect", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.invalid"+r.URL.String(), http.StatusFound)
		})},
		{"an answer with the query", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"ActionStatus":"FAIL","ErrorCode":10004,"ErrorInfo":%q,"RequestId":%q}`, r.URL.RawQuery, r.URL.Query().Get("usersig"))
		})},
	}
	for i, tt := range tests {
		limiter := "memory"
		if i == 0 {
			limiter = "host" // it leaves a file, too, and begins with a rest of a second
		}
		// Both where they may differ, in turns where it is all the same.
		for k, credential := range []string{"key", "signature"} {
			if i > 2 && i%2 != k {
				continue
			}
			t.Run(tt.name+", "+credential, func(t *testing.T) {
				t.Parallel() // they wait most of the time
				leave(t, tt.server, credential, limiter)
			})
		}
	}
}

// page answers as a proxy does that prints what it was asked for.
func page(status int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<html><h1>%d</h1>%s\n%s\n%s</html>", status, r.URL, html.EscapeString(r.URL.String()), r.URL.Query().Get("usersig"))
	})
}

// leave runs the program in all ways that leave something, and looks through it.
func leave(t *testing.T, server http.Handler, credential, limiter string) {
	dir := t.TempDir()
	spy := &spy{handler: server}
	address := spy.listen(t)
	name := filepath.Join(dir, "roster.csv")
	var roster strings.Builder
	roster.WriteString("group_id,account,marks\n")
	for i := range 12 {
		fmt.Fprintf(&roster, "g,a%d,1000\n", i)
	}
	if err := os.WriteFile(name, []byte(roster.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"XDG_STATE_HOME": filepath.Join(dir, "state"), "CHATBATCH_LOG_LEVEL": "debug", "CHATBATCH_LOG_FILE": filepath.Join(dir, "log")}
	secrets := []string{knownKey}
	if credential == "key" {
		env["CHATBATCH_SECRET_KEY"] = knownKey
	} else {
		env["CHATBATCH_USERSIG"] = knownSig
		secrets = append(secrets, knownSig)
	}
	app := []string{"--endpoint", "http://" + address, "--sdkappid", "1400000000", "--identifier", "administrator", "--retries", "1", "--qps", "1000"}
	args := append([]string{"marks", "set", name, "--chunk-size", "3", "--isolate-budget", "3"}, app...)
	said := map[string]string{}
	say := func(what string, args ...string) {
		code, stdout, stderr := program(t, env, args...)
		said[what+": stdout"], said[what+": stderr"] = stdout, stderr
		t.Logf("%s: exit code %d", what, code)
	}
	say("run", append(args, "--json", "--limiter", limiter)...)
	say("run, log in JSON", append(args, "--fresh", "--log-format", "json", "--limiter", "memory")...)
	runs, err := os.ReadDir(filepath.Join(dir, "state", "chatbatch", "runs"))
	if err != nil || len(runs) < 2 {
		t.Fatalf("got runs %v, %v", runs, err)
	}
	say("report", "report", runs[0].Name())
	say("retry", "retry", runs[0].Name(), "--limiter", "memory", "--qps", "1000", "--retries", "1")
	for what, args := range otherKinds(t, dir) {
		say(what, append(append(args, app...), "--limiter", "memory")...)
	}
	say("list", "runs", "list", "--json")
	spy.search(t, dir, said, secrets)
}

// otherKinds are commands of the other kinds, and one of several jobs.
func otherKinds(t *testing.T, dir string) map[string][]string {
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{
		"counts.csv": "group_id,account,unread_msg_num\np,a1,1\np,a2,2\n@TGS#_c,a1,3\n",
		"groups.csv": "group_id\np\n@TGS#_c\ng\n",
		"jobs.yaml": "jobs:\n  - {kind: marks delete, input: roster.csv, chunk-size: 3}\n" +
			"  - {kind: unread set, input: counts.csv, check-groups: false}\n  - {kind: export members, input: groups.csv, output: several.jsonl}\n",
	} {
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return map[string][]string{
		"unread set":     {"unread", "set", in("counts.csv")},
		"export members": {"export", "members", in("groups.csv"), "-o", in("members.csv")},
		"export online":  {"export", "online", in("groups.csv"), "-o", in("online.jsonl")},
		"all groups":     {"export", "members", "--all-groups", "-o", in("all.csv")},
		"run":            {"run", in("jobs.yaml")},
	}
}

// A spy passes calls on and keeps their signatures.
type spy struct {
	handler http.Handler

	mu   sync.Mutex
	sigs []string // under mu
}

func (s *spy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if sig := r.URL.Query().Get("usersig"); !slices.Contains(s.sigs, sig) {
		s.sigs = append(s.sigs, sig)
	}
	s.mu.Unlock()
	s.handler.ServeHTTP(w, r)
}

// listen serves, or returns an address where nobody does.
func (s *spy) listen(t *testing.T) string {
	if s.handler != nil {
		srv := httptest.NewServer(s)
		t.Cleanup(srv.Close)
		return strings.TrimPrefix(srv.URL, "http://")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// search looks for any larger part of a secret in all that was left and said.
func (s *spy) search(t *testing.T, dir string, said map[string]string, secrets []string) {
	s.searchIn(t, dir, 30, said, secrets)
}

// searchIn is search in a directory where at least least files are.
func (s *spy) searchIn(t *testing.T, dir string, least int, said map[string]string, secrets []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handler != nil && len(s.sigs) == 0 {
		t.Error("no call came")
	}
	parts := partsOf(append(secrets, s.sigs...))
	for what, text := range said {
		parts.find(t, what, text)
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		parts.find(t, "the name of a file", path)
		if err != nil || d.IsDir() {
			return err
		}
		files++
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		b, err := io.ReadAll(f)
		parts.find(t, filepath.Base(path), string(b))
		return err
	})
	if err != nil || files < least {
		t.Errorf("%d files, %v", files, err)
	}
}

// partSize is how much of a secret may be found: the beginning of every
// signature is the same.
const partSize = 16

// parts are the pieces of secrets to look for.
type parts map[string]bool

// partsOf takes the secrets apart, also as they stand in an URL, in base64 and
// in hex.
func partsOf(secrets []string) parts {
	p := parts{}
	for _, secret := range secrets {
		for _, form := range []string{
			secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)), hex.EncodeToString([]byte(secret)),
		} {
			for i := partSize; i+partSize <= len(form); i++ {
				p[form[i:i+partSize]] = true
			}
		}
	}
	return p
}

// anySignature is how a signature of any key looks, also in an URL.
var anySignature = regexp.MustCompile(`eJ[\w*%-]{40,}`)

// signatureIn returns the beginning of a signature in text, or "". The texts of reports
// are packed and in base64, where by chance something may look like one.
func signatureIn(text string) string {
	for _, found := range anySignature.FindAllString(text, -1) {
		sig := strings.NewReplacer("%2A", "*", "%2a", "*", "%", "").Replace(found)
		sig = strings.NewReplacer("*", "+", "-", "/").Replace(sig)
		packed, _ := base64.StdEncoding.DecodeString(sig[:len(sig)/4*4]) // up to what is no base64
		z, err := zlib.NewReader(bytes.NewReader(packed))
		if err != nil {
			continue
		}
		if plain, _ := io.ReadAll(z); bytes.Contains(plain, []byte(`"TLS.`)) { // up to where it was cut
			return found
		}
	}
	return ""
}

func TestSignatureIn(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{knownSig, knownSig},
		{"a" + url.QueryEscape(knownSig) + "&b", url.QueryEscape(knownSig)},
		{knownSig[:120] + "…", knownSig[:120]},
		{"eJhc9kFrpwPUF8MrXAussB1HE79NA4gBWKqsKTk0ZIy3U8", ""}, // of a packed row
	} {
		if got := signatureIn(c.text); !strings.HasPrefix(c.want, got) || (got == "") != (c.want == "") {
			t.Errorf("in %q: got %q, want %q", c.text, got, c.want)
		}
	}
}

func (p parts) find(t *testing.T, where, text string) {
	t.Helper()
	if sig := signatureIn(text); sig != "" {
		t.Errorf("%s has a signature: %q", where, sig)
		return
	}
	for i := 0; i+partSize <= len(text); i++ {
		if p[text[i:i+partSize]] {
			t.Errorf("%s has a part of a secret: %q", where, text[max(0, i-60):min(len(text), i+60)])
			return
		}
	}
}

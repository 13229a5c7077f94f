package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"

	"chatbatch/io/chat"
	"chatbatch/io/chat/chatsim"
	"chatbatch/io/notify"
	"chatbatch/io/roster"
	"chatbatch/jobs"
)

// hanging is a server that never answers.
type hanging struct{}

func (hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// A hook that hangs delays the end by half a minute at most, and that of a program that
// was told to stop by what is left of its grace time.
func TestTellDoesNotHang(t *testing.T) {
	tests := []struct {
		name        string
		interrupted time.Duration // before the end of the run; negative: behind it; 0: it was not
		grace       time.Duration
		want        time.Duration
	}{
		{"nobody hurries", 0, 15 * time.Second, notifyTime},
		{"stopped a while ago", 10 * time.Second, 15 * time.Second, 5 * time.Second},
		{"stopped long ago", time.Minute, 15 * time.Second, leastNotifyTime},
		{"no grace", time.Millisecond, 0, leastNotifyTime},
		{"much grace", time.Second, time.Hour, notifyTime},
		{"stopped while it is told", -2 * time.Second, 15 * time.Second, 17 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, interrupt := context.WithCancelCause(t.Context())
				e := &ending{grace: tt.grace, hook: &notify.Hook{URL: "https://hook.invalid/token", HTTP: &http.Client{Transport: hanging{}}}}
				signal := func() {
					e.stopped.Store(time.Now().UnixNano())
					interrupt(errInterrupted)
				}
				if tt.interrupted > 0 {
					signal()
					time.Sleep(tt.interrupted)
				} else if tt.interrupted < 0 {
					time.AfterFunc(-tt.interrupted, signal)
				}
				cmd := &cobra.Command{Use: "chatbatch"}
				(&output{}).add(cmd.Flags())
				var stderr bytes.Buffer
				begun := time.Now()
				e.tell(ctx, cmd, world{stderr: &stderr, getenv: func(string) string { return "" }}, exitOK, nil)
				got := time.Since(begun)
				if exact := tt.want < notifyTime; got > tt.want || exact && got < tt.want { // the tries may be over before that
					t.Errorf("it took %v, want %v", got, tt.want)
				}
				if said := stderr.String(); !strings.Contains(said, "no answer in time") || strings.Contains(said, "token") {
					t.Errorf("it said %q", said)
				}
			})
		})
	}
}

// What goes out has no people in it; what must be known of the app is there.
func TestOutward(t *testing.T) {
	refusal := func(code chat.Code, info string) *jobs.Refusal {
		return &jobs.Refusal{Err: &chat.Error{Command: "modify_user_info", Code: code, Info: info}}
	}
	tests := []struct {
		name, want string
		err        error
	}{
		{"none", "", &codedError{exitFailed, nil}},
		{"several lines", "one; two", errors.Join(errors.New("one"), errors.New("two"))},
		{"no header", "class.csv: header: no account", fmt.Errorf("class.csv: %w", &roster.HeaderError{Reason: "no account", Columns: []string{"Zhang San", "1000"}})},
		{"a call", "no luck: modify_user_info: code 10004: …", &jobs.GuardError{Reason: "no luck", Err: refusal(10004, "Zhang San is not known")}},
		{"the app", "modify_user_info: code 70001: UserSig expired", &jobs.RunRefusedError{Refusal: refusal(70001, "UserSig expired")}},
		{"a password", "postgres://…@h/db is away", errors.New("postgres://u:secret@h/db is away")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := outward(tt.err); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Nothing that a run leaves or says has the address of the hook: not if it is told,
// not if it refuses or is away.
func TestSecretsOfHook(t *testing.T) {
	t.Parallel()
	sim, err := chatsim.New(chatsim.Scenario{Open: true, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(sim)
	defer api.Close()
	echo := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"errcode":1,"errmsg":%q}`, r.URL)
		}
	}
	for name, server := range map[string]http.Handler{"accepts": echo(200), "refuses": echo(403), "redirects": http.RedirectHandler("https://elsewhere.invalid", http.StatusMovedPermanently)} {
		t.Run(name, func(t *testing.T) { leaveHook(t, api.URL, server) })
	}
}

// leaveHook runs the program in all ways in which it knows a hook, and looks through
// what it leaves and says.
func leaveHook(t *testing.T, api string, server http.Handler) {
	srv := httptest.NewServer(server)
	defer srv.Close()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	address := srv.URL + "/" + knownPassword + "?key=" + knownPassword
	for name, text := range map[string]string{
		"roster.csv": "group_id,account,marks\ng,a1,1000\ng,a2,1\n",
		"jobs.yaml":  "notify-url: " + address + "\njobs:\n  - {kind: marks delete, input: roster.csv}\n",
		"hook":       address + "\n",
	} {
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{
		"XDG_STATE_HOME": in("state"), "CHATBATCH_LOG_LEVEL": "debug", "CHATBATCH_SECRET_KEY": knownKey, "CHATBATCH_LIMITER": "memory",
		"CHATBATCH_ENDPOINT": api, "CHATBATCH_SDKAPPID": "1400000000", "CHATBATCH_IDENTIFIER": "administrator", "CHATBATCH_MAX_BAD_ROWS": "9",
	}
	said := map[string]string{}
	say := func(want int, args ...string) {
		t.Helper()
		code, stdout, stderr := program(t, env, args...)
		if code != want {
			t.Errorf("%s: got exit code %d, want %d; it said:\n%s", args[0], code, want, stderr)
		}
		said[strings.Join(args, " ")] += stdout + stderr
	}
	marks := []string{"marks", "set", in("roster.csv"), "--fresh"}
	say(exitFailed, append(marks, "--notify-url", address, "--json")...)
	say(exitFailed, append(marks, "--notify-url-file", in("hook"), "--log-format", "json", "--notify-format", "feishu")...)
	say(exitFailed, "run", in("jobs.yaml"))
	env["CHATBATCH_NOTIFY_URL"] = address
	say(exitUsage, append(marks, "--qps", "0")...)
	say(exitFailed, append(marks, "--notify-format", "dingtalk")...)
	env["CHATBATCH_NOTIFY_URL"] = "ftp" + address
	say(exitUsage, marks...)
	env["CHATBATCH_NOTIFY_URL"] = ""
	say(exitUsage, append(marks, "--notify-url-file", address)...)
	for _, name := range []string{"jobs.yaml", "hook"} { // the secret is theirs
		if err := os.Remove(in(name)); err != nil {
			t.Fatal(err)
		}
	}
	(&spy{}).search(t, dir, said, []string{knownKey, knownPassword})
}

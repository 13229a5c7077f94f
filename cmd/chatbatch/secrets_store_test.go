package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chatbatch/io/chat/chatsim"
	"chatbatch/io/object/s3sim"
)

// knownToken goes with temporary keys. The store of the tests takes any.
const knownToken = "IQoJb3JpZ2luX2VjEMfXYz8aDmFwLXNvdXRoZWFzdCJHMEUCIQDkT3wq9vLr5Kz8NhWc2YbJd7GfPs4Ua6EoXiVtRw"

// Nothing that a run leaves or says has the keys of the object storage: not if all is
// well, not if it refuses, is away, or says the request back, and not if the keys are
// where they do not belong.
func TestSecretsOfStore(t *testing.T) {
	t.Parallel()
	sim, err := chatsim.New(chatsim.Scenario{Open: true, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(sim)
	defer api.Close()
	objects := s3sim.New("rosters", "exports")
	objects.Put("rosters", "roster.csv", []byte("group_id,account,marks\ng,a1,1000\n"))
	objects.Put("rosters", "groups.csv", []byte("group_id\ng\n"))
	at := objects.Serve(t)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	keys := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n", s3sim.KeyID, s3sim.Secret, knownToken)
	for name, text := range map[string]string{
		"jobs.yaml": "jobs:\n  - {kind: marks set, input: 's3://rosters/roster.csv'}\n  - {kind: export members, input: 's3://rosters/groups.csv', output: 's3://exports/several.csv'}\n",
		"keys":      keys, "odd": strings.ReplaceAll(keys, " =", ""), "swapped": strings.ReplaceAll(keys, "[default]", "["+s3sim.Secret+"]"),
	} {
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{
		"XDG_STATE_HOME": in("state"), "CHATBATCH_LOG_LEVEL": "debug", "CHATBATCH_SECRET_KEY": knownKey, "CHATBATCH_LIMITER": "memory",
		"CHATBATCH_ENDPOINT": api.URL, "CHATBATCH_SDKAPPID": "1400000000", "CHATBATCH_IDENTIFIER": "administrator",
		"AWS_REGION": s3sim.Region, "AWS_ENDPOINT_URL_S3": at,
		"AWS_ACCESS_KEY_ID": s3sim.KeyID, "AWS_SECRET_ACCESS_KEY": s3sim.Secret, "AWS_SESSION_TOKEN": knownToken,
	}
	said := map[string]string{}
	say := func(want int, args ...string) {
		t.Helper()
		code, stdout, stderr := program(t, env, args...)
		if code != want {
			t.Errorf("%s: got exit code %d, want %d; it said:\n%s", args, code, want, stderr)
		}
		said[strings.Join(args, " ")] += stdout + stderr
	}
	export := []string{"export", "members", "s3://rosters/groups.csv", "--fresh", "-o"}
	say(exitOK, "marks", "set", "s3://rosters/roster.csv", "--json")
	say(exitOK, append(export, "s3://exports/members.csv")...)
	say(exitOK, append(export, "s3://exports/members.csv", "--log-format", "json", "--s3-credentials-file", in("keys"))...)
	say(exitOK, "run", in("jobs.yaml"))
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request) bool{"says it back": sayBack, "refuses": refusing403} {
		t.Log(name)
		objects.Fail(fault)
		say(exitInput, "marks", "set", "s3://rosters/roster.csv")
		say(exitUsage, append(export, "s3://exports/members.csv")...)
		objects.Fail(func(w http.ResponseWriter, r *http.Request) bool { return r.Method == http.MethodPut && fault(w, r) })
		say(exitStopped, append(export, "s3://exports/members.csv")...)
		objects.Fail(nil)
		say(exitOK, "resume")
	}
	for _, args := range [][]string{
		{"--s3-credentials-file", in("odd")}, {"--s3-credentials-file", in("swapped")},
		{"--s3-endpoint", strings.Replace(at, "http://", "http://"+s3sim.KeyID+":"+s3sim.Secret+"@", 1)},
	} {
		say(exitUsage, append([]string{"marks", "set", "s3://rosters/roster.csv"}, args...)...)
	}
	say(exitOK, "runs", "list", "--json")
	for _, name := range []string{"keys", "odd", "swapped"} { // the secret is theirs
		if err := os.Remove(in(name)); err != nil {
			t.Fatal(err)
		}
	}
	spy := &spy{}
	spy.search(t, dir, said, []string{knownKey, s3sim.Secret, knownToken})
}

// sayBack refuses a request with all that is in it, as a proxy may do.
func sayBack(w http.ResponseWriter, r *http.Request) bool {
	w.WriteHeader(http.StatusBadRequest)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>", r.Header.Get("X-Amz-Security-Token"))
	_ = r.Header.Write(w)
	fmt.Fprint(w, "</Message></Error>")
	return true
}

func refusing403(w http.ResponseWriter, r *http.Request) bool {
	w.WriteHeader(http.StatusForbidden)
	_ = r.Header.Write(w) // and no XML
	return true
}

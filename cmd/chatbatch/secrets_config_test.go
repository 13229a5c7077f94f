package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chatbatch/io/chat/chatsim"
)

// Nothing that is said or left has the key whose file a configuration names, the
// signatures made of it, or the password in an address of the configuration: not of what
// shows the configuration, and not of a check that a server, or a page in its place, says
// the signature back to.
func TestSecretsOfConfig(t *testing.T) {
	t.Parallel()
	sim, err := chatsim.New(chatsim.Scenario{Open: true, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	echo := "the usersig {usersig} is not good"
	refusing, err := chatsim.New(chatsim.Scenario{Open: true, QPS: -1, Faults: []chatsim.Fault{{Kind: chatsim.KindCode, Code: 70003, Info: echo, Rate: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, server := range map[string]http.Handler{
		"all is well": sim, "refused, and said back": refusing, "a page with the address": page(502), "a page that says it is well": page(200), "nobody answers": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			leaveByConfig(t, server)
		})
	}
}

// leaveByConfig runs what uses a configuration, and looks through all it says and leaves.
func leaveByConfig(t *testing.T, server http.Handler) {
	private, dir := t.TempDir(), t.TempDir()
	spy := &spy{handler: server}
	write(t, filepath.Join(private, "key"), knownKey+"\n")
	config := write(t, filepath.Join(private, "c.yaml"), fmt.Sprintf(`sdkappid: 1400000000
identifier: administrator
secret-key-file: key
endpoint: http://%s
runs-dir: %s
retries: 1
profiles:
  alone: {limiter: memory}
  fleet: {limiter: "postgres://chat:%s@127.0.0.1:1/db?password=%s"}
`, spy.listen(t), filepath.Join(dir, "runs"), knownPassword, knownPassword))
	roster := write(t, filepath.Join(dir, "roster.csv"), "group_id,account,marks\ng,a,1000\n")
	jobs := write(t, filepath.Join(dir, "jobs.yaml"), "jobs: [{kind: marks delete, input: roster.csv}]\n")
	broken := write(t, filepath.Join(private, "broken.yaml"), "usersig: "+knownSig+"\n")
	mistyped := write(t, filepath.Join(private, "mistyped.yaml"), "limiter: postgre://chat:"+knownPassword+"@h/db\nqps: 'postgres://chat:"+knownPassword+"@h/db'\n")
	env := map[string]string{"XDG_STATE_HOME": filepath.Join(dir, "state"), "CHATBATCH_LOG_LEVEL": "debug"}
	said := map[string]string{}
	for _, profile := range []string{"alone", "fleet"} {
		for _, args := range [][]string{
			{"config", "show"}, {"config", "show", "--origin"}, {"config", "show", "--json"}, {"config", "show", "--origin", "marks", "set"},
			{"config", "show", "--json", "run", jobs}, {"check"}, {"check", "--json"}, {"check", "--quiet"},
			{"marks", "set", roster, "--fresh"}, {"run", jobs}, {"resume"}, {"runs", "list"}, {"limiter", "status"},
		} {
			withFile := map[string]string{"CHATBATCH_CONFIG": config, "CHATBATCH_PROFILE": profile}
			for k, v := range env {
				withFile[k] = v
			}
			what := profile + ": " + strings.Join(args, " ")
			_, said[what+": stdout"], said[what+": stderr"] = program(t, withFile, args...)
		}
	}
	for _, file := range []string{broken, mistyped} {
		for _, args := range [][]string{{"config", "show", "--config", file}, {"check", "--config", file}, {"runs", "list", "--config", file}} {
			_, said[strings.Join(args, " ")+": stdout"], said[strings.Join(args, " ")+": stderr"] = program(t, env, args...)
		}
	}
	spy.searchIn(t, dir, 5, said, []string{knownKey, knownSig, knownPassword})
	if shown := said["fleet: config show --origin: stdout"]; !strings.Contains(shown, "limiter: postgres://chat:…@127.0.0.1:1/db?…") || !strings.Contains(shown, "secret key: set, from ") {
		t.Errorf("got %q", shown)
	}
	if _, err := os.Stat(filepath.Join(dir, "runs")); err != nil {
		t.Errorf("the configuration was not used: %v", err)
	}
}

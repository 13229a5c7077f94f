package main

import (
	"bytes"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chatbatch/io/chat/chatsim"
	"chatbatch/limiter/pgtest"
)

// knownPassword is that of the database. The server of the tests takes any.
const knownPassword = "Qm3xT9vLr5Kz8NhWc2YbJd7GfPs4Ua6EoXiVtRwZyHnMkBqCgDjFlSpA1e0"

// Nothing that a run leaves or says has the password of the database: not if all is
// well, not if it is lost or refuses, not if the address is mistyped.
func TestSecretsOfDatabase(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	proxy := pgtest.NewProxy(t, server.Addr())
	address := strings.Replace(proxy.URL(server.URL()), "postgres@", "postgres:"+knownPassword+"@", 1)
	sim, err := chatsim.New(chatsim.Scenario{Open: true, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(sim)
	defer api.Close()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{
		"roster.csv": "group_id,account,marks\ng,a1,1000\ng,a2,1\n",
		"jobs.yaml":  "limiter: " + address + "\njobs:\n  - {kind: marks delete, input: roster.csv, max-bad-rows: 9}\n",
		"kept.yaml":  "ledger: " + address + "\njobs:\n  - {kind: marks delete, input: roster.csv, max-bad-rows: 9}\n",
		"limiter":    address + "\n",
	} {
		if err := os.WriteFile(in(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{
		"XDG_STATE_HOME": in("state"), "CHATBATCH_LOG_LEVEL": "debug", "CHATBATCH_SECRET_KEY": knownKey,
		"CHATBATCH_ENDPOINT": api.URL, "CHATBATCH_SDKAPPID": "1400000000", "CHATBATCH_IDENTIFIER": "administrator", "CHATBATCH_MAX_BAD_ROWS": "9",
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
	say(exitOK, "migrate", "--limiter", address)
	say(exitFailed, append(marks, "--limiter", address)...)
	say(exitFailed, append(marks, "--limiter-file", in("limiter"), "--log-format", "json", "--json")...)
	say(exitFailed, "run", in("jobs.yaml"))
	env["CHATBATCH_LIMITER"] = address
	say(exitFailed, append(marks, "--qps-scope", "api")...)
	say(exitOK, "migrate")
	say(exitOK, "limiter", "status")
	say(exitOK, "limiter", "status", "--json")
	runs, err := os.ReadDir(in("state/chatbatch/runs"))
	if err != nil || len(runs) == 0 {
		t.Fatal(runs, err)
	}
	say(exitOK, "migrate", "--ledger", address)
	say(exitFailed, append(marks, "--ledger", address)...)
	say(exitFailed, append(marks, "--ledger-file", in("limiter"), "--log-format", "json", "--json")...)
	say(exitFailed, "run", in("kept.yaml"))
	say(exitOK, "runs", "list", "--ledger", address)
	say(exitFailed, "retry", runs[0].Name())
	say(exitOK, "report", runs[0].Name())
	say(exitOK, "runs", "list", "--json")
	proxy.Cut()
	for _, args := range [][]string{
		marks, {"migrate"}, {"limiter", "status"}, {"run", in("jobs.yaml")}, {"run", in("kept.yaml")},
		{"runs", "list", "--ledger", address}, {"resume", "--ledger-file", in("limiter")}, {"migrate", "--ledger", address},
	} {
		say(exitTryLater, args...)
	}
	env["CHATBATCH_LIMITER"] = ""
	for _, wrong := range []string{
		strings.Replace(address, "postgres://", "postgre://", 1),
		strings.Replace(address, "postgres://", "host=here password="+knownPassword+" ", 1),
		strings.Replace(address, "@", "@@", 1), strings.Replace(address, "@", "/x@", 1), strings.Replace(address, "@", "%zz@", 1),
		strings.Replace(address, "@127", "127", 1), address + "&sslmode=" + knownPassword,
		strings.Replace(address, proxy.Addr(), refusing(t), 1),
	} {
		say(exitUsage, append(marks, "--limiter", wrong)...)
		say(exitUsage, "migrate", "--limiter", wrong)
		say(exitUsage, append(marks, "--ledger", wrong)...)
		say(exitUsage, "migrate", "--ledger", wrong)
		say(exitUsage, "report", "r1", "--ledger", wrong)
		say(exitUsage, "limiter", "status", "--limiter", wrong)
		say(exitUsage, "migrate", wrong)
	}
	for _, name := range []string{"jobs.yaml", "kept.yaml", "limiter"} { // the secret is theirs
		if err := os.Remove(in(name)); err != nil {
			t.Fatal(err)
		}
	}
	spy := &spy{}
	spy.search(t, dir, said, []string{knownKey, knownPassword})
}

// refusing serves as a database that lets nobody in, and says the password back, and
// returns its address.
func refusing(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go refuseLogin(conn)
		}
	}()
	return l.Addr().String()
}

func refuseLogin(conn net.Conn) {
	defer conn.Close()
	_, _ = conn.Read(make([]byte, 4096))                             // who wants to log in
	_, _ = io.WriteString(conn, "R\x00\x00\x00\x08\x00\x00\x00\x03") // in plain text
	_, _ = conn.Read(make([]byte, 4096))
	var b bytes.Buffer
	for _, field := range []string{"SFATAL", "VFATAL", "C28P01", "Mpassword " + knownPassword + " is wrong", ""} {
		b.WriteString(field + "\x00")
	}
	_, _ = conn.Write(append([]byte{'E', 0, 0, 0, byte(4 + b.Len())}, b.Bytes()...))
}

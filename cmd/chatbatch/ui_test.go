package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// freeAddr is an address on which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// pageSays waits until the page at addr says all of that, tags left out.
func pageSays(t *testing.T, p *process, addr string, all ...string) string {
	t.Helper()
	text := ""
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		text = look(t.Context(), addr)
		if !slices.ContainsFunc(all, func(s string) bool { return !strings.Contains(text, s) }) {
			return text
		}
	}
	_ = p.Process.Kill()
	<-p.ended
	t.Fatalf("the page does not come to say %q:\n%s\nits host said:\n%s", all, text, p.stderr.String())
	return ""
}

var tags = regexp.MustCompile(`<[^>]*>`)

// look is what the page says.
func look(ctx context.Context, addr string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		return err.Error()
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(tags.ReplaceAllString(string(text), " ")), " ")
}

// A host shows the fleet: the run that two hosts work on, who they are, their lanes, what
// fails. A database that dies is said, and that it is back is seen. Nothing says a
// password.
func TestPageOfFleet(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 120, "60")
	const password = "hush-Hush-7"
	addr, database := freeAddr(t), strings.Replace(f.server.URL(), "postgres@", "postgres:"+password+"@", 1)
	env := []string{"CHATBATCH_LEDGER=" + database, "CHATBATCH_SECRET_KEY=any"}
	host := start(t, t.TempDir(), env, nil, "work", "--endpoint", f.url, "--sdkappid", "1400000000",
		"--identifier", "administrator", "--qps", f.qps, "--ui", addr)
	pageSays(t, host, addr, "No run is being worked on", "None works on a run", "which works for app 1400000000")
	other := f.host(f.server.URL())
	p := f.submit("--wait")
	text := pageSays(t, host, addr, "marks set running", "roster.csv · app 1400000000 · 2 hosts", fmt.Sprintf("(%d)", host.Process.Pid),
		fmt.Sprintf("(%d)", other.Process.Pid), "budget 1400000000 60 lanes", "offline_or_absent", "bad_row", "calls a second")
	if strings.Contains(text, password) {
		t.Errorf("it says the password:\n%s", text)
	}

	f.server.Stop(t)
	if text = pageSays(t, host, addr, "The database cannot be read since", "as it was at", "roster.csv"); strings.Contains(text, password) {
		t.Errorf("it says the password:\n%s", text)
	}
	f.server.Restart(t)
	stdout, code := f.finished(p)
	f.check(stdout, code)
	text = pageSays(t, host, addr, "No run is being worked on", "marks set roster.csv finished")
	if strings.Contains(text, "cannot be read") {
		t.Errorf("after the end it says:\n%s", text)
	}
	if err := host.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, code := host.end(t); code != exitOK || strings.Contains(host.stderr.String(), password) {
		t.Errorf("exit code %d; it said:\n%s", code, host.stderr.String())
	}
}

// The page is for this host alone unless an address says otherwise, and a name that it is
// asked for by must be one that it was told.
func TestPageNames(t *testing.T) {
	for addr, want := range map[string]string{
		":8440": "", "127.0.0.1:8440": "127.0.0.1", "school-1:8440": "school-1", "0.0.0.0:8440": hostName(), "[::]:8440": hostName(),
	} {
		if got := strings.Join(pageNames(addr), " "); got != want {
			t.Errorf("%s: got %q, want %q", addr, got, want)
		}
	}
}

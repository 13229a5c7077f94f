//go:build linux

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// childEnv makes the test binary a process that starts a server, says where it
// is, and sleeps.
const childEnv = "PGTEST_CHILD"

// ask runs a statement on a connection of its own.
func ask(t *testing.T, url, sql string, within time.Duration) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil || len(results) == 0 || len(results[0].Rows) == 0 {
		return "", err
	}
	return string(results[0].Rows[0][0]), nil
}

const (
	long  = 30 * time.Second
	short = 300 * time.Millisecond
)

func TestServer(t *testing.T) {
	began := time.Now()
	s := Start(t)
	t.Logf("started in %v", time.Since(began))
	if _, err := ask(t, s.URL(), "CREATE TABLE kept (n int)", long); err != nil {
		t.Fatal(err)
	}

	s.Stop(t)
	if _, err := ask(t, s.URL(), "SELECT 1", long); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("stopped: %v, want connection refused", err)
	}
	s.Restart(t)
	if _, err := ask(t, s.URL(), "SELECT * FROM kept", long); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if !strings.Contains(s.Log(t), "not properly shut down") {
		t.Errorf("no crash in the log:\n%s", s.Log(t))
	}

	s.Freeze(t)
	if _, err := ask(t, s.URL(), "SELECT 1", short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("frozen: %v, want no answer", err)
	}
	s.Thaw(t)
	if _, err := ask(t, s.URL(), "SELECT 1", long); err != nil {
		t.Errorf("thawed: %v", err)
	}
}

// A server that is killed has what it has accepted when it is back.
func TestKill(t *testing.T) {
	s := Start(t)
	if _, err := ask(t, s.URL(), "CREATE TABLE kept (n int)", long); err != nil {
		t.Fatal(err)
	}
	s.Kill(t)
	if _, err := ask(t, s.URL(), "SELECT 1", long); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("killed: %v, want connection refused", err)
	}
	s.Restart(t) // with a process left it would not
	if _, err := ask(t, s.URL(), "SELECT * FROM kept", long); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

// A server is also where it was asked to be, and nowhere else.
func TestOtherAddress(t *testing.T) {
	s := Start(t, netip.MustParseAddr("127.0.0.2"))
	if _, err := ask(t, s.URLAt("127.0.0.2"), "SELECT 1", long); err != nil {
		t.Error(err)
	}
	if _, err := ask(t, s.URLAt("127.0.0.3"), "SELECT 1", long); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("at another address: %v, want connection refused", err)
	}
}

func TestFreezeStopsOpenConnections(t *testing.T) {
	s := Start(t)
	conn, err := pgconn.Connect(t.Context(), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	s.Freeze(t)
	done := make(chan error, 1)
	go func() { _, err := conn.Exec(t.Context(), "SELECT 1").ReadAll(); done <- err }()
	select {
	case err := <-done:
		t.Errorf("frozen: an answer (%v)", err)
	case <-time.After(short):
	}
	s.Thaw(t)
	if err := <-done; err != nil {
		t.Errorf("thawed: %v", err)
	}
	s.Freeze(t) // and it ends nevertheless
}

func TestProxy(t *testing.T) {
	s := Start(t)
	p := NewProxy(t, s.Addr())
	url := p.URL(s.URL())
	if !strings.Contains(url, p.Addr()) || p.Addr() == s.Addr() {
		t.Fatalf("the proxy's URL is %s", url)
	}
	conn, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE TABLE late (n int)").ReadAll(); err != nil {
		t.Fatal(err)
	}

	p.Hang()
	ctx, cancel := context.WithTimeout(t.Context(), short)
	defer cancel()
	if _, err := conn.Exec(ctx, "INSERT INTO late VALUES (1)").ReadAll(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hung: %v, want no answer", err)
	}
	if _, err := ask(t, url, "SELECT 1", short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hung, a new connection: %v, want no answer", err)
	}
	p.Heal()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		n, err := ask(t, url, "SELECT count(*) FROM late", long)
		if err != nil {
			t.Fatalf("healed: %v", err)
		}
		if n == "1" {
			break
		}
		if time.Since(began) > long {
			t.Fatal("what was sent while it hung has not arrived")
		}
	}

	conn, err = pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	p.Cut()
	if _, err := conn.Exec(t.Context(), "SELECT 1").ReadAll(); err == nil {
		t.Error("cut: an answer")
	}
	if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("cut: %v, want connection refused", err)
	}
	p.Heal()
	if _, err := ask(t, url, "SELECT 1", long); err != nil {
		t.Errorf("healed: %v", err)
	}
}

// A test binary that is killed leaves no server and no files behind, even if
// the server was frozen.
func TestKilledTestLeavesNothing(t *testing.T) {
	Start(t) // skips where there is none, and fills the cache
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	var pid int
	var home string
	for pid == 0 {
		var word string
		if _, err := fmt.Fscan(out, &word); err != nil {
			t.Fatal(err)
		}
		if of, ok := strings.CutPrefix(word, "server="); ok {
			number, dir, _ := strings.Cut(of, ",")
			pid, _ = strconv.Atoi(number)
			home = dir
		}
	}
	family := append(children(pid), pid)
	if len(family) < 4 {
		t.Fatalf("the server has the processes %v", family)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		_, err := os.Stat(home)
		alive := 0
		for _, p := range family {
			if syscall.Kill(p, 0) == nil {
				alive++
			}
		}
		if alive == 0 && errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Since(began) > long {
			t.Fatalf("%d of the server's processes live, its directory: %v", alive, err)
		}
	}
}

func TestChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		t.Skip("it is for TestKilledTestLeavesNothing")
	}
	s := Start(t)
	s.Freeze(t)
	fmt.Printf("server=%d,%s\n", s.pid, s.home)
	time.Sleep(time.Hour)
}

func TestMissing(t *testing.T) {
	for _, required := range []string{"", "1"} {
		t.Setenv(requireEnv, required)
		said := &recorder{}
		missing(said, "for a test")
		if said.failed != (required != "") || !strings.Contains(said.text, "for a test") {
			t.Errorf("%s=%q: failed %v, %q", requireEnv, required, said.failed, said.text)
		}
	}
}

// recorder is a test that goes on.
type recorder struct {
	testing.TB
	failed bool
	text   string
}

func (r *recorder) Helper()                      {}
func (r *recorder) Fatalf(f string, args ...any) { r.failed, r.text = true, fmt.Sprintf(f, args...) }
func (r *recorder) Skipf(f string, args ...any)  { r.text = fmt.Sprintf(f, args...) }

func TestCacheIsNotNeeded(t *testing.T) {
	p, err := find()
	if err != nil {
		t.Skip(err)
	}
	t.Setenv("XDG_CACHE_HOME", filepath.Join(t.TempDir(), "cache"))
	for _, from := range []string{"initdb", "the cache"} {
		began := time.Now()
		dir, err := p.tempDir()
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		if err := p.makeCluster(filepath.Join(dir, "data")); err != nil {
			t.Errorf("from %s: %v", from, err)
		}
		t.Logf("from %s in %v", from, time.Since(began))
	}
}

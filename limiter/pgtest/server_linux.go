package pgtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds the start and the end of a server. Either takes 0.1 s on an
// idle machine.
const patience = 60 * time.Second

// A Server is a PostgreSQL of its own. Its methods may be called from any
// goroutine, one at a time.
type Server struct {
	programs *programs
	home     string // has the cluster and the log
	addr     string
	also     []netip.Addr // listened at, too

	leash  *os.File      // its end ends the server; nil if it is stopped
	pid    int           // of the postmaster
	ended  chan struct{} // closed when the server is gone
	frozen bool
}

// keeper runs a program, says its process id, and ends it when the pipe 3 ends:
// when the test wants that, or is no more, however it died. A signal at the
// death of the parent would not do: on Linux it comes when the thread ends that
// started the child. If the pipe ends without a line the test is no more, and
// nobody else cleans up.
const keeper = `
home=$1; shift
"$@" </dev/null >&2 3<&- &
pid=$!
{
	told=; read -r told
	for f in $(grep -l "^PPid:[[:space:]]*$pid\$" /proc/[0-9]*/status); do
		f=${f#/proc/}; kill -CONT ${f%/status}
	done
	kill -CONT $pid; kill -QUIT $pid
	test -n "$told" && exit
	i=0
	while kill -0 $pid && test $i -lt 100; do i=$((i+1)); sleep 0.1; done
	kill -KILL $pid
	rm -rf "$home"
} <&3 >/dev/null 2>&1 &
echo $pid
exec 3<&- >&2
wait $pid`

// Start starts a server and stops it when the test ends. Without PostgreSQL it
// skips the test, or fails it if CHATBATCH_TEST_REQUIRE_POSTGRES is set.
//
// It listens at 127.0.0.1, and also at the addresses of this host in also: there it
// lets in whoever is in the /24 of the address. They must stay until it has ended.
func Start(tb testing.TB, also ...netip.Addr) *Server {
	tb.Helper()
	p, err := find()
	if err != nil {
		missing(tb, err.Error())
	}
	s := &Server{programs: p, also: also}
	if s.home, err = p.tempDir(); err != nil {
		tb.Fatalf("make a directory for PostgreSQL: %v", err)
	}
	tb.Cleanup(func() {
		s.Stop(tb)
		_ = os.RemoveAll(s.home)
	})
	if err := p.makeCluster(s.cluster()); err != nil {
		tb.Fatalf("make a PostgreSQL cluster: %v", err)
	}
	if err := s.letIn(); err != nil {
		tb.Fatalf("let others into PostgreSQL: %v", err)
	}
	addr, release, err := reserve()
	if err != nil {
		tb.Fatalf("reserve a port for PostgreSQL: %v", err)
	}
	tb.Cleanup(release)
	s.addr = addr
	s.Restart(tb)
	return s
}

// letIn lets those in who may connect from elsewhere.
func (s *Server) letIn() error {
	f, err := os.OpenFile(filepath.Join(s.cluster(), "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for _, a := range s.also {
		if _, err2 := fmt.Fprintf(f, "host all all %v trust\n", netip.PrefixFrom(a, 24).Masked()); err == nil {
			err = err2
		}
	}
	return errors.Join(err, f.Close())
}

func (s *Server) cluster() string { return filepath.Join(s.home, "data") }
func (s *Server) logFile() string { return filepath.Join(s.home, "log") }

// Addr is the server's host and port. It stays the same, and is nobody else's
// while the server is stopped.
func (s *Server) Addr() string { return s.addr }

// Log is what the server has logged so far.
func (s *Server) Log(tb testing.TB) string {
	tb.Helper()
	text, err := os.ReadFile(s.logFile())
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// Restart starts the server after Stop and waits until it takes connections.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	if s.leash != nil {
		return
	}
	if err := s.launch(); err != nil {
		tb.Fatalf("start PostgreSQL: %v", err)
	}
	began := time.Now()
	for !s.ready() {
		select {
		case <-s.ended:
			tb.Fatalf("PostgreSQL does not start:\n%s", s.Log(tb))
		case <-time.After(5 * time.Millisecond):
		}
		if time.Since(began) > patience {
			tb.Fatalf("PostgreSQL is not ready after %v:\n%s", patience, s.Log(tb))
		}
	}
}

func (s *Server) launch() error {
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	pipe, leash, err := os.Pipe()
	if err != nil {
		return err
	}
	defer pipe.Close()
	_, port, _ := strings.Cut(s.addr, ":")
	listen := "127.0.0.1"
	for _, a := range s.also {
		listen += "," + a.String()
	}
	cmd := s.programs.command("/bin/sh", "-c", keeper, "keeper", s.home,
		filepath.Join(s.programs.dir, "postgres"), "-D", s.cluster(), "-p", port,
		"-c", "listen_addresses="+listen, "-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "shared_buffers=16MB")
	cmd.Stderr, cmd.ExtraFiles = log, []*os.File{pipe}
	if s.pid, err = startSaying(cmd); err != nil {
		_ = leash.Close()
		return err
	}
	s.leash, s.ended = leash, make(chan struct{})
	go func(ended chan struct{}) { // ends with the keeper
		_ = cmd.Wait()
		close(ended)
	}(s.ended)
	return nil
}

// startSaying starts a command and reads the number that it says.
func startSaying(cmd *exec.Cmd) (n int, err error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		n, err = strconv.Atoi(strings.TrimSpace(line))
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return 0, fmt.Errorf("read the process id: %w", err)
	}
	return n, nil
}

// ready asks the file in which the postmaster says so.
func (s *Server) ready() bool {
	text, _ := os.ReadFile(filepath.Join(s.cluster(), "postmaster.pid"))
	lines := bytes.Split(text, []byte("\n"))
	return len(lines) > 7 && string(lines[0]) == strconv.Itoa(s.pid) &&
		strings.TrimSpace(string(lines[7])) == "ready"
}

// Stop stops the server at once, as a crash would: what it has accepted is there
// after Restart, and its connections are gone.
func (s *Server) Stop(tb testing.TB) {
	tb.Helper()
	if s.leash == nil {
		return
	}
	_, err := s.leash.WriteString("stop\n")
	if err != nil {
		tb.Errorf("stop PostgreSQL: %v", err)
	}
	_ = s.leash.Close()
	s.leash, s.frozen = nil, false
	select {
	case <-s.ended:
	case <-time.After(patience):
		tb.Errorf("PostgreSQL does not stop in %v:\n%s", patience, s.Log(tb))
	}
}

// Kill ends all processes of the server with SIGKILL, those first that would see to the
// others. What it has accepted is there after Restart.
func (s *Server) Kill(tb testing.TB) {
	tb.Helper()
	s.signal(tb, unix.SIGSTOP) // nobody has children meanwhile
	of := children(s.pid)
	s.signal(tb, unix.SIGKILL)
	s.Stop(tb)
	// It takes a moment on a busy machine, and with one that is left none starts.
	for _, pid := range of {
		for since := time.Now(); alive(pid) && time.Since(since) < patience; {
			time.Sleep(time.Millisecond)
		}
	}
}

// alive says whether a process has memory: one that nobody has waited for has not.
func alive(pid int) bool {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	return len(fields) > 0 && string(fields[0]) != "Z" && string(fields[0]) != "X"
}

// Freeze stops all processes of the server where they are: connections stay, new
// ones are taken by the kernel, and nobody answers.
func (s *Server) Freeze(tb testing.TB) {
	tb.Helper()
	s.signal(tb, unix.SIGSTOP)
	s.frozen = true
}

// Thaw lets them go on.
func (s *Server) Thaw(tb testing.TB) {
	tb.Helper()
	s.signal(tb, unix.SIGCONT)
	s.frozen = false
}

// signal goes to the postmaster first, so that it makes no more children.
func (s *Server) signal(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	if s.leash == nil {
		tb.Fatalf("the server is stopped")
	}
	of := children(s.pid)
	if err := unix.Kill(s.pid, sig); err != nil {
		tb.Fatalf("signal the postmaster: %v", err)
	}
	for _, pid := range append(of, children(s.pid)...) {
		_ = unix.Kill(pid, sig) // it may have ended
	}
}

// children are the processes whose parent is pid.
func children(pid int) (found []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range files {
		stat, _ := os.ReadFile(name)
		// "PID (any name) STATE PARENT …"
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 1 && string(fields[1]) == strconv.Itoa(pid) {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			found = append(found, child)
		}
	}
	return found
}

// reserve finds a free port of 127.0.0.1 that is nobody's until release, but for
// who binds it by its number with SO_REUSEADDR, as PostgreSQL and net.Listen do:
// it is bound, and nobody listens.
func reserve() (addr string, release func(), err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	release = func() { _ = unix.Close(fd) }
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	bound, err2 := unix.Getsockname(fd)
	in4, ok := bound.(*unix.SockaddrInet4)
	if err != nil || err2 != nil || !ok {
		release()
		return "", nil, fmt.Errorf("bind a port: %w, %w", err, err2)
	}
	return "127.0.0.1:" + strconv.Itoa(in4.Port), release, nil
}

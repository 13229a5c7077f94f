//go:build linux

package chaos

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A network is a router with servers behind it, which are in the test's own process, and
// hosts, each in a network namespace of its own. The router can lose all packets between a
// host and a server, without a word to either: what a cable does that is pulled out
// somewhere, and no proxy can do.
//
//	test ── root ══ wan ─ router ── h1 ══ eth0 ── host 1
//	                          └───── h2 ══ eth0 ── host 2
//
// It needs root and the program ip. Its namespaces have no names: they end with the threads
// and processes in them, and the interfaces with those. Nothing is left of a test, also if
// it is killed.
type network struct {
	t      testing.TB
	prefix string // its addresses without the last number
	router *namespace
	hosts  int
}

// Last numbers of addresses in a network.
const (
	databaseHost, apiHost = 1, 2
	routerHost            = 254
	firstHost             = 10
)

// tries is how often addresses were looked for.
var tries atomic.Int32

// newNetwork makes a network, or says why that cannot be done here.
func newNetwork(t testing.TB) (*network, error) {
	if os.Getenv("CHATBATCH_TEST_PLAIN_HOSTS") != "" {
		return nil, errors.New("CHATBATCH_TEST_PLAIN_HOSTS is set")
	}
	n := &network{t: t}
	var err error
	if n.router, err = newNamespace(t); err != nil {
		return nil, err
	}
	// The name of the interface makes sure that nobody else has these addresses: of a range
	// that is for measurements of networks, and nowhere in use.
	root := ""
	for range 64 {
		k := (os.Getpid()*7 + int(tries.Add(1))) % 512
		n.prefix, root = fmt.Sprintf("198.%d.%d.", 18+k/256, k%256), fmt.Sprintf("cb%d", k)
		if err = ip("link", "add", root, "type", "veth", "peer", "name", "wan", "netns", n.router.path); err == nil || !strings.Contains(err.Error(), "File exists") {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return n, errors.Join(
		ip("addr", "add", n.addr(databaseHost).String()+"/32", "dev", root),
		ip("addr", "add", n.addr(apiHost).String()+"/32", "dev", root),
		ip("link", "set", root, "up"),
		ip("route", "add", n.prefix+"0/24", "via", n.addr(routerHost).String(), "dev", root, "onlink"),
		n.router.do(func() error {
			return errors.Join(n.port("wan", databaseHost, apiHost), os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0))
		}),
		n.probe())
}

// probe looks whether servers can be reached: a firewall may be in the way.
func (n *network) probe() error {
	l, err := net.Listen("tcp", netip.AddrPortFrom(n.addr(apiHost), 0).String())
	if err != nil {
		return err
	}
	defer l.Close()
	return n.router.do(func() error {
		c, err := net.DialTimeout("tcp", l.Addr().String(), 2*time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// addr is the address with this last number.
func (n *network) addr(last int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprint(n.prefix, last))
}

// port lets the router, in which it is called, reach addresses by an interface.
func (n *network) port(dev string, last ...int) error {
	err := errors.Join(ip("addr", "add", n.addr(routerHost).String()+"/32", "dev", dev), ip("link", "set", dev, "up"))
	for _, l := range last {
		err = errors.Join(err, ip("route", "add", n.addr(l).String(), "dev", dev))
	}
	return err
}

// A netHost is a host of a network.
type netHost struct {
	*namespace
	of   *network
	last int
}

// host adds a host.
func (n *network) host() (*netHost, error) {
	h := &netHost{of: n, last: firstHost + n.hosts}
	n.hosts++
	var err error
	if h.namespace, err = newNamespace(n.t); err != nil {
		return nil, err
	}
	port := fmt.Sprintf("h%d", n.hosts)
	err = n.router.do(func() error {
		return errors.Join(ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", h.path), n.port(port, h.last))
	})
	return h, errors.Join(err, h.do(func() error {
		return errors.Join(
			ip("link", "set", "lo", "up"), ip("link", "set", "eth0", "up"),
			ip("addr", "add", n.addr(h.last).String()+"/32", "dev", "eth0"),
			ip("route", "add", "default", "via", n.addr(routerHost).String(), "dev", "eth0", "onlink"))
	}))
}

// cut loses all packets between the host and a server, in both directions, until heal.
func (h *netHost) cut(server int) { h.rules("add", server) }

// heal ends cut.
func (h *netHost) heal(server int) { h.rules("del", server) }

func (h *netHost) rules(verb string, server int) {
	h.of.t.Helper()
	one, other := h.of.addr(h.last).String(), h.of.addr(server).String()
	err := h.of.router.do(func() error {
		return errors.Join(ip("rule", verb, "from", one, "to", other, "blackhole"), ip("rule", verb, "from", other, "to", one, "blackhole"))
	})
	if err != nil {
		h.of.t.Error(err)
	}
}

// A namespace is a network of its own for who is started in it.
type namespace struct {
	path string // of the file that stands for it
	work chan func()
}

// newNamespace makes a namespace. It ends with the test, when nobody is in it any more.
func newNamespace(t testing.TB) (*namespace, error) {
	n := &namespace{work: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		n.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		err := unix.Unshare(unix.CLONE_NEWNET)
		if made <- err; err != nil {
			return
		}
		for do := range n.work {
			do()
		}
	}()
	if err := <-made; err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	t.Cleanup(func() { close(n.work) })
	return n, nil
}

// do does something in the namespace.
func (n *namespace) do(f func() error) (err error) {
	done := make(chan struct{})
	n.work <- func() {
		err = f()
		close(done)
	}
	<-done
	return err
}

// start starts a command in the namespace. It does not outlive this process.
func (n *namespace) start(c *exec.Cmd) error {
	return n.do(func() error {
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // at the end of this thread, which is that of the test
		return c.Start()
	})
}

// ip calls the program of this name, in the namespace in which it is called.
func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

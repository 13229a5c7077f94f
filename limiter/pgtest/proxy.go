package pgtest

import (
	"net"
	"strings"
	"sync"
	"testing"
)

// A Proxy passes connections on to a server, until it is told not to. Its methods
// are safe for concurrent use.
type Proxy struct {
	tb     testing.TB
	target string
	addr   string
	live   sync.WaitGroup

	mu       sync.Mutex
	moved    sync.Cond // hung or done changed
	hung     bool
	done     bool
	listener net.Listener // nil while it is cut
	conns    map[net.Conn]bool
}

// NewProxy starts a proxy in this process that passes everything on to target, a
// host and port. It ends with the test.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	addr, release, err := reserve()
	if err != nil {
		tb.Fatalf("reserve a port for a proxy: %v", err)
	}
	p := &Proxy{tb: tb, target: target, addr: addr, conns: map[net.Conn]bool{}}
	p.moved.L = &p.mu
	p.Heal()
	tb.Cleanup(func() {
		p.mu.Lock()
		p.done = true
		p.mu.Unlock()
		p.Cut()
		p.live.Wait()
		release()
	})
	return p
}

// Addr is the host and port of the proxy.
func (p *Proxy) Addr() string { return p.addr }

// URL is the connection string database with the proxy's address in place of the
// target's.
func (p *Proxy) URL(database string) string {
	return strings.Replace(database, p.target, p.addr, 1)
}

// Cut closes all connections and refuses new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	for c := range p.conns {
		_ = c.Close()
	}
	p.hung = false
	p.moved.Broadcast()
}

// Hang passes nothing on from now, and closes nothing. New connections are taken.
// What was sent meanwhile is passed on by Heal, also if the sender has gone.
func (p *Proxy) Hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hung = true
}

// Heal ends Cut and Hang.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hung = false
	p.moved.Broadcast()
	if p.listener != nil || p.done {
		return
	}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.tb.Errorf("proxy: %v", err)
		return
	}
	p.listener = l
	p.live.Go(func() { p.accept(l) })
}

func (p *Proxy) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		p.live.Go(func() { p.serve(l, c) })
	}
}

// serve ends when both directions have.
func (p *Proxy) serve(l net.Listener, client net.Conn) {
	if !p.keep(l, client) {
		return
	}
	defer p.forget(client)
	p.wait()
	server, err := net.Dial("tcp", p.target)
	if err != nil || !p.keep(l, server) {
		return
	}
	defer p.forget(server)
	var both sync.WaitGroup
	both.Go(func() { p.pass(server, client) })
	both.Go(func() { p.pass(client, server) })
	both.Wait()
}

// pass copies until from ends, and tells to so.
func (p *Proxy) pass(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.wait()
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			break
		}
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	if half, ok := from.(interface{ CloseRead() error }); ok {
		_ = half.CloseRead()
	}
}

// wait returns when nothing hangs.
func (p *Proxy) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.hung {
		p.moved.Wait()
	}
}

// keep notes a connection that came by l for Cut. It closes one that came too late.
func (p *Proxy) keep(l net.Listener, c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != l {
		_ = c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	_ = c.Close()
}

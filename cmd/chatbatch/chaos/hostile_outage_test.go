//go:build linux

package chaos

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A line is the way to the server: a port that can be closed and opened again.
type line struct {
	t    testing.TB
	addr string
	to   string

	mu    sync.Mutex
	l     net.Listener // under mu; nil: closed
	conns []net.Conn   // under mu
	keep  int          // under mu; a socket that keeps the port while the line is closed
}

// line leads the place's program to its server by a port of its own.
func (h *hostile) line() *line {
	h.t.Helper()
	n := &line{t: h.t, addr: "127.0.0.1:0", to: h.api.Listener.Addr().String()}
	n.open()
	h.t.Cleanup(func() {
		n.close()
		n.release()
	})
	h.env = append(h.env, "CHATBATCH_ENDPOINT=http://"+n.addr)
	return n
}

func (n *line) open() {
	n.release()
	l, err := net.Listen("tcp", n.addr)
	if err != nil {
		n.t.Error(err)
		return
	}
	n.addr = l.Addr().String()
	n.mu.Lock()
	n.l = l
	n.mu.Unlock()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			go n.lead(conn)
		}
	}()
}

// lead joins a connection with one to the server.
func (n *line) lead(conn net.Conn) {
	to, err := net.Dial("tcp", n.to)
	if err != nil {
		conn.Close()
		return
	}
	n.mu.Lock()
	n.conns = append(n.conns, conn, to)
	closed := n.l == nil
	n.mu.Unlock()
	if closed {
		conn.Close()
	}
	go func() {
		_, _ = io.Copy(to, conn) // either may be closed at any time
		to.Close()
	}()
	_, _ = io.Copy(conn, to)
	conn.Close()
}

// close refuses connections from now on, and cuts those that are there.
func (n *line) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.l == nil {
		return
	}
	n.l.Close()
	n.keep = n.reserve()
	for _, c := range n.conns {
		c.Close()
	}
	n.l, n.conns = nil, nil
}

// reserve takes the port without listening at it: another test's server must not get it
// meanwhile, and the calls that are for this one.
func (n *line) reserve() (socket int) {
	port := n.addr[strings.LastIndex(n.addr, ":")+1:]
	number, err := strconv.Atoi(port)
	if err == nil {
		socket, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	}
	if err == nil {
		err = syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	}
	if err == nil {
		// The one who accepted there may not have let go of it yet.
		for try := 0; ; try++ {
			err = syscall.Bind(socket, &syscall.SockaddrInet4{Port: number, Addr: [4]byte{127, 0, 0, 1}})
			if err != syscall.EADDRINUSE || try == 1000 {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	if err != nil {
		n.t.Error("keep the port: ", err)
	}
	return socket
}

// release gives the port back.
func (n *line) release() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.keep > 0 {
		_ = syscall.Close(n.keep)
	}
	n.keep = 0
}

// down closes the line for d, when so many calls have come.
func (n *line) down(p *process, api *server, calls int, d time.Duration) {
	if p.until(func() bool { return api.count() >= calls }) {
		n.close()
		time.Sleep(d)
		n.open()
	}
}

// A server that is away for a while, or comes and goes, is outlasted: no row fails.
func TestAway(t *testing.T) {
	t.Parallel()
	for name, away := range some(map[string]struct {
		often int
		long  time.Duration
	}{
		"once, for long":      {1, time.Duration(times(2, 60)) * time.Second},
		"for a moment, often": {10, 50 * time.Millisecond},
	}, "once, for long") {
		together(t, some(jobsOfAllKinds(), "unread set"), func(t *testing.T, of func(h *hostile) job) {
			h := newHostile(t)
			n, j := h.line(), of(h)
			p := h.start(append(j.args, "--qps", "40")...)
			for i := range away.often {
				n.down(p, h.api, 5+i, away.long)
			}
			e := p.end()
			h.check(e)
			e.want(t, j.code)
			if away.long > 30*time.Second {
				e.want(t, j.code, "trouble=", "connect: dial tcp")
			}
			tried.add(fmt.Sprintf("server: away %s (%v)", name, away.long), away.often, j.lost(e))
		})
	}
}

// A server that goes away for good stops the run, but where it was nearly done; no row has
// failed but a few of those that were under way, and the same command goes on when it is back.
func TestGone(t *testing.T) {
	t.Parallel()
	for kind, of := range some(jobsOfAllKinds(), "marks set") {
		t.Run(kind, func(t *testing.T) {
			h := newHostile(t)
			n, j := h.line(), of(h)
			p := h.start(append(j.args, "--qps", "10", "--retries", "2")...) // slow: it must not be done before
			p.until(func() bool { return h.api.count() >= 6 })
			n.close()
			e := p.end()
			h.check(e)
			if e.code != exitFailed || h.summary(e).Rows > 5 {
				e.want(t, exitStopped, "does not answer", "connect", "run the same command again")
			}
			if s := h.summary(e); s.ByClass["no_answer"] > 4 {
				t.Errorf("%d rows have failed", s.ByClass["no_answer"])
			}
			n.open()
			tried.add("server: gone for good, back later: "+kind, 1, h.resumed(j, e))
		})
	}
}

// Calls that are answered too late, with an effect or without, are made again.
func TestTooLate(t *testing.T) {
	t.Parallel()
	for when, late := range some(map[string]time.Duration{"never": time.Minute, "just too late": 3110 * time.Millisecond}, "just too late") {
		together(t, some(jobsOfAllKinds(), "marks delete"), func(t *testing.T, of func(h *hostile) job) {
			h := newHostile(t)
			j := of(h)
			h.misbehaves(func(c *call) bool {
				if c.n%7 != 1 || c.n > times(8, 100) || c.n < times(2, 1) {
					return false
				}
				answer := refusal(10004)
				if c.n%2 == 0 {
					answer = c.apply()
				}
				select {
				case <-c.r.Context().Done():
				case <-time.After(late):
				}
				c.send(answer)
				return true
			})
			e := h.run(append(j.args, "--timeout", "3.1s")...)
			e.want(t, j.code)
			tried.add("server: each seventh answer comes "+when+", with and without effect", h.handled(), j.lost(e))
		})
	}
}

// Each third answer to a count is lost when the server has set it.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	for range times(1, 6) {
		h := newHostile(t)
		j := h.count(4, times(5, 100))
		h.misbehaves(func(c *call) bool {
			if c.command != "set_unread_msg_num" || c.n%3 != 0 {
				return false
			}
			c.apply()
			return reset(c)
		})
		e := h.run(j.args...)
		e.want(t, j.code)
		tried.add("server: each third answer to a count is lost, with its effect", h.handled(), j.lost(e))
	}
}

// A UserSig that expires in the midst of a run is renewed; one that was given ready, and
// one that is refused again, stop the run, which can be gone on with.
func TestExpired(t *testing.T) {
	t.Parallel()
	together(t, some(map[string]expired{
		"renewed": {calls: 1}, "for ever": {forEver: true, code: exitRefused, calls: 2}, "ready": {ready: true, code: exitRefused, calls: 1},
	}, "renewed"), func(t *testing.T, test expired) {
		h := newHostile(t)
		j := h.set(8, 60)
		if test.ready {
			h.env = append(h.env, "CHATBATCH_SECRET_KEY=", "CHATBATCH_USERSIG=eJwVeryReadySignature0123456789-usedByNobody")
		}
		h.misbehaves(test.refuse())
		e := h.run(append(j.args, "--workers", "8", "--qps", "10")...) // a second's UserSigs are alike
		if n := h.handled(); n < 1 || n > 8*test.calls {
			t.Errorf("%d calls were refused", n)
		}
		if test.code != 0 {
			e.want(t, test.code, "70001", "a ready UserSig must be made anew", "run the same command again")
			h.misbehaves(func(*call) bool { return false })
			e = h.run(j.args...)
		}
		e.want(t, j.code)
		tried.add("server: the UserSig expires in the midst", 1, j.lost(e))
	})
}

// An expired UserSig was made by us or given ready.
type expired struct {
	ready, forEver bool
	code           int // 0: the run goes on
	calls          int // refused at most, by a worker
}

// refuse refuses the UserSigs of the first calls from then on, or all.
func (x expired) refuse() func(c *call) bool {
	var mu sync.Mutex
	var old []string
	return func(c *call) bool {
		mu.Lock()
		defer mu.Unlock()
		if c.n <= 10 {
			old = append(old, c.query["usersig"][0])
			return false
		}
		if !x.forEver && !slices.Contains(old, c.query["usersig"][0]) {
			return false
		}
		c.refuse(70001)
		return true
	}
}

// Storms of refusals for frequency: all slow down, none fails.
func TestFrequencyStorm(t *testing.T) {
	t.Parallel()
	for _, code := range []int{60007, 60011, 10006}[:times(1, 3)] {
		together(t, some(jobsOfAllKinds(), "export online"), func(t *testing.T, of func(h *hostile) job) {
			h := newHostile(t)
			j := of(h)
			var until time.Time
			h.misbehaves(func(c *call) bool {
				if c.n == 3 {
					until = time.Now().Add(time.Duration(times(1, 5)) * time.Second)
				}
				storm := c.n > 2 && time.Now().Before(until)
				if storm {
					c.refuse(code)
				}
				return storm
			})
			e := h.run(append(j.args, "--workers", "1", "--qps", "200")...)
			e.want(t, j.code)
			tried.add("server: a storm of refusals for frequency", h.handled(), j.lost(e))
		})
	}
}

// 10007 is a group's own matter, but that of the app when all groups get it.
func TestNoPermission(t *testing.T) {
	for _, groups := range []int{8, 1}[:times(1, 2)] {
		h := newHostile(t)
		j := h.set(8, 30)
		h.misbehaves(func(c *call) bool {
			refused := groups == 8 || c.body["GroupId"] == "@TGS#0"
			if refused {
				c.refuse(10007)
			}
			return refused
		})
		e := h.run(j.args...)
		s := h.summary(e)
		if lost := s.ByClass["no_permission"]; groups == 1 && (e.code != exitFailed || lost < 25 || lost > 30 || s.Unprocessed > 0) {
			t.Errorf("got exit code %d, %+v", e.code, s)
		}
		if groups == 8 {
			e.want(t, exitRefused, "10007")
		}
		tried.add(fmt.Sprintf("server: 10007 for %d of 8 groups", groups), 1, s.ByClass["refused"])
	}
}

// 70050: all calls stop for a minute, then one asks.
func TestLockedOut(t *testing.T) {
	if !*full {
		t.Skip("waits for two minutes; see -full")
	}
	t.Parallel()
	together(t, map[string]bool{"heals": true, "for ever": false}, func(t *testing.T, heals bool) {
		h := newHostile(t)
		j := h.set(8, 60)
		var mu sync.Mutex
		var since time.Time
		behind := 0
		h.misbehaves(func(c *call) bool {
			mu.Lock()
			defer mu.Unlock()
			if c.n == 10 {
				since = time.Now()
			}
			if over := time.Since(since) > 55*time.Second; c.n < 10 || over && heals {
				return false
			} else if over {
				behind++
			}
			c.refuse(70050)
			return true
		})
		e := h.run(j.args...)
		if !heals {
			e.want(t, exitRefused, "70050", "wait a minute")
			if behind != 1 {
				t.Errorf("%d calls when the minute was over, want 1", behind)
			}
			h.misbehaves(func(*call) bool { return false })
			e = h.run(j.args...)
		}
		e.want(t, j.code)
		tried.add("server: locked out for a minute (70050)", 1, j.lost(e))
	})
}

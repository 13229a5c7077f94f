//go:build linux

package chaos

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A fault answers a call wrongly. What it quotes of the request has the UserSig in it,
// as answers of real proxies have.
type fault struct {
	name   string
	answer func(c *call) bool
}

// text answers with a status and a page that quotes the request.
func text(status int, header ...string) func(c *call) bool {
	return func(c *call) bool {
		for i := 0; i+1 < len(header); i += 2 {
			c.w.Header().Set(header[i], header[i+1])
		}
		c.w.Header().Set("Content-Type", "text/html")
		c.w.WriteHeader(status)
		fmt.Fprintf(c.w, "<html><h1>%d</h1>you asked for %s and %s\x1b[2J", status, c.r.URL, c.query["usersig"][0])
		return true
	}
}

// body answers with a body.
func body(b string) func(c *call) bool {
	return func(c *call) bool {
		_, _ = c.w.Write([]byte(b)) // who asked may be gone
		return true
	}
}

// framed answers with text and the answer of a success behind it, on the bare
// connection. The text ends in the midst of the head.
func framed(text string, cut bool) func(c *call) bool {
	return func(c *call) bool {
		b, _ := json.Marshal(ok(nil))
		if cut {
			b = b[:len(b)/2]
		}
		return c.write("%s\r\n%s", text, b)
	}
}

func reset(c *call) bool {
	return c.raw(func(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0) })
}

// zipped answers with n blanks, in MiB, in a small body, cut short behind so many bytes.
func zipped(n, cut int) func(c *call) bool {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	for range n {
		_, _ = w.Write(bytes.Repeat([]byte(" "), 1<<20))
	}
	_ = w.Close()
	return func(c *call) bool {
		c.w.Header().Set("Content-Encoding", "gzip")
		_, _ = c.w.Write(b.Bytes()[:min(cut, b.Len())])
		return true
	}
}

// noise sends more of something than anybody takes.
func noise(head, more string) func(c *call) bool {
	more = strings.Repeat(more, 1+32<<10/len(more))
	return func(c *call) bool {
		return c.raw(func(conn net.Conn) {
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			_, err := conn.Write([]byte(head))
			for n := 0; err == nil && n < 100<<20; n += len(more) {
				_, err = conn.Write([]byte(more))
			}
		})
	}
}

func wireFaults() []fault {
	return []fault{
		{"500", text(500)}, {"502 with a page", text(502)}, {"503", text(503)}, {"504", text(504)}, {"408", text(408)},
		{"503, try again in a second", text(503, "Retry-After", "1")},
		{"429", text(429)}, {"429, try again at once", text(429, "Retry-After", "0")}, {"201", text(201)}, {"200 with a page", text(200)},
		{"reset", reset}, {"closed", func(c *call) bool { return c.write("") }},
		{"cut in the head", func(c *call) bool { return c.write("HTTP/1.1 200 OK\r\nContent-Le") }},
		{"cut by its length", framed("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n", false)},
		{"cut in a chunk", framed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000", false)},
		{"HTTP/1.0, cut", framed("HTTP/1.0 200 OK\r\n", true)},
		{"two lengths", framed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n", false)},
		{"no HTTP", func(c *call) bool { return c.write("\x00\x01\x1b[2J %s\r\n\r\n", c.r.URL) }},
		{"many 1xx", noise("", "HTTP/1.1 102 Processing\r\nX: y\r\n\r\n")}, {"head without end", noise("HTTP/1.1 200 OK\r\n", "X-More: y\r\n")},
		{"empty", body("")}, {"garbage", body("\x00\xff\x1b[2J{}")}, {"null", body("null")}, {"array", body(`[{"ErrorCode":0}]`)},
		{"two answers", body(`{"ErrorCode":0}{"ErrorCode":0}`)}, {"no code", body(`{"ActionStatus":"OK"}`)}, {"null for a code", body(`{"ErrorCode":null}`)},
		{"code as text", body(`{"ActionStatus":"OK","ErrorCode":"0"}`)}, {"code that is a fraction", body(`{"ErrorCode":0.5}`)},
		{"deep", body(`{"ErrorCode":0,"X":` + strings.Repeat("[", 1<<20))},
		{"gzip, cut", zipped(1, 100)}, {"no gzip", text(200, "Content-Encoding", "gzip")},
		{"100 MB", noise("HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n", "[")},
		{"FAIL without a code", body(`{"ActionStatus":"FAIL","ErrorCode":0,"ErrorInfo":"\u001b[2J"}`)},
		{"10002", func(c *call) bool { c.refuse(10002); return true }}, {"60007", func(c *call) bool { c.refuse(60007); return true }},
	}
}

// jobsOfAllKinds make a job of each kind, in a place of its own.
func jobsOfAllKinds() map[string]func(h *hostile) job {
	return map[string]func(h *hostile) job{
		"marks set":                   func(h *hostile) job { return h.set(8, 60) },
		"marks delete":                func(h *hostile) job { return h.unset(8, 60) },
		"unread set":                  func(h *hostile) job { return h.count(3, 20) },
		"export members":              func(h *hostile) job { return h.export("members", "Public", 3, 1000) },
		"export members of Community": func(h *hostile) job { return h.export("members", "Community", 2, 500) },
		"export members --all-groups": func(h *hostile) job { return h.export("members", "Public", 9, 200, "--all-groups") },
		"export online":               func(h *hostile) job { return h.export("online", "AVChatRoom", 5, 600) },
	}
}

// Each third call is answered wrongly, each time in another way, now with an effect
// and now without. All are tried again, and all rows end as they must.
func TestWire(t *testing.T) {
	t.Parallel()
	faults := wireFaults()
	together(t, some(jobsOfAllKinds(), "marks set", "export members of Community"), func(t *testing.T, of func(h *hostile) job) {
		for round := range times(1, 8) {
			h := newHostile(t)
			j := of(h)
			h.misbehaves(func(c *call) bool {
				if c.n%3 != 1 {
					return false
				}
				if c.n%2 == 0 {
					c.apply()
				}
				return faults[(c.n/3+round*11+len(j.name))%len(faults)].answer(c)
			})
			e := h.run(j.args...)
			e.want(t, j.code)
			tried.add(fmt.Sprintf("server: each third answer is wrong, in %d ways: %s", len(faults), j.name), h.handled(), j.lost(e))
		}
	})
}

// Several jobs side by side at such a server.
func TestWireOfSeveralJobs(t *testing.T) {
	t.Parallel()
	if !*full {
		t.Skip("see -full")
	}
	faults := wireFaults()
	for round := range 5 {
		h := newHostile(t)
		file, jobs := "jobs:\n", []job{h.set(6, 60), h.count(3, 20), h.export("members", "Public", 3, 600), h.export("online", "AVChatRoom", 3, 600)}
		for _, j := range jobs {
			file += fmt.Sprintf("  - kind: %s %s\n    input: %s\n", j.args[0], j.args[1], j.args[2])
			if j.args[0] == "export" {
				file += "    output: " + j.args[4] + "\n"
			}
		}
		h.misbehaves(func(c *call) bool { return c.n%3 == 1 && faults[(c.n/3+round*11)%len(faults)].answer(c) })
		h.run("run", h.file("jobs.yaml", file)).want(t, exitFailed)
		lost := jobs[2].lost(end{}) + jobs[3].lost(end{}) + jobs[1].odd() + jobs[0].odd()
		tried.add("server: each third answer is wrong: several jobs side by side", h.handled(), lost)
	}
}

// A server that sends two answers for one call: the second is nobody's, and is
// not shown.
func TestUnasked(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	j := h.count(2, 40)
	h.misbehaves(func(c *call) bool {
		answer, _ := json.Marshal(c.apply())
		return c.write("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%sHTTP/1.1 400 Bad\r\nContent-Length: 9000\r\n\r\nyou asked for %s", len(answer), answer, c.r.URL)
	})
	e := h.run(append(j.args, "--workers", "1", "--qps", "100")...)
	e.want(t, j.code)
	tried.add("server: an unasked answer behind each answer", h.handled(), j.lost(e))
}

// A redirect is not followed: who it leads to sees no UserSig.
func TestRedirected(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	other := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) })}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	go func() { _ = other.Serve(l) }()
	statuses := []int{301, 302, 303, 307, 308}
	for _, status := range statuses[:times(1, len(statuses))] {
		h := newHostile(t)
		j := h.set(2, 30)
		h.misbehaves(func(c *call) bool {
			return text(status, "Location", "http://"+l.Addr().String()+c.r.URL.RequestURI())(c)
		})
		h.run(j.args...).want(t, exitRefused, "redirect", "127.0.0.1", "not followed")
		if n := h.api.count(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		h.misbehaves(func(*call) bool { return false })
		e := h.run(j.args...)
		e.want(t, j.code)
		tried.add("server: redirects elsewhere, then does not", 1, j.lost(e))
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the other host was asked %d times", n)
	}
}

// Answers that are far too large, or never end, cost little memory, and fail no row for
// good: what they have stopped goes on when the server is well.
func TestEndless(t *testing.T) {
	if buildFlags != nil {
		t.Skip("the memory of a program with the race detector is not its own; see make chaos")
	}
	t.Parallel()
	for name, answer := range some(map[string]func(c *call) bool{
		"100 MB":           noise("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "10\r\n0123456789abcdef\r\n"),
		"a list":           noise("HTTP/1.1 200 OK\r\n\r\n"+`{"ErrorCode":0,"MemberList":[`, "{},"),
		"of gzip":          zipped(100, 1<<20),
		"of blanks":        noise("HTTP/1.0 200 OK\r\n\r\n", " "),
		"a list that ends": body(`{"ErrorCode":0,"MemberList":[{}` + strings.Repeat(",{}", 5<<20) + "]}"),
	}, "a list") {
		t.Run(name, func(t *testing.T) {
			h := newHostile(t)
			for _, j := range []job{h.set(20, 20), h.count(4, 30), h.export("members", "Public", 20, 20), h.export("online", "AVChatRoom", 20, 20)}[:times(1, 4)] {
				tried.add("server: an answer without end, or "+name, 1, h.endless(j, answer))
			}
		})
	}
}

// endless does a job at a server that knows it, and then answers in one way only, until
// it is well again.
func (h *hostile) endless(j job, answer func(c *call) bool) (lost int) {
	const most = 400 // MiB
	first := h.api.count()
	h.misbehaves(func(c *call) bool { return c.n > first+1 && c.command != "get_group_info" && answer(c) })
	p := h.start(append(j.args, "--workers", "32", "--retries", "3")...)
	peak := p.watched()
	if peak > most && buildFlags == nil {
		h.t.Errorf("%s: %d MiB of memory, want at most %d", j.name, peak, most)
	}
	e := p.end()
	h.check(e)
	if e.code != exitStopped {
		e.want(h.t, exitFailed)
	}
	h.misbehaves(func(*call) bool { return false })
	return h.resumed(j, e)
}

// resumed brings a job to its end at a server that is well again: what was stopped goes
// on, and what has failed for want of an answer is tried again.
func (h *hostile) resumed(j job, e end) int {
	h.t.Helper()
	if e.code == exitStopped {
		e = h.run(j.args...)
	}
	if h.summary(e).ByClass["no_answer"] == 0 {
		e.want(h.t, j.code)
		return j.lost(e)
	}
	again := []string{"retry", h.summary(e).Run, "--class", "no_answer", "--json"}
	if j.args[0] == "export" {
		again = append(again, "-o", "again.csv")
	}
	s := h.summary(h.run(again...))
	if j.odd == nil {
		return s.Failed + s.Unprocessed
	}
	return s.ByClass["no_answer"] + s.Unprocessed + j.odd()
}

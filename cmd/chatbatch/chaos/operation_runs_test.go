//go:build linux

package chaos

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The same command many times at once: one process works on the run, and the others do
// what --if-locked says.
func TestOverlappingStarts(t *testing.T) {
	t.Parallel()
	for _, n := range []int{2, 5, 20}[:times(2, 3)] {
		for range times(1, 3) {
			tried.add(fmt.Sprintf("the same command %d times at once, with every --if-locked", n), 1, overlap(t, n))
		}
	}
}

// A mode of --if-locked, and the exit code of who finds the run locked.
type lockMode struct {
	mode string
	code int
}

func overlap(t *testing.T, n int) (lost int) {
	p := newPlace(t)
	input, rows := p.hall("class", 6)
	h := p.hold(1, true)
	modes := []lockMode{{"fail", exitTryLater}, {"skip", exitOK}, {"wait", exitOK}, {"exit:9", 9}}
	var all []*process
	var of []lockMode
	waiters := 0
	for i := range n {
		m := modes[i%len(modes)]
		if m.mode == "wait" {
			waiters++
		}
		of = append(of, m)
		all = append(all, p.start("marks", "set", input, "--chunk-size", "1", "--json", "--quiet", "--if-locked", m.mode))
	}
	under := func() (n int) { // way
		for _, c := range all {
			if c.alive() {
				n++
			}
		}
		return n
	}
	// All have ended but for those who wait and, if that is none of them, the one who works.
	for end := time.Now().Add(patience); under() > waiters+1 || h.came.Load() < 1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("who should not work does not end")
		}
	}
	if got := p.api.count(); got != 1 {
		t.Errorf("%d calls came while the first was not answered", got)
	}
	h.release()
	worked := 0
	for i, c := range all {
		e := c.end()
		if e.stdout != "" {
			worked++
			e.want(t, exitOK)
			lost += p.wrong(p.summary(e).Run, classHeader, rows)
			continue
		}
		e.want(t, of[i].code)
		if silent := of[i].code == exitOK; silent != (e.stderr == "") {
			t.Errorf("--if-locked %s: with --quiet it said %q", of[i].mode, e.stderr)
		}
	}
	if worked < max(1, waiters) || worked > waiters+1 || p.api.count() != 6*worked || len(p.runDirs()) != worked {
		t.Errorf("%d of %d worked, %d would wait; %d calls, runs %v", worked, n, waiters, p.api.count(), p.runDirs())
	}
	if left := p.remains(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	return lost + p.wrongMarks(rows)
}

// Who waits for a run goes on with it when its process is killed or interrupted, and
// begins a new one when it has ended.
func TestWaiter(t *testing.T) {
	t.Parallel()
	for i := range times(2, 24) {
		how := []os.Signal{syscall.SIGKILL, syscall.SIGTERM, nil}[i%3]
		tried.add("a process that waits for a run, whose process is killed, is interrupted, or ends", 1, waiter(t, how))
	}
}

func waiter(t *testing.T, how os.Signal) int {
	p := newPlace(t)
	input, rows := p.hall("class", 12)
	h := p.hold(4, true)
	args := []string{"marks", "set", input, "--chunk-size", "1", "--workers", "2", "--json", "--grace", "100ms", "--if-locked", "wait"}
	first := p.start(args...)
	first.until(func() bool { return h.came.Load() >= 2 })
	second := p.speak(args...)
	second.begin()
	second.hear("waiting for its end")
	// Whoever else waits has other patience.
	p.run(append(args, "--max-duration", "300ms")...).want(t, exitTryLater, "--max-duration")
	third := p.speak(args...)
	third.begin()
	third.hear("waiting for its end")
	third.signal(syscall.SIGTERM)
	third.end().want(t, exitInterrupted)
	second.signal(syscall.SIGSTOP) // for a while
	time.Sleep(100 * time.Millisecond)
	second.signal(syscall.SIGCONT)
	if p.api.count() != 5 {
		t.Errorf("%d calls came, and not 5", p.api.count())
	}
	if how == nil {
		h.release()
		first.end().want(t, exitOK)
	} else {
		first.signal(how)
		<-first.ended
		h.release()
	}
	e := second.end()
	e.want(t, exitOK)
	s, runs := p.summary(e), len(p.runDirs())
	if resumed := strings.Contains(e.stderr, "resuming run"); resumed != (how != nil) || runs != map[bool]int{true: 1, false: 2}[resumed] || how != nil && s.Replayed != 2 {
		t.Errorf("after %v: resumed %v, %d runs, %+v", how, resumed, runs, s)
	}
	return p.wrong(s.Run, classHeader, rows) + p.wrongMarks(rows)
}

// Different runs side by side on one directory of state have one budget.
func TestSideBySide(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	n, size := times(3, 6), times(80, 400)
	var all []*process
	var rows [][]row
	for i := range n {
		input, r := p.hall(fmt.Sprintf("class%d", i), size)
		rows = append(rows, r)
		all = append(all, p.start("marks", "set", input, "--chunk-size", "1", "--qps", "200", "--limiter", "host", "--json"))
	}
	lost := 0
	for i, c := range all {
		e := c.end()
		e.want(t, exitOK)
		lost += p.wrong(p.summary(e).Run, classHeader, rows[i])
	}
	if most := p.api.busiest(); most > 200 || p.api.count() != n*size {
		t.Errorf("%d calls, at most %d in a second", p.api.count(), most)
	}
	lost += p.wrongMarks(slices.Concat(rows...))
	tried.add("different runs side by side on one budget of 200 (of which no second saw more)", n, lost)
}

// A process that is stopped in the middle of its calls sends no burst when it goes on,
// renews a signature that has expired meanwhile, and loses nothing.
func TestSuspended(t *testing.T) {
	t.Parallel()
	for _, pause := range []time.Duration{1500 * time.Millisecond, 5 * time.Second, 12 * time.Second, 60 * time.Second}[:times(1, 4)] {
		p := newPlace(t)
		size := times(300, 500)
		input, rows := p.hall("class", size)
		other, others := p.hall("other", size/2)
		args := []string{"--chunk-size", "1", "--qps", "200", "--limiter", "host", "--timeout", "4s", "--json"}
		old := p.signatures()
		c := p.start(append([]string{"marks", "set", input}, args...)...)
		c.arrived(p, 100)
		c.signal(syscall.SIGSTOP)
		old.Store(true)
		time.Sleep(pause / 2)
		d := p.start(append([]string{"marks", "set", other}, args...)...) // its neighbour works on
		time.Sleep(pause / 2)
		c.signal(syscall.SIGCONT)
		e := c.end()
		e.want(t, exitOK)
		s := p.summary(e)
		lost := p.wrong(s.Run, classHeader, rows)
		if s.Calls <= size {
			t.Errorf("got %d calls: no signature was refused", s.Calls)
		}
		e = d.end()
		e.want(t, exitOK)
		lost += p.wrong(p.summary(e).Run, classHeader, others) + p.wrongMarks(append(rows, others...))
		if most := p.api.busiest(); most > 200 {
			t.Errorf("stopped for %v: %d calls in a second", pause, most)
		}
		tried.add("SIGSTOP for 1.5 to 60 s in the middle of calls, beside another run (no second saw more than 200)", 1, lost)
	}
}

// signatures lets the server refuse as expired, once the flag is set, whatever was signed
// with a signature that it had seen before.
func (p *place) signatures() *atomic.Bool {
	var expired atomic.Bool
	var seen sync.Map
	p.api.misbehave(func(c *call) bool {
		sig := c.query["usersig"][0]
		if !expired.Load() {
			seen.Store(sig, true)
			return false
		}
		if _, known := seen.Load(sig); known {
			c.refuse(70001)
			return true
		}
		return false
	})
	return &expired
}

// Several exports to one file at once: it has one of them, whole, and the manifest of
// that one.
func TestOneFileForSeveral(t *testing.T) {
	t.Parallel()
	for range times(1, 6) {
		p := newPlace(t)
		n := times(3, 5)
		var all []*process
		for i := range n {
			groups := p.groupsFile(fmt.Sprintf("g%d-", i), 3, 200+i)
			all = append(all, p.start("export", "members", groups, "-o", "members.csv"))
		}
		for _, c := range all {
			c.end().want(t, exitOK)
		}
		p.published("members.csv")
		if left := p.remains(); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		tried.add(fmt.Sprintf("%d exports to one file at once", n), 1, 0)
	}
}

// published fails the test if a file and its manifest do not belong together.
func (p *place) published(name string) {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		p.t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(p.dir, name+".manifest.json"))
	if err != nil {
		p.t.Fatal(err)
	}
	var manifest struct {
		Rows   int
		SHA256 string
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		p.t.Error(err)
	}
	sum, header := sha256.Sum256(b), map[string]int{".csv": 1}[filepath.Ext(name)]
	if manifest.SHA256 != hex.EncodeToString(sum[:]) || manifest.Rows != strings.Count(string(b), "\n")-header {
		p.t.Errorf("%s has %d lines, %x; its manifest says %+v", name, strings.Count(string(b), "\n"), sum, manifest)
	}
}

// An export that waits for another one to publish, which does not go on, can be told to
// end, and publishes when it is given again.
func TestEndWhileAnotherPublishes(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	groups, others := p.groupsFile("public", 10, 4000), p.groupsFile("others", 1, 3)
	first := p.start("export", "members", groups, "-o", "members.jsonl", "--page-size", "200", "--qps", "5000")
	part := func() bool {
		parts, _ := filepath.Glob(filepath.Join(p.dir, ".members.jsonl.part-*"))
		return p.api.count() >= 200 && len(parts) > 0
	}
	if !first.until(part) {
		t.Skip("it was too fast")
	}
	first.signal(syscall.SIGSTOP)
	time.Sleep(50 * time.Millisecond)
	if !part() {
		first.signal(syscall.SIGCONT)
		t.Skip("it was too fast")
	}
	args := []string{"export", "members", others, "-o", "members.jsonl"}
	second := p.start(args...)
	second.arrived(p, 201)
	time.Sleep(500 * time.Millisecond)
	second.signal(syscall.SIGTERM)
	second.soon()
	second.end().want(t, exitInterrupted, "run the same command again")
	p.run(append(args, "--max-duration", "1s")...).want(t, exitTryLater)
	first.signal(syscall.SIGTERM) // what is published to the end is not interrupted
	first.signal(syscall.SIGCONT)
	first.end().want(t, exitOK)
	p.published("members.jsonl")
	p.run(args...).want(t, exitOK)
	p.published("members.jsonl")
	if p.api.count() != 201 {
		t.Errorf("%d calls, want 201", p.api.count())
	}
	tried.add("SIGTERM while an export is published, and while another one waits for that", 2, 0)
}

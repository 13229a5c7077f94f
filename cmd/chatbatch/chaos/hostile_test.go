//go:build linux

package chaos

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A job is a command over all that a kind does, and what must have come of it.
type job struct {
	name string
	args []string
	code int
	lost func(e end) int // rows that have another outcome than they must have, or another effect at the server
	odd  func() int      // rows that have another effect at the server than they must have; nil: none can have any
}

// A hostile place has a server that does wrong what it is told, and remembers the
// UserSigs that it has seen.
type hostile struct {
	*place
	mu   sync.Mutex
	sigs map[string]bool // under mu
	did  int             // under mu; calls that were handled otherwise
}

func newHostile(t testing.TB) *hostile {
	h := &hostile{place: newPlace(t), sigs: map[string]bool{}}
	h.misbehaves(func(*call) bool { return false })
	return h
}

// misbehaves is server.misbehave for this place.
func (h *hostile) misbehaves(f func(c *call) (handled bool)) {
	h.api.misbehave(func(c *call) bool {
		sig := c.query["usersig"][0]
		h.mu.Lock()
		h.sigs[sig] = true
		h.mu.Unlock()
		handled := f(c)
		if handled {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.did++
		}
		return handled
	})
}

// handled is how many calls were handled otherwise.
func (h *hostile) handled() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.did
}

// run is place.run; what was said must not show a UserSig, and neither must a file.
func (h *hostile) run(args ...string) end {
	h.t.Helper()
	e := h.place.run(args...)
	h.check(e)
	return e
}

// check looks for secrets in what a process has left.
func (h *hostile) check(e end) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	secrets := []string{"usersig=", "proxy-password"}
	for sig := range h.sigs {
		secrets = append(secrets, sig[:min(24, len(sig))])
	}
	for _, secret := range secrets {
		if strings.Contains(e.stdout+e.stderr, secret) {
			h.t.Errorf("%q in what it said:\n%s%s", secret, e.stdout, e.stderr)
		}
	}
	err := filepath.WalkDir(filepath.Join(h.dir, "state"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		for _, secret := range secrets {
			if bytes.Contains(text, []byte(secret)) {
				h.t.Errorf("%q is in %s", secret, path)
			}
		}
		return err
	})
	if err != nil {
		h.t.Error(err)
	}
	if strings.ContainsAny(e.stderr, "\x1b\a") {
		h.t.Errorf("it said what a terminal obeys: %q", e.stderr)
	}
}

// set is a job of marks.
func (h *hostile) set(groups, students int) job {
	rows := h.classRows(groups, students)
	args := []string{"marks", "set", h.roster("class.csv", classHeader, rows), "--chunk-size", "20", "--json"}
	odd := func() int { return h.wrongMarks(rows) }
	return job{"marks set", args, exitFailed, func(e end) int { return h.wrong(h.summary(e).Run, classHeader, rows) + odd() }, odd}
}

// unset deletes marks that are there.
func (h *hostile) unset(groups, students int) job {
	var rows []row
	for n := range groups * students {
		group, account := fmt.Sprintf("@TGS#old%d", n%groups), fmt.Sprint("student ", n)
		h.api.join(group, account)
		h.api.groups[group].marks[account] = map[int64]bool{1000: true}
		rows = append(rows, row{text: group + "," + account + ",1000"})
	}
	const header = "group_id,account,marks"
	args := []string{"marks", "delete", h.roster("old.csv", header, rows), "--chunk-size", "20", "--json"}
	odd := func() int { return h.wrongMarks(nil) }
	return job{"marks delete", args, exitOK, func(e end) int { return h.wrong(h.summary(e).Run, header, rows) + odd() }, odd}
}

// count sets unread counts.
func (h *hostile) count(groups, members int) job {
	var rows []row
	for n := range groups * members {
		group, account := fmt.Sprintf("counted%d", n%groups), fmt.Sprint("member ", n)
		if n < groups {
			h.api.found(group, "Public")
		}
		r := row{text: fmt.Sprintf("%s,%s,%d", group, account, 100+n)}
		if n%40 == 7 {
			r.class = "offline_or_absent" // no member
		} else {
			h.api.join(group, account)
		}
		rows = append(rows, r)
	}
	args := []string{"unread", "set", h.roster("counts.csv", unreadHeader, rows), "--json"}
	odd := func() int { return h.wrongCounts(rows) }
	return job{"unread set", args, exitFailed, func(e end) int { return h.wrong(h.summary(e).Run, unreadHeader, rows) + odd() }, odd}
}

// wrongCounts compares the counts at the server with those that must be there in the
// end: a count is absolute, so it may have come twice, but none may have come behind
// it that is not the row's.
func (h *hostile) wrongCounts(rows []row) (lost int) {
	h.api.mu.Lock()
	defer h.api.mu.Unlock()
	for _, r := range rows {
		f := strings.Split(r.text, ",")
		for _, n := range h.api.unread[[2]string{f[0], f[1]}] {
			if fmt.Sprint(n) != f[2] {
				lost++
			}
		}
		if n := len(h.api.unread[[2]string{f[0], f[1]}]); (n == 0) != (r.class != "") {
			lost++
		}
	}
	if lost > 0 {
		h.t.Errorf("%d counts are wrong at the server", lost)
	}
	return lost
}

// export is a job that exports groups of a kind, by "members" or "online".
func (h *hostile) export(what, kind string, groups, members int, more ...string) job {
	text, want := "group_id\n", ""
	for g := range groups {
		name := fmt.Sprintf("%s%d", kind, g)
		if kind == "Community" {
			name = "@TGS#_" + name
		}
		h.api.found(name, kind)
		text += name + "\n"
		for m := range members {
			account := fmt.Sprintf("member %d of %d", m, g)
			h.api.join(name, account)
			want += name + "," + account + "\n"
		}
	}
	out := filepath.Join(h.dir, what+kind+".csv")
	args := append([]string{"export", what}, more...)
	if !slices.Contains(more, "--all-groups") {
		args = append(args, h.file(kind+"-groups.csv", text))
	}
	return job{"export " + what + " of " + kind, append(args, "-o", out, "--json"), exitOK, func(end) int { return h.wrongExport(out, want) }, nil}
}

// wrongExport compares the groups and accounts of an export with those that it must
// have, in order.
func (h *hostile) wrongExport(name, want string) (lost int) {
	h.t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		h.t.Error(err)
		return 1
	}
	records, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil || len(records) == 0 {
		h.t.Errorf("%s: %v", name, err)
		return 1
	}
	var got strings.Builder
	for _, r := range records[1:] {
		got.WriteString(r[0] + "," + r[1] + "\n")
	}
	if got.String() != want {
		h.t.Errorf("%s has %d members, want %d: %.200q, want %.200q", name, len(records)-1, strings.Count(want, "\n"), got.String(), want)
		return max(1, strings.Count(want, "\n")-len(records)+1)
	}
	return 0
}

// raw lets f answer a call on its bare connection, which is closed then.
func (c *call) raw(f func(conn net.Conn)) bool {
	conn, _, err := c.w.(http.Hijacker).Hijack()
	if err != nil {
		return true // who asked is gone
	}
	defer conn.Close()
	f(conn)
	return true
}

// write answers with text on the bare connection.
func (c *call) write(text string, args ...any) bool {
	return c.raw(func(conn net.Conn) {
		w := bufio.NewWriter(conn)
		fmt.Fprintf(w, text, args...)
		_ = w.Flush() // who asked may be gone
	})
}

// watched waits for the end of a process, and says how many MiB of memory it had at
// most; 0 where that cannot be known.
func (c *process) watched() (peak int) {
	c.t.Helper()
	c.until(func() bool {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Process.Pid))
		if _, after, found := bytes.Cut(status, []byte("VmHWM:")); err == nil && found {
			kib := 0
			_, _ = fmt.Sscan(string(after), &kib) // 0 if it is none
			peak = max(peak, kib>>10)
		}
		time.Sleep(2 * time.Millisecond)
		return false
	})
	return peak
}

// some are all of m, or without -full those of names.
func some[T any](m map[string]T, names ...string) map[string]T {
	less := maps.Clone(m)
	maps.DeleteFunc(less, func(name string, _ T) bool { return !*full && !slices.Contains(names, name) })
	return less
}

// together does tests side by side, more of them than there are processors: most of
// their time they wait.
func together[T any](t *testing.T, tests map[string]T, f func(t *testing.T, test T)) {
	slots := make(chan struct{}, 8)
	var wg sync.WaitGroup
	for name, test := range tests {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			t.Run(name, func(t *testing.T) { f(t, test) })
		})
	}
	wg.Wait()
}

// every is all of list, or without -full each nth of it.
func every[T any](list []T, n int) (less []T) {
	for i, x := range list {
		if *full || i%n == n/2 {
			less = append(less, x)
		}
	}
	return less
}

//go:build linux

package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// finish gives the command a last time, and returns how many rows are lost.
func (k *killing) finish(least int) (lost int) {
	k.t.Helper()
	if k.kills < least {
		k.t.Errorf("it was killed only %d times", k.kills)
	}
	k.last()
	var runs []summary
	for _, run := range k.names() {
		if !slices.Contains(k.earlier, run) {
			runs = append(runs, k.booksOf(run))
		}
	}
	if len(runs) != k.jobs {
		k.t.Fatalf("got %d runs, want %d: it was not resumed: %+v", len(runs), k.jobs, runs)
	}
	for _, s := range runs {
		if s.Unprocessed > 0 || s.State != "finished" {
			k.t.Errorf("at the end: %+v", s)
			lost += s.Unprocessed
		}
	}
	lost += k.check(runs)
	k.clean()
	return lost
}

// ended are the runs of the deed that have ended.
func (k *killing) ended() (runs []string) {
	k.t.Helper()
	for _, r := range k.list() {
		if r.State == "finished" && !slices.Contains(k.earlier, r.Run) {
			runs = append(runs, r.Run)
		}
	}
	return runs
}

// done says that all that could be missing is the last words. The same command would begin
// anew.
func (k *killing) done() bool { return len(k.ended()) >= k.jobs && len(k.parts()) == 0 }

// last gives the command until it ends by itself. If a process was killed when all was
// done, but for its last words, it is resume that is given: the same command would begin
// anew.
func (k *killing) last() {
	k.t.Helper()
	done := k.ended()
	if len(done) < k.jobs {
		if k.over {
			k.t.Errorf("it ended by itself, but of its runs only %v have", done)
		}
		k.place.run(append(slices.Clone(k.args), "--json")...).want(k.t, k.code)
		return
	}
	for _, run := range done {
		e := k.place.run("resume", run, "--json")
		if s := k.booksOf(run); e.code != exitUsage || !strings.Contains(e.stderr, "has ended; nothing is left") {
			e.want(k.t, min(s.Failed, exitFailed))
		}
	}
}

// listed is a run as `runs list --json` has it.
type listed struct {
	Run, State, Error                    string
	Rows, Succeeded, Failed, Unprocessed int
}

// list lists the runs, whose books balance at any moment.
func (p *place) list() (runs []listed) {
	p.t.Helper()
	e := p.run("runs", "list", "--json")
	e.want(p.t, exitOK)
	for dec := json.NewDecoder(strings.NewReader(e.stdout)); dec.More(); {
		var r listed
		if err := dec.Decode(&r); err != nil {
			p.t.Fatal(err)
		}
		if r.Error != "" || r.State != "planning" && r.Rows != r.Succeeded+r.Failed+r.Unprocessed {
			p.t.Errorf("a run after a kill: %+v", r)
		}
		runs = append(runs, r)
	}
	return runs
}

// names are the runs that are there.
func (p *place) names() (names []string) {
	for _, dir := range p.runDirs() {
		if _, err := os.Stat(filepath.Join(dir, "ledger.db")); err == nil { // else it was killed before it had begun
			names = append(names, filepath.Base(dir))
		}
	}
	return names
}

// booksOf reads the summary of a run.
func (p *place) booksOf(run string) summary {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.runs(), run, "summary.json"))
	if err != nil {
		p.t.Error(err)
		return summary{}
	}
	return p.summary(end{stdout: string(b)})
}

// watch looks all the time at the file that an export becomes, until the test is over: it
// is the older one, or whole.
func (k *killing) watch() {
	if k.target == "" {
		return
	}
	end, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for last := (os.FileInfo)(nil); ; time.Sleep(200 * time.Microsecond) {
			if now, err := os.Stat(k.target); err != nil {
				k.t.Errorf("the export is gone: %v", err)
			} else if last == nil || !os.SameFile(last, now) || now.Size() != last.Size() {
				k.wholeExport()
				last = now
			}
			select {
			case <-end:
				return
			default:
			}
		}
	}()
	k.t.Cleanup(func() { close(end); <-over })
}

// whole looks at everything that lies under its final name: it is not half a file.
func (k *killing) whole() {
	k.t.Helper()
	for _, dir := range k.runDirs() {
		for _, name := range []string{"failed.csv", "unprocessed.csv", "pace.csv", "summary.json"} {
			if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil && !wholeText(name, b) {
				k.t.Errorf("half a file %s: %.300q", name, b)
			}
		}
	}
	if k.target != "" {
		k.wholeExport()
	}
}

func (k *killing) wholeExport() {
	k.t.Helper()
	if b, err := os.ReadFile(k.target); err != nil || string(b) != string(k.old) && string(b) != string(k.want) {
		k.t.Errorf("half a file under the final name: %d bytes, want %d, %v", len(b), len(k.want), err)
	}
	if b, err := os.ReadFile(k.target + ".manifest.json"); err == nil && !json.Valid(b) {
		k.t.Errorf("half a manifest: %.300q", b)
	}
}

// wholeText says whether a report ends as it must.
func wholeText(name string, b []byte) bool {
	if name == "summary.json" {
		return json.Valid(b)
	}
	return len(b) > 0 && b[len(b)-1] == '\n'
}

// clean looks for what kills have left behind: nothing that the last command has not
// removed, but for what belongs to commands that were never given again; that is removed
// by `runs prune`, a while later.
func (k *killing) clean() {
	k.t.Helper()
	for _, path := range k.remains() {
		if strings.Contains(path, ".part-") || strings.Contains(path, "fetched.dat") {
			k.t.Errorf("left behind: %s", path)
		}
	}
	before := k.names()
	k.swept()
	if after := k.names(); !slices.Equal(before, after) {
		k.t.Errorf("prune has removed what it should not: there were %v, and are %v", before, after)
	}
	k.private()
}

// swept lets prune remove what kills have left, as if they were long ago.
func (p *place) swept() {
	p.t.Helper()
	entries, err := os.ReadDir(p.runs())
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range entries {
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(filepath.Join(p.runs(), e.Name()), old, old); err != nil {
			p.t.Error(err)
		}
	}
	p.run("runs", "prune", "--force").want(p.t, exitOK)
	if left := p.remains(); len(left) > 0 {
		p.t.Errorf("left behind: %v", left)
	}
	if dirs, names := p.runDirs(), p.names(); len(dirs) != len(names) {
		p.t.Errorf("directories without a run are left behind: %v, runs are %v", dirs, names)
	}
}

// mark gives an account marks at the server.
func (s *server) mark(group, account string, marks ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := map[int64]bool{}
	for _, mark := range marks {
		var n int64
		_, _ = fmt.Sscan(mark, &n)
		set[n] = true
	}
	s.groups[group].marks[account] = set
}

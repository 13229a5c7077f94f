//go:build linux

package chaos

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	_ "modernc.org/sqlite" // reads ledgers
)

// A wreck is a run that was killed or interrupted on its way, as it lies on disk, and
// how the server stood then. It is damaged over and over, always from the same state.
type wreck struct {
	*place
	rows   []row
	header string
	args   []string
	run    string // its name
	copy   string // of the directory of the runs
	early  string // an older copy
	marks  map[string]map[string]map[int64]bool
	counts map[[2]string][]int64

	failed, unprocessed string // reports of the undamaged run
	sum                 summary
}

// newWreck lets a run of marks be ended by a signal at call 30 of some 120: after SIGKILL
// the ledger has a -wal file, after SIGTERM it is in one piece.
func newWreck(t *testing.T, signal syscall.Signal, students int) *wreck {
	return wreckOf(signal, func() *wreck {
		w := &wreck{place: newPlace(t), header: classHeader}
		w.rows = w.classRows(10, students)
		w.args = []string{"marks", "set", w.roster("class.csv", classHeader, w.rows), "--chunk-size", "5", "--workers", "4", "--json", "--quiet"}
		return w
	})
}

// newCountWreck is the same for a run of unread counts.
func newCountWreck(t *testing.T, signal syscall.Signal) *wreck {
	return wreckOf(signal, func() *wreck {
		w := &wreck{place: newPlace(t), header: unreadHeader}
		w.rows = w.countRows(60)
		w.args = []string{"unread", "set", w.roster("counts.csv", unreadHeader, w.rows), "--workers", "4", "--json", "--quiet"}
		return w
	})
}

// wreckOf ends a run that begins anew each time it is made, until it is not caught between
// a commit and the number beside the ledger: damage to that commit cannot be noticed
// (the README says so).
func wreckOf(signal syscall.Signal, begin func() *wreck) *wreck {
	for {
		w := begin()
		w.end(signal)
		if !w.unnumbered() {
			return w
		}
		w.t.Log("killed between a commit and its number: another one")
	}
}

// unnumbered says that the ledger's last commit is not in the number beside it.
func (w *wreck) unnumbered() bool {
	w.t.Helper()
	dir := filepath.Join(w.dir, "numbered") // to read it may change it
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(w.copy, w.run))); err != nil {
		w.t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "ledger.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	var commits, number int64
	if err := db.QueryRow("SELECT commits FROM books").Scan(&commits); err != nil {
		w.t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(w.bytes(filepath.Join(dir, "ledger.db-seq"))), "%020d", &number); err != nil {
		w.t.Fatal(err)
	}
	return number < commits
}

// end begins the run, ends it on its way and keeps how it stands.
func (w *wreck) end(signal syscall.Signal) {
	w.t.Helper()
	c := w.command(w.args...)
	w.early = filepath.Join(w.dir, "early")
	begun := make(chan struct{})
	w.api.misbehave(func(call *call) bool {
		switch call.n {
		case 15:
			_ = os.CopyFS(w.early, os.DirFS(w.runs())) // as it happens to be
		case 30:
			<-begun
			_ = c.Process.Signal(signal)
		}
		return false
	})
	c.begin()
	close(begun)
	c.end()
	w.api.misbehave(nil)
	if len(w.runDirs()) != 1 {
		w.t.Fatalf("got runs %v", w.runDirs())
	}
	w.run = filepath.Base(w.runDirs()[0])
	w.copy = filepath.Join(w.dir, "copy")
	if err := os.CopyFS(w.copy, os.DirFS(w.runs())); err != nil {
		w.t.Fatal(err)
	}
	w.marks, w.counts = w.api.snapshot()
	w.place.run("report", w.run).want(w.t, exitOK)
	w.failed, w.unprocessed, w.sum = w.reports()
	if w.sum.Succeeded == 0 || w.sum.Unprocessed == 0 {
		w.t.Fatalf("it is not on its way: %+v", w.sum)
	}
}

// reports reads what the last report has made.
func (w *wreck) reports() (failed, unprocessed string, sum summary) {
	dir := filepath.Join(w.runs(), w.run)
	if err := json.Unmarshal(w.bytes(filepath.Join(dir, "summary.json")), &sum); err != nil {
		w.t.Error(err)
	}
	return string(w.bytes(filepath.Join(dir, "failed.csv"))), string(w.bytes(filepath.Join(dir, "unprocessed.csv"))), sum
}

// snapshot copies what all groups have; restore puts it back.
func (s *server) snapshot() (marks map[string]map[string]map[int64]bool, counts map[[2]string][]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	marks = map[string]map[string]map[int64]bool{}
	for name, g := range s.groups {
		marks[name] = cloned(g.marks)
	}
	return marks, maps.Clone(s.unread)
}

func (s *server) restore(marks map[string]map[string]map[int64]bool, counts map[[2]string][]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, g := range s.groups {
		g.marks = cloned(marks[name])
	}
	s.unread = maps.Clone(counts)
}

func cloned(marks map[string]map[int64]bool) map[string]map[int64]bool {
	all := map[string]map[int64]bool{}
	for account, set := range marks {
		all[account] = maps.Clone(set)
	}
	return all
}

// harmed puts the run back as it was and does harm to it.
func (w *wreck) harmed(harm func(dir string) error) {
	w.t.Helper()
	w.api.restore(w.marks, w.counts)
	err := errors.Join(os.RemoveAll(w.runs()), os.CopyFS(w.runs(), os.DirFS(w.copy)), os.Chmod(w.runs(), 0o700))
	if err = errors.Join(err, harm(filepath.Join(w.runs(), w.run))); err != nil {
		w.t.Fatal(err)
	}
}

// endsWell does harm and then what a user would do. Each command must either do all that
// it does on the undamaged run, or say clearly that it cannot. It returns how many rows
// have another outcome than is said of them, and whether the run has gone on.
func (w *wreck) endsWell(what string, harm func(dir string) error) (lost int, wentOn bool) {
	w.t.Helper()
	w.harmed(harm)
	w.place.run("runs", "list").want(w.t, exitOK)
	w.refusal(what, w.place.run("runs", "show", w.run))
	if e := w.place.run("report", w.run); e.code == exitOK {
		lost += w.otherReports(what)
	} else {
		w.refusal(what, e)
	}
	w.harmed(harm)
	before := w.api.count()
	e := w.place.run(w.args...)
	calls := w.api.count() - before
	if e.code != exitFailed {
		w.refusal(what, e)
		if n := len(w.runDirs()); n > 1 || e.code == exitUsage && calls > 0 {
			w.t.Errorf("%s: %d runs and %d calls, though it ended with %d: %s", what, n, calls, e.code, e.stderr)
			lost++
		}
		return lost, false
	}
	s := w.summary(e)
	if len(w.runDirs()) > 1 {
		w.t.Errorf("%s: it was begun anew in silence, with %d calls: %s", what, calls, e.stderr)
		return lost + len(w.rows), false
	}
	wrong := w.wrong(s.Run, w.header, w.rows)
	if w.header == classHeader {
		wrong += w.wrongMarks(w.rows)
	} else {
		wrong += w.wrongCounts(w.rows)
	}
	if wrong > 0 {
		w.t.Errorf("%s: %d rows are wrong", what, wrong)
	}
	return lost + wrong, true
}

// otherReports compares reports that were made of a damaged run with those of the
// undamaged one.
func (w *wreck) otherReports(what string) (lost int) {
	failed, unprocessed, sum := w.reports()
	if failed != w.failed || unprocessed != w.unprocessed || sum.Succeeded != w.sum.Succeeded || sum.Failed != w.sum.Failed || sum.Unprocessed != w.sum.Unprocessed {
		w.t.Errorf("%s: the reports are others: %+v, want %+v; %.200q", what, sum, w.sum, failed)
		return 1
	}
	return 0
}

// refusal looks at how a command ended that has perhaps refused a damaged run: with a
// code of the table, the file and what to do.
func (w *wreck) refusal(what string, e end) {
	w.t.Helper()
	switch e.code {
	case exitOK:
		return
	case exitUsage, exitStopped, exitUnbalanced:
	default:
		w.t.Errorf("%s: got exit code %d: %s", what, e.code, e.stderr)
	}
	clear := strings.Contains(e.stderr, w.run) || strings.Contains(e.stderr, "do not balance")
	for _, advice := range []string{"--fresh", "the same command again", "from a copy", "do not balance", "who owns", "another run", "runs list"} {
		if clear && strings.Contains(e.stderr, advice) {
			return
		}
	}
	w.t.Errorf("%s: it does not say what is wrong and what to do: %s", what, e.stderr)
}

// wrongCounts is how many accounts have not, at the server, the last count of rows that
// must have succeeded.
func (p *place) wrongCounts(rows []row) (lost int) {
	p.api.mu.Lock()
	defer p.api.mu.Unlock()
	for _, r := range rows {
		f := strings.Split(r.text, ",")
		got := p.api.unread[[2]string{f[0], f[1]}]
		if r.class == "" && (len(got) == 0 || fmt.Sprint(got[len(got)-1]) != f[2]) {
			lost++
		}
	}
	if lost > 0 {
		p.t.Errorf("%d accounts have wrong counts at the server", lost)
	}
	return lost
}

// TestFlippedBytes flips a bit here and there in the files of a run that was killed, or
// interrupted.
func TestFlippedBytes(t *testing.T) {
	t.Parallel()
	for what, wreck := range map[string]func(t *testing.T) *wreck{
		"marks killed":       func(t *testing.T) *wreck { return newWreck(t, syscall.SIGKILL, 60) },
		"marks interrupted":  func(t *testing.T) *wreck { return newWreck(t, syscall.SIGTERM, 60) },
		"counts killed":      func(t *testing.T) *wreck { return newCountWreck(t, syscall.SIGKILL) },
		"counts interrupted": func(t *testing.T) *wreck { return newCountWreck(t, syscall.SIGTERM) },
	} {
		if !*full && strings.HasSuffix(what, "interrupted") {
			continue
		}
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := wreck(t)
			for name, often := range map[string]int{
				"ledger.db": times(3, 80), "ledger.db-wal": times(1, 20), "ledger.db-shm": times(1, 5), "ledger.db-seq": times(1, 10),
			} {
				w.flipped(what, name, often)
			}
		})
	}
}

// flipped flips a bit of a file so many times.
func (w *wreck) flipped(what, name string, often int) {
	if _, err := os.Stat(filepath.Join(w.copy, w.run, name)); err != nil {
		return // an interrupted run has no -wal
	}
	random := rand.New(rand.NewPCG(8, uint64(len(what)+len(name))))
	on := 0
	for range often {
		var at string
		lost, wentOn := w.endsWell("a flipped bit in "+name, func(dir string) (err error) {
			at, err = flip(filepath.Join(dir, name), random, at)
			return err
		})
		tried.add("a bit flipped in the ledger of a run on its way, or in what lies beside it", 1, lost)
		if wentOn {
			on++
		}
	}
	w.t.Logf("%s: %d of %d went on", name, on, often)
}

// flip flips one bit of a file: the one at a place, if it is not "", else any. It returns
// the place.
func flip(name string, random *rand.Rand, at string) (string, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	i, bit := random.IntN(len(b)), random.IntN(8)
	for try := 0; b[i] == 0 && try < 20; try++ { // most of a small ledger is empty
		i = random.IntN(len(b))
	}
	if at != "" {
		if _, err := fmt.Sscanf(at, "%d.%d", &i, &bit); err != nil {
			return "", err
		}
	}
	b[i] ^= 1 << bit
	return fmt.Sprintf("%d.%d", i, bit), os.WriteFile(name, b, 0o600)
}

// TestCutLedger cuts the files of a killed run at many lengths.
func TestCutLedger(t *testing.T) {
	t.Parallel()
	w := newWreck(t, syscall.SIGKILL, 60)
	for _, name := range []string{"ledger.db", "ledger.db-wal", "ledger.db-seq"} {
		info, err := os.Stat(filepath.Join(w.copy, w.run, name))
		if err != nil {
			t.Fatal(err)
		}
		n := times(1, 20)
		for i := range n {
			size := info.Size() * int64(2*i+1) / int64(2*n)
			if i%3 == 1 {
				size = size / 4096 * 4096 // at the end of a page
			}
			lost, _ := w.endsWell(fmt.Sprintf("%s cut to %d bytes", name, size), func(dir string) error {
				return os.Truncate(filepath.Join(dir, name), size)
			})
			tried.add("a file of a killed run cut short: marks", 1, lost)
		}
	}
}

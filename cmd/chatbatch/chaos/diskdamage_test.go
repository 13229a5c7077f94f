package chaos

import (
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
)

// A wreck is a run that was killed or interrupted on its way, as it lies on disk, and
// how the server stood then. It is damaged over and over, always from the same state.
type wreck struct {
	*place
	rows  []row
	args  []string
	run   string // its name
	copy  string // of the directory of the runs
	marks map[string]map[string]map[int64]bool

	failed, unprocessed string // reports of the undamaged run
	sum                 summary
}

// newWreck lets a run of marks be ended by a signal at call 30 of some 120: after SIGKILL
// the ledger has a -wal file, after SIGTERM it is in one piece.
func newWreck(t *testing.T, signal syscall.Signal, students int) *wreck {
	t.Helper()
	w := &wreck{place: newPlace(t)}
	w.rows = w.classRows(10, students)
	w.args = []string{"marks", "set", w.roster("class.csv", classHeader, w.rows), "--chunk-size", "5", "--workers", "4", "--json", "--quiet"}
	c := w.command(w.args...)
	w.api.misbehave(func(call *call) bool {
		if call.n == 30 {
			_ = c.Process.Signal(signal)
		}
		return false
	})
	c.begin().end()
	w.api.misbehave(nil)
	if len(w.runDirs()) != 1 {
		t.Fatalf("got runs %v", w.runDirs())
	}
	w.run = filepath.Base(w.runDirs()[0])
	w.copy = filepath.Join(w.dir, "copy")
	if err := os.CopyFS(w.copy, os.DirFS(w.runs())); err != nil {
		t.Fatal(err)
	}
	w.marks = w.api.snapshot()
	w.place.run("report", w.run).want(t, exitOK)
	w.failed, w.unprocessed, w.sum = w.reports()
	if w.sum.Succeeded == 0 || w.sum.Unprocessed == 0 {
		t.Fatalf("it is not on its way: %+v", w.sum)
	}
	return w
}

// reports reads what the last report has made.
func (w *wreck) reports() (failed, unprocessed string, sum summary) {
	dir := filepath.Join(w.runs(), w.run)
	if err := json.Unmarshal(w.bytes(filepath.Join(dir, "summary.json")), &sum); err != nil {
		w.t.Error(err)
	}
	return string(w.bytes(filepath.Join(dir, "failed.csv"))), string(w.bytes(filepath.Join(dir, "unprocessed.csv"))), sum
}

// snapshot copies the marks of all groups; restore puts them back.
func (s *server) snapshot() map[string]map[string]map[int64]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]map[string]map[int64]bool{}
	for name, g := range s.groups {
		all[name] = cloned(g.marks)
	}
	return all
}

func (s *server) restore(all map[string]map[string]map[int64]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, g := range s.groups {
		g.marks = cloned(all[name])
	}
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
	w.api.restore(w.marks)
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
	wrong := w.wrong(s.Run, classHeader, w.rows) + w.wrongMarks(w.rows)
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

// TestFlippedBytes flips a bit here and there in the files of a run that was killed.
func TestFlippedBytes(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			w := newWreck(t, signal, 60)
			random := rand.New(rand.NewPCG(8, uint64(signal)))
			for _, name := range []string{"ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db-seq"} {
				if _, err := os.Stat(filepath.Join(w.copy, w.run, name)); err != nil {
					continue
				}
				on := 0
				for range times(map[string]int{"ledger.db": 8, "ledger.db-wal": 4}[name]+1, map[string]int{"ledger.db": 250, "ledger.db-wal": 80}[name]+20) {
					lost, wentOn := w.endsWell("a flipped bit in "+name, func(dir string) error { return flip(filepath.Join(dir, name), random) })
					tried.add("a bit flipped in the ledger of a run on its way, or in what lies beside it: marks", 1, lost)
					if wentOn {
						on++
					}
				}
				t.Logf("%s: %d went on", name, on)
			}
		})
	}
}

// flip flips one bit of a file.
func flip(name string, random *rand.Rand) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	b[random.IntN(len(b))] ^= 1 << random.IntN(8)
	return os.WriteFile(name, b, 0o600)
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
		n := times(3, 40)
		for i := range n {
			size := info.Size() * int64(i) / int64(n)
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

// TestLostFiles takes files of a killed run away, or puts others in their place.
func TestLostFiles(t *testing.T) {
	t.Parallel()
	w := newWreck(t, syscall.SIGKILL, 60)
	other := newWreck(t, syscall.SIGTERM, 59)
	replace := func(name, with string) func(string) error {
		return func(dir string) error {
			b, err := os.ReadFile(with)
			return errors.Join(err, os.WriteFile(filepath.Join(dir, name), b, 0o600))
		}
	}
	remove := func(names ...string) func(string) error {
		return func(dir string) (err error) {
			for _, name := range names {
				err = errors.Join(err, os.Remove(filepath.Join(dir, name)))
			}
			return err
		}
	}
	for what, harm := range map[string]func(dir string) error{
		"nothing":               func(string) error { return nil },
		"no ledger":             remove("ledger.db"),
		"no ledger and no -wal": remove("ledger.db", "ledger.db-wal", "ledger.db-shm"),
		"no -wal":               remove("ledger.db-wal"),
		"no -shm":               remove("ledger.db-shm"),
		"no -wal and no -shm":   remove("ledger.db-wal", "ledger.db-shm"),
		"no -seq":               remove("ledger.db-seq"),
		"a text for a ledger":   replace("ledger.db", filepath.Join(w.dir, "class.csv")),
		"a text for the -wal":   replace("ledger.db-wal", filepath.Join(w.dir, "class.csv")),
		"a text for the -shm":   replace("ledger.db-shm", filepath.Join(w.dir, "class.csv")),
		"a text for the -seq":   replace("ledger.db-seq", filepath.Join(w.dir, "class.csv")),
		"ledger of another run": replace("ledger.db", filepath.Join(other.copy, other.run, "ledger.db")),
		"a directory": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "ledger.db")), os.Mkdir(filepath.Join(dir, "ledger.db"), 0o700))
		},
		"a directory for -seq": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "ledger.db-seq")), os.Mkdir(filepath.Join(dir, "ledger.db-seq"), 0o700))
		},
		"a directory for -wal": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "ledger.db-wal")), os.Mkdir(filepath.Join(dir, "ledger.db-wal"), 0o700))
		},
		"a link that leads on": func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, "ledger.db"), filepath.Join(dir, "x")), os.Symlink("nowhere", filepath.Join(dir, "ledger.db")))
		},
		"the run renamed": func(dir string) error { return os.Rename(dir, dir[:len(dir)-1]+"f") },
	} {
		lost, wentOn := w.endsWell(what, harm)
		tried.add("files of a killed run lost or replaced: marks", 1, lost)
		t.Logf("%s: %v", what, wentOn)
	}
}

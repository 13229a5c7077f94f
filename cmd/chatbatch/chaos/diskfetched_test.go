//go:build linux

package chaos

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestFetchedHarmed damages what an export has fetched and could not publish yet. It
// is published as it was, or not at all.
func TestFetchedHarmed(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	groups, want := p.exportOf(12, 150)
	out, kept := filepath.Join(p.dir, "out"), filepath.Join(p.dir, "copy")
	args := []string{"export", "members", groups, "-o", "out/members.csv", "--json", "--quiet"}
	if err := os.Mkdir(out, 0o700); err != nil {
		t.Fatal(err)
	}
	p.at("get_group_member_info", 10, func() error { return os.Remove(out) })
	p.run(args...).want(t, exitStopped, "write export")
	p.api.misbehave(nil)
	if err := os.CopyFS(kept, os.DirFS(p.runs())); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(9, 9))
	harms := []func(dir string) error{
		func(string) error { return nil },
		remove("fetched.dat"),
		both(remove("fetched.dat"), makeDir("fetched.dat")),
		replace("fetched.dat", groups),
	}
	for range times(2, 60) {
		harms = append(harms, func(dir string) error {
			_, err := flip(filepath.Join(dir, "fetched.dat"), random, "")
			return err
		})
	}
	for i := range times(1, 20) {
		harms = append(harms, func(dir string) error {
			info, err := os.Stat(filepath.Join(dir, "fetched.dat"))
			return errors.Join(err, os.Truncate(filepath.Join(dir, "fetched.dat"), info.Size()*int64(2*i+1)/40))
		})
	}
	published := 0
	for i, harm := range harms {
		err := errors.Join(os.RemoveAll(out), os.Mkdir(out, 0o700), os.RemoveAll(p.runs()), os.CopyFS(p.runs(), os.DirFS(kept)))
		if err = errors.Join(err, harm(p.runDirs()[0])); err != nil {
			t.Fatal(err)
		}
		e, lost := p.run(args...), 0
		if e.code == exitOK {
			published++
			lost = p.exported("out/members.csv", want)
		} else {
			e.want(t, exitStopped, "fetched.dat", "--fresh")
			if left, _ := os.ReadDir(out); len(left) > 0 {
				t.Errorf("harm %d: there is %v", i, left)
			}
		}
		tried.add("what an export has fetched cut, flipped, removed or replaced before it is published", 1, lost)
	}
	t.Logf("%d of %d published", published, len(harms))
	args = append(args, "--fresh")
	p.run(args...).want(t, exitOK)
	tried.add("what an export has fetched cut, flipped, removed or replaced before it is published", 0, p.exported("out/members.csv", want))
}

// TestReportsRemoved removes the reports of a run, or puts something in their way. The
// ledger has all that is in them.
func TestReportsRemoved(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	rows := p.classRows(4, 60)
	e := p.run("marks", "set", p.roster("class.csv", classHeader, rows), "--json", "--quiet")
	e.want(t, exitFailed)
	run := p.summary(e).Run
	dir := filepath.Join(p.runs(), run)
	for _, name := range []string{"failed.csv", "unprocessed.csv", "summary.json", "pace.csv"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	p.run("runs", "show", run).want(t, exitOK)
	p.run("retry", run, "--quiet").want(t, exitFailed)
	p.run("report", run).want(t, exitOK)
	lost := p.wrong(run, classHeader, rows)
	for _, name := range []string{"failed.csv", "unprocessed.csv", "summary.json", "pace.csv"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
			t.Fatal(err)
		}
		p.run("report", run).want(t, exitUsage, path, "not a file")
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
		p.run("report", run).want(t, exitOK)
	}
	tried.add("the reports of a run removed, or directories in their places", 5, lost+p.wrong(run, classHeader, rows))
}

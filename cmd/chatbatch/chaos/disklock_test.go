//go:build linux

package chaos

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestLockFileRemoved removes the lock of a run that goes on, as people do who take it for
// a stale one. The run is still nobody else's.
func TestLockFileRemoved(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	rows := p.classRows(10, 60)
	args := []string{"marks", "set", p.roster("class.csv", classHeader, rows), "--chunk-size", "5", "--workers", "4", "--json", "--quiet"}
	goOn := make(chan struct{})
	p.at("modify_user_info", 30, func() error { <-goOn; return nil })
	first := p.start(args...)
	if !first.until(func() bool { return p.api.count() >= 60 }) {
		t.Fatal("it has ended")
	}
	locks, _ := filepath.Glob(filepath.Join(p.runs(), "*.lock"))
	var errs []error
	for _, name := range locks {
		errs = append(errs, os.Remove(name))
	}
	if err := errors.Join(errs...); err != nil || len(locks) != 1 {
		t.Fatalf("locks %v: %v", locks, err)
	}
	second := p.start(args...).end()
	second.want(t, exitTryLater, "another process")
	run := filepath.Base(p.runDirs()[0])
	p.start("resume", run).end().want(t, exitTryLater, "another process")
	close(goOn)
	e := first.end()
	e.want(t, exitFailed)
	s := p.summary(e)
	lost := p.wrong(s.Run, classHeader, rows) + p.wrongMarks(rows) + s.Replayed
	if calls := p.api.count(); calls > 130 || lost > 0 {
		t.Errorf("%d calls, %+v", calls, s)
	}
	tried.add("the lock of a run removed under it, and the command given again", 2, lost)
}

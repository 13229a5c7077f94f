package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// locking takes the lock so many times and, while it has it, holds a file that
// must not be there yet: two holders would see each other.
func locking(ctx context.Context, dir string, times int) error {
	s, mark := Store{dir}, filepath.Join(dir, "holder")
	for range times {
		unlock, err := s.Lock(ctx, "key", true)
		if err != nil {
			return err
		}
		f, err := os.OpenFile(mark, os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("two holders: %w", err)
		}
		time.Sleep(200 * time.Microsecond)
		if err := errors.Join(f.Close(), os.Remove(mark)); err != nil {
			return err
		}
		unlock()
	}
	return nil
}

func beLocker(dir string) int {
	if err := locking(context.Background(), dir, 25); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func TestLockHasOneHolder(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "LEDGER_TEST_LOCKER="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	for range 12 {
		wg.Go(func() {
			if err := locking(t.Context(), dir, 25); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestLockWaitsOrNot(t *testing.T) {
	s := Store{filepath.Join(t.TempDir(), "not", "yet")}
	unlock, err := s.Lock(t.Context(), "key", false)
	must(t, err)
	if _, err := s.Lock(t.Context(), "key", false); !errors.Is(err, ErrLocked) {
		t.Errorf("second holder: got %v, want ErrLocked", err)
	}
	other, err := s.Lock(t.Context(), "other", false)
	must(t, err)
	other()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Lock(ctx, "key", true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting: got %v, want DeadlineExceeded", err)
	}
	unlock()
	unlock() // again: nothing
	again, err := s.Lock(t.Context(), "key", false)
	must(t, err)
	unlock() // it must not take the lock from its next holder
	if _, err := s.Lock(t.Context(), "key", false); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
	again()
	if _, err := s.Lock(t.Context(), "../key", false); err == nil {
		t.Error("a path as a key: no error")
	}
}

// A lock without waiting must not fail because others are looking at a file
// that is not the lock any more.
func TestFreeLockIsTaken(t *testing.T) {
	s := Store{t.TempDir()}
	for range 50 {
		// What a killed holder leaves.
		must(t, os.WriteFile(filepath.Join(s.Dir, "key.lock"), nil, 0o600))
		unlock, err := s.Lock(t.Context(), "key", false)
		must(t, err)
		unlock()
	}
	if left, _ := os.ReadDir(s.Dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A file that was removed and made anew is another lock: who holds the old one
// holds nothing.
func TestRemovedFileIsNoLock(t *testing.T) {
	f := flock.New(filepath.Join(t.TempDir(), "key.lock"))
	ok, err := f.TryLock()
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	defer f.Close()
	for _, step := range []struct {
		name string
		do   func() error
		want bool
	}{
		{"as it was", func() error { return nil }, true},
		{"removed", func() error { return os.Remove(f.Path()) }, false},
		{"made anew", func() error { return os.WriteFile(f.Path(), nil, 0o600) }, false},
	} {
		must(t, step.do())
		if got, err := current(f); got != step.want || err != nil {
			t.Errorf("%s: got %v, %v, want %v", step.name, got, err, step.want)
		}
	}
}

// What killed processes have left is swept away a while later; what is in use, young, or
// somebody else's is not.
func TestSweep(t *testing.T) {
	s := Store{t.TempDir()}
	old := time.Now().Add(-time.Hour)
	key := func(n int) string { return fmt.Sprintf("%064x", n) }
	rests := []string{key(1) + ".lock", ".input-12", ".removed-20260101T000000.000Z-000061", "20260101T000000.000Z-000062"}
	stay := []string{key(2) + ".lock", "notes.lock", ".input-mine", ".removed-mine", key(3) + ".lock"}
	for _, name := range append(stay, rests...) {
		path := filepath.Join(s.Dir, name)
		if strings.Contains(name, "2026") || name == ".removed-mine" {
			must(t, os.Mkdir(path, 0o700))
		} else {
			must(t, os.WriteFile(path, nil, 0o600))
		}
		if name != key(3)+".lock" { // its process may be about to lock it
			must(t, os.Chtimes(path, old, old))
		}
	}
	unlock, err := s.Lock(t.Context(), key(2), false)
	must(t, err)
	defer unlock()
	s.Sweep()
	for _, name := range rests {
		if _, err := os.Lstat(filepath.Join(s.Dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	for _, name := range stay {
		if _, err := os.Lstat(filepath.Join(s.Dir, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Lock(t.Context(), key(2), false); !errors.Is(err, ErrLocked) {
		t.Errorf("the lock that is held: got %v, want ErrLocked", err)
	}
}

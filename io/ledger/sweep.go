package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// unnamed says that a directory has no ledger yet, and nothing but the draft of
// one: its process was killed, or is about to say which run it plans.
func (s Store) unnamed(run string) bool {
	if !runName.MatchString(run) {
		return false // somebody else's
	}
	if seq, err := readSequence(filepath.Join(s.Path(run), fileName)); seq != 0 || err != nil {
		return false // it had a ledger
	}
	files, err := os.ReadDir(s.Path(run))
	for _, f := range files {
		if f.Name() == fileName || !strings.HasPrefix(f.Name(), fileName) {
			return false
		}
	}
	return err == nil
}

// restFor is how long something must have been there to be swept away. A process
// takes milliseconds from making a directory to naming its run, and from making a
// copy of its input to taking away its name.
const restFor = time.Minute

// Sweep removes what killed processes have left and what belongs to no run:
// directories without a name, locks that nobody holds, the rests of runs that were
// being removed, and copies of inputs that still have a name. What cannot be removed
// is left: it is in nobody's way.
func (s Store) Sweep() {
	entries, _ := os.ReadDir(s.Dir)
	for _, e := range entries {
		i, err := e.Info()
		if err != nil || time.Since(i.ModTime()) < restFor {
			continue
		}
		path := filepath.Join(s.Dir, e.Name())
		switch removed, was := strings.CutPrefix(e.Name(), removedPrefix); {
		case e.IsDir() && (was && runName.MatchString(removed) || s.unnamed(e.Name())):
			_ = os.RemoveAll(path)
		case i.Mode().IsRegular() && copyName.MatchString(e.Name()):
			_ = os.Remove(path)
		case i.Mode().IsRegular() && lockName.MatchString(e.Name()):
			if f, err := tryLock(path); err == nil && f != nil {
				release(f)
			}
		}
	}
}

// removedPrefix is how the name begins of a run that is being removed.
const removedPrefix = ".removed-"

// Remove removes a run and everything in its directory. The caller holds its
// lock. It is gone from the list at once, or not at all.
func (s Store) Remove(_ context.Context, run string) error {
	dir, _, err := s.path(run)
	if err != nil {
		return err
	}
	aside := filepath.Join(s.Dir, removedPrefix+run)
	if err := os.Rename(dir, aside); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove run: %w: %s", ErrNoRun, run)
	} else if err != nil {
		return fmt.Errorf("remove run: %w", err)
	}
	// Also what a Remove that was killed has left.
	left, _ := filepath.Glob(filepath.Join(s.Dir, removedPrefix+"*"))
	for _, dir := range left {
		if e := os.RemoveAll(dir); e != nil && err == nil {
			err = fmt.Errorf("remove run: %w", e)
		}
	}
	return err
}

// elsewhereName marks a directory that has no ledger, but the reports of a run whose
// ledger is in a database.
const elsewhereName = "ledger.elsewhere"

// isLodging says that a directory is one of those.
func (s Store) isLodging(run string) bool {
	_, err := os.Stat(filepath.Join(s.Path(run), elsewhereName))
	return err == nil
}

// Lodge makes the directory for the reports of a run that this store does not have:
// its ledger is in a database.
func (s Store) Lodge(run string) error {
	dir, db, err := s.path(run)
	if err != nil {
		return err
	}
	if err := makeDirs(s.Dir, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := os.Stat(db); err == nil {
		return fmt.Errorf("%s has the ledger of a run of this name", dir)
	}
	return os.WriteFile(filepath.Join(dir, elsewhereName), []byte("the ledger of this run is in a database: see --ledger\n"), 0o600)
}

// Vacate removes the directory that Lodge has made if there is nothing else in it.
func (s Store) Vacate(run string) {
	dir, _, err := s.path(run)
	if err != nil || !s.isLodging(run) {
		return
	}
	if in, err := os.ReadDir(dir); err == nil && len(in) == 1 {
		_ = os.RemoveAll(dir) // what stays is in nobody's way
	}
}

// Unlodge removes the directory that Lodge has made, with the reports, if there is one.
func (s Store) Unlodge(run string) error {
	if _, _, err := s.path(run); err != nil || !s.isLodging(run) {
		return err
	}
	return os.RemoveAll(s.Path(run))
}

package report

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// aside is a file that is written beside its final name and takes it when it is
// whole and on disk. (renameio does the same on Unix; its portable half has no
// streams.)
type aside struct {
	*bufio.Writer
	f    *os.File
	path string // final
	done bool
}

// stale is the age at which a file left by a process that was killed is removed.
const stale = time.Hour

func createAside(path string) (*aside, error) {
	dir, pattern := filepath.Dir(path), "."+filepath.Base(path)+".part-*"
	old, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		old = nil // a directory whose own name is a pattern: leave them
	}
	for _, name := range old {
		if i, err := os.Stat(name); err == nil && time.Since(i.ModTime()) > stale {
			_ = os.Remove(name)
		}
	}
	f, err := os.CreateTemp(dir, pattern) // 0600
	if err != nil {
		return nil, err
	}
	return &aside{bufio.NewWriterSize(f, 64<<10), f, path, false}, nil
}

// replace puts the file under its final name, durably.
func (a *aside) replace() error {
	if err := errors.Join(a.Flush(), a.f.Chmod(0o600), a.f.Sync()); err != nil {
		return err
	}
	if err := a.f.Close(); err != nil {
		return err
	}
	if err := os.Rename(a.f.Name(), a.path); err != nil {
		return err
	}
	a.done = true
	// The name itself is durable once the directory is. Where directories
	// cannot be synced there is nothing to be done about it.
	if d, err := os.Open(filepath.Dir(a.path)); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
	return nil
}

// discard removes the file unless it has its final name.
func (a *aside) discard() {
	if a.done {
		return
	}
	_ = a.f.Close()
	if err := os.Remove(a.f.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return // the next report removes it when it is stale
	}
}

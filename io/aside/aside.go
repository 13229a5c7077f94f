// Package aside writes files that appear whole.
//
// A file is written beside its final name and takes that name when it is
// complete and on disk. So there is never half a file under the final name,
// whatever happens to the process, and whoever has the old one open goes on
// reading the old one. The files hold people's data: only their owner can read
// them, also where a file that anybody could read had the name before.
//
// The package does not lock: of two that write the same name side by side, the
// one that is done last has it.
package aside

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// stale is the age at which a file left by a process that was killed is removed
// where it cannot be locked. A file that is being written is younger: each write
// makes it new.
const stale = time.Hour

// createTries bounds how often a file is taken away before it can be locked.
const createTries = 10

// infix stands between the final name and what makes the name beside it unique.
const infix = ".part-"

// maxBase bounds how much of the final name is in the name beside it, in bytes:
// most file systems take names of 255.
const maxBase = 200

// bufferSize is what a File holds back, in bytes.
const bufferSize = 64 << 10

// errDone is the answer to a File that is used after its end.
var errDone = errors.New("the file is replaced or discarded already")

// A File is a file that does not have its final name yet. It is written through
// the [bufio.Writer] in it, and ends with Replace or Discard. It is not safe for
// concurrent use.
type File struct {
	*bufio.Writer
	f        *os.File
	path     string // final
	prepared bool   // all bytes are on disk
	done     bool   // it has the final name, or is gone
}

// Create begins a file that will be found under path. Until then it lies in the
// same directory, which must exist, with mode 0600 and under a name that begins
// with a dot. Files of the same final name that were left there by processes
// that were killed are removed: at once where files can be locked, and when they
// are an hour old elsewhere.
//
// What may stand under path is a regular file, or nothing; a symbolic link is
// followed. All else is refused: to put a file in the place of /dev/null would
// be a pity.
func Create(path string) (*File, error) {
	path, err := final(path)
	if err != nil {
		return nil, err
	}
	dir, prefix := filepath.Dir(path), prefixOf(path)
	sweep(dir, prefix)
	for range createTries {
		f, err := os.CreateTemp(dir, prefix+"*") // 0600
		if err != nil {
			return nil, err
		}
		if claim(f) {
			return &File{Writer: bufio.NewWriterSize(f, bufferSize), f: f, path: path}, nil
		}
		_ = f.Close()
	}
	return nil, fmt.Errorf("create %s: the file beside it is taken away again and again", path)
}

// final gives the name that the file is going to have.
func final(path string) (string, error) {
	if base := filepath.Base(path); path == "" || os.IsPathSeparator(path[len(path)-1]) || base == "." || base == ".." {
		return "", fmt.Errorf("create %q: not the name of a file", path)
	}
	i, err := os.Lstat(path)
	if err == nil && i.Mode()&fs.ModeSymlink != 0 {
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return "", err
		}
		i, err = os.Lstat(path)
	}
	switch {
	case err == nil && !i.Mode().IsRegular():
		return "", fmt.Errorf("create %s: there is something that is not a file", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err // e.g. the name is too long; the one beside it would not be
	}
	return path, nil
}

// prefixOf is how the names begin that a file has before its final one. It is
// short enough for every file system, and no pattern.
func prefixOf(path string) string {
	base := filepath.Base(path)
	return "." + strings.ReplaceAll(base[:min(len(base), maxBase)], "*", "_") + infix
}

// sweep removes what killed processes left. It is a courtesy: errors do not
// matter, the next one tries again.
func sweep(dir, prefix string) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for _, name := range names {
		unique, ok := strings.CutPrefix(name, prefix)
		if !ok || strings.Trim(unique, "0123456789") != "" {
			continue
		}
		old := filepath.Join(dir, name)
		i, err := os.Lstat(old)
		switch {
		case err != nil || !i.Mode().IsRegular():
		case time.Since(i.ModTime()) > stale:
			_ = os.Remove(old)
		default:
			removeUnclaimed(old)
		}
	}
}

// Prepare brings all that was written to the disk. After it nothing can be
// written, and Replace has little left that may go wrong: for those who replace
// several files and want all of them or none. It may be left out.
func (f *File) Prepare() error {
	switch {
	case f.done:
		return errDone
	case f.prepared:
		return f.Flush() // an error if something was written since
	}
	if err := errors.Join(f.Flush(), f.f.Chmod(0o600), f.f.Sync()); err != nil {
		return err
	}
	// It is locked while it is open: until it has its name, where that can be.
	if !renamesOpen {
		if err := f.f.Close(); err != nil {
			return err
		}
	}
	f.prepared = true
	f.Reset(closed{})
	return nil
}

// closed refuses what is written behind the end.
type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, errDone }

// Replace puts the file under its final name, durably: when it has returned
// nil, the file is there after a crash of the machine too. After an error the
// old file is as it was; call Discard then.
func (f *File) Replace() error {
	if err := f.Prepare(); err != nil {
		return err
	}
	if err := os.Rename(f.f.Name(), f.path); err != nil {
		return err
	}
	f.done = true
	_ = f.f.Close() // all of it is on disk already
	// The name itself is durable once the directory is. Where directories
	// cannot be synced there is nothing to be done about it.
	if d, err := os.Open(filepath.Dir(f.path)); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
	return nil
}

// Discard removes the file unless it has its final name. It may be called at
// any time, also twice and after Replace, so that it can be deferred.
func (f *File) Discard() {
	if f.done {
		return
	}
	f.done = true
	_ = f.f.Close()
	f.Reset(closed{})
	// What cannot be removed now is removed by a later Create, when it is stale.
	_ = os.Remove(f.f.Name())
}

package limiter

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"github.com/gofrs/flock"
)

// members is a folder with one file for each opening of a budget. Whoever opened
// it holds a kernel lock on its file for life. The lock outlasts any stop
// of the process and none of its deaths, so it tells one from the other where
// no time-out can. All methods run under the lock of the lanes.
type members struct {
	dir  string
	id   uint32       // never 0
	lock *flock.Flock // nil until joined
}

func (m *members) path(id uint32) string {
	return filepath.Join(m.dir, fmt.Sprintf("%08x", id))
}

// join makes this member known, after it has removed the files of dead ones. A
// member whose file was removed by a stranger joins again under its old id.
func (m *members) join() error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	if m.lock != nil {
		_ = m.lock.Close() // of a file that is no longer there
	}
	if err := m.sweep(); err != nil {
		return err
	}
	for m.id == 0 || m.exists() {
		m.id = rand.Uint32()
	}
	lock := flock.New(m.path(m.id), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err == nil && !ok {
		err = errors.New("somebody else has locked it")
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", m.path(m.id), err)
	}
	m.lock = lock
	return nil
}

func (m *members) exists() bool {
	_, err := os.Lstat(m.path(m.id))
	return err == nil
}

// sweep removes the files of dead members. Lanes that they held are free, since a
// holder without a file is dead too.
func (m *members) sweep() error {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if id, err := strconv.ParseUint(e.Name(), 16, 32); err == nil {
			m.dead(uint32(id))
		}
	}
	return nil
}

// dead says whether a member is gone for good, and removes its file if so. When
// in doubt a member lives.
func (m *members) dead(id uint32) bool {
	lock := flock.New(m.path(id), flock.SetFlag(os.O_RDWR)) // do not create it
	ok, err := lock.TryLock()
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil || !ok {
		return false
	}
	_ = lock.Close() // first: Windows does not remove open files
	_ = os.Remove(m.path(id))
	return true
}

// leave ends the membership. It is the one method that may run without the lock
// of the lanes, if remove is false: the file that stays is that of a dead member.
func (m *members) leave(remove bool) error {
	if m.lock == nil {
		return nil
	}
	err := m.lock.Close()
	if remove {
		err = errors.Join(err, os.Remove(m.path(m.id)))
	}
	return err
}

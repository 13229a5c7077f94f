//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package aside

import (
	"errors"
	"os"
	"syscall"
)

// renamesOpen says that a file can be renamed while it is open.
const renamesOpen = true

// claim locks a new file for as long as it is open: a process that is killed lets go
// of it. It says false if the file is no longer there: somebody has taken it for the rest
// of a killed process in the moment before. Where files cannot be locked it says true.
func claim(f *os.File) bool {
	if err := tryLock(f); err != nil {
		return !errors.Is(err, syscall.EWOULDBLOCK)
	}
	mine, err := f.Stat()
	if err != nil {
		return true // the first write says what is wrong
	}
	named, err := os.Lstat(f.Name())
	return err == nil && os.SameFile(mine, named)
}

// removeUnclaimed removes a file that no process has claimed.
func removeUnclaimed(path string) {
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close() // and not before it is removed
	if tryLock(f) == nil {
		_ = os.Remove(path)
	}
}

func tryLock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

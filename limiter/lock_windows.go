package limiter

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// tryLock locks f against other openings of it, without waiting. It locks one
// byte far behind the end, since Windows keeps others from reading locked bytes.
func tryLock(f *os.File) (bool, error) {
	err := windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, farAway())
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}

func unlock(f *os.File) error {
	return windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, farAway())
}

func farAway() *windows.Overlapped { return &windows.Overlapped{OffsetHigh: 1} }

// identity would tell f from its copies.
func identity(*os.File) uint64 { return 0 }

// removed is never true: Windows does not remove a file that is open.
func removed(*os.File) (bool, error) { return false, nil }

// hostClock is the time since the host was started: all processes of the host
// read the same, and setting the wall clock changes nothing.
func hostClock() (time.Duration, error) { return windows.DurationSinceBoot(), nil }

// hostBoot would tell one start of this host from another. Without it, a lease of
// before is taken for one of now only if the host was up for as long then.
func hostBoot() uint64 { return 1 }

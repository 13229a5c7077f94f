//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package limiter

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock locks f against other openings of it, without waiting.
//
// Not gofrs/flock, as for the members: it opens and closes the file each time,
// 4.9 µs a lock against 0.9, and a call needs two.
func tryLock(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return err == nil, err
}

func unlock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_UN) }

// identity tells f from other files of this host, also from its copies.
func identity(f *os.File) uint64 {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return 0
	}
	return uint64(st.Dev)<<40 ^ uint64(st.Ino)
}

// removed says whether f is no longer in its directory.
func removed(f *os.File) (bool, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	return st.Nlink == 0, err
}

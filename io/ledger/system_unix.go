//go:build unix

package ledger

import (
	"errors"
	"syscall"
)

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func isReadOnly(err error) bool { return errors.Is(err, syscall.EROFS) }

// isBroken says that a disk fails, or that a file has the size that is allowed.
func isBroken(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EFBIG)
}

// isInvalid says that the file system does not sync directories.
func isInvalid(err error) bool { return errors.Is(err, syscall.EINVAL) }

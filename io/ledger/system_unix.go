//go:build unix

package ledger

import (
	"errors"
	"syscall"
)

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// isInvalid says that the file system does not sync directories.
func isInvalid(err error) bool { return errors.Is(err, syscall.EINVAL) }

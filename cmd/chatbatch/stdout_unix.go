//go:build unix

package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// closedStream says that a standard stream was closed when the program was started. Go
// puts the null device in its place, open for both ways; a shell opens that one way.
func closedStream(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	null, err := os.Stat(os.DevNull)
	if err != nil {
		return false
	}
	here, err := f.Stat()
	if err != nil || !os.SameFile(null, here) {
		return false
	}
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_ACCMODE == unix.O_RDWR
}

//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// foreground says whether the process is in the foreground of its terminal. One that
// was started with & must not draw over what its user types.
func foreground(tty *os.File) bool {
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}

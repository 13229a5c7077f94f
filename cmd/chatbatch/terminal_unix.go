//go:build unix

package main

import (
	"os"

	"github.com/vbauerster/mpb/v8"
	"golang.org/x/sys/unix"
)

// frames writes what is drawn from the first column on. mpb goes up from wherever the
// cursor is, and that is behind the ^C that the terminal shows for a key.
type frames struct{ tty *os.File }

func (f frames) Write(p []byte) (int, error) {
	n, err := f.tty.Write(append([]byte{'\r'}, p...))
	return max(0, n-1), err
}

// drawnOn says where bars are drawn. To mpb that is no terminal: a width takes the place
// of the size, which is asked for when it is drawn.
func drawnOn(tty *os.File) []mpb.ContainerOption {
	return []mpb.ContainerOption{mpb.WithOutput(frames{tty}), mpb.WithAutoRefresh(), mpb.WithWidth(1 << 10)}
}

// foreground says whether the process is in the foreground of its terminal. One that
// was started with & must not draw over what its user types.
func foreground(tty *os.File) bool {
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}

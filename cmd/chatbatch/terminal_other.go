//go:build !unix

package main

import (
	"os"

	"github.com/vbauerster/mpb/v8"
)

// drawnOn says where bars are drawn.
func drawnOn(tty *os.File) []mpb.ContainerOption {
	return []mpb.ContainerOption{mpb.WithOutput(tty)}
}

func foreground(*os.File) bool { return true }

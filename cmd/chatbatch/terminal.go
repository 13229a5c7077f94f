package main

import (
	"io"
	"os"

	"golang.org/x/term"

	"chatbatch/io/report"
)

// lookOf is how things are shown on a stream.
func lookOf(out io.Writer, getenv func(string) string) report.Look {
	return report.Look{Color: colours(out, getenv), Columns: columnsOf(out)}
}

// colours says whether a stream is a terminal that wants colours.
func colours(out io.Writer, getenv func(string) string) bool {
	return isTerminal(out) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
}

func isTerminal(stream any) bool { return terminalOf(stream) != nil }

// terminalOf is the terminal that a stream is; nil if it is none.
func terminalOf(stream any) *os.File {
	if b, ok := stream.(*board); ok {
		stream = b.out
	}
	if f, ok := stream.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// columnsOf is how wide a terminal is; one that does not say it is as wide as most
// are. It is 0 where there is none.
func columnsOf(out io.Writer) int {
	if columns, _ := sizeOf(out); columns > 0 || !isTerminal(out) {
		return columns
	}
	return 80
}

// sizeOf is the size of a terminal; 0, 0 where it is none, or does not say it.
func sizeOf(out io.Writer) (columns, lines int) {
	if f := terminalOf(out); f != nil {
		if columns, lines, err := term.GetSize(int(f.Fd())); err == nil {
			return columns, lines
		}
	}
	return 0, 0
}

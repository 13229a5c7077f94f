// Command chatbatch runs bulk jobs against the server REST API of Tencent
// Cloud Chat, inside one budget of calls a second, and says of every row of its
// input what became of it.
package main

import (
	"context"
	"errors"
	"io"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/pprof"
	"syscall"

	"github.com/jedib0t/go-pretty/v6/text"
)

// A world is what the process gives to a command: nothing else in the program
// reads the environment or the standard streams.
type world struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	environ        func() []string // NAME=VALUE; nil: it is not known whole
	ending         *ending         // of the command that is given, see [run]
}

// errInterrupted is the cause of a context that a signal has ended.
var errInterrupted = errors.New("interrupted")

// usualMemory is what the collector keeps the memory below, as long as what is in use
// allows that: with the program's own pages, and what SQLite takes, it is 64 MiB.
// Planning 10 million rows took 72 MiB without it on a fast machine, and a tenth less
// time. Beyond it, as in an export of many large groups at once, the collector takes up
// to half of the processor.
const usualMemory = 40 << 20

func main() {
	// A closed pipe must come back as an error of the write, not kill a run
	// before its books are written.
	signal.Ignore(syscall.SIGPIPE)
	// Memory is promised to be small, and there is time: the budget of calls,
	// not the processor, bounds a run.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(usualMemory)
	}
	// net/http logs there what a server sends unasked, and that may quote the request,
	// with its UserSig.
	log.SetOutput(io.Discard)
	// As terminals show them by default, whatever the locale is: with characters like …
	// as wide as two, tables are crooked for who has a Chinese one.
	text.OverrideRuneWidthEastAsianWidth(false)
	ctx, stop := interruptible(context.Background(), os.Stderr)
	code := run(ctx, os.Args[1:], world{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, environ: os.Environ})
	stop()
	os.Exit(code)
}

// interruptible returns a context that ends at the first signal. The second
// one exits at once. Nothing is printed here but what SIGQUIT asks for: a stderr
// that nobody reads must not keep a signal from being heard.
func interruptible(parent context.Context, stderr io.Writer) (context.Context, func()) {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT}
	if !signal.Ignored(syscall.SIGHUP) { // by nohup
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, cancel := context.WithCancelCause(parent)
	got := make(chan os.Signal, 2)
	signal.Notify(got, signals...)
	done := make(chan struct{})
	go func() {
		for first := true; ; first = false {
			var s os.Signal
			select {
			case <-done:
				return
			case s = <-got:
			}
			switch {
			case s == syscall.SIGQUIT:
				// What all goroutines do is what this signal is for. But Go would exit
				// with 2 then, and 2 says that nothing was sent.
				go func() {
					_ = pprof.Lookup("goroutine").WriteTo(stderr, 2)
					os.Exit(exitInterrupted)
				}()
			case !first:
				os.Exit(exitInterrupted)
			}
			cancel(errInterrupted)
		}
	}()
	return ctx, func() {
		signal.Stop(got)
		close(done)
	}
}

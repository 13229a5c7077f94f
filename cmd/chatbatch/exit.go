package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"chatbatch/io/ledger"
	"chatbatch/io/roster"
	"chatbatch/jobs"
)

// Exit codes are an interface: scripts decide by them.
const (
	exitOK          = 0
	exitFailed      = 1  // the run finished, some rows failed
	exitUsage       = 2  // usage or configuration, nothing sent
	exitInput       = 3  // input refused, nothing sent
	exitStopped     = 4  // stopped by a guard, resumable
	exitRefused     = 5  // the server refuses the run, resumable
	exitInterrupted = 6  // resumable
	exitUnbalanced  = 7  // the books do not balance
	exitTryLater    = 75 // locked, the database of --limiter or --ledger away, or --max-duration reached
)

// exitHelp is printed with the help of the commands that run jobs.
const exitHelp = `Exit codes:
  0   every row succeeded
  1   the run finished, some rows failed
  2   usage or configuration, nothing sent
  3   input refused, nothing sent
  4   stopped by a guard (resumable)
  5   the server refuses the run: credentials, permission of the app (resumable)
  6   interrupted (resumable)
  7   the books do not balance
  75  try later: locked, the database of --limiter or --ledger away, or
      --max-duration reached (resumable)`

// A codedError ends the program with its code. Where err is nil nothing is
// printed: it has been said.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *codedError) Unwrap() error { return e.err }

// usage marks an error as one of usage or configuration.
func usage(format string, args ...any) error {
	return &codedError{exitUsage, fmt.Errorf(format, args...)}
}

// ofPlace marks an error about a place on disk that was chosen by the user as one of
// usage, unless it is the disk that is to blame.
func ofPlace(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if ledger.OfDisk(err) {
		return err
	}
	return &codedError{exitUsage, err}
}

// addressPassword finds user and password of an address. One that stands where no
// address is expected would be quoted as what it was taken for.
var addressPassword = regexp.MustCompile(`(://)[^/\s"'@]*:[^\s"'@]*@`)

// exitCode says how the program ends after err, and prints err.
func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return exitOK
	}
	if text := said(err); text != "" {
		fmt.Fprintf(stderr, "chatbatch: %s\n", text)
	}
	return codeOf(err)
}

// said is what is said of an error; "" if it has been said.
func said(err error) string {
	if coded, ok := errors.AsType[*codedError](err); err == nil || ok && coded.err == nil {
		return ""
	}
	return addressPassword.ReplaceAllString(err.Error(), "$1…@") + diskAdvice(err)
}

// diskAdvice is what to do about a disk that is full or fails, unless err says it.
func diskAdvice(err error) string {
	if _, ok := errors.AsType[*ledger.FileError](err); ok || !ledger.OfDisk(err) {
		return ""
	}
	text := " (see to the space on that disk, its quota, and the limit on the size of files"
	if strings.Contains(err.Error(), "the same command again") {
		return text + ")"
	}
	return text + "; then run the same command again)"
}

func codeOf(err error) int {
	if coded, ok := errors.AsType[*codedError](err); ok {
		return coded.code
	}
	_, state := stateAfter(err)
	switch {
	case isInput(err):
		return exitInput
	case errors.Is(err, ledger.ErrUnbalanced):
		return exitUnbalanced
	case errors.Is(err, ledger.ErrLocked), errors.Is(err, ledger.ErrUnreachable):
		return exitTryLater
	case state != 0:
		return state
	case ledger.OfDisk(err):
		return exitStopped
	}
	return exitUsage
}

// cutShort gives the reason for which ctx has ended in the place of an error that says
// no more than that it has: whoever was cut short, planning or waiting, does not
// know why. What has a code that says that calls were made keeps it.
func cutShort(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	if coded, ok := errors.AsType[*codedError](err); ok && coded.code != exitUsage && coded.code != exitInput {
		return err
	}
	return context.Cause(ctx)
}

func isInput(err error) bool {
	if _, ok := errors.AsType[*roster.HeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*roster.PackError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*roster.EncodingError](err); ok {
		return true
	}
	_, ok := errors.AsType[*jobs.InputError](err)
	return ok
}

// stateAfter says what state the reason for which a run ended leaves it in, and
// the exit code that goes with it; 0 if err is not such a reason.
func stateAfter(err error) (ledger.State, int) {
	if _, ok := errors.AsType[*jobs.RunRefusedError](err); ok {
		return ledger.Refused, exitRefused
	}
	if _, ok := errors.AsType[*jobs.GuardError](err); ok {
		return ledger.Stopped, exitStopped
	}
	switch {
	case err == nil:
		return ledger.Finished, exitOK
	case errors.Is(err, errInterrupted):
		return ledger.Interrupted, exitInterrupted
	case errors.Is(err, errExpired):
		return ledger.Expired, exitTryLater
	}
	return "", 0
}

package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// What can be wrong with a ledger or a store. All errors of this package that
// concern a file name it and say what can be done.
var (
	// ErrUnbalanced says that a row has not exactly one outcome.
	ErrUnbalanced = errors.New("books do not balance")
	// ErrDamaged says that the file, or one that belongs to it, is broken or gone.
	ErrDamaged = errors.New("ledger is damaged")
	// ErrForeign says that a file is not a ledger of this program.
	ErrForeign = errors.New("not a ledger")
	// ErrFull says that the disk is full.
	ErrFull = errors.New("disk is full")
	// ErrDisk says that the disk fails, or takes no more for another reason than
	// that it is full.
	ErrDisk = errors.New("disk fails")
	// ErrNoRun says that there is no run of that name.
	ErrNoRun = errors.New("no such run")
	// ErrNotRunning says that nobody is to work on the run now.
	ErrNotRunning = errors.New("the run is not to be worked on")
	// ErrNotPlanned says that the planning of a run never ended.
	ErrNotPlanned = errors.New("planning never ended: the run counts as never begun")
	// ErrFinished says that a run is finished and cannot begin again.
	ErrFinished = errors.New("run is finished")
	// ErrSettled says that a chunk, or an entry, has its outcome already.
	ErrSettled = errors.New("settled already")
	// ErrShared says that a run is one of many hosts, and not for one alone.
	ErrShared = errors.New("the run is one of many hosts")
	// ErrTaken says that another host has a chunk in hand.
	ErrTaken = errors.New("in the hands of another host")
	// ErrLocked says that another process holds the lock.
	ErrLocked = errors.New("locked by another process")
	// ErrNotQueued says that a change was not made, nor will be.
	ErrNotQueued = errors.New("change was not queued")
	// ErrDropped says that what a run fetched was removed; see Ledger.DropKept.
	ErrDropped = errors.New("what the run fetched was removed")
	// ErrClosed says that the Ledger was closed.
	ErrClosed = errors.New("ledger is closed")
)

// FileError is an error that concerns the ledger's file.
type FileError struct {
	Path string
	Op   string // what was tried, e.g. "settle chunk 7"
	Hint string // what can be done; may be empty
	Err  error
}

// Error names the file and says what can be done.
func (e *FileError) Error() string {
	s := fmt.Sprintf("%s: %s: %v", e.Path, e.Op, e.Err)
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

// Unwrap returns what lies behind it.
func (e *FileError) Unwrap() error { return e.Err }

func fileError(path, op string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*FileError](err); ok {
		return err // it says all this already
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", op, err)
	}
	hint, kind := diagnose(err)
	if kind != nil && !errors.Is(err, kind) {
		err = fmt.Errorf("%w: %w", kind, err)
	}
	return &FileError{Path: path, Op: op, Hint: hint, Err: err}
}

const (
	hintDamaged = "restore the run's directory from a copy, or start a new run with --fresh"
	hintFull    = "free some space, then run the same command again"
	hintAccess  = "see who owns the run's directory, whether it can be written, and how many files may be open (ulimit -n)"
	hintIO      = "see to the disk, its quota and the limit on the size of files (ulimit -f), then run the same command again"
)

// OfDisk says whether it is the disk that is behind err: it is full, or fails. The
// same may succeed once that is seen to.
func OfDisk(err error) bool {
	return errors.Is(err, ErrFull) || errors.Is(err, ErrDisk) || isNoSpace(err) || isBroken(err)
}

// diagnose finds the sentinel and the advice that fit an error.
func diagnose(err error) (hint string, kind error) {
	se, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		switch {
		case errors.Is(err, ErrDamaged):
			return hintDamaged, nil
		case errors.Is(err, sql.ErrNoRows), strings.Contains(err.Error(), "sql: Scan error"):
			// What always stands there is not there, or is of another type.
			return hintDamaged, ErrDamaged
		case errors.Is(err, ErrDropped):
			return "to fetch it again, start a new run with --fresh", nil
		case errors.Is(err, ErrNotPlanned):
			return "unless a process is planning it just now, run its command again", nil
		case errors.Is(err, ErrLocked):
			return "it works on this run: wait for it, or end it", nil
		case errors.Is(err, ErrForeign):
			return "name another run, or another directory of runs", nil
		case errors.Is(err, fs.ErrPermission), isReadOnly(err):
			return hintAccess, nil
		case isNoSpace(err):
			return hintFull, ErrFull
		case isBroken(err):
			return hintIO, ErrDisk
		}
		return "", nil
	}
	switch se.Code() & 0xff { // the upper bits say more precisely where
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH,
		sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT: // a table or a column has another name; two rows are one
		return hintDamaged, ErrDamaged
	case sqlite3.SQLITE_FULL:
		return hintFull, ErrFull
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH:
		return hintAccess, nil
	case sqlite3.SQLITE_IOERR:
		// A read past the end is how a file that was cut off shows.
		switch se.Code() {
		case sqlite3.SQLITE_IOERR_SHORT_READ:
			return hintDamaged, ErrDamaged
		case sqlite3.SQLITE_IOERR_SHMSIZE: // the -shm file cannot grow
			return hintFull, ErrFull
		}
		return hintIO, ErrDisk
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return "another process is writing it: wait for it, or end it", nil
	}
	return "", nil
}

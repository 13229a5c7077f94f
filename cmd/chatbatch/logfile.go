package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
)

// A logFile is what --log-file names. What it does not take is lost, and the run goes
// on: the log is no part of its books. It is never cut off nor opened again, so that
// it may be copied and truncated by others meanwhile.
type logFile struct {
	say *slog.Logger // that lines are lost

	mu   sync.Mutex
	f    *os.File // under mu
	lost bool     // under mu; it was said
	torn bool     // under mu; the last line has no end
}

func openLog(name string, say *slog.Logger) (*logFile, error) {
	// To open a pipe that nobody reads would last for ever.
	if info, err := os.Stat(name); err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
		return nil, fmt.Errorf("%s is a pipe, want a file", name)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return &logFile{say: say, f: f}, nil
}

// Write writes one line. It has no error: who says something has other things to do.
func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := line
	if l.torn {
		text = append([]byte{'\n'}, line...)
	}
	n, err := l.f.Write(text)
	if err == nil {
		l.torn = false
		return len(line), nil
	}
	l.torn = l.torn || n > 0
	if !l.lost && !errors.Is(err, os.ErrClosed) {
		l.lost = true
		l.say.Error("lines of the log are lost, and the run goes on: " + err.Error())
	}
	return len(line), nil
}

func (l *logFile) close() {
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		_ = l.f.Close() // what it did not take was said
	}
}

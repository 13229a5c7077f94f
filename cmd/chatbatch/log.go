package main

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/lmittmann/tint"
)

// logs is where a job says what it does. stdout is for data.
type logs struct {
	log  *slog.Logger // stderr, and what --log-file names
	file *slog.Logger // the file alone: what people see on stderr in another form
	run  *runID       // of the job, from when it has one
	kept *logFile     // nil: there is none
}

// A runID is the id of a run that may not have begun.
type runID = atomic.Pointer[string]

// begin makes lines belong to a run.
func (l *logs) begin(run string) { l.run.Store(&run) }

// of makes the logs of one job of several.
func (l *logs) of(job string) logs {
	run := new(runID)
	part := func(log *slog.Logger) *slog.Logger { return slog.New(runHandler{log.Handler(), run}).With("job", job) }
	return logs{part(l.log), part(l.file), run, nil}
}

// openLogs opens the logs of a command.
func (o *output) openLogs(stderr io.Writer, color bool) (l logs, err error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return l, usage("--log-level %q: it is debug, info, warn or error", o.logLevel)
	}
	shown := level
	if o.quiet {
		shown = max(level, slog.LevelError)
	}
	here, err := o.handler(stderr, shown, time.TimeOnly, color)
	if err != nil {
		return l, err
	}
	l.run = new(runID)
	l.log, l.file = slog.New(runHandler{here, l.run}), slog.New(slog.DiscardHandler)
	if o.logFile == "" {
		return l, nil
	}
	if l.kept, err = openLog(o.logFile, slog.New(runHandler{here, l.run})); err != nil {
		return l, usage("--log-file: %w", err)
	}
	there, err := o.handler(l.kept, level, time.RFC3339, false)
	l.file = slog.New(runHandler{there, l.run})
	l.log = slog.New(runHandler{slog.NewMultiHandler(here, there), l.run})
	return l, err
}

// handler makes the handler that writes lines as --log-format says.
func (o *output) handler(out io.Writer, level slog.Level, timeFormat string, color bool) (slog.Handler, error) {
	switch o.logFormat {
	case "json":
		return slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level}), nil
	case "text":
		return tint.NewTextHandler(out, &tint.Options{Level: level, TimeFormat: timeFormat, NoColor: !color}), nil
	}
	return nil, usage("--log-format %q: it is text or json", o.logFormat)
}

// A runHandler puts the id of the run on each line, once there is one. It stands at
// the end, behind what the line is about.
type runHandler struct {
	slog.Handler
	run *runID
}

func (h runHandler) Handle(ctx context.Context, r slog.Record) error {
	if run := h.run.Load(); run != nil {
		r = r.Clone()
		r.AddAttrs(slog.String("run", *run))
	}
	return h.Handler.Handle(ctx, r)
}

func (h runHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return runHandler{h.Handler.WithAttrs(attrs), h.run}
}

func (h runHandler) WithGroup(name string) slog.Handler {
	return runHandler{h.Handler.WithGroup(name), h.run}
}

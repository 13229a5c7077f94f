package main

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// logger makes the log of a command. It goes to stderr: stdout is for data.
func (o *output) logger(w world) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return nil, usage("--log-level %q: it is debug, info, warn or error", o.logLevel)
	}
	if o.quiet {
		level = max(level, slog.LevelError)
	}
	switch o.logFormat {
	case "json":
		return slog.New(slog.NewJSONHandler(w.stderr, &slog.HandlerOptions{Level: level})), nil
	case "text":
		return slog.New(tint.NewTextHandler(w.stderr, &tint.Options{
			Level: level, TimeFormat: time.TimeOnly, NoColor: !colours(w.stderr, w.getenv),
		})), nil
	}
	return nil, usage("--log-format %q: it is text or json", o.logFormat)
}

// colours says whether a stream is a terminal that wants colours.
func colours(out io.Writer, getenv func(string) string) bool {
	f, ok := out.(*os.File)
	return ok && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

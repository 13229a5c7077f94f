package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chatbatch/io/notify"
)

const (
	// notifyTime bounds what a web hook may delay the end of the program by.
	notifyTime = 30 * time.Second

	// leastNotifyTime is what it has in a program that was told to stop, whose grace
	// time is over.
	leastNotifyTime = 3 * time.Second
)

// notifying says who is told how a command has ended. The address of a web hook is a
// secret: it is printed nowhere, and is no part of what makes a command the same.
type notifying struct {
	notifyURL    string
	notifyFile   string
	notifyFormat string
}

func (o *notifying) add(fs *pflag.FlagSet) {
	fs.StringVar(&o.notifyURL, "notify-url", "", "web hook that is told how the run ended, whatever its end; who has the address can write there: better give it by CHATBATCH_NOTIFY_URL or --notify-url-file")
	fs.StringVar(&o.notifyFile, "notify-url-file", "", "file with the text of --notify-url, readable by its owner only")
	fs.StringVar(&o.notifyFormat, "notify-format", string(notify.JSON), "what the web hook takes: json (the summary), or a line of text for a robot: slack, wecom, dingtalk, feishu")
}

// notifyFlags are the flags of which one says who is told.
func notifyFlags() []string { return []string{"notify-url", "notify-url-file"} }

// An ending is what a command leaves to be told of it when it has ended. The command
// writes it, and who has called the command reads it afterwards; stopped alone is
// written at any time.
type ending struct {
	stopped atomic.Int64 // when a signal came, as Unix nanoseconds; 0: none did

	hook    *notify.Hook  // nil: nobody is told, or it is not known yet
	log     *slog.Logger  // nil: the command ended before it had one
	kept    *logFile      // of --log-file; nil: there is none
	grace   time.Duration // for what is to be done after a signal
	summary any           // as --json prints it; nil: there is none
	skipped bool          // a run: another process works on it
	parts   bool          // who is told is told of each part, and of the whole if it did not end well
	errs    []string      // of jobs of a file, which have been printed
}

// told is what a web hook gets. It names no account, no group, and no row.
type told struct {
	Text    string    `json:"text"` // all of it in a line for people
	Exit    int       `json:"exit"`
	Error   string    `json:"error,omitempty"`
	Host    string    `json:"host"`
	Command string    `json:"command"`
	Input   string    `json:"input,omitempty"` // without its directories
	Ended   time.Time `json:"ended"`
	Skipped bool      `json:"skipped,omitempty"` // a run was: another process works on it
	Summary any       `json:"summary"`           // as --json prints it; null: no run was begun
}

// prepare finds out who is to be told, before anything is done: a hook that cannot be
// is a mistake that must not show at the end of a night.
func (e *ending) prepare(o *options, flags *pflag.FlagSet, getenv func(string) string, log *slog.Logger) (err error) {
	e.log, e.grace = log, o.grace
	if flags.Lookup("notify-url") == nil {
		return nil // nobody waits for the end of this command
	}
	url, file := originOf(flags.Lookup("notify-url")), originOf(flags.Lookup("notify-url-file"))
	if url != "" && url == file {
		return usage("give --notify-url or --notify-url-file, not both")
	}
	if e.hook, err = hookOf(flags, getenv); err != nil {
		return err
	}
	if e.hook != nil && url == originArgument && !strings.HasPrefix(e.hook.URL, "http:") {
		log.Warn("the address in --notify-url can be read by others on this host, in the list of its processes, and who has it can write there: put it into a --notify-url-file or CHATBATCH_NOTIFY_URL")
	}
	return nil
}

// hookOf is the web hook that the flags and the environment name; nil if there is none.
func hookOf(flags *pflag.FlagSet, getenv func(string) string) (*notify.Hook, error) {
	value := func(name string) string {
		if f := flags.Lookup(name); f.Changed {
			return f.Value.String()
		}
		return getenv(variable(name))
	}
	format, err := notify.ParseFormat(cmp.Or(value("notify-format"), string(notify.JSON)))
	if err != nil {
		return nil, usage("--notify-format: %w", err)
	}
	given := flags.Changed("notify-url") || flags.Changed("notify-url-file")
	if given { // one stands for both
		value = func(name string) string { return flags.Lookup(name).Value.String() }
	}
	address, what := value("notify-url"), "--notify-url"
	if file := value("notify-url-file"); address == "" && file != "" {
		what = "--notify-url-file"
		address, err = hookIn(file)
	} else if dir := getenv("CREDENTIALS_DIRECTORY"); address == "" && !given && dir != "" {
		what = "chatbatch_notify_url in $CREDENTIALS_DIRECTORY"
		address, err = credential(dir, "chatbatch_notify_url")
	}
	if err != nil || address == "" {
		return nil, err
	}
	if err := notify.Check(address); err != nil {
		return nil, usage("%s: %w (what it is now is not shown: it may hold a token)", what, err)
	}
	return &notify.Hook{URL: address, Format: format}, nil
}

// lookUpHook sets the flags of the hook for a command that ended before its flags were
// complete: what is wrong with another flag, or with the rest of the configuration file,
// is no reason to tell nobody.
func lookUpHook(cmd *cobra.Command, w world) {
	own := pflag.NewFlagSet(cmd.Name(), pflag.ContinueOnError)
	for _, name := range []string{keyConfig, keyProfile, "notify-url", "notify-url-file", "notify-format"} {
		if f := cmd.Flags().Lookup(name); f != nil {
			own.AddFlag(f)
		}
	}
	// Errors have been said: they are why the command has ended, or beside it.
	if own.Lookup(keyConfig) == nil || fromEnvironment(own, w.getenv) != nil {
		return
	}
	c, err := loadConfig(cmd, w)
	if c == nil || err != nil || c.checkPrivate() != nil {
		return
	}
	_ = c.choose(own.Lookup(keyProfile))
	_ = c.apply(own)
}

// hookIn reads an address from a file.
func hookIn(file string) (string, error) {
	if strings.Contains(file, "://") { // it would be quoted as the name of a file
		return "", usage("--notify-url-file: it is the name of a file that holds the address, not the address")
	}
	return readPrivate("notify-url-file", file, true)
}

// credential reads a secret of a systemd unit, "" if it has none of that name.
func credential(dir, name string) (string, error) {
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return readPrivate(name, path, false)
}

// tell tells the hook how cmd has ended, if it is a command that runs jobs and has
// one. That it cannot be told changes nothing about the end; it is said also where
// only errors are, for cron to pass it on.
func (e *ending) tell(ctx context.Context, cmd *cobra.Command, w world, code int, err error) {
	flags := cmd.Flags()
	if flags.Lookup("notify-url") == nil || e.parts && err == nil || isSet(flags, "help") || isSet(flags, "dry-run") {
		return
	}
	hook := e.hook
	if hook == nil {
		var unknown error
		lookUpHook(cmd, w)
		if hook, unknown = hookOf(flags, w.getenv); hook == nil || unknown != nil {
			return // what is wrong with it has been said
		}
	}
	posting, cancel := context.WithTimeout(context.WithoutCancel(ctx), notifyTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(e.left(time.Now()), cancel) })
	defer stop()
	t := e.told(cmd, code, err)
	if err := hook.Post(posting, notify.Message{Text: t.Text, JSON: t}); err != nil {
		e.complain(w.stderr, "the web hook of --notify-url was not told how this has ended: "+err.Error())
	}
}

// left is how much time there is after a signal.
func (e *ending) left(now time.Time) time.Duration {
	since := now.Sub(time.Unix(0, e.stopped.Load()))
	return max(e.grace-since, leastNotifyTime)
}

func (e *ending) complain(stderr io.Writer, text string) {
	if e.log == nil {
		fmt.Fprintln(stderr, "chatbatch: "+text)
		return
	}
	e.log.Error(text)
}

// isSet says whether a flag is there and true.
func isSet(flags *pflag.FlagSet, name string) bool {
	set, err := flags.GetBool(name)
	return err == nil && set
}

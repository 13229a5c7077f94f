package main

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chatbatch/io/ledger"
	"chatbatch/jobs"
)

// A job is a command that begins or resumes a run.
type job struct {
	*options
	logs
	w      world // its stderr is the board
	board  *board
	prog   *progress
	store  shelf          // of its runs; from bounded on
	flags  *pflag.FlagSet // of its kind
	config *config        // nil: there is none

	observer *observer // nil: nobody looks on

	shared   bool // the run is one of many hosts
	onlooker bool // it makes no calls: a signal ends the command, not the run
	ofHost   bool // the process has many runs, as long as it lives

	// onRun is called with the run as soon as there is one; nil: nobody wants to know.
	onRun func(ctx context.Context, run string) error

	// Of one job of a file; zero: it is the only job.
	name    string
	telling *sync.Mutex // held while something is shown
}

// jobCommand makes the command of a kind, whose last word is its name.
func jobCommand(w world, kind, arg, short, long string) *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   kind[strings.LastIndex(kind, " ")+1:] + " " + arg,
		Short: short,
		Long:  short + ".\n\n" + long + "\n\n" + exitHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			j, err := newJob(cmd, o, w)
			if err != nil {
				return err
			}
			if len(args) != 1 && (len(args) > 0 || !o.allGroups) {
				return usage("give one %s, a file or - for stdin; see: %s --help", arg, cmd.CommandPath())
			}
			return j.bounded(cmd.Context(), func(ctx context.Context) error {
				return j.start(ctx, kind, strings.Join(args, ""))
			})
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	section(fs, "App and server", o.server.add)
	section(fs, "Input and plan", func(fs *pflag.FlagSet) { o.addKind(kinds()[kind], fs) })
	section(fs, "Object storage", o.objects.add)
	section(fs, "Pace", o.pace.add)
	section(fs, "Retries and guards", o.care.add)
	section(fs, "Runs", o.runs.add)
	section(fs, "Output and log", o.output.add)
	section(fs, "Metrics", o.observing.add)
	return cmd
}

// addKind adds the flags that say what a run of a kind is.
func (o *options) addKind(k kindOf, fs *pflag.FlagSet) {
	k.flags(o, fs)
	o.input.add(fs)
}

// newJob completes the options from the environment and the configuration file, and
// checks them.
func newJob(cmd *cobra.Command, o *options, w world) (*job, error) {
	c, err := completeFlags(cmd, w)
	if err != nil {
		return nil, err
	}
	o.note(cmd.Flags())
	o.noteLedger(cmd.Flags())
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := o.checkLogFile(cmd.Flags()); err != nil {
		return nil, err
	}
	b := newBoard(w.stderr, &o.output, w.getenv)
	w.stderr = b
	logs, err := o.openLogs(b, colours(b, w.getenv))
	if err != nil {
		return nil, err
	}
	warnOfVariables(logs.log, w, cmd.Flags())
	w.ending.kept = logs.kept
	if err := w.ending.prepare(o, cmd.Flags(), w.getenv, logs.log); err != nil {
		return nil, err
	}
	runs, err := runsIn(o.runsDir, w.getenv)
	if err != nil && !o.dryRun { // that leaves nothing behind
		return nil, err
	}
	return &job{options: o, w: w, logs: logs, board: b, store: shelf{store: ledger.Store{Dir: runs}, Dir: runs}, flags: cmd.Flags(), config: c}, nil
}

// bounded calls do with a context that ends after --max-duration.
func (j *job) bounded(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := j.until(ctx)
	defer cancel()
	j.config.tell(j.log)
	stop := context.AfterFunc(ctx, func() {
		if context.Cause(ctx) == errInterrupted && !j.onlooker {
			j.log.Warn("stopping; calls under way may still come back. A second signal exits at once")
		}
	})
	defer stop()
	following, end := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { j.board.follow(following) })
	err := j.withObserver(ctx, func() error { return cutShort(ctx, j.shelved(ctx, do)) })
	end()
	wg.Wait()
	j.board.lower()
	j.keepError(err)
	return err
}

// shelved calls do while the store of the runs is open.
func (j *job) shelved(ctx context.Context, do func(context.Context) error) (err error) {
	if j.dryRun { // it keeps nothing
		return do(ctx)
	}
	if j.store, err = j.ledgers.open(ctx, j.store.Dir, j.w.getenv, j.log); err != nil {
		return err
	}
	defer j.store.close()
	return do(ctx)
}

// keepError puts an error that stderr shows in its own form into the log file.
func (l *logs) keepError(err error) {
	if text := said(err); text != "" {
		l.file.Error(text, "exit", codeOf(err))
	}
}

// until ends a context after --max-duration.
func (o *care) until(ctx context.Context) (context.Context, context.CancelFunc) {
	if o.maxDuration == 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, o.maxDuration, errExpired)
}

// start runs a kind over an input, or resumes that if this very command was begun
// before and has not ended.
func (j *job) start(ctx context.Context, kind, name string) error {
	if err := j.checkExport(kind, name); err != nil {
		return err
	}
	if err := j.probe(ctx); err != nil {
		return err
	}
	j.prog = j.board.add(doing(kind, cmp.Or(name, "--all-groups")), j.logs)
	if j.dryRun {
		return j.planOnly(ctx, kind, name)
	}
	j.board.raise()
	endpoint, err := j.where()
	if err != nil {
		return err
	}
	conn, err := j.connect(ctx, doing(kind, cmp.Or(name, "--all-groups")), endpoint)
	if err != nil {
		return err
	}
	defer conn.close()
	b, err := j.begin(ctx, kind, conn, j.opener(name, conn))
	if err != nil {
		return j.toBeChecked(err, conn)
	}
	defer b.close()
	if err := j.hasBegun(ctx, b.ledger.Meta().Run); err != nil {
		return err
	}
	return j.work(ctx, b)
}

func (j *job) hasBegun(ctx context.Context, run string) error {
	if j.onRun == nil {
		return nil
	}
	return j.onRun(ctx, run)
}

// doing is what others on this host see of a process that works on an input.
func doing(kind, name string) string { return kind + " " + filepath.Base(name) }

// An opener opens the input of a run.
type opener func(ctx context.Context) (*source, error)

// opener opens the file called name, or the list of all groups of the app.
func (j *job) opener(name string, conn *connection) opener {
	return func(ctx context.Context) (*source, error) {
		if j.allGroups {
			return j.allGroupsOf(conn), nil
		}
		return j.openNamed(ctx, name, j.store.Dir)
	}
}

// openNamed opens the file or the object called name; see openSource.
func (j *job) openNamed(ctx context.Context, name, dir string) (*source, error) {
	if isAddress(name) {
		return j.openObject(ctx, name, dir)
	}
	if name == "-" && isTerminal(j.w.stdin) {
		j.board.lower() // what is typed there is not to be drawn over
		defer j.board.raise()
	}
	return openSource(ctx, name, j.prog.count(j.w.stdin), dir)
}

// A begun run is planned and locked.
type begun struct {
	ledger *ledger.Ledger
	conn   *connection
	meter  *jobs.Meter
	since  time.Time // of its first call, if that was before the run began
	unlock func()
	sum    ledger.Summary // when it has ended
}

func (b *begun) close() {
	b.ledger.Close()
	b.unlock()
}

// begin plans the run of a kind over an input, or opens it again if this very
// command was begun before and has not ended.
func (j *job) begin(ctx context.Context, kind string, conn *connection, input opener) (*begun, error) {
	src, meta, err := j.identify(ctx, kind, conn, input)
	if err != nil {
		return nil, err
	}
	defer src.close()
	unlock, err := j.lock(ctx, meta.Key())
	if err != nil {
		return nil, err
	}
	all, err := j.store.List(ctx)
	var l *ledger.Ledger
	if err == nil {
		j.store.Sweep()
		l, err = j.open(ctx, meta, src, all)
	}
	if err != nil {
		unlock()
		return nil, err
	}
	return &begun{ledger: l, conn: conn, meter: src.meter, since: src.since, unlock: unlock}, nil
}

// identify opens the input of a run and says which command this is.
func (j *job) identify(ctx context.Context, kind string, conn *connection, input opener) (*source, ledger.Meta, error) {
	if err := os.MkdirAll(j.store.Dir, 0o700); err != nil {
		return nil, ledger.Meta{}, ofPlace("make the directory of the runs (--runs-dir names another one): %w", err)
	}
	j.prog.enter(reads)
	src, err := input(ctx)
	if err != nil {
		return nil, ledger.Meta{}, err
	}
	j.prog.read(reads, src)
	err = src.identify(ctx)
	j.prog.enter(waits)
	var meta ledger.Meta
	if err == nil {
		meta, err = j.meta(kind, src, conn)
	}
	if err != nil {
		src.close()
		return nil, ledger.Meta{}, err
	}
	return src, meta, nil
}

// meta says what this command is. It is no run yet.
func (j *job) meta(kind string, src *source, conn *connection) (ledger.Meta, error) {
	format, err := src.format()
	if err != nil {
		return ledger.Meta{}, err
	}
	options := planOptions(kinds()[kind], j.flags)
	j.record(options)
	return ledger.Meta{
		Kind: kind, Endpoint: conn.name,
		SDKAppID: conn.chat.SDKAppID, Identifier: conn.chat.Identifier,
		Input: src.name, InputSHA256: src.sha256, Options: options, Format: string(format),
		Version: version(), Of: src.of,
	}, nil
}

// lock keeps other processes from the same run.
func (j *job) lock(ctx context.Context, key string) (unlock func(), err error) {
	mode, err := parseIfLocked(j.ifLocked)
	if err != nil {
		return nil, err
	}
	unlock, waited, err := j.lockOr(ctx, key, mode)
	if err != nil {
		return nil, err
	}
	if err := j.observer.serveNow(ctx, waited); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// lockOr is lock as far as others are concerned who work on the run.
func (j *job) lockOr(ctx context.Context, key string, mode ifLocked) (unlock func(), waited bool, err error) {
	unlock, err = j.store.Lock(ctx, key, false)
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, false, ofPlace("%w (--runs-dir names another directory)", err)
	}
	switch {
	case !errors.Is(err, ledger.ErrLocked):
		return unlock, false, err
	case mode.wait:
		j.log.Info("another process works on this run; waiting for its end")
		unlock, err = j.store.Lock(ctx, key, true)
		return unlock, true, err
	}
	j.observer.leaveAlone()
	if mode.code == exitOK {
		j.w.ending.skipped = true
		j.log.Info("another process works on this run; skipped")
		return nil, false, &codedError{exitOK, nil}
	}
	return nil, false, &codedError{mode.code, errors.New("another process works on this run (--if-locked wait waits for it)")}
}

// ifLocked is what to do when a run is locked.
type ifLocked struct {
	wait bool
	code int
}

func parseIfLocked(text string) (ifLocked, error) {
	switch text {
	case "wait":
		return ifLocked{wait: true}, nil
	case "skip":
		return ifLocked{code: exitOK}, nil
	case "fail":
		return ifLocked{code: exitTryLater}, nil
	}
	if n, ok := strings.CutPrefix(text, "exit:"); ok {
		if code, err := strconv.ParseUint(n, 10, 8); err == nil {
			return ifLocked{code: int(code)}, nil
		}
	}
	return ifLocked{}, usage("--if-locked %q: it is wait, skip, fail or exit:N", text)
}

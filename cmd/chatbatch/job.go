package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chatbatch/io/ledger"
	"chatbatch/jobs"
)

// A job is a command that begins or resumes a run.
type job struct {
	*options
	w     world
	log   *slog.Logger
	store ledger.Store
}

// jobCommand makes the command of a kind, whose last word is its name.
func jobCommand(w world, kind, arg, short, long string) *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   kind[strings.LastIndex(kind, " ")+1:] + " " + arg,
		Short: short,
		Long:  short + ".\n\n" + long + "\n\n" + exitHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("give one %s, a file or - for stdin; see: %s --help", arg, cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			j, err := newJob(cmd, o, w)
			if err != nil {
				return err
			}
			ctx, cancel := j.bounded(cmd.Context())
			defer cancel()
			if o.dryRun {
				return j.dryRun(ctx, kind, args[0])
			}
			return j.start(ctx, kind, args[0])
		},
	}
	o.addAll(cmd.Flags())
	return cmd
}

// addAll adds the flags of a command that begins a run.
func (o *options) addAll(fs *pflag.FlagSet) {
	fs.SortFlags = false
	o.server.add(fs)
	o.input.add(fs)
	o.pace.add(fs)
	o.care.add(fs)
	o.runs.add(fs)
	o.output.add(fs)
}

// newJob completes the options from the environment and checks them.
func newJob(cmd *cobra.Command, o *options, w world) (*job, error) {
	if err := fromEnvironment(cmd, w.getenv); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	log, err := o.logger(w)
	if err != nil {
		return nil, err
	}
	return &job{options: o, w: w, log: log, store: ledger.Store{Dir: runsIn(o.runsDir, w.getenv)}}, nil
}

// bounded ends ctx after --max-duration.
func (j *job) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if j.maxDuration == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, j.maxDuration, errExpired)
}

// start begins the run of a kind over an input, or resumes it if this very
// command was begun before and has not ended.
func (j *job) start(ctx context.Context, kind, name string) error {
	endpoint, err := j.where()
	if err != nil {
		return err
	}
	conn, err := j.connect(endpoint, j.w)
	if err != nil {
		return err
	}
	defer conn.close()
	if err := os.MkdirAll(j.store.Dir, 0o700); err != nil {
		return usage("make the directory of the runs: %w", err)
	}
	src, err := openSource(ctx, name, j.w.stdin, j.store.Dir)
	if err != nil {
		return err
	}
	defer src.close()
	if err := src.identify(ctx); err != nil {
		return err
	}
	meta, err := j.meta(kind, endpoint, src, conn)
	if err != nil {
		return err
	}
	unlock, err := j.lock(ctx, meta.Key())
	if err != nil {
		return err
	}
	defer unlock()
	l, err := j.open(ctx, meta, src)
	if err != nil {
		return err
	}
	defer l.Close()
	return j.work(ctx, l, conn)
}

// meta says what this command is.
func (j *job) meta(kind, endpoint string, src *source, conn *connection) (ledger.Meta, error) {
	format, err := src.format()
	if err != nil {
		return ledger.Meta{}, err
	}
	now := time.Now()
	return ledger.Meta{
		Run: ledger.NewRunID(now), Kind: kind, Endpoint: endpoint,
		SDKAppID: conn.chat.SDKAppID, Identifier: conn.chat.Identifier,
		Input: src.name, InputSHA256: src.sha256, Options: j.planOptions(), Format: string(format),
		Created: now.UTC(), Version: version(),
	}, nil
}

// planOptions are the options that change the plan: with others, the command is
// another one.
func (j *job) planOptions() map[string]string {
	o := map[string]string{"chunk-size": strconv.Itoa(j.chunkSize)}
	for name, text := range map[string]string{
		"group": j.group, "marks": j.marks, "map": strings.Join(slices.Sorted(slices.Values(j.columns)), "\n"),
	} {
		if text != "" {
			o[name] = text
		}
	}
	return o
}

// lock keeps other processes from the same run.
func (j *job) lock(ctx context.Context, key string) (unlock func(), err error) {
	mode, err := parseIfLocked(j.ifLocked)
	if err != nil {
		return nil, err
	}
	unlock, err = j.store.Lock(ctx, key, mode.wait)
	if errors.Is(err, ledger.ErrLocked) {
		if mode.code == exitOK {
			j.log.Info("another process works on this run; skipped")
			return nil, &codedError{exitOK, nil}
		}
		return nil, &codedError{mode.code, errors.New("another process works on this run (--if-locked wait waits for it)")}
	}
	return unlock, err
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

// open opens the run of this command that has not ended, or plans a new one.
// The caller holds the lock of its key.
func (j *job) open(ctx context.Context, m ledger.Meta, src *source) (*ledger.Ledger, error) {
	if !j.fresh {
		run, err := j.store.Find(ctx, m.Key())
		if err != nil {
			return nil, err
		}
		if run != "" {
			return j.reopen(ctx, run)
		}
	}
	return j.plan(ctx, m, src)
}

// reopen opens a run to go on with it, and says so.
func (j *job) reopen(ctx context.Context, run string) (*ledger.Ledger, error) {
	l, err := j.store.Open(ctx, run)
	if err != nil {
		return nil, err
	}
	s, err := l.Summary(ctx)
	if err != nil {
		l.Close()
		return nil, err
	}
	j.log.Info("resuming run "+run, "settled", s.Succeeded+s.Failed, "rows", s.Rows, "begun", l.Meta().Created.Format(time.RFC3339))
	return l, nil
}

// planner makes the planner of a kind.
func (j *job) planner(k jobs.Kind, dir string) *jobs.Planner {
	return &jobs.Planner{Kind: k, ChunkSize: j.chunkSize, MaxBad: limit(j.maxBadRows), TempDir: dir}
}

// plan reads the input into a new run.
func (j *job) plan(ctx context.Context, m ledger.Meta, src *source) (*ledger.Ledger, error) {
	in, k, err := j.input.open(ctx, m.Kind, src)
	if err != nil {
		return nil, err
	}
	m.Header, m.NewLine = in.Source.Header, in.Source.NewLine
	l, err := j.store.Create(ctx, m)
	if err != nil {
		return nil, err
	}
	totals, err := j.planner(k, j.store.Path(m.Run)).Plan(ctx, in, l)
	if err == nil {
		err = l.PlanDone(ctx, totals.Rows)
	}
	if err != nil {
		l.Close()
		// A run that never began is no run.
		return nil, j.refuse(errors.Join(err, j.store.Remove(context.WithoutCancel(ctx), m.Run)))
	}
	j.log.Info("planned run "+m.Run, "rows", totals.Rows, "bad", totals.BadRows, "over_limit", totals.OverLimit,
		"groups", totals.Groups, "chunks", totals.Chunks, "at_least", totals.Duration(j.qps).String())
	return l, nil
}

// open opens the input for a kind.
func (o *input) open(ctx context.Context, kind string, src *source) (*jobs.Input, jobs.Kind, error) {
	k, err := kindNamed(kind)
	if err != nil {
		return nil, nil, err
	}
	opts, err := o.rosterOptions()
	if err != nil {
		return nil, nil, err
	}
	if opts.Format, err = src.format(); err != nil {
		return nil, nil, err
	}
	r, err := src.fromStart(ctx)
	if err != nil {
		return nil, nil, err
	}
	in, err := k.open(r, opts)
	if err != nil {
		return nil, nil, &codedError{codeOf(err), fmt.Errorf("%s: %w", src.name, err)}
	}
	return in, k.make(nil, 0), nil
}

// refuse lists the bad lines of an input that is refused.
func (j *job) refuse(err error) error {
	bad, ok := errors.AsType[*jobs.InputError](err)
	if !ok {
		return err
	}
	for _, b := range bad.Totals.Bad {
		fmt.Fprintf(j.w.stderr, "line %d: %v\n", b.Line, b.Err)
	}
	if more := bad.Totals.BadRows - int64(len(bad.Totals.Bad)); more > 0 {
		fmt.Fprintf(j.w.stderr, "and %d more\n", more)
	}
	return &codedError{exitInput, fmt.Errorf("input refused: %w; nothing was sent. Mend the lines, or allow more with --max-bad-rows", bad)}
}

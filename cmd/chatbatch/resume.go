package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chatbatch/io/ledger"
	"chatbatch/io/object"
	"chatbatch/jobs"
)

func resumeCommand(w world) *cobra.Command {
	o := &options{}
	var wait bool
	cmd := &cobra.Command{
		Use:   "resume [RUN]",
		Short: "Go on with a run that did not end: the newest one, or RUN",
		Long: `Go on with a run that did not end: the newest one, or RUN.

Its plan, app and endpoint are those it was begun with, and its input need not
be there any more; credentials, pace and guards are those given now. A run that was
given to many hosts (chatbatch submit) is given to them again: of what is given here
only --max-errors and --wait concern it; of an export, with --wait, also -o and what
is said of object storage. What it has fetched and not published is published then.

` + exitHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return oneRun(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			j, err := newJob(cmd, o, w)
			if err != nil {
				return err
			}
			return j.bounded(cmd.Context(), func(ctx context.Context) error { return j.resume(ctx, args, wait) })
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	section(fs, "App and server", o.addKey)
	section(fs, "Object storage", o.objects.add)
	section(fs, "Pace", o.pace.add)
	section(fs, "Retries and guards", o.care.add)
	section(fs, "Runs", func(fs *pflag.FlagSet) {
		addRunsDir(fs, &o.runsDir)
		o.ledgers.add(fs)
		addIfLocked(fs, &o.ifLocked)
		fs.StringVarP(&o.instead, "output", "o", "", "file of an export, instead of the one it was begun with")
	})
	section(fs, "Many hosts", func(fs *pflag.FlagSet) { addWait(fs, &wait) })
	section(fs, "Output and log", o.output.add)
	section(fs, "Metrics", o.observing.add)
	o.chunkSize = jobs.DefaultChunkSize // the plan is made
	return cmd
}

// resume goes on with the run named in args, or with the newest that can be.
func (j *job) resume(ctx context.Context, args []string, wait bool) error {
	meta, err := j.resumable(ctx, args)
	if err != nil {
		return err
	}
	if err := j.checkApp(meta); err != nil {
		return err
	}
	if shared, err := j.store.isShared(ctx, meta.Run); shared || err != nil {
		if err == nil {
			err = j.resumeShared(ctx, meta, wait)
		}
		return err
	}
	if wait {
		return usage("--wait is for runs of many hosts (chatbatch submit): run %s is one of this process", meta.Run)
	}
	j.prog = j.board.add("resume "+meta.Run, j.logs)
	j.board.raise()
	j.sdkAppID, j.identifier = meta.SDKAppID, meta.Identifier
	if err := j.planAgain(meta); err != nil {
		return err
	}
	if err := j.checkInstead(meta.Kind); err != nil {
		return err
	}
	if err := j.probe(ctx); err != nil {
		return err
	}
	conn, err := j.connect(ctx, "resume "+meta.Run, meta.Endpoint)
	if err != nil {
		return err
	}
	defer conn.close()
	unlock, err := j.lock(ctx, meta.Key())
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := j.resumable(ctx, []string{meta.Run}); err != nil {
		return j.endedMeanwhile(ctx, meta.Run)
	}
	l, err := j.reopen(ctx, meta.Run)
	if err != nil {
		return err
	}
	defer l.Close()
	return j.work(ctx, &begun{ledger: l, conn: conn, meter: &jobs.Meter{}, unlock: unlock})
}

// resumeShared gives a run to many hosts again, and follows it with wait. Of an export that
// has ended it publishes what there is.
func (j *job) resumeShared(ctx context.Context, m ledger.Meta, wait bool) error {
	if !isExport(m.Kind) && j.instead == "" {
		return j.release(ctx, m, wait)
	}
	if err := j.planAgain(m); err != nil {
		return err
	}
	switch err := j.checkInstead(m.Kind); {
	case err != nil:
		return err
	case j.instead != "" && !wait:
		return usage("-o goes with --wait: the export is written by the command that waits for it")
	}
	if object.Is(j.instead) {
		if err := j.probe(ctx); err != nil {
			return err
		}
	}
	j.prog = j.board.add("resume "+m.Run, j.logs)
	return j.release(ctx, m, wait)
}

// endedMeanwhile is the end of a command that has waited for a run, which another
// process has brought to its end.
func (j *job) endedMeanwhile(ctx context.Context, run string) error {
	l, err := j.store.OpenRead(ctx, run)
	if errors.Is(err, ledger.ErrNoRun) {
		return noRun(run, j.store)
	}
	if err != nil {
		return err
	}
	defer l.Close()
	sum, err := l.Summary(ctx)
	if err != nil {
		return err
	}
	j.log.Info("run " + run + " has ended meanwhile")
	j.w.ending.summary = sum
	j.board.lower() // stdout may be the same terminal
	if j.json {
		err = json.NewEncoder(j.w.stdout).Encode(sum)
	}
	return j.ended(sum, nil, exitOK, err)
}

// checkInstead looks whether an export can go to another file than planned.
func (j *job) checkInstead(kind string) error {
	switch {
	case j.instead == "" && isExport(kind) && j.target == stdoutName && j.json:
		return usage("-o - and --json would both write to stdout")
	case j.instead == "":
		return nil
	case !isExport(kind):
		return usage("-o is for exports; this is a run of %s", kind)
	}
	planned, format := j.target, j.format
	j.target, j.format = j.instead, ""
	err := j.checkExport(kind, "")
	j.instead, j.target, j.format = j.target, planned, format
	return err
}

// resumable finds the run to go on with.
func (j *job) resumable(ctx context.Context, args []string) (ledger.Meta, error) {
	infos, err := j.store.List(ctx)
	if err != nil {
		return ledger.Meta{}, err
	}
	for i := len(infos) - 1; i >= 0; i-- {
		info := infos[i]
		switch {
		case len(args) == 1 && info.Run != args[0]:
		case len(args) == 1 && info.Err != nil:
			return ledger.Meta{}, info.Err
		case len(args) == 1 && info.State == ledger.Finished && info.Reported:
			return ledger.Meta{}, usage("run %s has ended; nothing is left to send", info.Run)
		case len(args) == 1 || info.Waits():
			return info.Meta, nil
		case len(args) == 0 && info.Err != nil:
			j.log.Warn("run " + info.Run + " is passed over: " + info.Err.Error())
		}
	}
	if len(args) == 1 {
		return ledger.Meta{}, noRun(args[0], j.store)
	}
	return ledger.Meta{}, usage("no run in %s waits to be resumed", j.store)
}

// noRun is the error of a name that no run has.
func noRun(run string, s shelf) error {
	return usage("there is no run %s in %s; see: chatbatch runs list%s", run, s, s.flag)
}

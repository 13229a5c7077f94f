package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chatbatch/io/ledger"
	"chatbatch/io/report"
	"chatbatch/io/roster"
	"chatbatch/jobs"
)

func retryCommand(w world) *cobra.Command {
	o := &options{}
	var classes []string
	cmd := &cobra.Command{
		Use:   "retry RUN",
		Short: "Begin a new run over the failed rows of an earlier one",
		Long: `Begin a new run over the failed rows of an earlier one: all of them, or those of
some classes (--class offline_or_absent).

It is the same kind of run on the same app, with the options that made the
earlier plan; credentials, pace and guards are those given now. The earlier run
stays as it is. An export goes to another file (-o). The calls are made here, also for
a run of many hosts: chatbatch submit retry lets those do it.

` + exitHelp,
		Args: oneRun,
		RunE: func(cmd *cobra.Command, args []string) error {
			j, err := newJob(cmd, o, w)
			if err != nil {
				return err
			}
			return j.bounded(cmd.Context(), func(ctx context.Context) error { return j.retry(ctx, args[0], classes) })
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	section(fs, "Input and plan", func(fs *pflag.FlagSet) { o.addFailed(fs, &classes) })
	section(fs, "App and server", o.addKey)
	section(fs, "Object storage", o.objects.add)
	section(fs, "Pace", o.pace.add)
	section(fs, "Retries and guards", o.care.add)
	section(fs, "Runs", o.runs.add)
	section(fs, "Output and log", o.output.add)
	section(fs, "Metrics", o.observing.add)
	o.chunkSize = jobs.DefaultChunkSize // that of the earlier run comes in its place
	return cmd
}

// addFailed adds the flags that say which failed rows are tried again, and how.
func (o *options) addFailed(fs *pflag.FlagSet, classes *[]string) {
	fs.StringSliceVar(classes, "class", nil, "rows that failed with this class only (several: a,b)")
	fs.StringVar(&o.maxBadRows, "max-bad-rows", "10%", "refuse more new bad rows than this: 100 or 10%")
	fs.StringVarP(&o.target, "output", "o", "", "file of an export (required for one); - is stdout")
}

// openEarlier opens the run whose failed rows are to be tried again.
func (j *job) openEarlier(ctx context.Context, run string) (*ledger.Ledger, error) {
	l, err := j.store.OpenRead(ctx, run)
	if errors.Is(err, ledger.ErrNoRun) {
		return nil, noRun(run, j.store)
	}
	return l, err
}

// retry runs the failed rows of a run.
func (j *job) retry(ctx context.Context, run string, classes []string) error {
	earlier, err := j.openEarlier(ctx, run)
	if err != nil {
		return err
	}
	defer earlier.Close()
	meta := earlier.Meta()
	if err := j.retryOptions(ctx, meta); err != nil {
		return err
	}
	input, rows, err := j.failedRows(ctx, earlier, classes)
	if err != nil {
		return err
	}
	defer input.close()
	if rows == 0 {
		return j.nothingToRetry(ctx, earlier, classes)
	}
	if err := j.probe(ctx); err != nil {
		return err
	}
	j.prog = j.board.add("retry "+run, j.logs)
	j.board.raise()
	conn, err := j.connect(ctx, "retry "+run, meta.Endpoint)
	if err != nil {
		return err
	}
	defer conn.close()
	b, err := j.begin(ctx, meta.Kind, conn, func(context.Context) (*source, error) { return input, nil })
	if err != nil {
		return err
	}
	defer b.close()
	return j.work(ctx, b)
}

// retryOptions takes over what made the plan of the earlier run.
func (j *job) retryOptions(ctx context.Context, m ledger.Meta) error {
	target := j.target
	if err := j.checkApp(m); err != nil {
		return err
	}
	if err := j.planAgain(m); err != nil {
		return err
	}
	j.sdkAppID, j.identifier = m.SDKAppID, m.Identifier
	if !isExport(m.Kind) {
		if target != "" {
			return usage("-o is for exports; run %s is one of %s", m.Run, m.Kind)
		}
		return nil
	}
	if of := j.writtenBy(ctx, m, target); of != "" {
		return usage("-o %s: the export of run %s is there, and would be replaced by its failed groups alone", target, of)
	}
	if err := j.flags.Set("output", target); err != nil {
		return err
	}
	// The groups are those of the earlier run, with their types.
	rooms := j.allGroups
	j.allGroups, j.groupType = false, ""
	err := j.checkExport(m.Kind, "")
	j.allGroups = rooms
	return err
}

// writtenBy is the run, of m and those that it is a retry of, that has written
// its export to target; "" if none has.
func (j *job) writtenBy(ctx context.Context, m ledger.Meta, target string) string {
	abs, err := absolute(target)
	if err != nil || target == "" || target == stdoutName {
		return ""
	}
	for abs = real(abs); ; {
		if real(m.Options["output"]) == abs {
			return m.Run
		}
		if m.Of == "" {
			return ""
		}
		l, err := j.store.OpenRead(ctx, m.Of)
		if err != nil {
			return "" // it was pruned: its export is not known here any more
		}
		m = l.Meta()
		l.Close()
	}
}

// failedRows makes the failed rows of a run a source.
func (j *job) failedRows(ctx context.Context, l *ledger.Ledger, classes []string) (*source, int64, error) {
	f, err := scratch(j.store.Dir)
	if err != nil {
		return nil, 0, ofPlace("retry: %w", err)
	}
	m := l.Meta()
	s := &source{
		name: "failed rows of " + m.Run, file: f, temp: true, of: m.Run, meter: &jobs.Meter{},
		written: roster.Format(m.Format), encoding: m.Encoding, delimiter: cmp.Or(m.Delimiter, ","),
	}
	rows, err := report.Failed(ctx, l, f, classes)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		s.close()
		return nil, 0, err
	}
	if l.State() != ledger.Finished {
		j.log.Warn("run " + m.Run + " has not ended: these are the rows that have failed so far")
	}
	return s, rows, nil
}

// nothingToRetry says so, and what there is instead.
func (j *job) nothingToRetry(ctx context.Context, l *ledger.Ledger, classes []string) error {
	s, err := l.Summary(ctx)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("run %s has no failed rows", s.Run)
	if len(classes) > 0 && s.Failed > 0 {
		text += fmt.Sprintf(" of class %s; it has:", strings.Join(classes, ", "))
		for _, c := range slices.Sorted(maps.Keys(s.ByClass)) {
			text += fmt.Sprintf(" %s (%d)", c, s.ByClass[c])
		}
		return &codedError{exitUsage, errors.New(text)}
	}
	j.log.Info(text)
	return nil
}

// retryName proposes a name for the export of groups that failed: beside the
// first one, with the same ending.
func retryName(target string) string {
	if target == stdoutName {
		return target
	}
	dir, base := filepath.Split(target)
	name, ending, dotted := strings.Cut(base, ".")
	if dotted {
		ending = "." + ending
	}
	return dir + name + "-retry" + ending
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"chatbatch/io/ledger"
	"chatbatch/jobs"
)

// planOptions are the options that change the plan: with others, the command is
// another one.
func planOptions(k kindOf, flags *pflag.FlagSet) map[string]string {
	o := map[string]string{}
	for _, name := range append([]string{"map", "encoding", "delimiter", "sheet"}, k.plan...) {
		f := flags.Lookup(name)
		text := f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			items := list.GetSlice()
			if name == "map" {
				slices.Sort(items)
			}
			text = strings.Join(items, "\n")
		}
		if f.Changed && text != f.DefValue && text != "" || name == "chunk-size" {
			o[name] = text
		}
	}
	return o
}

// planAgain gives a job the options that changed the plan of an earlier run.
func (j *job) planAgain(m ledger.Meta) error {
	k, err := kindNamed(m.Kind)
	if err != nil {
		return err
	}
	j.flags = pflag.NewFlagSet(m.Kind, pflag.ContinueOnError)
	maxBad := j.maxBadRows
	j.addKind(k, j.flags)
	j.maxBadRows = cmp.Or(maxBad, j.maxBadRows)
	for name, text := range m.Options {
		if err := setAgain(j.flags, name, text); err != nil {
			return fmt.Errorf("run %s has an option that this version does not know: %w", m.Run, err)
		}
	}
	return nil
}

// setAgain sets a flag from what planOptions has made of it.
func setAgain(flags *pflag.FlagSet, name, text string) error {
	f := flags.Lookup(name)
	if f == nil {
		return fmt.Errorf("%s", name)
	}
	if list, ok := f.Value.(pflag.SliceValue); ok {
		f.Changed = true
		return list.Replace(strings.Split(text, "\n"))
	}
	return flags.Set(name, text)
}

// open opens the run of this command that has not ended, or plans a new one.
// The caller holds the lock of its key, and has listed all runs since.
func (j *job) open(ctx context.Context, m ledger.Meta, src *source, all []ledger.Info) (*ledger.Ledger, error) {
	if !j.fresh {
		run, err := j.store.Find(ctx, all, m.Key())
		if err != nil {
			return nil, err
		}
		if run != "" {
			return j.reopen(ctx, run)
		}
		if !src.temp && src.list == nil { // what comes from a pipe may be anything each time
			j.sayChanged(m, all)
		}
	}
	return j.plan(ctx, m, src)
}

// sayChanged says that the run that begins now is not the one of the same input
// that was begun before and has not ended, because the input or the options have
// changed. Who has mended a file in the middle of a run may expect to go on with it.
func (j *job) sayChanged(m ledger.Meta, all []ledger.Info) {
	for _, i := range slices.Backward(all) {
		o := i.Meta
		if i.Err != nil || o.Kind != m.Kind || o.Endpoint != m.Endpoint || o.SDKAppID != m.SDKAppID || o.Input != m.Input {
			continue
		}
		if !i.Waits() {
			return
		}
		what := "bytes"
		if o.InputSHA256 == m.InputSHA256 {
			what = "options"
		}
		j.log.Warn(fmt.Sprintf("run %s of %s has not ended, but had other %s: this is a new run, from the first row on. chatbatch resume %s%s goes on with the other",
			i.Run, m.Input, what, i.Run, storeFlags(j.runsDir != "", j.store)), "settled", i.Books.Succeeded+i.Books.Failed, "rows", i.Books.Rows)
		return
	}
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
	j.logs.begin(run)
	j.log.Info("resuming run "+run, "settled", s.Succeeded+s.Failed, "rows", s.Rows, "begun", l.Meta().Created.Format(time.RFC3339))
	return l, nil
}

// planner makes the planner of a kind.
func (j *job) planner(k jobs.Kind, dir string) *jobs.Planner {
	return &jobs.Planner{Kind: k, ChunkSize: j.chunkSize, MaxBad: limit(j.maxBadRows), TempDir: dir, Tell: j.prog.planned}
}

// plan reads the input into a new run.
func (j *job) plan(ctx context.Context, m ledger.Meta, src *source) (*ledger.Ledger, error) {
	j.prog.read(planPhase(src), src)
	in, k, err := j.openInput(ctx, m.Kind, src, j.store.Dir)
	if err != nil {
		return nil, err
	}
	// Now, and not before the lock was free: who has waited for it comes behind whoever
	// it has waited for.
	now := time.Now()
	m.Run, m.Created = j.store.NewRun(ctx, m.Key(), now), now.UTC()
	j.logs.begin(m.Run)
	m.Format, m.Header, m.NewLine = string(in.Source.Format), in.Source.Header, in.Source.NewLine
	m.Encoding, m.Delimiter = in.Source.Encoding, in.Source.Delimiter
	read := &reading{Found: in.Found}
	in.Records = read.watch(src.name, in.Records, func() {
		if src.written == "" { // there was something to find out
			j.tell(src.name, read)
		}
	})
	l, err := j.store.Create(ctx, m)
	if err != nil {
		return nil, err
	}
	totals, err := j.planner(k, j.store.tempDir(m.Run)).Plan(ctx, in, l)
	if err == nil {
		err = l.PlanDone(ctx, totals.Rows, totals.Superseded)
	}
	if err != nil {
		l.Close()
		// A run that never began is no run.
		j.logs.run.Store(nil)
		return nil, j.refuse(errors.Join(err, j.store.Remove(context.WithoutCancel(ctx), m.Run)))
	}
	j.prog.enter(waits)
	j.log.Info("planned run "+m.Run, "rows", totals.Rows, "bad", totals.BadRows, "over_limit", totals.OverLimit,
		"groups", totals.Groups, "chunks", totals.Chunks, "at_least", totals.Duration(j.rate()).String())
	return l, nil
}

// openInput opens the input for a kind. What must be copied for it lies in dir.
func (o *options) openInput(ctx context.Context, kind string, src *source, dir string) (*jobs.Input, jobs.Kind, error) {
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
	if src.written != "" {
		opts.Encoding, opts.Delimiter, opts.Sheet = cmp.Or(src.encoding, opts.Encoding), src.delimiter, ""
	}
	opts.TempDir = dir
	r, err := src.fromStart(ctx)
	if err != nil {
		return nil, nil, err
	}
	in, err := k.open(r, opts)
	if err != nil {
		return nil, nil, &codedError{codeOf(err), fmt.Errorf("%s: %w", src.name, err)}
	}
	return in, k.make(o, kindParts{}), nil
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

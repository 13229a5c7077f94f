package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chatbatch/io/ledger"
	"chatbatch/jobs"
)

const runHelp = `Run several jobs of any kinds side by side, inside one budget of calls, in which
those that want to send take turns.

  region: sg
  sdkappid: 1400000000
  identifier: administrator
  jobs:
    - kind: marks set
      input: class.csv
    - kind: export members
      name: profiles             # in the log and the summary; optional
      input: groups.csv
      output: members.csv.gz
      fields: [role, name_card]

At the top stand the flags of this command, in a job those of its kind, without
the dashes. An argument or the environment goes before the file, the configuration
behind it; config and profile may stand at the top, too. Names of files are relative
to where the file lies.

Nothing is sent before all jobs are planned, but for the calls that list groups:
if an input is refused, no job is run. Each job is a run of its own, with its books
and its directory; the exit code is the worst of them. Run the same command again
to resume those that did not end; those that did are not run again meanwhile.

`

func runCommand(w world) *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "run JOBS.yaml",
		Short: "Run several jobs side by side, inside one budget",
		Long:  runHelp + exitHelp,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := readJobFile(cmd.Context(), args[0], w.stdin)
			if err != nil {
				return err
			}
			if err := fromEnvironment(cmd.Flags(), w.getenv); err != nil {
				return err
			}
			f.given = changed(cmd.Flags())
			if err := apply(f.flags, cmd.Flags()); err != nil {
				return usage("%s: %w", f.path, err)
			}
			j, err := newJob(cmd, o, w)
			if err != nil {
				return err
			}
			return j.bounded(cmd.Context(), func(ctx context.Context) error { return j.runAll(ctx, f) })
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	section(fs, "App and server", o.server.add)
	section(fs, "Input and plan", func(fs *pflag.FlagSet) {
		fs.BoolVar(&o.dryRun, "dry-run", false, "read, check and plan all jobs; send nothing")
		fs.StringVar(&o.maxBadRows, "max-bad-rows", "10%", "refuse an input with more bad rows than this: 100 or 10%")
	})
	section(fs, "Pace", o.pace.add)
	section(fs, "Retries and guards", o.care.add)
	section(fs, "Runs", o.runs.add)
	section(fs, "Output and log", o.output.add)
	section(fs, "Metrics", o.observing.add)
	o.chunkSize = jobs.DefaultChunkSize // a job may have another one
	return cmd
}

// A member is one job of a file on its way.
type member struct {
	*job
	jobEntry
	src    *source
	meta   ledger.Meta
	unlock func()         // nil: not locked
	begun  *begun         // nil: it is not to be run
	ended  bool           // before, together with others that go on
	sum    ledger.Summary // of its run
	code   int            // how it ended
	err    error          // of a run that did not end well; it has been printed
}

// runAll plans all jobs and then runs them side by side.
func (j *job) runAll(ctx context.Context, f *jobFile) error {
	all, err := j.members(f)
	if err != nil {
		return usage("%s: %w", f.path, err)
	}
	if j.dryRun {
		for _, m := range all {
			if err := m.planOnly(ctx, m.kind, m.input); err != nil {
				return m.named(err)
			}
		}
		return nil
	}
	endpoint, err := j.where()
	if err != nil {
		return err
	}
	j.board.raise()
	j.workers = 0 // as many connections as all have workers
	for _, m := range all {
		j.workers += m.workers
		defer m.close()
	}
	conn, err := j.connect(ctx, doing("run", f.path), endpoint)
	if err != nil {
		return err
	}
	defer conn.close()
	total := &jobs.Meter{}
	if err := j.prepare(ctx, all, conn, total); err != nil {
		return err
	}
	var wg sync.WaitGroup
	for _, m := range all {
		wg.Go(func() { m.run(ctx) })
	}
	wg.Wait()
	j.board.lower()
	return j.allEnded(all, total)
}

// prepare locks and plans all jobs. Until it has, nothing is sent, but for the
// calls that list groups; so jobs that do come last.
func (j *job) prepare(ctx context.Context, all []*member, conn *connection, total *jobs.Meter) error {
	names := map[string]string{} // of jobs, by key
	for _, m := range all {
		var err error
		if m.src, m.meta, err = m.identify(ctx, m.kind, conn, m.opener(m.input, conn)); err != nil {
			return m.named(err)
		}
		m.src.meter.All = total
		if other := names[m.meta.Key()]; other != "" {
			return usage("jobs %s and %s are the same", other, m.jobEntry.name)
		}
		names[m.meta.Key()] = m.jobEntry.name
	}
	// In one order everywhere: two processes that wait for each other's jobs
	// would wait for ever.
	for _, m := range slices.SortedFunc(slices.Values(all), func(a, b *member) int { return cmp.Compare(a.meta.Key(), b.meta.Key()) }) {
		if err := m.take(ctx); err != nil {
			return m.named(err)
		}
	}
	runs, err := j.store.List(ctx)
	if err != nil {
		return err
	}
	j.store.Sweep()
	if err := j.rejoin(ctx, all, runs); err != nil {
		return err
	}
	for _, listing := range []bool{false, true} {
		for _, m := range all {
			if m.allGroups != listing || m.unlock == nil || m.ended {
				continue
			}
			l, err := m.open(ctx, m.meta, m.src, runs)
			if err != nil {
				return m.named(err)
			}
			m.begun = &begun{ledger: l, conn: conn, meter: m.src.meter, since: m.src.since, unlock: m.unlock}
		}
	}
	return nil
}

// take locks the job. One that another process works on may be skipped.
func (m *member) take(ctx context.Context) error {
	unlock, err := m.lock(ctx, m.meta.Key())
	if coded, ok := errors.AsType[*codedError](err); ok && coded.code == exitOK {
		return nil
	}
	m.unlock = unlock
	return err
}

// rejoin finds out which jobs were begun together and have ended, while others
// of them have not: they are not run again when the same command goes on with
// those.
func (j *job) rejoin(ctx context.Context, all []*member, runs []ledger.Info) error {
	newest := map[string]ledger.Info{} // run, by key
	for _, i := range runs {
		if i.Err == nil && i.State != ledger.Planning {
			newest[i.Meta.Key()] = i
		}
	}
	batch := ledger.NewRunID(time.Now())
	for _, m := range all {
		i, ok := newest[m.meta.Key()]
		if ok && !m.fresh && i.Meta.Batch != "" && !(i.State == ledger.Finished && i.Reported) {
			batch = i.Meta.Batch
		}
	}
	for _, m := range all {
		m.meta.Batch = batch
		i, ok := newest[m.meta.Key()]
		if !ok || m.fresh || m.unlock == nil || i.Meta.Batch != batch || i.State != ledger.Finished || !i.Reported {
			continue
		}
		if err := m.endedAs(ctx, i.Run); err != nil {
			return m.named(err)
		}
	}
	return nil
}

// endedAs takes the books of a run that ended before.
func (m *member) endedAs(ctx context.Context, run string) error {
	l, err := m.store.OpenRead(ctx, run)
	if err != nil {
		return err
	}
	defer l.Close()
	if m.sum, err = l.Summary(ctx); err != nil {
		return err
	}
	if m.ended = true; m.sum.Failed > 0 {
		m.code = exitFailed
	}
	m.prog.done(m.sum.State)
	m.log.Info("run " + run + " has ended; the others go on")
	return nil
}

// members makes the jobs of a file.
func (j *job) members(f *jobFile) ([]*member, error) {
	var telling sync.Mutex
	taken := map[string]string{} // what only one job can have, and whose it is
	var all []*member
	for _, e := range f.jobs {
		m, err := j.member(e, f.given, &telling)
		if err != nil {
			return nil, fmt.Errorf("job %s: %w", e.name, err)
		}
		var own []string
		if e.input == "-" {
			own = append(own, "input -")
		}
		if m.target != "" {
			own = append(own, "output "+real(m.target))
		}
		for _, what := range own {
			if other := taken[what]; other != "" {
				return nil, fmt.Errorf("jobs %s and %s cannot both have %s", other, e.name, what)
			}
			taken[what] = e.name
		}
		all = append(all, m)
	}
	return all, apart(all)
}

// apart refuses jobs of which one writes what another reads. They run side by side:
// the input might be lost, and is in no case what the other has written.
func apart(all []*member) error {
	writers := map[string]string{} // jobs, by what they write
	for _, m := range all {
		if m.target != "" && m.target != stdoutName {
			writers[real(m.target)] = m.jobEntry.name
		}
	}
	for _, m := range all {
		if m.input == "" || m.input == "-" || len(writers) == 0 {
			continue
		}
		name, err := filepath.Abs(m.input)
		if writer := writers[real(name)]; err == nil && writer != "" {
			return fmt.Errorf("the output of job %s is the input of job %s, and would be overwritten: jobs run side by side, not one after the other",
				writer, m.jobEntry.name)
		}
	}
	return nil
}

// real is the name of a file without symbolic links, whether it is there or not.
func real(name string) string {
	if path, err := filepath.EvalSymlinks(name); err == nil {
		return path
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(name)); err == nil {
		return filepath.Join(dir, filepath.Base(name))
	}
	return name
}

// jobFlags are the flags that this command has and that each job may have
// otherwise.
func jobFlags() []string {
	return []string{"max-errors", "isolate-budget", "retries", "retry-max-elapsed", "workers", "fresh"}
}

// member makes one job. What its entry does not say is as for all.
func (j *job) member(e jobEntry, given map[string]bool, telling *sync.Mutex) (*member, error) {
	o := *j.options
	fs := pflag.NewFlagSet(e.kind, pflag.ContinueOnError)
	o.addKind(kinds()[e.kind], fs)
	shared := pflag.NewFlagSet(e.kind, pflag.ContinueOnError)
	o.care.add(shared)
	o.pace.add(shared)
	o.runs.add(shared)
	for _, name := range jobFlags() {
		fs.AddFlag(shared.Lookup(name))
	}
	// To add a flag sets it to its default.
	o.care, o.pace, o.runs, o.maxBadRows, o.dryRun = j.care, j.pace, j.runs, j.maxBadRows, j.dryRun
	fs.VisitAll(func(f *pflag.Flag) { f.Changed = given[f.Name] })
	if err := apply(e.flags, fs); err != nil {
		return nil, err
	}
	if err := j.completeKind(fs); err != nil {
		return nil, err
	}
	if o.dryRun != j.dryRun {
		return nil, fmt.Errorf("line %d: dry-run is for all jobs together, not for one of them", e.line)
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if e.input == "" && !o.allGroups {
		return nil, fmt.Errorf("line %d: input is missing", e.line)
	}
	m := &member{jobEntry: e, job: &job{
		name: e.name, options: &o, w: j.w, logs: j.logs.of(e.name), board: j.board, store: j.store, flags: fs, config: j.config, observer: j.observer, telling: telling,
	}}
	m.prog = j.board.add(e.name, m.logs)
	return m, m.checkExport(e.kind, e.input)
}

// named says of which job an error is.
func (m *member) named(err error) error {
	if coded, ok := errors.AsType[*codedError](err); ok && coded.err == nil {
		return err
	}
	return &codedError{codeOf(err), fmt.Errorf("job %s: %w", m.jobEntry.name, err)}
}

func (m *member) close() {
	if m.src != nil {
		m.src.close()
	}
	switch {
	case m.begun != nil:
		m.begun.close()
	case m.unlock != nil:
		m.unlock()
	}
}

// run does the job and says how it ended.
func (m *member) run(ctx context.Context) {
	if m.begun == nil {
		return
	}
	err := cutShort(ctx, m.work(ctx, m.begun))
	m.sum = m.begun.sum
	m.prog.done(m.sum.State)
	m.telling.Lock()
	defer m.telling.Unlock()
	if err != nil {
		m.err = m.named(err)
		m.keepError(err)
		m.code = exitCode(m.err, m.w.stderr)
	}
}

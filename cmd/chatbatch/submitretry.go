package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chatbatch/jobs"
)

func submitRetry(w world) *cobra.Command {
	o := &options{}
	var classes []string
	var wait bool
	cmd := &cobra.Command{
		Use:   "retry RUN",
		Short: "Begin a new run over the failed rows of an earlier one, on many hosts",
		Long: `Begin a new run over the failed rows of an earlier one in the same database, and give
it to the hosts that work for its app: all of them, or those of some classes
(--class offline_or_absent).

It is the same kind of run on the same app, with the options that made the earlier plan.
No credentials are needed here. The earlier run stays as it is. An export goes to another
file (-o): of its failed groups alone.

The same command submits once: given again, it names the run that is under way.

` + exitHelp,
		Args: oneRun,
		RunE: func(cmd *cobra.Command, args []string) error {
			j, err := newJob(cmd, o, w)
			if err != nil {
				return err
			}
			j.onlooker = true
			return j.bounded(cmd.Context(), func(ctx context.Context) error { return j.submitFailed(ctx, args[0], classes, wait) })
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	section(fs, "Input and plan", func(fs *pflag.FlagSet) { o.addFailed(fs, &classes) })
	section(fs, "Object storage", o.objects.add)
	section(fs, "Guards", func(fs *pflag.FlagSet) { o.addSome(fs, o.care.add, "max-errors") })
	section(fs, "Runs", o.runs.add)
	section(fs, "Many hosts", func(fs *pflag.FlagSet) { addWait(fs, &wait) })
	section(fs, "Output and log", o.output.add)
	o.addSome(fs, o.pace.add) // none: they are the hosts'
	o.addSome(fs, o.server.add)
	setDefault(fs, "if-locked", "wait")
	o.chunkSize = jobs.DefaultChunkSize // that of the earlier run comes in its place
	return cmd
}

// submitFailed plans a run over the failed rows of another one, and gives it to the hosts.
func (j *job) submitFailed(ctx context.Context, run string, classes []string, wait bool) error {
	if j.store.database == nil {
		return errNoDatabase()
	}
	earlier, err := j.openEarlier(ctx, run)
	if err != nil {
		return err
	}
	defer earlier.Close()
	m := earlier.Meta()
	if strings.HasPrefix(m.Endpoint, simEndpoint) {
		return usage("run %s was one on the simulator in its process: no host can work on it", run)
	}
	if err := j.retryOptions(ctx, m); err != nil {
		return err
	}
	if err := j.checkSubmittedOutput(wait); err != nil {
		return err
	}
	if k := kinds()[m.Kind]; k.rows && j.chunkSize > submitChunk { // it was one host's
		if err := setAgain(j.flags, "chunk-size", fmt.Sprint(submitChunk)); err != nil {
			return err
		}
	}
	conn, err := j.elsewhere(m.Endpoint)
	if err != nil {
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
	j.prog = j.board.add("submit retry "+run, j.logs)
	return j.give(ctx, m.Kind, conn, func(context.Context) (*source, error) { return input, nil }, wait)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/spf13/cobra"

	"chatbatch/io/ledger"
	"chatbatch/io/report"
)

func reportCommand(w world) *cobra.Command {
	return storeCommand(w, &cobra.Command{
		Use:   "report RUN",
		Short: "Make the reports of a run again from its ledger",
		Long: `Make the reports of a run again from its ledger: failed.csv, unprocessed.csv
(.jsonl or .xlsx, if the input was that), summary.json, pace.csv and report.html in the directory
of the run, and the summary here. With a --ledger in a database that directory is one
of this host, too: --runs-dir says where. It works on a run of any state, also while it is
under way.

report.html is one page with all of it, for a browser: it opens without a network,
and nothing is loaded from anywhere.

pace.csv has a line for each second: how many calls left, how many of them were
retries, how many answers refused a call for its frequency, and how many lanes
were usable. A second is left out in which nothing of this happened.`,
		Args: oneRun,
	}, func(ctx context.Context, s shelf, args []string) error {
		l, err := s.OpenRead(ctx, args[0])
		if errors.Is(err, ledger.ErrNoRun) {
			return noRun(args[0], s)
		}
		if err != nil {
			return err
		}
		defer l.Close()
		dir, m := s.Path(args[0]), l.Meta()
		usual, err := runsIn("", w.getenv)
		named := err != nil || s.Dir != usual
		shared, err := s.isShared(ctx, m.Run)
		if err != nil {
			return err
		}
		next := func(sum ledger.Summary) report.Next { return nextStep(s, shared, named, m.Options["output"], m, sum) }
		if err := s.lodge(args[0]); err != nil {
			return err
		}
		if err := writeReports(ctx, l, dir, next); err != nil {
			return err
		}
		if err := errors.Join(show(ctx, w.stdout, l, w), showPace(ctx, w.stdout, l, w)); err != nil {
			return err
		}
		_, err = fmt.Fprintln(w.stdout, "files: "+dir)
		return err
	})
}

// writeReports writes the reports of a run that may be under way. If it has ended
// meanwhile, its own last reports may be older files than these, with newer books: then
// they are written again. (While it goes on it has its last reports still to write.)
func writeReports(ctx context.Context, l *ledger.Ledger, dir string, next func(ledger.Summary) report.Next) error {
	for {
		written, err := report.Write(ctx, l, dir, next)
		if err != nil {
			return err
		}
		now, err := l.Summary(ctx)
		if err != nil || now.State == ledger.Running || reflect.DeepEqual(now, written) {
			return err
		}
	}
}

// show prints the summary of a run as it is now.
func show(ctx context.Context, out io.Writer, l *ledger.Ledger, w world) error {
	s, err := l.Summary(ctx)
	if err != nil {
		return err
	}
	examples, err := report.Examples(ctx, l)
	if err != nil {
		return err
	}
	pace, err := report.PaceOf(ctx, l)
	if err != nil {
		return err
	}
	return report.Table(out, s, pace, examples, lookOf(out, w.getenv))
}

// showPace draws the pace of a run where people look at it, and not in logs.
func showPace(ctx context.Context, out io.Writer, l *ledger.Ledger, w world) error {
	plot, err := report.Plot(ctx, l, lookOf(out, w.getenv))
	if err == nil && plot != "" {
		_, err = fmt.Fprintln(out, plot)
	}
	return err
}

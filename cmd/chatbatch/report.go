package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"chatbatch/io/ledger"
	"chatbatch/io/report"
)

func reportCommand(w world) *cobra.Command {
	return storeCommand(w, &cobra.Command{
		Use:   "report RUN",
		Short: "Make the reports of a run again from its ledger",
		Long: `Make the reports of a run again from its ledger: failed.csv, unprocessed.csv
(.jsonl or .xlsx, if the input was that), summary.json and pace.csv in the
directory of the run, and the summary here. It works on a run of any state, also while it is under way.

pace.csv has a line for each second: how many calls left, how many of them were
retries, how many answers refused a call for its frequency, and how many lanes
were usable. A second is left out in which nothing of this happened.`,
		Args: cobra.ExactArgs(1),
	}, func(ctx context.Context, s ledger.Store, args []string) error {
		l, err := s.OpenRead(ctx, args[0])
		if err != nil {
			return err
		}
		defer l.Close()
		dir := s.Path(args[0])
		if _, err := report.Write(ctx, l, dir); err != nil {
			return err
		}
		if err := show(ctx, w.stdout, l, w); err != nil {
			return err
		}
		fmt.Fprintln(w.stdout, "files: "+dir)
		return nil
	})
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
	return report.Table(out, s, pace, examples, colours(out, w.getenv))
}

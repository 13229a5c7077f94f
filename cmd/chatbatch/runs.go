package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"chatbatch/io/ledger"
	"chatbatch/io/report"
)

func runsCommand(w world) *cobra.Command {
	return family(
		&cobra.Command{Use: "runs", Short: "List, show and remove the runs of this host, or of a database"},
		runsListCommand(w), runsShowCommand(w), runsPruneCommand(w),
	)
}

func runsListCommand(w world) *cobra.Command {
	var asJSON bool
	cmd := storeCommand(w, &cobra.Command{
		Use: "list", Short: "List the runs, newest last", Args: cobra.NoArgs,
	}, func(ctx context.Context, s shelf, _ []string) error {
		infos, err := s.List(ctx)
		if err != nil {
			return err
		}
		if asJSON {
			return listJSON(w, infos)
		}
		t := listing{
			header: []string{"run", "kind", "state", "rows", "succeeded", "failed", "unprocessed", "input"},
			worth:  []string{"run", "state", "kind", "failed", "rows", "unprocessed", "succeeded", "input"},
		}
		for _, i := range infos {
			if i.Err != nil {
				t.add(i.Run, "", "unreadable: "+i.Err.Error(), "", "", "", "", "")
				continue
			}
			t.add(i.Run, i.Meta.Kind, i.State, humanize.Comma(i.Books.Rows), humanize.Comma(i.Books.Succeeded),
				humanize.Comma(i.Books.Failed), humanize.Comma(i.Books.Unprocessed), i.Meta.Input)
		}
		return t.print(w.stdout)
	})
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

// listed is a run as `runs list --json` prints it.
type listed struct {
	Run         string       `json:"run"`
	Kind        string       `json:"kind,omitempty"`
	State       ledger.State `json:"state,omitempty"`
	Input       string       `json:"input,omitempty"`
	Rows        int64        `json:"rows"`
	Succeeded   int64        `json:"succeeded"`
	Failed      int64        `json:"failed"`
	Unprocessed int64        `json:"unprocessed"`
	Error       string       `json:"error,omitempty"`
}

func listJSON(w world, infos []ledger.Info) error {
	enc := json.NewEncoder(w.stdout)
	for _, i := range infos {
		l := listed{i.Run, i.Meta.Kind, i.State, i.Meta.Input,
			i.Books.Rows, i.Books.Succeeded, i.Books.Failed, i.Books.Unprocessed, ""}
		if i.Err != nil {
			l.Error = i.Err.Error()
		}
		if err := enc.Encode(l); err != nil {
			return err
		}
	}
	return nil
}

// oneRun wants the id of one run as the argument.
func oneRun(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage("give one RUN; chatbatch runs list shows them; see: %s --help", cmd.CommandPath())
	}
	return nil
}

func runsShowCommand(w world) *cobra.Command {
	return storeCommand(w, &cobra.Command{
		Use: "show RUN", Short: "Show the books of a run as they are now", Args: oneRun,
	}, func(ctx context.Context, s shelf, args []string) error {
		l, err := s.OpenRead(ctx, args[0])
		if errors.Is(err, ledger.ErrNoRun) {
			return noRun(args[0], s)
		}
		if err != nil {
			return err
		}
		defer l.Close()
		return errors.Join(show(ctx, w.stdout, l, w), showPace(ctx, w.stdout, l, w), showPublication(ctx, w, s, l.Meta()))
	})
}

// showPublication prints how the publication of an export of many hosts stands.
func showPublication(ctx context.Context, w world, s shelf, m ledger.Meta) error {
	if s.database == nil || !isExport(m.Kind) {
		return nil
	}
	at, err := s.database.Publication(ctx, m.Run)
	if err != nil {
		return err
	}
	if text := publication(at, m, s.flag); text != "" {
		_, err = fmt.Fprintln(w.stdout, "publish: "+report.Plain(text)) // why may be a server's words
	}
	return err
}

func runsPruneCommand(w world) *cobra.Command {
	var age time.Duration
	var unfinished, force bool
	cmd := storeCommand(w, &cobra.Command{
		Use: "prune", Short: "Remove old runs, with their ledgers and reports", Args: cobra.NoArgs,
		Long: `Remove old runs, with their ledgers and reports: those that have ended, and what
never got beyond its planning. A run that can be resumed stays, an export that is not
published yet too, unless --unfinished says otherwise; so does one that cannot be read.

With --force, what killed processes have left and what belongs to no run goes as well:
locks that nobody holds, and rests of runs.`,
	}, func(ctx context.Context, s shelf, _ []string) error {
		infos, err := s.List(ctx)
		if err != nil {
			return err
		}
		var errs []error
		for _, i := range infos {
			if !old(i, age, unfinished) {
				continue
			}
			said := fmt.Sprintf("would remove %s (%s, %s rows)", i.Run, i.State, humanize.Comma(i.Books.Rows))
			if force {
				err := pruneRun(ctx, s, i)
				if errors.Is(err, ledger.ErrLocked) && i.State == ledger.Planning && !unfinished {
					continue // it is being planned just now
				}
				if err != nil {
					errs = append(errs, err)
					continue
				}
				said = "removed " + i.Run
			}
			if _, err := fmt.Fprintln(w.stdout, said); err != nil {
				return errors.Join(append(errs, err)...)
			}
		}
		if force {
			s.Sweep() // what belongs to no run
		}
		return errors.Join(errs...)
	})
	cmd.Flags().DurationVar(&age, "older-than", 30*24*time.Hour, "keep runs that were begun later than this ago")
	cmd.Flags().BoolVar(&unfinished, "unfinished", false, "also runs that could still be resumed")
	cmd.Flags().BoolVar(&force, "force", false, "remove them; without it they are only listed")
	return cmd
}

func old(i ledger.Info, age time.Duration, unfinished bool) bool {
	if i.Err != nil || time.Since(i.Meta.Created) < age {
		return false // a run that cannot be read may hold what somebody needs
	}
	// What never began cannot be resumed; an export that is fetched and not published can.
	return unfinished || i.State == ledger.Planning || i.State == ledger.Cancelled || i.State == ledger.Finished && i.Reported
}

// pruneRun removes a run unless a process works on it.
func pruneRun(ctx context.Context, s shelf, i ledger.Info) error {
	unlock, err := s.Lock(ctx, i.Meta.Key(), false)
	if err != nil {
		return fmt.Errorf("remove %s: %w", i.Run, err)
	}
	defer unlock()
	return s.Remove(ctx, i.Run)
}

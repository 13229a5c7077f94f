package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"chatbatch/io/ledger"
	"chatbatch/jobs/fleet"
	"chatbatch/limiter"
)

func migrateCommand(w world) *cobra.Command {
	var o sharers
	var kept ledgers
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Make or upgrade the tables by which hosts share a budget, or runs",
		Long: `Make or upgrade the table by which hosts share a budget, in the PostgreSQL database
of --limiter, and the tables in which runs are kept, in that of --ledger, with those of
the queue by which many hosts work on them (River's own, river_*). Run it once, before
the first run, and again with a newer program. It may be repeated, and run on several
hosts at once; runs may go on meanwhile.

It needs the right to create a table in the schema of the database's user
(CREATE). Runs need SELECT, INSERT and UPDATE on the tables (chatbatch_*), and those
of a ledger DELETE; chatbatch submit and chatbatch work all of these on river_* as well,
and USAGE of the sequences river_*.

Exit codes:
  0   the tables are there
  2   usage or configuration
  75  try later: the database cannot be reached`,
		Args: noArguments("the database is named by --limiter or --limiter-file, or by --ledger or --ledger-file"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			budgets, err := o.database(cmd, w)
			if err != nil {
				return err
			}
			runs, err := kept.database(cmd, w)
			if err != nil {
				return err
			}
			if budgets == "" && runs == "" {
				return usage("there is no database: name it by --limiter postgres://user@host/db, or by --limiter-file; that of runs by --ledger or --ledger-file")
			}
			return migrate(cmd.Context(), w, budgets, runs)
		},
	}
	cmd.Flags().SortFlags = false
	o.add(cmd.Flags())
	kept.add(cmd.Flags())
	return cmd
}

// migrate brings the databases of budgets and of runs up to date; "" is none.
func migrate(ctx context.Context, w world, budgets, runs string) error {
	ctx, cancel := context.WithTimeout(ctx, migrateTime)
	defer cancel()
	queue := func(ctx context.Context, url string) (bool, error) {
		store, err := ledger.OpenPostgres(ctx, ledger.PostgresOptions{URL: url})
		if err != nil {
			return false, err
		}
		defer store.Close()
		return fleet.Migrate(ctx, store)
	}
	for _, m := range []struct {
		database string
		migrate  func(context.Context, string) (bool, error)
		made, is string
	}{
		{budgets, limiter.Migrate, "the table is made; hosts can share a budget by this database now", "the table is there; nothing was to be done"},
		{runs, ledger.MigratePostgres, "the tables are made; runs can be kept in this database now", "the tables of runs are there; nothing was to be done"},
		{runs, queue, "the tables of the queue are made; many hosts can work on runs of this database now", "the tables of the queue are there; nothing was to be done"},
	} {
		if m.database == "" {
			continue
		}
		changed, err := m.migrate(ctx, m.database)
		switch {
		case errors.Is(err, limiter.ErrUnreachable):
			return &codedError{exitTryLater, err}
		case err != nil:
			return err
		case changed:
			fmt.Fprintln(w.stdout, m.made)
		default:
			fmt.Fprintln(w.stdout, m.is)
		}
	}
	return nil
}

// database is that of sharers, for runs; "" if they are kept on this host.
func (o *ledgers) database(cmd *cobra.Command, w world) (string, error) {
	o.noteLedger(cmd.Flags())
	if err := o.checkLedger(); err != nil {
		return "", err
	}
	where, err := o.keptIn(w.getenv)
	if err != nil || where == ledgerLocal {
		return "", err
	}
	l, err := plainLogs(w)
	if err != nil {
		return "", err
	}
	warnOfPassword(l.log, "ledger", o.ledger, o.ledgerFrom)
	return where, nil
}

// database completes the flags and returns the address of the database that they
// mean, "" if they mean none.
func (o *sharers) database(cmd *cobra.Command, w world) (string, error) {
	if _, err := completeFlags(cmd, w); err != nil {
		return "", err
	}
	o.note(cmd.Flags())
	if err := o.checkSharers(); err != nil {
		return "", err
	}
	l, err := plainLogs(w)
	if err != nil {
		return "", err
	}
	who, err := o.who(w.getenv)
	if err != nil || !isDatabase(who) {
		return "", err
	}
	warnOfPassword(l.log, "limiter", o.limiter, o.from)
	return who, nil
}

// noArguments refuses arguments without quoting them: one may be an address with
// a password.
func noArguments(instead string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usage("%s takes no arguments: %s; see: %s --help", cmd.CommandPath(), instead, cmd.CommandPath())
		}
		return nil
	}
}

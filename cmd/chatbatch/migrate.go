package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"chatbatch/limiter"
)

func migrateCommand(w world) *cobra.Command {
	var o sharers
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Make or upgrade the table by which hosts share a budget",
		Long: `Make or upgrade the table by which hosts share a budget, in the PostgreSQL database
of --limiter. Run it once, before the first run, and again with a newer
program. It may be repeated, and run on several hosts at once; runs may go on
meanwhile.

It needs the right to create a table in the schema of the database's user
(CREATE). Runs need SELECT, INSERT and UPDATE on that table.

Exit codes:
  0   the table is there
  2   usage or configuration
  75  try later: the database cannot be reached`,
		Args: noArguments("the database is named by --limiter or --limiter-file"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			database, err := o.database(cmd, w)
			if err != nil {
				return err
			}
			if database == "" {
				return usage("there is no database: name it by --limiter postgres://user@host/db, or by --limiter-file")
			}
			return migrate(cmd.Context(), w, database)
		},
	}
	cmd.Flags().SortFlags = false
	o.add(cmd.Flags())
	return cmd
}

func migrate(ctx context.Context, w world, database string) error {
	ctx, cancel := context.WithTimeout(ctx, migrateTime)
	defer cancel()
	changed, err := limiter.Migrate(ctx, database)
	switch {
	case errors.Is(err, limiter.ErrUnreachable):
		return &codedError{exitTryLater, err}
	case err != nil:
		return err
	case changed:
		fmt.Fprintln(w.stdout, "the table is made; hosts can share a budget by this database now")
	default:
		fmt.Fprintln(w.stdout, "the table is there; nothing was to be done")
	}
	return nil
}

// database completes the flags and returns the address of
// the database that they mean, "" if they mean none.
func (o *sharers) database(cmd *cobra.Command, w world) (string, error) {
	if _, err := completeFlags(cmd, w); err != nil {
		return "", err
	}
	o.note(cmd.Flags())
	if err := o.checkSharers(); err != nil {
		return "", err
	}
	l, err := (&output{logFormat: "text", logLevel: "info"}).openLogs(w.stderr, colours(w.stderr, w.getenv))
	if err != nil {
		return "", err
	}
	who, err := o.who(w.getenv)
	if err != nil || !isDatabase(who) {
		return "", err
	}
	o.warnOfPassword(l.log)
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

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chatbatch/io/ledger"
)

// ledgerLocal is the --ledger of runs that are kept in directories of this host.
// Anything else is the address of a database.
const ledgerLocal = "local"

// ledgers says where runs are kept. An address may hold a password: it is printed
// nowhere, and is no part of what makes a command the same.
type ledgers struct {
	ledger     string
	ledgerFile string
	ledgerFrom origin // of the one that was given; "": none was
	ledgerBoth bool   // were given, by the same origin
}

func (o *ledgers) add(fs *pflag.FlagSet) {
	fs.StringVar(&o.ledger, "ledger", ledgerLocal, "where runs are kept: local (in --runs-dir), or a database with which every host can go on (postgres://user@host/db)")
	fs.StringVar(&o.ledgerFile, "ledger-file", "", "file with the text of --ledger, readable by its owner only: for an address with a password")
}

// ledgerFlags are the flags of which one says where runs are kept.
func ledgerFlags() []string { return []string{"ledger", "ledger-file"} }

// noteLedger notes where the flags come from, once they are set.
func (o *ledgers) noteLedger(flags *pflag.FlagSet) {
	if flags.Lookup("ledger") != nil {
		o.ledgerFrom, o.ledgerBoth = eitherOrigin(flags, "ledger", "ledger-file")
	}
}

// checkLedger refuses what cannot say where runs are kept. It never quotes: a
// mistyped address holds its password all the same.
func (o *ledgers) checkLedger() error {
	switch {
	case o.ledgerBoth:
		return usage("give --ledger or --ledger-file, not both")
	case o.ledgerFile != "":
		return nil // its text is checked when it is read
	case o.ledger == "":
		return nil // the command keeps no runs
	}
	return checkLedgerText("--ledger", o.ledger)
}

func checkLedgerText(what, text string) error {
	if text == ledgerLocal || isDatabase(text) {
		return nil
	}
	return usage("%s: it is local, or the address of a database, postgres://user@host/db (what it is now is not shown: it may hold a password)", what)
}

// keptIn is where runs are kept: local, or the address of a database.
func (o *ledgers) keptIn(getenv func(string) string) (string, error) {
	text, what, err := addressOf(getenv, "ledger", o.ledger, o.ledgerFile, o.ledgerFrom)
	if err != nil {
		return "", err
	}
	return text, checkLedgerText(what, text)
}

// flag is what names the ledger in a command that is to be given next; "" if nothing
// need be said. A password is not shown.
func (o *ledgers) flag() string {
	switch {
	case o.ledgerFrom != originArgument && o.ledgerFrom != originJobFile:
		return "" // it comes from where the next command takes it from, too
	case o.ledgerFile != "":
		name := o.ledgerFile
		if abs, err := filepath.Abs(name); err == nil {
			name = abs
		}
		return " --ledger-file " + quoted(name)
	case o.ledger == ledgerLocal:
		return " --ledger " + ledgerLocal
	case hasPassword(o.ledger):
		return " --ledger-file FILE"
	}
	return " --ledger " + quoted(o.ledger)
}

// A store is where runs are kept: [ledger.Store] in directories, [ledger.Postgres] in a
// database.
type store interface {
	NewRun(ctx context.Context, key string, now time.Time) string
	Create(ctx context.Context, m ledger.Meta) (*ledger.Ledger, error)
	Open(ctx context.Context, run string) (*ledger.Ledger, error)
	OpenRead(ctx context.Context, run string) (*ledger.Ledger, error)
	List(ctx context.Context) ([]ledger.Info, error)
	Find(ctx context.Context, list []ledger.Info, key string) (string, error)
	Lock(ctx context.Context, key string, wait bool) (unlock func(), err error)
	Remove(ctx context.Context, run string) error
	Sweep()
}

// A shelf is the store of a command, and the directory in which runs have their
// reports, and their ledgers too unless those are in a database.
type shelf struct {
	store
	Dir      string
	database *ledger.Postgres // nil: the ledgers are in Dir
	flag     string           // what names it in a command, beside --runs-dir
}

// Path returns the directory of a run.
func (s shelf) Path(run string) string { return s.local().Path(run) }

// local is the directory as a store: its locks are for what only this host has.
func (s shelf) local() ledger.Store { return ledger.Store{Dir: s.Dir} }

// String is where the runs are, for people.
func (s shelf) String() string {
	if s.database != nil {
		return s.database.String()
	}
	return s.Dir
}

// tempDir is where the planning of a run may put what does not fit into memory.
func (s shelf) tempDir(run string) string {
	if s.database != nil {
		return s.Dir
	}
	return s.Path(run)
}

// lodge makes the directory for the reports of a run, if it has none by its ledger.
func (s shelf) lodge(run string) error {
	if s.database == nil {
		return nil
	}
	if err := s.local().Lodge(run); err != nil {
		return ofPlace("make a directory for the reports (--runs-dir names another one): %w", err)
	}
	return nil
}

// Sweep removes what killed processes have left, here and in the database.
func (s shelf) Sweep() {
	s.store.Sweep()
	if s.database != nil {
		s.local().Sweep()
	}
}

// Remove removes a run, its reports on this host included.
func (s shelf) Remove(ctx context.Context, run string) error {
	err := s.store.Remove(ctx, run)
	if err == nil && s.database != nil {
		err = s.local().Unlodge(run)
	}
	return err
}

func (s shelf) close() {
	if s.database != nil {
		s.database.Close()
	}
}

// open opens the store in which runs are kept; dir is the directory of the runs.
func (o *ledgers) open(ctx context.Context, dir string, getenv func(string) string, log *slog.Logger) (shelf, error) {
	where, err := o.keptIn(getenv)
	if err != nil {
		return shelf{}, err
	}
	s := shelf{store: ledger.Store{Dir: dir}, Dir: dir, flag: o.flag()}
	if where == ledgerLocal {
		return s, nil
	}
	warnOfPassword(log, "ledger", o.ledger, o.ledgerFrom)
	if s.database, err = ledger.OpenPostgres(ctx, ledger.PostgresOptions{URL: where, Log: log}); err != nil {
		return shelf{}, ledgerNotOpened(err)
	}
	s.store = s.database
	return s, nil
}

// ledgerNotOpened is how a command ends that cannot use its ledgers: later is early
// enough for a database that does not answer.
func ledgerNotOpened(err error) error {
	if errors.Is(err, ledger.ErrUnreachable) {
		return &codedError{exitTryLater, fmt.Errorf("%w; nothing was sent, try again when it can be", err)}
	}
	return usage("%w", err)
}

// eitherOrigin says where the one comes from that was given of two flags that say the
// same, and whether both were.
func eitherOrigin(flags *pflag.FlagSet, one, other string) (from origin, both bool) {
	a, b := originOf(flags.Lookup(one)), originOf(flags.Lookup(other))
	if a == "" {
		return b, false
	}
	return a, b != ""
}

// addressOf is the text of a flag that may be an address with a password: as it was
// given, or from a file, or from systemd's credential of its name; what says which.
func addressOf(getenv func(string) string, flag, text, file string, from origin) (_, what string, err error) {
	given := true
	what = "--" + flag + "-file"
	if file == "" && from == "" {
		if dir := getenv("CREDENTIALS_DIRECTORY"); dir != "" {
			file, given, what = filepath.Join(dir, "chatbatch_"+flag), false, "chatbatch_"+flag+" in $CREDENTIALS_DIRECTORY"
			if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
				file = ""
			}
		}
	}
	if file == "" {
		return text, "--" + flag, nil
	}
	text, err = readPrivate(strings.TrimPrefix(what, "--"), file, given)
	return text, what, err
}

// warnOfPassword tells who has written a password where others can read it.
func warnOfPassword(log *slog.Logger, flag, text string, from origin) {
	if from == originArgument && isDatabase(text) && hasPassword(text) {
		log.Warn(fmt.Sprintf("the password in --%[1]s can be read by others on this host, in the list of its processes: put the address into a --%[1]s-file or CHATBATCH_%[2]s, or the password into PGPASSWORD or ~/.pgpass",
			flag, strings.ToUpper(flag)))
	}
}

// plainLogs are those of a command that has no flags for them.
func plainLogs(w world) (logs, error) {
	return (&output{logFormat: "text", logLevel: "info"}).openLogs(w.stderr, colours(w.stderr, w.getenv))
}

// storeCommand makes a command on the runs that there are.
func storeCommand(w world, cmd *cobra.Command, do func(context.Context, shelf, []string) error) *cobra.Command {
	var dir string
	var o ledgers
	addRunsDir(cmd.Flags(), &dir)
	o.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if _, err := completeFlags(cmd, w); err != nil {
			return err
		}
		o.noteLedger(cmd.Flags())
		if err := o.checkLedger(); err != nil {
			return err
		}
		runs, err := runsIn(dir, w.getenv)
		if err != nil {
			return err
		}
		l, err := plainLogs(w)
		if err != nil {
			return err
		}
		s, err := o.open(cmd.Context(), runs, w.getenv, l.log)
		if err != nil {
			return err
		}
		defer s.close()
		return do(cmd.Context(), s, args)
	}
	return cmd
}

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chatbatch/io/ledger"
	"chatbatch/jobs"
	"chatbatch/jobs/fleet"
)

const workHelp = `Work on the runs of one app that were given to many hosts by chatbatch submit, until a
signal says to stop: then no more is begun, calls under way may come back within
--grace, and what is not settled is given back to the other hosts. An export to object
storage is written there by one of them, with the keys of the store that are there.

Any number of hosts may do this, with the same --ledger, --sdkappid and --region or
--endpoint; each has the credentials of the app, which are not in the database. All of
them share one budget of calls, by the database of --limiter: that of the ledger, if
nothing else is said (chatbatch migrate --limiter makes its table). What a host that has
died had in hand is taken over by the others within a minute.

Exit codes:
  0   a signal came, and all is given back
  2   usage or configuration, nothing sent
  75  try later: the database cannot be reached`

func workCommand(w world) *cobra.Command {
	o, page := &options{}, &showing{}
	cmd := &cobra.Command{
		Use:   "work",
		Short: "Work on runs that were submitted, as one of many hosts",
		Long:  "Work on runs that were submitted, as one of many hosts.\n\n" + workHelp,
		Args:  noArguments("it works on what chatbatch submit has put into the database of --ledger"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			j, err := newJob(cmd, o, w)
			if err != nil {
				return err
			}
			return j.bounded(cmd.Context(), func(ctx context.Context) error { return j.beHost(ctx, page.uiAddr) })
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	section(fs, "App and server", func(fs *pflag.FlagSet) {
		o.addSome(fs, o.server.add, "sdkappid", "identifier", "secret-key-file", "region", "endpoint", "timeout")
	})
	section(fs, "Object storage", o.objects.add)
	section(fs, "Runs", o.ledgers.add)
	section(fs, "Pace", o.pace.add)
	section(fs, "Retries and guards", func(fs *pflag.FlagSet) {
		o.addSome(fs, o.care.add, "retries", "retry-max-elapsed", "grace", "isolate-budget")
	})
	section(fs, "Output and log", func(fs *pflag.FlagSet) { o.addSome(fs, o.output.add, "log-format", "log-level", "log-file") })
	fs.Lookup("limiter").DefValue = "that of --ledger"
	section(fs, "Page", page.add)
	addIfLocked(pflag.NewFlagSet("", pflag.ContinueOnError), &o.ifLocked) // its default
	o.addSome(fs, o.input.add)
	return cmd
}

// beHost works on the runs of an app until ctx ends, and shows the fleet at ui meanwhile.
func (j *job) beHost(ctx context.Context, ui string) error {
	store := j.store.database
	if store == nil {
		return usage("runs of many hosts are kept in a database: name it by --ledger postgres://user@host/db, or by --ledger-file")
	}
	endpoint, err := j.where()
	if err != nil {
		return err
	}
	if err := fleet.Check(ctx, store); err != nil {
		return ledgerNotOpened(err)
	}
	if err := j.shareByLedger(); err != nil {
		return err
	}
	conn, err := j.connect(ctx, "work", endpoint)
	if err != nil {
		return err
	}
	defer conn.close()
	host := &fleet.Worker{
		Store: store, App: fleet.App{SDKAppID: conn.chat.SDKAppID, Endpoint: endpoint},
		Workers: j.workers, Grace: j.grace, CallTime: j.timeout, Log: j.log,
		Equip:   func(_ context.Context, l *ledger.Ledger) (fleet.Gear, error) { return j.gear(conn, l) },
		Publish: j.publishAsHost,
	}
	j.sweepOutgoing(ctx)
	j.log.Info(fmt.Sprintf("working for app %d at %s", conn.chat.SDKAppID, endpoint), "ledger", store.String())
	who := fmt.Sprintf("%s, which works for app %d", processName(), conn.chat.SDKAppID)
	err = j.withPage(ctx, ui, who, func() error { return host.Run(ctx) })
	switch {
	case err == nil:
		j.log.Info("stopped; all is given back")
		return nil
	case errors.Is(err, ledger.ErrUnreachable):
		return &codedError{exitTryLater, err}
	}
	return err
}

// shareByLedger lets the hosts of a fleet share one budget by the database in which their
// runs are, unless something else is said.
func (j *job) shareByLedger() error {
	who, err := j.who(j.w.getenv)
	if err != nil || j.from != "" || who != limiterHost {
		return err
	}
	j.limiter, err = j.keptIn(j.w.getenv)
	return err
}

// of is a job for a run of the fleet, with options of its own: what is said of this host's
// object storage stays the host's.
func (j *job) of(m ledger.Meta) *job {
	o := *j.options
	o.s3Endpoint, o.s3Region, o.s3Style = "", "", ""
	run := &job{options: &o, w: j.w, logs: j.logs, store: j.store, board: j.board, flags: pflag.NewFlagSet("", pflag.ContinueOnError)}
	run.log = j.log.With("run", m.Run)
	return run
}

// gear is what a run needs on this host.
func (j *job) gear(conn *connection, l *ledger.Ledger) (fleet.Gear, error) {
	m := l.Meta()
	k, err := kindNamed(m.Kind)
	if err != nil {
		return fleet.Gear{}, err
	}
	run := j.of(m)
	o := run.options
	if err := run.planAgain(m); err != nil {
		return fleet.Gear{}, err
	}
	b := &begun{ledger: l, conn: conn, meter: &jobs.Meter{}}
	say := func(text string) { run.log.Warn(text) }
	return fleet.Gear{
		Kind: k.make(o, kindParts{chat: conn.chat, keep: l, say: say}), Door: o.door(conn, b.meter), Session: b.session,
		Beside: func(ctx context.Context) {
			var wg sync.WaitGroup
			wg.Go(func() { b.note(ctx) })
			b.sampler(run.log, &progress{}).run(ctx)
			wg.Wait()
		},
	}, nil
}

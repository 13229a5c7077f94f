package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chatbatch/io/ledger"
	"chatbatch/jobs"
	"chatbatch/jobs/fleet"
)

const workHelp = `Work on the runs of an app that were given to many hosts by chatbatch submit, until a
signal says to stop: then no more is begun, calls under way may come back within
--grace, and what is not settled is given back to the other hosts. An export to object
storage is written there by one of them, with the keys of the store that are there.

Any number of hosts may do this, with the same --ledger, --sdkappid and --region or
--endpoint; each has the credentials of the app, which are not in the database. All of
them share one budget of calls, by the database of --limiter: that of the ledger, if
nothing else is said (chatbatch migrate --limiter makes its table). What a host that has
died had in hand is taken over by the others within a minute.

With --profiles one host works for several apps: each is a profile of the configuration
file, with its own sdkappid, identifier, secret-key-file, region or endpoint, and budget
(qps), workers, retries, timeout and grace if they are other ones than those of the rest:

  chatbatch work --profiles sg,cn

What is given as an argument holds for all of them. The key of a profile is in the file
of its secret-key-file, in CHATBATCH_SECRET_KEY_<PROFILE>, or in
$CREDENTIALS_DIRECTORY/chatbatch_secret_key_<profile>. The database, its connections,
the log and the page are the host's.

Exit codes:
  0   a signal came, and all is given back
  2   usage or configuration, nothing sent
  75  try later: the database cannot be reached, or the clock of this host is more than
      10 s from that of the database. Where the database is away when a signal comes,
      the others take over what this host had in hand, as if it had died`

func workCommand(w world) *cobra.Command {
	o, page := &options{}, &showing{}
	var profiles []string // the configuration has them
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
			j.ofHost = true
			return j.bounded(cmd.Context(), func(ctx context.Context) error { return j.beHost(ctx, page.uiAddr) })
		},
	}
	cmd.Flags().SortFlags = false
	o.addWork(cmd.Flags(), page, &profiles)
	return cmd
}

// addWork adds the flags of a host.
func (o *options) addWork(fs *pflag.FlagSet, page *showing, profiles *[]string) {
	section(fs, "App and server", func(fs *pflag.FlagSet) {
		o.addSome(fs, o.server.add, "sdkappid", "identifier", "secret-key-file", "region", "endpoint", "timeout")
		fs.StringSliceVar(profiles, keyProfiles, nil, "work for several apps, each a profile of the configuration file: a,b or all")
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
	section(fs, "Metrics", o.observing.add)
	addIfLocked(pflag.NewFlagSet("", pflag.ContinueOnError), &o.ifLocked) // its default
	o.addSome(fs, o.input.add)
}

// beHost works on the runs of its apps until ctx ends, and shows the fleet at ui meanwhile.
func (j *job) beHost(ctx context.Context, ui string) error {
	store := j.store.database
	if store == nil {
		return errNoDatabase()
	}
	if err := fleet.Check(ctx, store); err != nil {
		return ledgerNotOpened(err)
	}
	host := &fleet.Worker{Store: store, Log: j.log}
	free, err := j.serve(ctx, host)
	if err != nil {
		return err
	}
	defer free()
	if err := j.shareByLedger(); err != nil { // for the page
		return err
	}
	j.sweepOutgoing(ctx)
	var apps []string
	for _, s := range host.Services {
		s.Log.Info(fmt.Sprintf("working for app %d at %s", s.App.SDKAppID, s.App.Endpoint), "ledger", store.String())
		apps = append(apps, strconv.FormatInt(s.App.SDKAppID, 10))
	}
	j.observer.hostStart(host.Heard)
	who := fmt.Sprintf("%s, which works for app %s", processName(), strings.Join(apps, ", "))
	err = j.withPage(ctx, ui, who, func() error { return host.Run(ctx) })
	switch {
	case err == nil:
		j.log.Info("stopped; all is given back")
		return nil
	case errors.Is(err, ledger.ErrUnreachable) && ctx.Err() != nil:
		return &codedError{exitTryLater, fmt.Errorf("stopped, and could not say so; the other hosts take over what this one had in hand within a minute: %w", err)}
	case errors.Is(err, ledger.ErrUnreachable), errors.Is(err, fleet.ErrClock):
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

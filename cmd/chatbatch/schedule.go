package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	_ "time/tzdata" // for hosts without a list of time zones: an image from scratch, Windows

	"github.com/spf13/cobra"

	"chatbatch/io/ledger"
	"chatbatch/jobs"
	"chatbatch/jobs/fleet"
)

const scheduleHelp = `Hold periodic jobs until a signal says to stop, on one host or on any number of them,
which share the database of --ledger and have the same FILE:

  region: sg
  sdkappid: 1400000000
  identifier: administrator
  timezone: Asia/Shanghai          # default: UTC
  schedules:
    - name: profiles
      cron: "0 3 * * *"            # minute hour day month weekday; or @daily, @every 6h
      kind: export members
      input: groups.csv
      output: profiles-{date}.csv.gz
      missed: run                  # or skip
      overlap: skip                # or wait

At the top stand the flags of this command, in a schedule those of its kind, without
the dashes. An argument or the environment goes before the file. Names of files are
relative to where the file lies, and may have {date} {time} {year} {month} {day} {hour}
{minute} of the tick in its time zone, or {utc}.

Of all hosts one takes each tick, and does what the command of its kind would; where
that host dies another goes on with the run, within a minute. The files are those of the
host that took the tick. With submit: true the run is given to the hosts of chatbatch
work instead, as by chatbatch submit.

missed says what becomes of ticks at which no host was there, for more than a minute: run
does the last of them late, once; skip does none. overlap says what becomes of a tick that comes while an
earlier one of the schedule is under way: skip leaves it out; wait does it afterwards,
but one waits at the most.

Clocks that are put forward or back: what is meant for certain hours is done once a day.
A tick in an hour that is left out is at the moment when the clock jumps, and one in an
hour that comes twice is at the first. What is meant for every hour (*) follows the time
that passes, and so does @every, which counts from midnight UTC.

chatbatch schedule list and history say what is held and what became of each tick.`

const scheduleExitHelp = `Exit codes:
  0   a signal came, and all is ended or given back
  2   usage or configuration
  75  try later: the database cannot be reached`

func scheduleCommand(w world) *cobra.Command {
	o := &options{}
	var zone string
	cmd := &cobra.Command{
		Use:   "schedule FILE",
		Short: "Hold periodic jobs, on any number of hosts",
		Long:  "Hold periodic jobs, on any number of hosts.\n\n" + scheduleHelp + "\n\n" + scheduleExitHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || isDatabase(args[0]) { // its password is not for the screen
				return usage("give one FILE of schedules; see: %s --help", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := readScheduleFile(cmd.Context(), args[0], w.stdin)
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
			j.ofHost = true
			h := &holder{job: j, file: f, each: o.care.maxDuration}
			o.maxDuration = 0 // it is of each run, not of this command
			if h.schedules, err = f.schedules(zone); err != nil {
				return usage("%s: %w", f.path, err)
			}
			return j.bounded(cmd.Context(), h.hold)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	o.server.add(fs)
	fs.StringVar(&zone, keyTimezone, "UTC", "of the schedules that say none, e.g. Asia/Shanghai")
	fs.BoolVar(&o.dryRun, "dry-run", false, "read and check the schedules, and show their next ticks; send nothing")
	fs.StringVar(&o.maxBadRows, "max-bad-rows", "10%", "refuse an input with more bad rows than this: 100 or 10%")
	o.pace.add(fs)
	o.care.add(fs)
	o.runs.add(fs)
	o.addSome(fs, o.output.add, "quiet", "log-format", "log-level", "log-file", "notify-url", "notify-url-file", "notify-format")
	o.observing.add(fs)
	setDefault(fs, "if-locked", "wait") // for who does the same by hand
	o.chunkSize = jobs.DefaultChunkSize // a schedule may have another one
	cmd.AddCommand(scheduleListCommand(w), scheduleHistoryCommand(w))
	return cmd
}

// A holder is a host that holds schedules.
type holder struct {
	*job
	file      *scheduleFile
	schedules []*fleet.Schedule // of the jobs of the file, in their order
	each      time.Duration     // --max-duration, of each run
}

// hold holds the schedules until ctx ends.
func (h *holder) hold(ctx context.Context) error {
	if err := h.check(); err != nil {
		return usage("%s: %w", h.file.path, err)
	}
	if h.dryRun {
		return h.showNext()
	}
	store := h.store.database
	if store == nil {
		return usage("schedules are kept in a database: name it by --ledger postgres://user@host/db, or by --ledger-file")
	}
	if slices.ContainsFunc(h.schedules, func(s *fleet.Schedule) bool { return s.Submit }) {
		if err := fleet.Check(ctx, store); err != nil {
			return ledgerNotOpened(err)
		}
	}
	if err := h.tryConnection(ctx); err != nil {
		return err
	}
	h.w.ending.parts = true
	for _, s := range h.schedules {
		h.log.Info("holding schedule "+s.Name, "kind", s.Kind, "cron", s.Cron, "next", s.When(s.Next(time.Now())))
	}
	k := &fleet.Keeper{Store: store, Schedules: h.schedules, Host: hostName(), Log: h.log, Do: h.do}
	h.observer.hostStart(k.Heard)
	err := k.Run(ctx)
	if errors.Is(err, ledger.ErrUnreachable) {
		return &codedError{exitTryLater, err}
	}
	if err == nil {
		h.log.Info("stopped; all is ended or given back")
	}
	return err
}

// check makes each job once, as it would be made now: what is wrong with one must not
// show at 3 in the night.
func (h *holder) check() error {
	writers := map[string]string{} // schedules, by the pattern of what they write
	for i := range h.file.jobs {
		e := &h.file.jobs[i]
		if _, err := h.jobAt(i, time.Now(), io.Discard); err != nil {
			return fmt.Errorf("line %d: schedule %s: %w", e.line, e.name, err)
		}
		if other := writers[e.output()]; e.output() != "" && other != "" {
			return fmt.Errorf("line %d: schedules %s and %s cannot both have output %s", e.line, other, e.name, e.output())
		}
		writers[e.output()] = e.name
	}
	return nil
}

// tryConnection finds out whether there are credentials and a budget. Nothing is sent.
func (h *holder) tryConnection(ctx context.Context) error {
	endpoint, err := h.where()
	if err != nil {
		return err
	}
	if err := h.shareByLedger(); err != nil {
		return err
	}
	conn, err := h.connect(ctx, doing("schedule", h.file.path), endpoint)
	if err != nil {
		return err
	}
	return conn.close()
}

// showNext shows what the schedules are and when their next ticks are.
func (h *holder) showNext() error {
	t := listing{
		header: []string{"schedule", "kind", "cron", "timezone", "next ticks", "output"},
		worth:  []string{"schedule", "next ticks", "output", "cron", "kind", "timezone"},
	}
	now := time.Now()
	for i, s := range h.schedules {
		at := now
		for n := range 3 {
			if at = s.Next(at); at.IsZero() {
				break
			}
			e, err := h.file.jobs[i].at(at.In(s.Location))
			if err != nil {
				return err
			}
			row := []any{"", "", "", "", s.When(at), e.output()}
			if n == 0 {
				row[0], row[1], row[2], row[3] = s.Name, s.Kind, s.Cron, s.Zone
			}
			t.add(row...)
		}
	}
	return t.print(h.w.stdout)
}

package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"chatbatch/io/ledger"
	"chatbatch/jobs/fleet"
)

// heldFor is how long a schedule counts as held after a host has said so.
const heldFor = 30 * time.Second

func errNoSchedules() error {
	return usage("schedules are kept in a database: name it by --ledger postgres://user@host/db, or by --ledger-file")
}

func scheduleListCommand(w world) *cobra.Command {
	var asJSON bool
	cmd := storeCommand(w, &cobra.Command{
		Use: "list", Short: "List the schedules, with their next and last ticks", Args: cobra.NoArgs,
	}, func(ctx context.Context, s shelf, _ []string) error {
		if s.database == nil {
			return errNoSchedules()
		}
		all, err := s.database.Schedules(ctx)
		if err != nil {
			return err
		}
		if asJSON {
			return schedulesJSON(w, all)
		}
		t := listing{
			header: []string{"schedule", "kind", "cron", "timezone", "held", "next", "last", "state", "exit"},
			worth:  []string{"schedule", "next", "state", "exit", "held", "cron", "kind", "last", "timezone"},
		}
		for _, at := range all {
			l := listedOf(at)
			t.add(l.Schedule, l.Kind, l.Cron, l.Zone, yesNo(l.Held), l.Next, l.Last, l.State, known(l.Exit))
		}
		return t.print(w.stdout)
	})
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

// known is a number, or nothing where there is none.
func known(n *int) any {
	if n == nil {
		return ""
	}
	return *n
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// listedSchedule is a schedule as `schedule list --json` prints it. Times are in its time
// zone.
type listedSchedule struct {
	Schedule string           `json:"schedule"`
	Kind     string           `json:"kind"`
	Cron     string           `json:"cron"`
	Zone     string           `json:"timezone"`
	Missed   string           `json:"missed"`
	Overlap  string           `json:"overlap"`
	Submit   bool             `json:"submit,omitempty"`
	Input    string           `json:"input,omitempty"`
	Output   string           `json:"output,omitempty"`
	Held     bool             `json:"held"` // by a host
	Next     string           `json:"next,omitempty"`
	Last     string           `json:"last,omitempty"`
	State    ledger.TickState `json:"state,omitempty"` // of the last tick
	Run      string           `json:"run,omitempty"`
	Exit     *int             `json:"exit,omitempty"`
}

func listedOf(at ledger.Scheduled) listedSchedule {
	l := listedSchedule{
		Schedule: at.Name, Kind: at.Kind, Cron: at.Cron, Zone: at.Zone, Missed: at.Missed, Overlap: at.Overlap, Submit: at.Submit,
		Input: at.Input, Output: at.Output, Held: at.Now.Sub(at.Seen) < heldFor, State: at.Last.State, Run: at.Last.Run,
	}
	// One of a newer program may have what this one cannot read.
	if s, err := fleet.NewSchedule(at.Schedule); err == nil {
		if next := s.Next(at.Now); l.Held && !next.IsZero() {
			l.Next = s.When(next)
		}
	}
	if at.Last.State != "" {
		l.Last = inZone(at.Last.At, at.Zone)
	}
	if at.Last.State == ledger.TickEnded {
		l.Exit = &at.Last.Code
	}
	return l
}

// inZone writes a time in a time zone, in UTC if that is not known here.
func inZone(t time.Time, zone string) string {
	loc, err := time.LoadLocation(zone)
	if err != nil || t.IsZero() {
		loc = time.UTC
	}
	return t.In(loc).Format(time.RFC3339)
}

func schedulesJSON(w world, all []ledger.Scheduled) error {
	enc := json.NewEncoder(w.stdout)
	for _, at := range all {
		if err := enc.Encode(listedOf(at)); err != nil {
			return err
		}
	}
	return nil
}

func scheduleHistoryCommand(w world) *cobra.Command {
	var asJSON bool
	var most int
	cmd := storeCommand(w, &cobra.Command{
		Use: "history [NAME]", Short: "List what became of the ticks of a schedule, or of all, newest last", Args: cobra.MaximumNArgs(1),
		Long: `List what became of the ticks of a schedule, or of all, newest last. A tick is waiting or
running, has ended with an exit code as the command of its kind, was skipped because an
earlier one was under way, or missed because no host was there. The newest 2,000 of each
schedule are kept.`,
	}, func(ctx context.Context, s shelf, args []string) error {
		if s.database == nil {
			return errNoSchedules()
		}
		if most < 1 {
			return usage("--limit %d: it is 1 or more", most)
		}
		h, err := readHistory(ctx, s, args, most)
		if err != nil {
			return err
		}
		if asJSON {
			enc := json.NewEncoder(w.stdout)
			for _, l := range h {
				if err := enc.Encode(l); err != nil {
					return err
				}
			}
			return nil
		}
		return historyTable(h).print(w.stdout)
	})
	cmd.Flags().IntVar(&most, "limit", 50, "how many ticks, the newest")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return cmd
}

// listedTick is a tick as `schedule history --json` prints it.
type listedTick struct {
	Schedule string           `json:"schedule"`
	Tick     string           `json:"tick"` // in the time zone of the schedule
	State    ledger.TickState `json:"state"`
	Run      string           `json:"run,omitempty"`
	Exit     *int             `json:"exit,omitempty"`
	Host     string           `json:"host,omitempty"`
	Takes    int64            `json:"takes,omitempty"` // hosts that have begun with it
	Began    *time.Time       `json:"began,omitempty"`
	Ended    *time.Time       `json:"ended,omitempty"`
	Error    string           `json:"error,omitempty"`

	Books *ledger.Books `json:"-"` // of the run, if it is still there
	Rows  *int64        `json:"rows,omitempty"`
	Fail  *int64        `json:"failed,omitempty"`
}

// readHistory reads the newest ticks, and the books of their runs.
func readHistory(ctx context.Context, s shelf, args []string, most int) ([]listedTick, error) {
	all, err := s.database.Schedules(ctx)
	if err != nil {
		return nil, err
	}
	zones := map[string]string{}
	for _, at := range all {
		zones[at.Name] = at.Zone
	}
	var name string
	if len(args) == 1 {
		if name = args[0]; zones[name] == "" {
			return nil, usage("there is no schedule %q in %s; see: chatbatch schedule list%s", name, s, s.flag)
		}
	}
	ticks, err := s.database.Ticks(ctx, name, most)
	if err != nil {
		return nil, err
	}
	runs, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	books := map[string]*ledger.Books{}
	for _, i := range runs {
		books[i.Run] = &i.Books
	}
	var h []listedTick
	for _, t := range ticks {
		h = append(h, listedTickOf(t, zones[t.Schedule], books[t.Run]))
	}
	return h, nil
}

func listedTickOf(t ledger.Tick, zone string, books *ledger.Books) listedTick {
	l := listedTick{Schedule: t.Schedule, Tick: inZone(t.At, zone), State: t.State, Run: t.Run, Host: t.Host, Takes: t.Takes, Error: t.Why, Books: books}
	if !t.Began.IsZero() {
		l.Began = new(t.Began.UTC())
	}
	if !t.Ended.IsZero() {
		l.Ended = new(t.Ended.UTC())
	}
	if t.State == ledger.TickEnded {
		l.Exit = &t.Code
	}
	if books != nil {
		l.Rows, l.Fail = &books.Rows, &books.Failed
	}
	return l
}

// historyTable shows ticks to people.
func historyTable(h []listedTick) *listing {
	t := &listing{
		header: []string{"schedule", "tick", "state", "exit", "rows", "failed", "took", "run", "host", "why"},
		worth:  []string{"schedule", "tick", "state", "exit", "why", "failed", "took", "rows", "run", "host"},
	}
	for _, l := range h {
		var rows, failed, took string
		if l.Books != nil {
			rows, failed = humanize.Comma(l.Books.Rows), humanize.Comma(l.Books.Failed)
		}
		if l.Began != nil && l.Ended != nil {
			took = long(l.Ended.Sub(*l.Began))
		}
		t.add(l.Schedule, l.Tick, l.State, known(l.Exit), rows, failed, took, l.Run, l.Host, l.Error)
	}
	return t
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"chatbatch/limiter"
)

func limiterCommand(w world) *cobra.Command {
	return family(
		&cobra.Command{Use: "limiter", Short: "Look at who shares the budget now"},
		limiterStatusCommand(w),
	)
}

func limiterStatusCommand(w world) *cobra.Command {
	var o sharers
	var sdkAppID int64
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the processes of this host do with the budget, and all hosts of a database",
		Long: `Show what the processes of this host do with the budget, and, with a database, what
all its hosts do. It changes nothing and costs no call.

A budget is that of an app, or of one API of an app (SDKAPPID/API). Its lanes are
the calls that may be inside any one second: under way, or resting for the rest of
their second. Lanes are out of use for some seconds after a frequency code.
Under "a second" stand the calls that left in the last one, to a tenth of a second, as
the process, or its host, has last said.

Exit codes:
  0   shown
  2   usage or configuration
  75  the database cannot be reached; what this host does is shown`,
		Args: noArguments("an app is named by --sdkappid, a database by --limiter"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			database, err := o.database(cmd, w)
			if err != nil {
				return err
			}
			return limiterStatus(cmd.Context(), w, database, sdkAppID, asJSON)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	o.add(fs)
	fs.Int64Var(&sdkAppID, "sdkappid", 0, "this app alone")
	fs.BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

// limiterStatus shows this host, and all of them if there is a database. That one is
// away is no reason to hide the other.
func limiterStatus(ctx context.Context, w world, database string, sdkAppID int64, asJSON bool) error {
	dir, err := lanesDir(w.getenv)
	if err != nil {
		return err
	}
	host, err := limiter.InspectHost(dir)
	if err != nil {
		return err
	}
	var hosts []limiter.FleetBudget
	var away error
	if database != "" {
		hosts, away = fleetBudgets(ctx, database)
	}
	s := statusOf(host, hosts, sdkAppID, database != "" && away == nil)
	if asJSON {
		err = json.NewEncoder(w.stdout).Encode(s)
	} else {
		var text strings.Builder
		s.print(&text, dir)
		_, err = io.WriteString(w.stdout, text.String())
	}
	switch {
	case err != nil:
		return fmt.Errorf("print status: %w", err)
	case errors.Is(away, limiter.ErrUnreachable):
		return &codedError{exitTryLater, away}
	}
	return away
}

// statusJSON is the status for scripts. Times are in seconds, negative: that long
// ago.
type statusJSON struct {
	Host  []hostJSON   `json:"host"`
	Fleet *[]fleetJSON `json:"fleet,omitempty"` // nil: no database was asked
}

type hostJSON struct {
	Budget    string        `json:"budget"`
	Lanes     int           `json:"lanes"`
	Usable    int           `json:"usable"`
	UnderWay  int           `json:"under_way"`
	Resting   int           `json:"resting"`
	OutOfUse  int           `json:"out_of_use"`
	LeaseEnds *float64      `json:"lease_ends,omitempty"` // nil: nothing is leased
	Processes []processJSON `json:"processes"`
}

type processJSON struct {
	PID             int     `json:"pid"`
	Name            string  `json:"name"`
	UnderWay        int     `json:"under_way"`
	CallsLastSecond int     `json:"calls_last_second"`
	Waiting         int     `json:"waiting"`
	Age             float64 `json:"age"` // since it said so
}

type fleetJSON struct {
	Budget string          `json:"budget"`
	Lanes  int             `json:"lanes"`
	Free   int             `json:"free"`
	Hosts  []fleetHostJSON `json:"hosts"`
}

type fleetHostJSON struct {
	ID              string  `json:"id"`
	Name            string  `json:"name"`
	Lanes           int     `json:"lanes"`
	Wants           int     `json:"wants"`
	CallsLastSecond int     `json:"calls_last_second"`
	Waiting         int     `json:"waiting"`
	OutOfUse        int     `json:"out_of_use"`
	LeaseEnds       float64 `json:"lease_ends"`
}

// statusOf picks the budgets of one app, 0: of all.
func statusOf(host []limiter.HostBudget, fleet []limiter.FleetBudget, sdkAppID int64, asked bool) statusJSON {
	s := statusJSON{Host: []hostJSON{}}
	for _, b := range host {
		if ofApp(b.Key, sdkAppID) {
			s.Host = append(s.Host, hostOf(b))
		}
	}
	if !asked {
		return s
	}
	s.Fleet = &[]fleetJSON{}
	for _, b := range fleet {
		if ofApp(b.Key, sdkAppID) {
			*s.Fleet = append(*s.Fleet, fleetOf(b))
		}
	}
	return s
}

// ofApp says whether a budget is the app's, or that of one of its APIs.
func ofApp(key string, sdkAppID int64) bool {
	app, _, _ := strings.Cut(key, "/")
	return sdkAppID == 0 || app == strconv.FormatInt(sdkAppID, 10)
}

func hostOf(b limiter.HostBudget) hostJSON {
	h := hostJSON{b.Key, b.Lanes, b.Usable, b.Held, b.Resting, b.OutOfUse, nil, []processJSON{}}
	if b.Leased {
		ends := rounded(b.LeaseEnds)
		h.LeaseEnds = &ends
	}
	for _, p := range b.Processes {
		h.Processes = append(h.Processes, processJSON{p.PID, p.Name, p.Held, p.CallsLastSecond, p.Waiting, rounded(p.Age)})
	}
	return h
}

func fleetOf(b limiter.FleetBudget) fleetJSON {
	f := fleetJSON{b.Key, b.Lanes, b.Free, []fleetHostJSON{}}
	for _, h := range b.Hosts {
		f.Hosts = append(f.Hosts, fleetHostJSON{h.ID, h.Name, h.Lanes, h.Wants, h.CallsLastSecond, h.Waiting, h.OutOfUse, rounded(h.LeaseEnds)})
	}
	return f
}

// rounded is a time in seconds, to a tenth: more would say nothing.
func rounded(d time.Duration) float64 { return d.Round(100 * time.Millisecond).Seconds() }

// print shows the status to people.
func (s *statusJSON) print(out io.Writer, dir string) {
	if len(s.Host) == 0 {
		fmt.Fprintf(out, "no process of this host shares a budget in %s\n", dir)
	}
	if len(s.Host) > 0 {
		budgets := newTable("this host", "lanes", "usable", "under way", "resting", "out of use", "lease ends")
		processes := newTable("process", "budget", "name", "under way", "a second", "waiting", "said")
		for _, b := range s.Host {
			budgets.AppendRow(table.Row{b.Budget, b.Lanes, b.Usable, b.UnderWay, b.Resting, b.OutOfUse, lease(b.LeaseEnds)})
			for _, p := range b.Processes {
				processes.AppendRow(table.Row{p.PID, b.Budget, p.Name, p.UnderWay, p.CallsLastSecond, p.Waiting, fmt.Sprintf("%gs ago", p.Age)})
			}
		}
		fmt.Fprintln(out, budgets.Render())
		if processes.Length() > 0 {
			fmt.Fprintln(out, processes.Render())
		}
	}
	if s.Fleet == nil {
		return
	}
	if len(*s.Fleet) == 0 {
		fmt.Fprintln(out, "no host has shared a budget by this database yet")
		return
	}
	hosts := newTable("all hosts", "host", "lanes", "wants", "a second", "waiting", "out of use", "lease ends")
	for _, b := range *s.Fleet {
		for _, h := range b.Hosts {
			hosts.AppendRow(table.Row{b.Budget, h.Name, h.Lanes, h.Wants, h.CallsLastSecond, h.Waiting, h.OutOfUse, lease(&h.LeaseEnds)})
		}
		hosts.AppendRow(table.Row{b.Budget, fmt.Sprintf("(nobody, of %d)", b.Lanes), b.Free})
	}
	fmt.Fprintln(out, hosts.Render())
}

func newTable(columns ...any) table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.AppendHeader(columns)
	return t
}

// lease says when a lease ends.
func lease(ends *float64) string {
	switch {
	case ends == nil:
		return "none"
	case *ends < 0:
		return fmt.Sprintf("%gs ago", -*ends)
	case *ends == 0:
		return "ended"
	}
	return fmt.Sprintf("in %gs", *ends)
}

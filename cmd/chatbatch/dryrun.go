package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/dustin/go-humanize"

	"chatbatch/jobs"
)

// planOnly reads, checks and plans an input, and prints what the run would be.
// It needs no credentials and leaves nothing behind.
func (j *job) planOnly(ctx context.Context, kind, name string) error {
	j.board.raise()
	j.prog.enter(reads)
	src, err := j.openNamed(ctx, name, os.TempDir())
	if err != nil {
		return err
	}
	defer src.close()
	j.prog.read(plans, src)
	in, k, err := j.openInput(ctx, kind, src, os.TempDir())
	if err != nil {
		return err
	}
	read := &reading{Found: in.Found}
	in.Records = read.watch(src.name, in.Records, func() {})
	totals, err := j.planner(k, os.TempDir()).Plan(ctx, in, nil)
	j.prog.done("")
	j.board.lower() // stdout may be the same terminal
	if err != nil {
		return j.refuse(err)
	}
	if j.json {
		return json.NewEncoder(j.w.stdout).Encode(j.planJSON(kind, totals, read))
	}
	var plan strings.Builder
	j.printPlan(&plan, kind, totals, read)
	_, err = io.WriteString(j.w.stdout, plan.String())
	return err
}

// planJSON is the result of a dry run for scripts.
type planJSON struct {
	Job        string  `json:"job,omitempty"`
	Kind       string  `json:"kind"`
	Rows       int64   `json:"rows"`
	BadRows    int64   `json:"bad_rows"`
	OverLimit  int64   `json:"over_limit"`
	Superseded int64   `json:"superseded,omitempty"`
	Accounts   int64   `json:"accounts"`
	Groups     int64   `json:"groups"`
	Chunks     int64   `json:"chunks"`
	Calls      int64   `json:"calls"`
	Seconds    float64 `json:"seconds"`

	Read *readingJSON `json:"read,omitempty"` // if something had to be found out
}

func (j *job) planJSON(kind string, t jobs.Totals, r *reading) planJSON {
	return planJSON{j.name, kind, t.Rows, t.BadRows, t.OverLimit, t.Superseded, t.Accounts, t.Groups, t.Chunks, t.Calls(), t.Duration(j.rate()).Seconds(), r.json()}
}

func (j *job) printPlan(out io.Writer, kind string, t jobs.Totals, r *reading) {
	title := kind
	if j.name != "" {
		title += " (job " + j.name + ")"
	}
	fmt.Fprintf(out, "Plan of %s; nothing was sent.\n", title)
	for _, p := range r.parts() {
		fmt.Fprintf(out, "  %-10s  %s\n", p[0], p[1])
	}
	for _, line := range []struct {
		name string
		n    int64
	}{
		{"rows", t.Rows}, {"bad rows", t.BadRows}, {"over limit", t.OverLimit}, {"accounts", t.Accounts},
		{"groups", t.Groups}, {"chunks", t.Chunks}, {"calls", t.Calls()},
	} {
		fmt.Fprintf(out, "  %-10s  %s\n", line.name, humanize.Comma(line.n))
	}
	fmt.Fprintf(out, "  %-10s  %v at %d calls a second\n", "time", t.Duration(j.rate()), j.rate())
	if isExport(kind) {
		fmt.Fprintln(out, "  a group takes a call for each page of its members: there may be more")
	}
	if t.Superseded > 0 {
		fmt.Fprintf(out, "  %s rows are superseded by a later row of the same account\n", humanize.Comma(t.Superseded))
	}
	named(out, "bad", t.Bad, t.BadRows)
	named(out, "over limit", t.Over, t.OverLimit)
}

package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"chatbatch/io/ledger"
	"chatbatch/io/report"
	"chatbatch/jobs"
)

// severity ranks exit codes, the least first.
func severity(code int) int {
	return slices.Index([]int{
		exitOK, exitFailed, exitTryLater, exitInterrupted, exitStopped, exitRefused, exitInput, exitUsage, exitUnbalanced,
	}, code)
}

// allJSON is the summary of several jobs, for scripts.
type allJSON struct {
	Exit                int       `json:"exit"`
	Jobs                []jobJSON `json:"jobs"`
	Rows                int64     `json:"rows"`
	Succeeded           int64     `json:"succeeded"`
	Failed              int64     `json:"failed"`
	Unprocessed         int64     `json:"unprocessed"`
	Calls               int64     `json:"calls"` // of this process
	Retries             int64     `json:"retries"`
	MaxCallsInOneSecond int       `json:"max_calls_in_one_second"`
}

type jobJSON struct {
	Name string `json:"name"`
	Exit int    `json:"exit"`
	ledger.Summary
}

// allEnded prints what became of all jobs, and ends with the worst code.
func (j *job) allEnded(all []*member, total *jobs.Meter) error {
	r := total.Read()
	sum := allJSON{Calls: r.Calls, Retries: r.Retries, MaxCallsInOneSecond: r.MaxInOneSecond}
	for _, m := range all {
		if severity(m.code) > severity(sum.Exit) {
			sum.Exit = m.code
		}
		if m.err != nil && said(m.err) != "" {
			j.w.ending.errs = append(j.w.ending.errs, outward(m.err))
		}
		if m.begun == nil && !m.ended {
			continue // skipped
		}
		s := m.sum
		sum.Jobs = append(sum.Jobs, jobJSON{m.jobEntry.name, m.code, s})
		sum.Rows, sum.Succeeded = sum.Rows+s.Rows, sum.Succeeded+s.Succeeded
		sum.Failed, sum.Unprocessed = sum.Failed+s.Failed, sum.Unprocessed+s.Unprocessed
	}
	j.w.ending.summary = sum
	if !j.quiet {
		fmt.Fprintln(j.w.stderr, allTable(sum, columnsOf(j.w.stderr)))
	}
	if j.json {
		if err := json.NewEncoder(j.w.stdout).Encode(sum); err != nil {
			// Each job has its books on disk; never one of the codes that say no call was made.
			return &codedError{exitStopped, fmt.Errorf("print summary: %w", err)}
		}
	}
	if sum.Exit == exitOK {
		return nil
	}
	return &codedError{sum.Exit, nil}
}

// allTable shows several jobs to people. On a terminal with little room (columns; 0:
// it is none) what is the least important is left out.
func allTable(sum allJSON, columns int) string {
	header := []any{"job", "state", "rows", "succeeded", "failed", "unprocessed", "kind", "calls"}
	order := []int{0, 6, 1, 2, 3, 4, 5, 7} // of all of them, when there is room
	said := fmt.Sprintf("\n%s calls, at most %d in any second", humanize.Comma(sum.Calls), sum.MaxCallsInOneSecond)
	for n := len(header); ; n-- {
		t := table.NewWriter()
		t.SetStyle(table.StyleLight)
		pick := func(cells ...any) (r table.Row) {
			for _, i := range order {
				if i < n {
					r = append(r, cells[i])
				}
			}
			return r
		}
		t.AppendHeader(pick(header...))
		for _, s := range sum.Jobs {
			t.AppendRow(pick(nameIn(s.Name, columns), s.State, humanize.Comma(s.Rows), humanize.Comma(s.Succeeded),
				humanize.Comma(s.Failed), humanize.Comma(s.Unprocessed), s.Kind, humanize.Comma(s.Calls)))
		}
		shown := t.Render()
		first, _, _ := strings.Cut(shown, "\n")
		if columns == 0 || n == 2 || width(first) <= columns {
			return shown + said
		}
	}
}

// nameIn is a name that leaves room for other columns.
func nameIn(name string, columns int) string {
	if columns == 0 {
		return name
	}
	return text.Snip(report.Plain(name), max(10, columns/4), "…")
}

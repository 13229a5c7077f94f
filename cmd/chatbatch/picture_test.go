package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/ledger"
	"chatbatch/jobs"
)

// sent is a standing of a job in the middle of its calls.
func sent(name string, done, failed int64) standing {
	return standing{
		name: name, phase: sends, all: 100_000, done: done, failed: failed, budget: 200, usable: 200, calls: float64(100_000-done) / 500,
		left: 312 * time.Second, Reading: jobs.Reading{InOneSecond: 198, Retries: 7},
	}
}

func TestPicture(t *testing.T) {
	idle := sent("marks set class.csv", 41_200, 12)
	idle.idle, idle.left, idle.Trouble, idle.usable = true, unknown, "HTTP status 502 Bad Gateway: \x1b[31m<html>", 150
	for _, test := range []struct {
		name           string
		all            []standing
		columns, lines int
		want           []string
	}{
		{"nothing yet", nil, 79, 16, []string{""}},
		{"reading stdin", []standing{{name: "marks set -", phase: reads, read: 1_200_000}}, 79, 16, []string{"marks set -  reads  1.2 MB"}},
		{"reading", []standing{{name: "marks set class.csv", phase: reads, read: 30_000_000, size: 100_000_000}}, 79, 16, []string{
			"marks set class.csv  [=======>-----------------]   30 %  reads  30 MB of 100 MB"}},
		{"planning", []standing{{name: "marks set class.csv", phase: plans, read: 30_000_000, size: 100_000_000, rows: 1_234_567}}, 79, 16, []string{
			"marks set class.csv  [=====>---------------]   30 %  plans  1,234,567 rows read"}},
		{"making chunks", []standing{{name: "marks set class.csv", phase: plans, read: 9, size: 9, rows: 9_000_000, accounts: 3_000_000}}, 79, 16, []string{
			"marks set class.csv   33 %  plans  3,000,000 of 9,000,000 rows in chunks"}},
		{"listing groups", []standing{{name: "export members", phase: lists, Reading: jobs.Reading{Calls: 3}}}, 79, 16, []string{"export members  lists groups  3 calls"}},
		{"sending", []standing{sent("marks set class.csv", 41_200, 12)}, 79, 16, []string{
			"marks set class.csv  [===================>-----------------------------]   41 %",
			"41,200 of 100,000 rows | 198 of 200 calls/s | 5m12s left | 41,188 succeeded",
			"12 failed | 7 retries"}},
		{"sending, on little room", []standing{sent("marks set class.csv", 41_200, 12)}, 39, 16, []string{
			"marks set cl…  [=====>---------]   41 %", "41,200 of 100,000 rows", "198 of 200 calls/s | 5m12s left", "41,188 succeeded | 12 failed", "7 retries"}},
		{"sending, in few lines", []standing{sent("marks set class.csv", 41_200, 12)}, 39, 4, []string{
			"marks set cl…  [=====>---------]   41 %", "41,200 of 100,000 rows", "198 of 200 calls/s | 5m12s left"}},
		{"trouble", []standing{idle}, 120, 16, []string{
			"marks set class.csv  [" + strings.Repeat("=", 36) + ">" + strings.Repeat("-", 53) + "]   41 %",
			"41,200 of 100,000 rows | 198 of 150 calls/s | time left unknown | 41,188 succeeded | 12 failed | 7 retries",
			"trouble: HTTP status 502 Bad Gateway:  [31m<html>"}},
		{"writing reports", []standing{{name: "x", phase: reports, all: 9, done: 9}}, 40, 16, []string{"x  [=======>]  100 %  writes the reports"}},
		{"several", []standing{
			sent("三年二班", 50_000, 120), {name: "counts", phase: waits}, {name: "old", phase: ended, end: ledger.Interrupted, all: 10, done: 5, failed: 1}, {name: "skipped", phase: ended},
		}, 79, 16, []string{
			"三年二班  [=================>-----------------]   50 %  120 failed   5m12s left",
			"counts    waits",
			"old       [=================>-----------------]   50 %    1 failed  interrupted",
			"skipped   ended",
			"50,005 of 100,010 rows | 198 of 200 calls/s | 1s left | 49,884 succeeded",
			"121 failed | 7 retries"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if d := cmp.Diff(test.want, picture(test.all, test.columns, test.lines)); d != "" {
				t.Error(d)
			}
		})
	}
}

// Whatever there is to see, it fits.
func TestPictureFits(t *testing.T) {
	var all []standing
	for i := range int64(40) {
		all = append(all, sent(strings.Repeat("很长的名字", int(i%4)+1)+fmt.Sprint(i), i*2_000, i))
		all[i].phase = []phase{waits, reads, lists, plans, sends, reports, ended}[i%7]
		all[i].size, all[i].read, all[i].rows = 1<<30, 1<<29, 1<<30
		all[i].idle, all[i].Trouble = i%5 == 0, strings.Repeat("网关错误 ", 40)
	}
	for n := range all {
		for _, columns := range []int{-1, 1, 5, 19, 39, 79, 199} {
			for _, lines := range []int{-1, 1, 2, 5, 16, 60} {
				got := picture(all[:n], columns, lines)
				if len(got) < 1 || len(got) > max(1, lines) {
					t.Fatalf("%d jobs: %d lines, want at most %d", n, len(got), lines)
				}
				if i := slices.IndexFunc(got, func(line string) bool { return width(line) > max(1, columns) }); i >= 0 {
					t.Fatalf("%d jobs: %d columns, want at most %d: %q", n, width(got[i]), columns, got[i])
				}
			}
		}
	}
}

// Jobs that are at work are shown before those that wait, and these before those
// that have ended.
func TestPictureOfMany(t *testing.T) {
	var all []standing
	for i := range 9 {
		all = append(all, standing{name: fmt.Sprint("job ", i), phase: []phase{ended, waits, reports}[i%3], all: 1, done: 1, end: ledger.Finished})
	}
	want := []string{
		"job 1  waits",
		"job 2  [===============>]  100 %  writes the reports",
		"job 5  [===============>]  100 %  writes the reports",
		"job 8  [===============>]  100 %  writes the reports",
		"and 5 more: 2 waiting, 3 ended",
	}
	if d := cmp.Diff(want, picture(all, 52, 5)); d != "" {
		t.Error(d)
	}
}

// Jobs that use the whole budget have it for each other when one ends; others end when
// the slowest does.
func TestTogether(t *testing.T) {
	for _, test := range []struct {
		calls int // in the last second, of each
		want  time.Duration
	}{{100, 4 * time.Second}, {70, 40 * time.Second}} {
		var all []standing
		for i := range 2 {
			s := standing{phase: sends, all: 100, usable: 200, calls: 400, left: time.Duration(i+1) * 20 * time.Second}
			s.InOneSecond = test.calls
			all = append(all, s)
		}
		if got := together(all); got.left != test.want || got.all != 200 || got.InOneSecond != 2*test.calls {
			t.Errorf("at %d calls: got %+v, want %v left", test.calls, got, test.want)
		}
		all = append(all, standing{phase: sends, left: unknown})
		if got := together(all).left; got != unknown {
			t.Errorf("got %v, want unknown", got)
		}
	}
}

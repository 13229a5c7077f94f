package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"chatbatch/io/report"
)

// minBar is how wide a bar is at least; with less room there is none.
const minBar = 8

// picture draws how far jobs are: a line a job, and what there is to say of all of
// them, in at most so many lines. None is wider than columns. There is one line
// at the least.
func picture(all []standing, columns, lines int) []string {
	columns, lines = max(columns, 1), max(lines, 1)
	if len(all) == 0 {
		return []string{""}
	}
	sum := all[0]
	if len(all) > 1 {
		sum = together(all)
	}
	foot := sum.foot(columns)
	foot = foot[:min(len(foot), lines/2)]
	shown, hidden := choose(all, lines-len(foot))
	var rows []row
	for _, s := range shown {
		r := s.row(len(all) == 1)
		r.name = text.Snip(r.name, min(max(columns/3, 10), columns), "…")
		rows = append(rows, r)
	}
	align(rows)
	var list []string
	for _, r := range rows {
		list = append(list, r.line(columns))
	}
	if len(hidden) > 0 {
		list = append(list, text.Snip(rest(hidden), columns, "…"))
	}
	return append(list, foot...)
}

// choose says which jobs are shown in so many lines, of which one is for the others
// if there are any: those at work first, then those to come. They stay in their order.
func choose(all []standing, lines int) (shown, hidden []standing) {
	if len(all) <= lines {
		return all, nil
	}
	ranks := make([]int, len(all))
	for i := range ranks {
		ranks[i] = i
	}
	slices.SortStableFunc(ranks, func(a, b int) int { return all[a].rank() - all[b].rank() })
	first := ranks[:lines-1]
	for i, s := range all {
		if slices.Contains(first, i) {
			shown = append(shown, s)
		} else {
			hidden = append(hidden, s)
		}
	}
	return shown, hidden
}

// rank is how little there is to see of a job.
func (s standing) rank() int {
	switch s.phase {
	case waits:
		return 1
	case ended:
		return 2
	}
	return 0
}

// rest says what the jobs do that have no line.
func rest(hidden []standing) string {
	var n [3]int
	for _, s := range hidden {
		n[s.rank()]++
	}
	said := fmt.Sprintf("and %d more:", len(hidden))
	for i, what := range []string{"at work", "waiting", "ended"} {
		if n[i] > 0 {
			said += fmt.Sprintf(" %d %s,", n[i], what)
		}
	}
	return strings.TrimSuffix(said, ",")
}

// A row is what is shown of a job: its name, a bar, and words, the most important
// first.
type row struct {
	name      string
	done, all int64 // the bar; all is 0: there is none
	words     []string
}

// row is what is shown of a job. Of the only one, more is said below.
func (s standing) row(only bool) row {
	r := row{name: report.Plain(s.name)}
	switch {
	case s.phase == waits:
		r.words = []string{"waits"}
	case s.phase == lists:
		r.words = []string{"lists groups", counted(s.Calls, "calls")}
	case s.phase == reads && s.size == 0:
		r.words = []string{"reads", bytesOf(s.read)}
	case s.phase == reads:
		r.full(s.read, s.size, "reads", bytesOf(s.read)+" of "+bytesOf(s.size))
	case s.phase == plans && s.accounts == 0:
		r.full(s.read, s.size, "plans", counted(s.rows, "rows read"))
	case s.phase == plans:
		r.full(s.accounts, s.rows, "plans", humanize.Comma(s.accounts)+" of "+counted(s.rows, "rows in chunks"))
	case s.phase == reports:
		r.full(s.done, s.all, "writes the reports")
	case s.phase == ended && s.end == "":
		r.words = []string{"ended"}
	case s.phase == ended:
		r.full(s.done, s.all, counted(s.failed, "failed"), string(s.end))
	case only:
		r.full(s.done, s.all)
	default:
		r.full(s.done, s.all, counted(s.failed, "failed"), timeLeft(s.left))
	}
	return r
}

// full says how full the bar is, and more.
func (r *row) full(done, all int64, words ...string) {
	if r.done, r.all = done, all; all > 0 {
		words = append([]string{fmt.Sprintf("%3d %%", 100*min(done, all)/all)}, words...)
	}
	r.words = words
}

// align makes all names as wide as the widest, and the words of jobs that have as
// many.
func align(rows []row) {
	type place struct{ of, word int }
	name, words := 0, map[place]int{}
	for _, r := range rows {
		name = max(name, width(r.name))
		for i, w := range r.words {
			at := place{len(r.words), i}
			words[at] = max(words[at], width(w))
		}
	}
	for i, r := range rows {
		rows[i].name = text.Pad(r.name, name, ' ')
		for k, w := range r.words {
			r.words[k] = strings.Repeat(" ", words[place{len(r.words), k}]-width(w)) + w
		}
	}
}

// line is a row in one line. The last words are left out where they do not fit.
func (r row) line(columns int) string {
	words := r.words
	room := func() int { return columns - width(r.name) - 2 - width(strings.Join(words, "  ")) }
	for len(words) > 0 && room() < 0 {
		words = words[:len(words)-1]
	}
	parts := append([]string{r.name}, words...)
	if n := room() - 2; len(words) > 0 && r.all > 0 && n >= minBar {
		parts = slices.Insert(parts, 1, bar(r.done, r.all, n))
	}
	return strings.TrimRight(strings.Join(parts, "  "), " ")
}

// bar is a bar of so many columns.
func bar(done, all int64, columns int) string {
	var b strings.Builder
	_ = mpb.BarStyle().Build().Fill(&b, decor.Statistics{AvailableWidth: columns, Total: all, Current: min(done, all)})
	return b.String()
}

// foot is what there is to say of a job, or of all together, while it sends.
func (s standing) foot(columns int) []string {
	if s.phase != sends {
		return nil
	}
	parts := []string{
		humanize.Comma(s.done) + " of " + counted(s.all, "rows"), fmt.Sprintf("%d of %d calls/s", s.InOneSecond, s.usable), timeLeft(s.left),
		counted(s.done-s.failed, "succeeded"), counted(s.failed, "failed"), counted(s.Retries, "retries"),
	}
	if s.Fetched > 0 {
		parts = append(parts, counted(s.Fetched, "members"))
	}
	lines := flow(parts, columns)
	if s.idle && s.Trouble != "" {
		lines = append(lines, text.Snip("trouble: "+report.Plain(s.Trouble), columns, "…"))
	}
	return lines
}

// flow puts parts into lines of at most so many columns.
func flow(parts []string, columns int) (lines []string) {
	const between = " | "
	for _, part := range parts {
		part = text.Snip(part, columns, "…")
		if n := len(lines) - 1; n >= 0 && width(lines[n]+between+part) <= columns {
			lines[n] += between + part
			continue
		}
		lines = append(lines, part)
	}
	return lines
}

// together is several jobs as one, which sends as long as any of them does.
func together(all []standing) (sum standing) {
	for _, s := range all {
		sum.all, sum.done, sum.failed = sum.all+s.all, sum.done+s.done, sum.failed+s.failed
		sum.Retries, sum.Fetched, sum.InOneSecond = sum.Retries+s.Retries, sum.Fetched+s.Fetched, sum.InOneSecond+s.InOneSecond
		if s.phase != sends {
			continue
		}
		sum.phase, sum.usable, sum.calls = sends, max(sum.usable, s.usable), sum.calls+s.calls
		if s.left < 0 {
			sum.left = unknown
		} else if sum.left >= 0 {
			sum.left = max(sum.left, s.left)
		}
		if s.idle && s.Trouble != "" && sum.Trouble == "" {
			sum.idle, sum.Trouble = true, s.name+": "+s.Trouble
		}
	}
	if sum.left >= 0 && sum.usable > 0 {
		least := seconds(sum.calls / float64(sum.usable)) // they share it
		if 10*sum.InOneSecond < 8*sum.usable {
			least = max(least, sum.left)
		}
		// Else the budget is what bounds them: who ends leaves his part to the others.
		sum.left = least
	}
	return sum
}

// width is how many columns a text takes.
func width(s string) int { return text.StringWidthWithoutEscSequences(s) }

func counted(n int64, what string) string { return humanize.Comma(n) + " " + what }

func bytesOf(n int64) string { return humanize.Bytes(uint64(n)) }

func timeLeft(d time.Duration) string {
	if d < 0 {
		return "time left unknown"
	}
	return long(d) + " left"
}

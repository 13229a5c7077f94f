package report

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"chatbatch/io/ledger"
)

// maxPageGroups bounds the table of groups: 10,000 of them would be 3 MB of page.
const maxPageGroups = 2000

// maxPageClasses bounds the table of classes and codes.
const maxPageClasses = 200

// facts are what the page of a run says.
type facts struct {
	Meta ledger.Meta
	Sum  ledger.Summary
	Next Next
	Pace Pace

	Curve *drawn      // nil: no second is on record
	Made  *time.Time  // of a run that goes on
	Alike []alike     // failed rows by class and code
	Other int64       // failed rows of classes and codes that are not in Alike
	Group []groupLine // nil: they are left out
	Shown int64       // failed rows in the page; known at its bottom

	styles, scripts *elements
	licences        []string
}

// alike are failed rows of one class and code.
type alike struct {
	Class, Todo string
	Code        int
	Rows        int64
}

// Bar draws their part of all that failed.
func (a alike) Bar(failed int64) template.HTML { return bar(failed, part{"failed", a.Rows}) }

// groupLine is a line of the table of groups.
type groupLine struct {
	ledger.GroupBooks
	Name string
}

// Bar draws the books of the group.
func (g groupLine) Bar() template.HTML {
	return bar(g.Rows, part{"succeeded", g.Succeeded}, part{"failed", g.Failed}, part{"unprocessed", g.Unprocessed})
}

// read takes from the ledger what the top of the page needs.
func (f *facts) read(ctx context.Context, v *ledger.View) error {
	examples, err := v.Examples(ctx)
	if err != nil {
		return err
	}
	for i, e := range examples { // the most frequent first
		if i >= maxPageClasses {
			f.Other += e.Rows
			continue
		}
		f.Alike = append(f.Alike, alike{visible(e.Class), todo(e.Class), e.Code, e.Rows})
	}
	if f.Sum.State == ledger.Running {
		now := time.Now().UTC()
		f.Made = &now
	}
	if f.Export() || f.Sum.Groups == 0 || f.Sum.Groups > maxPageGroups {
		return nil
	}
	groups, err := v.Groups(ctx)
	if err != nil {
		return err
	}
	slices.SortStableFunc(groups, func(a, b ledger.GroupBooks) int {
		return cmp.Or(cmp.Compare(b.Failed, a.Failed), cmp.Compare(b.Unprocessed, a.Unprocessed), cmp.Compare(b.Rows, a.Rows))
	})
	for _, g := range groups {
		f.Group = append(f.Group, groupLine{g, visible(clipText(g.Group))})
	}
	return nil
}

// Export says whether a row of the input is a group: its table is that of the rows.
func (f *facts) Export() bool { return strings.HasPrefix(f.Meta.Kind, "export ") }

// TooManyGroups says that the table of groups is left out for their number.
func (f *facts) TooManyGroups() bool { return !f.Export() && f.Sum.Groups > maxPageGroups }

// Input is the name of the input without its directories.
func (f *facts) Input() string { return visible(filepath.Base(f.Meta.Input)) }

// Header is the header of the input; "" if it has none.
func (f *facts) Header() string { return clipText(visible(f.Meta.Header)) }

// FailedFile is the name of the file with all failed rows.
func (f *facts) FailedFile() string { return "failed." + f.Meta.Format }

// UnprocessedFile is the name of the file with all rows that were not processed.
func (f *facts) UnprocessedFile() string { return "unprocessed." + f.Meta.Format }

// Books are the parts of the rows.
func (f *facts) Books() []part {
	return []part{{"succeeded", f.Sum.Succeeded}, {"failed", f.Sum.Failed}, {"unprocessed", f.Sum.Unprocessed}}
}

// Bar draws the books.
func (f *facts) Bar() template.HTML { return bar(f.Sum.Rows, f.Books()...) }

// PaceLine says the pace in words.
func (f *facts) PaceLine() string {
	return strings.Replace(f.Pace.line(f.Sum), "pace: at", "At", 1)
}

// LatencyLine says the latency in words.
func (f *facts) LatencyLine() string {
	q := f.Sum.Latency
	if q == nil {
		return ""
	}
	return fmt.Sprintf("Of the calls that were answered half took at most %s, 95 %% at most %s, 99 %% at most %s; the longest %s",
		tripText(q.P50), tripText(q.P95), tripText(q.P99), tripText(q.Max))
}

// UndrawnLine says how many failed rows are in no point of the curve, and why.
func (f *facts) UndrawnLine() string {
	n := f.Sum.Failed
	for _, class := range f.Curve.Failing {
		for _, rows := range class.Rows {
			n -= rows
		}
	}
	switch {
	case n <= 0:
		return ""
	case n <= f.Sum.ByClass["bad_row"]+f.Sum.ByClass["over_limit"]:
		return fmt.Sprintf(" %s more failed before any call.", humanize.Comma(n))
	}
	return fmt.Sprintf(" %s more failed before any call, or just before a process was killed.", humanize.Comma(n))
}

// Most is the most calls in any second.
func (f *facts) Most() int64 { return int64(f.Sum.MaxCallsInOneSecond) }

// Standing says what the state of the run means.
func (f *facts) Standing() string {
	switch f.Sum.State {
	case ledger.Planned:
		return "not a call yet"
	case ledger.Running:
		return "under way when this page was made, or its process was killed"
	case ledger.Finished:
		return "every row has its outcome"
	case ledger.Interrupted:
		return "stopped by a signal"
	case ledger.Stopped:
		return "stopped by a guard"
	case ledger.Refused:
		return "the server refused the run as a whole"
	case ledger.Expired:
		return "the time it was given was over"
	}
	return ""
}

// Tone says how the run looks at a glance.
func (f *facts) Tone() string {
	switch {
	case f.Sum.State != ledger.Finished:
		return "unprocessed"
	case f.Sum.Failed > 0:
		return "failed"
	}
	return "succeeded"
}

// assemble chooses what the page needs.
func (f *facts) assemble() {
	f.styles, f.scripts = &elements{tag: "style"}, &elements{tag: "script"}
	if f.Curve != nil {
		f.styles.add(uPlotCSS)
		f.scripts.add(uPlotJS)
		f.scripts.add(chartsJS)
		f.licences = append(f.licences, "uPlot\n"+uPlotLicence)
	}
	if f.Group != nil {
		f.scripts.add(groupsJS)
	}
	if f.Sum.Failed > 0 {
		f.styles.add(tabulatorCSS)
		f.scripts.add(tabulatorJS)
		f.scripts.add(rowsJS)
		f.licences = append(f.licences, "tabulator\n"+tabulatorLicence)
	}
	f.styles.add(pageCSS)
}

// Policy is what the browser lets the page do.
func (f *facts) Policy() template.HTML { return policy(f.scripts, f.styles) }

// Styles are the style sheets.
func (f *facts) Styles() (template.HTML, error) {
	var b strings.Builder
	err := f.styles.write(&b)
	return template.HTML(b.String()), err
}

// Licences are those of the libraries, as a comment: a page is a copy of them.
func (f *facts) Licences() template.HTML {
	var b strings.Builder
	for _, text := range f.licences {
		b.WriteString("<!--\n" + text + "-->\n")
	}
	return template.HTML(b.String())
}

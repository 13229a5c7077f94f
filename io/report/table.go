package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"chatbatch/io/ledger"
)

const (
	minWidth = 40 // on a terminal with less, lines are wider than it is

	// An example has so many columns in the table; with fewer it stands below.
	minExample, maxExample = 16, 100

	usualExample = 60 // where there is no terminal
)

// A Look is how something is shown to people.
type Look struct {
	Color   bool
	Columns int // of the terminal; 0: it is none, and nothing depends on its width
}

func (l Look) width() int { return max(minWidth, l.Columns) }

// wrap makes lines that fit.
func (l Look) wrap(line string) string {
	if l.Columns == 0 {
		return line
	}
	var lines []string
	for line := range strings.Lines(text.WrapSoft(line, l.width())) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return strings.Join(lines, "\n")
}

// Table writes what a run came to, for people: the books, the failed rows by
// class and code with one example line each (see ledger.Examples; the list may
// be empty), what it took, and the pace. With color, sums that ask for attention
// stand out.
func Table(w io.Writer, s ledger.Summary, p Pace, examples []ledger.Example, look Look) error {
	parts := []string{booksTable(s, look.Color)}
	if len(examples) > 0 {
		parts = append(parts, failedTable(examples, look))
	}
	parts = append(parts, look.wrap(cost(s)))
	if line := p.line(s); line != "" {
		parts = append(parts, look.wrap(line))
	}
	_, err := io.WriteString(w, strings.Join(parts, "\n")+"\n")
	return err
}

// newTable makes a table whose columns of numbers are aligned to the right.
func newTable(numbers ...int) table.Writer {
	t := table.NewWriter()
	style := table.StyleLight
	style.Format.Header = text.FormatDefault // as written, not in capitals
	style.Format.Footer = text.FormatDefault
	t.SetStyle(style)
	var columns []table.ColumnConfig
	for _, n := range numbers {
		columns = append(columns, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight, AlignFooter: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	return t
}

func booksTable(s ledger.Summary, color bool) string {
	t := newTable(2, 3)
	t.AppendHeader(table.Row{s.Kind, "rows", ""})
	for _, r := range []struct {
		name string
		rows int64
		c    text.Color
	}{
		{"succeeded", s.Succeeded, text.FgGreen},
		{"failed", s.Failed, text.FgRed},
		{"unprocessed", s.Unprocessed, text.FgYellow},
	} {
		t.AppendRow(table.Row{paint(r.name, r.c, color && r.rows > 0), humanize.Comma(r.rows), percent(r.rows, s.Rows)})
	}
	t.AppendFooter(table.Row{string(s.State), humanize.Comma(s.Rows), ""})
	return t.Render()
}

func failedTable(examples []ledger.Example, look Look) string {
	list := slices.Clone(examples)
	slices.SortStableFunc(list, func(a, b ledger.Example) int { return cmp.Compare(b.Rows, a.Rows) })
	rows := [][]string{{"failed", "code", "rows", "line"}}
	for _, e := range list {
		code := ""
		if e.Code != 0 {
			code = fmt.Sprint(e.Code)
		}
		rows = append(rows, []string{Plain(e.Class), code, humanize.Comma(e.Rows), fmt.Sprint(e.Line)})
	}
	room := look.exampleRoom(rows)
	if room < minExample {
		return narrowTable(rows, list, look)
	}
	t := newTable(2, 3, 4)
	t.AppendHeader(cells(rows[0], "for example"))
	for i, e := range list {
		r := rows[i+1]
		r[0] = paint(r[0], text.FgRed, look.Color)
		t.AppendRow(cells(r, clip(e.Raw, room)))
		for _, line := range look.message(e.Error, room-2) {
			t.AppendRow(table.Row{"", "", "", "", "  " + line})
		}
	}
	return t.Render()
}

// narrowTable has the examples below, each on lines of its own.
func narrowTable(rows [][]string, list []ledger.Example, look Look) string {
	t := newTable(2, 3)
	t.AppendHeader(cells(rows[0][:3]))
	var below strings.Builder
	for i, e := range list {
		r := rows[i+1]
		fmt.Fprintf(&below, "\n%s, line %s:\n  %s", r[0], r[3], clip(e.Raw, look.width()-2))
		for _, line := range look.message(e.Error, look.width()-4) {
			below.WriteString("\n    " + line)
		}
		r[0] = paint(r[0], text.FgRed, look.Color)
		t.AppendRow(cells(r[:3]))
	}
	return t.Render() + below.String()
}

func cells(row []string, more ...string) (r table.Row) {
	for _, c := range append(slices.Clone(row), more...) {
		r = append(r, c)
	}
	return r
}

// exampleRoom is how wide the last column of a table can be, beside these.
func (l Look) exampleRoom(rows [][]string) int {
	if l.Columns == 0 {
		return usualExample
	}
	room := l.width() - 1 - 3*(len(rows[0])+1)
	for i := range rows[0] {
		widest := 0
		for _, r := range rows {
			widest = max(widest, text.StringWidthWithoutEscSequences(r[i]))
		}
		room -= widest
	}
	return min(room, maxExample)
}

// message is an error in lines that fit, of which there are few; none of no error.
func (l Look) message(s string, columns int) (lines []string) {
	if s == "" {
		return nil
	}
	if l.Columns == 0 {
		return []string{clip(s, usualExample)}
	}
	for line := range strings.Lines(text.WrapSoft(clip(s, max(usualExample, 3*columns)), columns)) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

// cost says in one line what the run took.
func cost(s ledger.Summary) string {
	line := fmt.Sprintf("%s calls (%s of them retries) for %s chunks of %s groups", humanize.Comma(s.Calls),
		humanize.Comma(s.Retries), humanize.Comma(s.Chunks), humanize.Comma(s.Groups))
	if s.Replayed > 0 {
		line += fmt.Sprintf(", %s replayed", humanize.Comma(s.Replayed))
	}
	if s.Seconds > 0 {
		d := time.Duration(s.Seconds * float64(time.Second)).Round(100 * time.Millisecond)
		line += fmt.Sprintf(", in %v: %.1f a second, at most %d in any", d, s.CallsPerSecond, s.MaxCallsInOneSecond)
	}
	return line
}

func paint(s string, c text.Color, on bool) string {
	if !on {
		return s
	}
	// Not c.Sprint: that one asks the environment whether there is color.
	return c.EscapeSeq() + s + text.Reset.EscapeSeq()
}

// percent never says 0 % or 100 % of what is only nearly so.
func percent(n, of int64) string {
	if of == 0 || n == 0 {
		return ""
	}
	p := 100 * float64(n) / float64(of)
	switch {
	case n == of:
		return "100 %"
	case p > 99.9:
		return ">99.9 %"
	case p < 0.1:
		return "<0.1 %"
	}
	return fmt.Sprintf("%.1f %%", p)
}

// clip makes a text that fits into so many columns.
func clip(s string, columns int) string {
	return text.Snip(Plain(s), columns, "…")
}

// Plain replaces what a terminal would obey instead of showing it: a row comes
// from a file of somebody else's, an error from a server.
func Plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, strings.ToValidUTF8(oneLine(s), "·"))
}

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

// exampleWidth is how wide an example line is at most, in terminal cells.
const exampleWidth = 60

// Table writes what a run came to, for people: the books, the failed rows by
// class and code with one example line each (see ledger.Examples; the list may
// be empty), what it took, and the pace. With color, sums that ask for attention
// stand out.
func Table(w io.Writer, s ledger.Summary, p Pace, examples []ledger.Example, color bool) error {
	parts := []string{booksTable(s, color)}
	if len(examples) > 0 {
		parts = append(parts, failedTable(examples, color))
	}
	parts = append(parts, cost(s))
	if line := p.line(s); line != "" {
		parts = append(parts, line)
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

func failedTable(examples []ledger.Example, color bool) string {
	list := slices.Clone(examples)
	slices.SortStableFunc(list, func(a, b ledger.Example) int { return cmp.Compare(b.Rows, a.Rows) })
	t := newTable(2, 3, 4)
	t.AppendHeader(table.Row{"failed", "code", "rows", "line", "for example"})
	for _, e := range list {
		code := ""
		if e.Code != 0 {
			code = fmt.Sprint(e.Code)
		}
		t.AppendRow(table.Row{paint(plain(e.Class), text.FgRed, color), code, humanize.Comma(e.Rows), e.Line, clip(e.Raw)})
		if e.Error != "" {
			t.AppendRow(table.Row{"", "", "", "", "  " + clip(e.Error)})
		}
	}
	return t.Render()
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

// clip makes a text that fits into a cell.
func clip(s string) string {
	return text.Snip(plain(s), exampleWidth, "…")
}

// plain replaces what a terminal would obey instead of showing it: a row comes
// from a file of somebody else's, an error from a server.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, strings.ToValidUTF8(oneLine(s), "·"))
}

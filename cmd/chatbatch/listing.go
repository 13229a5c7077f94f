package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"chatbatch/io/report"
)

// A listing is a table of which a narrow terminal shows less: what is worth least to
// people is left out, and said to be. Everywhere else all of it is shown.
type listing struct {
	header []string
	worth  []string // names of columns, in the order in which they are wanted
	rows   [][]any
}

// add adds a row. A terminal must not obey what stands in it: names of files, and what
// servers have said.
func (l *listing) add(cells ...any) {
	for i, c := range cells {
		if s, ok := c.(string); ok {
			cells[i] = report.Plain(s)
		}
	}
	l.rows = append(l.rows, cells)
}

// leastCut is how much of a text is shown at the least, of one that has to be cut.
const leastCut = 16

// print shows the listing on a stream.
func (l *listing) print(out io.Writer) error {
	_, err := fmt.Fprintln(out, l.text(columnsOf(out)))
	return err
}

// text is the listing for a terminal of so many columns, 0: for none.
func (l *listing) text(columns int) string {
	if columns == 0 {
		return l.table(l.width, false)
	}
	shown, without := l.fit(columns)
	said := l.table(func(i int) int { return shown[i] }, true)
	if len(without) > 0 {
		note := "without " + strings.Join(without, ", ") + ", for want of room; a pipe (| cat) has all"
		for line := range strings.Lines(text.WrapSoft(note, columns)) {
			said += "\n" + strings.TrimRight(line, " \n")
		}
	}
	return said
}

// fit is how wide each column is on a terminal, 0: it is left out, and the names of those.
// The first one stays on any terminal.
func (l *listing) fit(columns int) (shown []int, without []string) {
	shown = make([]int, len(l.header))
	left := columns - 1
	for n, name := range l.worth {
		i := slices.Index(l.header, name)
		least := l.width(i)
		if l.mayCut(i) {
			least = min(least, leastCut)
		}
		if n > 0 && (len(without) > 0 || least+3 > left) {
			without = append(without, name)
			continue
		}
		shown[i] = least
		left -= least + 3
	}
	for _, name := range l.worth {
		i := slices.Index(l.header, name)
		if more := min(l.width(i)-shown[i], left); shown[i] > 0 && more > 0 {
			shown[i] += more
			left -= more
		}
	}
	return shown, without
}

// width is how wide a column is.
func (l *listing) width(i int) int {
	widest := width(l.header[i])
	for _, r := range l.rows {
		widest = max(widest, width(fmt.Sprint(r[i])))
	}
	return widest
}

// mayCut says whether a column has sentences or names of files, of which a part says
// something.
func (l *listing) mayCut(i int) bool {
	return slices.Contains([]string{"why", "input", "output", "state"}, l.header[i])
}

// table has the columns that have a width, cut to it if need be.
func (l *listing) table(wide func(i int) int, cut bool) string {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	pick := func(cell func(i int) any) (r table.Row) {
		for i := range l.header {
			if wide(i) > 0 {
				r = append(r, cell(i))
			}
		}
		return r
	}
	t.AppendHeader(pick(func(i int) any { return l.header[i] }))
	for _, cells := range l.rows {
		t.AppendRow(pick(func(i int) any {
			if s := fmt.Sprint(cells[i]); cut && width(s) > wide(i) {
				return text.Snip(s, wide(i), "…")
			}
			return cells[i]
		}))
	}
	return t.Render()
}

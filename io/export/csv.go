package export

import (
	"io"
	"strings"
)

const byteOrderMark = "\ufeff"

// A csvTable writes CSV as RFC 4180 has it. (encoding/csv would make another
// text of the line breaks inside a field: with its UseCRLF every "\n" becomes
// "\r\n", and a "\r" is gone.)
type csvTable struct {
	out     io.Writer
	newLine string
	guarded []bool // by column; nil: none is
	excel   bool
	line    []byte // for reuse
}

func newCSV(out io.Writer, o Options) *csvTable {
	c := &csvTable{out: out, newLine: "\n"}
	if !o.Excel {
		return c
	}
	c.newLine, c.excel = "\r\n", true
	c.guarded = make([]bool, len(o.Columns))
	for i := range c.guarded {
		c.guarded[i] = true
	}
	for _, i := range o.Plain {
		c.guarded[i] = false
	}
	return c
}

// header writes the first line.
func (c *csvTable) header(columns []string) error {
	c.line = c.line[:0]
	if c.excel {
		c.line = append(c.line, byteOrderMark...)
	}
	for i, name := range columns {
		c.cell(i, name, c.excel)
	}
	return c.end(columns)
}

// row writes a line.
func (c *csvTable) row(cells []string) error {
	c.line = c.line[:0]
	for i, cell := range cells {
		c.cell(i, cell, c.excel && (c.guarded[i] || !strings.HasPrefix(cell, "@")))
	}
	return c.end(cells)
}

func (c *csvTable) end(cells []string) error {
	if len(cells) == 1 && cells[0] == "" {
		// A line with nothing on it would be no row to most readers.
		c.line = append(c.line, `""`...)
	}
	c.line = append(c.line, c.newLine...)
	_, err := c.out.Write(c.line)
	return err
}

func (c *csvTable) cell(i int, cell string, guard bool) {
	if i > 0 {
		c.line = append(c.line, ',')
	}
	guard = guard && isFormula(cell)
	if !guard && !needsQuotes(cell) {
		c.line = append(c.line, cell...)
		return
	}
	c.line = append(c.line, '"')
	if guard {
		c.line = append(c.line, '\'')
	}
	for {
		before, after, found := strings.Cut(cell, `"`)
		c.line = append(c.line, before...)
		if !found {
			break
		}
		c.line = append(c.line, `""`...)
		cell = after
	}
	c.line = append(c.line, '"')
}

// isFormula reports whether a spreadsheet may take a cell for a formula: for the
// blanks, it may cut them and look at what comes then.
func isFormula(cell string) bool {
	if cell == "" {
		return false
	}
	switch cell[0] {
	case '=', '+', '-', '@', '\t', '\r', '\n':
		return true
	}
	return false
}

// needsQuotes reports whether a cell must stand in quotes. Blanks at its ends,
// and a byte order mark in front, do not need them by the letter, but some
// readers would cut them.
func needsQuotes(cell string) bool {
	if cell == "" {
		return false
	}
	for i := range len(cell) {
		switch cell[i] {
		case ',', '"', '\n', '\r':
			return true
		}
	}
	return isBlank(cell[0]) || isBlank(cell[len(cell)-1]) || strings.HasPrefix(cell, byteOrderMark)
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

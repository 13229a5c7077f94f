package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"

	"chatbatch/io/charset"
	"chatbatch/io/export"
	"chatbatch/io/ledger"
	"chatbatch/io/workbook"
)

// A sink takes the rows of an outcome file, in the form of the input.
type sink interface {
	row(r ledger.RowOutcome) error
	close() error // once all rows are in it; it does not close what it writes to
}

// newSink begins a file of failed rows, or of unprocessed ones.
func newSink(m ledger.Meta, out io.Writer, failed bool) (sink, error) {
	if m.Format == "xlsx" {
		return newSheetSink(m, out, failed)
	}
	f, err := formOf(m)
	if err != nil {
		return nil, err
	}
	s := &textSink{form: f, out: out, failed: failed}
	_, err = io.WriteString(out, f.header(failed))
	return s, err
}

// A textSink writes line by line.
type textSink struct {
	form   form
	out    io.Writer
	failed bool
	line   []byte // for reuse
}

func (s *textSink) row(r ledger.RowOutcome) error {
	if s.failed {
		s.line = s.form.failed(s.line[:0], r)
	} else {
		s.line = s.form.unprocessed(s.line[:0], r)
	}
	_, err := s.out.Write(s.line)
	return err
}

func (s *textSink) close() error { return nil }

// formOf is the form in which the input of a run was written.
func formOf(m ledger.Meta) (form, error) {
	newLine := m.NewLine
	if newLine == "" {
		newLine = "\n"
	}
	cs, err := charset.Named(m.Encoding)
	if err != nil {
		return nil, fmt.Errorf("input of unknown encoding: %w", err)
	}
	inner := cs
	if cs.IsWide() {
		inner, _ = charset.Named(charset.UTF8) // which there is
	}
	var f form
	switch m.Format {
	case "csv":
		f = newCSVForm(m, newLine, inner)
	case "jsonl":
		f = &jsonlForm{newLine, m.Run}
	default:
		return nil, fmt.Errorf("input of unknown format %q", m.Format)
	}
	if cs.IsWide() {
		return &wideForm{form: f, charset: cs}, nil
	}
	return f, nil
}

// A sheetSink writes a workbook of one sheet whose cells are all text. The
// reserved columns stand behind those that have a name, and behind them what
// other cells a row has.
type sheetSink struct {
	table  *export.Writer
	failed bool
	width  int // columns that have a name
	run    string
}

func newSheetSink(m ledger.Meta, out io.Writer, failed bool) (*sheetSink, error) {
	columns := workbook.Split(m.Header)
	s := &sheetSink{failed: failed, width: len(columns), run: m.Run}
	if failed {
		columns = append(columns, strings.Split(Reserved, ",")...)
	}
	for i := range columns {
		columns[i] = fit(columns[i])
	}
	var err error
	s.table, err = export.New(out, export.Format{Kind: export.XLSX}, export.Options{Columns: columns, Ragged: true})
	return s, err
}

func (s *sheetSink) row(r ledger.RowOutcome) error {
	own := workbook.Split(r.Raw)
	for len(own) < s.width {
		own = append(own, "")
	}
	cells := append([]string(nil), own[:s.width]...)
	if s.failed {
		cells = append(cells, strconv.FormatInt(r.Line, 10), r.Outcome.Class, strconv.Itoa(r.Outcome.Code),
			oneLine(r.Outcome.Error), strconv.Itoa(r.Outcome.Attempts), s.run)
	}
	cells = append(cells, own[s.width:]...)
	for i := range cells {
		cells[i] = fit(cells[i])
	}
	return s.table.Cells(cells)
}

func (s *sheetSink) close() error {
	_, err := s.table.Close()
	return err
}

// maxCell is how many characters a cell has at most, as UTF-16 counts.
const maxCell = 32767

// fit cuts a text that no cell can have: an error of the server's, or a cell that
// Excel has not made.
func fit(s string) string {
	if len(s) <= maxCell { // it has no more characters than bytes
		return s
	}
	n := 0
	for i, r := range s {
		if n += utf16.RuneLen(r); n > maxCell {
			return s[:i]
		}
	}
	return s
}

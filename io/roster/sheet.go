package roster

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"

	"chatbatch/io/workbook"
)

const defaultMaxSheet = 1 << 20

// isWorkbook reports whether a file is a workbook, or at least a zip archive.
func isWorkbook(br *bufio.Reader) bool {
	head, _ := br.Peek(len(workbook.Magic)) // an error comes again
	return bytes.Equal(head, []byte(workbook.Magic))
}

// A sheetReader makes rows of the rows of a sheet.
type sheetReader[T any] struct {
	*sheetHeader
	rows  *workbook.Rows
	max   int
	fixed []fixed
	names *names

	cells []workbook.Cell // of the row under way
	num   int
}

// openSheet opens a workbook. A zip archive is read from its end, so the file is
// copied first.
func openSheet[T any](br *bufio.Reader, o Options, n *names, values []fixed) (*Reader[T], error) {
	file, size, err := copied(br, o.TempDir)
	if err != nil {
		return nil, fmt.Errorf("read workbook: %w", err)
	}
	r, err := newSheet[T](file, size, o, n, values)
	if err != nil {
		closeTemp(file)
		return nil, err
	}
	return r, nil
}

func newSheet[T any](file *os.File, size int64, o Options, n *names, values []fixed) (*Reader[T], error) {
	book, err := workbook.Open(file, size, o.TempDir)
	if errors.Is(err, workbook.ErrNone) {
		return nil, &HeaderError{Reason: "the file is " + err.Error()}
	}
	if err != nil {
		return nil, &PackError{Packed: "xlsx", Err: err}
	}
	h, others, err := chooseSheet(book, o.Sheet, n, values)
	if err != nil {
		book.Close()
		return nil, err
	}
	s := &sheetReader[T]{sheetHeader: h, max: o.MaxLine, fixed: values, names: n}
	if s.max <= 0 {
		s.max = defaultMaxSheet
	}
	if s.rows, err = book.Rows(h.sheet); err == nil {
		_, _, err = firstRow(s.rows)
	}
	if err != nil {
		book.Close()
		return nil, &PackError{Packed: "xlsx", Err: err}
	}
	var header []string
	for i, own := range h.own {
		if own {
			header = append(header, h.columns[i])
		}
	}
	r := &Reader[T]{limits: limits{width: 1}, next: s.next}
	r.src = Source{Format: XLSX, Header: workbook.Join(header), NewLine: "\n"}
	r.found = Found{Sheet: h.sheet.Name, OtherSheets: others}
	for i, f := range h.bound {
		if f >= 0 {
			r.found.Columns = append(r.found.Columns, Column{strings.TrimSpace(h.columns[i]), n.fields[f].name})
		}
	}
	r.close = func() {
		s.rows.Close()
		book.Close()
		closeTemp(file)
	}
	return r, nil
}

// copied copies a file into one without a name.
func copied(r io.Reader, dir string) (*os.File, int64, error) {
	f, err := os.CreateTemp(dir, ".input-*")
	if err != nil {
		return nil, 0, err
	}
	_ = os.Remove(f.Name()) // where that is not possible, closeTemp does it
	size, err := io.Copy(f, r)
	if err != nil {
		closeTemp(f)
		return nil, 0, err
	}
	return f, size, nil
}

func closeTemp(f *os.File) {
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// next reads the next row that is not empty; io.EOF is the end.
func (s *sheetReader[T]) next(it *item[T]) error {
	num, cells, err := firstRow(s.rows)
	if err == io.EOF {
		return io.EOF
	}
	if err != nil {
		return &PackError{Packed: "xlsx", Err: err}
	}
	s.num, s.cells = num, cells
	*it = item[T]{row: Row[T]{Line: int64(num)}, whole: true}
	row := &it.row
	if row.Raw, row.FedBack, err = s.raw(); err == nil {
		err = s.decode(&row.Value)
	}
	if err != nil {
		var zero T
		row.Value, row.Err = zero, err
	}
	return nil
}

// raw is the text of the row, without the reserved columns.
func (s *sheetReader[T]) raw() (raw string, fedBack bool, err error) {
	var texts []string
	size := 0
	for i, c := range s.cells {
		if i < len(s.own) && !s.own[i] {
			fedBack = fedBack || c.Text != ""
			continue
		}
		if i < len(s.bound) && s.bound[i] >= 0 {
			c.Text = stays(c, s.names.fields[s.bound[i]].typ.Kind() == reflect.String)
		}
		if size += len(c.Text) + 1; size >= s.max {
			return workbook.Join(texts), fedBack, errTooLong(s.max)
		}
		texts = append(texts, c.Text)
	}
	for len(texts) > 1 && texts[len(texts)-1] == "" {
		texts = texts[:len(texts)-1]
	}
	return workbook.Join(texts), fedBack, nil
}

// decode reads the cells into the fields.
func (s *sheetReader[T]) decode(v *T) error {
	row := reflect.ValueOf(v).Elem()
	for i, f := range s.bound {
		if f < 0 {
			continue
		}
		field := &s.names.fields[f]
		var c workbook.Cell
		if i < len(s.cells) {
			c = s.cells[i]
		}
		err := fit(c, field.typ.Kind() == reflect.String)
		if err == nil {
			err = setCSV(row.Field(field.index).Addr().Interface(), c.Text)
			if ref := s.merged(i, c, err); ref != "" {
				err = fmt.Errorf("%w: the cells %s are merged, and only the first of them has their value", err, ref)
			}
		}
		if err != nil {
			return &FieldError{Field: field.name, Column: strings.TrimSpace(s.columns[i]), Err: err}
		}
	}
	if len(s.fixed) > 0 {
		fill(row, s.fixed)
	}
	return nil
}

// merged says of which merged cells an empty one that is missed is a part.
func (s *sheetReader[T]) merged(column int, c workbook.Cell, err error) string {
	if err == nil || c.Text != "" {
		return ""
	}
	return s.rows.Merged(column, s.num)
}

// stays is the text of a cell as it goes into a workbook of failed rows, where
// all cells are texts: one that was refused must be refused again when that is
// fed back, and not be taken for an ID that somebody has typed in.
func stays(c workbook.Cell, id bool) string {
	switch {
	case c.Kind == workbook.LongNumber: // as a spreadsheet shows it
		x, err := strconv.ParseFloat(c.Text, 64)
		if err != nil {
			return ""
		}
		return strconv.FormatFloat(x, 'G', 15, 64)
	case c.Kind == workbook.Error || fit(c, id) == nil:
		return c.Text
	}
	return ""
}

const hintText = "make the column text and fill it in again"

// fit refuses a cell that is not what somebody has typed in. An ID may be a
// number, if it is known to have all its digits.
func fit(c workbook.Cell, id bool) error {
	switch {
	case c.Kind == workbook.Error:
		return fmt.Errorf("%s is an error of a formula", quote(c.Text))
	case c.Kind == workbook.Unknown:
		return errors.New("a formula that has not been computed: open the file in a spreadsheet and save it")
	case c.Kind == workbook.Date:
		return fmt.Errorf("%s is a date: %s", quote(c.Text), hintText)
	case c.Kind == workbook.LongNumber:
		return fmt.Errorf("a number of %d digits, of which a spreadsheet keeps 15: %s", len(strings.TrimPrefix(c.Text, "-")), hintText)
	case !id:
		return nil
	case c.Kind == workbook.Truth:
		return fmt.Errorf("%s is a truth value: %s", c.Text, hintText)
	case c.Kind == workbook.Number && (c.Styled || strings.Trim(c.Text, "0123456789") != ""):
		return fmt.Errorf("%s is a number that is not, or is not shown as, digits only: %s", c.Text, hintText)
	}
	return nil
}

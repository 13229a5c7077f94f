// Package export writes tables out: as CSV, as JSONL or as an Excel workbook,
// plain or compressed, into a file or a stream, in memory that does not grow
// with the table.
//
// Nothing that is in a cell is lost or made into something else: line breaks of
// each kind, quotes, blanks at its ends, and digits are there when the table is
// read again. What a format cannot hold, it refuses or replaces by a rule that
// stands at [Writer.Cells].
//
// The same rows give the same bytes, in every format: there are no times in the
// files. So the SHA-256 of an export says whether anything has changed.
//
// A file has its name when it is complete, see package aside; until then, what
// had the name before is there.
package export

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"chatbatch/io/aside"
)

// Options say what the tables are like. Those of a format other than the one
// that is written are ignored.
type Options struct {
	// Columns are the names of the columns, for the header that a CSV file and
	// each sheet of a workbook begin with. A JSONL file has none.
	Columns []string

	// Excel makes a CSV file that Excel opens by a double click, for people and
	// not for programs: with a byte order mark, lines that end with CRLF, and a '
	// before each cell that would be taken for a formula, which is one that
	// begins with = + - @ or with a tab, CR or LF. A workbook needs none of this.
	Excel bool

	// Ragged says that rows of a workbook may have more cells than there are
	// columns.
	Ragged bool

	// Plain are the columns, from 0, whose cells get no ' for an @ with Excel:
	// IDs of groups begin with one, and must stay as they are. Names of columns
	// get one all the same.
	Plain []int
}

// Sum is what was written.
type Sum struct {
	Rows   int64  // without headers
	Bytes  int64  // of the file as it lies on disk, compressed
	SHA256 string // of these bytes, in lower-case hexadecimal
}

// A RowError says that a row cannot be written in this format. Nothing of it
// was written, and other rows can follow.
type RowError struct {
	Row    int64  // from 1, the header not counted
	Column string // the name of its column; "" if it is the row as a whole
	Err    error
}

// Error names row and column.
func (e *RowError) Error() string {
	if e.Column == "" {
		return fmt.Sprintf("row %d: %v", e.Row, e.Err)
	}
	return fmt.Sprintf("row %d, column %s: %v", e.Row, e.Column, e.Err)
}

// Unwrap gives the error without the place.
func (e *RowError) Unwrap() error { return e.Err }

// errEnded is the answer to a Writer that is used after its end.
var errEnded = errors.New("the table is ended already")

// A table writes rows of cells. A *RowError leaves it as it was.
type table interface {
	row(cells []string) error
}

// A Writer writes one table. It ends with Close, or with Discard. It is not safe
// for concurrent use.
type Writer struct {
	columns []string
	ragged  bool
	table   table         // nil for JSONL
	body    *bufio.Writer // nil for XLSX
	finish  []func() error
	meter   *meter
	file    *aside.File // nil for a stream
	rows    int64
	err     error // what the writer broke on, or why it takes no more
	sum     Sum   // once prepared
	state   state
}

type state int

const (
	writing state = iota
	prepared
	closed
	discarded
)

// Create begins a table in a file. The file has its name when Close has
// returned nil; until then the bytes lie beside it, in the same directory.
// Only its owner can read it. See [aside.Create] for what may be there before.
func Create(path string, f Format, o Options) (*Writer, error) {
	if err := check(f, o); err != nil {
		return nil, err
	}
	file, err := aside.Create(path)
	if err != nil {
		return nil, err
	}
	w, err := start(file.Writer, f, o)
	if err != nil {
		file.Discard()
		return nil, err
	}
	w.file = file
	return w, nil
}

// New begins a table in a stream, such as stdout. All bytes have been written
// to it when Close, or Prepare, has returned nil. The stream is not closed, and
// what Discard finds written stays written.
func New(out io.Writer, f Format, o Options) (*Writer, error) {
	if err := check(f, o); err != nil {
		return nil, err
	}
	// The compressors write pieces of a few hundred bytes.
	buffered := bufio.NewWriterSize(out, bufferSize)
	w, err := start(buffered, f, o)
	if err != nil {
		return nil, err
	}
	w.finish = append(w.finish, buffered.Flush)
	return w, nil
}

// check refuses what can be seen to be wrong before there is a file.
func check(f Format, o Options) error {
	if err := f.check(); err != nil {
		return err
	}
	switch {
	case f.Kind == JSONL:
		return nil
	case len(o.Columns) == 0:
		return fmt.Errorf("%s: a table without columns", f.Kind)
	case f.Kind == XLSX:
		return checkColumns(o.Columns)
	}
	for _, p := range o.Plain {
		if p < 0 || p >= len(o.Columns) {
			return fmt.Errorf("plain column %d: there are %d columns", p, len(o.Columns))
		}
	}
	return nil
}

// start puts the parts of a Writer together, from the bytes on disk upwards.
func start(out io.Writer, f Format, o Options) (*Writer, error) {
	w := &Writer{columns: slices.Clone(o.Columns), meter: newMeter(out)}
	if f.Kind == XLSX { // it buffers and compresses by itself
		book, err := newWorkbook(w.meter, w.columns)
		if err != nil {
			return nil, err
		}
		w.ragged = o.Ragged
		w.table, w.finish = book, []func() error{book.close}
		return w, nil
	}
	packed, err := compress(w.meter, f.Compression)
	if err != nil {
		return nil, err
	}
	body := bufio.NewWriterSize(packed, bufferSize)
	w.body, w.finish = body, []func() error{body.Flush, packed.Close}
	if f.Kind == CSV {
		c := newCSV(body, o)
		w.table = c
		w.err = c.header(w.columns)
	}
	return w, nil
}

// Cells writes a row of a CSV file or a workbook, one cell for each column.
// The cells are not kept.
//
// In CSV, cells hold any bytes, NUL and such that are no UTF-8 included. In a
// workbook, all cells are text and none is a formula, with two limits of Excel:
// a cell of more than 32,767 characters (as UTF-16 counts) is a [*RowError], and
// bytes that are no UTF-8 become U+FFFD. Characters that XML does not have, such
// as NUL, are written as Excel does, _x0000_, and read by it as what they were.
func (w *Writer) Cells(cells []string) error {
	switch {
	case w.err != nil:
		return w.err
	case w.table == nil:
		return errors.New("cells: JSONL takes objects")
	case len(cells) != len(w.columns) && !(w.ragged && len(cells) > len(w.columns)):
		return &RowError{Row: w.rows + 1, Err: fmt.Errorf("%d cells, the table has %d columns", len(cells), len(w.columns))}
	}
	return w.wrote(w.table.row(cells))
}

// Object writes a row of a JSONL file: one JSON object, without a line end. It
// is written as it is, with all its bytes, and looked at no closer than that it
// fits on one line and has its braces; if not, that is a [*RowError].
func (w *Writer) Object(object []byte) error {
	switch {
	case w.err != nil:
		return w.err
	case w.table != nil:
		return errors.New("object: only JSONL takes objects")
	case len(object) < 2 || object[0] != '{' || object[len(object)-1] != '}':
		return &RowError{Row: w.rows + 1, Err: errors.New("not a JSON object")}
	case bytes.IndexByte(object, '\n') >= 0 || bytes.IndexByte(object, '\r') >= 0:
		return &RowError{Row: w.rows + 1, Err: errors.New("a JSON object on more than one line")}
	}
	_, err := w.body.Write(object)
	if err == nil {
		err = w.body.WriteByte('\n')
	}
	return w.wrote(err)
}

// wrote counts a row, or notes what went wrong. What broke a file once breaks
// all that follows, since nobody knows how much of the row is in it.
func (w *Writer) wrote(err error) error {
	if refused, ok := errors.AsType[*RowError](err); ok {
		refused.Row = w.rows + 1
		return refused
	}
	if err != nil {
		w.err = fmt.Errorf("write row %d: %w", w.rows+1, err)
		return w.err
	}
	w.rows++
	return nil
}

// Prepare completes the table. After it, all bytes of a file are on disk, but
// not under the final name yet: for those who have to do something else, like
// making a manifest, before the file appears. Nothing can be written after it.
func (w *Writer) Prepare() (Sum, error) {
	if w.state != writing {
		return w.sum, w.ended()
	}
	if w.err != nil {
		return Sum{}, w.err
	}
	for _, finish := range w.finish {
		if w.err = finish(); w.err != nil {
			return Sum{}, w.err
		}
	}
	if w.file != nil {
		if w.err = w.file.Prepare(); w.err != nil {
			return Sum{}, w.err
		}
	}
	w.sum = Sum{Rows: w.rows, Bytes: w.meter.bytes, SHA256: w.meter.sum()}
	w.state, w.err = prepared, errEnded
	return w.sum, nil
}

// ended is the error of a call that needs a table which is not discarded.
func (w *Writer) ended() error {
	if w.state == discarded {
		return errEnded
	}
	return nil
}

// Close completes the table, unless Prepare did, and gives a file its final
// name. The file is there, durably, when it has returned nil. After an error,
// what had the name before is there; call Discard then.
func (w *Writer) Close() (Sum, error) {
	sum, err := w.Prepare()
	if err != nil || w.state == closed {
		return sum, err
	}
	if w.file != nil {
		if err := w.file.Replace(); err != nil {
			return Sum{}, err
		}
	}
	w.state = closed
	return sum, nil
}

// Discard removes a file that is not closed. It may be called at any time, also
// twice and after Close, so that it can be deferred.
func (w *Writer) Discard() {
	if w.state == closed || w.state == discarded {
		return
	}
	w.state, w.err, w.sum = discarded, errEnded, Sum{}
	if w.file != nil {
		w.file.Discard()
	}
}

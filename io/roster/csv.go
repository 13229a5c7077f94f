package roster

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode"

	"github.com/gocarina/gocsv"

	"chatbatch/io/charset"
)

const defaultMaxCSV = 64 << 10

// A feed gives a csv.Reader one line at a time and says io.EOF at its end. The
// bufio.Reader inside forgets that error, so the next line goes the same way.
type feed struct{ rest string }

func (f *feed) Read(p []byte) (int, error) {
	if f.rest == "" {
		return 0, io.EOF
	}
	n := copy(p, f.rest)
	if f.rest = f.rest[n:]; f.rest == "" && n < len(p) {
		// A line end, though io.EOF is one too: it saves that call.
		p[n] = '\n'
		n++
	}
	return n, nil
}

// Quotes are what a line says that is only to be judged together with other
// lines: about quoted fields that run over several of them, and about the
// encoding.
type quotes uint8

const (
	leftOpen quotes = 1 << iota // a quoted field is not closed
	notOpen                     // there is none
	mayGoOn                     // the line is broken as the next part of such a field would be

	// And what it says about the encoding, where nothing else does:
	foreign // it is not UTF-8
	guessed // an ID of it is not ASCII and was read as UTF-8
)

// A csvDecoder makes rows of the lines of a CSV file.
type csvDecoder[T any] struct {
	*reading
	max    int
	cutter *cutter
	feed   feed
	um     *gocsv.Unmarshaller
	fixed  []fixed
	wide   bool // it was UTF-16 before

	// For messages only:
	fields []field
	split  *splitter
}

func openCSV[T any](r io.Reader, o Options, n *names, values []fixed) (*Reader[T], error) {
	maxLine := o.MaxLine
	if maxLine <= 0 {
		maxLine = defaultMaxCSV
	}
	// Twice the limit: the reserved columns do not count.
	g := newGate(r, 2*maxLine)
	d, src, err := readHeader[T](g, o, n, values, maxLine)
	if err != nil {
		return nil, err
	}
	reader, err := newReader(g, src, d.another)
	if err != nil {
		return nil, err
	}
	reader.found = d.found()
	reader.found.Encoding = src.Encoding
	return reader, nil
}

// another makes a decoder of the same kind, with a state of its own.
func (d csvDecoder[T]) another() (decoder[T], error) {
	own := *d.reading
	own.charset = own.charset.Another()
	d.reading = &own
	d.cutter, d.split = d.cutter.another(), newSplitter(d.comma)
	if err := d.start(); err != nil {
		return nil, err
	}
	return d.decode, nil
}

// start has gocsv read the header, under the names of our fields: a column that
// is not bound to a field has no name. Its package-wide settings stay as they
// are, they would be everybody's.
func (d *csvDecoder[T]) start() error {
	d.feed.rest = d.header
	cr := csv.NewReader(&d.feed)
	cr.Comma = rune(d.comma)
	cr.ReuseRecord = true
	var zero T
	um, err := gocsv.NewUnmarshaller(cr, &zero) // a pointer costs one allocation less a row
	if err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	fields := make([]string, len(d.bound))
	for i, f := range d.bound {
		if f >= 0 {
			fields[i] = d.fields[f].name
		}
	}
	if err := um.RenormalizeHeaders(func([]string) []string { return fields }); err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	d.um = um
	return nil
}

func (d *csvDecoder[T]) decode(line []byte, whole bool, v *T) (raw string, q quotes, err error) {
	raw = string(line)
	if whole {
		raw = d.cut(d.cutter, raw)
	}
	switch {
	case !whole || len(raw) >= d.max:
		return raw[:d.max], 0, errTooLong(d.max)
	case strings.IndexByte(raw, 0) >= 0:
		return raw, 0, errors.New("the line holds a NUL byte")
	case strings.IndexByte(raw, '\r') >= 0:
		return raw, 0, errors.New("the line holds a carriage return that is not at its end")
	}
	text, plain := raw, charset.IsASCII(raw)
	if !plain {
		if text, q, err = d.text(raw); err != nil {
			return raw, q, err
		}
	}
	d.feed.rest = text
	row, err := d.um.Read()
	if err != nil {
		why, err := d.explain(text, err)
		return raw, q | why, err
	}
	*v = *row.(*T)
	if !plain {
		if q, err = d.checkTexts(v, q); err != nil {
			var zero T
			*v = zero
			return raw, q, err
		}
	}
	if len(d.fixed) > 0 {
		fill(reflect.ValueOf(v).Elem(), d.fixed)
	}
	return raw, q | notOpen, nil
}

// explain says why a row could not be read.
func (d *csvDecoder[T]) explain(raw string, err error) (quotes, error) {
	if err == io.EOF {
		return 0, errors.New("the line has nothing but reserved columns")
	}
	var parse *csv.ParseError
	if !errors.As(err, &parse) {
		return notOpen, d.explainField(raw, err)
	}
	if parse.Err == csv.ErrFieldCount {
		return mayGoOn, d.explainCount(raw)
	}
	if err = whyCSV(err, raw); err == errUnclosed {
		return leftOpen | mayGoOn, err
	}
	return notOpen | mayGoOn, err
}

func (d *csvDecoder[T]) explainCount(raw string) error {
	fields, err := d.split.split(raw)
	if err != nil {
		return whyCSV(err, raw)
	}
	return fmt.Errorf("wrong number of fields: %d, the header has %d", len(fields), len(d.columns))
}

// explainField reads the row once more, field by field: gocsv returns the text
// of the first error, among texts of its own.
func (d *csvDecoder[T]) explainField(raw string, err error) error {
	fields, splitErr := d.split.split(raw)
	if splitErr != nil {
		return err
	}
	for i, f := range d.bound {
		if f < 0 || i >= len(fields) {
			continue
		}
		if err := setCSV(reflect.New(d.fields[f].typ).Interface(), fields[i]); err != nil {
			return &FieldError{Field: d.fields[f].name, Column: d.columns[i], Err: err}
		}
	}
	return err
}

// A FieldError says what is wrong with one field of a row.
type FieldError struct {
	Field  string // as tagged, e.g. "account"
	Column string // as the file has it, e.g. "账号"
	Err    error
}

// Error names the column as the file does.
func (e *FieldError) Error() string {
	if e.Column == e.Field {
		return fmt.Sprintf("column %s: %v", e.Field, e.Err)
	}
	name := cut(e.Column)
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		name = quote(name) // a message has one line
	}
	return fmt.Sprintf("column %s (%s): %v", name, e.Field, e.Err)
}

// Unwrap gives the error without the column.
func (e *FieldError) Unwrap() error { return e.Err }

var errUnclosed = errors.New("a quoted field is not closed on its line: a field cannot run over several lines")

// whyCSV says in plain words why a line is not CSV.
func whyCSV(err error, line string) error {
	var parse *csv.ParseError
	if !errors.As(err, &parse) {
		return err
	}
	switch at := parse.Column - 1; {
	case parse.Err == csv.ErrBareQuote:
		return fmt.Errorf("a quote inside a field that does not begin with one, at byte %d", parse.Column)
	case parse.Err == csv.ErrQuote && at >= len(line):
		return errUnclosed
	case parse.Err == csv.ErrQuote:
		return fmt.Errorf("text behind a quoted field, at byte %d: a quote inside a field is doubled", parse.Column)
	}
	return parse.Err
}

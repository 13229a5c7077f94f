package roster

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"reflect"
	"strings"
)

// A Format is the way rows are written in a file.
type Format string

// The formats that can be read.
const (
	CSV   Format = "csv"   // comma separated, with a header, one record a line
	JSONL Format = "jsonl" // one JSON object a line
	XLSX  Format = "xlsx"  // a sheet of an Excel workbook, with a header
)

// FormatOf tells the format by the end of a file name: ".jsonl" and ".ndjson",
// in any case and also with ".gz" or ".zst" behind, are JSONL, everything else
// is CSV, or a workbook, which is known by its first bytes.
func FormatOf(name string) Format {
	name = strings.ToLower(name)
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")
	if strings.HasSuffix(name, ".jsonl") || strings.HasSuffix(name, ".ndjson") {
		return JSONL
	}
	return CSV
}

// ErrOptions is wrapped by the errors of [Open] that lie in the options and
// not in the file: a field that does not exist, a default that is no value.
var ErrOptions = errors.New("roster options")

// Options say how a file is to be read. The zero value reads CSV.
type Options struct {
	Format Format // "" is CSV

	// Map says which field a column stands for, by the column's name as
	// written (case and blanks do not matter). It goes before all aliases: no
	// other column is taken for a field that is named here.
	Map map[string]string

	// Defaults give a field the same value in all rows of a file that has no
	// such column. It is an error if the column is there too.
	Defaults map[string]string

	// Encoding is that of the file, by its name on the web; "" is to be found by
	// the header. Delimiter is what stands between the fields of a CSV file: one
	// of , ; | and tab, or its name; "" is to be found by the header.
	Encoding, Delimiter string

	// Sheet is the name of the sheet of a workbook; "" is the first one that is
	// not hidden and has the columns. TempDir is where the file is copied to, "" is
	// that of the system: what is a workbook is known by its first bytes, whatever
	// Format says.
	Sheet, TempDir string

	// MaxLine bounds a row: a text of MaxLine bytes or more is refused, and
	// only its first MaxLine bytes are kept, or of a workbook the first cells. 0 is
	// 64 KiB for CSV and 1 MiB for others.
	MaxLine int
}

// Source is how a file is written, for those who write such a file again.
type Source struct {
	Format  Format
	Header  string // as written, with a byte order mark, without line end and reserved columns; "" for JSONL; see package workbook for XLSX
	NewLine string // "\n" or "\r\n", as the first line that is not blank ends

	// Encoding and Delimiter are as in [Options]; "" is UTF-8 and a comma. The
	// Header, and the texts of rows, are the bytes of the file, but if Encoding is
	// UTF-16: then they are UTF-8.
	Encoding, Delimiter string
}

// A Row is one record of a file.
type Row[T any] struct {
	Num   int64  // how many rows stand before it
	Line  int64  // number of its line in the file, from 1
	Raw   string // its text as written, without line end and reserved columns
	Value T      // the row for use; zero if Err is set
	Err   error  // why the row cannot be used

	// FedBack says that the row had reserved columns: it comes from a failed
	// file, so that somebody knows of it already.
	FedBack bool
}

// errTooLong stands for a row that was cut; see [Options].
type errTooLong int

func (e errTooLong) Error() string {
	return fmt.Sprintf("the line has %d bytes or more: only its first %d are kept", int(e), int(e))
}

// A decoder makes a row of one line: its text as written and its value. The
// line is only valid during the call; whole is false if it was cut by the gate.
// The result depends on nothing but the line.
type decoder[T any] func(line []byte, whole bool, v *T) (raw string, q quotes, err error)

// An item is a row on its way.
type item[T any] struct {
	row    Row[T]
	whole  bool
	quotes quotes
}

// fill decodes the line of the item.
func (it *item[T]) fill(decode decoder[T], line []byte) {
	it.row.Raw, it.quotes, it.row.Err = decode(line, it.whole, &it.row.Value)
	it.row.FedBack = it.whole && len(it.row.Raw) != len(line)
}

// A Reader reads the rows of one file. It is not safe for concurrent use.
type Reader[T any] struct {
	gate    *gate
	decode  decoder[T]
	another func() (decoder[T], error) // makes decoders for use at the same time
	src     Source
	found   Found
	num     int64   // rows handed out
	open    int64   // line on which a quoted field was left open; 0 for none
	foreign int64   // a line that is not UTF-8, where nothing else says what the file is; 0 for none
	guessed int64   // a line with an ID that is not ASCII and was read as UTF-8; 0 for none
	item    item[T] // the one under way, to keep it in one place

	limits limits
	next   func(*item[T]) error // of a workbook: it makes the next row
	close  func()               // what was opened beside the file; nil: nothing

	queue []*batch[T] // read, but not handed out, in the order of the file
	idle  []*batch[T]
}

func newReader[T any](g *gate, src Source, another func() (decoder[T], error)) (*Reader[T], error) {
	d, err := another()
	if err != nil {
		return nil, err
	}
	return &Reader[T]{gate: g, decode: d, another: another, src: src, limits: newLimits()}, nil
}

// Open starts to read a file, which may be packed by gzip or zstd. It reads up to
// its header, which must have a column for
// each field of T: a column named by the csv tag of the field, by an alias of
// that name or by [Options.Map]. A header that has not, and an empty CSV file,
// are a [*HeaderError], and a packed file that is broken is a [*PackError]. An
// empty JSONL file has no rows.
//
// T is a struct. Its exported fields have a tag like csv:"group_id", or
// csv:"type,omitempty" if the column may be missing, and are strings or types
// with the methods UnmarshalCSV(string) error and UnmarshalJSON([]byte) error,
// like [Account], [Group], [Marks] and [Count]. Numbers are refused here, since they
// would be read leniently: "010" as 8, "3.9" as 3 and nothing as 0.
func Open[T any](r io.Reader, o Options) (*Reader[T], error) {
	fields, err := fieldsOf(reflect.TypeFor[T]())
	if err != nil {
		return nil, err
	}
	n, err := newNames(fields, o.Map)
	if err != nil {
		return nil, err
	}
	fixed, err := defaultsOf(fields, o.Defaults)
	if err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	text, packed, err := unpack(r)
	if err != nil {
		return nil, fmt.Errorf("read first line: %w", err)
	}
	if isWorkbook(text) {
		return openSheet[T](text, o, n, fixed)
	}
	if o.Format == XLSX {
		return nil, &HeaderError{Reason: "the file is not an Excel workbook"}
	}
	open, begins := openCSV[T], func(text string) bool { return beginsCSV(text, o, n, fixed) }
	if o.Format == JSONL {
		open, begins = openJSONL[T], beginsObject
	}
	if text, o, err = inUTF8(text, o, begins); err != nil {
		return nil, err
	}
	reader, err := open(text, o, n, fixed)
	if err != nil {
		return nil, err
	}
	reader.found.Packed = packed
	return reader, nil
}

// Source says how the file is written.
func (r *Reader[T]) Source() Source { return r.src }

// Found says what was found, for people.
func (r *Reader[T]) Found() Found { return r.found }

// Rows goes over the rows of the file, once, in order. An error is one of
// reading the file. It is the last item and has no row; the piece of a line
// that was read before it is dropped.
//
// The file is read in the calling goroutine, a few hundred kilobytes ahead.
// Behind the first few hundred rows other goroutines decode what was read, so
// that the methods of T's fields are called side by side. They have ended when
// the loop has, also when the caller breaks off: then a second call of Rows
// goes on behind the last row that was handed out.
func (r *Reader[T]) Rows() iter.Seq2[Row[T], error] {
	return func(yield func(Row[T], error) bool) {
		for {
			many := r.limits.width > 1 && r.num >= int64(r.limits.lines)
			if many && !r.sideBySide(yield) {
				return
			}
			if !r.inTurn(yield) {
				return
			}
		}
	}
}

// inTurn hands out the next row, decoded here and now, or an error. It reports
// whether there may be more, and the caller wants it.
func (r *Reader[T]) inTurn(yield func(Row[T], error) bool) bool {
	if r.next != nil {
		return r.ofSheet(yield)
	}
	line, whole, err := r.gate.next()
	if err == io.EOF {
		return false
	}
	if err != nil {
		yield(Row[T]{}, fmt.Errorf("read line %d: %w", r.gate.num+1, err))
		return false
	}
	r.item = item[T]{row: Row[T]{Line: r.gate.num}, whole: whole}
	r.item.fill(r.decode, line)
	return r.hand(&r.item, yield)
}

// ofSheet hands out the next row of a workbook, like inTurn.
func (r *Reader[T]) ofSheet(yield func(Row[T], error) bool) bool {
	switch err := r.next(&r.item); {
	case err == io.EOF:
		return false
	case err != nil:
		yield(Row[T]{}, err)
		return false
	}
	return r.hand(&r.item, yield)
}

// Close gives back what was opened beside the file. It may be called twice.
func (r *Reader[T]) Close() {
	if r.close != nil {
		r.close()
		r.close = nil
	}
}

// hand hands out a row, with what depends on the rows before it.
func (r *Reader[T]) hand(it *item[T], yield func(Row[T], error) bool) bool {
	row := &it.row
	row.Num = r.num
	r.num++
	if it.quotes&mayGoOn != 0 && r.open > 0 {
		row.Err = fmt.Errorf("%w (the quoted field left open on line %d may go on here: a field cannot run over several lines)", row.Err, r.open)
	}
	if it.quotes&(foreign|guessed) != 0 {
		if err := r.doubt(it); err != nil {
			yield(Row[T]{}, err)
			return false
		}
	}
	switch {
	case it.quotes&leftOpen != 0:
		r.open = row.Line
	case it.quotes&notOpen != 0:
		r.open = 0
	}
	return yield(*row, nil)
}

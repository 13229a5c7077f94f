package roster

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"reflect"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"chatbatch/io/charset"
)

const defaultMaxJSONL = 1 << 20

// A jsonDecoder makes rows of the lines of a JSONL file.
type jsonDecoder[T any] struct {
	max   int
	names *names
	fixed []fixed
	cache map[string]member // by key as written, quoted

	buf   bytes.Buffer
	dec   *jsontext.Decoder
	value T         // the row under way, to keep it in one place
	seen  []bool    // by field
	err   error     // the first one of a value of the row under way
	cuts  []segment // reserved members of the row under way
	raw   []byte    // the value of RawKey, as written
}

// maxCache bounds the memory for keys, of which a file may have any number.
const maxCache = 1024

func openJSONL[T any](r io.Reader, o Options, n *names, values []fixed) (*Reader[T], error) {
	maxLine := o.MaxLine
	if maxLine <= 0 {
		maxLine = defaultMaxJSONL
	}
	// Six times the limit: so much a string may grow when it is kept under
	// RawKey. And the reserved keys do not count.
	g := newGate(r, 6*maxLine+64<<10)
	line, _, err := g.hold() // for the line end, and to refuse a workbook
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read first line: %w", err)
	}
	if err := checkMagic(line); err != nil {
		return nil, err
	}
	src := Source{Format: JSONL, NewLine: g.newLine}
	if src.NewLine == "" {
		src.NewLine = "\n"
	}
	switch {
	case o.wide():
		src.Encoding = o.Encoding
	case o.Encoding != "" && o.Encoding != charset.UTF8:
		return nil, fmt.Errorf("%w: encoding %s: JSONL is UTF-8 or UTF-16", ErrOptions, o.Encoding)
	}
	reader, err := newReader(g, src, func() (decoder[T], error) {
		d := &jsonDecoder[T]{max: maxLine, names: n, fixed: values, cache: map[string]member{}, seen: make([]bool, len(n.fields))}
		d.dec = jsontext.NewDecoder(&d.buf)
		return d.decode, nil
	})
	if err != nil {
		return nil, err
	}
	reader.found.Encoding = src.Encoding
	return reader, nil
}

func (d *jsonDecoder[T]) decode(line []byte, whole bool, v *T) (raw string, _ quotes, err error) {
	if whole {
		raw, err = d.object(line, v)
	} else {
		raw, err = d.tooLong(line)
	}
	return raw, 0, err
}

// object decodes a line that was not cut.
func (d *jsonDecoder[T]) object(line []byte, v *T) (raw string, err error) {
	text, again := line, false
	err = d.scan(line)
	switch {
	case isSyntax(err):
		text, again = cutKeys(line)
	case d.raw != nil:
		if text, again = inner(d.raw); !again {
			text, err = line, fmt.Errorf("%s is not the text of one line", RawKey)
		}
	case len(d.cuts) > 0:
		text = remove(line, d.cuts)
	}
	if len(text) >= d.max {
		return d.tooLong(text)
	}
	if again { // the keys that are cut now are the author's own
		err = d.scan(text)
	}
	raw = string(text)
	if err != nil {
		return raw, err
	}
	*v = d.value
	if len(d.fixed) > 0 {
		fill(reflect.ValueOf(v).Elem(), d.fixed)
	}
	return raw, nil
}

// tooLong keeps whole characters: half of one could not be kept in a JSON string.
func (d *jsonDecoder[T]) tooLong(text []byte) (string, error) {
	n := d.max
	for n > d.max-utf8.UTFMax && n > 0 && n < len(text) && !utf8.RuneStart(text[n]) {
		n--
	}
	return string(text[:n]), errTooLong(d.max)
}

// inner is the line that is kept under RawKey: as a string, or in base64 if it is
// not UTF-8, which JSON cannot hold.
func inner(raw []byte) (text []byte, ok bool) {
	var err error
	if raw[0] == '"' {
		text, err = jsontext.AppendUnquote(nil, raw)
	} else {
		var kept struct {
			Base64 []byte `json:"base64"`
		}
		err = json.Unmarshal(raw, &kept, json.RejectUnknownMembers(true))
		text = kept.Base64
	}
	return text, err == nil && !isBlank(text) && bytes.IndexByte(text, '\n') < 0
}

// A syntaxError says that a line is not one JSON object.
type syntaxError struct{ error }

func isSyntax(err error) bool {
	_, ok := err.(syntaxError)
	return ok
}

// scan reads one object into d.value, and notes its reserved members. The
// error is the first one of its syntax, or else of its values.
func (d *jsonDecoder[T]) scan(text []byte) error {
	var zero T
	d.value, d.err, d.cuts, d.raw = zero, nil, d.cuts[:0], nil
	clear(d.seen)
	d.buf = *bytes.NewBuffer(text) // the decoder reads a Buffer in place
	d.dec.Reset(&d.buf)
	if k := d.dec.PeekKind(); k != '{' && k > 0 {
		return syntaxError{fmt.Errorf("a row must be an object, but is %s", describe(bytes.TrimSpace(text)))}
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return whyJSON(err)
	}
	for d.dec.PeekKind() != '}' {
		if err := d.member(); err != nil {
			return whyJSON(err)
		}
	}
	if _, err := d.dec.ReadToken(); err != nil {
		return whyJSON(err)
	}
	if len(bytes.TrimLeft(text[d.dec.InputOffset():], " \t\r")) > 0 {
		return syntaxError{errors.New("there is more text behind the object")}
	}
	if d.err != nil {
		return d.err
	}
	return d.missing()
}

// member reads one member of the object. Its error is one of syntax; d.err is
// that of a value, which does not keep the other members from being read.
func (d *jsonDecoder[T]) member() error {
	before := int(d.dec.InputOffset())
	if d.dec.PeekKind() != '"' {
		_, err := d.dec.ReadToken() // says what is wrong
		return cmp.Or(err, errors.New("the name of a member must be a string"))
	}
	key, err := d.dec.ReadValue()
	if err != nil {
		return err
	}
	start := int(d.dec.InputOffset()) - len(key)
	m := d.lookup(key)
	value, err := d.dec.ReadValue()
	if err != nil {
		return err
	}
	switch {
	case m.field == reservedKey:
		d.cuts = append(d.cuts, segment{before: before, start: start, end: int(d.dec.InputOffset())})
	case m.field == rawKey && (value.Kind() == '"' || bytes.HasPrefix(value, []byte(`{"base64":"`))):
		d.raw = bytes.Clone(value)
	case m.field >= 0 && d.err == nil:
		d.err = d.set(m, value)
	}
	return nil
}

// set reads a value into its field.
func (d *jsonDecoder[T]) set(m member, value []byte) error {
	f := &d.names.fields[m.field]
	var err error
	switch {
	case d.seen[m.field]:
		err = errors.New("is there a second time, under another name")
	case len(d.fixed) > 0 && isFixed(d.fixed, m.field):
		err = errors.New("is given for the whole file, but is in the row too")
	default:
		err = setJSON(reflect.ValueOf(&d.value).Elem().Field(f.index).Addr().Interface(), value)
	}
	d.seen[m.field] = true
	if err != nil {
		return &FieldError{Field: f.name, Column: m.name, Err: err}
	}
	return nil
}

func (d *jsonDecoder[T]) missing() error {
	for i, f := range d.names.fields {
		if !d.seen[i] && !f.optional && !isFixed(d.fixed, i) {
			return fmt.Errorf("%s is missing", f.name)
		}
	}
	return nil
}

// A member is what the key of a member stands for.
type member struct {
	field int // place in the fields, or one of the following
	name  string
}

const (
	unknownKey  = -1
	reservedKey = -2
	rawKey      = -3
)

// lookup tells what a quoted key stands for.
func (d *jsonDecoder[T]) lookup(key []byte) member {
	if m, ok := d.cache[string(key)]; ok {
		return m
	}
	name, err := unquote(key)
	m := member{field: unknownKey, name: name}
	switch {
	case err != nil:
	case isReserved(name):
		m.field = reservedKey
	case name == RawKey:
		m.field = rawKey
	default:
		m.field = d.names.field(name)
	}
	if len(d.cache) < maxCache && len(key) <= quoteLimit {
		d.cache[string(key)] = m
	}
	return m
}

// whyJSON says why a line is not JSON, in words that are the same in each run.
func whyJSON(err error) error {
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		name := ""
		if errors.As(err, &syntax) {
			name = quote(syntax.JSONPointer.LastToken())
		}
		return syntaxError{fmt.Errorf("the name %s is there twice", name)}
	case errors.Is(err, io.ErrUnexpectedEOF), err == io.EOF:
		return syntaxError{errors.New("the line ends inside the object")}
	case errors.As(err, &syntax):
		return syntaxError{fmt.Errorf("not JSON: %w, at byte %d", syntax.Err, syntax.ByteOffset+1)}
	}
	return syntaxError{err}
}

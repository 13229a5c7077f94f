package roster

import (
	"bufio"
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"chatbatch/io/charset"
)

// cut cuts the reserved columns of a line of bytes.
func (r *reading) cut(c *cutter, line string) string {
	if c == nil {
		return line
	}
	hidden, with := r.charset.Hide(line, byte(r.comma))
	return charset.Show(c.cut(hidden), byte(r.comma), with)
}

// text gives a line that is not all ASCII as text.
func (r *reading) text(raw string) (text string, q quotes, err error) {
	if !r.charset.IsUTF8() {
		return r.charset.Decode(raw), 0, nil
	}
	if r.certain || utf8.ValidString(raw) {
		return raw, 0, nil
	}
	if r.comma == '|' { // which may be part of a character here
		return raw, foreign, errNotUTF8("a bar may be a part of a character")
	}
	return raw, foreign, nil
}

// errNotUTF8 says why a line cannot be read though its bytes are known.
func errNotUTF8(why string) error {
	return fmt.Errorf("the line is not UTF-8, and %s: %s, e.g. --encoding gb18030", why, hintEncoding)
}

// checkTexts refuses IDs that are not known for certain: a call must not name
// somebody else. The other fields may hold anything.
func (d *csvDecoder[T]) checkTexts(v *T, q quotes) (quotes, error) {
	row := reflect.ValueOf(v).Elem()
	for i, f := range d.bound {
		if f < 0 || d.fields[f].typ.Kind() != reflect.String {
			continue
		}
		id := row.Field(d.fields[f].index).String()
		if charset.IsASCII(id) {
			continue
		}
		var err error
		switch {
		case d.wide && strings.ContainsRune(id, utf8.RuneError):
			err = fmt.Errorf("%s holds what is no character", quote(id))
		case !d.charset.IsUTF8() && strings.ContainsRune(id, utf8.RuneError):
			err = fmt.Errorf("%s holds bytes that are not %s", quote(id), d.charset.Name)
		case q&foreign != 0:
			err = errNotUTF8("this is not ASCII")
		case !utf8.ValidString(id):
			err = fmt.Errorf("%s is not UTF-8", quote(id))
		case !d.certain && !isSurelyUTF8(id):
			q |= guessed
		}
		if err != nil {
			return q, &FieldError{Field: d.fields[f].name, Column: d.columns[i], Err: err}
		}
	}
	return q, nil
}

// isSurelyUTF8 says that an ID, which is not ASCII and valid as UTF-8, is nothing else:
// it has a character of three bytes or more. Two bytes that are a character of UTF-8 may
// be one of another encoding as well: those of 一 in GBK are those of һ.
func isSurelyUTF8(id string) bool {
	return strings.ContainsFunc(id, func(r rune) bool { return r >= 0x800 })
}

// An EncodingError says that a file is not UTF-8 as it seemed to be, and that
// the ID of an earlier row may have been read wrongly.
type EncodingError struct{ Line, Earlier int64 }

// Error says which lines do not go together.
func (e *EncodingError) Error() string {
	return fmt.Sprintf("line %d is not UTF-8, so it is not known how line %d is to be read, whose group or account is not ASCII: %s, e.g. --encoding gb18030, or --encoding utf-8 if nothing but line %d is broken",
		e.Line, e.Earlier, hintEncoding, e.Line)
}

// doubt judges a line by what others say about the encoding.
func (r *Reader[T]) doubt(it *item[T]) error {
	row := &it.row
	if it.quotes&foreign != 0 {
		if r.guessed > 0 {
			return &EncodingError{Line: row.Line, Earlier: r.guessed}
		}
		r.foreign = row.Line
	}
	if it.quotes&guessed == 0 {
		return nil
	}
	if r.foreign > 0 {
		var zero T
		row.Value = zero
		row.Err = fmt.Errorf("its group or account is not ASCII, and line %d is not UTF-8: %s, e.g. --encoding gb18030", r.foreign, hintEncoding)
	} else if r.guessed == 0 {
		r.guessed = row.Line
	}
	return nil
}

// found says how the file is read.
func (d *csvDecoder[T]) found() Found {
	f := Found{Unknown: !utf8.ValidString(d.header)}
	if d.comma != ',' {
		f.Delimiter = string(rune(d.comma))
	}
	for i, b := range d.bound {
		if b >= 0 {
			f.Columns = append(f.Columns, Column{d.columns[i], d.fields[b].name})
		}
	}
	return f
}

// wide reports whether the file is UTF-16.
func (o Options) wide() bool { return o.Encoding == charset.UTF16LE || o.Encoding == charset.UTF16BE }

// Byte order marks. That of UTF-8 is left to the gate.
var marksOfUTF16 = map[string]string{"\xff\xfe": charset.UTF16LE, "\xfe\xff": charset.UTF16BE}

// headBytes are looked at to see whether a file without a mark is UTF-16.
const headBytes = 4 << 10

// inUTF8 gives a file of UTF-16 as one of UTF-8, and the options with its
// encoding. Other files come as they are.
func inUTF8(br *bufio.Reader, o Options, begins func(text string) bool) (*bufio.Reader, Options, error) {
	if o.Encoding != "" {
		cs, err := charset.Named(o.Encoding)
		if err != nil {
			return nil, o, fmt.Errorf("%w: %w", ErrOptions, err)
		}
		o.Encoding = cs.Name
	}
	head, _ := br.Peek(headBytes) // an error comes again
	name, marked := marksOfUTF16[string(head[:min(len(head), 2)])]
	switch {
	case marked && o.Encoding != "" && !o.wide():
		return nil, o, &HeaderError{Reason: "the file begins with the byte order mark of UTF-16, and is said to be " + o.Encoding}
	case bytes.HasPrefix(head, []byte(byteOrderMark)) && o.Encoding != "" && o.Encoding != charset.UTF8:
		return nil, o, &HeaderError{Reason: "the file begins with the byte order mark of UTF-8, and is said to be " + o.Encoding}
	case marked:
		o.Encoding = name
	case o.Encoding == "" && bytes.IndexByte(head, 0) >= 0:
		o.Encoding = unmarked(string(head), begins)
	}
	if !o.wide() {
		return br, o, nil
	}
	cs, err := charset.Named(o.Encoding)
	if err != nil {
		return nil, o, err
	}
	return bufio.NewReaderSize(cs.Reader(br), bufferSize), o, nil
}

// unmarked tells the encoding of a file of UTF-16 without a mark: that in which
// it begins as it should; "" for none.
func unmarked(head string, begins func(text string) bool) string {
	for _, name := range []string{charset.UTF16LE, charset.UTF16BE} {
		cs, err := charset.Named(name)
		if err == nil && begins(cs.Decode(head)) {
			return name
		}
	}
	return ""
}

package roster

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"chatbatch/io/charset"
)

// A reading is one way to read a CSV file, and what its header is then.
type reading struct {
	charset *charset.Charset
	comma   comma
	certain bool // something says that this is the encoding

	header  string // as text, without the reserved columns
	columns []string
	bound   []int // the field of each column, -1 for none
	cutter  *cutter
}

// A reader of headers knows what is looked for.
type headerReader struct {
	names  *names
	fixed  []fixed
	commas []comma // that may be
}

// commas are what may stand between fields, the usual one first.
var commas = []comma{',', ';', '\t', '|'}

// commaNames are their names for people.
var commaNames = map[comma]string{',': "comma", ';': "semicolon", '\t': "tab", '|': "bar"}

// DelimiterName is the name of a delimiter for people; "" for that of "".
func DelimiterName(delimiter string) string {
	if delimiter == "" {
		return ""
	}
	return commaNames[comma(delimiter[0])]
}

func commaOf(text string) (comma, bool) {
	for by, name := range commaNames {
		if text == string(rune(by)) || strings.EqualFold(text, name) {
			return by, true
		}
	}
	return 0, text == ""
}

// legacy are the encodings that a file may have which is not UTF-8.
var legacy = []string{"gb18030", "big5", "shift_jis", "euc-kr", "windows-1252"}

// find finds the one reading of a header in which it has all columns. UTF-8 and
// the comma go first; nothing is decided by how often something occurs.
func (h *headerReader) find(line string, encoding string) (*reading, error) {
	if encoding != "" || utf8.ValidString(line) {
		cs, err := charset.Named(encoding)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrOptions, err)
		}
		r, err := h.in(line, cs)
		if err == nil {
			r.certain = encoding != "" || r.tells()
		}
		return r, err
	}
	var matching, telling []*reading
	var best *HeaderError
	for _, name := range legacy {
		cs, err := charset.Named(name)
		if err != nil {
			return nil, err
		}
		r, err := h.in(line, cs)
		if e, ok := errors.AsType[*HeaderError](err); ok && (best == nil || e.known > best.known) {
			best = e
		}
		if err != nil {
			continue
		}
		if matching = append(matching, r); r.tells() {
			telling = append(telling, r)
		}
	}
	switch {
	case len(telling) == 1:
		telling[0].certain = true
		return telling[0], nil
	case len(telling) > 1:
		return nil, &HeaderError{Header: line, Reason: "the first line has its columns in " + telling[0].charset.Name + " and in " + telling[1].charset.Name, Hint: hintEncoding}
	case len(matching) > 0:
		return h.bytes(line)
	case best != nil && best.known > 0:
		return nil, best
	}
	return nil, &HeaderError{
		Header: line, Hint: hintEncoding + ", or save it as UTF-8",
		Reason: "the first line is not UTF-8, and does not have the columns in any of " + strings.Join(legacy, ", "),
	}
}

const hintEncoding = "say how the file is written with --encoding"

// tells reports whether the header has a column that it would not have in
// another encoding.
func (r *reading) tells() bool {
	for i, f := range r.bound {
		if f >= 0 && !charset.IsASCII(r.columns[i]) {
			return true
		}
	}
	return false
}

// bytes reads a header whose known columns are ASCII in an encoding of which no
// more is known than that.
func (h *headerReader) bytes(line string) (*reading, error) {
	cs, err := charset.Named(charset.UTF8)
	if err != nil {
		return nil, err
	}
	r, err := h.in(line, cs)
	if err == nil && r.comma == '|' {
		return nil, &HeaderError{Header: line, Reason: "the first line is not UTF-8, and in some encodings a bar is part of a character", Hint: hintEncoding}
	}
	return r, err
}

// in reads a header in an encoding.
func (h *headerReader) in(line string, cs *charset.Charset) (*reading, error) {
	var found []*reading
	var best *HeaderError
	for _, by := range h.commas {
		r, err := h.by(line, cs, by)
		if err == nil && by == ',' {
			return r, nil
		}
		if e, ok := errors.AsType[*HeaderError](err); ok && (best == nil || e.known > best.known) {
			best = e
		}
		if err == nil {
			found = append(found, r)
		}
	}
	switch len(found) {
	case 0:
		return nil, best
	case 1:
		return found[0], nil
	}
	return nil, &HeaderError{
		Header: line, Hint: "say which with --delimiter",
		Reason: fmt.Sprintf("the columns can be separated by a %s and by a %s", commaNames[found[0].comma], commaNames[found[1].comma]),
	}
}

// by reads a header in an encoding whose fields are separated by this.
func (h *headerReader) by(line string, cs *charset.Charset, by comma) (*reading, error) {
	text := cs.Decode(line)
	if !cs.IsUTF8() && strings.ContainsRune(text, utf8.RuneError) {
		return nil, &HeaderError{Reason: "the first line is not " + cs.Name, Header: line}
	}
	how := howRead(cs.Name, by)
	columns, c, err := columnsOf(text, by)
	if err != nil {
		err.How = how
		return nil, err
	}
	header := c.cut(text)
	bound, err := bind(header, columns, h.names, h.fixed)
	if err != nil {
		err.How = how
		return nil, err
	}
	return &reading{charset: cs, comma: by, header: header, columns: columns, bound: bound, cutter: c}, nil
}

// howRead says how a header was read, "" for the usual way.
func howRead(encoding string, by comma) string {
	var how []string
	if encoding != charset.UTF8 {
		how = append(how, encoding)
	}
	if by != ',' {
		how = append(how, "by "+commaNames[by])
	}
	return strings.Join(how, ", ")
}

// sepLine reads the line by which Excel is told what separates the fields.
func sepLine(line []byte) (by comma, ok bool, err error) {
	rest := strings.Trim(string(line), `"`)
	if len(rest) != 5 || !strings.EqualFold(rest[:4], "sep=") {
		return 0, false, nil
	}
	if _, ok := commaNames[comma(rest[4])]; !ok {
		return 0, true, &HeaderError{Reason: "the first line says that " + quote(rest[4:]) + " separates the fields, which is not read: it can be a comma, a semicolon, a tab or a bar", Header: string(line)}
	}
	return comma(rest[4]), true, nil
}

package roster

import (
	"bytes"
	"fmt"
	"strings"
)

// A HeaderError says that a file cannot be read at all, and how it begins.
// No row of it has been read.
type HeaderError struct {
	Reason  string   // what is wrong
	Header  string   // the first line as read; "" if there is none
	Columns []string // its columns as read
	Missing []string // fields that have no column
	Doubled []string // fields that have more than one
	Hint    string   // what can be done about it, or ""
	How     string   // how it was read, if not as UTF-8 with commas

	known int // how many of its columns are known
}

// Error tells all of it in one line.
func (e *HeaderError) Error() string {
	var b strings.Builder
	b.WriteString("header: " + e.Reason)
	switch {
	case len(e.Columns) > 0:
		b.WriteString("; columns read")
		if e.How != "" {
			b.WriteString(" (" + e.How + ")")
		}
		b.WriteString(": ")
		for i, c := range e.Columns {
			if i == 20 {
				fmt.Fprintf(&b, " and %d more", len(e.Columns)-i)
				break
			}
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(quote(c))
		}
	case e.Header != "":
		b.WriteString("; the file begins with " + quote(e.Header))
	}
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// magics are the first bytes of files that are taken for a roster by mistake.
var magics = []struct{ first, what, hint string }{
	{"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls), or one with a password", "save it as .xlsx without a password"},
	{"\x1f\x8b", "compressed twice (gzip)", "unpack it first"},
	{"\x28\xb5\x2f\xfd", "compressed twice (zstd)", "unpack it first"},
}

// checkMagic refuses a file that is not text, by its first line.
func checkMagic(line []byte) error {
	for _, m := range magics {
		if bytes.HasPrefix(line, []byte(m.first)) {
			return &HeaderError{Reason: "the file is " + m.what + ", not text", Hint: m.hint}
		}
	}
	return nil
}

// checkHeader refuses a line that cannot be the header of a CSV file.
func checkHeader(line []byte, whole bool, maxLine int) error {
	if err := checkMagic(line); err != nil {
		return err
	}
	e := &HeaderError{Header: string(line)}
	switch {
	case bytes.IndexByte(line, 0) >= 0:
		e.Reason = "the first line holds a NUL byte"
		e.Hint = "the file may be UTF-16: say so with --encoding utf-16le, or save it as UTF-8"
	case bytes.IndexByte(line, '\r') >= 0:
		e.Reason = "there are carriage returns inside the first line"
		e.Hint = "lines that end with CR only, as on an old Mac, are not read: save the file with LF or CRLF"
	case !whole:
		return tooLongHeader(string(line), maxLine)
	default:
		return nil
	}
	return e
}

const hintJSONL = "this looks like JSONL: name the file .jsonl"

func tooLongHeader(header string, maxLine int) error {
	return &HeaderError{Reason: fmt.Sprintf("the first line has %d bytes or more", maxLine), Header: header}
}

// columnsOf splits a header and drops the reserved columns.
func columnsOf(header string, by comma) (columns []string, c *cutter, e *HeaderError) {
	s := newSplitter(by)
	all, err := s.split(header)
	if err != nil {
		e := &HeaderError{Reason: "the first line is not CSV: " + whyCSV(err, header).Error(), Header: header}
		if strings.HasPrefix(header, "{") {
			e.Hint = hintJSONL
		}
		return nil, nil, e
	}
	c = newCutter(all, by)
	for i, name := range all {
		if c == nil || c.own[i] {
			columns = append(columns, strings.TrimSpace(name))
		}
	}
	if len(columns) == 0 {
		return nil, nil, &HeaderError{Reason: "there are only reserved columns", Header: header}
	}
	return columns, c, nil
}

// bind finds the field of each column, -1 for one that is not known.
func bind(header string, columns []string, n *names, values []fixed) ([]int, *HeaderError) {
	bound := make([]int, len(columns))
	of := make([][]string, len(n.fields)) // the columns of each field
	e := &HeaderError{Header: header, Columns: columns}
	for i, column := range columns {
		bound[i] = n.field(column)
		if f := bound[i]; f >= 0 {
			of[f] = append(of[f], column)
			e.known++
		}
	}
	if e.checkMapped(columns, n); e.Reason == "" {
		e.checkFields(of, n, values)
	}
	if e.Reason == "" {
		return bound, nil
	}
	e.guess(n)
	return nil, e
}

// checkMapped looks for columns of Options.Map that are not in the header.
func (e *HeaderError) checkMapped(columns []string, n *names) {
	there := map[string]bool{}
	for _, c := range columns {
		there[plain(c)] = true
	}
	for _, c := range n.asked {
		if !there[plain(c)] {
			f := n.fields[n.mapped[plain(c)]].name
			e.Reason = fmt.Sprintf("there is no column %s to take as %s", quote(c), f)
			e.Missing = append(e.Missing, f)
		}
	}
}

// checkFields looks for fields with no column, or with more than one.
func (e *HeaderError) checkFields(of [][]string, n *names, values []fixed) {
	var reasons []string
	for i, f := range n.fields {
		switch given := isFixed(values, i); {
		case given && len(of[i]) > 0:
			reasons = append(reasons, fmt.Sprintf("%s is given for the whole file, but there is a column %s too", f.name, quote(of[i][0])))
			e.Doubled = append(e.Doubled, f.name)
		case len(of[i]) > 1:
			reasons = append(reasons, fmt.Sprintf("%d columns for %s: %q", len(of[i]), f.name, of[i]))
			e.Doubled = append(e.Doubled, f.name)
		case len(of[i]) == 0 && !given && !f.optional:
			e.Missing = append(e.Missing, f.name)
		}
	}
	for _, name := range e.Missing {
		reason := "no column for " + name
		if also := aliases[name]; len(also) > 0 {
			reason += " (also known as " + strings.Join(also, ", ") + ")"
		}
		reasons = append(reasons, reason)
	}
	e.Reason = strings.Join(reasons, "; ")
}

// guess looks for the usual causes of a header that lacks columns.
func (e *HeaderError) guess(n *names) {
	if len(e.Missing) == 0 {
		return
	}
	if strings.HasPrefix(strings.TrimSpace(e.Header), "{") {
		e.Hint = hintJSONL
		return
	}
	known := 0
	for c := range strings.SplitSeq(e.Header, "，") {
		if n.field(strings.Trim(c, `" `)) >= 0 {
			known++
		}
	}
	if known > e.known {
		e.Hint = "the columns are separated by full-width commas, which are not read: replace them by commas"
	}
}

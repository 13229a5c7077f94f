package roster

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"chatbatch/io/charset"
)

// readHeader reads the lines in front of the rows.
func readHeader[T any](g *gate, o Options, n *names, values []fixed, maxLine int) (d csvDecoder[T], src Source, err error) {
	line, whole, err := firstLine(g)
	if err != nil {
		return d, src, err
	}
	by, _ := commaOf(o.Delimiter)
	above, sep, err := sepLine(line)
	if err != nil {
		return d, src, err
	}
	front := g.bom
	if sep {
		front += string(line) + g.newLine
		if by == 0 {
			by = above
		}
		if line, whole, err = firstLine(g); err != nil {
			return d, src, err
		}
	}
	if err := checkHeader(line, whole, maxLine); err != nil {
		return d, src, err
	}
	h := headerReader{names: n, fixed: values, commas: commas}
	if by != 0 {
		h.commas = []comma{by}
	}
	wide := o.wide()
	encoding := o.Encoding
	if wide {
		encoding = charset.UTF8 // by now
	}
	found, err := h.find(string(line), encoding)
	if err != nil {
		if e, ok := errors.AsType[*HeaderError](err); ok && wide {
			e.How = strings.Trim(o.Encoding+", "+e.How, ", ")
		}
		return d, src, err
	}
	found.certain = found.certain || strings.HasPrefix(g.bom, byteOrderMark)
	header := found.cut(found.cutter, string(line))
	if len(header) >= maxLine {
		return d, src, tooLongHeader(header, maxLine)
	}
	d = csvDecoder[T]{reading: found, max: maxLine, cutter: found.cutter, fixed: values, fields: n.fields, wide: wide}
	src = Source{Format: CSV, Header: front + header, NewLine: g.newLine}
	if found.comma != ',' {
		src.Delimiter = string(rune(found.comma))
	}
	switch {
	case wide:
		src.Encoding = o.Encoding
	case !found.charset.IsUTF8():
		src.Encoding = found.charset.Name
	}
	return d, src, nil
}

// beginsCSV reports whether a text begins with a header that has all columns.
func beginsCSV(text string, o Options, n *names, values []fixed) bool {
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[:i]
	}
	o.Encoding = charset.UTF8
	g := newGate(strings.NewReader(text), len(text))
	_, _, err := readHeader[struct{}](g, o, n, values, len(text)+1)
	return err == nil
}

func firstLine(g *gate) (line []byte, whole bool, err error) {
	line, whole, err = g.next()
	switch {
	case err == io.EOF:
		return nil, false, &HeaderError{Reason: "the file is empty"}
	case err != nil:
		return nil, false, fmt.Errorf("read header: %w", err)
	}
	return line, whole, nil
}

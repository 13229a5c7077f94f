package workbook

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A Kind says what a cell holds.
type Kind int

// What a cell may hold. A formula is what it came to.
const (
	Text       Kind = iota // also an empty cell
	Number                 // of 15 digits at most
	LongNumber             // a whole number of more digits, of which the last ones are lost
	Date                   // or a time
	Truth                  // TRUE or FALSE
	Error                  // like #N/A
	Unknown                // a formula that has not been computed
)

// A Cell is one cell, as text.
type Cell struct {
	Text   string
	Kind   Kind
	Styled bool // a number that is shown with more than its digits
}

// Limits of Excel.
const (
	maxColumns = 16384
	maxRows    = 1 << 20
)

// Rows are the rows of one sheet.
type Rows struct {
	book  *Book
	sheet Sheet
	part  *part
	num   int
	cells []Cell
	err   error // what Next returns from now on

	merged map[int][]area // by column; nil: not looked for yet
}

// Rows begins to read a sheet.
func (b *Book) Rows(s Sheet) (*Rows, error) {
	p, err := b.must(s.part)
	if err != nil {
		return nil, err
	}
	r := &Rows{book: b, sheet: s, part: p}
	if _, err := p.element("sheetData"); err == io.EOF {
		r.err = damaged(s.part, errors.New("it has no rows"))
	} else if err != nil {
		r.err = err
	}
	return r, nil
}

// Close ends the reading.
func (r *Rows) Close() { r.part.close() }

// Next gives the next row that is in the file, with its number from 1. Its cells
// end with the last one that is not empty; they are valid until the next call.
// At the end of the sheet the error is io.EOF.
func (r *Rows) Next() (num int, cells []Cell, err error) {
	if r.err == nil {
		r.err = r.next()
	}
	if r.err != nil {
		return 0, nil, r.err
	}
	last := len(r.cells)
	for last > 0 && r.cells[last-1].Text == "" && r.cells[last-1].Kind == Text {
		last--
	}
	return r.num, r.cells[:last], nil
}

func (r *Rows) next() error {
	for {
		t, err := r.part.token()
		if err != nil {
			return damaged(r.part.name, err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			if t.Name.Local == "row" {
				return r.row(t)
			}
		case xml.EndElement:
			if t.Name.Local == "sheetData" {
				if err := r.part.end(); err != nil {
					return err
				}
				return io.EOF
			}
		}
	}
}

func (r *Rows) row(e xml.StartElement) error {
	num := r.num + 1
	if text := attr(e, "r"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < num || n > maxRows {
			return damaged(r.part.name, fmt.Errorf("row %q comes behind row %d", text, r.num))
		}
		num = n
	}
	r.num, r.cells = num, r.cells[:0]
	for {
		t, err := r.part.token()
		if err != nil {
			return damaged(r.part.name, err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			if t.Name.Local == "c" {
				if err := r.cell(t); err != nil {
					return err
				}
			}
		case xml.EndElement:
			if t.Name.Local == "row" {
				return nil
			}
		}
	}
}

func (r *Rows) cell(e xml.StartElement) error {
	kind, styleID := attr(e, "t"), attr(e, "s")
	column := len(r.cells)
	if ref := attr(e, "r"); ref != "" {
		var ok bool
		if column, _, ok = place(ref); !ok {
			return damaged(r.part.name, fmt.Errorf("there is a cell called %q", ref))
		}
	}
	if column >= maxColumns {
		return damaged(r.part.name, fmt.Errorf("row %d has more than %d cells", r.num, maxColumns))
	}
	for len(r.cells) <= column {
		r.cells = append(r.cells, Cell{})
	}
	value, formula, err := r.value()
	if err != nil {
		return err
	}
	c, err := r.book.cell(kind, styleID, value, formula)
	if err != nil {
		return damaged(r.part.name, err)
	}
	r.cells[column] = c
	return nil
}

// value reads what is inside a cell: its value, and whether it has a formula.
func (r *Rows) value() (value string, formula bool, err error) {
	inside := false
	var text []byte
	for {
		t, err := r.part.token()
		if err != nil {
			return "", false, damaged(r.part.name, err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			switch t.Name.Local {
			case "v":
				inside = true
			case "f":
				formula = true
			case "is":
				inline, err := r.part.text("is")
				if err != nil {
					return "", false, err
				}
				text = append(text, inline...)
			}
		case xml.EndElement:
			switch t.Name.Local {
			case "v":
				inside = false
			case "c":
				return string(text), formula, nil
			}
		case xml.CharData:
			if inside {
				text = append(text, t...)
			}
		}
		if len(text) > maxToken {
			return "", false, damaged(r.part.name, fmt.Errorf("a text of more than %d bytes", maxToken))
		}
	}
}

// cell makes a cell of what stands in the file.
func (b *Book) cell(kind, styleID, value string, formula bool) (Cell, error) {
	switch kind {
	case "s":
		if value == "" {
			return Cell{}, nil
		}
		i, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil {
			return Cell{}, fmt.Errorf("there is no shared text %q", value)
		}
		text, err := b.strings.get(i)
		return Cell{Text: text}, err
	case "str":
		return Cell{Text: unescape([]byte(value))}, nil
	case "inlineStr":
		return Cell{Text: value}, nil
	case "b":
		if value == "1" || value == "true" {
			return Cell{Text: "TRUE", Kind: Truth}, nil
		}
		return Cell{Text: "FALSE", Kind: Truth}, nil
	case "e":
		return Cell{Text: value, Kind: Error}, nil
	case "d":
		return Cell{Text: value, Kind: Date}, nil
	}
	switch value = strings.TrimSpace(value); {
	case value != "":
		return b.number(value, styleID), nil
	case formula:
		return Cell{Kind: Unknown}, nil
	}
	return Cell{}, nil
}

// place reads the name of a cell: "C5" is column 2, from 0, of row 5.
func place(ref string) (column, row int, ok bool) {
	i := 0
	for ; i < len(ref) && i < 4 && ref[i]|0x20 >= 'a' && ref[i]|0x20 <= 'z'; i++ {
		column = column*26 + int(ref[i]|0x20-'a') + 1
	}
	row, err := strconv.Atoi(ref[i:])
	return column - 1, row, i > 0 && err == nil && row > 0
}

// An area is some cells of a column that are merged with others, as Excel calls
// it, like "B2:B9".
type area struct {
	first, last int
	ref         string
}

// maxMerged bounds what is kept of them.
const maxMerged = 1 << 16

// Merged says of which merged cells a cell is one; "" for none. Only the first
// of them has their value. column counts from 0, row from 1.
func (r *Rows) Merged(column, row int) string {
	if r.merged == nil {
		r.merged = map[int][]area{}
		r.findMerged() // an error comes again when the rows are read
	}
	for _, a := range r.merged[column] {
		if a.first <= row && row <= a.last {
			return a.ref
		}
	}
	return ""
}

// findMerged reads the sheet to its end, where the merged cells stand.
func (r *Rows) findMerged() {
	p, err := r.book.open(r.sheet.part)
	if err != nil || p == nil {
		return
	}
	defer p.close()
	for n := 0; n < maxMerged; n++ {
		e, err := p.element("mergeCell")
		if err != nil {
			return
		}
		from, to, _ := strings.Cut(attr(e, "ref"), ":")
		left, top, ok1 := place(from)
		right, bottom, ok2 := place(to)
		if !ok1 || !ok2 || right-left > 64 {
			continue
		}
		for c := left; c <= right; c++ {
			r.merged[c] = append(r.merged[c], area{top, bottom, from + ":" + to})
		}
	}
}

// Package workbook reads the cells of an Excel workbook (.xlsx), row by row, in
// memory that does not grow with the sheet.
//
// It says of a cell what it is: a text, a number, a date. That is what matters
// where a number may be an ID that has lost its last digits. And a part of the
// file that is damaged or cut off is an error: no row is left out in silence.
package workbook

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Magic is how the file of a workbook begins, like that of any zip archive.
const Magic = "PK\x03\x04"

// ErrNone says that an archive is no workbook.
var ErrNone = errors.New("a zip archive, but not an Excel workbook (.xlsx)")

// A Sheet is one of the sheets of a workbook.
type Sheet struct {
	Name   string
	Hidden bool
	part   string
}

// A Book is an open workbook. It is not safe for concurrent use.
type Book struct {
	Sheets []Sheet // in their order; those with cells

	parts   map[string]*zip.File // by lower-case name
	strings *stringTable
	styles  []style
	from    int // year of the first date: 1900 or 1904
	tempDir string
}

// Open opens a workbook of so many bytes. What its texts take beyond some memory
// lies in a file without a name in tempDir; "" is that of the system.
func Open(r io.ReaderAt, size int64, tempDir string) (*Book, error) {
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("the archive is damaged or cut off: %w", err)
	}
	b := &Book{parts: map[string]*zip.File{}, from: 1900, tempDir: tempDir}
	for _, f := range z.File {
		b.parts[partName(f.Name)] = f
	}
	main, err := b.related("", "/officedocument")
	if err != nil {
		return nil, err
	}
	if len(main) != 1 || !strings.HasSuffix(main[0].target, ".xml") {
		return nil, ErrNone
	}
	if err := b.readBook(main[0].target); err != nil {
		return nil, err
	}
	return b, nil
}

// Close removes what Open needed beside the file.
func (b *Book) Close() {
	if b.strings != nil {
		b.strings.close()
	}
}

func partName(name string) string {
	return strings.ToLower(strings.TrimPrefix(strings.ReplaceAll(name, `\`, "/"), "/"))
}

// A relation leads from one part of a workbook to another.
type relation struct{ id, kind, target string }

// related lists the relations of a part whose kind ends like this.
func (b *Book) related(part, kind string) (list []relation, err error) {
	dir, base := path.Split(part)
	p, err := b.open(dir + "_rels/" + base + ".rels")
	if err != nil || p == nil {
		return nil, err
	}
	defer p.close()
	for {
		e, err := p.element("Relationship")
		if err == io.EOF {
			return list, p.end()
		}
		if err != nil {
			return nil, err
		}
		r := relation{id: attr(e, "Id"), kind: strings.ToLower(attr(e, "Type")), target: attr(e, "Target")}
		if attr(e, "TargetMode") == "External" || !strings.HasSuffix(r.kind, kind) {
			continue
		}
		if !strings.HasPrefix(r.target, "/") {
			r.target = path.Join(dir, r.target)
		}
		r.target = partName(r.target)
		list = append(list, r)
	}
}

// readBook reads what there is beside the sheets.
func (b *Book) readBook(part string) error {
	sheets, err := b.related(part, "/worksheet")
	if err != nil {
		return err
	}
	p, err := b.open(part)
	if err != nil {
		return err
	}
	if p == nil {
		return ErrNone
	}
	defer p.close()
	for {
		e, err := p.element("sheet", "workbookPr")
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if d := attr(e, "date1904"); d == "1" || d == "true" {
			b.from = 1904
		}
		for _, s := range sheets {
			if e.Name.Local == "sheet" && s.id == prefixed(e, "id") {
				b.Sheets = append(b.Sheets, Sheet{Name: attr(e, "name"), Hidden: attr(e, "state") != "" && attr(e, "state") != "visible", part: s.target})
			}
		}
	}
	if err := p.end(); err != nil {
		return err
	}
	if err := b.readStyles(part); err != nil {
		return err
	}
	return b.readStrings(part)
}

package roster

import (
	"fmt"
	"io"
	"strings"

	"chatbatch/io/charset"
)

// Found is what was found of a file beside how it is written.
type Found struct {
	Packed    string // Gzip, Zstd or "": outcome files are not
	Encoding  string // "" is UTF-8
	Unknown   bool   // it is not UTF-8, and nothing says what it is; IDs must be ASCII
	Delimiter string // "" is a comma
	Sheet     string // of a workbook

	OtherSheets []string // that have the columns too, and are not read
	Columns     []Column // those that are read, in the order of the file; nil for JSONL
}

// A Column is one that is read.
type Column struct{ Name, Field string }

// Plain reports whether nothing had to be found out: UTF-8, commas, and columns
// that are called as their fields are.
func (f Found) Plain() bool {
	for _, c := range f.Columns {
		if plain(c.Name) != plain(c.Field) {
			return false
		}
	}
	return f.Packed == "" && f.Sheet == "" && f.Encoding == "" && !f.Unknown && f.Delimiter == ""
}

// check refuses options that no file can have.
func (o Options) check() error {
	if o.Format != CSV && o.Format != JSONL && o.Format != XLSX && o.Format != "" {
		return fmt.Errorf("%w: no format %q", ErrOptions, o.Format)
	}
	if _, err := charset.Named(o.Encoding); err != nil {
		return fmt.Errorf("%w: %w", ErrOptions, err)
	}
	if _, ok := commaOf(o.Delimiter); !ok {
		return fmt.Errorf("%w: delimiter %q: it is a comma, a semicolon, a tab or a bar", ErrOptions, o.Delimiter)
	}
	return nil
}

// FormatIn tells the format of a file without a name by how it begins: with a {
// it is JSONL, as a zip archive does XLSX, else CSV.
func FormatIn(r io.Reader) (Format, error) {
	text, _, err := unpack(r)
	if err != nil {
		return "", err
	}
	if isWorkbook(text) {
		return XLSX, nil
	}
	if text, _, err = inUTF8(text, Options{}, beginsObject); err != nil {
		return "", err
	}
	head, _ := text.Peek(512) // an error comes again when the file is read
	if beginsJSONL(string(head)) {
		return JSONL, nil
	}
	return CSV, nil
}

// beginsJSONL reports whether a text begins as JSONL does.
func beginsJSONL(text string) bool { return strings.HasPrefix(trimStart(text), "{") }

// beginsObject reports whether it begins as an object does. (A { and a NUL byte alone
// may be a broken line, and need not be UTF-16.)
func beginsObject(text string) bool {
	rest, ok := strings.CutPrefix(trimStart(text), "{")
	rest = trimStart(rest)
	return ok && rest != "" && strings.Contains(`"}`, rest[:1])
}

func trimStart(text string) string {
	return strings.TrimLeft(strings.TrimPrefix(text, byteOrderMark), " \t\r\n")
}

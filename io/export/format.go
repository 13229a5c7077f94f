package export

import (
	"fmt"
	"path/filepath"
	"strings"
)

// The kinds of tables, for [Format].
const (
	CSV   = "csv"
	JSONL = "jsonl"
	XLSX  = "xlsx"
)

// The ways to compress one, for [Format].
const (
	Gzip = "gz"
	Zstd = "zst"
)

// A Format is how a table is written. It is made by [FormatOf] or [ParseFormat],
// or literally.
type Format struct {
	Kind        string // CSV, JSONL or XLSX
	Compression string // Gzip, Zstd or "" for none; a workbook is compressed in itself and takes none
}

// String is the format as [ParseFormat] reads it: "csv", "jsonl.gz".
func (f Format) String() string {
	if f.Compression == "" {
		return f.Kind
	}
	return f.Kind + "." + f.Compression
}

// check refuses a format that does not exist.
func (f Format) check() error {
	switch f.Kind {
	case CSV, JSONL:
		if f.Compression == "" || f.Compression == Gzip || f.Compression == Zstd {
			return nil
		}
	case XLSX:
		if f.Compression == "" {
			return nil
		}
	}
	return fmt.Errorf("no format %q: there is %s", f.String(), formats)
}

// formats is what there is, for messages.
const formats = "csv, jsonl and xlsx, and the first two with .gz or .zst behind"

// FormatOf tells the format by the end of a file's name, in any case: .csv,
// .jsonl or .ndjson, each also with .gz or .zst behind it, or .xlsx. Any other
// name is an error that lists these: a format is not guessed.
func FormatOf(name string) (Format, error) {
	rest := strings.ToLower(filepath.Base(name))
	var f Format
	for _, c := range []string{Gzip, Zstd} {
		if before, ok := strings.CutSuffix(rest, "."+c); ok {
			rest, f.Compression = before, c
			break
		}
	}
	f.Kind = kinds[strings.TrimPrefix(filepath.Ext(rest), ".")]
	if f.Kind == "" || f.check() != nil {
		return Format{}, fmt.Errorf("%q does not say how to write the file: its name must end in .csv, .jsonl, .ndjson or .xlsx; the first three may have .gz or .zst behind", name)
	}
	return f, nil
}

// kinds are the kinds by the end of a name.
var kinds = map[string]string{"csv": CSV, "jsonl": JSONL, "ndjson": JSONL, "xlsx": XLSX}

// ParseFormat reads a format as a flag has it, for a stream that has no name:
// "csv", "jsonl", "ndjson" or "xlsx", the first three also with ".gz" or ".zst"
// behind, in any case.
func ParseFormat(text string) (Format, error) {
	kind, compression, dot := strings.Cut(strings.ToLower(text), ".")
	f := Format{Kind: kinds[kind], Compression: compression}
	if f.Kind == "" || f.check() != nil || dot && compression == "" {
		return Format{}, fmt.Errorf("no format %q: there is %s", text, formats)
	}
	return f, nil
}

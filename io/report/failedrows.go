package report

import (
	"compress/gzip"
	"encoding/base64"
	"io"
	"strconv"
	"strings"
	"unicode"

	"chatbatch/io/ledger"
)

// What of the failed rows is in the page. All of them are in the failed file.
const (
	maxPageRows  = 100_000
	maxPageBytes = 32 << 20 // of text, before it is compressed
	maxPageText  = 500      // bytes of a row, or of its error
	maxOutcomes  = 1 << 10  // different ones that are written once
)

// failedRows writes failed rows into a page: a JSON array, compressed, in base64.
// (As plain JSON, 100,000 rows would take 7 MB instead of 0.7, and be parsed as HTML.)
//
//	[line, k, row]                              its outcome was there before, as the k-th
//	[line, k, row, class, code, attempts, error]  it is new, and is the k-th from now on;
//	                                            with k = −1 it will not be referred to
//
// What does not fit is counted and left out. Memory does not depend on the rows.
type failedRows struct {
	text  io.WriteCloser // base64
	zip   *gzip.Writer   // to text
	known map[ledger.Outcome]int
	line  []byte // for reuse

	rows, bytes int64
	full        bool // the rest is left out
}

func newFailedRows(out io.Writer) *failedRows {
	f := &failedRows{known: map[ledger.Outcome]int{}}
	f.text = base64.NewEncoder(base64.StdEncoding, out)
	f.zip = gzip.NewWriter(f.text)
	return f
}

func (f *failedRows) add(r ledger.RowOutcome) error {
	if f.full = f.full || f.rows == maxPageRows || f.bytes >= maxPageBytes; f.full {
		return nil
	}
	separator := byte(',')
	if f.rows == 0 {
		separator = '['
	}
	b := append(f.line[:0], separator, '\n', '[')
	b = append(strconv.AppendInt(b, r.Line, 10), ',')
	o := r.Outcome
	o.Error = clipText(o.Error)
	k, known := f.known[o]
	if !known {
		if k = -1; len(f.known) < maxOutcomes {
			k = len(f.known)
			f.known[o] = k
		}
	}
	b = append(strconv.AppendInt(b, int64(k), 10), ',')
	b = appendJSON(b, visible(clipText(r.Raw)))
	if !known {
		b = appendJSON(append(b, ','), visible(o.Class))
		b = strconv.AppendInt(append(b, ','), int64(o.Code), 10)
		b = strconv.AppendInt(append(b, ','), int64(o.Attempts), 10)
		b = appendJSON(append(b, ','), visible(o.Error))
	}
	f.line = append(b, ']')
	f.rows++
	f.bytes += int64(len(f.line))
	_, err := f.zip.Write(f.line)
	return err
}

// close writes what is held back.
func (f *failedRows) close() error {
	end := "\n]"
	if f.rows == 0 {
		end = "[]"
	}
	if _, err := io.WriteString(f.zip, end); err != nil {
		return err
	}
	if err := f.zip.Close(); err != nil {
		return err
	}
	return f.text.Close()
}

// clipText bounds a text.
func clipText(s string) string {
	if len(s) <= maxPageText {
		return s
	}
	s = s[:maxPageText]
	for i := 0; i < 3 && len(s) > 0 && s[len(s)-1] >= 0x80; i++ { // not in the middle of a character
		r := s[len(s)-1]
		s = s[:len(s)-1]
		if r >= 0xc0 {
			break
		}
	}
	return s + "…"
}

// visible shows what a text has that would not be seen, or would change how what
// stands beside it is seen: control characters, marks that turn the direction of
// text around, bytes that are not UTF-8. Letters of all scripts stay as they are.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\u200c' || r == '\u200d': // a part of words, and of emoji
			return r
		case r == unicode.ReplacementChar, unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == '\u2028', r == '\u2029':
			return '·'
		}
		return r
	}, strings.ToValidUTF8(s, "·"))
}

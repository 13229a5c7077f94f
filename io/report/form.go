package report

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/csv"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"chatbatch/io/charset"
	"chatbatch/io/ledger"
)

// Reserved are the columns that a failed file has at its end, and that reading
// ignores, in this order.
const Reserved = "_line,_class,_code,_error,_attempts,_run"

// csvForm writes a row as its author wrote it, and after it the reserved
// columns. The row is never parsed: what is wrong with it stays as it was.
type csvForm struct {
	head, newLine, run string
	delimiter          string
	charset            *charset.Charset // of the reserved columns

	tail bytes.Buffer // the reserved columns of one row
	w    *csv.Writer  // to tail
}

func newCSVForm(m ledger.Meta, newLine string, cs *charset.Charset) *csvForm {
	f := &csvForm{head: m.Header, newLine: newLine, run: m.Run, delimiter: cmp.Or(m.Delimiter, ","), charset: cs}
	f.w = csv.NewWriter(&f.tail)
	f.w.Comma, _ = utf8.DecodeRuneInString(f.delimiter)
	f.w.UseCRLF = newLine == "\r\n"
	return f
}

func (f *csvForm) header(reserved bool) string {
	if reserved {
		return f.head + f.delimiter + strings.ReplaceAll(Reserved, ",", f.delimiter) + f.newLine
	}
	return f.head + f.newLine
}

func (f *csvForm) failed(dst []byte, r ledger.RowOutcome) []byte {
	message := oneLine(r.Outcome.Error)
	if f.charset.IsUTF8() && !utf8.ValidString(r.Raw) {
		message = charset.ASCII(message) // a line is in one encoding, whichever
	}
	f.tail.Reset()
	// A Buffer has no write errors, and the fields no line ends.
	_ = f.w.Write([]string{
		strconv.FormatInt(r.Line, 10), r.Outcome.Class, strconv.Itoa(r.Outcome.Code),
		message, strconv.Itoa(r.Outcome.Attempts), f.run,
	})
	f.w.Flush()
	return f.charset.Append(append(append(dst, r.Raw...), f.delimiter...), f.tail.String())
}

func (f *csvForm) unprocessed(dst []byte, r ledger.RowOutcome) []byte {
	return append(append(dst, r.Raw...), f.newLine...)
}

// wideForm writes in UTF-16 what another form has in UTF-8.
type wideForm struct {
	form
	charset *charset.Charset
	line    []byte // for reuse
}

func (f *wideForm) header(reserved bool) string {
	return string(f.charset.Append(nil, f.form.header(reserved)))
}

func (f *wideForm) failed(dst []byte, r ledger.RowOutcome) []byte {
	f.line = f.form.failed(f.line[:0], r)
	return f.charset.Append(dst, string(f.line))
}

func (f *wideForm) unprocessed(dst []byte, r ledger.RowOutcome) []byte {
	f.line = f.form.unprocessed(f.line[:0], r)
	return f.charset.Append(dst, string(f.line))
}

// jsonlForm adds the reserved keys at the end of the row's object. A line that
// is no JSON object comes as one whose _raw is that line; JSON cannot hold bytes
// that are not UTF-8, so a line with such bytes is {"base64":"…"} there.
type jsonlForm struct{ newLine, run string }

func (f *jsonlForm) header(bool) string { return "" }

func (f *jsonlForm) failed(dst []byte, r ledger.RowOutcome) []byte {
	text := strings.TrimSpace(r.Raw)
	switch {
	case !utf8.ValidString(r.Raw):
		dst = append(dst, `{"_raw":{"base64":"`...)
		dst = append(base64.StdEncoding.AppendEncode(dst, []byte(r.Raw)), `"},`...)
	case !jsontext.Value(text).IsValid() || text[0] != '{':
		dst = append(dst, `{"_raw":`...)
		dst = append(appendJSON(dst, r.Raw), ',')
	default:
		body := strings.TrimRight(text[:len(text)-1], " \t\r\n")
		dst = append(dst, body...)
		if body != "{" {
			dst = append(dst, ',')
		}
	}
	dst = append(dst, `"_line":`...)
	dst = strconv.AppendInt(dst, r.Line, 10)
	dst = appendJSON(append(dst, `,"_class":`...), r.Outcome.Class)
	dst = append(dst, `,"_code":`...)
	dst = strconv.AppendInt(dst, int64(r.Outcome.Code), 10)
	dst = appendJSON(append(dst, `,"_error":`...), oneLine(r.Outcome.Error))
	dst = append(dst, `,"_attempts":`...)
	dst = strconv.AppendInt(dst, int64(r.Outcome.Attempts), 10)
	dst = appendJSON(append(dst, `,"_run":`...), f.run)
	return append(append(dst, '}'), f.newLine...)
}

func (f *jsonlForm) unprocessed(dst []byte, r ledger.RowOutcome) []byte {
	return append(append(dst, r.Raw...), f.newLine...)
}

// appendJSON adds a JSON string.
func appendJSON(dst []byte, s string) []byte {
	// Bytes that are not UTF-8 are the only error there is.
	dst, _ = jsontext.AppendQuote(dst, strings.ToValidUTF8(s, "\ufffd"))
	return dst
}

// maxError bounds the text of an error: a row that became too long by it could not
// be fed back.
const maxError = 4 << 10

// oneLine makes a text that fits into a field on one line: line ends and other
// control characters are spaces, bytes that are not UTF-8 are U+FFFD. (A row with
// such bytes would be refused when the file is fed back.)
func oneLine(s string) string {
	if len(s) > maxError {
		s = strings.ToValidUTF8(s[:maxError], "") + "…"
	}
	s = strings.ReplaceAll(s, "\r\n", " ")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

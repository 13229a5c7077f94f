package export

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

func must(t rapid.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write makes a table in memory.
func write(t rapid.TB, f Format, o Options, rows [][]string) ([]byte, Sum) {
	t.Helper()
	var b bytes.Buffer
	w, err := New(&b, f, o)
	must(t, err)
	for _, row := range rows {
		if f.Kind == JSONL {
			must(t, w.Object([]byte(row[0])))
		} else {
			must(t, w.Cells(row))
		}
	}
	sum, err := w.Close()
	must(t, err)
	return b.Bytes(), sum
}

func unpack(t rapid.TB, data []byte, how string) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(data)
	var err error
	switch how {
	case Gzip:
		r, err = gzip.NewReader(r)
	case Zstd:
		r, err = zstd.NewReader(r)
	}
	must(t, err)
	out, err := io.ReadAll(r)
	must(t, err)
	return out
}

// parseCSV reads CSV by the letter of RFC 4180, with this line end only, and
// changes nothing in a field; encoding/csv makes "\n" of "\r\n" in one.
func parseCSV(text, newLine string) (rows [][]string, err error) {
	for len(text) > 0 {
		var row []string
		for more := true; more; {
			var field string
			if strings.HasPrefix(text, `"`) {
				if field, text, err = quoted(text); err != nil {
					return nil, err
				}
			} else {
				n := strings.IndexAny(text, ",\r\n")
				if n < 0 {
					return nil, fmt.Errorf("the last line does not end: %q", text)
				}
				field, text = text[:n], text[n:]
				if strings.Contains(field, `"`) {
					return nil, fmt.Errorf("a bare quote: %q", field)
				}
			}
			row = append(row, field)
			if text, more = strings.CutPrefix(text, ","); more {
				continue
			}
			var ended bool
			if text, ended = strings.CutPrefix(text, newLine); !ended {
				return nil, fmt.Errorf("neither comma nor line end: %q", text)
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func quoted(text string) (field, rest string, err error) {
	for i := 1; i < len(text); i++ {
		if text[i] != '"' {
			continue
		}
		if strings.HasPrefix(text[i+1:], `"`) {
			i++
			continue
		}
		return strings.ReplaceAll(text[1:i], `""`, `"`), text[i+1:], nil
	}
	return "", "", fmt.Errorf("an open quote: %q", text)
}

// A sheet as read: the cells that are there, by row and column from 0.
type sheet struct {
	XMLName xml.Name `xml:"worksheet"`
	View    struct {
		Selected string `xml:"tabSelected,attr"`
		Pane     struct {
			Split string `xml:"ySplit,attr"`
			State string `xml:"state,attr"`
		} `xml:"pane"`
	} `xml:"sheetViews>sheetView"`
	Rows []struct {
		R     int `xml:"r,attr"`
		Cells []struct {
			R    string  `xml:"r,attr"`
			T    string  `xml:"t,attr"`
			F    *string `xml:"f"`
			Text struct {
				Space string `xml:"http://www.w3.org/XML/1998/namespace space,attr"`
				Text  string `xml:",chardata"`
			} `xml:"is>t"`
		} `xml:"c"`
	} `xml:"sheetData>row"`
}

// readXLSX reads the sheets of a workbook strictly: rows and cells in order,
// all of them inline strings, none a formula.
func readXLSX(t rapid.TB, data []byte, columns int) (tables [][][]string) {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	must(t, err)
	for i := 1; ; i++ {
		f, err := z.Open(fmt.Sprintf("xl/worksheets/sheet%d.xml", i))
		if err != nil {
			return tables
		}
		var s sheet
		must(t, xml.NewDecoder(f).Decode(&s))
		if s.View.Pane.State != "frozen" || s.View.Pane.Split != "1" {
			t.Fatalf("sheet %d: the header is not frozen: %+v", i, s.View)
		}
		if (s.View.Selected != "") != (i == 1) {
			t.Fatalf("sheet %d: selected %q: sheets selected together are edited together", i, s.View.Selected)
		}
		var rows [][]string
		for k, row := range s.Rows {
			if row.R != k+1 {
				t.Fatalf("sheet %d: row %d at place %d", i, row.R, k)
			}
			cells := make([]string, columns)
			for _, c := range row.Cells {
				at := columnOf(t, c.R, row.R)
				if c.T != "inlineStr" || c.F != nil {
					t.Fatalf("cell %s: type %q, formula %v", c.R, c.T, c.F)
				}
				cells[at] = unescape(c.Text.Text)
				if trimmed := strings.Trim(c.Text.Text, " \t\r\n"); trimmed != c.Text.Text && c.Text.Space != "preserve" {
					t.Fatalf("cell %s: %q would lose its blanks", c.R, c.Text.Text)
				}
			}
			rows = append(rows, cells)
		}
		tables = append(tables, rows)
	}
}

func columnOf(t rapid.TB, ref string, row int) (n int) {
	letters, ok := strings.CutSuffix(ref, strconv.Itoa(row))
	if !ok {
		t.Fatalf("cell %s in row %d", ref, row)
	}
	for _, c := range letters {
		n = 26*n + int(c-'A') + 1
	}
	return n - 1
}

var escapes = regexp.MustCompile(`_x[0-9A-Fa-f]{4}_`)

// unescape reads a string as Excel does: from left to right, each _xHHHH_ once.
func unescape(s string) string {
	return escapes.ReplaceAllStringFunc(s, func(e string) string {
		n, _ := strconv.ParseUint(e[2:6], 16, 16)
		return string(utf16.Decode([]uint16{uint16(n)}))
	})
}

// hostile are texts that something on the way might spoil.
func hostile() []string {
	return []string{
		"", " ", "  both  ", "\t", "a,b", `"`, `""`, `say "hi"`, "'", "one\ntwo", "one\r\ntwo", "one\rtwo", "\n", "\r", "\r\n", "\n\r\n\r",
		"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=cmd|' /C calc'!A0", "'=1", "00123", "1.38E+10", "144115265295492787", "TRUE", "#N/A", "2026-01-02",
		"学生 👩‍🎓", "\u202eabc", "\u2028", "\ufeffbom", "\ufffe\uffff", "\x00", "a\x00b", "\x01\x08\x0b\x0c\x1f\x7f\u0085", "\xff\xfe", "half\xe5\xad",
		"_x0041_", "_x0041_x0042_", "_xD800_", "_x005F_x0041_", "_x000D_", "_X0041_", "_x00zz_", "__x0041__", "_x004a\x00b", "_x0041\uffff", "_x004", "&amp;<b>]]>&#13;", `\.`, "#c", "\u3000wide\u3000",
		"@TGS#1ABC", "null", `{"a":1}`, strings.Repeat("长", maxCellChars),
	}
}

// cells draws hostile cells, and mixtures of them.
func cells(t *rapid.T, columns int) []string {
	texts := hostile()
	texts = texts[:len(texts)-1] // not the long one
	row := make([]string, columns)
	for i := range row {
		switch rapid.IntRange(0, 3).Draw(t, "how") {
		case 0:
			row[i] = rapid.SampledFrom(texts).Draw(t, "text")
		case 1:
			row[i] = rapid.SampledFrom(texts).Draw(t, "text") + rapid.SampledFrom(texts).Draw(t, "text")
		case 2:
			row[i] = rapid.StringMatching(`[_x0D8",\r\n ='A-F]{0,12}`).Draw(t, "text")
		default:
			row[i] = string(rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "bytes"))
		}
	}
	return row
}

func columnNames(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint("c", i))
	}
	return names
}

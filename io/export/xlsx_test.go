package export

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"
	"pgregory.net/rapid"
)

// asXLSX is what becomes of a text in a workbook.
func asXLSX(rows [][]string) (out [][]string) {
	for _, row := range rows {
		var line []string
		for _, cell := range row {
			line = append(line, string([]rune(cell))) // U+FFFD for each byte that is no UTF-8
		}
		out = append(out, line)
	}
	return out
}

func TestXLSXRoundTrip(t *testing.T) {
	check := func(t rapid.TB, columns []string, rows [][]string) {
		t.Helper()
		data, sum := write(t, Format{Kind: XLSX}, Options{Columns: columns}, rows)
		got := readXLSX(t, data, len(columns))
		want := asXLSX(append([][]string{columns}, rows...))
		if diff := cmp.Diff([][][]string{want}, got); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
		if sum.Rows != int64(len(rows)) {
			t.Fatalf("got %d rows, want %d", sum.Rows, len(rows))
		}
	}
	check(t, []string{"only a header"}, nil)
	var rows [][]string
	for _, text := range hostile() {
		rows = append(rows, []string{text, ""}, []string{"", text}, []string{"", ""})
	}
	check(t, []string{"a", "b"}, rows)
	check(t, hostile(), [][]string{hostile()})
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "columns")
		var rows [][]string
		for range rapid.IntRange(0, 3).Draw(t, "rows") {
			rows = append(rows, cells(t, n))
		}
		check(t, cells(t, n), rows)
	})
}

func TestXLSXControlCharacters(t *testing.T) {
	for text, want := range map[string]string{
		"a\x00b": "a_x0000_b", "\x0b": "_x000B_", "\uffff": "_xFFFF_", "_x0041_": "_x005F_x0041_", "_x0041_x0042_": "_x005F_x0041_x005F_x0042_",
		"\xff": "\ufffd", "\t\n": "\t\n", "\r": "&#13;", "\x7f": "\x7f", "_x41_": "_x41_",
		"_x004a\x00b": "_x005F_x004a_x0000_b", "_x0041\uffff": "_x005F_x0041_xFFFF_", "_x0041\r": "_x0041&#13;",
	} {
		if got := string(appendText(nil, text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// Somebody else's reader finds the same, and the sheets under their names.
func TestXLSXByExcelize(t *testing.T) {
	texts := hostile()
	var rows [][]string
	for i, text := range texts[:len(texts)-1] {
		if text != "_xD800_" { // excelize reads half a character as nothing, and escapes of it too
			rows = append(rows, []string{fmt.Sprint(i), text, "end"})
		}
	}
	data, _ := writeLimited(t, []string{"n", "text", "end"}, rows, sheetLimits{rows: 11, bytes: 1 << 30})
	f, err := excelize.OpenReader(bytes.NewReader(data))
	must(t, err)
	defer f.Close()
	var got [][]string
	for i, name := range f.GetSheetList() {
		if want := fmt.Sprint("Sheet", i+1); name != want {
			t.Errorf("got sheet %s, want %s", name, want)
		}
		part, err := f.GetRows(name, excelize.Options{RawCellValue: true})
		must(t, err)
		if diff := cmp.Diff([]string{"n", "text", "end"}, part[0]); diff != "" {
			t.Errorf("header of %s: %s", name, diff)
		}
		got = append(got, part[1:]...)
		for _, cell := range []string{"A1", "B3"} {
			kind, err := f.GetCellType(name, cell)
			style, err2 := f.GetCellStyle(name, cell)
			must(t, errors.Join(err, err2))
			s, err := f.GetStyle(style)
			if err != nil || kind != excelize.CellTypeInlineString || s.NumFmt != textFormat || (s.Font != nil && s.Font.Bold) != (cell == "A1") {
				t.Errorf("%s!%s: got type %v, style %+v, %v", name, cell, kind, s, err)
			}
		}
	}
	if diff := cmp.Diff(asXLSX(rows), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// writeLimited writes a workbook whose sheets are full sooner.
func writeLimited(t testing.TB, columns []string, rows [][]string, limits sheetLimits) ([]byte, Sum) {
	t.Helper()
	var b bytes.Buffer
	w, err := New(&b, Format{Kind: XLSX}, Options{Columns: columns})
	must(t, err)
	w.table.(*workbook).limits = limits
	for _, row := range rows {
		must(t, w.Cells(row))
	}
	sum, err := w.Close()
	must(t, err)
	return b.Bytes(), sum
}

func TestXLSXSheets(t *testing.T) {
	row := func(i int) []string { return []string{fmt.Sprint(i), strings.Repeat("x", 100)} }
	for _, tt := range []struct {
		limits sheetLimits
		rows   int
		want   []int // rows of each sheet, without its header
	}{
		{sheetLimits{4, 1 << 20}, 0, []int{0}},
		{sheetLimits{4, 1 << 20}, 3, []int{3}},
		{sheetLimits{4, 1 << 20}, 4, []int{3, 1}},
		{sheetLimits{4, 1 << 20}, 9, []int{3, 3, 3}},
		{sheetLimits{2, 1 << 20}, 4, []int{1, 1, 1, 1}},
		{sheetLimits{1000, 600}, 7, []int{3, 3, 1}},
	} {
		var rows [][]string
		for i := range tt.rows {
			rows = append(rows, row(i))
		}
		data, sum := writeLimited(t, []string{"n", "x"}, rows, tt.limits)
		var got []int
		var all [][]string
		for _, s := range readXLSX(t, data, 2) {
			if diff := cmp.Diff([]string{"n", "x"}, s[0]); diff != "" {
				t.Errorf("%+v: header: %s", tt, diff)
			}
			got, all = append(got, len(s)-1), append(all, s[1:]...)
		}
		if diff := cmp.Diff(tt.want, got) + cmp.Diff(rows, all); diff != "" || sum.Rows != int64(tt.rows) {
			t.Errorf("%+v: %d rows by sum: %s", tt, sum.Rows, diff)
		}
	}
}

func TestXLSXLimits(t *testing.T) {
	fits := strings.Repeat("x", maxCellChars-2) + "👩" // two in UTF-16
	w, err := New(io.Discard, Format{Kind: XLSX}, Options{Columns: []string{"a", "name_card"}})
	must(t, err)
	must(t, w.Cells([]string{"", fits}))
	want := &RowError{Row: 2, Column: "name_card"}
	for _, long := range []string{fits + "x", strings.Repeat("长", maxCellChars+1), strings.Repeat("👩", maxCellChars/2+1)} {
		err := w.Cells([]string{"a", long})
		got, ok := errors.AsType[*RowError](err)
		if !ok || got.Row != want.Row || got.Column != want.Column {
			t.Errorf("%d bytes: got %v, want one of row 2, column name_card", len(long), err)
		}
		if err != nil && strings.Contains(err.Error(), long[:9]) {
			t.Error("people's data in an error")
		}
	}
	must(t, w.Cells([]string{"a", "b"})) // goes on
	sum, err := w.Close()
	if err != nil || sum.Rows != 2 {
		t.Errorf("got %+v, %v, want 2 rows", sum, err)
	}
	for _, columns := range [][]string{nil, {}, make([]string, maxColumns+1), {fits + "x"}} {
		if _, err := New(io.Discard, Format{Kind: XLSX}, Options{Columns: columns}); err == nil {
			t.Errorf("%d columns: no error", len(columns))
		}
	}
	if _, err := New(io.Discard, Format{Kind: XLSX}, Options{Columns: make([]string, maxColumns)}); err != nil {
		t.Error(err)
	}
}

// The frame comes from excelize: what we rely on is there.
func TestFrame(t *testing.T) {
	f, err := newFrame(3)
	must(t, err)
	for i := 1; i <= 2; i++ {
		head, tail, err := f.sheet(i)
		must(t, err)
		if bytes.Contains(head, []byte("<dimension")) || string(tail) != "</sheetData></worksheet>" {
			t.Errorf("sheet %d: got %s…%s", i, head, tail)
		}
	}
	want := []string{"[Content_Types].xml", "_rels/.rels", "docProps/app.xml", "docProps/core.xml", "xl/_rels/workbook.xml.rels", "xl/styles.xml", "xl/theme/theme1.xml", "xl/workbook.xml"}
	if diff := cmp.Diff(want, f.others()); diff != "" {
		t.Error(diff)
	}
}

// No part has a time, or what came with the file system.
func TestXLSXHasNoTimes(t *testing.T) {
	data, _ := write(t, Format{Kind: XLSX}, Options{Columns: []string{"a"}}, [][]string{{"b"}})
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	must(t, err)
	for _, f := range z.File {
		if f.ModifiedDate != 0 || f.ModifiedTime != 0 || len(f.Extra) != 0 {
			t.Errorf("%s: time %v, extra %x", f.Name, f.Modified, f.Extra)
		}
	}
}

func TestXLSXRagged(t *testing.T) {
	rows := [][]string{{"1", "2"}, {"1", "2", "", "4"}, {"5", "6"}}
	data, _ := write(t, Format{Kind: XLSX}, Options{Columns: []string{"a", "b"}, Ragged: true}, rows)
	want := [][]string{{"a", "b", "", ""}, {"1", "2", "", ""}, {"1", "2", "", "4"}, {"5", "6", "", ""}}
	if diff := cmp.Diff([][][]string{want}, readXLSX(t, data, 4)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	w, err := New(io.Discard, Format{Kind: XLSX}, Options{Columns: []string{"a", "b"}, Ragged: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, cells := range [][]string{{"1"}, make([]string, maxColumns+1)} {
		var refused *RowError
		if err := w.Cells(cells); !errors.As(err, &refused) {
			t.Errorf("%d cells: got %v, want a RowError", len(cells), err)
		}
	}
}

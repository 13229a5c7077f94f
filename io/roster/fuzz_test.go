package roster

import (
	"bytes"
	"encoding/csv"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// plainRow takes any text, so that it can be compared with encoding/csv.
type plainRow struct {
	A string `csv:"a"`
	B string `csv:"b"`
}

const plainHeader = "a,b\n"

// utf8Said says what is otherwise judged by all lines together.
var utf8Said = Options{Encoding: "utf-8"}

// lines counts the lines of a text that are not blank.
func lines(data []byte) (n int) {
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		if !isBlank(line) {
			n++
		}
	}
	return n
}

func FuzzCSV(f *testing.F) {
	for _, seed := range []string{"", "1,2\n3,4", "\"1\",\"2\"\r\n", "1\n\n2,3,4\n", "\"a\nb\",2\n", "a\"b,1\r\r\n", "\x00,\xff\n", "\ufeff1,2", "1,2,5,bad_row,0,\"x\"\"\",1,r\n"} {
		f.Add([]byte(seed), uint8(0))
		f.Add([]byte(seed), uint8(7))
	}
	f.Fuzz(func(t *testing.T, data []byte, at uint8) {
		anyHeader(t, data, Options{Format: CSV})
		rows := readAll[plainRow](t, plainHeader+string(data), utf8Said)
		checkRows(t, plainHeader, data, rows)
		checkOracle(t, data, rows)

		// Two files, one behind the other, have the rows of both.
		cut := min(int(at), len(data))
		rest := append(readAll[plainRow](t, plainHeader+string(data[:cut])+"\n", utf8Said), readAll[plainRow](t, plainHeader+string(data[cut:]), utf8Said)...)
		all := readAll[plainRow](t, plainHeader+string(data[:cut])+"\n"+string(data[cut:]), utf8Said)
		if diff := cmp.Diff(raws(rest), raws(all)); diff != "" {
			t.Errorf("rows of the parts and of the whole differ:\n%s", diff)
		}
		// And the reserved columns come off again.
		text := failedCSV(Source{Header: "a,b", NewLine: "\n"}, raws(rows), func(int) failure { return failure{message: `"`, class: "x"} })
		if diff := cmp.Diff(raws(rows), raws(readAll[plainRow](t, text, utf8Said))); diff != "" {
			t.Errorf("rows fed back differ:\n%s", diff)
		}
	})
}

// anyHeader reads a file of which nothing is known.
func anyHeader(t *testing.T, data []byte, o Options) {
	r, err := Open[mark](bytes.NewReader(data), o)
	if err != nil {
		_, header := errors.AsType[*HeaderError](err)
		if _, pack := errors.AsType[*PackError](err); !header && !pack {
			t.Errorf("got %v, want a HeaderError, a PackError or none", err)
		}
		return
	}
	for _, err := range r.Rows() {
		_, pack := errors.AsType[*PackError](err)
		if _, encoding := errors.AsType[*EncodingError](err); err != nil && !pack && !encoding {
			t.Errorf("rows: %v", err)
		}
	}
}

// checkRows holds that each line that is not blank is one row, as written.
func checkRows(t *testing.T, head string, data []byte, rows []Row[plainRow]) {
	t.Helper()
	if n := lines(data); n != len(rows) {
		t.Fatalf("got %d rows, want %d, one a line", len(rows), n)
	}
	text := strings.Split(head+string(data), "\n")
	for i, row := range rows {
		if want := strings.TrimSuffix(text[row.Line-1], "\r"); row.Raw != want || row.Num != int64(i) {
			t.Errorf("row %d: got Num %d, Raw %q, want %q of line %d", i, row.Num, row.Raw, want, row.Line)
		}
		if row.Err != nil && (row.Value != plainRow{} || row.Err.Error() == "" || strings.ContainsAny(row.Err.Error(), "\n\r\x00")) {
			t.Errorf("row %d: got value %+v, error %q", i, row.Value, row.Err)
		}
	}
}

// checkOracle compares with encoding/csv, line by line and as a whole.
func checkOracle(t *testing.T, data []byte, rows []Row[plainRow]) {
	t.Helper()
	var values []plainRow
	bad := false
	for _, row := range rows {
		oracle := csv.NewReader(strings.NewReader(row.Raw))
		want, err := oracle.Read()
		refused := strings.ContainsAny(row.Raw, "\x00\r") || !utf8.ValidString(row.Raw)
		switch sound := err == nil && len(want) == 2 && !refused; {
		case sound != (row.Err == nil):
			t.Errorf("%q: got error %v, encoding/csv says %q, %v", row.Raw, row.Err, want, err)
		case !sound:
			bad = true
		case row.Value != plainRow{want[0], want[1]}:
			t.Errorf("%q: got %+v, encoding/csv says %q", row.Raw, row.Value, want)
		}
		values = append(values, row.Value)
	}
	if bad {
		return
	}
	oracle := csv.NewReader(bytes.NewReader(data))
	oracle.FieldsPerRecord = -1
	all, err := oracle.ReadAll()
	if err != nil {
		t.Fatalf("encoding/csv refuses a file of good rows: %v", err)
	}
	var want []plainRow
	for _, record := range all {
		if len(record) == 2 { // blanks alone are a record there
			want = append(want, plainRow{record[0], record[1]})
		}
	}
	if diff := cmp.Diff(want, values); diff != "" {
		t.Errorf("file (-encoding/csv +got):\n%s", diff)
	}
}

func FuzzJSONL(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"a":"1","b":"2"}` + "\n\n" + `{"a":1}`, `{"a":"1","b":"2","_line":5}`, `{"_raw":"{\"a\":"}`, `{"_line":1,"a":"1" , "b":"2","_run":"r"}`, "null\r\n[]", `{"a":"\ud800"}`, "{\"a\":\"\xff\",\"_line\":1}", `{"a":"1","A":"2"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o := Options{Format: JSONL}
		anyHeader(t, data, o)
		if checkMagic(data) != nil || bytes.HasPrefix(data, []byte(byteOrderMark)) {
			return
		}
		if i := bytes.IndexByte(data, '\n'); i >= 0 && checkMagic(bytes.TrimLeft(data, " \t\r\n")) != nil {
			return
		}
		if len(data) == 0 || checkMagic(bytes.TrimLeft(data, " \t\r\n")) != nil {
			return
		}
		r, err := Open[plainRow](bytes.NewReader(data), o)
		if err != nil {
			return // a first line such as "\n\x1f\x8b"
		}
		var rows []Row[plainRow]
		for row, err := range r.Rows() {
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, row)
		}
		if n := lines(data); n != len(rows) {
			t.Fatalf("got %d rows, want %d, one a line", len(rows), n)
		}
		for _, row := range rows {
			if row.Err != nil && (row.Value != plainRow{} || row.Err.Error() == "" || strings.ContainsAny(row.Err.Error(), "\n")) {
				t.Errorf("%q: got value %+v, error %q", row.Raw, row.Value, row.Err)
			}
		}
		// Fed back, the rows are the same.
		text := failedJSONL(r.Source(), raws(rows), func(int) failure { return failure{message: `"`} })
		if diff := cmp.Diff(raws(rows), raws(readAll[plainRow](t, text, o))); diff != "" {
			t.Errorf("rows fed back differ:\n%s", diff)
		}
	})
}

package roster

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestCSVRows(t *testing.T) {
	const unclosed = "a quoted field is not closed on its line: a field cannot run over several lines"
	maybe := func(line int) string {
		return fmt.Sprintf(" (the quoted field left open on line %d may go on here: a field cannot run over several lines)", line)
	}
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"plain", header + "g1,ann,1000\ng1,bob,1001\n", []string{"2 g1/ann [1000]", "3 g1/bob [1001]"}},
		{"header alone", header, nil},
		{"header without newline", "group_id,account,marks", nil},
		{"last line without newline", header + "g1,ann,1000", []string{"2 g1/ann [1000]"}},
		{"last line with half a newline", header + "g1,ann,1000\r", []string{"2 g1/ann [1000]"}},
		{"CRLF", "group_id,account,marks\r\ng1,ann,1000\r\ng1,bob,1001\r\n", []string{"2 g1/ann [1000]", "3 g1/bob [1001]"}},
		{"mixed line ends", header + "g1,ann,1000\r\ng1,bob,1001\n", []string{"2 g1/ann [1000]", "3 g1/bob [1001]"}},
		{"blank lines", "\n\n" + header + "\n \t\r\ng1,ann,1000\n\r\n\ng1,bob,1001\n\n", []string{"6 g1/ann [1000]", "9 g1/bob [1001]"}},
		{"BOM", "\ufeff" + header + "g1,ann,1000\n", []string{"2 g1/ann [1000]"}},
		{"two BOMs", "\ufeff\ufeff" + header + "g1,ann,1000\n", []string{"2 g1/ann [1000]"}},
		{"BOM and quoted header", "\ufeff\"group_id\",\"account\",\"marks\"\ng1,ann,1000\n", []string{"2 g1/ann [1000]"}},
		{"two BOMs and quoted header", "\ufeff\ufeff\"group_id\",account,marks\ng1,ann,1000\n", []string{"2 g1/ann [1000]"}},
		{"BOM on a line of its own", "\ufeff\n" + header + "g1,ann,1000\n", []string{"3 g1/ann [1000]"}},
		{"quoted", header + `"g,1","a ""b""","1000,1001"`, []string{`2 g,1/a "b" [1000 1001]`}},
		{"order and unknown columns", "marks,name,account,,group_id\n1000,Ann,ann,x,g1\n", []string{"2 g1/ann [1000]"}},
		{"not a comment", header + "#g,ann,1000\n@TGS#1,#ann,1000\n", []string{"2 #g/ann [1000]", "3 @TGS#1/#ann [1000]"}},
		{"IDs are text", header + "007,00123,1000\ng/1, a b ,1000\ng,\u3000ann\u00a0,1000\n", []string{"2 007/00123 [1000]", "3 g/1/a b [1000]", "4 g/ann [1000]"}},
		{"scientific", header + "g,1.38E+10,1000\ng,1E+15,1000\ng,1e5,1000\n", []string{
			`2 ! column account: "1.38E+10" is a number as a spreadsheet shows it, its digits are lost: make the column text and fill it in again`,
			`3 ! column account: "1E+15" is a number as a spreadsheet shows it, its digits are lost: make the column text and fill it in again`,
			"4 g/1e5 [1000]"}},
		{"errors of formulas", header + "g,#N/A,1000\n#REF!,ann,1000\ng,#1,1000\n", []string{
			`2 ! column account: "#N/A" is an error of a formula`, `3 ! column group_id: "#REF!" is an error of a formula`, "4 g/#1 [1000]"}},
		{"scientific without a sign", header + "g,1.38E10,1000\ng,1.38E5,1000\ng,1E15,1000\ng,v1.38E10,1000\n", []string{
			`2 ! column account: "1.38E10" is a number as a spreadsheet shows it, its digits are lost: make the column text and fill it in again`,
			"3 g/1.38E5 [1000]", "4 g/1E15 [1000]", "5 g/v1.38E10 [1000]"}},
		{"bad values cost one row", header + "g,ann,010\ng,bob,3.9\n,cid,1000\ng, ,1000\ng,dan,1000\n", []string{
			`2 ! column marks: "010" is not a mark: leading zero`,
			`3 ! column marks: "3.9" is not a mark: it has a decimal point`,
			"4 ! column group_id: is empty",
			"5 ! column account: is empty",
			"6 g/dan [1000]"}},
		{"ragged", header + "g,ann\ng,ann,1000,x\n,,\ng,bob,1000\n", []string{
			"2 ! wrong number of fields: 2, the header has 3",
			"3 ! wrong number of fields: 4, the header has 3",
			"4 ! column group_id: is empty",
			"5 g/bob [1000]"}},
		{"stray opening quote", header + "g,\"ann,1000\ng,bob,1000\n", []string{"2 ! " + unclosed, "3 g/bob [1000]"}},
		{"quote inside", header + "g,a\"b,1000\ng,\"a\"b,1000\ng,bob,1000\n", []string{
			"2 ! a quote inside a field that does not begin with one, at byte 4",
			"3 ! text behind a quoted field, at byte 5: a quote inside a field is doubled",
			"4 g/bob [1000]"}},
		{"several lines", header + "g,\"ann\nof\nhouse\",1000\ng,bob,1000\n", []string{
			"2 ! " + unclosed,
			"3 ! wrong number of fields: 1, the header has 3" + maybe(2),
			"4 ! a quote inside a field that does not begin with one, at byte 6" + maybe(2),
			"5 g/bob [1000]"}},
		{"an open quote is forgotten", header + "g,\"ann\ng,bob,1000\ng,cid\n", []string{
			"2 ! " + unclosed,
			"3 g/bob [1000]",
			"4 ! wrong number of fields: 2, the header has 3"}},
		{"NUL", header + "g,a\x00b,1000\ng,bob,1000\n", []string{"2 ! the line holds a NUL byte", "3 g/bob [1000]"}},
		{"not UTF-8", header + "g,\xd5\xc5,1000\ng,bob,1000\n", []string{"2 ! column account: the line is not UTF-8, and this is not ASCII: say how the file is written with --encoding, e.g. --encoding gb18030", "3 g/bob [1000]"}},
		{"lines that end with CR", header + "g,a,1000\rg,b,1000\n", []string{"2 ! the line holds a carriage return that is not at its end"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rows := readAll[mark](t, tt.text, Options{})
			if diff := cmp.Diff(tt.want, showAll(rows)); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			for i, row := range rows {
				if row.Num != int64(i) {
					t.Errorf("row %d: got Num %d", i, row.Num)
				}
				if line := strings.Split(tt.text, "\n")[row.Line-1]; row.Raw != strings.TrimSuffix(line, "\r") {
					t.Errorf("row %d: got Raw %q, want line %d as written, %q", i, row.Raw, row.Line, line)
				}
				if row.Err != nil && !cmp.Equal(row.Value, mark{}) {
					t.Errorf("row %d: got value %v beside an error, want none", i, row.Value)
				}
			}
		})
	}
}

// One bad character must not swallow the file: encoding/csv alone lost all of
// these rows, with LazyQuotes even without an error.
func TestStrayQuoteCostsOneRow(t *testing.T) {
	rows := readAll[mark](t, header+"g,\"x,1000\n"+strings.Repeat("g,ann,1000\n", 1001)+"g,y\",1000\n", Options{})
	bad := 0
	for _, row := range rows {
		if row.Err != nil {
			bad++
		}
	}
	if len(rows) != 1003 || bad != 2 {
		t.Errorf("got %d rows, %d of them bad, want 1003 and 2", len(rows), bad)
	}
}

func TestSource(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       Source
	}{
		{"LF", header, Source{Format: CSV, Header: "group_id,account,marks", NewLine: "\n"}},
		{"CRLF and blanks", "\nname, Account ,\"marks\",group_id\r\n", Source{Format: CSV, Header: "name, Account ,\"marks\",group_id", NewLine: "\r\n"}},
		{"BOM", "\ufeffgroup_id,account,marks", Source{Format: CSV, Header: "\ufeffgroup_id,account,marks", NewLine: "\n"}},
		{"BOM above", "\ufeff\r\n" + header, Source{Format: CSV, Header: "\ufeffgroup_id,account,marks", NewLine: "\n"}},
		{"reserved at the end", "group_id,account,marks," + reservedHeader + "\n", Source{Format: CSV, Header: "group_id,account,marks", NewLine: "\n"}},
		{"reserved in front", "\ufeff" + reservedHeader + ",group_id,\"account\",marks\n", Source{Format: CSV, Header: "\ufeffgroup_id,\"account\",marks", NewLine: "\n"}},
		{"reserved here and there", "_run,group_id,_line, account,_code,marks\n", Source{Format: CSV, Header: "group_id, account,marks", NewLine: "\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, mustOpen[mark](t, tt.text, Options{}).Source()); diff != "" {
				t.Errorf("source (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLongLine(t *testing.T) {
	const limit = 100
	fit := "g,ann,1000" + strings.Repeat(" ", limit-1-len("g,ann,1000"))
	long := fit + " "
	for _, tt := range []struct {
		name, line, raw string
		bad             bool
	}{
		{"fits", fit, fit, false},
		{"one too many", long, long, true},
		{"longer than is kept", fit + strings.Repeat("x", 500), fit + "x", true},
		{"longer than the buffer", fit + strings.Repeat("x", 3*bufferSize), fit + "x", true},
		{"one buffer with its end", fit + strings.Repeat("x", bufferSize-len(fit)-1), fit + "x", true},
		{"one buffer without its end", fit + strings.Repeat("x", bufferSize-len(fit)), fit + "x", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, end := range []string{"\n", "\r\n"} {
				text := header + tt.line + end + "g,bob,1000" + end
				rows := readAll[mark](t, text, Options{MaxLine: limit})
				if len(rows) != 2 || rows[0].Raw != tt.raw || (rows[0].Err != nil) != tt.bad {
					t.Fatalf("got %d rows, first %.150q, %v", len(rows), rows[0].Raw, rows[0].Err)
				}
				if want := "3 g/bob [1000]"; show(rows[1]) != want {
					t.Errorf("got %v behind it, want %v", show(rows[1]), want)
				}
				if want := "the line has 100 bytes or more: only its first 100 are kept"; tt.bad && rows[0].Err.Error() != want {
					t.Errorf("got %v, want %v", rows[0].Err, want)
				}
			}
		})
	}
	if rows := readAll[mark](t, header+strings.Repeat(" ", 3*bufferSize)+"\ng,bob,1000\n", Options{}); len(rows) != 1 {
		t.Errorf("a long line of blanks: got %d rows, want 1", len(rows))
	}
	for n := 4090; n < 4100; n++ { // csv.Reader's buffer has 4096
		line := "g,ann" + strings.Repeat(" ", n-len("g,ann,1000")) + ",1000"
		rows := readAll[mark](t, header+line+"\n"+line+"\ng,\""+line+"\n", Options{})
		if len(rows) != 3 || show(rows[0]) != "2 g/ann [1000]" || show(rows[1]) != "3 g/ann [1000]" || rows[2].Err != errUnclosed {
			t.Errorf("lines of %d bytes: got %.200v", n, showAll(rows))
		}
	}
	rows := readAll[mark](t, header+"g,\"ann\",1000,"+strings.Repeat("x", 60<<10)+"\ng,bob,1000\n", Options{})
	if got := show(rows[0]); got != "2 ! wrong number of fields: 4, the header has 3" {
		t.Errorf("a line longer than csv.Reader's buffer: got %v", got)
	}
}

// xs is a reader of n times x.
type xs struct{ n int64 }

func (x *xs) Read(p []byte) (int, error) {
	if x.n == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), x.n)
	for i := range p[:n] {
		p[i] = 'x'
	}
	x.n -= n
	return int(n), nil
}

func TestHugeLineInBoundedMemory(t *testing.T) {
	for _, tt := range []struct {
		o     Options
		first string
		limit uint64
	}{
		{Options{Format: CSV}, header, 2 << 20},
		{Options{Format: JSONL}, "", 48 << 20}, // 6 MiB kept, with the steps of its growth
	} {
		t.Run(string(tt.o.Format), func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err := Open[mark](io.MultiReader(strings.NewReader(tt.first), &xs{64 << 20}, strings.NewReader("\ng,ann,1000\n")), tt.o)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for row, err := range r.Rows() {
				if n++; err != nil || (n == 1 && !errors.As(row.Err, new(errTooLong))) {
					t.Errorf("got %v, %v", row.Err, err)
				}
			}
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; n != 2 || got > tt.limit {
				t.Errorf("got %d rows and %d bytes allocated, want 2 rows and at most %d bytes", n, got, tt.limit)
			}
		})
	}
}

func TestReadError(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, format := range []Format{CSV, JSONL} {
		text := header + "g,ann,1000\ng,bob,10"
		if format == JSONL {
			text = `{"group_id":"g","account":"ann","marks":1}` + "\n" + `{"group_id":"g"`
		}
		r, err := Open[mark](io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)), Options{Format: format})
		if err != nil {
			t.Fatal(err)
		}
		var rows int
		var last error
		for row, err := range r.Rows() {
			if last != nil {
				t.Errorf("%s: an item follows the error", format)
			}
			if last = err; err == nil {
				rows++
			} else if !cmp.Equal(row, Row[mark]{}) {
				t.Errorf("%s: got row %v beside the error", format, row)
			}
		}
		// Half of a line could be another, valid one: 10 of 1000.
		if rows != 1 || !errors.Is(last, broken) {
			t.Errorf("%s: got %d rows and error %v, want 1 and %v", format, rows, last, broken)
		}
		if _, err := Open[mark](iotest.ErrReader(broken), Options{Format: format}); !errors.Is(err, broken) {
			t.Errorf("%s: open: got %v, want %v", format, err, broken)
		}
	}
	long := io.MultiReader(strings.NewReader(header), &xs{1 << 20}, iotest.ErrReader(broken))
	r, err := Open[mark](long, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range r.Rows() {
		if !errors.Is(err, broken) {
			t.Errorf("inside a long line: got %v, want %v", err, broken)
		}
	}
}

// counter counts the bytes that are read through it.
type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// gocsv's own ways to stream leak a goroutine when the consumer stops early, or
// read the whole rest of the file first.
func TestBreakOff(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	c := &counter{r: strings.NewReader(header + strings.Repeat("g,ann,1000\n", 1<<20))}
	for range 10 {
		r, err := Open[mark](io.MultiReader(strings.NewReader(header), c), Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range r.Rows() {
			break
		}
	}
	if got := runtime.NumGoroutine(); got > goroutines {
		t.Errorf("got %d goroutines, want %d as before", got, goroutines)
	}
	if most := 10 * bufferSize; c.n > most {
		t.Errorf("read %d bytes for ten rows, want at most %d", c.n, most)
	}
}

func TestRowsGoesOn(t *testing.T) {
	r := mustOpen[mark](t, header+"g,ann,1000\ng,bob,1000\n", Options{})
	for row := range r.Rows() {
		if row.Num != 0 {
			t.Errorf("got row %d first, want 0", row.Num)
		}
		break
	}
	for row := range r.Rows() {
		if got, want := show(row), "3 g/bob [1000]"; got != want || row.Num != 1 {
			t.Errorf("got %v, Num %d, want %v, 1", got, row.Num, want)
		}
	}
}

// Reads come in pieces of any size, down to a byte.
func TestSmallReads(t *testing.T) {
	text := "\ufeff" + header + "g,ann,1000\r\n\ng,\"b\",1001"
	r, err := Open[mark](iotest.OneByteReader(strings.NewReader(text)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for row := range r.Rows() {
		got = append(got, show(row))
	}
	if diff := cmp.Diff([]string{"2 g/ann [1000]", "4 g/b [1001]"}, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// Readers with different headers must not see each other's names: gocsv's own
// normalizer is one for the whole program, and racy.
func TestReadersAreIndependent(t *testing.T) {
	t.Run("group", func(t *testing.T) {
		for i := range 8 {
			t.Run("reader", func(t *testing.T) {
				t.Parallel()
				column := fmt.Sprintf("c%d", rand.Uint32())
				rows := readAll[mark](t, column+",marks,群组\nann,1000,g\n", Options{Map: map[string]string{column: "account"}})
				if got, want := showAll(rows), []string{"2 g/ann [1000]"}; !cmp.Equal(got, want) {
					t.Errorf("reader %d: got %v, want %v", i, got, want)
				}
			})
		}
	})
}

func TestFieldError(t *testing.T) {
	rows := readAll[mark](t, "群组,账号,marks\ng, ,1000\n", Options{})
	fe, ok := errors.AsType[*FieldError](rows[0].Err)
	if !ok || fe.Field != "account" || fe.Column != "账号" || !errors.Is(rows[0].Err, errEmpty) {
		t.Fatalf("got %#v", rows[0].Err)
	}
	if got, want := fe.Error(), "column 账号 (account): is empty"; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	rows = readAll[mark](t, header+"g,ann,"+strings.Repeat("x", 1000)+"\n", Options{})
	if n := len(rows[0].Err.Error()); n > 200 {
		t.Errorf("a message quotes too much of the row: %d bytes", n)
	}
}

// The files of testdata/rosters are read as they stand.
func TestRosterFiles(t *testing.T) {
	for _, tt := range []struct {
		file      string
		good, bad int
	}{
		{"class.csv", 6, 0},
		{"class-zh.csv", 4, 0},
		{"class-crlf-bom.csv", 3, 0},
		{"class.jsonl", 5, 0},
		{"bad.csv", 3, 9},
		{"bad.jsonl", 2, 10},
		{"failed.csv", 2, 2},
		{"failed.jsonl", 2, 1},
	} {
		t.Run(tt.file, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "rosters", tt.file))
			if err != nil {
				t.Fatal(err)
			}
			good, bad := 0, 0
			for _, row := range readAll[mark](t, string(b), Options{Format: FormatOf(tt.file)}) {
				if row.Err != nil {
					bad++
				} else {
					good++
				}
				if strings.Contains(row.Raw, "20261122T") {
					t.Errorf("line %d: reserved values are still there: %s", row.Line, row.Raw)
				}
			}
			if good != tt.good || bad != tt.bad {
				t.Errorf("got %d good and %d bad rows, want %d and %d", good, bad, tt.good, tt.bad)
			}
		})
	}
}

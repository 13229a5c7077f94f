package export

import (
	"encoding/csv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCSV(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
		rows [][]string
		want string
	}{
		{"plain", Options{Columns: []string{"group_id", "account", "name_card"}}, [][]string{
			{"@TGS#1", "00123", "=1+1"}, {"", "a,b", `say "hi"`}, {" x ", "one\r\ntwo\rthree\n", "\ufeffx\x00\xff"},
		}, "group_id,account,name_card\n@TGS#1,00123,=1+1\n,\"a,b\",\"say \"\"hi\"\"\"\n\" x \",\"one\r\ntwo\rthree\n\",\"\ufeffx\x00\xff\"\n"},
		{"one empty column", Options{Columns: []string{"a"}}, [][]string{{""}, {"b"}}, "a\n\"\"\nb\n"},
		{"no rows", Options{Columns: []string{"a", "b"}}, nil, "a,b\n"},
		{"header like a byte order mark", Options{Columns: []string{"\ufeffa"}}, nil, "\"\ufeffa\"\n"},
		{"Excel", Options{Columns: []string{"group_id", "account", "=cmd"}, Excel: true, Plain: []int{0}}, [][]string{
			{"@TGS#1", "@a", "=1"}, {"-1", "-1", "+1"}, {"=\"", "=\"", "\tx"}, {"\rx", "\rx", "\nx\n"}, {"", "", "'=1"}, {"a", " =1", "1-1"},
		}, "\ufeffgroup_id,account,\"'=cmd\"\r\n@TGS#1,\"'@a\",\"'=1\"\r\n\"'-1\",\"'-1\",\"'+1\"\r\n\"'=\"\"\",\"'=\"\"\",\"'\tx\"\r\n" +
			"\"'\rx\",\"'\rx\",\"'\nx\n\"\r\n,,'=1\r\na,\" =1\",1-1\r\n"},
		{"plain columns without Excel", Options{Columns: []string{"a"}, Plain: []int{0}}, [][]string{{"=1"}}, "a\n=1\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, sum := write(t, Format{Kind: CSV}, tt.o, tt.rows)
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if sum.Rows != int64(len(tt.rows)) {
				t.Errorf("got %d rows, want %d", sum.Rows, len(tt.rows))
			}
		})
	}
}

// checkCSV reads a table again: each byte is there, but for the ' of Excel.
func checkCSV(t rapid.TB, o Options, rows [][]string) {
	t.Helper()
	data, _ := write(t, Format{Kind: CSV}, o, rows)
	text, newLine := string(data), "\n"
	if o.Excel {
		newLine = "\r\n"
		var ok bool
		if text, ok = strings.CutPrefix(text, byteOrderMark); !ok {
			t.Fatal("no byte order mark")
		}
	}
	got, err := parseCSV(text, newLine)
	must(t, err)
	want := [][]string{}
	for k, row := range append([][]string{o.Columns}, rows...) {
		var line []string
		for i, cell := range row {
			plain := k > 0 && len(o.Plain) > 0 && i == o.Plain[0] && strings.HasPrefix(cell, "@")
			if o.Excel && !plain && cell != "" && strings.ContainsRune("=+-@\t\r\n", rune(cell[0])) {
				cell = "'" + cell
			}
			line = append(line, cell)
		}
		want = append(want, line)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
	checkStandard(t, text, want)
}

// checkStandard reads it with encoding/csv, which is exact but for carriage
// returns.
func checkStandard(t rapid.TB, text string, want [][]string) {
	t.Helper()
	for i, row := range want {
		for k := range row {
			if strings.Contains(row[k], "\r") {
				return
			}
		}
		want[i] = row
	}
	got, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("encoding/csv reads: -want +got:\n%s", diff)
	}
}

func TestCSVRoundTrip(t *testing.T) {
	for _, text := range hostile() {
		for _, excel := range []bool{false, true} {
			checkCSV(t, Options{Columns: []string{text}, Excel: excel}, [][]string{{text}, {text + text}})
			checkCSV(t, Options{Columns: []string{"id", "text"}, Excel: excel, Plain: []int{0}}, [][]string{{text, text}})
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "columns")
		o := Options{Columns: cells(t, n), Excel: rapid.Bool().Draw(t, "excel")}
		if rapid.Bool().Draw(t, "plain") {
			o.Plain = []int{rapid.IntRange(0, n-1).Draw(t, "which")}
		}
		var rows [][]string
		for range rapid.IntRange(0, 4).Draw(t, "rows") {
			rows = append(rows, cells(t, n))
		}
		checkCSV(t, o, rows)
	})
}

func FuzzCSV(f *testing.F) {
	for _, text := range hostile() {
		f.Add(text, "b", "c", true)
		f.Add("a", text, text, false)
	}
	f.Fuzz(func(t *testing.T, a, b, c string, excel bool) {
		checkCSV(t, Options{Columns: []string{a, b}, Excel: excel, Plain: []int{1}}, [][]string{{b, c}, {c, a}})
		checkCSV(t, Options{Columns: []string{a}, Excel: excel}, [][]string{{b}, {c}})
	})
}

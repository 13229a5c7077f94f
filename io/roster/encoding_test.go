package roster

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/charset"
)

// in writes a text in an encoding.
func in(t testing.TB, encoding, text string) string {
	t.Helper()
	c, err := charset.Named(encoding)
	if err != nil {
		t.Fatal(err)
	}
	return string(c.Append(nil, text))
}

// TestForms reads files in all forms, and what failed of them again.
func TestForms(t *testing.T) {
	const simple, traditional = "姓名,群组ID,账号,标记", "姓名,群組ID,帳號,標記"
	rows := []string{`a\|;王,g,ann,1000`, `"a,""b""",g,学生一,"1000;1001"`, `,g,bob,`}
	big := []string{`"亅四|ポ;",g,ann,1000`, `四四,g,學生一,1000`}
	for _, tt := range []struct {
		name, encoding, head string
		rows                 []string
		o                    Options
		found                string // as Source has it
	}{
		{"UTF-8", "utf-8", simple, rows, Options{}, ""},
		{"UTF-8 with mark", "utf-8", "\ufeff" + simple, rows, Options{}, ""},
		{"UTF-16LE", "utf-16le", "\ufeff" + simple, rows, Options{}, "utf-16le"},
		{"UTF-16BE", "utf-16be", "\ufeff" + simple, rows, Options{}, "utf-16be"},
		{"UTF-16LE without mark", "utf-16le", simple, rows, Options{}, "utf-16le"},
		{"UTF-16BE without mark", "utf-16be", simple, rows, Options{}, "utf-16be"},
		{"UTF-16BE, said to be UTF-16", "utf-16be", "\ufeff" + simple, rows, Options{Encoding: "UTF-16"}, "utf-16be"},
		{"GB18030", "gb18030", simple, rows, Options{}, "gb18030"},
		{"GB18030 in traditional characters", "gb18030", traditional, rows, Options{}, "gb18030"},
		{"GBK, as said", "gbk", simple, rows, Options{Encoding: "GB2312"}, "gbk"},
		{"GBK with an ASCII header, as said", "gbk", "name,group_id,account,marks", rows, Options{Encoding: "gbk"}, "gbk"},
		{"Big5", "big5", traditional, big, Options{}, "big5"},
		{"Shift_JIS", "shift_jis", "番号,group,アカウント,標記", []string{"ポ,g,ann,1000", "ポソ,g,学生,1000"}, Options{Map: map[string]string{"アカウント": "account"}}, "shift_jis"},
		{"EUC-KR", "euc-kr", "이름,group,학번,marks", []string{"김,g,ann,1000", "김,g,학생,1000"}, Options{Map: map[string]string{"학번": "account"}}, "euc-kr"},
		{"windows-1252", "windows-1252", "n,groupe,prénom,marks", []string{"é,g,André,1000"}, Options{Map: map[string]string{"prénom": "account", "groupe": "group_id"}}, "windows-1252"},
	} {
		for _, by := range []string{",", ";", "\t", "|"} {
			t.Run(tt.name+" by "+by, func(t *testing.T) { tryForm(t, tt.encoding, by, tt.head, tt.rows, tt.o, tt.found) })
		}
	}
}

func tryForm(t *testing.T, encoding, by, head string, lines []string, o Options, found string) {
	t.Helper()
	// The values must not have the separator, but in quotes.
	swap := strings.NewReplacer(",", by, by, ",")
	if by == "," {
		swap = strings.NewReplacer()
	}
	raw := []string{swap.Replace(head)}
	for _, line := range lines {
		raw = append(raw, swap.Replace(line))
	}
	want := showAll(readAll[mark](t, head+"\n"+strings.Join(lines, "\n"), Options{Map: o.Map, Encoding: "utf-8"}))
	r := mustOpen[mark](t, in(t, encoding, strings.Join(raw, "\r\n")+"\r\n"), o)
	src := r.Source()
	var rows []Row[mark]
	for row, err := range r.Rows() {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if diff := cmp.Diff(want, showAll(rows)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	delimiter := strings.TrimPrefix(by, ",")
	if src.Encoding != found || src.Delimiter != delimiter || src.NewLine != "\r\n" {
		t.Errorf("got source %+v, want encoding %s", src, found)
	}
	// As written: the bytes of the file, but for UTF-16.
	written := encoding
	if strings.HasPrefix(encoding, "utf-16") {
		written = "utf-8"
	}
	for i, row := range rows {
		if want := in(t, written, raw[i+1]); row.Raw != want {
			t.Errorf("line %d: got %q, want %q", row.Line, row.Raw, want)
		}
	}
	// What failed comes back, and needs no help but for what was said.
	text := failedCSV(src, raws(rows), func(i int) failure {
		return failure{line: 7, class: "refused", message: in(t, written, `no;|,"王"`), run: "r"}
	})
	if written != encoding {
		text = in(t, encoding, text)
	}
	again := mustOpen[mark](t, text, Options{Map: o.Map, Encoding: o.Encoding})
	var back []string
	for row, err := range again.Rows() {
		if err != nil || !row.FedBack {
			t.Fatalf("got row %+v, error %v", row, err)
		}
		back = append(back, row.Raw)
	}
	if diff := cmp.Diff(raws(rows), back); diff != "" || again.Source() != src {
		t.Errorf("fed back: got source %+v, want %+v, rows (-want +got):\n%s", again.Source(), src, diff)
	}
}

// Files as programs write them; see testdata/rosters.
func TestSavedFiles(t *testing.T) {
	for name, want := range map[string][]string{
		"class-gbk.csv": {"2 @TGS#2J4SZEAEL/teacher10 [1000]", "3 @TGS#2J4SZEAEL/学生一 [1001 1002]", "4 @TGS#2J4SZEAEL/00123 [1001]",
			"5 @TGS#3K5TAFBFM/student2 [1001]", "6 ! column 账号 (account): is empty"},
		"class-big5.csv":         {"2 @TGS#2J4SZEAEL/teacher10 [1000]", "3 @TGS#2J4SZEAEL/學生一 [1001 1002]", "4 ! column 帳號 (account): is empty"},
		"class-unicode-text.txt": {"2 @TGS#2J4SZEAEL/teacher10 [1000]", "3 @TGS#2J4SZEAEL/学生一 [1001 1002]", "4 ! column 账号 (account): is empty"},
	} {
		text, err := os.ReadFile("../../testdata/rosters/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, showAll(readAll[mark](t, string(text), Options{}))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// An ASCII header says nothing of what follows. IDs are read when they are
// certain, and the rest of a line is none of our business.
func TestUnknownEncoding(t *testing.T) {
	const hint = "say how the file is written with --encoding, e.g. --encoding gb18030"
	gbk := func(text string) string { return in(t, "gbk", text) }
	for _, tt := range []struct {
		name, text string
		o          Options
		want       []string
	}{
		{"names in GBK", "name,group_id,account,marks\n" + gbk("张伟,g,ann,1000\n李娜,g,bob,1000\n"), Options{}, []string{"2 g/ann [1000]", "3 g/bob [1000]"}},
		{"an unknown column in GBK", gbk("姓名,group_id,account,marks\n张伟,g,ann,1000\n"), Options{}, []string{"2 g/ann [1000]"}},
		{"an account in GBK", "name,group_id,account,marks\n" + gbk("张伟,g,学生,1000\n李娜,g,bob,1000\n"), Options{}, []string{
			"2 ! column account: the line is not UTF-8, and this is not ASCII: " + hint, "3 g/bob [1000]"}},
		{"an account in GBK, as said", "group_id,account,marks\n" + gbk("g,学生,1000\n"), Options{Encoding: "gbk"}, []string{"2 g/学生 [1000]"}},
		{"accounts in UTF-8", "group_id,account,marks\ng,学生,1000\ng,教师,1000\n", Options{}, []string{"2 g/学生 [1000]", "3 g/教师 [1000]"}},
		// 一 in GBK is also the Cyrillic letter һ in UTF-8.
		{"an account that is UTF-8 by accident", "name,group_id,account,marks\n" + gbk("张伟,g,ann,1000\n-,g,一,1000\n"), Options{}, []string{
			"2 g/ann [1000]", "3 ! its group or account is not ASCII, and line 2 is not UTF-8: " + hint}},
		{"by bars", "name|group_id|account|marks\n" + gbk("亅|g|ann|1000\n") + "-|g|bob|1000\n", Options{}, []string{
			"2 ! the line is not UTF-8, and a bar may be a part of a character: " + hint, "3 g/bob [1000]"}},
		{"UTF-8 by its header", "群组,account,marks\ng,\xff,1000\n\xff,ann,1000\ng,学生,1000\n", Options{}, []string{
			`2 ! column account: "\xff" is not UTF-8`, `3 ! column 群组 (group_id): "\xff" is not UTF-8`, "4 g/学生 [1000]"}},
		{"UTF-8 by its mark", "\ufeffname,group_id,account,marks\n\xff,g,学生,1000\n", Options{}, []string{"2 g/学生 [1000]"}},
		{"bytes that are not Big5", in(t, "big5", "姓名,群組,帳號,標記\n") + "\xff,g,ann,1000\n-,g,\xff,1000\n", Options{}, []string{
			"2 g/ann [1000]", `3 ! column 帳號 (account): "�" holds bytes that are not big5`}},
		{"half a pair", "\xff\xfe" + in(t, "utf-16le", "group_id,account,marks\ng,") + "\x00\xd8" + in(t, "utf-16le", ",1000\ng,ann,1000\n"), Options{}, []string{
			`2 ! column account: "�" holds what is no character`, "3 g/ann [1000]"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rows := readAll[mark](t, tt.text, tt.o)
			if diff := cmp.Diff(tt.want, showAll(rows)); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			for _, row := range rows {
				if row.Err != nil && !cmp.Equal(row.Value, mark{}) {
					t.Errorf("line %d: a bad row has the value %v", row.Line, row.Value)
				}
			}
		})
	}
}

// An account that was handed out as UTF-8 is in doubt when a later line is not.
func TestEncodingError(t *testing.T) {
	text := "group_id,account,marks\ng,ann,1000\n" + in(t, "gbk", "g,一,1000\ng,ann,1000\ng,学生,1000\n")
	err := readError(strings.NewReader(text))
	if e, ok := errors.AsType[*EncodingError](err); !ok || e.Line != 5 || e.Earlier != 3 {
		t.Errorf("got %v, want an EncodingError of lines 5 and 3", err)
	}
	rows := readAll[mark](t, text, Options{Encoding: "gb18030"})
	if diff := cmp.Diff([]string{"2 g/ann [1000]", "3 g/一 [1000]", "4 g/ann [1000]", "5 g/学生 [1000]"}, showAll(rows)); diff != "" {
		t.Errorf("as said (-want +got):\n%s", diff)
	}
	// It is the same far behind, where lines are decoded side by side.
	long := "group_id,account,marks\ng,é,1000\n" + strings.Repeat("g,ann,1000\n", 5000) + "g,\xff,1000\n"
	if e, ok := errors.AsType[*EncodingError](readError(strings.NewReader(long))); !ok || e.Line != 5003 {
		t.Errorf("got %v, want an EncodingError of line 5003", e)
	}
}

// One that can be nothing but UTF-8 is not: a broken line costs that line.
func TestBrokenLineAmongUTF8(t *testing.T) {
	rows := readAll[mark](t, "group_id,account,marks\ng,学生,1000\ng,\xff,1000\ng,老师,1000\n", Options{})
	want := []string{"2 g/学生 [1000]", "3 error", "4 g/老师 [1000]"}
	got := showAll(rows)
	if len(got) == 3 && rows[1].Err != nil {
		got[1] = "3 error"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestSepLine(t *testing.T) {
	for _, tt := range []struct{ name, text, header, by string }{
		{"semicolon", "sep=;\r\ngroup_id;account;marks\r\ng;ann;1000\r\n", "sep=;\r\ngroup_id;account;marks", ";"},
		{"quoted, with a mark", "\ufeff\"sep=|\"\ngroup_id|account|marks\ng|ann|1000\n", "\ufeff\"sep=|\"\ngroup_id|account|marks", "|"},
		{"tab, in capitals", "SEP=\t\ngroup_id\taccount\tmarks\ng\tann\t1000\n", "SEP=\t\ngroup_id\taccount\tmarks", "\t"},
		{"comma", "sep=,\ngroup_id,account,marks\ng,ann,1000\n", "sep=,\ngroup_id,account,marks", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := mustOpen[mark](t, tt.text, Options{}).Source()
			if src.Header != tt.header || src.Delimiter != tt.by {
				t.Errorf("got source %+v", src)
			}
			rows := readAll[mark](t, failedCSV(src, raws(readAll[mark](t, tt.text, Options{})), func(int) failure { return failure{} }), Options{})
			if diff := cmp.Diff([]string{"3 g/ann [1000]"}, showAll(rows)); diff != "" {
				t.Errorf("fed back (-want +got):\n%s", diff)
			}
		})
	}
}

// A list of one column is not taken apart.
func TestOneColumn(t *testing.T) {
	type group struct {
		ID Group `csv:"group_id"`
	}
	for _, tt := range []struct{ text, want string }{
		{"group_id\n@TGS#1\n", "@TGS#1"},
		{"群组ID;名称\n@TGS#1;7b\n", "@TGS#1"},
		{"a,group_id;b\nx,@TGS#1;2\n", ""},
	} {
		r, err := Open[group](strings.NewReader(tt.text), Options{})
		if (err == nil) != (tt.want != "") {
			t.Fatalf("%q: got error %v", tt.text, err)
		}
		if err != nil {
			continue
		}
		for row := range r.Rows() {
			if string(row.Value.ID) != tt.want || row.Err != nil {
				t.Errorf("%q: got %+v", tt.text, row)
			}
		}
	}
}

func TestJSONLInUTF16(t *testing.T) {
	for _, encoding := range []string{"utf-16le", "utf-16be"} {
		for _, mark16 := range []string{"\ufeff", ""} {
			text := in(t, encoding, mark16+`{"group_id":"g","account":"学生","marks":1000}`+"\r\n"+`{"group_id":"g"`+"\r\n")
			if f, err := FormatIn(strings.NewReader(text)); f != JSONL || err != nil {
				t.Errorf("%s: got format %s, %v", encoding, f, err)
			}
			r := mustOpen[mark](t, text, Options{Format: JSONL})
			rows := readAll[mark](t, text, Options{Format: JSONL})
			if diff := cmp.Diff([]string{"1 g/学生 [1000]", "2 ! the line ends inside the object"}, showAll(rows)); diff != "" || r.Source().Encoding != encoding {
				t.Errorf("%s: got source %+v, rows (-want +got):\n%s", encoding, r.Source(), diff)
			}
		}
	}
}

func FuzzForms(f *testing.F) {
	for _, seed := range []string{"a;b\n1;2", "sep=|\na|b\n亅|1", "\xff\xfea\x00,\x00b\x00\n\x00", "a\tb\n\x81|\t\xff\n", "a,b\n\xd2\xbb,1\n\xff,2"} {
		f.Add([]byte(seed), uint8(0))
		f.Add([]byte(seed), uint8(9))
	}
	encodings := []string{"", "gb18030", "gbk", "big5", "shift_jis", "euc-kr", "windows-1252", "utf-8", "utf-16le", "utf-16be"}
	delimiters := []string{"", ",", ";", "\t", "|"}
	f.Fuzz(func(t *testing.T, data []byte, how uint8) {
		o := Options{Encoding: encodings[int(how)%len(encodings)], Delimiter: delimiters[int(how)/16%len(delimiters)]}
		r, err := Open[plainRow](strings.NewReader(string(data)), o)
		if err != nil {
			return
		}
		var rows []Row[plainRow]
		for row, err := range r.Rows() {
			if err != nil {
				return // packed, or of two encodings
			}
			if row.Err != nil && (row.Value != plainRow{} || strings.ContainsAny(row.Err.Error(), "\n\r\x00")) {
				t.Errorf("%q: got value %+v, error %q", row.Raw, row.Value, row.Err)
			}
			rows = append(rows, row)
		}
		src := r.Source()
		text := failedCSV(src, raws(rows), func(int) failure { return failure{class: "x", message: `"`} })
		if strings.HasPrefix(src.Encoding, "utf-16") {
			text = in(t, src.Encoding, text)
		}
		o.Delimiter = src.Delimiter
		if o.Encoding == "" {
			o.Encoding = src.Encoding
		}
		again, err := Open[plainRow](strings.NewReader(text), o)
		if err != nil {
			t.Fatalf("fed back: %v", err)
		}
		var back []string
		for row, err := range again.Rows() {
			if err != nil {
				t.Fatalf("fed back: %v", err)
			}
			back = append(back, row.Raw)
		}
		if diff := cmp.Diff(raws(rows), back); diff != "" {
			t.Errorf("fed back (-want +got):\n%s", diff)
		}
	})
}

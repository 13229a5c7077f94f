package roster

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestAliases(t *testing.T) {
	for _, head := range []string{
		"group_id,account,marks",
		"groupid,userid,mark",
		"GroupId,UserID,Marks",
		"Group ID,user_id,MARK",
		"group-id,Member_Account,Mark",
		"group,member_account, marks ",
		"群组,账号,标记",
		"群组ID,帳號,標記",
		"群 ID,用户 ID,标记",
		"群組ID,使用者id,\u200bmarks",
		`"群号","帐号","marks"`,
	} {
		rows := readAll[mark](t, head+"\ng,ann,1000\n", Options{})
		if got := showAll(rows); !cmp.Equal(got, []string{"2 g/ann [1000]"}) {
			t.Errorf("%s: got %v", head, got)
		}
		var b strings.Builder // the same names as keys
		for i, key := range strings.Split(strings.ReplaceAll(head, `"`, ""), ",") {
			b.WriteString([]string{"{", ",", ","}[i] + jsonString(key) + ":" + []string{`"g"`, `"ann"`, "1000"}[i])
		}
		rows = readAll[mark](t, b.String()+"}\n", Options{Format: JSONL})
		if got := showAll(rows); !cmp.Equal(got, []string{"1 g/ann [1000]"}) {
			t.Errorf("%s: got %v", b.String(), got)
		}
	}
}

func TestHeaderError(t *testing.T) {
	const (
		noAccount = "no column for account (also known as userid, memberaccount, 账号, 帐号, 帳號, 賬號, 用户ID, 用戶ID, 使用者ID, 用户账号)"
		noMarks   = "no column for marks (also known as mark, 标记, 標記)"
		noGroup   = "no column for group_id (also known as groupid, group, 群组, 群组ID, 群ID, 群号, 群組, 群組ID, 群號)"
	)
	for _, tt := range []struct {
		name, text string
		o          Options
		want       string
	}{
		{"empty", "", Options{}, "header: the file is empty"},
		{"blank lines", "\n \r\n", Options{}, "header: the file is empty"},
		{"missing", "group_id,acount\n", Options{}, "header: " + noAccount + "; " + noMarks + `; columns read: "group_id", "acount"`},
		{"doubled", "group_id,account,userid,marks\n", Options{}, `header: 2 columns for account: ["account" "userid"]; columns read: "group_id", "account", "userid", "marks"`},
		{"doubled alike", "group_id,account,marks,marks\n", Options{}, `header: 2 columns for marks: ["marks" "marks"]; columns read: "group_id", "account", "marks", "marks"`},
		{"no header", "g1,ann,1000\n", Options{}, "header: " + noGroup + "; " + noAccount + "; " + noMarks + `; columns read: "g1", "ann", "1000"`},
		{"semicolons", "group_id;account;mrks\n", Options{}, "header: " + noMarks + `; columns read (by semicolon): "group_id", "account", "mrks"`},
		{"tabs", "group\tuser\tmarks\n", Options{}, "header: " + noAccount + `; columns read (by tab): "group", "user", "marks"`},
		{"another separator", "group_id:account:marks\n", Options{}, "header: " + noGroup + "; " + noAccount + "; " + noMarks + `; columns read: "group_id:account:marks"`},
		{"full-width commas", "群组，账号，标记\n", Options{}, "header: " + noGroup + "; " + noAccount + "; " + noMarks + `; columns read: "群组，账号，标记"; the columns are separated by full-width commas, which are not read: replace them by commas`},
		{"said to be semicolons", header, Options{Delimiter: ";"}, "header: " + noGroup + "; " + noAccount + "; " + noMarks + `; columns read (by semicolon): "group_id,account,marks"`},
		{"sep and nothing else", "sep=;\n", Options{}, "header: the file is empty"},
		{"sep of a colon", "sep=:\na:b\n", Options{}, `header: the first line says that ":" separates the fields, which is not read: it can be a comma, a semicolon, a tab or a bar; the file begins with "sep=:"`},
		{"JSONL", `{"group_id":"g"}`, Options{}, `header: the first line is not CSV: a quote inside a field that does not begin with one, at byte 2; the file begins with "{\"group_id\":\"g\"}"; this looks like JSONL: name the file .jsonl`},
		{"CR only", "group_id,account,marks\rg,a,1000\r", Options{}, `header: there are carriage returns inside the first line; the file begins with "group_id,account,marks\rg,a,1000"; lines that end with CR only, as on an old Mac, are not read: save the file with LF or CRLF`},
		{"open quote", "group_id,\"account\nmarks\n", Options{}, `header: the first line is not CSV: a quoted field is not closed on its line: a field cannot run over several lines; the file begins with "group_id,\"account"`},
		{"too long", header, Options{MaxLine: 22}, `header: the first line has 22 bytes or more; the file begins with "group_id,account,marks"`},
		{"GB18030", "\xc8\xba\xd7\xe9,\xd5\xcb\n", Options{}, "header: " + noAccount + "; " + noMarks + `; columns read (gb18030): "群组", "账"`},
		{"no encoding", "\xc8\xba,\xd5\xcb,marques\n", Options{}, `header: the first line is not UTF-8, and does not have the columns in any of gb18030, big5, shift_jis, euc-kr, windows-1252; the file begins with "Ⱥ,\xd5\xcb,marques"; say how the file is written with --encoding, or save it as UTF-8`},
		{"not the encoding", "\xc8\xba\xd7\xe9,account,marks\xff\n", Options{Encoding: "gbk"}, `header: the first line is not gbk; the file begins with "Ⱥ\xd7\xe9,account,marks\xff"`},
		{"unknown, with bars", "\xc8\xba\xd7\xe9|account|group_id|marks\n", Options{}, `header: the first line is not UTF-8, and in some encodings a bar is part of a character; the file begins with "Ⱥ\xd7\xe9|account|group_id|marks"; say how the file is written with --encoding`},
		{"UTF-16", "\xff\xfeg\x00", Options{}, "header: " + noGroup + "; " + noAccount + "; " + noMarks + `; columns read (utf-16le): "g"`},
		{"UTF-16 by semicolon", "\xfe\xff" + in(t, "utf-16be", "group;user;mrk\n"), Options{}, "header: " + noAccount + "; " + noMarks + `; columns read (utf-16be, by semicolon): "group", "user", "mrk"`},
		{"UTF-16 without BOM", "g\x00r\x00", Options{}, `header: the first line holds a NUL byte; the file begins with "g\x00r\x00"; the file may be UTF-16: say so with --encoding utf-16le, or save it as UTF-8`},
		{"UTF-16 that is said to be Big5", "\xff\xfeg\x00", Options{Encoding: "big5"}, "header: the file begins with the byte order mark of UTF-16, and is said to be big5"},
		{"UTF-8 that is said to be Big5", "\ufeff" + header, Options{Encoding: "Big5"}, "header: the file begins with the byte order mark of UTF-8, and is said to be big5"},
		{"gzip in gzip as JSONL", packed(Gzip, packed(Gzip, "{}")), Options{Format: JSONL}, "header: the file is compressed twice (gzip), not text; unpack it first"},
		{"gzip in zstd", packed(Zstd, packed(Gzip, header)), Options{}, "header: the file is compressed twice (gzip), not text; unpack it first"},
		{"reserved only", reservedHeader, Options{}, `header: there are only reserved columns; the file begins with "_line,_class,_code,_error,_attempts,_run"`},
		{"mapped column missing", header, Options{Map: map[string]string{"学号": "account"}}, `header: there is no column "学号" to take as account; columns read: "group_id", "account", "marks"`},
		{"mapped column doubled", "group_id,学号,学号,marks\n", Options{Map: map[string]string{"学号": "account"}}, `header: 2 columns for account: ["学号" "学号"]; columns read: "group_id", "学号", "学号", "marks"`},
		{"default and column", header, Options{Defaults: map[string]string{"group_id": "g"}}, `header: group_id is given for the whole file, but there is a column "group_id" too; columns read: "group_id", "account", "marks"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Open[mark](strings.NewReader(tt.text), tt.o)
			if _, ok := errors.AsType[*HeaderError](err); !ok {
				t.Fatalf("got %v, want a HeaderError", err)
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHeaderErrorFields(t *testing.T) {
	_, err := Open[mark](strings.NewReader("name,account, UserID \n"), Options{})
	want := &HeaderError{
		Reason:  err.(*HeaderError).Reason,
		Header:  "name,account, UserID ",
		Columns: []string{"name", "account", "UserID"},
		Missing: []string{"group_id", "marks"},
		Doubled: []string{"account"},
	}
	if diff := cmp.Diff(want, err, cmpopts.IgnoreUnexported(HeaderError{})); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	_, err = Open[mark](strings.NewReader(strings.Repeat("c,", 3000)), Options{})
	if n := len(err.Error()); n > 1000 {
		t.Errorf("the message for 3,000 columns has %d bytes", n)
	}
}

func TestMap(t *testing.T) {
	for _, tt := range []struct {
		name, head string
		columns    map[string]string
	}{
		{"unknown column", "group_id,学号,marks", map[string]string{"学号": "account"}},
		{"case and blanks", "group_id, Student ID ,marks", map[string]string{"student id": "account"}},
		{"goes before the name itself", "group_id,account2,marks,account", map[string]string{"account2": "account"}},
		{"settles a doubled column", "group_id,account,marks,userid", map[string]string{"account": "account"}},
		{"swaps", "account,group_id,marks", map[string]string{"account": "group_id", "group_id": "account"}},
		{"all", "a,b,c", map[string]string{"a": "group_id", "b": "account", "c": "marks"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			line := "g,ann,1000" + strings.Repeat(",zed", strings.Count(tt.head, ",")-2)
			rows := readAll[mark](t, tt.head+"\n"+line, Options{Map: tt.columns})
			if got := showAll(rows); !cmp.Equal(got, []string{"2 g/ann [1000]"}) {
				t.Errorf("got %v", got)
			}
		})
	}
	rows := readAll[mark](t, `{"group_id":"g","学号":"ann","account":"zed","marks":1000}`, Options{Format: JSONL, Map: map[string]string{"学号": "account"}})
	if got := showAll(rows); !cmp.Equal(got, []string{"1 g/ann [1000]"}) {
		t.Errorf("JSONL: got %v", got)
	}
}

func TestDefaults(t *testing.T) {
	o := Options{Defaults: map[string]string{"group_id": " g ", "marks": "1000,1001"}}
	rows := readAll[mark](t, "name,account\n-,ann\n-,bob,1\n-,cid\n", o)
	want := []string{"2 g/ann [1000 1001]", "3 ! wrong number of fields: 3, the header has 2", "4 g/cid [1000 1001]"}
	if diff := cmp.Diff(want, showAll(rows)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	rows[0].Value.Marks[0] = 7
	if rows[2].Value.Marks[0] != 1000 {
		t.Error("two rows share one slice of marks")
	}
	if !cmp.Equal(rows[1].Value, mark{}) {
		t.Errorf("a bad row has the value %v", rows[1].Value)
	}
	o.Format = JSONL
	rows = readAll[mark](t, `{"account":"ann"}`+"\n"+`{"account":"ann","marks":5}`, o)
	want = []string{"1 g/ann [1000 1001]", "2 ! column marks: is given for the whole file, but is in the row too"}
	if diff := cmp.Diff(want, showAll(rows)); diff != "" {
		t.Errorf("JSONL (-want +got):\n%s", diff)
	}
}

func TestOptionErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"map to an unknown field", Options{Map: map[string]string{"学号": "acount"}}, `roster options: column "学号" is mapped to "acount", which is not a field: the fields are group_id, account, marks`},
		{"map twice", Options{Map: map[string]string{"a": "account", "b": "account"}}, "roster options: two columns are mapped to account"},
		{"map a reserved column", Options{Map: map[string]string{"_run": "account"}}, "roster options: column _run is reserved and not read"},
		{"default of an unknown field", Options{Defaults: map[string]string{"group": "g"}}, `roster options: a value is given for "group", which is not a field: the fields are group_id, account, marks`},
		{"bad default", Options{Defaults: map[string]string{"marks": "010"}}, `roster options: value given for marks: "010" is not a mark: leading zero`},
		{"encoding", Options{Encoding: "klingon"}, `roster options: no encoding "klingon": there are utf-8, utf-16le, utf-16be, gb18030, gbk, big5, shift_jis, euc-kr, windows-1252 and others by their names on the web`},
		{"encoding with shifts", Options{Encoding: "iso-2022-jp"}, "roster options: the encoding iso-2022-jp is not read: save the file as UTF-8"},
		{"JSONL in GBK", Options{Format: JSONL, Encoding: "gbk"}, "roster options: encoding gbk: JSONL is UTF-8 or UTF-16"},
		{"delimiter", Options{Delimiter: ":"}, `roster options: delimiter ":": it is a comma, a semicolon, a tab or a bar`},
		{"format", Options{Format: "ods"}, `roster options: no format "ods"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Open[mark](strings.NewReader(header), tt.o)
			if !errors.Is(err, ErrOptions) || err.Error() != tt.want {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// What gocsv would read leniently, or trip over, is refused before a row is read.
func TestRowTypes(t *testing.T) {
	refused := func(name string, err error) {
		t.Helper()
		if err == nil || !strings.HasPrefix(err.Error(), "roster: ") {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
	}
	_, err := Open[struct {
		N int `csv:"n"`
	}](strings.NewReader("n\n1\n"), Options{})
	refused("int", err)
	_, err = Open[struct {
		N any `csv:"n"`
	}](strings.NewReader("n\n1\n"), Options{})
	refused("interface", err)
	_, err = Open[struct {
		N string `csv:"partial_name"`
	}](strings.NewReader("partial_name\n1\n"), Options{})
	refused("tag that starts with partial", err)
	_, err = Open[struct {
		N string `csv:"n,default=5"`
	}](strings.NewReader("n\n1\n"), Options{})
	refused("tag with a default", err)
	_, err = Open[struct{ N string }](strings.NewReader("N\n1\n"), Options{})
	refused("no tag", err)
	_, err = Open[struct{ mark }](strings.NewReader(header), Options{})
	refused("nothing exported", err)
	_, err = Open[string](strings.NewReader(header), Options{})
	refused("no struct", err)
}

func TestOptionalColumn(t *testing.T) {
	type group struct {
		ID     Group  `csv:"group_id"`
		Type   string `csv:"type,omitempty"`
		Skip   int    `csv:"-"`
		hidden int
	}
	for _, tt := range []struct {
		text string
		o    Options
		want group
	}{
		{"group_id\ng\n", Options{}, group{ID: "g"}},
		{"type,group_id\nPublic,g\n", Options{}, group{ID: "g", Type: "Public"}},
		{"type,group_id\n,g\n", Options{}, group{ID: "g"}},
		{`{"group_id":"g"}`, Options{Format: JSONL}, group{ID: "g"}},
		{`{"group_id":"g","type":"Public"}`, Options{Format: JSONL}, group{ID: "g", Type: "Public"}},
	} {
		rows := readAll[group](t, tt.text, tt.o)
		if len(rows) != 1 || rows[0].Value != tt.want || rows[0].Err != nil || rows[0].Value.hidden != 0 {
			t.Errorf("%q: got %+v, want %+v", tt.text, rows, tt.want)
		}
	}
	rows := readAll[group](t, `{"group_id":"g","type":null}`, Options{Format: JSONL})
	if got := rows[0].Err; got == nil || got.Error() != "column type: must be a string, but is null" {
		t.Errorf("null: got %v", got)
	}
}

func TestFormatOf(t *testing.T) {
	for name, want := range map[string]Format{
		"a.csv": CSV, "a.jsonl": JSONL, "dir.jsonl/a.CSV": CSV, "A.JSONL": JSONL, "a.jsonl.GZ": JSONL, "a.ndjson.zst": JSONL, "a.csv.gz": CSV, "a.gz": CSV, "a.ndjson": JSONL, "-": CSV, "": CSV, "jsonl": CSV,
	} {
		if got := FormatOf(name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

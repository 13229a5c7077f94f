package roster

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestJSONLRows(t *testing.T) {
	good := `{"group_id":"g","account":"ann","marks":[1000]}`
	for _, tt := range []struct{ name, line, want string }{
		{"array", good, "g/ann [1000]"},
		{"string", `{"group_id":"g","account":"ann","marks":"1000; 1001"}`, "g/ann [1000 1001]"},
		{"single integer", `{"group_id":"g","account":"ann","marks":1000}`, "g/ann [1000]"},
		{"blanks", "\t{ \"marks\" : [ 1000 , 1001 ] , \"account\" : \" ann \" , \"group_id\" : \"g\" } ", "g/ann [1000 1001]"},
		{"unknown keys", `{"a":{"b":[null,{"account":1}]},"group_id":"g","account":"ann","marks":[1000],"z":1e999}`, "g/ann [1000]"},
		{"escapes", `{"group_id":"\u7fa4","acc\u006funt":"a\"b","marks":[1000]}`, `群/a"b [1000]`},
		{"digits", `{"group_id":"g","account":"00123","marks":[1000]}`, "g/00123 [1000]"},
		{"number as account", `{"group_id":"g","account":123,"marks":[1000]}`, "! column account: must be a string, but is the number 123"},
		{"null as account", `{"group_id":"g","account":null,"marks":[1000]}`, "! column account: must be a string, but is null"},
		{"array as account", `{"group_id":"g","account":["a"],"marks":[1000]}`, "! column account: must be a string, but is an array"},
		{"spreadsheet", `{"group_id":"g","account":"1.38E+10","marks":[1000]}`, `! column account: "1.38E+10" is a number as a spreadsheet shows it, its digits are lost: make the column text and fill it in again`},
		{"NUL", `{"group_id":"g","account":"a\u0000","marks":[1000]}`, "! column account: holds a NUL byte"},
		{"blank account", `{"group_id":"g","account":" ","marks":[1000]}`, "! column account: is empty"},
		{"decimal", `{"group_id":"g","account":"a","marks":[1000.0]}`, `! column marks: "1000.0" is not a mark: it has a decimal point`},
		{"exponent", `{"group_id":"g","account":"a","marks":1e3}`, `! column marks: "1e3" is not a mark: it has an exponent`},
		{"leading zero", `{"group_id":"g","account":"a","marks":"010"}`, `! column marks: "010" is not a mark: leading zero`},
		{"sign", `{"group_id":"g","account":"a","marks":[-1]}`, `! column marks: "-1" is not a mark: it has a sign`},
		{"strings in an array", `{"group_id":"g","account":"a","marks":["1000"]}`, `! column marks: "\"1000\"" is not a mark: only digits can stand here`},
		{"arrays in an array", `{"group_id":"g","account":"a","marks":[[1000],[1001]]}`, `! column marks: "[1000]" is not a mark: only digits can stand here`},
		{"no marks", `{"group_id":"g","account":"a","marks":[ ]}`, "! column marks: no mark"},
		{"null marks", `{"group_id":"g","account":"a","marks":null}`, "! column marks: must be an array of marks, but is null"},
		{"missing", `{"group_id":"g","acount":"a","marks":[1000]}`, "! account is missing"},
		{"empty object", `{}`, "! group_id is missing"},
		{"null", `null`, "! a row must be an object, but is null"},
		{"array row", `["g","a",1000]`, "! a row must be an object, but is an array"},
		{"number row", `1000`, "! a row must be an object, but is the number 1000"},
		{"string row", `"g"`, "! a row must be an object, but is a string"},
		{"bare word", `nullx`, `! a row must be an object, but is "nullx"`},
		{"CSV", `g,ann,1000`, `! not JSON: invalid character 'g' at start of value, at byte 1`},
		{"doubled name", `{"group_id":"g","account":"a","account":"b","marks":[1]}`, `! the name "account" is there twice`},
		{"doubled unknown name", `{"group_id":"g","account":"a","marks":[1],"x":{"y":1,"y":2}}`, `! the name "y" is there twice`},
		{"doubled by alias", `{"group_id":"g","account":"a","userid":"b","marks":[1]}`, `! column userid (account): is there a second time, under another name`},
		{"two objects", good + good, "! there is more text behind the object"},
		{"comma behind", good + ",", "! there is more text behind the object"},
		{"cut", good[:len(good)-1], "! the line ends inside the object"},
		{"cut in a string", good[:14], "! the line ends inside the object"},
		{"trailing comma", `{"group_id":"g",}`, `! not JSON: invalid character ',' at start of value, at byte 16`},
		{"not UTF-8", "{\"group_id\":\"\xd5\xc5\"}", "! not JSON: invalid UTF-8, at byte 14"},
		{"lone surrogate", `{"group_id":"\ud800"}`, "! not JSON: invalid surrogate pair `\\ud800\"}` in string, at byte 14"},
		{"newline in a key", `{"group_id":"g","acc\nount":"","marks":[1]}`, `! column "acc\nount" (account): is empty`},
		{"raw of several lines", `{"_raw":"a\nb"}`, "! _raw is not the text of one line"},
		{"raw of nothing", `{"_raw":" "}`, "! _raw is not the text of one line"},
		{"raw that is no base64", `{"_raw":{"base64":"?"}}`, "! _raw is not the text of one line"},
		{"raw that is base64 of several lines", `{"_raw":{"base64":"YQpi"}}`, "! _raw is not the text of one line"},
		{"raw that is another object", `{"_raw":{"level":5},"group_id":"g","account":"ann","marks":[1000]}`, "g/ann [1000]"},
		{"raw that is no string", `{"_raw":5,"group_id":"g","account":"ann","marks":[1000]}`, "g/ann [1000]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rows := readAll[mark](t, tt.line+"\n\n"+good, Options{Format: JSONL})
			want := []string{"1 " + tt.want, "3 g/ann [1000]"}
			if diff := cmp.Diff(want, showAll(rows)); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{tt.line, good}, raws(rows)); diff != "" {
				t.Errorf("raw (-want +got):\n%s", diff)
			}
			if rows[0].Err != nil && !cmp.Equal(rows[0].Value, mark{}) {
				t.Errorf("got value %v beside an error, want none", rows[0].Value)
			}
		})
	}
}

func TestJSONLFile(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		rows       int
		src        Source
	}{
		{"empty", "", 0, Source{Format: JSONL, Header: "", NewLine: "\n"}},
		{"blank", "\n \n", 0, Source{Format: JSONL, Header: "", NewLine: "\n"}},
		{"LF", "{}\n{}\n", 2, Source{Format: JSONL, Header: "", NewLine: "\n"}},
		{"CRLF behind a blank line", "\n{}\r\n{}", 2, Source{Format: JSONL, Header: "", NewLine: "\r\n"}},
		{"no newline", "{}", 1, Source{Format: JSONL, Header: "", NewLine: "\n"}},
		{"BOM", "\ufeff{}\n{}", 2, Source{Format: JSONL, Header: "", NewLine: "\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{Format: JSONL}
			if diff := cmp.Diff(tt.src, mustOpen[mark](t, tt.text, o).Source()); diff != "" {
				t.Errorf("source (-want +got):\n%s", diff)
			}
			rows := readAll[mark](t, tt.text, o)
			if len(rows) != tt.rows {
				t.Errorf("got %d rows, want %d", len(rows), tt.rows)
			}
			for _, row := range rows {
				if row.Raw != "{}" {
					t.Errorf("got Raw %q, want {}", row.Raw)
				}
			}
		})
	}
}

// bufio.Scanner would end at 64 KiB, json.Decoder at the first broken line.
func TestJSONLLongLine(t *testing.T) {
	line := func(n int) string {
		s := `{"group_id":"g","account":"ann","marks":[1000],"note":""}`
		return s[:len(s)-2] + strings.Repeat("x", n-len(s)) + s[len(s)-2:]
	}
	rows := readAll[mark](t, line(200<<10)+"\n{{\n"+line(1<<20-1)+"\n"+line(1<<20)+"\n"+line(80)+"\n", Options{Format: JSONL})
	want := []string{
		"1 g/ann [1000]",
		"2 ! not JSON: object member name must be a string, at byte 2",
		"3 g/ann [1000]",
		"4 ! the line has 1048576 bytes or more: only its first 1048576 are kept",
		"5 g/ann [1000]",
	}
	if diff := cmp.Diff(want, showAll(rows)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	// A cut must not leave half a character, which no JSON string can hold.
	rows = readAll[mark](t, strings.Repeat("群", 50), Options{Format: JSONL, MaxLine: 100})
	if want := strings.Repeat("群", 33); rows[0].Raw != want {
		t.Errorf("got Raw %q, want %q", rows[0].Raw, want)
	}
}

// Keys without end must not fill the memory.
func TestJSONLManyKeys(t *testing.T) {
	d := jsonDecoder[mark]{names: &names{}, cache: map[string]member{}}
	for i := range 10 * maxCache {
		d.lookup([]byte(`"` + strings.Repeat("k", i%50) + string(rune('a'+i%26)) + jsonString(string(rune(0x4e00 + i)))[1:]))
	}
	if len(d.cache) > maxCache {
		t.Errorf("got %d keys in memory, want at most %d", len(d.cache), maxCache)
	}
}

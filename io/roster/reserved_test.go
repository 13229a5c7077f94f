package roster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestReservedIsReserved(t *testing.T) {
	if got := strings.Join(Reserved(), ","); got != reservedHeader {
		t.Errorf("got %s, want %s", got, reservedHeader)
	}
	for _, name := range Reserved() {
		if !isReserved(name) || !isReserved(" "+name+" ") || isReserved(strings.ToUpper(name)) || isReserved(name[1:]) {
			t.Errorf("%s: not told from other names", name)
		}
	}
}

func TestCutCSV(t *testing.T) {
	tail := header[:len(header)-1] + "," + reservedHeader
	front := reservedHeader + "," + header[:len(header)-1]
	middle := "group_id," + reservedHeader + ",account,marks"
	for _, tt := range []struct{ name, header, line, want string }{
		{"tail", tail, "g,ann,1000,5,refused,10004,no,3,20261122T014912Z-4f2a9c", "g,ann,1000"},
		{"tail, quoted error", tail, `g,ann,"1,2",5,refused,10004,"a ""b"", c",3,r`, `g,ann,"1,2"`},
		{"tail, error of quotes", tail, `g,ann,1000,5,refused,-1,"""",3,r`, "g,ann,1000"},
		{"tail, error begins with quote", tail, `g,ann,1000,5,refused,-1,"""a""",3,r`, "g,ann,1000"},
		{"tail, error like a block", tail, `g,ann,1000,5,refused,-1,",6,bad,0,""x"",1,r",3,r`, "g,ann,1000"},
		{"tail, empty values", tail, "g,ann,1000,5,,,,,", "g,ann,1000"},
		{"tail, stray quote", tail, `g,"ann,1000,5,bad_row,0,"a ""b""",0,r`, `g,"ann,1000`},
		{"tail, stray quote at the end", tail, `g,ann,1000",5,bad_row,0,x,0,r`, `g,ann,1000"`},
		{"tail, no sound error", tail, `g,ann,1000,5,bad_row,0,x"y",0,r`, `g,ann,1000,5,bad_row,0,x"y",0,r`},
		{"tail, no sound error behind a code", tail, `g,ann,1000,5,bad_row,1x"y",0,r`, `g,ann,1000,5,bad_row,1x"y",0,r`},
		{"front, no sound error", front, `5,bad_row,0,"x"y,0,r,g,ann,1000`, `5,bad_row,0,"x"y,0,r,g,ann,1000`},
		{"tail, ragged", tail, "g,5,bad_row,0,x,0,r", "g"},
		{"tail, row like a block", tail, "5,bad_row,0,x,0,r,6,bad_row,0,y,0,s", "5,bad_row,0,x,0,r"},
		{"tail, a row added by hand", tail, "g,ann,1000", "g,ann,1000"},
		{"tail, other values", tail, "g,ann,1000,?,?,?,?,?,?", "g,ann,1000"},
		{"tail, other values, ragged", tail, "g,ann,?,?,?,?,?,?", "g,ann,?,?,?,?,?,?"},
		{"front", front, `5,refused,10004,"a ""b"", c",3,r,g,ann,"1,2"`, `g,ann,"1,2"`},
		{"front, broken", front, `5,refused,10004,"a ""b"", c",3,r,g,"ann,1"`, `g,"ann,1"`},
		{"front, ragged", front, "5,refused,10004,x,3,r,g", "g"},
		{"front, a row added by hand", front, "g,ann,1000", "g,ann,1000"},
		{"middle", middle, `"g",5,refused,10004,"a ""b"", c",3,r, ann ,"1,2"`, `"g", ann ,"1,2"`},
		{"middle, broken", middle, `g,5,refused,10004,"a ""b"", c",3,r,a"nn,1000`, `g,a"nn,1000`},
		{"middle, broken, ends with it", middle, `g",5,refused,10004,x,3,r`, `g"`},
		{"middle, broken, two blocks", middle, `g",5,a,1,x,3,r,5,a,1,x,3,r`, `g",5,a,1,x,3,r,5,a,1,x,3,r`},
		{"here and there", "_run,group_id,_line,account,marks", `r,g,5,"a,b",1000`, `g,"a,b",1000`},
		{"here and there, broken", "_run,group_id,_line,account,marks", `r,g,5,"a,b,1000`, `r,g,5,"a,b,1000`},
		{"no reserved columns", "group_id,account,marks", "5,refused,10004,x,3,r", "5,refused,10004,x,3,r"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, c, err := columnsOf(tt.header, ',')
			if err != nil {
				t.Fatal(err)
			}
			if got := c.cut(tt.line); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestCutJSON(t *testing.T) {
	const r = `"_line":5,"_class":"x","_code":0,"_error":"a \"b\", }{","_attempts":1,"_run":"r"`
	for _, tt := range []struct{ name, line, want string }{
		{"tail", `{"a":1,` + r + `}`, `{"a":1}`},
		{"tail, blanks", ` { "a" : 1 ,` + r + ` } `, ` { "a" : 1  } `},
		{"alone", `{` + r + `}`, `{}`},
		{"alone, blanks", `{ ` + r + `}`, `{ }`},
		{"front", `{` + r + `,"a":1}`, `{"a":1}`},
		{"front, blanks", `{ ` + r + ` , "a":1}`, `{ "a":1}`},
		{"middle", `{"a":1,` + r + `,"b":[1,2]}`, `{"a":1,"b":[1,2]}`},
		{"here and there", `{"_run":"r","a":1,"_line":5,"b":2,"_code":7}`, `{"a":1,"b":2}`},
		{"escaped key", `{"a":1,"\u005fline":5}`, `{"a":1}`},
		{"inside a value", `{"a":{"_line":5},"_line":6}`, `{"a":{"_line":5}}`},
		{"raw", `{"_raw":"{\"a\":",` + r + `}`, `{"a":`},
		{"raw at the end", `{` + r + `,"_raw":"[1,\"\u7fa4\"]"}`, `[1,"群"]`},
		{"raw is an object", `{"_raw":"{\"_line\":1}",` + r + `}`, `{"_line":1}`},
		{"raw that is not UTF-8", `{"_raw":{"base64":"eyJhIjoi/yJ9"},` + r + `}`, "{\"a\":\"\xff\"}"},
		{"raw in a raw", `{"_raw":"{\"_raw\":\"x\"}",` + r + `}`, `{"_raw":"x"}`},
		{"doubled name", `{"a":1,"a":2,` + r + `}`, `{"a":1,"a":2}`},
		{"doubled reserved name", `{"a":1,"_line":1,` + r + `}`, `{"a":1,"_line":1}`},
		{"not UTF-8", "{\"a\":\"\xff\" ," + r + "}", "{\"a\":\"\xff\" }"},
		{"broken", `{"a":tru,` + r + `} `, `{"a":tru} `},
		{"broken, nothing to cut", `{"a":tru,"b":1}`, `{"a":tru,"b":1}`},
		{"broken, other keys too", `{"a":tru,"_line":5,"b":1}`, `{"a":tru,"_line":5,"b":1}`},
		{"broken, the name in a string", `{"a":"\"_line\":5}`, `{"a":"\"_line\":5}`},
		{"broken, text behind", `{"a":tru,` + r + `} x`, `{"a":tru,` + r + `} x`},
		{"broken, no brace", `"_line":5`, `"_line":5`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rows := readAll[mark](t, tt.line, Options{Format: JSONL})
			if len(rows) != 1 || rows[0].Raw != tt.want {
				t.Errorf("got %q, want %s", raws(rows), tt.want)
			}
		})
	}
}

// texts draws rows as anybody might write them: good, broken, and such that
// look like the reserved columns.
func texts(t *rapid.T, good []string) []string {
	piece := rapid.SampledFrom([]string{
		"g", "ann", "1000", ",", ",", ",", `"`, `""`, `","`, " ", "群", "@TGS#1", "5,bad_row,0,x,0,r", `,5,a,1,"y",2,r`,
		"{", "}", `"account":`, `"_line":5`, `"_raw":"x"`, ":", "[1]", "\\", "\t", "\u2028",
	})
	line := rapid.OneOf(
		rapid.SampledFrom(good),
		rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(piece, 1, 12).Draw(t, "pieces"), "") }),
		rapid.StringMatching(`[ -~]{1,40}`),
	)
	usable := line.Filter(func(s string) bool { return !isBlank([]byte(s)) })
	return rapid.SliceOfN(usable, 1, 20).Draw(t, "rows")
}

func failures(t *rapid.T) func(int) failure {
	message := rapid.StringMatching(`[ -~]{0,30}|[",]{0,9}|no such "thing", sorry|,5,a,1,"x",1,r`)
	quoteEverything := rapid.Bool().Draw(t, "quoteEverything")
	return func(i int) failure {
		return failure{
			line:            int64(i) + 2,
			class:           rapid.SampledFrom([]string{"bad_row", "offline_or_absent", ""}).Draw(t, "class"),
			code:            rapid.SampledFrom([]int{0, 10004, -1}).Draw(t, "code"),
			message:         message.Draw(t, "message"),
			attempts:        rapid.IntRange(0, 99).Draw(t, "attempts"),
			run:             "20261122T014912Z-4f2a9c",
			quoteEverything: quoteEverything,
		}
	}
}

var goodCSV = []string{"g,ann,1000", `g,"ann","1000,1001"`, `"a,b", x ,1000`, "g,5,7", `g,"a""b",1`}

// What a file of failed rows says of the rows of a file is taken out again,
// whatever the rows are, also the second time.
func TestFeedBackCSV(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := texts(t, goodCSV)
		src := Source{Format: CSV, Header: rapid.SampledFrom([]string{"group_id,account,marks", "\ufeff\"marks\",group_id,account"}).Draw(t, "header"), NewLine: rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(t, "newline")}
		text := src.Header + src.NewLine + strings.Join(want, src.NewLine)
		plain := feedBack(t, text, Options{})
		compare(t, "the input itself", src, want, plain)
		for _, round := range []string{"first", "second"} {
			text = failedCSV(src, raws(plain.rows), failures(t))
			again := feedBack(t, text, Options{})
			compare(t, round+" round", src, want, again)
			sameOutcome(t, plain, again)
		}
	})
}

func TestFeedBackJSONL(t *testing.T) {
	good := []string{`{"group_id":"g","account":"ann","marks":[1000]}`, `{}`, `{ }`, ` {"account" : "a"} `, "null", `[]`, `{"a":1,"a":2}`, `{"_error":"mine"`}
	rapid.Check(t, func(t *rapid.T) {
		o := Options{Format: JSONL}
		plain := feedBack(t, strings.Join(texts(t, good), "\n"), o)
		src, want := plain.src, raws(plain.rows)
		for _, round := range []string{"first", "second"} {
			again := feedBack(t, failedJSONL(src, want, failures(t)), o)
			compare(t, round+" round", src, want, again)
			sameOutcome(t, plain, again)
		}
	})
}

// weave puts reserved fields between own ones: the i-th before own[places[i]].
func weave(own, reserved []string, places []int) string {
	var out []string
	for at := range len(own) + 1 {
		for i, r := range reserved {
			if places[i] == at {
				out = append(out, r)
			}
		}
		if at < len(own) {
			out = append(out, own[at])
		}
	}
	return strings.Join(out, ",")
}

// Reserved columns may have been moved in a spreadsheet, which writes sound rows.
func TestFeedBackMoved(t *testing.T) {
	cell := rapid.SampledFrom([]string{"g", " ann ", `"a,b"`, `"x ""y"""`, "1000", `"1,2"`, "", "5"})
	rapid.Check(t, func(t *rapid.T) {
		places := rapid.SliceOfN(rapid.IntRange(0, 3), 6, 6).Draw(t, "places")
		if rapid.Bool().Draw(t, "together") {
			places = slices.Repeat(places[:1], 6)
		}
		var want []string
		text := weave([]string{"group_id", "account", "marks"}, Reserved(), places) + "\n"
		fail := failures(t)
		for i := range rapid.IntRange(1, 9).Draw(t, "rows") {
			row := rapid.SliceOfN(cell, 3, 3).Draw(t, "cells")
			f := fail(i)
			message := `"` + strings.ReplaceAll(f.message, `"`, `""`) + `"`
			values := []string{fmt.Sprint(f.line), f.class, fmt.Sprint(f.code), message, fmt.Sprint(f.attempts), f.run}
			want = append(want, strings.Join(row, ","))
			text += weave(row, values, places) + "\n"
		}
		compare(t, "moved", Source{Format: CSV, Header: "group_id,account,marks", NewLine: "\n"}, want, feedBack(t, text, Options{}))
	})
}

// A row in front of which the reserved columns were moved may be anything.
func TestFeedBackFront(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := texts(t, goodCSV)
		text := reservedHeader + ",group_id,account,marks\n"
		fail := failures(t)
		for i, row := range want {
			text += fail(i).csvValues(",") + "," + row + "\n"
		}
		compare(t, "front", Source{Format: CSV, Header: "group_id,account,marks", NewLine: "\n"}, want, feedBack(t, text, Options{}))
	})
}

// A row that was cut stays cut, and refused: 1000 must not come back as 10.
func TestFeedBackLongLine(t *testing.T) {
	o := Options{MaxLine: 40}
	long := "g," + strings.Repeat("a", 30) + ",1000000000000"
	plain := feedBack(t, header+long+"\n", o)
	for range 3 {
		plain = feedBack(t, failedCSV(plain.src, raws(plain.rows), func(int) failure { return failure{message: "the line is too long"} }), o)
		if plain.rows[0].Raw != long[:40] || plain.rows[0].Err != errTooLong(40) {
			t.Errorf("got %q, %v", plain.rows[0].Raw, plain.rows[0].Err)
		}
	}
	o.Format = JSONL
	for _, text := range []string{`{"a":"` + strings.Repeat(`\"`, 100) + `"}`, strings.Repeat("\x01", 200), strings.Repeat("群", 30), strings.Repeat("\xff群", 30), strings.Repeat(`"`, 39)} {
		plain := feedBack(t, text+"\n", o)
		want := raws(plain.rows)
		for range 3 {
			plain = feedBack(t, failedJSONL(plain.src, raws(plain.rows), func(int) failure { return failure{} }), o)
			if got := raws(plain.rows); !cmp.Equal(got, want) || plain.rows[0].Err == nil {
				t.Errorf("got %q, %v, want %q", got, plain.rows[0].Err, want)
			}
		}
	}
}

// Bytes that no JSON string can hold come back all the same.
func TestFeedBackNotUTF8(t *testing.T) {
	plain := feedBack(t, "g,\xff,1000\n", Options{Format: JSONL})
	for range 3 {
		plain = feedBack(t, failedJSONL(plain.src, raws(plain.rows), func(int) failure { return failure{} }), Options{Format: JSONL})
		if got, want := raws(plain.rows), []string{"g,\xff,1000"}; !cmp.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

type readBack struct {
	src  Source
	rows []Row[mark]
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

func feedBack(t fataler, text string, o Options) readBack {
	t.Helper()
	if o.Encoding == "" {
		o.Encoding = "utf-8"
	}
	r, err := Open[mark](strings.NewReader(text), o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	out := readBack{src: r.Source()}
	for row, err := range r.Rows() {
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		out.rows = append(out.rows, row)
	}
	return out
}

func compare(t *rapid.T, what string, src Source, want []string, got readBack) {
	t.Helper()
	if diff := cmp.Diff(want, raws(got.rows)); diff != "" {
		t.Fatalf("%s: raw (-want +got):\n%s", what, diff)
	}
	if got.src != src {
		t.Fatalf("%s: got source %+v, want %+v", what, got.src, src)
	}
}

// sameOutcome holds that a row means the same when it is fed back.
func sameOutcome(t *rapid.T, plain, again readBack) {
	t.Helper()
	for i, row := range plain.rows {
		if got := again.rows[i]; !cmp.Equal(row.Value, got.Value) || fmt.Sprint(row.Err) != fmt.Sprint(got.Err) {
			t.Fatalf("row %q: got %v, %v, want %v, %v as at first", row.Raw, got.Value, got.Err, row.Value, row.Err)
		}
	}
}

// remove leaves valid JSON behind, with the other members as they were.
func TestRemoveKeepsTheRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfNDistinct(rapid.SampledFrom(append(Reserved(), "a", "b", "c")), 1, 9, rapid.ID[string]).Draw(t, "keys")
		blank := rapid.SampledFrom([]string{"", " ", "\t "})
		var b, want bytes.Buffer
		b.WriteString("{" + blank.Draw(t, "blank"))
		for i, key := range keys {
			if i > 0 {
				b.WriteString("," + blank.Draw(t, "blank"))
			}
			fmt.Fprintf(&b, `%q%s:[%d,"},{"]%s`, key, blank.Draw(t, "blank"), i, blank.Draw(t, "blank"))
			if !isReserved(key) {
				fmt.Fprintf(&want, `%q:[%d,"},{"],`, key, i)
			}
		}
		b.WriteString("}")
		raw := feedBack(t, b.String(), Options{Format: JSONL}).rows[0].Raw
		var got bytes.Buffer
		if err := json.Compact(&got, []byte(raw)); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if w := "{" + strings.TrimSuffix(want.String(), ",") + "}"; got.String() != w || !utf8.ValidString(raw) {
			t.Fatalf("%s: got %s, want %s", b.String(), got.String(), w)
		}
	})
}

package chat

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// page asks for the members in an answer of these fields.
func page(t *testing.T, fields string) (MembersPage, error) {
	t.Helper()
	p, err := answering(`{"ActionStatus":"OK","ErrorCode":0,`+fields+`}`).GroupMembers(t.Context(), MembersQuery{Group: "g"})
	checkNoSecrets(t, err)
	return p, err
}

func TestMembersAsTheyCame(t *testing.T) {
	for _, tt := range []struct {
		name, list string
		want       []Member // nil: the page is unusable
	}{
		{"nothing but an account", `[{"Member_Account":"a"}]`, []Member{member("a")}},
		{"absent, null, empty", `[{"Member_Account":"a"},{"NameCard":null,"Member_Account":"b"},{"Member_Account":"c","NameCard":""}]`,
			[]Member{member("a"), member("b", "NameCard", `null`), member("c", "NameCard", `""`)}},
		{"digits of numbers", `[{"Member_Account":"00123","A":144115265295492787,"B":1.50,"C":1E400,"D":-0,"E":4294967295}]`,
			[]Member{member("00123", "A", `144115265295492787`, "B", `1.50`, "C", `1E400`, "D", `-0`, "E", `4294967295`)}},
		{"blanks inside and around", "[ {\r\n\"X\" :\t{ \"a\" : [ 1 ,\n2 ] }\n, \"Member_Account\": \"a\" } ]", []Member{member("a", "X", "{ \"a\" : [ 1 ,\n2 ] }")}},
		{"escapes stay", `[{"Member_Account":"a","NameCard":"\u738b\/\n\"<"}]`, []Member{member("a", "NameCard", `"\u738b\/\n\"<"`)}},
		{"escapes of an account", `[{"Member_Account":"\u738b\ud83d\ude00\/\\"}]`, []Member{member(`王😀/\`)}},
		{"bytes that are no UTF-8", "[{\"Member_Account\":\"a\xff\",\"NameCard\":\"\xff\\n\xc3(\",\"K\xfe\":[\"\xf0\x9f\"]}]",
			[]Member{member("a\xff", "NameCard", "\"\xff\\n\xc3(\"", "K\xfe", "[\"\xf0\x9f\"]")}},
		{"such bytes beside escapes", "[{\"Member_Account\":\"\\u0041\xff\\t\xfe\"}]", []Member{member("A\xff\t\xfe")}},
		{"half a surrogate pair", `[{"Member_Account":"a\ud83dz","X":"\udc00"}]`, []Member{member("a\uFFFDz", "X", `"\udc00"`)}},
		{"a name twice", `[{"X":1,"Member_Account":"a","Y":2,"X":3},{"Member_Account":"b","X":4}]`,
			[]Member{member("a", "X", `3`, "Y", `2`), member("b", "X", `4`)}},
		{"a name twice, one escaped", `[{"Member_Account":"a","X":1,"\u0058":2}]`, []Member{member("a", "X", `2`)}},
		{"names that look alike", `[{"Member_Account":"a","x\\b":1,"x\b":2,"\"x\"":3,"x":4}]`,
			[]Member{member("a", `x\b`, `1`, "x\b", `2`, `"x"`, `3`, "x", `4`)}},
		{"an escaped account", `[{"\u004dember_Account":"a"}]`, []Member{member("a")}},
		{"names are case-sensitive", `[{"Member_Account":"a","member_account":"b"}]`, []Member{member("a", "member_account", `"b"`)}},
		{"two accounts, the last wins", `[{"Member_Account":"a","Member_Account":"b"}]`, []Member{member("b")}},
		{"no members", `[]`, []Member{}},

		{"no account", `[{"Member_Account":"a"},{"Role":"Owner"}]`, []Member{member("a"), member("", "Role", `"Owner"`)}},
		{"no account behind one", `[{"Member_Account":"a","Member_Account":""}]`, []Member{member("")}},
		{"empty account", `[{"Member_Account":""}]`, []Member{member("")}},
		{"number for an account", `[{"Member_Account":123}]`, []Member{member("")}},
		{"null for an account", `[{"Member_Account":null}]`, []Member{member("")}},
		{"null for a member", `[null]`, nil},
		{"text for a member", `["a"]`, nil},
		{"list in a list", `[[{"Member_Account":"a"}]]`, nil},
		{"no list", `{"Member_Account":"a"}`, nil},
		{"text for a list", `"a"`, nil},
		{"broken in the middle", `[{"Member_Account":"a","X":01}]`, nil},
		{"open", `[{"Member_Account":"a"}`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := page(t, `"MemberNum":7,"MemberList":`+tt.list)
			if tt.want == nil {
				if !notJSON(err) || got.Members != nil {
					t.Errorf("got %s, error %v; want none of it", got.Members, err)
				}
				return
			}
			if diff := cmp.Diff(MembersPage{Members: tt.want, MemberNum: 7}, got); diff != "" || err != nil {
				t.Errorf("error %v, page (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestMembersPageFields(t *testing.T) {
	for _, tt := range []struct {
		name, fields string
		num          int64
		next         string
		unusable     bool
	}{
		{"absent", `"New":1`, -1, "", false},
		{"null", `"MemberNum":null,"Next":null,"MemberList":null`, -1, "", false},
		{"cursor", `"MemberNum":0,"Next":"144115265295492787"`, 0, "144115265295492787", false},
		{"cursor of any letters", `"Next":"a\u002fb\u0000"`, -1, "a/b\x00", false},
		{"cursor that is a number", `"Next":144115265295492787`, -1, "144115265295492787", false},
		{"cursor that is a large number", `"Next":18446744073709551617`, -1, "18446744073709551617", false},
		{"cursor 0", `"Next":0`, -1, "", false},
		{"cursor 0 as text", `"Next":"0"`, -1, "0", false},
		{"number as text", `"MemberNum":"100000"`, 100000, "", false},
		{"list twice, the last wins", `"MemberList":[{}],"MemberNum":1,"MemberList":[]`, 1, "", false},
		{"list in a field", `"X":{"MemberList":[{}]},"MemberNum":2`, 2, "", false},
		{"list of another case", `"memberlist":[{}],"MemberNum":2`, 2, "", false},
		{"cursor that is a list", `"Next":["1"]`, -1, "", true},
		{"cursor that is a fraction", `"Next":1.5`, -1, "", true},
		{"cursor that is true", `"Next":true`, -1, "", true},
		{"negative number", `"MemberNum":-1`, -1, "", false},
		{"number of letters", `"MemberNum":"many"`, -1, "", false},
		{"number too large", `"MemberNum":9223372036854775808`, -1, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := page(t, tt.fields)
			if tt.unusable {
				if !notJSON(err) {
					t.Errorf("got %+v, error %v; want none of it", got, err)
				}
				return
			}
			if err != nil || got.MemberNum != tt.num || got.Next != tt.next || len(got.Members) != 0 {
				t.Errorf("got %+v, error %v; want %d and %q", got, err, tt.num, tt.next)
			}
		})
	}
}

func TestOnlineNext(t *testing.T) {
	for fields, want := range map[string]int64{
		`"NextTimestamp":null`: 0, `"NextTimestamp":""`: 0, `"NextTimestamp":"1657773110"`: 1657773110,
		`"NextTimestamp":"x"`: -1, `"NextTimestamp":1.5`: -1, `"NextTimestamp":-1`: -1, // unusable
	} {
		got, err := answering(`{"ErrorCode":0,`+fields+`}`).OnlineMembers(t.Context(), "g", 0, 0)
		if want < 0 && !notJSON(err) || want >= 0 && (err != nil || got.Next != want) {
			t.Errorf("%s: got %d, error %v; want %d", fields, got.Next, err, want)
		}
	}
}

// A name with many members must not cost as many names, nor a member
// with many fields as much for each of its neighbours.
func TestMembersOfOddSizes(t *testing.T) {
	var b strings.Builder
	b.WriteString(`"MemberList":[{"Member_Account":"wide"`)
	for i := range 40_000 {
		fmt.Fprintf(&b, `,"f%d":%d`, i, i)
	}
	b.WriteString(`}` + strings.Repeat(`,{"Member_Account":"a"}`, 40_000) + `]`)
	got, err := page(t, b.String())
	if err != nil || len(got.Members) != 40_001 || len(got.Members[0].Fields) != 40_000 {
		t.Fatalf("got %d members, error %v", len(got.Members), err)
	}
	if n := cap(got.Members[1].Fields); n > 32 {
		t.Errorf("a member without fields has room for %d", n)
	}
}

func TestFieldText(t *testing.T) {
	for value, want := range map[string]string{`""`: "", `"a\tb"`: "a\tb", "\"\xff\"": "\xff", "\"\xff\\u0041\xfe\"": "\xffA\xfe", `"\\u0041"`: `\u0041`, `"\ud83d\ude00"`: "😀", `"\ud83d\n"`: "\uFFFD\n"} {
		if got, ok := (Field{Value: []byte(value)}).Text(); !ok || got != want {
			t.Errorf("%s: got %q, %v; want %q", value, got, ok, want)
		}
	}
	for _, value := range []string{"", "1", "null", "[]", `{"a":"b"}`, "true"} {
		if got, ok := (Field{Value: []byte(value)}).Text(); ok || got != "" {
			t.Errorf("%s: got %q, %v; want none", value, got, ok)
		}
	}
}

// FuzzMembers reads any answer with members and holds what it finds against
// encoding/json, which knows neither order nor bytes that are no UTF-8.
func FuzzMembers(f *testing.F) {
	for _, list := range []string{`[]`, `[{"Member_Account":"a","X":[1, 2],"X":"\u0041"}]`, "[{\"Member_Account\":\"\xff\",\"\\u0058\\n\xff\":1.0e5}]",
		`[{"Member_Account":"a"}],"Next":5,"MemberList":[{"Member_Account":"b"}]`, `[{"Member_Account":"\ud83d\ude00\\","a\\b":1,"a\b":2}]`, `[{}]`, `null`} {
		f.Add([]byte(`{"ErrorCode":0,"MemberNum":2,"MemberList":` + list + `}`))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := string(body)
		a, err := decode[membersAnswer]("get_group_member_info", body, testSig)
		checkDecoded(t, body, a != nil, err)
		if string(body) != before {
			t.Fatalf("the answer was changed to %q", body)
		}
		if err == nil {
			checkMembers(t, body, a.page.Members)
		}
	})
}

func checkMembers(t *testing.T, body []byte, got []Member) {
	t.Helper()
	var all map[string]json.RawMessage
	if err := json.Unmarshal(body, &all); err != nil {
		t.Fatalf("%q: accepted: %v", body, err)
	}
	var want []map[string]json.RawMessage
	if list := all["MemberList"]; list != nil {
		if err := json.Unmarshal(list, &want); err != nil {
			t.Fatalf("%q: accepted: %v", list, err)
		}
	}
	if len(want) != len(got) {
		t.Fatalf("%q: got %d members, want %d", body, len(got), len(want))
	}
	for i, m := range got {
		checkMember(t, m, want[i])
	}
}

func checkMember(t *testing.T, m Member, want map[string]json.RawMessage) {
	t.Helper()
	var account string // "" if there is none, or no text
	_ = json.Unmarshal(want["Member_Account"], &account)
	if utf8.ValidString(m.Account) && account != m.Account {
		t.Errorf("got account %q, want %q", m.Account, account)
	}
	seen := map[string]bool{}
	if _, named := want["Member_Account"]; named {
		seen["Member_Account"] = true
	}
	for _, f := range m.Fields {
		if seen[f.Name] {
			t.Errorf("%s: field %q comes twice", m, f.Name)
		}
		seen[f.Name] = true
		if !utf8.ValidString(f.Name) || strings.ContainsRune(f.Name, utf8.RuneError) {
			return // encoding/json may take it for another one
		}
		if string(f.Value) != string(want[f.Name]) {
			t.Errorf("field %q: got %q, want %q", f.Name, f.Value, want[f.Name])
		}
		if text, ok := f.Text(); ok && utf8.ValidString(text) {
			var s string
			if err := json.Unmarshal(f.Value, &s); err != nil || s != text {
				t.Errorf("%q: got text %q, want %q", f.Value, text, s)
			}
		}
	}
	if len(seen) != len(want) {
		t.Errorf("got %d fields, want %d", len(seen), len(want))
	}
}

// BenchmarkGroupMembers reads the largest page, 200 members with the most
// custom fields, beside encoding/json into structs that know the fields.
func BenchmarkGroupMembers(b *testing.B) {
	var list strings.Builder
	for i := range 200 {
		fmt.Fprintf(&list, `,{"Member_Account":"student%06d","Role":"Member","JoinTime":1425976500,"MsgSeq":1233,"MsgFlag":"AcceptAndNotify",`+
			`"LastSendMsgTime":1425976500,"MuteUntil":0,"NameCard":"同学 %d","AppMemberDefinedData":[`, i, i)
		for k := range 5 {
			fmt.Fprintf(&list, `%s{"Key":"MemberDefined%d","Value":"%064d"}`, strings.Repeat(",", min(k, 1)), k, i)
		}
		list.WriteString("]}")
	}
	body := []byte(`{"ActionStatus":"OK","ErrorCode":0,"MemberNum":200,"MemberList":[` + list.String()[1:] + `]}`)
	b.Run("client", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			if a, err := decode[membersAnswer]("get_group_member_info", body, testSig); err != nil || len(a.page.Members) != 200 {
				b.Fatal(err)
			}
		}
	})
	b.Run("structs", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			var a struct {
				envelope
				MemberList []struct {
					Account                           string `json:"Member_Account"`
					Role, MsgFlag, NameCard           string
					JoinTime, LastSendMsgTime, MsgSeq int64
					AppMemberDefinedData              []struct{ Key, Value string }
				}
			}
			if err := json.Unmarshal(body, &a); err != nil || len(a.MemberList) != 200 {
				b.Fatal(err)
			}
		}
	})
}

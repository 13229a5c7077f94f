package jobs

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"chatbatch/io/chat"
)

// memberOf is a member with fields: name, value, name, value, …
func memberOf(account string, fields ...string) chat.Member {
	m := chat.Member{Account: account}
	for i := 0; i < len(fields); i += 2 {
		m.Fields = append(m.Fields, chat.Field{Name: fields[i], Value: []byte(fields[i+1])})
	}
	return m
}

func TestCellsAndObjects(t *testing.T) {
	wide := newLayout(profileColumns(), nil, []string{"grade", "role"})
	for _, test := range []struct {
		name   string
		layout layout
		m      chat.Member
		cells  string // joined by |, without group and account
		object string // what follows {"group_id":"g","account":"ann"
	}{
		{"numbers keep their digits", wide, memberOf("ann", "MuteUntil", "4294967295", "MsgSeq", "12345678901234567890.10", "JoinTime", "1E400"),
			"|1E400|12345678901234567890.10|||4294967295||||", `,"mute_until":4294967295,"msg_seq":12345678901234567890.10,"join_time":1E400`},
		{"absent is not empty", wide, memberOf("ann", "NameCard", `""`), "|||||||||", `,"name_card":""`},
		{"nothing", wide, memberOf("ann"), "|||||||||", ""},
		{"null", wide, memberOf("ann", "NameCard", "null"), "|||||||||", `,"name_card":null`},
		{"blanks of a role", wide, memberOf("ann", "Role", `"Member "`), "Member|||||||||", `,"role":"Member"`},
		{"a role that is no text", wide, memberOf("ann", "Role", "3"), "3|||||||||", `,"role":3`},
		{"unknown fields", wide, memberOf("ann", "Zodiac", `{"a": [1,
 2]}`, "NameCard", `"x"`, "New", "1.50"), "||||||x|||", `,"name_card":"x","other":{"Zodiac":{"a":[1,2]},"New":1.50}`},
		{"custom fields", wide, memberOf("ann", "AppMemberDefinedData", `[{"Key":"grade","Value":"7b"},{"Key":"role","Value":"monitor"},{"Key":"x","Value":{"a":
1}}]`, "Role", `"Admin"`), "Admin||||||||7b|monitor", `,"role":"Admin","custom":{"grade":"7b","role":"monitor","x":{"a":1}}`},
		{"a custom field twice", wide, memberOf("ann", "AppMemberDefinedData", `[{"Key":"grade","Value":1},{"Key":"grade","Value":2}]`), "||||||||2|", `,"custom":{"grade":2}`},
		{"a custom field without a value", wide, memberOf("ann", "AppMemberDefinedData", `[{"Key":"grade"}]`), "|||||||||", `,"custom":{"grade":null}`},
		{"no custom fields", wide, memberOf("ann", "AppMemberDefinedData", `[]`), "|||||||||", `,"custom":{}`},
		{"custom fields of another form", wide, memberOf("ann", "AppMemberDefinedData", `{"grade":"7b"}`), "|||||||||", `,"other":{"AppMemberDefinedData":{"grade":"7b"}}`},
		{"custom fields without keys", wide, memberOf("ann", "AppMemberDefinedData", `[{"Value":"7b"}]`), "|||||||||", `,"other":{"AppMemberDefinedData":[{"Value":"7b"}]}`},
		{"bytes that are no UTF-8", wide, memberOf("ann", "NameCard", "\"a\xffb\""), "||||||a\xffb|||", `,"name_card":{"base64":"Yf9i"}`},
		{"and deeper", wide, memberOf("ann", "Zodiac", "[\"a\xffb\"]"), "|||||||||", `,"other":{"Zodiac":["a` + "\ufffd" + `b"]}`},
		{"escapes", wide, memberOf("ann", "NameCard", `"a\nb\u00e9\"\\"`), "||||||a\nbé\"\\|||", `,"name_card":"a\nb\u00e9\"\\"`},
		{"some fields", newLayout(profileColumns(), []string{"NameCard", "New", "Role"}, nil), memberOf("ann", "Role", `" Owner"`, "New", "[1, 2]", "NameCard", `"x"`, "MsgSeq", "1"),
			"x|[1,2]|Owner", `,"role":"Owner","New":[1,2],"name_card":"x"`},
		{"online", newLayout(onlineColumns(), nil, nil), memberOf("ann", "JoinTime", "1655348637", "NickName", `"A"`, "Avatar", `""`, "OnlineStatus", `"Online"`),
			"1655348637|A|", `,"join_time":1655348637,"nick_name":"A","avatar":"","other":{"OnlineStatus":"Online"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			cells := test.layout.cells("g", test.m)
			if len(cells) != len(test.layout.columns()) || cells[0] != "g" || cells[1] != "ann" {
				t.Fatalf("got %q for the columns %q", cells, test.layout.columns())
			}
			if got := strings.Join(cells[2:], "|"); got != test.cells {
				t.Errorf("cells: got %q, want %q", got, test.cells)
			}
			want := `{"group_id":"g","account":"ann"` + test.object + "}"
			if got := string(test.layout.object(nil, "g", test.m)); got != want {
				t.Errorf("object:\ngot  %s\nwant %s", got, want)
			}
		})
	}
}

// No two columns are called alike.
func TestColumnsOfCustomFields(t *testing.T) {
	for _, test := range []struct{ keys, want []string }{
		{[]string{"grade"}, []string{"grade"}},
		{[]string{"account", "group_id", "role"}, []string{"custom.account", "custom.group_id", "custom.role"}},
		{[]string{"custom.role", "role"}, []string{"custom.role", "custom.custom.role"}},
		{[]string{"Role"}, []string{"Role"}},
	} {
		l := newLayout(profileColumns(), nil, test.keys)
		if got := l.columns()[2+len(profileColumns()):]; !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.keys, got, test.want)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"role", "account", "custom.role", "custom.custom.role", "grade", "custom.account", "name_card", ""}), func(s string) string { return s }).Draw(rt, "keys")
		names := newLayout(profileColumns(), nil, keys).columns()
		slices.Sort(names)
		if n := len(slices.Compact(slices.Clone(names))); n != len(names) {
			rt.Errorf("columns %q", names)
		}
	})
}

func TestFieldNamed(t *testing.T) {
	for name, want := range map[string]string{
		"name_card": "NameCard", "NameCard": "NameCard", "NAMECARD": "NameCard", "Role": "Role", "mute_until": "MuteUntil",
		"nick_name": "NickName", "SomethingNew": "SomethingNew",
	} {
		if got := FieldNamed(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

// Whatever the server sends becomes one line of JSON from which it can be had
// back, and as many cells as there are columns.
func FuzzObject(f *testing.F) {
	f.Add("g", "ann", "NameCard", []byte(`"x"`))
	f.Add("@TGS#1", "a\"b", "Zodiac", []byte("{\"a\":[1,\n2.50]}"))
	f.Add("g", "学", "AppMemberDefinedData", []byte(`[{"Key":"k","Value":"v"},{"Key":"k","Value":1}]`))
	f.Add("g", "x", "Role", []byte("\"\xff\""))
	f.Fuzz(func(t *testing.T, group, account, name string, value []byte) {
		if !json.Valid(value) || len(value) == 0 || strings.TrimSpace(string(value)) != string(value) {
			t.Skip()
		}
		m := chat.Member{Account: account, Fields: []chat.Field{{Name: name, Value: slices.Clone(value)}}}
		l := newLayout(profileColumns(), nil, []string{"k"})
		object := l.object(nil, group, m)
		if !json.Valid(object) || strings.ContainsAny(string(object), "\n\r") {
			t.Fatalf("got %q", object)
		}
		if cells := l.cells(group, m); len(cells) != len(l.columns()) || cells[0] != group || cells[1] != account {
			t.Fatalf("got %q", cells)
		}
		if d := cmp.Diff(string(value), string(m.Fields[0].Value)); d != "" {
			t.Fatalf("the value was changed: %s", d)
		}
	})
}

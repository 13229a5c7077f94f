//go:build linux

package chaos

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Accounts that nobody would think of, and that the API allows: they go over the wire
// as they are.
var oddAccounts = []string{
	"a,b", `say "hi"`, `"quoted"`, "'", "#comment", "a/b?c&d", "two  words", "00123", "1E5", "0x10", "1e5", "-1", "+8613800000000", "1.0",
	"=cmd|' /C calc'!A0", "@SUM(A1)", "+1", "-", "_line", "null", "true", "NaN", "{}", "[]", "<b>", "%00", `\`, `\n`, `a\`, ";", "|", "$(x)", "`x`", "~",
	"学生学生学生学生学生12" /* 32 bytes */, "🎓", "👩‍👩‍👧", "\u202eabc", "a\u200fb", "e\u0301", "é", "ﬁ", "İ", "ß", "A", "a", "\u200b", "x\ufeffy", "\ufffd", "中文，全角", "１２３",
	"\u007f", "a\tb", "a\bb", "\x1b[31m", strings.Repeat("x", 32), "administrator",
}

// Groups likewise. (None of 50 bytes: who would know how long a group may be?)
var oddGroups = []string{
	"@TGS#1ABC", "@TGS#_community", "a,b", `"g"`, "#1", "g/../g", "two words", "00123", "1E5", "=1+1", "群组", "🎓", "\u202eg", "@TGS#" + strings.Repeat("x", 43), "@TGS#" + strings.Repeat("x", 44), "null", "_run", "&", "<g>",
}

// someGroups are those that are tried.
func someGroups() []string { return oddGroups[:times(6, len(oddGroups))] }

// csvText writes records as CSV.
func csvText(records ...[]string) string {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.WriteAll(records) // to a Buffer
	return b.String()
}

// jsonText writes a value as JSON on a line.
func jsonText(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // of texts and numbers
	return b.String()
}

// What goes over the wire for an odd account in an odd group is exactly that account
// and that group, whatever the form of the input.
func TestInputOddNames(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"csv", "jsonl", "blanks.csv"} {
		p := newPlace(t)
		header := []string{"group_id", "account", "marks", "unread_msg_num"}
		text, accounts, blank := csvText(header), oddAccounts, ""
		switch form {
		case "jsonl":
			text, accounts = "", append(slices.Clone(oddAccounts), "a\nb", "a\rb", "\x01", "a\u2028b")
		case "blanks.csv":
			blank = " \t"
		}
		n := 0
		for i, group := range someGroups() {
			p.api.found(group, "Public")
			for j, account := range accounts {
				p.api.join(group, account)
				if n++; form == "jsonl" {
					text += jsonText(map[string]any{"group_id": group, "account": account, "marks": []int{1000 + i}, "unread_msg_num": j})
				} else {
					text += csvText([]string{blank + group + blank, blank + account + blank, fmt.Sprint(1000 + i), fmt.Sprint(j)})
				}
			}
		}
		name := p.file("odd."+form, text)
		for _, kind := range []string{"marks", "unread"} {
			e := p.run(kind, "set", name, "--json")
			e.want(t, exitOK)
			if s := p.summary(e); s.Succeeded != n {
				t.Errorf("%s of %s: got %+v, want %d succeeded; %.2000s", kind, form, s, n, e.stderr)
			}
		}
		tried.add("an odd account in an odd group, in CSV and JSONL: the same at the server", n, p.wrongOdd(accounts))
	}
}

// wrongOdd compares marks and counts at the server with what TestInputOddNames has set.
func (p *place) wrongOdd(accounts []string) (lost int) {
	marks := p.api.allMarks()
	p.api.mu.Lock()
	defer p.api.mu.Unlock()
	for i, group := range someGroups() {
		for j, account := range accounts {
			of := [2]string{group, account}
			if marks[of] != fmt.Sprint(1000+i) || !slices.Equal(p.api.unread[of], []int64{int64(j)}) {
				lost++
				p.t.Errorf("%q: got marks %q, counts %v at the server", of, marks[of], p.api.unread[of])
			}
		}
	}
	if n := len(someGroups()) * len(accounts); len(marks) != n || len(p.api.unread) != n {
		p.t.Errorf("got %d accounts with marks, %d with counts, want %d", len(marks), len(p.api.unread), n)
	}
	return lost
}

// What comes out of an export is what the server sent, byte for byte, in CSV and JSONL.
func TestInputOddExports(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	groups := [][]string{{"group_id"}}
	accounts := append(slices.Clone(oddAccounts), "a\nb", "a\r\nb", "\r", "\n", `"`, "\x01", ",", "\u2028")
	var want [][3]string
	for _, group := range someGroups() {
		p.api.found(group, "Public")
		groups = append(groups, []string{group})
		for _, account := range accounts {
			p.api.join(group, account)
			want = append(want, [3]string{group, account, "card of " + account})
		}
	}
	name := p.file("groups.csv", csvText(groups...))
	for out, read := range map[string]func(text string) [][3]string{"m.csv": p.membersCSV, "m.jsonl": p.membersJSONL} {
		p.run("export", "members", name, "-o", out).want(t, exitOK)
		text, err := os.ReadFile(filepath.Join(p.dir, out))
		if err != nil {
			t.Fatal(err)
		}
		got, lost := read(string(text)), 0
		for i := range max(len(want), len(got)) {
			if i >= len(want) || i >= len(got) || got[i] != want[i] {
				lost++
			}
		}
		if lost > 0 {
			t.Errorf("%s: %d of %d members are wrong: %.900q", out, lost, len(want), got)
		}
		tried.add("a member with an odd name, exported to CSV and JSONL and parsed again", len(want), lost)
	}
}

// membersCSV parses an export: group, account and name card. encoding/csv would read
// CR LF inside quotes as LF, so it gets to see no CR.
func (p *place) membersCSV(text string) (got [][3]string) {
	records, err := csv.NewReader(strings.NewReader(strings.ReplaceAll(text, "\r", "\ue000"))).ReadAll()
	if err != nil || records[0][8] != "name_card" {
		p.t.Fatal(err, records[:1])
	}
	for _, r := range records[1:] {
		got = append(got, [3]string{r[0], strings.ReplaceAll(r[1], "\ue000", "\r"), strings.ReplaceAll(r[8], "\ue000", "\r")})
	}
	return got
}

func (p *place) membersJSONL(text string) (got [][3]string) {
	for line := range strings.Lines(text) {
		var m struct {
			Group   string `json:"group_id"`
			Account string `json:"account"`
			Card    string `json:"name_card"`
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			p.t.Fatal(err)
		}
		got = append(got, [3]string{m.Group, m.Account, m.Card})
	}
	return got
}

// A row that names no group costs itself; the export has the others.
func TestInputBadGroups(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	text, want := "note,group_id\n", "group_id"
	bad := []string{`x,`, `x," "`, `x`, `x,y,z`, `x,"g`, `x,g"`, `"x"y,g`, "x,\"a\tb\"", "x,a\x00", "x,a\xff", "x,a\rb", "x,a\x7f", "x,@TGS#_1@TOPIC#_2", "x," + strings.Repeat("g", 1025), "x,1.5E+10", ","}
	for i, row := range bad {
		group := fmt.Sprintf("public%d", i)
		p.api.found(group, "Public")
		p.api.join(group, "m")
		text += row + "\nnote," + group + "\n"
		want += "\n" + group
	}
	for _, kind := range []string{"members", "online"} {
		e := p.run("export", kind, p.file("groups.csv", text), "-o", kind+".csv", "--max-bad-rows", "50%", "--json")
		e.want(t, exitFailed)
		s := p.summary(e)
		out, err := os.ReadFile(filepath.Join(p.dir, kind+".csv"))
		if got := regexp.MustCompile(`,.*`).ReplaceAllString(strings.TrimSpace(string(out)), ""); err != nil || got != want {
			t.Errorf("export %s: %v, got the groups %.500q", kind, err, got)
		}
		tried.add("a group that is none, between groups that are exported", len(bad), p.wrongRows(s.Run, bad))
	}
}

// A value is a mark or a count, or it costs its own row.
func TestInputOddValues(t *testing.T) {
	t.Parallel()
	good := map[string][]string{ // as CSV has it; what the server has then
		"marks":  {"1000=1000", "500=500", "600=600", "4294967296=4294967296", "1000 1001;1002|1003=1000 1001 1002 1003", " 1000 ,, 1001 ;=1000 1001", "1000,1000=1000", "9007199254740991=9007199254740991"},
		"unread": {"0=0", "1=1", " 7 =7", "4294967295=4294967295", "4294967294=4294967294"},
	}
	bad := map[string][]string{
		"marks":  {"0", "-1", "1e3", "1000.0", "0x3e8", "01000", "999", "501", "", " ", ",", ";|", "18446744073709551616", "99999999999999999999999", "１０００", "1 000", "1,000", "+1000", "1000 x", "1000\u00a01001", "NaN", "null", "true", "[1000]", "1000-1003", "١٠٠٠"},
		"unread": {"", " ", "-0", "+5", "-1", "1.0", "1e2", "4294967296", "18446744073709551616", "05", "0x5", "５", "1,000", "1 0", "NaN", "null", "5 ", "\u00a05", "1_0"},
	}
	for kind, column := range map[string]string{"marks": "marks", "unread": "unread_msg_num"} {
		p := newPlace(t)
		records, want := [][]string{{"group_id", "account", column}}, map[[2]string]string{}
		var rows []string // that are bad, as written
		for i, value := range append(slices.Clone(good[kind]), bad[kind]...) {
			account := fmt.Sprintf("m%d", i)
			text, at, ok := strings.Cut(value, "=")
			if kind == "unread" && value == "5 " { // a blank behind it is none of its
				text, at, ok = value, "5", true
			}
			p.api.found("g"+account, "Public")
			p.api.join("g"+account, account)
			record := []string{"g" + account, account, text}
			if records = append(records, record); ok {
				want[[2]string{"g" + account, account}] = at
			} else {
				rows = append(rows, csvText(record))
			}
		}
		e := p.run(kind, "set", p.file("values.csv", csvText(records...)), "--max-bad-rows", "90%", "--json")
		e.want(t, exitFailed)
		s := p.summary(e)
		lost := p.wrongValues(kind, want) + p.wrongRows(s.Run, rows)
		if s.ByClass["bad_row"] != len(rows) || s.Succeeded != len(want) {
			t.Errorf("%s: got %+v, want %d bad", kind, s, len(rows))
		}
		tried.add("a value that is a mark or a count, or is none", len(records)-1, lost)
	}
}

// wrongValues compares what the server has with what it should have.
func (p *place) wrongValues(kind string, want map[[2]string]string) (lost int) {
	got := p.api.allMarks()
	if kind == "unread" {
		p.api.mu.Lock()
		defer p.api.mu.Unlock()
		for of, counts := range p.api.unread {
			got[of] = strings.Trim(fmt.Sprint(counts), "[]")
		}
	}
	for of, value := range want {
		if got[of] != value {
			lost++
			p.t.Errorf("%q has %q at the server, want %q", of, got[of], value)
		}
	}
	if len(got) != len(want) {
		p.t.Errorf("%d accounts have something at the server, want %d", len(got), len(want))
	}
	return lost
}

// wrongRows looks whether failed.csv has just these rows, each as written, in this order.
func (p *place) wrongRows(run string, rows []string) (lost int) {
	p.t.Helper()
	failed := p.failedLines(run, "failed.csv")
	for i := range max(len(rows), len(failed)) {
		if i >= len(rows) || i >= len(failed) || failed[i].text != strings.TrimRight(rows[i], "\r\n") {
			lost++
		}
	}
	if lost > 0 {
		p.t.Errorf("%d of %d rows are not as written: %.500s", lost, len(rows), fmt.Sprintf("%+v", failed))
	}
	return lost
}

// A line of JSONL that is no row costs itself, and comes back as it was written.
func TestInputOddLines(t *testing.T) {
	t.Parallel()
	good := func(i int) string { return fmt.Sprintf(`{"group_id":"g","account":"a%d","marks":[1000]}`, i) }
	odd := []string{
		`{"group_id":"g","account":"a0","marks":["1000","1001"]}`, `{"group_id":"g","account":"a0","marks":{"a":1000}}`, `{"group_id":"g","account":"a0","marks":[[1000]]}`,
		`{"group_id":"g","account":"a0","marks":[1000,]}`, `{"group_id":"g","account":"a0","marks":[1e3]}`, `{"group_id":"g","account":"a0","marks":[-0]}`, `{"group_id":"g","account":"a0","marks":[]}`,
		`{"group_id":"g","account":"a0","marks":null}`, `{"group_id":"g","account":null,"marks":[1000]}`, `{"group_id":"g","account":12345678901234567890,"marks":[1000]}`, `{"group_id":"g","account":1e400,"marks":[1000]}`,
		`{"group_id":"g","account":["a0"],"marks":[1000]}`, `{"group_id":"g","account":"a0","account":"a1","marks":[1000]}`, `{"group_id":"g","account":"a0","userid":"a1","marks":[1000]}`, `{"group_id":"g","marks":[1000]}`,
		`null`, `true`, `5`, `"text"`, `[]`, good(0) + good(1), good(0) + ",", good(0) + " // comment", "// comment", "/* */ " + good(0), `{'group_id':'g'}`, `{group_id:"g"}`, `{}`, `{`, `}`, `"`, `{"`,
		`{"group_id":"g","account":"a0","marks":[1000],"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "}", `{"group_id":"g","account":"\ud800","marks":[1000]}`, "{\"group_id\":\"g\",\"account\":\"\xff\",\"marks\":[1000]}",
		`{"group_id":"g","account":"\u0000","marks":[1000]}`, "{\"group_id\":\"g\",\"account\":\"a\x00\",\"marks\":[1000]}", "\x00", "\ufeff" + good(0), `{"group_id":"g","account":"a0","marks":[1000],"x":01}`, `{"group_id":"g","account":"a0","marks":[1000]}]`,
	}
	p := newPlace(t)
	text := "\ufeff"
	for i, line := range odd {
		p.api.join("g", fmt.Sprintf("a%d", i))
		text += good(i) + "\n" + line + "\n"
	}
	e := p.run("marks", "set", p.file("odd.jsonl", text), "--max-bad-rows", "50%", "--json")
	e.want(t, exitFailed)
	s := p.summary(e)
	if s.Rows != 2*len(odd) || s.Succeeded != len(odd) || s.ByClass["bad_row"] != len(odd) {
		t.Errorf("got %+v, want %d good rows and as many bad ones", s, len(odd))
	}
	lost := 0
	failed := p.failedLines(s.Run, "odd.jsonl")
	for i, f := range failed {
		if f.line%2 != 0 || f.text != odd[f.line/2-1] {
			lost++
			t.Errorf("failed row %d of line %d: got %.300q", i, f.line, f.text)
		}
	}
	tried.add("a line of JSONL that is no row, between lines that are", len(odd), lost+len(odd)-len(failed))
}

//go:build linux

package chaos

import (
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// lineOf makes the text of one row, without its end, out of pieces that do not always
// fit.
func lineOf(jsonl bool) *rapid.Generator[string] {
	group := rapid.SampledFrom([]string{"g", "g", "h", " g ", "@TGS#1", "", "\t", "c\x01", "t@TOPIC#_1", "no such group", strings.Repeat("g", 70_000)})
	account := rapid.SampledFrom([]string{"ann", "bob", "ann ", "off", "a,b", `"q"`, "=1+1", "学生", "00123", "1.5E+10", "", "\x00", "a\xffb", "a\rb", strings.Repeat("x", 33)})
	mark := rapid.SampledFrom([]string{"1000", "1000", "1001", "1000 1001", "0", "", "1e3", "x", "500"})
	quote := rapid.SampledFrom([]string{"", "", "", `"`, `""`})
	if !jsonl {
		return rapid.Custom(func(t *rapid.T) string {
			row := strings.TrimRight(csvText([]string{group.Draw(t, "group"), account.Draw(t, "account"), mark.Draw(t, "mark"), "note"}), "\n")
			if at := rapid.IntRange(0, 6*len(row)).Draw(t, "at"); at < len(row) { // one in six is spoilt
				row = row[:at] + rapid.SampledFrom([]string{`"`, ",", "\r", "\x00", "\xff", `","`, ",5,bad_row,0,x,0,r"}).Draw(t, "spoil") + row[at:]
			}
			return strings.ReplaceAll(row, "\n", " ") + quote.Draw(t, "quote")
		})
	}
	return rapid.Custom(func(t *rapid.T) string {
		fields := []string{`"group_id":` + strings.TrimRight(jsonText(group.Draw(t, "group")), "\n"), `"account":` + strings.TrimRight(jsonText(account.Draw(t, "account")), "\n"), `"marks":` + strings.TrimRight(jsonText(mark.Draw(t, "mark")), "\n")}
		row := "{" + strings.Join(rapid.Permutation(fields).Draw(t, "fields"), ",") + "}"
		if at := rapid.IntRange(0, 6*len(row)).Draw(t, "at"); at < len(row) {
			row = row[:at] + rapid.SampledFrom([]string{`"`, ",", "{", "]", "\x00", "\xff", `\`, `,"account":null`, `{}`, "//"}).Draw(t, "spoil") + row[at:]
		}
		return row + rapid.SampledFrom([]string{"", "", "", " ", ",", "{}", "}"}).Draw(t, "tail")
	})
}

// isBad says whether a row must be bad, from the rules of the README.
func isBad(line string, jsonl bool) bool {
	var group, account string
	var marks string
	if jsonl {
		var v map[string]json.RawMessage
		if !utf8.ValidString(line) || json.Unmarshal([]byte(line), &v) != nil {
			return true
		}
		for name, into := range map[string]*string{"group_id": &group, "account": &account, "marks": &marks} {
			if strings.Count(line, `"`+name+`"`) != 1 || v[name] == nil || v[name][0] != '"' || json.Unmarshal(v[name], into) != nil {
				return true
			}
		}
	} else {
		r := csv.NewReader(strings.NewReader(line))
		f, err := r.Read()
		if err != nil || len(f) != 4 || strings.ContainsAny(line, "\x00\r") || !utf8.ValidString(line) || len(line) >= 64<<10 {
			return true
		}
		group, account, marks = f[0], f[1], f[2]
	}
	group, account = strings.TrimSpace(group), strings.TrimSpace(account)
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	if group == "" || len(group) > 1024 || strings.ContainsFunc(group, control) || strings.Contains(group, "@TOPIC#_") || strings.ContainsRune(account, 0) {
		return true
	}
	for _, id := range []string{group, account} {
		if spreadsheet.MatchString(id) {
			return true
		}
	}
	all := strings.FieldsFunc(marks, func(r rune) bool { return strings.ContainsRune(",;| \t", r) })
	none := func(mark string) bool { return !aMark.MatchString(mark) }
	return account == "" || len(account) > 32 || len(all) == 0 || slices.ContainsFunc(all, none)
}

var (
	spreadsheet = regexp.MustCompile(`^[0-9](\.[0-9]+)?E\+[0-9]{2}$`)
	aMark       = regexp.MustCompile(`^(500|1000|1001)$`)
)

// Whatever a roster is made of, each row ends once; the failed ones come back as they
// were written; and fed back, they do so again, until nothing changes.
func TestInputRandomRosters(t *testing.T) {
	for i := range times(4, 60) {
		for _, jsonl := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d, JSONL %v", i, jsonl), func(t *testing.T) {
				t.Parallel()
				lines := rapid.SliceOfN(lineOf(jsonl), 1, 60).Example(i)
				lines = slices.DeleteFunc(lines, func(s string) bool { return strings.Trim(s, " \t\r") == "" })
				tried.add("a roster of random pieces, fed back until nothing changes", 1, tryRoster(t, lines, jsonl))
			})
		}
	}
}

func tryRoster(t *testing.T, lines []string, jsonl bool) (lost int) {
	p := newPlace(t)
	for _, group := range []string{"g", "h", "@TGS#1"} {
		for _, account := range []string{"ann", "bob", "a,b", `"q"`, "=1+1", "学生", "00123", "a\rb", "a\ufffdb"} {
			p.api.join(group, account)
		}
	}
	header, name := "group_id,account,marks,note\n", "random.csv"
	if jsonl {
		header, name = "", "random.jsonl"
	}
	text := header
	for i, line := range lines {
		text += line + []string{"\n", "\n", "\r\n"}[i%3]
	}
	file := p.file(name, strings.TrimRight(text, "\r\n"))
	for round := range 3 {
		e := p.run("marks", "set", file, "--max-bad-rows", "100%", "--json")
		s := p.summary(e)
		failed := p.failedLines(s.Run, name)
		if s.Rows != len(lines) || s.Failed != len(failed) || s.Unprocessed != 0 || round > 0 && s.Succeeded != 0 {
			t.Errorf("round %d: got %+v of %d lines, %d in the failed file; it said:\n%.2000s", round, s, len(lines), len(failed), e.stderr)
		}
		lost += wrongFailed(t, failed, lines, jsonl)
		if len(failed) == 0 {
			return lost
		}
		lines = lines[:0:0]
		for _, f := range failed {
			lines = append(lines, f.text)
		}
		file = filepath.Join(p.runs(), s.Run, "failed"+filepath.Ext(name))
	}
	return lost
}

// A failedLine is a row of a failed file: its text as the author wrote it, and what
// stands behind it.
type failedLine struct {
	text  string
	line  int
	class string
}

// behind finds the reserved columns at the end of a row of CSV.
var behind = regexp.MustCompile(`(?s)^(.*),([0-9]+),([a-z_]+),-?[0-9]+,(?:"(?:[^"]|"")*"|[^",]*),[0-9]+,[0-9TZa-f.-]+$`)

// failedLines reads a failed file as its author would, without the program's own reader.
func (p *place) failedLines(run, input string) (failed []failedLine) {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.runs(), run, "failed"+filepath.Ext(input)))
	if err != nil {
		p.t.Error(err)
		return nil
	}
	lines := strings.Split(strings.TrimRight(string(text), "\r\n"), "\n")
	if strings.HasSuffix(input, ".csv") {
		for _, line := range lines[1:] {
			line = strings.TrimSuffix(line, "\r")
			m := behind.FindStringSubmatch(line)
			if m == nil {
				p.t.Errorf("%.300q is no row of a failed file", line)
				continue
			}
			f := failedLine{text: m[1], class: m[3]}
			fmt.Sscan(m[2], &f.line)
			failed = append(failed, f)
		}
		return failed
	}
	for _, line := range lines {
		if line == "" {
			continue
		}
		var v struct {
			Raw   json.RawMessage `json:"_raw"`
			Line  int             `json:"_line"`
			Class string          `json:"_class"`
		}
		at := strings.LastIndex(line, `"_line":`)
		if err := json.Unmarshal([]byte(line), &v); err != nil || at < 1 {
			p.t.Errorf("%.300q is no row of a failed file: %v", line, err)
			continue
		}
		f := failedLine{text: strings.TrimSuffix(line[:at], ",") + "}", line: v.Line, class: v.Class}
		if strings.HasPrefix(line, `{"_raw":`) {
			f.text = rawText(v.Raw)
		}
		failed = append(failed, f)
	}
	return failed
}

// rawText is the line that is kept under _raw.
func rawText(raw json.RawMessage) (text string) {
	var kept struct{ Base64 string }
	if json.Unmarshal(raw, &kept) == nil {
		b, _ := base64.StdEncoding.DecodeString(kept.Base64) // what is wrong shows in the comparison
		return string(b)
	}
	_ = json.Unmarshal(raw, &text)
	return text
}

// wrongFailed compares failed rows with the lines of the input: what is bad must be
// there, and each must be as it was written.
func wrongFailed(t *testing.T, failed []failedLine, lines []string, jsonl bool) (lost int) {
	t.Helper()
	at := map[int]failedLine{}
	for _, f := range failed {
		at[f.line] = f
	}
	offset := 2
	if jsonl {
		offset = 1
	}
	for i, line := range lines {
		f, there := at[i+offset]
		delete(at, i+offset)
		switch bad := isBad(line, jsonl); {
		case bad != (f.class == "bad_row"):
			lost++
			t.Errorf("line %d, %.300q: got class %q, is it bad? %v", i+offset, line, f.class, bad)
		case there && f.text != line && !(jsonl && f.text == strings.TrimSpace(line)) && !(len(line) >= 64<<10 && f.text == line[:64<<10]):
			lost++
			t.Errorf("line %d: it was %.300q, and comes back as %.300q", i+offset, line, f.text)
		}
	}
	if len(at) > 0 {
		t.Errorf("failed rows of no line: %.500v", at)
	}
	return lost
}

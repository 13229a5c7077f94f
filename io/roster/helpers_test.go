package roster

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// mark is a row as a job of marks would have it.
type mark struct {
	Group   Group   `csv:"group_id"`
	Account Account `csv:"account"`
	Marks   Marks   `csv:"marks"`
}

const header = "group_id,account,marks\n"

// mustOpen opens a text that has a good header.
func mustOpen[T any](t testing.TB, text string, o Options) *Reader[T] {
	t.Helper()
	r, err := Open[T](strings.NewReader(text), o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return r
}

// readAll reads all rows of a text that has a good header.
func readAll[T any](t testing.TB, text string, o Options) []Row[T] {
	t.Helper()
	var rows []Row[T]
	for row, err := range mustOpen[T](t, text, o).Rows() {
		if err != nil {
			t.Fatalf("Rows: %v", err)
		}
		rows = append(rows, row)
	}
	return rows
}

// show puts a row into one line: "3 g1/ann [1000]" or "3 ! reason".
func show(row Row[mark]) string {
	if row.Err != nil {
		return fmt.Sprintf("%d ! %v", row.Line, row.Err)
	}
	return fmt.Sprintf("%d %s/%s %v", row.Line, row.Value.Group, row.Value.Account, row.Value.Marks)
}

func showAll(rows []Row[mark]) []string {
	var out []string
	for _, row := range rows {
		out = append(out, show(row))
	}
	return out
}

// raws are the texts of the rows as written.
func raws[T any](rows []Row[T]) []string {
	var out []string
	for _, row := range rows {
		out = append(out, row.Raw)
	}
	return out
}

// failure is what a file of failed rows adds to a row.
type failure struct {
	line            int64
	class           string
	code            int
	message         string
	attempts        int
	run             string
	quoteEverything bool
}

// csvValues are the values of the reserved columns, as CSV.
func (f failure) csvValues(by string) string {
	message := f.message
	if f.quoteEverything || strings.ContainsAny(message, by+"\"") || strings.HasPrefix(message, " ") {
		message = `"` + strings.ReplaceAll(message, `"`, `""`) + `"`
	}
	return strings.Join([]string{fmt.Sprint(f.line), f.class, fmt.Sprint(f.code), message, fmt.Sprint(f.attempts), f.run}, by)
}

// jsonMembers are the reserved members, as JSON.
func (f failure) jsonMembers() string {
	return fmt.Sprintf(`"_line":%d,"_class":%q,"_code":%d,"_error":%s,"_attempts":%d,"_run":%q`,
		f.line, f.class, f.code, jsonString(f.message), f.attempts, f.run)
}

func jsonString(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return strconv.Quote(s)
	}
	return string(b)
}

const reservedHeader = "_line,_class,_code,_error,_attempts,_run"

// failedCSV writes rows as a file of failed rows does.
func failedCSV(src Source, texts []string, fail func(i int) failure) string {
	var b strings.Builder
	by := cmp.Or(src.Delimiter, ",")
	b.WriteString(src.Header + by + strings.ReplaceAll(reservedHeader, ",", by) + src.NewLine)
	for i, text := range texts {
		b.WriteString(text + by + fail(i).csvValues(by) + src.NewLine)
	}
	return b.String()
}

// failedJSONL does the same for JSONL: behind the members of an object, or with
// the text as a string, or in base64, if it is none.
func failedJSONL(src Source, texts []string, fail func(i int) failure) string {
	var b strings.Builder
	for i, text := range texts {
		members := fail(i).jsonMembers()
		if !utf8.ValidString(text) {
			b.WriteString(`{"_raw":{"base64":"` + base64.StdEncoding.EncodeToString([]byte(text)) + `"},` + members + "}")
		} else if object := map[string]json.RawMessage(nil); json.Unmarshal([]byte(text), &object) != nil || object == nil {
			b.WriteString(`{"_raw":` + jsonString(text) + "," + members + "}")
		} else {
			end := strings.LastIndexByte(text, '}')
			if len(object) > 0 {
				members = "," + members
			}
			b.WriteString(text[:end] + members + text[end:])
		}
		b.WriteString(src.NewLine)
	}
	return b.String()
}

package report

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"chatbatch/io/charset"
	"chatbatch/io/ledger"
	"chatbatch/io/workbook"
)

func must(t rapid.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// small makes a run of 6 rows: two bad ones, one that failed, one that
// succeeded, two unprocessed.
func small(t *testing.T, m ledger.Meta, raws [6]string) *ledger.Ledger {
	t.Helper()
	ctx := t.Context()
	m.Run, m.Kind = "r1", "marks set"
	l, err := ledger.Store{Dir: t.TempDir()}.Create(ctx, m)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	for i, raw := range raws {
		must(t, l.PlanSource(int64(i), int64(i+2), raw))
	}
	must(t, l.PlanFailed(1, ledger.Outcome{Class: "bad_row", Error: "column marks:\r\n\"010\" is not a mark\x00, it has a leading zero"}))
	must(t, l.PlanFailed(4, ledger.Outcome{Class: "bad_row", Error: "record on line 6: wrong number of fields"}))
	entry := func(row int64) ledger.Entry { return ledger.Entry{Account: fmt.Sprint("a", row), Rows: []int64{row}} }
	must(t, l.PlanChunk("g", []ledger.Entry{entry(0), entry(2)}))
	must(t, l.PlanChunk("g", []ledger.Entry{entry(3), entry(5)}))
	must(t, l.PlanDone(ctx, 6, 0))
	must(t, l.Begin(ctx))
	must(t, l.Sent(ctx, 1))
	must(t, l.Settle(ctx, 1, []ledger.Outcome{{Attempts: 1}, {Class: "refused", Code: 10004, Error: "群组 unknown", Attempts: 3}}, ledger.Cost{Calls: 4, Retries: 1}))
	must(t, l.End(ctx, ledger.Interrupted, ledger.Session{Seconds: 2, MaxCallsInOneSecond: 3}))
	return l
}

func golden(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	must(t, err)
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("%s: got + want -\n%s", filepath.Base(path), d)
	}
	if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("%s: mode %v, %v", filepath.Base(path), i.Mode(), err)
	}
}

func TestCSV(t *testing.T) {
	l := small(t, ledger.Meta{Format: "csv", Header: "\ufeffgroup_id,\"the account\",marks", NewLine: "\r\n"},
		[6]string{"g,a0,1000", "g,学生1,010", `g," a2","1000,1001"`, "g,a3,1000", `g,"stray`, "g,a5,1000"})
	dir := t.TempDir()
	failed, unprocessed, _ := Files(dir, "csv")
	must(t, os.WriteFile(failed, []byte("stale"), 0o644))
	_, err := Write(t.Context(), l, dir, nil)
	must(t, err)
	golden(t, failed, "\ufeffgroup_id,\"the account\",marks,_line,_class,_code,_error,_attempts,_run\r\n"+
		"g,学生1,010,3,bad_row,0,\"column marks: \"\"010\"\" is not a mark , it has a leading zero\",0,r1\r\n"+
		"g,\" a2\",\"1000,1001\",4,refused,10004,群组 unknown,3,r1\r\n"+
		"g,\"stray,6,bad_row,0,record on line 6: wrong number of fields,0,r1\r\n")
	golden(t, unprocessed, "\ufeffgroup_id,\"the account\",marks\r\ng,a3,1000\r\ng,a5,1000\r\n")
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestJSONL(t *testing.T) {
	l := small(t, ledger.Meta{Format: "jsonl", NewLine: "\n"},
		[6]string{`{"account":"a0"}`, ` { } `, `{"account":"a2","x":{"y":"}"} }`, `{"account":"a3"}`, "{\"a\":1,\"a\":2}<\xff", `{"account":"a5"}`})
	dir := t.TempDir()
	_, err := Write(t.Context(), l, dir, nil)
	must(t, err)
	failed, unprocessed, _ := Files(dir, "jsonl")
	golden(t, failed, `{"_line":3,"_class":"bad_row","_code":0,"_error":"column marks: \"010\" is not a mark , it has a leading zero","_attempts":0,"_run":"r1"}
{"account":"a2","x":{"y":"}"},"_line":4,"_class":"refused","_code":10004,"_error":"群组 unknown","_attempts":3,"_run":"r1"}
{"_raw":{"base64":"eyJhIjoxLCJhIjoyfTz/"},"_line":6,"_class":"bad_row","_code":0,"_error":"record on line 6: wrong number of fields","_attempts":0,"_run":"r1"}
`)
	golden(t, unprocessed, "{\"account\":\"a3\"}\n{\"account\":\"a5\"}\n")
}

func TestSummaryFile(t *testing.T) {
	l := small(t, ledger.Meta{Format: "csv", Header: "a"}, [6]string{"0", "1", "2", "3", "4", "5"})
	dir := t.TempDir()
	sum, err := Write(t.Context(), l, dir, nil)
	must(t, err)
	_, _, path := Files(dir, "csv")
	golden(t, path, `{
  "run": "r1",
  "kind": "marks set",
  "state": "interrupted",
  "rows": 6,
  "succeeded": 1,
  "failed": 3,
  "unprocessed": 2,
  "replayed": 0,
  "calls": 4,
  "retries": 1,
  "chunks": 2,
  "groups": 1,
  "by_code": {
    "0": 2,
    "10004": 1
  },
  "by_class": {
    "bad_row": 2,
    "refused": 1
  },
  "started": "`+sum.Started.Format(time.RFC3339Nano)+`",
  "finished": "`+sum.Finished.Format(time.RFC3339Nano)+`",
  "seconds": 2,
  "calls_per_second": 2,
  "max_calls_in_one_second": 3
}
`)
	var again ledger.Summary
	b, _ := os.ReadFile(path)
	must(t, json.Unmarshal(b, &again))
	if d := cmp.Diff(sum, again); d != "" {
		t.Error(d)
	}
}

func TestHeaderOnlyWhenNothingFailed(t *testing.T) {
	ctx := t.Context()
	l, err := ledger.Store{Dir: t.TempDir()}.Create(ctx, ledger.Meta{Run: "r1", Format: "csv", Header: "a,b"})
	must(t, err)
	defer l.Close()
	must(t, l.PlanDone(ctx, 0, 0))
	dir := t.TempDir()
	_, err = Write(ctx, l, dir, nil)
	must(t, err)
	failed, unprocessed, _ := Files(dir, "csv")
	golden(t, failed, "a,b,"+Reserved+"\n")
	golden(t, unprocessed, "a,b\n")
}

func TestBooksMustAgree(t *testing.T) {
	right := func() (books, ledger.Summary) {
		return books{4, 2, 1, 1, map[string]int64{"x": 1}, map[int]int64{7: 1}},
			ledger.Summary{Rows: 4, Succeeded: 2, Failed: 1, Unprocessed: 1, ByClass: map[string]int64{"x": 1}, ByCode: map[string]int64{"7": 1}}
	}
	b, s := right()
	must(t, b.check(s))
	for name, spoil := range map[string]func(*ledger.Summary){
		"rows":        func(s *ledger.Summary) { s.Rows++ },
		"shifted":     func(s *ledger.Summary) { s.Succeeded++; s.Unprocessed-- },
		"other class": func(s *ledger.Summary) { s.ByClass = map[string]int64{"y": 1} },
		"more class":  func(s *ledger.Summary) { s.ByClass["y"] = 1 },
		"other code":  func(s *ledger.Summary) { s.ByCode["7"] = 2 },
		"more codes":  func(s *ledger.Summary) { s.ByCode["8"] = 1 },
	} {
		b, s := right()
		spoil(&s)
		if err := b.check(s); !errors.Is(err, ledger.ErrUnbalanced) {
			t.Errorf("%s: got %v, want ErrUnbalanced", name, err)
		}
	}
}

func TestNoFileIsTouchedOnError(t *testing.T) {
	l := small(t, ledger.Meta{Format: "csv", Header: "a"}, [6]string{})
	dir := t.TempDir()
	failed, _, _ := Files(dir, "csv")
	must(t, os.WriteFile(failed, []byte("as it was"), 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Write(ctx, l, dir, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	golden(t, failed, "as it was")
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := Write(t.Context(), l, filepath.Join(dir, "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: got %v", err)
	}
}

// Whatever was planned and settled, with the run broken off anywhere, each row
// is in the right file with its own outcome.
func TestBooksOfRandomRuns(t *testing.T) {
	memory := "/dev/shm" // syncs cost nothing there: 1 s instead of 12
	if _, err := os.Stat(memory); err != nil {
		memory = ""
	}
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(memory, "report")
		must(t, err)
		defer os.RemoveAll(dir)
		r := drawRun(t)
		l := r.play(t, ledger.Store{Dir: dir})
		defer l.Close()
		sum, err := Write(t.Context(), l, dir, nil)
		must(t, err)
		if n := int64(len(r.raw)); sum.Rows != n || sum.Succeeded+sum.Failed+sum.Unprocessed != n {
			t.Fatalf("%d rows: got %+v", n, sum)
		}
		i := 0
		for row, err := range l.Rows(t.Context()) {
			must(t, err)
			if row.Raw != r.raw[i] || row.Outcome != r.outcome[i] || row.Status != r.status[i] || row.Num != int64(i) {
				t.Fatalf("row %d: got %+v, want %q %v %+v", i, row, r.raw[i], r.status[i], r.outcome[i])
			}
			i++
		}
		r.checkFailedFile(t, filepath.Join(dir, "failed.csv"))
	})
}

// randomRun is a run, and what must become of each row.
type randomRun struct {
	raw     []string
	status  []ledger.Status
	outcome []ledger.Outcome
	chunks  [][]ledger.Entry
	settled []bool
}

func drawOutcome(t *rapid.T, failed bool) ledger.Outcome {
	o := ledger.Outcome{Attempts: rapid.IntRange(0, 3).Draw(t, "attempts")}
	if failed {
		o.Class = rapid.SampledFrom([]string{"refused", "offline_or_absent"}).Draw(t, "class")
		o.Code = rapid.SampledFrom([]int{0, 10004, -3}).Draw(t, "code")
		o.Error = rapid.StringN(0, 6, -1).Draw(t, "error")
	}
	return o
}

func drawRun(t *rapid.T) *randomRun {
	r := &randomRun{}
	n := rapid.IntRange(0, 40).Draw(t, "rows")
	var open []ledger.Entry
	for i := range n {
		r.raw = append(r.raw, rapid.StringMatching(`[a-z",学 ]{0,8}`).Draw(t, "raw"))
		r.status = append(r.status, ledger.Unprocessed)
		r.outcome = append(r.outcome, ledger.Outcome{})
		switch k := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case k == 0: // a bad row
			r.status[i], r.outcome[i] = ledger.Failed, drawOutcome(t, true)
		case k < 3 && len(open) > 0: // shares an entry
			e := &open[rapid.IntRange(0, len(open)-1).Draw(t, "entry")]
			e.Rows = append(e.Rows, int64(i))
		default:
			open = append(open, ledger.Entry{Account: fmt.Sprint(i), Rows: []int64{int64(i)}})
		}
	}
	if len(open) > 1 {
		open = rapid.Permutation(open).Draw(t, "order")
	}
	for len(open) > 0 {
		k := rapid.IntRange(1, len(open)).Draw(t, "chunk")
		r.chunks = append(r.chunks, open[:k])
		r.settled = append(r.settled, rapid.Bool().Draw(t, "settled"))
		open = open[k:]
	}
	return r
}

// play makes the ledger of the run, closing and opening it in the middle.
func (r *randomRun) play(t *rapid.T, s ledger.Store) *ledger.Ledger {
	ctx := t.Context()
	l, err := s.Create(ctx, ledger.Meta{Run: "r1", Format: "csv", Header: "h", NewLine: "\n"})
	must(t, err)
	for i, raw := range r.raw {
		must(t, l.PlanSource(int64(i), int64(2*i+2), raw))
		if r.status[i] == ledger.Failed {
			must(t, l.PlanFailed(int64(i), r.outcome[i]))
		}
	}
	for _, c := range r.chunks {
		must(t, l.PlanChunk("g", c))
	}
	must(t, l.PlanDone(ctx, int64(len(r.raw)), 0))
	stop := rapid.IntRange(0, len(r.chunks)).Draw(t, "stop")
	must(t, l.Begin(ctx))
	for i, c := range r.chunks {
		if i == stop { // as if killed
			must(t, l.Close())
			l, err = s.Open(ctx, "r1")
			must(t, err)
			must(t, l.Begin(ctx))
		}
		if !r.settled[i] {
			continue
		}
		outcomes := make([]ledger.Outcome, len(c))
		for k, e := range c {
			outcomes[k] = drawOutcome(t, rapid.Bool().Draw(t, "failed"))
			for _, row := range e.Rows {
				r.outcome[row], r.status[row] = outcomes[k], ledger.Succeeded
				if outcomes[k].Class != "" {
					r.status[row] = ledger.Failed
				}
			}
		}
		must(t, l.Settle(ctx, int64(i+1), outcomes, ledger.Cost{Calls: 1}))
	}
	return l
}

// checkFailedFile wants each failed row on one line that begins with its text,
// and goes on with six fields.
func (r *randomRun) checkFailedFile(t *rapid.T, path string) {
	b, err := os.ReadFile(path)
	must(t, err)
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")[1:]
	for i, raw := range r.raw {
		if r.status[i] != ledger.Failed {
			continue
		}
		if len(lines) == 0 || !strings.HasPrefix(lines[0], raw+",") {
			t.Fatalf("row %d: %q is not at the beginning of %q", i, raw, lines)
		}
		fields, err := csv.NewReader(strings.NewReader(lines[0][len(raw)+1:])).Read()
		if err != nil || len(fields) != 6 || fields[0] != fmt.Sprint(2*i+2) || fields[1] != r.outcome[i].Class ||
			fields[2] != fmt.Sprint(r.outcome[i].Code) || fields[3] != oneLine(r.outcome[i].Error) || fields[5] != "r1" {
			t.Fatalf("row %d: got %q, %v", i, fields, err)
		}
		lines = lines[1:]
	}
	if len(lines) != 0 {
		t.Fatalf("lines too many: %q", lines)
	}
}

func TestTable(t *testing.T) {
	sum := ledger.Summary{
		Kind: "marks set", State: ledger.Finished, Rows: 1234567, Succeeded: 1234560, Failed: 7, Replayed: 1,
		Calls: 2500, Retries: 31, Chunks: 2470, Groups: 24, Seconds: 12.34, CallsPerSecond: 199.2, MaxCallsInOneSecond: 200,
	}
	examples := []ledger.Example{
		{Class: "bad_row", Rows: 2, Line: 31, Raw: "@TGS#1,\x1b[31m学生,010", Error: "column marks"},
		{Class: "offline_or_absent", Rows: 4, Line: 7, Raw: "三年二班,张伟," + strings.Repeat("很长的行", 20)},
		{Class: "refused", Code: 10004, Rows: 1, Line: 123456, Raw: "@TGS#1,bob,1000", Error: "two\nlines"},
	}
	var b bytes.Buffer
	must(t, Table(&b, sum, Pace{}, examples, Look{}))
	want := `┌─────────────┬───────────┬─────────┐
│ marks set   │      rows │         │
├─────────────┼───────────┼─────────┤
│ succeeded   │ 1,234,560 │ >99.9 % │
│ failed      │         7 │  <0.1 % │
│ unprocessed │         0 │         │
├─────────────┼───────────┼─────────┤
│ finished    │ 1,234,567 │         │
└─────────────┴───────────┴─────────┘
`
	if !strings.HasPrefix(b.String(), want) {
		t.Errorf("books: %s", cmp.Diff(want, b.String()))
	}
	for _, want := range []string{"│ @TGS#1, [31m学生,010", "│ refused           │ 10004 │    1 │ 123456 │ @TGS#1,bob,1000", "two lines", "很长…",
		"2,500 calls (31 of them retries) for 2,470 chunks of 24 groups, 1 replayed, in 12.3s: 199.2 a second, at most 200 in any\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	// Every line of a table is as wide as the others, in cells.
	var widths []int
	for line := range strings.Lines(b.String()) {
		if !strings.ContainsAny(line, "│┌├└") {
			continue
		}
		w := 0
		for _, r := range strings.TrimSuffix(line, "\n") {
			w++
			if r >= 0x4e00 && r <= 0x9fff {
				w++
			}
		}
		if widths = append(widths, w); strings.HasPrefix(line, "└") {
			if widths = slices.Compact(widths); len(widths) != 1 {
				t.Errorf("lines of widths %v in\n%s", widths, b.String())
			}
			widths = nil
		}
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Error("escape codes without color")
	}
	var colored bytes.Buffer
	must(t, Table(&colored, sum, Pace{}, examples, Look{Color: true}))
	if !strings.Contains(colored.String(), "\x1b[31mfailed\x1b[0m") || strings.Contains(colored.String(), "\x1b[33munprocessed") {
		t.Errorf("colors: %q", colored.String())
	}
}

// An error may be long; in a failed file it must not make its row too long to be read.
func TestLongError(t *testing.T) {
	if got := oneLine(strings.Repeat("错", maxError)); len(got) > maxError+len("…") || !utf8.ValidString(got) || !strings.HasSuffix(got, "错…") {
		t.Errorf("got %d bytes, %.9q … %q", len(got), got, got[len(got)-9:])
	}
}

// The outcome files are in the form of the input.
func TestForms(t *testing.T) {
	for _, tt := range []struct {
		name                string
		m                   ledger.Meta
		raws                [6]string
		failed, unprocessed string
	}{
		{"GBK by semicolon", ledger.Meta{Format: "csv", Header: "\xd5\xcb\xba\xc5;b", NewLine: "\n", Encoding: "gbk", Delimiter: ";"},
			[6]string{"a0;1", "\xd5\xcb\xff;1", "a2;1", "a3;1", "\"", "\xba\xc5;1"},
			"\xd5\xcb\xba\xc5;b;_line;_class;_code;_error;_attempts;_run\n" +
				"\xd5\xcb\xff;1;3;bad_row;0;\"column marks: \"\"010\"\" is not a mark , it has a leading zero\";0;r1\n" +
				"a2;1;4;refused;10004;\xc8\xba\xd7\xe9 unknown;3;r1\n" +
				"\";6;bad_row;0;record on line 6: wrong number of fields;0;r1\n",
			"\xd5\xcb\xba\xc5;b\na3;1\n\xba\xc5;1\n"},
		{"an encoding without these characters", ledger.Meta{Format: "csv", Header: "a\tb", NewLine: "\n", Encoding: "windows-1252", Delimiter: "\t"},
			[6]string{"a0\t1", "\xe9\t1", "a2\t1", "a3\t1", "a4", "a5\t1"},
			"a\tb\t_line\t_class\t_code\t_error\t_attempts\t_run\n" +
				"\xe9\t1\t3\tbad_row\t0\t\"column marks: \"\"010\"\" is not a mark , it has a leading zero\"\t0\tr1\n" +
				"a2\t1\t4\trefused\t10004\t?? unknown\t3\tr1\n" +
				"a4\t6\tbad_row\t0\trecord on line 6: wrong number of fields\t0\tr1\n",
			"a\tb\na3\t1\na5\t1\n"},
		{"an unknown encoding", ledger.Meta{Format: "csv", Header: "a,b", NewLine: "\n"},
			[6]string{"a0,1", "\xe9,1", "\xff,1", "a3,1", "a4", "\xfe,1"},
			"a,b,_line,_class,_code,_error,_attempts,_run\n" +
				"\xe9,1,3,bad_row,0,\"column marks: \"\"010\"\" is not a mark , it has a leading zero\",0,r1\n" +
				"\xff,1,4,refused,10004,?? unknown,3,r1\n" +
				"a4,6,bad_row,0,record on line 6: wrong number of fields,0,r1\n",
			"a,b\na3,1\n\xfe,1\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := small(t, tt.m, tt.raws)
			dir := t.TempDir()
			_, err := Write(t.Context(), l, dir, nil)
			must(t, err)
			failed, unprocessed, _ := Files(dir, tt.m.Format)
			golden(t, failed, tt.failed)
			golden(t, unprocessed, tt.unprocessed)
			examples, err := Examples(t.Context(), l)
			must(t, err)
			if tt.m.Encoding == "gbk" && examples[0].Raw != "账\ufffd;1" {
				t.Errorf("got example %q, want it as text", examples[0].Raw)
			}
		})
	}
}

func TestUTF16(t *testing.T) {
	cs, err := charset.Named("utf-16le")
	must(t, err)
	for _, m := range []ledger.Meta{
		{Format: "csv", Header: "\ufeffa\t账号", NewLine: "\r\n", Encoding: "utf-16le", Delimiter: "\t"},
		{Format: "jsonl", NewLine: "\r\n", Encoding: "utf-16le"},
	} {
		raws := [6]string{`{"a":"学生"}`, "学生\t1", "a2", "学生\t3", "{}", "a5"}
		plain := m
		plain.Encoding = ""
		for i, path := range []func(string, string) string{
			func(dir, format string) string { failed, _, _ := Files(dir, format); return failed },
			func(dir, format string) string { _, unprocessed, _ := Files(dir, format); return unprocessed },
		} {
			dir, wide := t.TempDir(), t.TempDir()
			_, err := Write(t.Context(), small(t, plain, raws), dir, nil)
			must(t, err)
			_, err = Write(t.Context(), small(t, m, raws), wide, nil)
			must(t, err)
			text, err := os.ReadFile(path(dir, m.Format))
			must(t, err)
			golden(t, path(wide, m.Format), string(cs.Append(nil, string(text))))
			if i == 0 && len(text) < 100 {
				t.Errorf("%s: got %q", m.Format, text)
			}
		}
	}
}

func TestWorkbook(t *testing.T) {
	m := ledger.Meta{Format: "xlsx", Header: `账号,"a,b"`, NewLine: "\n"}
	l := small(t, m, [6]string{"a0,1", "010,1,,beside", `a2,"x` + "\r\n" + `""y"""`, "a3,1", strings.Repeat("x", 40000), "a5,1"})
	dir := t.TempDir()
	_, err := Write(t.Context(), l, dir, nil)
	must(t, err)
	failed, unprocessed, _ := Files(dir, "xlsx")
	long := strings.Repeat("x", 32767)
	sheet(t, failed, [][]string{
		{"账号", "a,b", "_line", "_class", "_code", "_error", "_attempts", "_run"},
		{"010", "1", "3", "bad_row", "0", `column marks: "010" is not a mark , it has a leading zero`, "0", "r1", "", "beside"},
		{"a2", "x\r\n\"y\"", "4", "refused", "10004", "群组 unknown", "3", "r1"},
		{long, "", "6", "bad_row", "0", "record on line 6: wrong number of fields", "0", "r1"},
	})
	sheet(t, unprocessed, [][]string{{"账号", "a,b"}, {"a3", "1"}, {"a5", "1"}})
	var again bytes.Buffer
	rows, err := Failed(t.Context(), l, &again, []string{"refused"})
	must(t, err)
	path := filepath.Join(dir, "again.xlsx")
	must(t, os.WriteFile(path, again.Bytes(), 0o600))
	sheet(t, path, [][]string{
		{"账号", "a,b", "_line", "_class", "_code", "_error", "_attempts", "_run"},
		{"a2", "x\r\n\"y\"", "4", "refused", "10004", "群组 unknown", "3", "r1"},
	})
	if rows != 1 {
		t.Errorf("got %d rows, want 1", rows)
	}
}

// sheet compares the cells of a workbook, all of which are texts.
func sheet(t *testing.T, path string, want [][]string) {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	b, err := workbook.Open(bytes.NewReader(text), int64(len(text)), "")
	must(t, err)
	defer b.Close()
	rows, err := b.Rows(b.Sheets[0])
	must(t, err)
	defer rows.Close()
	var got [][]string
	for {
		_, cells, err := rows.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		var texts []string
		for _, c := range cells {
			if c.Kind != workbook.Text {
				t.Errorf("a cell %q of kind %v", c.Text, c.Kind)
			}
			texts = append(texts, c.Text)
		}
		got = append(got, texts)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", filepath.Base(path), d)
	}
}

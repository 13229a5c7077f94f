package roster

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A walk is all that a caller sees of a file.
type walk struct {
	Source Source
	Rows   []string
	Err    string
}

// walkAll walks over a file that may end with an error. After each number of
// rows in stops it breaks off and calls Rows again.
func walkAll(r io.Reader, o Options, most limits, stops []int) walk {
	rd, err := Open[mark](r, o)
	if err != nil {
		return walk{Err: err.Error()}
	}
	rd.limits = most
	w := walk{Source: rd.Source()}
	for again := true; again; {
		again = false
		n := 0
		for row, err := range rd.Rows() {
			if err != nil {
				w.Err = err.Error()
				continue
			}
			w.Rows = append(w.Rows, fmt.Sprintf("%d %q %s", row.Num, row.Raw, show(row)))
			if n++; len(stops) > 0 && n >= stops[0] {
				stops, again = stops[1:], true
				break
			}
		}
	}
	return w
}

var inTurn = limits{width: 1}

// The pieces that lines are made of: broken in every way that has a word for
// it, and those that are only seen together with the lines before.
var (
	csvPieces = []string{"g,ann,1000\n", "g,\"ann\",\"1000,1001\"\r\n", "g,\"ann\n", "ann\",1000\n", "g,ann\n", "x\n", "\n", " \t\n", "g,ann,010\n",
		"g,a\"b,1000\n", "g,\"a\"b,1000\n", "g,\x00,1\n", "g,\xff,1\n", "g,a,1\rg,b,2\n", "5,bad_row,0,no,1,r\n", "g,ann,1000,5,bad_row,0,\"n\"\"o\",1,r\n",
		strings.Repeat("y", 30) + "\n", strings.Repeat("z", 90) + "\n", "g,ann,1000"}
	jsonPieces = []string{`{"group_id":"g","account":"ann","marks":[1000]}` + "\n", `{"group_id":"g","userid":"b","marks":"1;2","_line":5,"_run":"r"}` + "\n",
		`{"_raw":"{\"account\":","_line":2}` + "\n", `{"account":1}` + "\n", `{"a":1,"a":2}` + "\n", "\n", "null\r\n", "{{\n", "{\"account\":\"\xff\"}\n",
		strings.Repeat("y", 120) + "\n", `{"group_id":"g"` + strings.Repeat(" ", 120) + "}\n", `{"group_id":"g"`}
)

func TestSideBySideIsInTurn(t *testing.T) {
	broken := errors.New("disk on fire")
	rapid.Check(t, func(t *rapid.T) {
		o := Options{Format: CSV, MaxLine: rapid.SampledFrom([]int{0, 60, 100}).Draw(t, "max line")}
		pieces, head := csvPieces, rapid.SampledFrom([]string{header, "\ufeff" + header, "group_id,account,marks," + reservedHeader + "\n", reservedHeader + ",群组,账号,marks\r\n"}).Draw(t, "header")
		if rapid.Bool().Draw(t, "jsonl") {
			o.Format, pieces, head = JSONL, jsonPieces, ""
		}
		text := head + strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 40).Draw(t, "text"), "")
		file := func() io.Reader { return strings.NewReader(text) }
		if rapid.Bool().Draw(t, "read error") {
			file = func() io.Reader { return io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)) }
		}
		most := limits{
			lines: rapid.IntRange(1, 9).Draw(t, "lines"),
			text:  rapid.IntRange(1, 200).Draw(t, "bytes"),
			width: rapid.IntRange(2, 4).Draw(t, "width"),
		}
		stops := rapid.SliceOfN(rapid.IntRange(1, 9), 0, 4).Draw(t, "stops")
		want := walkAll(file(), o, inTurn, nil)
		if diff := cmp.Diff(want, walkAll(file(), o, most, stops)); diff != "" {
			t.Fatalf("file (-in turn +side by side):\n%s", diff)
		}
	})
}

func FuzzSideBySide(f *testing.F) {
	for i, pieces := range [][]string{csvPieces, jsonPieces} {
		for n := range uint8(5) {
			f.Add([]byte(strings.Join(pieces, "")), i == 1, n, 20*n, n)
		}
	}
	f.Add([]byte("g,\"a\n\"\nb\n"), false, uint8(1), uint8(3), uint8(1))
	f.Add([]byte(strings.Repeat(`{"_raw":""}`+"\n", 9)), true, uint8(2), uint8(255), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, jsonl bool, lines, text, stop uint8) {
		o, head := Options{MaxLine: 40}, "group_id,account,marks,"+reservedHeader+"\n"
		if jsonl {
			o.Format, head = JSONL, ""
		}
		file := head + string(data)
		most := limits{lines: 1 + int(lines%16), text: int(text), width: 2}
		want := walkAll(strings.NewReader(file), o, inTurn, nil)
		if diff := cmp.Diff(want, walkAll(strings.NewReader(file), o, most, []int{int(stop), 1})); diff != "" {
			t.Errorf("file (-in turn +side by side):\n%s", diff)
		}
	})
}

// wide are limits under which a large file is decoded side by side, on any machine.
func wide() limits {
	l := newLimits()
	l.width = maxWidth
	return l
}

// few and many are rows of one file: few fit into the first batch.
const few, many = 30, 20_000

func largeFile(n int) io.Reader {
	return io.MultiReader(strings.NewReader(header), strings.NewReader(strings.Repeat("g,ann,1000\n", n)))
}

func openWide[T any](t testing.TB, r io.Reader) *Reader[T] {
	t.Helper()
	rd, err := Open[T](r, Options{})
	if err != nil {
		t.Fatal(err)
	}
	rd.limits = wide()
	return rd
}

func TestSmallFileIsReadInTurn(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rows  int
		width int
		want  int // most batches
	}{
		{"a class", few, maxWidth, 0},
		{"one processor", many, 1, 0},
		{"large", many, maxWidth, maxWidth + 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := openWide[mark](t, largeFile(tt.rows))
			r.limits.width = tt.width
			n, most := 0, 0
			for range r.Rows() {
				n++
				most = max(most, len(r.queue)+len(r.idle))
			}
			if n != tt.rows || most != tt.want {
				t.Errorf("got %d rows and at most %d batches, want %d and %d", n, most, tt.rows, tt.want)
			}
		})
	}
}

// In a bubble a goroutine that is left behind is a deadlock, and so is one that
// waits for something outside.
func TestNothingRunsOn(t *testing.T) {
	for _, stop := range []int{1, 255, 256, 257, 1000, many, many + 1} {
		t.Run(fmt.Sprint(stop), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &counter{r: largeFile(many)}
				r := openWide[mark](t, c)
				n := 0
				for range r.Rows() {
					if n++; n == stop {
						break
					}
				}
				for _, b := range r.queue {
					if b.done < len(b.items) {
						t.Errorf("%d of %d rows of a batch are decoded, the rest still to come", b.done, len(b.items))
					}
				}
				read := c.n
				synctest.Wait()
				if ahead := c.n - stop*len("g,ann,1000\n"); c.n != read || ahead > (maxWidth+2)*bufferSize {
					t.Errorf("read %d bytes, %d of them ahead, and %d later", read, ahead, c.n-read)
				}
			})
		})
	}
}

func TestRowsGoesOnBehindBatches(t *testing.T) {
	r := openWide[mark](t, largeFile(many))
	want := int64(0)
	for want < many {
		n := 0
		for row, err := range r.Rows() {
			if err != nil || row.Num != want || row.Line != want+2 || row.Err != nil {
				t.Fatalf("got row %d of line %d, %v, %v, want row %d", row.Num, row.Line, row.Err, err, want)
			}
			want++
			if n++; n == 333 {
				break
			}
		}
	}
	for row := range r.Rows() {
		t.Errorf("got row %d behind the last", row.Num)
	}
}

func TestPanicOfTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openWide[mark](t, largeFile(many))
		func() {
			defer func() {
				if got := recover(); got != "enough" {
					t.Errorf("got panic %v", got)
				}
			}()
			for row := range r.Rows() {
				if row.Num == 1000 {
					panic("enough")
				}
			}
		}()
		for row := range r.Rows() {
			if row.Num != 1001 {
				t.Errorf("got row %d first, want 1001", row.Num)
			}
			break
		}
	})
}

// A touchy value panics at a word.
type touchy string

func (v *touchy) UnmarshalCSV(s string) error {
	if s == "boom" {
		panic(s)
	}
	*v = touchy(s)
	return nil
}

func (v *touchy) UnmarshalJSON(b []byte) error { return v.UnmarshalCSV(string(b)) }

// A panic of a method of T must not end the program from a goroutine of which
// the caller knows nothing.
func TestPanicOfAMethod(t *testing.T) {
	type row struct {
		A touchy `csv:"a"`
	}
	text := "a\n" + strings.Repeat("x\n", 1000) + "boom\n" + strings.Repeat("x\n", 5000)
	r := openWide[row](t, strings.NewReader(text))
	n := 0
	defer func() {
		if got := recover(); got != "boom" || n != 1000 {
			t.Errorf("got panic %v after %d rows, want boom after 1000", got, n)
		}
	}()
	for range r.Rows() {
		n++
	}
}

func TestReadErrorBehindBatches(t *testing.T) {
	broken := errors.New("disk on fire")
	r := openWide[mark](t, io.MultiReader(largeFile(many), strings.NewReader("g,bob,10"), iotest.ErrReader(broken)))
	n := 0
	var errs []error
	for row, err := range r.Rows() {
		switch {
		case err != nil:
			errs = append(errs, err)
		case row.Num != int64(n) || len(errs) > 0:
			t.Fatalf("got row %d, want %d, behind %v", row.Num, n, errs)
		default:
			n++
		}
	}
	if n != many || len(errs) != 1 || !errors.Is(errs[0], broken) {
		t.Errorf("got %d rows and %v, want %d and %v", n, errs, many, broken)
	}
}

// mixed is a file of short lines with a long one behind each hundred.
func mixed(format Format, blocks, long int) io.Reader {
	short := strings.Repeat("g,ann,1000\n", 100)
	if format == JSONL {
		short = strings.Repeat(`{"group_id":"g","account":"ann","marks":1000}`+"\n", 100)
	}
	parts := []io.Reader{}
	if format == CSV {
		parts = append(parts, strings.NewReader(header))
	}
	for range blocks {
		parts = append(parts, strings.NewReader(short), &xs{int64(long)}, strings.NewReader("\n"))
	}
	return io.MultiReader(parts...)
}

// Long lines go one by one, and the batches of the short ones stay small.
func TestLongLinesBetweenBatches(t *testing.T) {
	for _, tt := range []struct {
		format Format
		long   int
		limit  uint64
	}{
		{CSV, 60 << 10, 20 << 20},
		{CSV, 1 << 20, 20 << 20},
		{JSONL, 8 << 20, 60 << 20},
	} {
		t.Run(fmt.Sprintf("%s %d", tt.format, tt.long), func(t *testing.T) {
			const blocks = 8
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			before, peak := m.HeapAlloc, uint64(0)
			r, err := Open[mark](mixed(tt.format, blocks, tt.long), Options{Format: tt.format})
			if err != nil {
				t.Fatal(err)
			}
			r.limits = wide()
			n, bad := 0, 0
			for row, err := range r.Rows() {
				if err != nil || row.Num != int64(n) {
					t.Fatalf("got row %d, %v, want %d", row.Num, err, n)
				}
				if n++; row.Err != nil {
					bad++
					runtime.ReadMemStats(&m)
					peak = max(peak, m.HeapAlloc-min(m.HeapAlloc, before))
				}
			}
			if n != 101*blocks || bad != blocks || peak > tt.limit {
				t.Errorf("got %d rows, %d bad, and %d bytes in use, want %d, %d and at most %d", n, bad, peak, 101*blocks, blocks, tt.limit)
			}
			for _, b := range slices.Concat(r.queue, r.idle) {
				if cap(b.text) > 2*wide().text {
					t.Errorf("a batch keeps %d bytes", cap(b.text))
				}
			}
		})
	}
}

package export

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func allFormats() (list []Format) {
	for _, kind := range []string{CSV, JSONL} {
		for _, c := range []string{"", Gzip, Zstd} {
			list = append(list, Format{kind, c})
		}
	}
	return append(list, Format{XLSX, ""})
}

// someRows are rows for cells, or of one object each.
func someRows(f Format, n int) (rows [][]string) {
	texts := hostile()
	for i := range n {
		row := []string{"@TGS#1", fmt.Sprint("user", i), texts[i%20], "学生"}
		if f.Kind == JSONL {
			row = []string{fmt.Sprintf(`{"group_id":"@TGS#1","account":"user%d","x":"`+"\xff"+`"}`, i)}
		}
		rows = append(rows, row)
	}
	return rows
}

// Every format: the sum is that of the bytes, the bytes are the same each time,
// in a file and in a stream, and can be unpacked.
func TestEveryFormat(t *testing.T) {
	for _, f := range allFormats() {
		for _, n := range []int{0, 1, 3000} {
			t.Run(fmt.Sprint(f, n), func(t *testing.T) {
				o := Options{Columns: columnNames(4)}
				rows := someRows(f, n)
				data, sum := write(t, f, o, rows)
				hash := sha256.Sum256(data)
				want := Sum{Rows: int64(n), Bytes: int64(len(data)), SHA256: hex.EncodeToString(hash[:])}
				if diff := cmp.Diff(want, sum); diff != "" {
					t.Errorf("sum: -want +got:\n%s", diff)
				}
				if len(data) == 0 && f != (Format{JSONL, ""}) {
					t.Error("an empty file is no file of this format")
				}
				path := filepath.Join(t.TempDir(), "x")
				w, err := Create(path, f, o)
				must(t, err)
				defer w.Discard()
				for _, row := range rows {
					must(t, add(w, row))
				}
				again, err := w.Close()
				must(t, err)
				onDisk, err := os.ReadFile(path)
				if err != nil || again != sum || !bytes.Equal(onDisk, data) {
					t.Errorf("the second time: got %+v, %v, want %+v and the same bytes", again, err, sum)
				}
				if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o600 {
					t.Errorf("got mode %v, %v", i.Mode(), err)
				}
				checkPlain(t, f, rows, unpack(t, data, f.Compression))
			})
		}
	}
}

func add(w *Writer, row []string) error {
	if w.table == nil {
		return w.Object([]byte(row[0]))
	}
	return w.Cells(row)
}

func checkPlain(t *testing.T, f Format, rows [][]string, text []byte) {
	t.Helper()
	switch f.Kind {
	case CSV:
		got, err := parseCSV(string(text), "\n")
		must(t, err)
		if diff := cmp.Diff(append([][]string{columnNames(4)}, rows...), got); diff != "" {
			t.Error(diff)
		}
	case JSONL:
		var want strings.Builder
		for _, row := range rows {
			want.WriteString(row[0] + "\n")
		}
		if want.String() != string(text) {
			t.Errorf("got %q", text)
		}
	}
}

func TestPrepareThenClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.csv")
	must(t, os.WriteFile(path, []byte("as it was"), 0o644))
	w, err := Create(path, Format{Kind: CSV}, Options{Columns: []string{"a"}})
	must(t, err)
	defer w.Discard()
	must(t, w.Cells([]string{"1"}))
	sum, err := w.Prepare()
	must(t, err)
	if b, _ := os.ReadFile(path); string(b) != "as it was" {
		t.Errorf("prepared only, but got %q", b)
	}
	if err := w.Cells([]string{"2"}); !errors.Is(err, errEnded) {
		t.Errorf("a row behind the end: got %v", err)
	}
	for range 2 {
		again, err := w.Prepare()
		closed, err2 := w.Close()
		if err := errors.Join(err, err2); err != nil || again != sum || closed != sum {
			t.Errorf("got %+v, %+v, %v, want %+v", again, closed, err, sum)
		}
	}
	w.Discard()
	if b, _ := os.ReadFile(path); string(b) != "a\n1\n" {
		t.Errorf("got %q", b)
	}
}

func TestDiscard(t *testing.T) {
	for _, f := range allFormats() {
		for name, step := range map[string]func(*Writer) error{
			"begun":    func(*Writer) error { return nil },
			"written":  func(w *Writer) error { return add(w, someRows(f, 1)[0]) },
			"prepared": func(w *Writer) error { _, err := w.Prepare(); return err },
		} {
			dir := t.TempDir()
			w, err := Create(filepath.Join(dir, "x"), f, Options{Columns: columnNames(4)})
			must(t, err)
			must(t, step(w))
			w.Discard()
			w.Discard()
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("%v, %s: left behind: %v", f, name, left)
			}
			if _, err := w.Close(); !errors.Is(err, errEnded) {
				t.Errorf("%v, %s: close after discard: got %v", f, name, err)
			}
			if err := add(w, someRows(f, 1)[0]); !errors.Is(err, errEnded) {
				t.Errorf("%v, %s: row after discard: got %v", f, name, err)
			}
		}
	}
}

func TestObjects(t *testing.T) {
	var b bytes.Buffer
	w, err := New(&b, Format{Kind: JSONL}, Options{})
	must(t, err)
	for _, bad := range []string{"", "{", "[]", "null", " {}", "{} ", "{}\n", "{\n}", "{\"a\":\r1}"} {
		if _, ok := errors.AsType[*RowError](w.Object([]byte(bad))); !ok {
			t.Errorf("%q: no RowError", bad)
		}
	}
	must(t, w.Object([]byte(`{"b":1.0,"a":"\ud800"}`)))
	if err := w.Cells([]string{"a"}); err == nil {
		t.Error("cells: no error")
	}
	sum, err := w.Close()
	if err != nil || sum.Rows != 1 || b.String() != `{"b":1.0,"a":"\ud800"}`+"\n" {
		t.Errorf("got %+v, %v, %q", sum, err, b.String())
	}
}

func TestMisuse(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		f Format
		o Options
	}{
		{Format{}, Options{Columns: []string{"a"}}},
		{Format{"tsv", ""}, Options{Columns: []string{"a"}}},
		{Format{CSV, "bz2"}, Options{Columns: []string{"a"}}},
		{Format{XLSX, Gzip}, Options{Columns: []string{"a"}}},
		{Format{CSV, ""}, Options{}},
		{Format{CSV, ""}, Options{Columns: []string{"a"}, Plain: []int{1}}},
		{Format{CSV, ""}, Options{Columns: []string{"a"}, Plain: []int{-1}}},
	} {
		if _, err := Create(filepath.Join(dir, "x"), tt.f, tt.o); err == nil {
			t.Errorf("%+v: no error", tt)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	for _, kind := range []string{CSV, XLSX} {
		w, err := New(&bytes.Buffer{}, Format{Kind: kind}, Options{Columns: []string{"a", "b"}})
		must(t, err)
		for _, row := range [][]string{nil, {"a"}, {"a", "b", "c"}} {
			if _, ok := errors.AsType[*RowError](w.Cells(row)); !ok {
				t.Errorf("%s: %q: no RowError", kind, row)
			}
		}
		if err := w.Object([]byte("{}")); err == nil {
			t.Errorf("%s: object: no error", kind)
		}
		if sum, err := w.Close(); err != nil || sum.Rows != 0 {
			t.Errorf("%s: got %+v, %v", kind, sum, err)
		}
	}
}

// full is a disk with room for so many bytes.
type full int

var errFull = errors.New("no space left")

func (f *full) Write(p []byte) (int, error) {
	n := min(len(p), int(*f))
	*f -= full(n)
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

// What was not written is an error, at the latest at the end, and for good.
func TestFullDisk(t *testing.T) {
	for _, f := range allFormats() {
		rows := someRows(f, 3000)
		data, _ := write(t, f, Options{Columns: columnNames(4)}, rows)
		for _, room := range []int{0, 10, len(data) / 2, len(data) - 1} {
			disk := full(room)
			w, err := New(&disk, f, Options{Columns: columnNames(4)})
			must(t, err)
			for _, row := range rows {
				if err = add(w, row); err != nil {
					break
				}
			}
			for range 2 {
				if _, err := w.Close(); !errors.Is(err, errFull) {
					t.Errorf("%v, %d of %d bytes: got %v", f, room, len(data), err)
				}
			}
		}
	}
}

// The memory does not grow with the table.
func TestMemory(t *testing.T) {
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for _, f := range allFormats() {
		rows := someRows(f, 1000)
		disk := full(1 << 40)
		before := live()
		w, err := New(&disk, f, Options{Columns: columnNames(4)})
		must(t, err)
		for range 50 {
			for _, row := range rows {
				must(t, add(w, row))
			}
		}
		after := live()
		if after > before+16<<20 {
			t.Errorf("%v: %d MiB more after 50,000 rows", f, (after-before)>>20)
		}
		_, err = w.Close()
		must(t, err)
	}
}

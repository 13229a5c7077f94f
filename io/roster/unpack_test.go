package roster

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// packed packs a text.
func packed(how, text string) string {
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if how == Zstd {
		w, _ = zstd.NewWriter(&b) // has no errors without options
	}
	_, _ = io.WriteString(w, text) // nor has a Buffer
	_ = w.Close()
	return b.String()
}

func TestPacked(t *testing.T) {
	text := "\ufeff" + header + strings.Repeat("g,ann,1000\r\n", 5000)
	for _, tt := range []struct{ name, how, text string }{
		{"gzip", Gzip, packed(Gzip, text)},
		{"zstd", Zstd, packed(Zstd, text)},
		{"gzip in two parts", Gzip, packed(Gzip, text[:1000]) + packed(Gzip, text[1000:])},
		{"zstd in two parts", Zstd, packed(Zstd, text[:1000]) + packed(Zstd, text[1000:])},
		{"not packed", "", text},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Open[mark](iotest.HalfReader(strings.NewReader(tt.text)), Options{})
			if err != nil {
				t.Fatal(err)
			}
			rows := 0
			for row, err := range r.Rows() {
				if err != nil || row.Raw != "g,ann,1000" {
					t.Fatalf("got row %+v, error %v", row, err)
				}
				rows++
			}
			want := Source{Format: CSV, Header: "\ufeffgroup_id,account,marks", NewLine: "\n"}
			if diff := cmp.Diff(want, r.Source()); diff != "" || rows != 5000 || r.Found().Packed != tt.how {
				t.Errorf("got %d rows, %+v, source (-want +got):\n%s", rows, r.Found(), diff)
			}
		})
	}
}

func TestPackedBroken(t *testing.T) {
	text := header + strings.Repeat("g,ann,1000\ng,bob,1001\n", 50000)
	broken := func(how string) string {
		b := []byte(packed(how, text))
		b[len(b)/2] ^= 0x55
		return string(b)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"gzip, cut", packed(Gzip, text)[:2000], "unpack gzip: the file is cut off"},
		{"gzip, cut before the sum", strings.TrimSuffix(packed(Gzip, text), packed(Gzip, text)[len(packed(Gzip, text))-4:]), "unpack gzip: the file is cut off"},
		{"gzip, three bytes", "\x1f\x8b\x08", "unpack gzip: the file is cut off"},
		{"gzip, more behind", packed(Gzip, text) + "more than ten bytes", "unpack gzip: gzip: invalid header"},
		{"gzip, changed", broken(Gzip), "unpack gzip: "},
		{"zstd, cut", packed(Zstd, text)[:len(packed(Zstd, text))-3], "unpack zstd: the file is cut off"},
		{"zstd, magic only", "\x28\xb5\x2f\xfd", "unpack zstd: the file is cut off"},
		{"zstd, changed", broken(Zstd), "unpack zstd: "},
		{"zstd, wide", greedy(), "unpack zstd: it needs more than 32 MiB of memory: unpack it first"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := readError(strings.NewReader(tt.text))
			if _, ok := errors.AsType[*PackError](err); !ok || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want a PackError: %s", err, tt.want)
			}
		})
	}
	gone := errors.New("gone")
	err := readError(io.MultiReader(strings.NewReader(packed(Gzip, text)[:2000]), iotest.ErrReader(gone)))
	if _, ok := errors.AsType[*PackError](err); ok || !errors.Is(err, gone) {
		t.Errorf("got %v, want the error of the file", err)
	}
}

// greedy is a file that wants 128 MiB to be unpacked.
func greedy() string {
	var b bytes.Buffer
	w, _ := zstd.NewWriter(&b, zstd.WithWindowSize(128<<20), zstd.WithLowerEncoderMem(true))
	_, _ = io.WriteString(w, header)
	_ = w.Flush() // its size is not known when it begins
	_, _ = io.WriteString(w, "g,ann,1000\n")
	_ = w.Close()
	return b.String()
}

// readError reads a file to its end, or to its error.
func readError(r io.Reader) error {
	rd, err := Open[mark](r, Options{})
	if err != nil {
		return err
	}
	for _, err := range rd.Rows() {
		if err != nil {
			return err
		}
	}
	return nil
}

// A file that was made to become as large as the disk is refused, long before
// that and in little memory.
func TestBomb(t *testing.T) {
	for _, how := range []string{Gzip, Zstd} {
		var b bytes.Buffer
		var w io.WriteCloser = gzip.NewWriter(&b)
		if how == Zstd {
			w, _ = zstd.NewWriter(&b)
		}
		_, _ = io.WriteString(w, header)
		for range 80 {
			_, _ = w.Write(make([]byte, 1<<20))
		}
		_ = w.Close()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		err := readError(&b)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), "more than 500 times as large") {
			t.Errorf("%s: got %v", how, err)
		}
		if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 64<<20 {
			t.Errorf("%s: took %d bytes of memory", how, grown)
		}
	}
}

func TestFormatIn(t *testing.T) {
	for text, want := range map[string]Format{
		"": CSV, header: CSV, "{": JSONL, "\ufeff \r\n {\"a\":1}": JSONL, packed(Gzip, "{}"): JSONL, packed(Zstd, header): CSV,
	} {
		if got, err := FormatIn(strings.NewReader(text)); got != want || err != nil {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	if _, err := FormatIn(strings.NewReader("\x1f\x8b\x08")); err == nil {
		t.Error("a cut file has a format")
	}
}

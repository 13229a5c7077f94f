package report

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/ledger"
)

// unpacked is what the script of the page reads.
func unpacked(t testing.TB, packed string) string {
	t.Helper()
	z, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(packed)))
	must(t, err)
	b, err := io.ReadAll(z)
	must(t, err)
	if !json.Valid(b) {
		t.Fatalf("no JSON: %.200s", b)
	}
	return string(b)
}

func TestFailedRowsOfAPage(t *testing.T) {
	var b strings.Builder
	f := newFailedRows(&b)
	offline := ledger.Outcome{Class: "offline_or_absent", Error: "left out", Attempts: 1}
	for _, r := range []ledger.RowOutcome{
		{Line: 2, Raw: "g,a1,1000", Outcome: offline},
		{Line: 3, Raw: "g,\"</script><img onerror=x>\u2028\u202e\x00\xff\",=1+1", Outcome: ledger.Outcome{Class: "bad_row", Code: 7, Error: "two\nlines"}},
		{Line: 9, Raw: "张伟\u200d", Outcome: offline},
	} {
		must(t, f.add(r))
	}
	must(t, f.close())
	want := `[
[2,0,"g,a1,1000","offline_or_absent",0,1,"left out"],
[3,1,"g,\"</script><img onerror=x>····\",=1+1","bad_row",7,0,"two·lines"],
[9,0,"张伟` + "\u200d" + `"]
]`
	if d := cmp.Diff(want, unpacked(t, b.String())); d != "" {
		t.Error(d)
	}
	if strings.ContainsAny(b.String(), "<>&\n") {
		t.Error("it could end its script")
	}
}

func TestFailedRowsOfNone(t *testing.T) {
	var b strings.Builder
	must(t, newFailedRows(&b).close())
	if got := unpacked(t, b.String()); got != "[]" {
		t.Errorf("got %q", got)
	}
}

// Rows, their texts, all texts together, and different outcomes have a bound.
func TestFailedRowsAreBounded(t *testing.T) {
	long, text := strings.Repeat("长", 1<<16), strings.Repeat("e", 1<<10)
	for _, test := range []struct {
		name string
		row  func(i int) ledger.RowOutcome
		want int64
	}{
		{"many", func(i int) ledger.RowOutcome { return ledger.RowOutcome{Raw: "r"} }, maxPageRows},
		{"long", func(i int) ledger.RowOutcome {
			return ledger.RowOutcome{Raw: long, Outcome: ledger.Outcome{Error: fmt.Sprint(i, text)}}
		}, maxPageBytes / 1050},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFailedRows(io.Discard)
			f.zip, _ = gzip.NewWriterLevel(io.Discard, gzip.NoCompression) // with it the race detector takes a minute
			for i := range maxPageRows + 10 {
				must(t, f.add(test.row(i)))
			}
			must(t, f.close())
			if f.rows < test.want || f.rows > test.want*11/10 || f.bytes > maxPageBytes+maxPageText*10 || len(f.known) > maxOutcomes {
				t.Errorf("got %d rows, %d bytes, %d outcomes", f.rows, f.bytes, len(f.known))
			}
		})
	}
}

// The memory that rows take is that of the compressor, and of the outcomes that it
// remembers.
func TestFailedRowsTakeLittleMemory(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f := newFailedRows(io.Discard)
	for i := range maxPageRows / 5 {
		must(t, f.add(ledger.RowOutcome{
			Line: int64(i), Raw: fmt.Sprintf("group-%d,student-%d,1000", rng.IntN(99), rng.Uint64()),
			Outcome: ledger.Outcome{Class: "refused", Error: fmt.Sprint("no such account ", rng.Uint64())},
		}))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	must(t, f.close())
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 3<<20 {
		t.Errorf("the heap has grown by %d KB", grown>>10)
	}
}

func FuzzVisible(f *testing.F) {
	for _, s := range []string{"", "plain", "a\x00b", "\u202eevil", "张伟 👩‍🏫", "\xff\xfe", strings.Repeat("é", 400), strings.Repeat("\x80", 600)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := visible(clipText(s))
		if !utf8.ValidString(got) || len(got) > 2*maxPageText+3 {
			t.Fatalf("%q: got %q", s, got)
		}
		if bytes.ContainsAny([]byte(got), "\x00\n\r\u202e\u2066\u2028\ufeff") {
			t.Fatalf("%q: got %q", s, got)
		}
	})
}

package roster

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// A gate gives the same lines for each size of its pieces.
func TestGate(t *testing.T) {
	type item struct {
		Line  string
		Whole bool
		Num   int64
	}
	const keep = 3 * bufferSize
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, tt := range []struct {
		name, text string
		want       []item
		newLine    string
	}{
		{"nothing", "", nil, ""},
		{"short", "a\n\nb\r\nc", []item{{"a", true, 1}, {"b", true, 3}, {"c", true, 4}}, "\n"},
		{"exactly kept", x(keep) + "\r\nb", []item{{x(keep), true, 1}, {"b", true, 2}}, "\r\n"},
		{"one too many", x(keep+1) + "\nb", []item{{x(keep), false, 1}, {"b", true, 2}}, "\n"},
		{"one too many, CRLF", x(keep+1) + "\r\nb", []item{{x(keep), false, 1}, {"b", true, 2}}, "\r\n"},
		{"a carriage return at the cut", x(keep) + "\r" + x(9) + "\nb", []item{{x(keep), false, 1}, {"b", true, 2}}, "\n"},
		{"end between two pieces", x(2*bufferSize-1) + "\r\nb", []item{{x(2*bufferSize - 1), true, 1}, {"b", true, 2}}, "\r\n"},
		{"end of the file behind a piece", x(2 * bufferSize), []item{{x(2 * bufferSize), true, 1}}, "\n"},
		{"cut at the end of the file", x(keep + 100), []item{{x(keep), false, 1}}, "\n"},
		{"blanks, then text", strings.Repeat(" ", keep) + "x\nb", []item{{strings.Repeat(" ", keep), false, 1}, {"b", true, 2}}, "\n"},
		{"text, then blanks", "x" + strings.Repeat(" ", keep) + "\nb", []item{{"x" + strings.Repeat(" ", keep-1), false, 1}, {"b", true, 2}}, "\n"},
		{"blanks", strings.Repeat(" ", 2*keep) + "\r\nb", []item{{"b", true, 2}}, "\n"},
		{"BOM before a long line", "\ufeff" + x(bufferSize) + "\nb", []item{{x(bufferSize), true, 1}, {"b", true, 2}}, "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(tt.text), iotest.HalfReader(strings.NewReader(tt.text)), iotest.DataErrReader(strings.NewReader(tt.text))} {
				g := newGate(r, keep)
				var got []item
				for {
					line, whole, err := g.next()
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, item{string(line), whole, g.num})
				}
				if !cmp.Equal(got, tt.want) {
					t.Errorf("lines differ: got %d, want %d", len(got), len(tt.want))
				}
				if g.newLine != tt.newLine {
					t.Errorf("got line end %q, want %q", g.newLine, tt.newLine)
				}
			}
		})
	}
}

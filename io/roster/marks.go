package roster

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Marks are the marks of one row, at least one, in the order as written and
// each once. What a mark may be for the API is not checked here.
//
// A mark is digits and nothing else: "010", "+5", "1e3", "1000.0" and "1_0"
// are not marks.
type Marks []uint64

var errNoMark = errors.New("no mark")

// isSeparator tells what may stand between two marks, also several of them. A
// tab comes from cells pasted out of a spreadsheet.
func isSeparator(c byte) bool {
	return c == ',' || c == ';' || c == '|' || c == ' ' || c == '\t'
}

// UnmarshalCSV reads marks from a text such as "1000", "1000,1001" or
// "1000 | 1001".
func (m *Marks) UnmarshalCSV(s string) error {
	var few [8]uint64 // so that the usual row costs one allocation
	marks := few[:0]
	for i := 0; i < len(s); {
		if isSeparator(s[i]) {
			i++
			continue
		}
		start := i
		for i < len(s) && !isSeparator(s[i]) {
			i++
		}
		mark, err := parseMark(s[start:i])
		if err != nil {
			return err
		}
		marks = append(marks, mark)
	}
	return m.set(marks)
}

// UnmarshalJSON reads marks from an array of integers, from one integer, or
// from a string as in a CSV file.
func (m *Marks) UnmarshalJSON(b []byte) error {
	switch jsontext.Value(b).Kind() {
	case '"':
		s, err := unquote(b)
		if err != nil {
			return err
		}
		return m.UnmarshalCSV(s)
	case '0':
		mark, err := parseMark(string(b))
		if err != nil {
			return err
		}
		return m.set([]uint64{mark})
	case '[':
		if len(b) < 2 {
			return errNoMark
		}
		return m.fromArray(bytes.TrimSpace(b[1 : len(b)-1]))
	}
	return fmt.Errorf("must be an array of marks, but is %s", describe(b))
}

// fromArray reads the inside of an array. What is in there is valid JSON, so
// that an element which is digits only is an integer.
func (m *Marks) fromArray(b []byte) error {
	var few [8]uint64
	marks := few[:0]
	for rest := true; rest && len(b) > 0; {
		var word []byte
		word, b, rest = bytes.Cut(b, []byte(","))
		mark, err := parseMark(string(bytes.TrimSpace(word)))
		if err != nil {
			return err
		}
		marks = append(marks, mark)
	}
	return m.set(marks)
}

// set keeps each of marks once.
func (m *Marks) set(marks []uint64) error {
	if len(marks) == 0 {
		return errNoMark
	}
	once := make(Marks, 0, len(marks))
	if len(marks) <= fewMarks {
		for _, mark := range marks {
			if !slices.Contains(once, mark) {
				once = append(once, mark)
			}
		}
	} else { // to look through all for each would take seconds for the longest line
		seen := make(map[uint64]bool, len(marks))
		for _, mark := range marks {
			if !seen[mark] {
				seen[mark] = true
				once = append(once, mark)
			}
		}
	}
	*m = once
	return nil
}

// fewMarks is up to how many marks a map is not worth making.
const fewMarks = 32

// parseMark reads one mark.
func parseMark(s string) (uint64, error) {
	if s == "" {
		return 0, errNoMark
	}
	return parseDigits(s, "a mark", math.MaxUint64)
}

// parseDigits reads a number that is digits and nothing else; what says what it
// would be. strconv would do, but says less of what is wrong.
func parseDigits(s, what string, most uint64) (uint64, error) {
	var n uint64
	for i := range len(s) {
		d := uint64(s[i] - '0')
		switch {
		case d > 9:
			return 0, fmt.Errorf("%s is not %s: %s", quote(s), what, whyNot(s))
		case i > 0 && n == 0:
			return 0, fmt.Errorf("%s is not %s: leading zero", quote(s), what)
		case n > (most-d)/10:
			return 0, fmt.Errorf("%s is not %s: too large", quote(s), what)
		}
		n = n*10 + d
	}
	return n, nil
}

// whyNot names the way in which a text that is not all digits is no number.
func whyNot(s string) string {
	switch {
	case s[0] == '-' || s[0] == '+':
		return "it has a sign"
	case s[0] < '0' || s[0] > '9':
		return "only digits can stand here"
	case strings.ContainsRune(s, '.'):
		return "it has a decimal point"
	case strings.ContainsAny(s, "eE"):
		return "it has an exponent"
	}
	return "only digits can stand here"
}

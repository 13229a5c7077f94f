package roster

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// A Count is a number of messages, from 0 to 4294967295. Blanks around it are
// cut.
//
// A count is digits and nothing else: "", "05", "+5", "1e3", "3.0", "1,000" and
// "1_0" are not counts. What a count may be for a group is not checked here.
type Count uint32

var errNoCount = errors.New("no number")

// UnmarshalCSV reads a count from a CSV field.
func (c *Count) UnmarshalCSV(s string) error {
	s = strings.Trim(s, " \t")
	if s == "" {
		return errNoCount
	}
	n, err := parseDigits(s, "a count", math.MaxUint32)
	if err == nil {
		*c = Count(n)
	}
	return err
}

// UnmarshalJSON reads a count from an integer, or from a string as in a CSV
// file.
func (c *Count) UnmarshalJSON(b []byte) error {
	switch jsontext.Value(b).Kind() {
	case '"':
		s, err := unquote(b)
		if err != nil {
			return err
		}
		return c.UnmarshalCSV(s)
	case '0':
		return c.UnmarshalCSV(string(b))
	}
	return fmt.Errorf("must be a number, but is %s", describe(b))
}

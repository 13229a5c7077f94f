package chat

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// The fields here come in more than one form: as a number, as a string, as
// null, or not at all. They are kept as they came (a json.RawMessage takes
// anything) until the answer is known to be no refusal, since a refusal is one
// whatever else is in it.

// digits returns the decimal digits of a field: of a number, or of a string. It
// is "" for a field that is absent, null or "".
func digits(name string, raw json.RawMessage) (string, error) {
	text, quoted := unquote(raw)
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return "", nil
	case !quoted:
		text = string(raw)
	}
	if strings.Trim(text, "0123456789") != "" {
		return "", fmt.Errorf("%s is no whole number", name)
	}
	return text, nil
}

// number reads a whole number from 0 to 2^63-1, 0 if it is absent.
func number(name string, raw json.RawMessage) (int64, error) {
	text, err := digits(name, raw)
	if err != nil || text == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is too large", name)
	}
	return n, nil
}

// count reads a number that is told beside what was asked for: of members, of groups.
// One that is negative, or no whole number, is taken as not told (-1): what was asked
// for is there, and who needs the number can do without it.
func count(raw json.RawMessage) int64 {
	text, err := digits("", raw)
	if err != nil || text == "" {
		return -1
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// unsigned reads a whole number from 0 to 2^64-1, 0 if it is absent.
func unsigned(name string, raw json.RawMessage) (uint64, error) {
	text, err := digits(name, raw)
	if err != nil || text == "" {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is too large", name)
	}
	return n, nil
}

// cursor reads a string that only the server understands. A number is taken by
// its digits, and 0 as the end, which it is wherever the API has numbers for
// cursors.
func cursor(name string, raw json.RawMessage) (string, error) {
	if text, ok := unquote(raw); ok {
		return text, nil
	}
	text, err := digits(name, raw)
	if text == "0" {
		text = ""
	}
	return text, err
}

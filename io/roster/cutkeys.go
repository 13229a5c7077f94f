package roster

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// A segment is where a reserved member stands in the text of an object: start
// and end of the member, and before, the end of what stands before it.
type segment struct{ before, start, end int }

// remove takes reserved members out of the text of an object, each run of them
// with the comma that joins it to the rest. All else stays as written.
func remove(text []byte, cuts []segment) []byte {
	out := make([]byte, 0, len(text))
	at := 0
	for i := 0; i < len(cuts); {
		last := i
		for last+1 < len(cuts) && cuts[last+1].before == cuts[last].end {
			last++
		}
		from, to := cuts[i].start, cuts[last].end
		if comma := bytes.IndexByte(text[cuts[i].before:from], ','); comma >= 0 {
			from = cuts[i].before + comma
		} else if comma := afterComma(text[to:]); comma > 0 {
			to += comma
		}
		out = append(out, text[at:from]...)
		at = to
		i = last + 1
	}
	return append(out, text[at:]...)
}

// afterComma is the length of a comma and the blanks around it, 0 if the text
// does not begin with one.
func afterComma(text []byte) int {
	rest := bytes.TrimLeft(text, " \t\r")
	if len(rest) == 0 || rest[0] != ',' {
		return 0
	}
	return len(text) - len(bytes.TrimLeft(rest[1:], " \t\r"))
}

// cutKeys takes the reserved members off the end of a line that is not a sound
// object otherwise: they were appended to it in one piece, before its last
// brace. It reports whether they were there.
func cutKeys(line []byte) ([]byte, bool) {
	// Inside a string the quotes of this would be escaped, so the last one is it.
	at := bytes.LastIndex(line, []byte(`"_line"`))
	end := bytes.LastIndexByte(line, '}')
	if at < 1 || end < at || !isBlank(line[end+1:]) {
		return line, false
	}
	block := append([]byte{'{'}, line[at:end+1]...)
	if !allReserved(block) {
		return line, false
	}
	from := at
	if before := bytes.TrimRight(line[:at], " \t"); len(before) > 0 && before[len(before)-1] == ',' {
		from = len(before) - 1
	}
	out := append([]byte{}, line[:from]...)
	return append(out, line[end:]...), true
}

// allReserved reports whether a text is an object of reserved members only.
func allReserved(text []byte) bool {
	dec := jsontext.NewDecoder(bytes.NewReader(text))
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return false
	}
	for dec.PeekKind() == '"' {
		t, err := dec.ReadToken()
		if err != nil || !isReserved(t.String()) {
			return false
		}
		if err := dec.SkipValue(); err != nil {
			return false
		}
	}
	t, err := dec.ReadToken()
	return err == nil && t.Kind() == '}' && dec.InputOffset() == int64(len(text))
}

package roster

import (
	"encoding/csv"
	"slices"
	"strings"
)

// Reserved lists the columns that a file of failed rows has at its end, in
// this order. Reading cuts them off, wherever they stand.
//
// The values of the five but _error are plain words; _error is a CSV field of
// one line. With that a row is found again also if it is not CSV itself.
func Reserved() []string {
	return []string{"_line", "_class", "_code", "_error", "_attempts", "_run"}
}

// RawKey is the key of a JSONL file under which a line that was no JSON object
// is kept: as a string, or as {"base64":"…"} if it is not UTF-8. It is read in
// place of the object.
const RawKey = "_raw"

func isReserved(column string) bool {
	if column = strings.TrimSpace(column); column == "" || column[0] != '_' {
		return false
	}
	switch column { // a switch, and not Reserved(): once for each key of a JSON object
	case "_line", "_class", "_code", "_error", "_attempts", "_run":
		return true
	}
	return false
}

// A comma is what stands between the fields of a line.
type comma byte

// A splitter parses lines of CSV, one by one.
type splitter struct {
	feed feed
	cr   *csv.Reader
}

func newSplitter(by comma) *splitter {
	s := &splitter{}
	s.cr = csv.NewReader(&s.feed)
	s.cr.Comma = rune(by)
	s.cr.FieldsPerRecord, s.cr.ReuseRecord = -1, true
	return s
}

// split gives the fields of a line. They are valid until the next call.
func (s *splitter) split(line string) ([]string, error) {
	s.feed.rest = line
	return s.cr.Read()
}

// start tells at which byte of the line the i-th field starts.
func (s *splitter) start(i int) int {
	_, col := s.cr.FieldPos(i)
	return col - 1
}

// A cutter cuts the reserved columns out of the lines of a CSV file.
type cutter struct {
	own   []bool // by column of the file: not reserved
	block int    // where the reserved columns stand in one piece and in order; -1: they do not
	comma comma
	split *splitter
}

// newCutter returns nil if there is nothing to cut.
func newCutter(columns []string, by comma) *cutter {
	c := &cutter{own: make([]bool, len(columns)), block: -1, comma: by, split: newSplitter(by)}
	first, count := -1, 0
	for i, name := range columns {
		c.own[i] = !isReserved(name)
		if !c.own[i] {
			count++
			if first < 0 {
				first = i
			}
		}
	}
	if count == 0 {
		return nil
	}
	if r := Reserved(); count == len(r) && first+count <= len(columns) {
		trimmed := make([]string, count)
		for i := range trimmed {
			trimmed[i] = strings.TrimSpace(columns[first+i])
		}
		if slices.Equal(trimmed, r) {
			c.block = first
		}
	}
	return c
}

// another makes a cutter of the same columns, with a state of its own.
func (c *cutter) another() *cutter {
	if c == nil {
		return nil
	}
	return &cutter{own: c.own, block: c.block, comma: c.comma, split: newSplitter(c.comma)}
}

// cut returns the line without the reserved columns. When they stand together
// at the end or at the front, they are found there by their form, so that the
// rest may be anything. A line in which they are not found stays whole: its
// author may have added it to the file by hand.
func (c *cutter) cut(line string) string {
	if c == nil {
		return line
	}
	if c.block >= 0 && c.block+len(Reserved()) == len(c.own) {
		if rest, ok := c.comma.cutTail(line); ok {
			return rest
		}
	}
	if c.block == 0 {
		if n := c.comma.matchBlock(line); n > 0 && n < len(line) {
			return line[n+1:]
		}
	}
	if fields, err := c.split.split(line); err == nil && len(fields) == len(c.own) {
		return c.join(line)
	}
	if c.block > 0 {
		return c.comma.cutMiddle(line)
	}
	return line
}

// join puts the own fields of a line that was split together again, each as
// written.
func (c *cutter) join(line string) string {
	var parts []string
	for i, own := range c.own {
		if !own {
			continue
		}
		end := len(line)
		if i+1 < len(c.own) {
			end = c.split.start(i+1) - 1
		}
		parts = append(parts, line[c.split.start(i):end])
	}
	return strings.Join(parts, string(rune(c.comma)))
}

// cutTail cuts a block of reserved values off the end of a line. It goes
// backwards, since the line before the block may be broken in any way, while
// the block itself is known to be sound: so what it finds is not ambiguous.
func (by comma) cutTail(line string) (rest string, ok bool) {
	rest, run, ok1 := by.cutLast(line)
	rest, attempts, ok2 := by.cutLast(rest)
	if !ok1 || !ok2 || !isWord(run) || !isNumber(attempts) {
		return line, false
	}
	if rest, ok = by.cutLastField(rest); !ok {
		return line, false
	}
	rest, code, ok1 := by.cutLast(rest)
	rest, class, ok2 := by.cutLast(rest)
	rest, num, ok3 := by.cutLast(rest)
	if !ok1 || !ok2 || !ok3 || !isCode(code) || !isWord(class) || num == "" || !isNumber(num) {
		return line, false
	}
	return rest, true
}

// cutLast cuts the text behind the last comma.
func (by comma) cutLast(line string) (rest, last string, ok bool) {
	i := strings.LastIndexByte(line, byte(by))
	if i < 0 {
		return line, "", false
	}
	return line[:i], line[i+1:], true
}

// cutLastField cuts a sound CSV field, quoted or not, off the end of a line.
func (by comma) cutLastField(line string) (rest string, ok bool) {
	if !strings.HasSuffix(line, `"`) {
		rest, last, ok := by.cutLast(line)
		return rest, ok && !strings.Contains(last, `"`)
	}
	// Quotes inside the field are doubled, so the opening one is the leftmost of
	// the first odd number of quotes in a row.
	for end := len(line) - 1; ; {
		i := end - 1
		for i >= 0 && line[i] != '"' {
			i--
		}
		last := i
		for i >= 0 && line[i] == '"' {
			i--
		}
		if last < 0 {
			return line, false
		}
		if (last-i)%2 == 1 {
			if i < 0 || line[i] != byte(by) {
				return line, false
			}
			return line[:i], true
		}
		end = i + 1
	}
}

// cutMiddle cuts the one block of reserved values inside a line that is
// broken elsewhere. If there are several, the line stays whole.
func (by comma) cutMiddle(line string) string {
	at, length := -1, 0
	for i := strings.IndexByte(line, byte(by)); i >= 0; {
		if n := by.matchBlock(line[i+1:]); n > 0 {
			if at >= 0 {
				return line
			}
			at, length = i, n
		}
		next := strings.IndexByte(line[i+1:], byte(by))
		if next < 0 {
			break
		}
		i += 1 + next
	}
	if at < 0 {
		return line
	}
	return line[:at] + line[at+1+length:]
}

// matchBlock tells the length of the block of reserved values that a text
// begins with, up to a comma or the end; 0 if there is none.
func (by comma) matchBlock(s string) int {
	rest, ok := s, s != "" && s[0] != byte(by)
	for _, valid := range []func(string) bool{isNumber, isWord, isCode} {
		rest, ok = by.skipWord(rest, ok, valid)
	}
	rest, ok = by.skipField(rest, ok)
	rest, ok = by.skipWord(rest, ok, isNumber)
	run, _, _ := strings.Cut(rest, string(rune(by)))
	if !ok || !isWord(run) {
		return 0
	}
	return len(s) - len(rest) + len(run)
}

// skipWord skips a plain value and its comma, if all was well so far.
func (by comma) skipWord(s string, ok bool, valid func(string) bool) (string, bool) {
	word, rest, comma := strings.Cut(s, string(rune(by)))
	return rest, ok && comma && valid(word)
}

// skipField skips a CSV field and its comma, if all was well so far.
func (by comma) skipField(s string, ok bool) (string, bool) {
	if !strings.HasPrefix(s, `"`) {
		return by.skipWord(s, ok, func(s string) bool { return !strings.Contains(s, `"`) })
	}
	for i := 1; i+1 < len(s); i++ {
		if s[i] == '"' && s[i+1] == '"' {
			i++
		} else if s[i] == '"' {
			return s[i+2:], ok && s[i+1] == byte(by)
		}
	}
	return "", false
}

// isNumber and isWord also take the empty text: a value may be unknown.
func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func isCode(s string) bool { return isNumber(strings.TrimPrefix(s, "-")) }

func isWord(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && s[i] != '_' && s[i] != '-' && s[i] != '.' {
			return false
		}
	}
	return true
}

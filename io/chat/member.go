package chat

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// A Member is one member of a group as the server describes it, with nothing
// lost: numbers keep their digits, a field that is absent is not one that is
// empty, and fields that this package has never heard of are there.
type Member struct {
	Account string  // "" if the server names none
	Fields  []Field // all but Member_Account, in the order of the answer, each name once: its last value, at its first place
}

// A Field is one field of a [Member].
type Field struct {
	Name string

	// Value is the JSON text of the value exactly as it came, blanks inside it
	// and bytes that are no UTF-8 included: JSON by all rules but that one. It
	// shares the memory of the answer it came with: copy what you keep when
	// that is little of a page, and do not change it.
	Value []byte
}

// Text returns what a field with a string holds, and false if it holds
// anything else. Bytes that are no UTF-8 stay as they are; an escaped half of
// a surrogate pair becomes U+FFFD.
func (f Field) Text() (string, bool) { return unquote(f.Value) }

// A memberList is the list of members in an answer. It is taken out of the body
// before the rest is decoded, since encoding/json would go over it three times
// and could not tell what came from what it means.
type memberList struct {
	members []Member
	raw     []byte // the list's JSON text; nil if the answer has none
}

func (l *memberList) list() *memberList { return l }

// laxly is how members are read: like encoding/json, which lets both pass.
func laxly(text []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
}

// next reads one value of text, or one name of an object. What it returns lies
// in text, so that it outlives the decoder.
func next(d *jsontext.Decoder, text []byte) ([]byte, error) {
	v, err := d.ReadValue()
	if err != nil {
		return nil, err
	}
	end := int(d.InputOffset())
	return text[end-len(v) : end : end], nil
}

// take takes the list out of body, which begins an object, and returns the
// body with null in its place. What follows the object is left to the caller.
func (l *memberList) take(body []byte) ([]byte, error) {
	d := laxly(body)
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	var rest []byte
	kept := 0 // of body, in rest
	for d.PeekKind() == '"' {
		quoted, err := next(d, body)
		if err != nil {
			return nil, err
		}
		value, err := next(d, body)
		if err != nil {
			return nil, err
		}
		if name, _ := unquote(quoted); name == "MemberList" {
			end := int(d.InputOffset())
			rest = append(append(rest, body[kept:end-len(value)]...), "null"...)
			kept, l.raw = end, value
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	return append(rest, body[kept:]...), nil
}

// read reads the members of the list, once the answer is known to be no
// refusal.
func (l *memberList) read() error {
	if l.raw == nil || string(l.raw) == "null" {
		return nil
	}
	if l.raw[0] != '[' {
		return errors.New("MemberList is no array")
	}
	r := memberReader{text: l.raw, dec: laxly(l.raw), columns: map[string]*column{}}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	l.members = []Member{}
	for r.dec.PeekKind() != ']' {
		m, err := r.member(len(l.members))
		if err != nil {
			return fmt.Errorf("MemberList: member %d: %w", len(l.members)+1, err)
		}
		l.members = append(l.members, m)
	}
	return nil
}

// maxWidth bounds what is set aside for a member before it is read, so that
// one of a million fields does not cost that for each of its neighbours.
const maxWidth = 32

// A memberReader reads the members of one list one by one.
type memberReader struct {
	text    []byte
	dec     *jsontext.Decoder
	columns map[string]*column
	width   int // fields of the member before: most have as many; at most maxWidth
}

// A column is a name that members of the list have. It makes one string of all
// that are alike, and finds a name that comes twice without a search.
type column struct {
	name   string
	member int // the last member that had it, by place
	at     int // where it is among that member's fields
}

func (r *memberReader) member(place int) (Member, error) {
	if r.dec.PeekKind() != '{' {
		return Member{}, errors.New("no object")
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return Member{}, err
	}
	m := Member{Fields: make([]Field, 0, r.width)}
	for r.dec.PeekKind() == '"' {
		quoted, err := next(r.dec, r.text)
		if err != nil {
			return Member{}, err
		}
		value, err := next(r.dec, r.text)
		if err != nil {
			return Member{}, err
		}
		c := r.column(quoted)
		switch {
		case c.name == "Member_Account":
			m.Account, _ = unquote(value)
		case c.member == place:
			m.Fields[c.at].Value = value
		default:
			c.member, c.at = place, len(m.Fields)
			m.Fields = append(m.Fields, Field{Name: c.name, Value: value})
		}
	}
	r.width = min(len(m.Fields), maxWidth)
	_, err := r.dec.ReadToken()
	return m, err
}

// column returns the column of a name as it stands in the answer.
func (r *memberReader) column(quoted []byte) *column {
	plain := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(plain, '\\') >= 0 {
		name, _ := unquote(quoted)
		plain = []byte(name)
	}
	c := r.columns[string(plain)] // no string is made to look it up
	if c == nil {
		c = &column{name: string(plain), member: -1}
		r.columns[c.name] = c
	}
	return c
}

// unquote returns what a JSON string holds, and false if raw is none. Unlike
// any decoder of strings it keeps bytes that are no UTF-8: two accounts that
// differ by those stay two.
func unquote(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	s := raw[1 : len(raw)-1]
	at := bytes.IndexByte(s, '\\')
	if at < 0 {
		return string(s), true
	}
	var out []byte
	for ; at >= 0; at = bytes.IndexByte(s, '\\') {
		out = append(out, s[:at]...)
		n := escapes(s[at:])
		// The error is about halves of surrogate pairs, and they are replaced.
		out, _ = jsontext.AppendUnquote(out, `"`+string(s[at:at+n])+`"`)
		s = s[at+n:]
	}
	return string(append(out, s...)), true
}

// escapes returns how many bytes of s are escapes that follow each other: two
// may be one character.
func escapes(s []byte) int {
	n := 0
	for n < len(s) && s[n] == '\\' {
		if n+1 < len(s) && s[n+1] == 'u' {
			n += 4
		}
		n += 2
	}
	return min(n, len(s))
}

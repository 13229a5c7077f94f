// Package charset reads and writes texts in the encodings in which rosters are
// found, by their names on the web: gb18030, big5, shift_jis, euc-kr,
// windows-1252, utf-16le and so on.
//
// In all of them but UTF-16, a byte below 0x80 that begins a character is that
// ASCII character. So lines, and the fields of lines, can be found in the bytes
// as they are. Encodings in which this is not so are refused.
package charset

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// The names of some encodings.
const (
	UTF8    = "utf-8"
	UTF16LE = "utf-16le"
	UTF16BE = "utf-16be"
)

// A Charset is an encoding. It is not safe for concurrent use.
type Charset struct {
	Name string // its one name: "gbk" also if it was asked for as "GB2312"
	wide bool
	dec  *encoding.Decoder // nil for UTF-8
	enc  *encoding.Encoder
}

// Named gives the encoding of a name, in any case. The name "" is UTF-8.
func Named(name string) (*Charset, error) {
	if name == "" {
		name = UTF8
	}
	e, err := htmlindex.Get(name)
	if err != nil {
		return nil, fmt.Errorf("no encoding %q: there are utf-8, utf-16le, utf-16be, gb18030, gbk, big5, shift_jis, euc-kr, windows-1252 and others by their names on the web", name)
	}
	c := &Charset{}
	if c.Name, err = htmlindex.Name(e); err != nil {
		return nil, fmt.Errorf("no encoding %q", name)
	}
	switch c.Name {
	case UTF8:
		return c, nil
	case UTF16LE: // so that a byte order mark is a character like any other
		c.wide, e = true, unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)
	case UTF16BE:
		c.wide, e = true, unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	case "iso-2022-jp", "replacement", "x-user-defined":
		return nil, fmt.Errorf("the encoding %s is not read: save the file as UTF-8", name)
	}
	c.dec, c.enc = e.NewDecoder(), e.NewEncoder()
	return c, nil
}

// Another gives the same encoding, for use at the same time.
func (c *Charset) Another() *Charset {
	other, err := Named(c.Name)
	if err != nil {
		panic(err) // it was known before
	}
	return other
}

// IsUTF8 reports whether this is UTF-8, in which all texts of a program are.
func (c *Charset) IsUTF8() bool { return c.dec == nil }

// IsWide reports whether this is UTF-16, in which no character has one byte.
func (c *Charset) IsWide() bool { return c.wide }

// Decode gives the text of bytes. What is no character becomes U+FFFD.
func (c *Charset) Decode(s string) string {
	if c.dec == nil || !c.IsWide() && IsASCII(s) {
		return s
	}
	text, err := c.dec.String(s)
	if err != nil {
		return strings.ToValidUTF8(s, "\ufffd") // never: decoders go on
	}
	return text
}

// Reader gives what r reads as UTF-8. What is no character becomes U+FFFD.
func (c *Charset) Reader(r io.Reader) io.Reader {
	if c.dec == nil {
		return r
	}
	return transform.NewReader(r, c.dec)
}

// Append appends a text. A character that the encoding does not have becomes a
// question mark.
func (c *Charset) Append(dst []byte, text string) []byte {
	if c.enc == nil {
		return append(dst, text...)
	}
	if b, err := c.enc.String(text); err == nil {
		return append(dst, b...)
	}
	for _, r := range text {
		b, err := c.enc.String(string(r))
		if err != nil || r == utf8.RuneError {
			b = "?"
		}
		dst = append(dst, b...)
	}
	return dst
}

// IsASCII reports whether a text has no byte from 0x80 on.
func IsASCII(s string) bool {
	for len(s) >= 8 { // as unicode/utf8 does it
		first := uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
		second := uint32(s[4]) | uint32(s[5])<<8 | uint32(s[6])<<16 | uint32(s[7])<<24
		if (first|second)&0x80808080 != 0 {
			return false
		}
		s = s[8:]
	}
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// ASCII gives a text in which every other character is a question mark.
func ASCII(s string) string {
	if IsASCII(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r >= utf8.RuneSelf {
			return '?'
		}
		return r
	}, s)
}

// Hide replaces each byte b that is not a character of its own, but the second
// byte of one, so that b can be looked for in the bytes. [Show] brings them
// back. In most encodings there is no such byte, and then Hide costs nothing.
func (c *Charset) Hide(s string, b byte) (hidden string, with byte) {
	if !c.hasSecond(b) || IsASCII(s) || strings.IndexByte(s, b) < 0 {
		return s, b
	}
	with = 1 // a control character that is not there
	for strings.IndexByte(s, with) >= 0 || with == b || with >= '\t' && with <= '\r' {
		if with++; with >= ' ' {
			return s, b
		}
	}
	out := []byte(s)
	for i := 0; i+1 < len(out); i++ {
		if c.isFirst(out[i]) && out[i+1] >= 0x40 {
			if i++; out[i] == b {
				out[i] = with
			}
		}
	}
	return string(out), with
}

// Show brings back what [Charset.Hide] has hidden.
func Show(s string, b, with byte) string {
	if b == with {
		return s
	}
	return strings.ReplaceAll(s, string(rune(with)), string(rune(b)))
}

// hasSecond reports whether a byte below 0x80 may be the second one of a
// character.
func (c *Charset) hasSecond(b byte) bool {
	switch c.Name {
	case "gbk", "gb18030", "big5", "shift_jis":
		return b >= 0x40 && b < 0x7f
	}
	return false
}

// isFirst reports whether a character of two bytes may begin with b.
func (c *Charset) isFirst(b byte) bool {
	if c.Name == "shift_jis" && b >= 0xa0 && b < 0xe0 {
		return false
	}
	return b > 0x80 && b < 0xff
}

package export

import (
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// checkLength refuses a text that is too long for a cell. Excel counts as UTF-16
// does; a byte that is no UTF-8 counts as the U+FFFD that it becomes.
func checkLength(s string) error {
	if len(s) <= maxCellChars { // it has no more characters than bytes
		return nil
	}
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	if n <= maxCellChars {
		return nil
	}
	return fmt.Errorf("%d characters: a cell of a workbook has at most %d", n, maxCellChars)
}

// keepsSpace reports whether blanks of a text would be cut if it did not say
// that they are to be kept.
func keepsSpace(s string) bool { return isSpace(s[0]) || isSpace(s[len(s)-1]) }

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// appendText adds a text to XML. What XML cannot hold is written as Excel does,
// _xHHHH_, and a text that looks like that already has its first _ written so.
func appendText(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				dst = append(dst, "\ufffd"...)
			case isEscaped(r):
				dst = appendEscape(dst, r)
			default:
				dst = append(dst, s[i:i+size]...)
			}
			i += size
			continue
		}
		i++
		switch {
		case c == '&':
			dst = append(dst, "&amp;"...)
		case c == '<':
			dst = append(dst, "&lt;"...)
		case c == '>':
			dst = append(dst, "&gt;"...)
		case c == '\r': // a reader of XML takes a bare one for a line feed
			dst = append(dst, "&#13;"...)
		case isEscaped(rune(c)), c == '_' && isEscape(s[i:]):
			dst = appendEscape(dst, rune(c))
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

func appendEscape(dst []byte, r rune) []byte { return fmt.Appendf(dst, "_x%04X_", r) }

// isEscaped reports whether XML cannot hold a character.
func isEscaped(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff
}

// isEscape reports whether a text goes on like an escape behind its first _. Its last _
// may be the first one of an escape that is written for what comes next.
func isEscape(s string) bool {
	if len(s) < 6 || s[0] != 'x' {
		return false
	}
	for _, c := range []byte(s[1:5]) {
		if lower := c | 0x20; (c < '0' || c > '9') && (lower < 'a' || lower > 'f') {
			return false
		}
	}
	next, _ := utf8.DecodeRuneInString(s[5:])
	return next == '_' || isEscaped(next)
}

package chatsim

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

const typeJSON = "application/json"

// An answer is all that a caller will see of a call, decided before any of
// it is shown; it is then played over HTTP or in the process.
type answer struct {
	delay       time.Duration // before anything is shown
	hang        time.Duration // then silence, this long at most
	end         end
	status      int
	contentType string
	location    string // of a 3xx
	body        []byte
	code        int // ErrorCode, or NoCode
}

// end is how the connection fares.
type end int

const (
	endKept  end = iota // the whole answer is sent
	endReset            // a reset instead of an answer
	endCut              // the header and half of the body
)

// shown is the part of the body that arrives.
func (a *answer) shown() []byte {
	if a.end == endCut {
		return a.body[:len(a.body)/2]
	}
	return a.body
}

// encodeRefusal makes the body of a failure. It has the three documented
// fields and, like the sibling services, a RequestId.
func encodeRefusal(c *call, no *refusal) []byte {
	return append(appendHead(nil, c, "FAIL", no.code, no.info), '}')
}

// appendHead opens the object of an answer. RequestId and ErrorDisplay are not
// documented for these endpoints: callers must tolerate new fields, and here
// they always have to.
func appendHead(b []byte, c *call, status string, code int, info string) []byte {
	if c.action1 {
		b = append(b, `{"Action1Status":"`...)
	} else {
		b = append(b, `{"ActionStatus":"`...)
	}
	b = append(b, status...)
	b = append(b, `","ErrorCode":`...)
	b = strconv.AppendInt(b, int64(code), 10)
	b = append(b, `,"ErrorInfo":`...)
	b = appendString(b, info)
	b = append(b, `,"ErrorDisplay":{"Extra":[1,2]},"RequestId":"sim-`...)
	b = strconv.AppendInt(b, c.N, 10)
	return append(b, '"')
}

// appendString appends s as JSON. Accounts are nearly always plain ASCII, for
// which this is a copy.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if !plainByte(s[i]) {
			// Invalid UTF-8 becomes U+FFFD; an error is told as well, but
			// the text is appended all the same.
			b, _ = jsontext.AppendQuote(b, s)
			return b
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// plainByte says that JSON may have c in a string as it is.
func plainByte(c byte) bool { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\' }

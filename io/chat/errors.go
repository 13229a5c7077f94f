package chat

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A Code is an ErrorCode as the API sends it.
type Code int

// An Error is a refusal: the server answered, and its answer says no. Code is
// 0 when the answer carried ActionStatus FAIL beside ErrorCode 0.
type Error struct {
	Command   string // last part of the endpoint's path, e.g. "modify_user_info"
	Code      Code
	Info      string // ErrorInfo, secrets cut out, at most 1 KiB
	RequestID string // "" where the server sends none
}

// Error names the command, the code and what the server says about it, or
// what the code means where the server says nothing.
func (e *Error) Error() string {
	info := e.Info
	if info == "" {
		info = Rule(e.Code).Meaning
	}
	text := fmt.Sprintf("%s: code %d: %s", e.Command, e.Code, info)
	if e.RequestID != "" {
		text += " (request " + e.RequestID + ")"
	}
	return text
}

// CodeOf returns the ErrorCode in err's chain, 0 if there is none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return 0
}

// Reasons of a [TransportError].
const (
	ReasonTimeout  = "timeout"   // no complete answer within Client.Timeout
	ReasonReset    = "reset"     // the peer reset the connection
	ReasonEOF      = "eof"       // the connection ended before the answer did
	ReasonDNS      = "dns"       // the host name did not resolve
	ReasonTLS      = "tls"       // handshake or certificate
	ReasonConnect  = "connect"   // no TCP connection
	ReasonStatus   = "status"    // an HTTP status that is neither 200 nor 3xx
	ReasonRedirect = "redirect"  // a 3xx; it was not followed
	ReasonNotJSON  = "not_json"  // no JSON object with an ErrorCode
	ReasonTooLarge = "too_large" // more than 2 MiB, or than 100,000 values
	ReasonLate     = "late"      // nothing was sent, since it was too late, see [WithFence]
	ReasonOther    = "other"
)

// A TransportError is a call without a usable answer: whether it had an effect
// at the server is unknown.
type TransportError struct {
	Command    string        // last part of the endpoint's path
	Status     int           // HTTP status, 0 if none came
	Reason     string        // one of the Reason constants
	RetryAfter time.Duration // what the server asked for, 0 to 1 min; 0 = nothing
	Err        error         // the cause, without URL and secrets; may be nil
}

// Error names the command, the reason and the cause.
func (e *TransportError) Error() string {
	text := e.Command + ": " + e.Reason
	if e.Status != 0 && (e.Reason == ReasonStatus || e.Reason == ReasonRedirect) {
		text += fmt.Sprintf(" %d", e.Status)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *TransportError) Unwrap() error { return e.Err }

// Bounds of foreign text in our errors, in bytes.
const (
	maxInfo    = 1024
	maxExcerpt = 160
	maxScan    = 4096 // of what is searched for secrets
	minRun     = 16   // the least piece of a UserSig that is cut out
)

// sigParam finds what carries a UserSig as a query parameter, together with
// the URL around it.
var sigParam = regexp.MustCompile(`(?i)[^\s"'<>]*usersig(?:=|%3d)[^\s"'<>]*`)

// scrub cuts the UserSig sig out of a text that others wrote: servers and
// proxies like to quote the request. It finds the UserSig as it is and escaped
// as in a URL, whole or cut short behind its first minRun letters.
func scrub(text, sig string) string {
	text = sigParam.ReplaceAllString(text, redacted)
	if sig == "" {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); {
		letters, n := quoted(text[i:], sig)
		if letters >= min(minRun, len(sig)) {
			out.WriteString(redacted)
			i += n
			continue
		}
		out.WriteByte(text[i])
		i++
	}
	return out.String()
}

// quoted returns how many letters of secret text begins with, each as it is or
// as %XX, and how many bytes of text they are.
func quoted(text, secret string) (letters, n int) {
	for ; letters < len(secret) && n < len(text); letters++ {
		switch c := secret[letters]; {
		case text[n] == c:
			n++
		case text[n] == '%' && n+3 <= len(text) && strings.EqualFold(text[n+1:n+3], fmt.Sprintf("%02x", c)):
			n += 3
		default:
			return letters, n
		}
	}
	return letters, n
}

// plain puts a text that others wrote on one line, without what a terminal would
// obey instead of showing it.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}

// clip shortens text to at most limit bytes, at a rune boundary.
func clip(text string, limit int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= limit {
		return text
	}
	const mark = "…"
	cut := limit - len(mark)
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + mark
}

// excerpt quotes the beginning of a foreign body, on one line.
func excerpt(body []byte, sig string) string {
	body = body[:min(len(body), maxScan)]
	text := strings.Join(strings.Fields(scrub(string(body), sig)), " ")
	return fmt.Sprintf("%q", clip(text, maxExcerpt))
}

// withoutURL drops the *url.Error around err, since it prints the whole URL,
// and keeps the chain below it. A cause whose own text quotes the UserSig, or what a
// terminal would obey, is kept as text only.
func withoutURL(err error, sig string) error {
	for {
		ue, ok := err.(*url.Error)
		if !ok {
			break
		}
		err = ue.Err
	}
	text := err.Error()
	if clean := plain(scrub(text, sig)); clean != text {
		return errors.New(clean)
	}
	return err
}

package chat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Services, the middle part of an endpoint's path.
const (
	serviceAVChatRoom = "group_open_avchatroom_http_svc"
	serviceGroup      = "group_open_http_svc"
)

// Bounds of a call.
const (
	defaultTimeout = 10 * time.Second
	// The server gives up after 3 s by itself. A client that gives up sooner
	// cannot tell a slow server from a lost request.
	serverTimeout = 3 * time.Second
	// A UserID has at most 32 bytes.
	maxIdentifier = 32
)

// A Signer provides the UserSig of a call; [KeySigner] and [FixedSig] do. It
// is asked at each call, so that a renewed one is used at once. UserSig must be
// safe for concurrent use.
type Signer interface {
	UserSig() (string, error)
}

// A Client speaks the group part of the API. Each method is one HTTP request:
// it never retries. Its fields must not change after the first call; then it
// is safe for concurrent use.
type Client struct {
	Endpoint   string        // scheme and host, e.g. "https://console.tim.qq.com", see [Domain]
	SDKAppID   int64         // the app
	Identifier string        // account of an app admin
	Signer     Signer        // signs for Identifier; must not be nil
	HTTP       *http.Client  // [NewHTTPClient] makes the right one; must not be nil. Redirects are never followed
	Timeout    time.Duration // of a whole call, to the last byte of the answer; 0 = 10 s
}

// Check says what is wrong with the client's fields. Call it once, before the
// first call. Endpoint must be https, or http to a loopback host; Timeout must
// be longer than the server's own 3 s.
func (c *Client) Check() error {
	switch {
	case c.SDKAppID <= 0:
		return fmt.Errorf("sdkappid %d: want a positive number", c.SDKAppID)
	case c.Identifier == "":
		return errors.New("identifier is empty: want the account of an app admin")
	case len(c.Identifier) > maxIdentifier:
		return fmt.Errorf("identifier has %d bytes: want at most %d", len(c.Identifier), maxIdentifier)
	case c.Signer == nil:
		return errors.New("no signer: want a secret key or a UserSig")
	case c.HTTP == nil:
		return errors.New("no HTTP client")
	case c.Timeout != 0 && c.Timeout <= serverTimeout:
		return fmt.Errorf("timeout %v: want more than %v, the server's own", c.Timeout, serverTimeout)
	}
	return checkEndpoint(c.Endpoint)
}

// checkEndpoint never quotes an endpoint whole: it may hold a password.
func checkEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		return errors.New("endpoint is no URL: want https://host")
	}
	switch {
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("endpoint has more than scheme and host: want https://host")
	case u.Path != "" || u.Opaque != "":
		return fmt.Errorf("endpoint has a path (%q): want https://host", clip(u.Path+u.Opaque, maxExcerpt))
	case u.Hostname() == "":
		return errors.New("endpoint has no host: want https://host")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return fmt.Errorf("endpoint is plain http to %s: want https, the UserSig is in each request", u.Hostname())
	}
	return fmt.Errorf("endpoint has scheme %q: want https", u.Scheme)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// An envelope is what each answer of the API carries. It is embedded in the
// answer structs. ActionStatus is asked for FAIL only: some pages spell it
// otherwise.
type envelope struct {
	ActionStatus string
	ErrorCode    *Code // nil: not an answer of this API
	ErrorInfo    string
	RequestID    string `json:"RequestId"`
}

func (e *envelope) status() *envelope { return e }

// refusal is the error of what the server refused in this answer: all of it,
// or one of its groups.
func (e *envelope) refusal(command, sig string, code Code, info string) *Error {
	return &Error{
		Command:   command,
		Code:      code,
		Info:      clip(plain(scrub(clip(info, maxScan), sig)), maxInfo),
		RequestID: clip(plain(scrub(clip(e.RequestID, maxScan), sig)), maxExcerpt),
	}
}

// An answer is a pointer to an answer struct.
type answer[T any] interface {
	*T
	status() *envelope
}

// A lister is an answer with a list of members.
type lister interface{ list() *memberList }

// A finisher is an answer with more to read once it is known to be no
// refusal. An error of finish makes the answer unusable.
type finisher interface {
	finish(command, sig string) error
}

// call sends req to one endpoint and decodes its answer: the one way of a
// request, whatever the endpoint.
func call[T any, P answer[T]](ctx context.Context, c *Client, service, command string, req any) (P, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("%s: encode request: %w", command, err)
	}
	got, sig, err := c.post(ctx, service, command, body)
	if err != nil {
		return nil, err
	}
	return decode[T, P](command, got, sig)
}

// mostValues is far above what an answer of the API has: its longest list has 10,000
// groups, and 1 MB of members has some 50,000 fields. Values take many times the
// memory of their text: a list of "{}," 70 times. Each has a comma behind it, or an end.
const mostValues = 100_000

// decode reads one answer. Its error is an *Error when the server refused the
// call, and a *TransportError when the body is not an answer. Fields that are
// not known are let pass: the API adds some without notice.
func decode[T any, P answer[T]](command string, body []byte, sig string) (P, error) {
	if bytes.Count(body, []byte(",")) > mostValues {
		return nil, &TransportError{Command: command, Status: http.StatusOK, Reason: ReasonTooLarge,
			Err: fmt.Errorf("answer has more than %d values", mostValues)}
	}
	p := P(new(T))
	err := unmarshal(body, p)
	// A field of a wrong type does not stop the decoder. So a refusal is
	// known as one although another field of it cannot be read.
	e := p.status()
	switch {
	case e.ErrorCode != nil && (*e.ErrorCode != 0 || e.ActionStatus == "FAIL"):
		return nil, e.refusal(command, sig, *e.ErrorCode, e.ErrorInfo)
	case err == nil && e.ErrorCode == nil:
		err = errors.New("no ErrorCode")
	case err == nil:
		if f, ok := any(p).(finisher); ok {
			err = f.finish(command, sig)
		}
	}
	if err != nil {
		return nil, &TransportError{Command: command, Status: http.StatusOK, Reason: ReasonNotJSON,
			Err: fmt.Errorf("%w: %s", withoutURL(err, sig), excerpt(body, sig))}
	}
	return p, nil
}

// unmarshal decodes body, which must be one JSON object, into an answer. A
// list of members is taken out first, and read by finish.
func unmarshal(body []byte, answer any) error {
	first := bytes.TrimLeft(body, " \t\r\n")
	if len(first) == 0 || first[0] != '{' {
		return errors.New("no JSON object")
	}
	if l, ok := answer.(lister); ok {
		rest, err := l.list().take(body)
		if err != nil {
			return err
		}
		body = rest
	}
	return json.Unmarshal(body, answer)
}

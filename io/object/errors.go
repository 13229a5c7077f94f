package object

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"
)

// An Error says what a store has answered, in words of ours.
type Error struct {
	Code   string // "NoSuchKey"; "" if the store gave none that looks like one
	Status int    // of HTTP
	text   string
}

// Error is what the answer means.
func (e *Error) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("%s (HTTP %d)", e.text, e.Status)
	}
	return fmt.Sprintf("%s (%s)", e.text, e.Code)
}

// A finalError is one that trying again does not mend.
type finalError struct{ text string }

func (e *finalError) Error() string { return e.text }

// errChanged is the answer to a condition that the version which was read does
// not meet any more.
var errChanged = &finalError{"it changed while it was read; try again when it is complete"}

// maxCode is how long a code may be, in bytes.
const maxCode = 48

// isCode says whether a text looks like a code. What does not may be anything, the
// request included.
func isCode(text string) bool {
	odd := func(r rune) bool { return (r|0x20 < 'a' || r|0x20 > 'z') && (r < '0' || r > '9') && r != '.' }
	return text != "" && len(text) <= maxCode && !strings.ContainsFunc(text, odd)
}

// why says what an error of the library means.
func (s *Store) why(n Name, err error) error {
	if refused, ok := errors.AsType[minio.ErrorResponse](err); ok {
		e := &Error{Status: refused.StatusCode, text: s.words(n, refused)}
		if isCode(refused.Code) {
			e.Code = refused.Code
		}
		return e
	}
	if at, ok := errors.AsType[*url.Error](err); ok {
		err = at.Err // the address says no more than n and the endpoint
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case final(err):
		return err
	}
	return fmt.Errorf("%s does not answer: %w", s.host, err)
}

// final says that trying again would not help.
func final(err error) bool {
	if _, ok := errors.AsType[*finalError](err); ok {
		return true
	}
	refused, ok := errors.AsType[minio.ErrorResponse](err)
	return ok && refused.StatusCode >= 300 && refused.StatusCode < 500 &&
		refused.StatusCode != http.StatusRequestTimeout && refused.StatusCode != http.StatusTooManyRequests
}

// words says what a refusal means.
func (s *Store) words(n Name, r minio.ErrorResponse) string {
	switch r.Code {
	case "NoSuchBucket":
		return fmt.Sprintf("there is no bucket %s at %s", n.Bucket, s.host)
	case "NoSuchKey":
		return fmt.Sprintf("the bucket %s has no such object", n.Bucket)
	case "InvalidAccessKeyId":
		return s.host + " does not know the access key"
	case "SignatureDoesNotMatch":
		return "the secret does not belong to the access key"
	case "ExpiredToken", "ExpiredTokenException", "InvalidToken":
		return "the temporary keys have run out"
	case "RequestTimeTooSkewed":
		return "the clock of this machine is wrong"
	case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "InvalidRegion", "IllegalLocationConstraintException":
		return s.elsewhere(n)
	case "InvalidObjectState":
		return "it is in an archive: restore it first"
	case "PreconditionFailed":
		return errChanged.Error()
	}
	switch {
	case r.StatusCode == http.StatusForbidden:
		return "access denied: see what the key may do in the bucket " + n.Bucket
	case r.StatusCode >= 300 && r.StatusCode < 400:
		return s.elsewhere(n)
	case r.StatusCode >= 500:
		return s.host + " is in trouble"
	}
	return s.host + " refuses"
}

// elsewhere is what it means that a store names another one.
func (s *Store) elsewhere(n Name) string {
	return fmt.Sprintf("the bucket %s is not at %s: give the endpoint and the region that it has", n.Bucket, s.host)
}

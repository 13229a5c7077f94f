package chatsim

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tencentyun/tls-sig-api-v2-golang/tencentyun"
)

// query is what the URL of a call says.
type query struct {
	app        int64
	identifier string
	sig        string
	random     string
}

// parseURL checks what can be checked of a URL by itself. Names and values
// are case-sensitive.
func parseURL(method string, u *url.URL) (command, query, *refusal) {
	cmd, no := parsePath(method, u.Path)
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil && no == nil {
		no = refuse(codeBadURL, "")
	}
	q := query{identifier: values.Get("identifier"), sig: values.Get("usersig"), random: values.Get("random")}
	if no != nil {
		return cmd, q, no
	}
	if !values.Has("sdkappid") {
		return cmd, q, refuse(codeNoApp, "")
	}
	if q.app, err = strconv.ParseInt(values.Get("sdkappid"), 10, 64); err != nil || q.app <= 0 {
		return cmd, q, refuse(codeBadApp, "")
	}
	_, err = strconv.ParseUint(q.random, 10, 32)
	switch {
	case q.identifier == "":
		no = refuse(codeBadAccountURL, "")
	case q.sig == "":
		no = refuse(codeSigEmpty, "")
	case err != nil, values.Get("contenttype") != "json":
		no = refuse(codeBadURL, "")
	}
	return cmd, q, no
}

// parsePath finds the command of /v4/{service}/{command}. A service that is
// unknown is a gateway error, a command that its service does not know is the
// group layer's.
func parsePath(method, path string) (command, *refusal) {
	part := strings.Split(path, "/")
	if method != http.MethodPost || len(part) != 4 || part[0] != "" || part[1] != "v4" {
		return command{}, refuse(codeBadURL, "")
	}
	no := refuse(codeNoService, "")
	for _, c := range commands {
		switch {
		case c.service != part[2]:
		case c.name == part[3]:
			return c, nil
		default:
			no = refuse(codeNoCommand, "")
		}
	}
	return command{}, no
}

// maxSig bounds a UserSig: it is a compressed text, and what it unfolds to is
// read into memory. Real ones have about 250 bytes.
const maxSig = 4096

// verify checks a UserSig as the vendor's library does.
func (s *Scenario) verify(q query, now time.Time) *refusal {
	if len(q.sig) > maxSig {
		return refuse(codeSigBroken, "")
	}
	err := tencentyun.VerifyUserSig(uint64(q.app), s.SecretKey, q.identifier, q.sig, now)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, tencentyun.ErrExpired):
		return refuse(codeSigExpired, "")
	case errors.Is(err, tencentyun.ErrSigNotMatch):
		return refuse(codeSigWrongKey, "")
	case errors.Is(err, tencentyun.ErrIdentifierNotMatch):
		return refuse(codeSigOtherUser, "")
	case errors.Is(err, tencentyun.ErrSdkAppIDNotMatch) && !emptySig(q.sig, now):
		return refuse(codeSigOtherApp, "")
	}
	return refuse(codeSigBroken, "")
}

// emptySig reports whether the library read a UserSig without any field: it
// takes a text that is no JSON for one, and then says that the app is another.
func emptySig(sig string, now time.Time) bool {
	return !errors.Is(tencentyun.VerifyUserSig(0, "", "", sig, now), tencentyun.ErrSdkAppIDNotMatch)
}

// A lockout counts failed verifications. After limit of them within a minute
// every verification is refused for a minute, the right ones too.
type lockout struct {
	limit    int // below zero: never
	failures []time.Duration
	until    time.Duration
}

func (l *lockout) locked(at time.Duration) bool { return at < l.until }

func (l *lockout) failed(at time.Duration) {
	if l.limit < 0 {
		return
	}
	l.failures = append(l.failures, at)
	for len(l.failures) > 0 && l.failures[0] <= at-time.Minute {
		l.failures = l.failures[1:]
	}
	if len(l.failures) >= l.limit {
		l.until, l.failures = at+time.Minute, nil
	}
}

// authenticate says whether the caller may call at all. The UserSig is
// unfolded and hashed outside the lock, which makes it the dearest step that
// does not wait for others.
func (s *Sim) authenticate(c *call) *refusal {
	if s.sc.SecretKey != "" {
		if s.sigLocked(c.since) {
			return refuse(codeSigLocked, "")
		}
		if no := s.sc.verify(c.query, c.At); no != nil {
			s.sigFailed(c.since)
			return no
		}
	}
	if s.sc.Identifier != "" && c.query.identifier != s.sc.Identifier {
		return refuse(codeNotAdmin, "")
	}
	return nil
}

func (s *Sim) sigLocked(at time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lockout.locked(at)
}

func (s *Sim) sigFailed(at time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lockout.failed(at)
}

package chat

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"
)

const (
	// maxAnswer is twice what the API sends: it refuses answers over 1 MB. All
	// workers may read such an answer at once.
	maxAnswer = 2 << 20
	// maxRefusal is how much of the body of another status is read.
	maxRefusal = 64 << 10
	// maxRetryAfter bounds what a server may ask for.
	maxRetryAfter = time.Minute
)

// NewHTTPClient returns an HTTP client for conns calls at a time. It keeps
// that many connections to the server and opens no more; the default of two
// idle ones would make most calls pay for a TLS handshake. It takes proxies
// from the environment and follows no redirect. conns below 1 counts as 1.
//
// A call that was given up does not reach the server later from the kernel's
// send buffer, see abrupt, and one whose turn is over is not written, see
// [WithFence]. Therefore it speaks HTTP/1.1 only: a connection of HTTP/2 is shared
// by many calls. It is not closed with one of them, and who writes to it
// writes what several of them have left there.
func NewHTTPClient(conns int) *http.Client {
	conns = max(1, conns)
	t, ok := http.DefaultTransport.(*http.Transport)
	if ok {
		t = t.Clone()
	} else { // replaced by the program; its settings are not ours to know
		t = &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: defaultTimeout}
	}
	t.MaxIdleConns = 0 // no bound over all hosts: there is one host
	t.MaxIdleConnsPerHost = conns
	t.MaxConnsPerHost = conns
	t.IdleConnTimeout = 50 * time.Second // below the usual 60 to 75 s of servers: theirs is not documented
	t.ForceAttemptHTTP2 = false
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	if t.TLSClientConfig != nil {
		t.TLSClientConfig.NextProtos = []string{"http/1.1"} // the default transport has put h2 before it
	}
	t.MaxResponseHeaderBytes = maxRefusal
	t.DialContext = abrupt(t.DialContext)
	t.OnProxyConnectResponse = proxyAnswered
	return &http.Client{Transport: t, CheckRedirect: noRedirect}
}

// A dialer opens one connection of a transport, to the server or to a proxy.
type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// abrupt makes the connections of dial forget what they have not sent when they
// are closed (SO_LINGER 0), and makes room for a fence in each. The transport closes
// the connection of a call that is given up; the kernel would go on sending what
// lies in its buffer, for minutes, and the call would arrive when its turn has
// long been given to another.
//
// Such a connection ends with a reset instead of a FIN, also when it has been idle.
// That takes nothing away: an idle one has nothing unsent, each answer on it was read
// whole, and the server has no more to send on it.
//
// What a proxy has taken is out of reach.
func abrupt(dial dialer) dialer {
	if dial == nil { // a transport that was replaced by the program
		dial = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			// It fails only for a connection that is closed.
			_ = tcp.SetLinger(0)
		}
		return &fencedConn{Conn: conn}, nil
	}
}

// A proxyError is a proxy that does not connect us. net/http would say no more of it
// than the text of its status.
type proxyError struct {
	host, status string
	code         int
}

func (e *proxyError) Error() string {
	return fmt.Sprintf("the proxy %s does not connect: %q", e.host, clip(e.status, maxExcerpt))
}

func proxyAnswered(_ context.Context, proxy *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return &proxyError{proxy.Host, resp.Status, resp.StatusCode} // the URL may hold a password
}

// noRedirect makes a 3xx the answer: to follow it would show the UserSig to
// another host.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// post sends one request and returns the body of an answer with status 200,
// and the UserSig that was used, for scrubbing.
func (c *Client) post(ctx context.Context, service, command string, body []byte) (got []byte, sig string, err error) {
	t := timingOf(ctx)
	if sig, err = c.Signer.UserSig(); err != nil {
		return nil, "", fmt.Errorf("%s: %w", command, err)
	}
	t.Sig = sig
	timeout := c.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	attempt, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	traced, watch := follow(attempt)
	traced, before := guard(traced)
	req, err := c.request(traced, service, command, sig, body)
	if err != nil {
		return nil, sig, fmt.Errorf("%s: make request: %w", command, withoutURL(err, sig))
	}
	got, te := c.exchange(req, sig, before, watch, t)
	if te == nil {
		return got, sig, nil
	}
	switch {
	case ctx.Err() != nil:
		return nil, sig, interrupted(ctx, command)
	case before.stopped.Load():
		// The transport may have put it otherwise.
		te = &TransportError{Reason: ReasonLate, Err: ErrLate}
	case attempt.Err() != nil && !t.Answered:
		// Not wrapped: the caller's own deadline must not be mixed up with it.
		te = &TransportError{Status: te.Status, Reason: ReasonTimeout, Err: fmt.Errorf("no answer within %v", timeout)}
	}
	te.Command = command
	return nil, sig, te
}

// interrupted is the error of a call that its caller gave up. It is neither a
// refusal nor a failure of the transport.
func interrupted(ctx context.Context, command string) error {
	if cause := context.Cause(ctx); cause != ctx.Err() {
		return fmt.Errorf("%s: %w: %w", command, ctx.Err(), cause)
	}
	return fmt.Errorf("%s: %w", command, ctx.Err())
}

// request makes the request of one attempt. Values are escaped as in any URL:
// an identifier may hold '&' or '#'. random is new each time.
func (c *Client) request(ctx context.Context, service, command, sig string, body []byte) (*http.Request, error) {
	q := url.Values{
		"sdkappid":    {strconv.FormatInt(c.SDKAppID, 10)},
		"identifier":  {c.Identifier},
		"usersig":     {sig},
		"random":      {strconv.FormatUint(uint64(rand.Uint32()), 10)},
		"contenttype": {"json"},
	}
	target := c.Endpoint + "/v4/" + service + "/" + command + "?" + q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	// Without GetBody the transport cannot send the request a second time by
	// itself: each one on the wire is one that the caller has paid for.
	req.GetBody = nil
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "chatbatch")
	return req, nil
}

// exchange sends req, unless the fence before it stops that, and reads the answer to its end, so
// that the connection serves the next call.
func (c *Client) exchange(req *http.Request, sig string, before *fence, watch *stopwatch, t *Timing) ([]byte, *TransportError) {
	if err := before.check(); err != nil {
		return nil, broken(0, err, sig)
	}
	client := *c.HTTP
	client.CheckRedirect = noRedirect
	resp, err := client.Do(req)
	if err != nil {
		return nil, broken(0, err, sig)
	}
	defer resp.Body.Close()
	limit := maxAnswer
	if resp.StatusCode != http.StatusOK {
		limit = maxRefusal
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	if err == nil && len(body) <= limit {
		watch.answered(t)
	}
	switch {
	case resp.StatusCode != http.StatusOK:
		return nil, refused(resp, body, sig)
	case err != nil:
		return nil, broken(resp.StatusCode, err, sig)
	case len(body) > limit:
		return nil, &TransportError{Status: resp.StatusCode, Reason: ReasonTooLarge,
			Err: fmt.Errorf("answer is longer than %d MiB", limit>>20)}
	}
	return body, nil
}

// refused is the error of an HTTP status that is not 200.
func refused(resp *http.Response, body []byte, sig string) *TransportError {
	te := &TransportError{Status: resp.StatusCode, Reason: ReasonStatus, RetryAfter: retryAfter(resp.Header, time.Now())}
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		te.Reason = ReasonRedirect
		if to, err := resp.Location(); err == nil {
			te.Err = fmt.Errorf("to host %s, not followed", clip(plain(scrub(to.Hostname(), sig)), maxExcerpt))
		}
	case len(body) > 0:
		te.Err = errors.New(excerpt(body, sig))
	}
	return te
}

// retryAfter reads the Retry-After header: seconds or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil {
		return min(max(0, time.Duration(min(n, 1<<20))*time.Second), maxRetryAfter)
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(0, at.Sub(now)), maxRetryAfter)
	}
	return 0
}

// broken is the error of an exchange that did not end with an answer.
func broken(status int, err error, sig string) *TransportError {
	if p, ok := errors.AsType[*proxyError](err); ok {
		return &TransportError{Status: p.code, Reason: ReasonStatus, Err: p}
	}
	return &TransportError{Status: status, Reason: reasonOf(err), Err: withoutURL(err, sig)}
}

func reasonOf(err error) string {
	switch {
	case is[*net.DNSError](err):
		return ReasonDNS
	case badCertificate(err), is[tls.RecordHeaderError](err), errors.Is(err, http.ErrSchemeMismatch), opIs(err, "remote error", "local error"):
		return ReasonTLS // the two operations are TLS alerts, got and sent
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		return ReasonReset
	case opIs(err, "dial", "proxyconnect", "socks connect"):
		return ReasonConnect
	case timedOut(err):
		return ReasonTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return ReasonEOF
	}
	return ReasonOther
}

// badCertificate is true when the peer has shown a certificate that this host
// does not trust for this name and time.
func badCertificate(err error) bool {
	return is[*tls.CertificateVerificationError](err) || is[x509.UnknownAuthorityError](err) ||
		is[x509.HostnameError](err) || is[x509.CertificateInvalidError](err)
}

func opIs(err error, names ...string) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && slices.Contains(names, op.Op)
}

func timedOut(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout() || errors.Is(err, os.ErrDeadlineExceeded)
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
)

// why says in words that do not name the address why there is no answer. The errors
// of net/http and net have the URL and the host in their texts; so does that of a
// certificate for another host.
func why(ctx context.Context, err error) error {
	if ctx.Err() != nil || os.IsTimeout(err) {
		return errors.New("no answer in time")
	}
	if p, ok := errors.AsType[*proxyError](err); ok {
		return p
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return errors.New("its host is not known to the name server")
	}
	if code, ok := errors.AsType[syscall.Errno](err); ok {
		return errors.New(code.Error())
	}
	if bad := certificate(err); bad != "" {
		return errors.New(bad)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the connection was closed without an answer")
	}
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return fmt.Errorf("no answer (%T)", err)
}

// A proxyError is a proxy that does not connect us.
type proxyError struct{ status int }

func (e *proxyError) Error() string {
	return fmt.Sprintf("the proxy answers with HTTP status %d", e.status)
}

func proxyAnswered(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return &proxyError{resp.StatusCode}
}

// certificate says what is wrong with that of the server; "" if nothing is known.
func certificate(err error) string {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "its certificate is for another host"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "its certificate is signed by an authority that this host does not know"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "its certificate is not valid"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "it does not speak TLS"
	}
	return ""
}

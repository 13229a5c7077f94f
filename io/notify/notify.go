// Package notify posts a message to a web hook.
//
// The address of a web hook is a secret: its path or query has the token, and with
// some services its host has. It is in no error of this package, nor is what the other
// side says, which may quote it.
//
// What is posted may arrive twice: an answer that is lost looks like a message that
// is lost.
package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	// tryTime bounds one try, tries is how many there are. Whoever posts bounds all of
	// it by the context.
	tryTime = 5 * time.Second
	tries   = 4

	// firstWait is the wait behind the first try; each next one is twice as long.
	firstWait = time.Second

	// maxAnswer is how much of an answer is read. A robot says in it, with status 200,
	// that it refuses a message.
	maxAnswer = 64 << 10
)

// A Hook is a web hook.
type Hook struct {
	URL    string
	Format Format       // JSON if ""
	HTTP   *http.Client // nil: one that takes proxies from the environment; it must follow no redirect
}

// A Message is what a hook is told: a line for people, and the whole of it for
// programs.
type Message struct {
	Text string // without line ends
	JSON any    // encoded if the format is JSON; has the text, too
}

// Check says whether an address can be that of a hook: https, or http to a loopback
// host. Its error does not quote it.
func Check(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "":
		return errors.New("it is no URL: want https://host/path")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	case u.Scheme == "http":
		return errors.New("it is plain http: want https, the token is in each request")
	}
	return errors.New("it is neither https nor http")
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Post tells m to the hook, and tries again where that may help, until ctx ends. It
// returns nil when the hook has accepted m.
func (h *Hook) Post(ctx context.Context, m Message) error {
	if err := Check(h.URL); err != nil {
		return err
	}
	body, err := h.Format.body(m)
	if err != nil {
		return err
	}
	client := h.HTTP
	if client == nil {
		client = newClient()
		defer client.CloseIdleConnections()
	}
	waits := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstWait), backoff.WithMultiplier(2))
	made := 0
	var last error // said better than that the time is over
	err = backoff.Retry(func() error {
		made++
		err := h.try(ctx, client, body)
		if err != nil && (last == nil || ctx.Err() == nil) {
			last = err
		}
		return err
	}, backoff.WithContext(backoff.WithMaxRetries(waits, tries-1), ctx))
	switch {
	case err == nil:
		return nil
	case last == nil:
		last = errors.New("there was no time")
	}
	if p, ok := errors.AsType[*backoff.PermanentError](last); ok {
		return p.Err
	}
	return fmt.Errorf("%w (tries: %d)", last, made)
}

// try posts once. What cannot become better is permanent.
func (h *Hook) try(ctx context.Context, client *http.Client, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return backoff.Permanent(errors.New("it is no URL that can be called"))
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "chatbatch")
	resp, err := client.Do(req)
	if err != nil {
		return why(ctx, err)
	}
	defer resp.Body.Close()
	// Also of an answer that is not looked at: the connection ends well.
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return backoff.Permanent(fmt.Errorf("HTTP status %d: a redirect, which is not followed: it would show the token to another place", resp.StatusCode))
	case again(resp.StatusCode):
		return fmt.Errorf("HTTP status %d", resp.StatusCode)
	case resp.StatusCode < 200 || resp.StatusCode >= 400:
		return backoff.Permanent(fmt.Errorf("HTTP status %d: it refuses the message", resp.StatusCode))
	case err != nil:
		return why(ctx, err)
	}
	if code, refused := h.Format.refused(answer); refused {
		return backoff.Permanent(fmt.Errorf("the robot refuses the message with code %d", code))
	}
	return nil
}

// again says whether a status may be another one soon.
func again(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

// newClient makes the client of one message. It takes proxies from the environment.
func newClient() *http.Client {
	t, ok := http.DefaultTransport.(*http.Transport)
	if ok {
		t = t.Clone()
	} else { // replaced by the program; its settings are not ours to know
		t = &http.Transport{Proxy: http.ProxyFromEnvironment}
	}
	t.DisableKeepAlives = true
	t.OnProxyConnectResponse = proxyAnswered
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

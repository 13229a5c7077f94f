package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"

	"chatbatch/io/chat"
	"chatbatch/jobs"
)

// nobodysGroup is the group that a check asks for: that no app has it is expected.
const nobodysGroup = "chatbatch-check"

// errLong ends a check that would take long: somebody waits for it.
var errLong = errors.New("another attempt would take long")

// A probe is the one call of a check, and what it has come to.
type probe struct {
	err    error // of the last attempt
	groups []chat.GroupInfo
	took   time.Duration // the round trip, 0: not known
	wire   wire
}

// ask makes the call, through the door that all calls of runs take.
func (c *checkup) ask(ctx context.Context, conn *connection) *probe {
	a := &probe{}
	client := *conn.chat.HTTP
	client.Transport = &witness{next: cmp.Or[http.RoundTripper](client.Transport, http.DefaultTransport), wire: &a.wire}
	conn.chat.HTTP = &client
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	call := jobs.NewCaller(ctx, c.door(conn, &jobs.Meter{}), 1)
	err := call.Do(ctx, chat.CommandGroupInfo, c.retries, func(ctx context.Context) error {
		begun := time.Now()
		a.groups, a.err = conn.chat.GroupInfo(a.wire.follow(ctx), []string{cmp.Or(c.group, nobodysGroup)})
		a.took = a.wire.roundTrip(begun)
		if te, ok := errors.AsType[*chat.TransportError](a.err); ok && te.Reason == chat.ReasonTimeout || chat.Judge(a.err).Pause > 0 {
			giveUp(errLong) // what is known by now is enough
		}
		return a.err
	})
	if a.err == nil && err != nil {
		a.err = err // it did not come to a call
	}
	return a
}

// A wire notes how a call goes over the network. Its hooks run on goroutines of the
// transport.
type wire struct {
	mu         sync.Mutex
	addresses  []string      // under mu; that the name of the host resolves to
	dialing    time.Time     // under mu; the last one
	connecting time.Duration // under mu
	peer       string        // under mu; the address that took the connection, "": none did
	tls        *tls.ConnectionState
	written    time.Time // under mu; of the last request
	first      time.Time // under mu; of the last answer's first byte
	date       time.Time // under mu; what the server's clock said then; zero: it did not say
}

// follow returns a context whose request is noted.
func (w *wire) follow(ctx context.Context) context.Context {
	note := func(do func()) {
		w.mu.Lock()
		defer w.mu.Unlock()
		do()
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSDone: func(i httptrace.DNSDoneInfo) {
			note(func() {
				w.addresses = nil
				for _, a := range i.Addrs {
					w.addresses = append(w.addresses, a.String())
				}
			})
		},
		ConnectStart: func(string, string) { note(func() { w.dialing = time.Now() }) },
		ConnectDone: func(_, address string, err error) {
			note(func() {
				if err == nil {
					w.peer, w.connecting = address, time.Since(w.dialing)
				}
			})
		},
		TLSHandshakeDone: func(s tls.ConnectionState, err error) {
			note(func() {
				if err == nil {
					w.tls = &s
				}
			})
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { note(func() { w.written = time.Now() }) },
		GotFirstResponseByte: func() { note(func() { w.first = time.Now() }) },
	})
}

// roundTrip is the time from the request being written to the first byte of its answer,
// of a call that began at begun; 0: there was no answer.
func (w *wire) roundTrip(begun time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.written.Before(begun) || w.first.Before(w.written) {
		return 0
	}
	return w.first.Sub(w.written)
}

// A witness notes what the server says of its clock.
type witness struct {
	next http.RoundTripper
	wire *wire
}

func (t *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err == nil {
		date, _ := http.ParseTime(strings.TrimSpace(resp.Header.Get("Date"))) // zero, if there is none
		t.wire.mu.Lock()
		t.wire.date = date
		t.wire.mu.Unlock()
	}
	return resp, err
}

// behind is how far this host's clock is behind the server's, negative: before it. The
// server tells whole seconds; it has read its clock between the request and the answer.
func (w *wire) behind() (d time.Duration, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.date.IsZero() || w.first.Before(w.written) {
		return 0, false
	}
	here := w.written.Add(w.first.Sub(w.written) / 2)
	d = w.date.Add(time.Second / 2).Sub(here)
	if d.Abs() <= time.Second/2+w.first.Sub(w.written)/2 {
		return 0, true
	}
	return d, true
}

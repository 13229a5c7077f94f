package chat

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// A Timing says how one call went on the wire. The client fills it when the
// context carries one ([WithTiming]); read it when the call has returned. It
// prints without the UserSig.
type Timing struct {
	// RoundTrip is the time from the request being written to the answer
	// being complete; 0 without a complete answer.
	RoundTrip time.Duration
	// Connect is the smallest network round trip that the client has seen
	// while connecting: the longer of its fastest TCP connect (which may end
	// at a proxy) and its fastest TLS handshake. A client that has seen no
	// connect, as with an in-process transport, reports RoundTrip here, so
	// that no time is credited to the server. 0 without a complete answer.
	Connect time.Duration
	// Answered is true when the server's answer was read to its end,
	// whatever it said.
	Answered bool
	// Sig is the UserSig of the request, for [KeySigner.Renew].
	Sig string `json:"-"`
}

// Service is the least time that the request spent behind its arrival at the
// server: RoundTrip less Connect, never below 0.
func (t Timing) Service() time.Duration { return max(0, t.RoundTrip-t.Connect) }

// String tells the times, not the UserSig.
func (t Timing) String() string {
	return fmt.Sprintf("round trip %v, connect %v, answered %v", t.RoundTrip, t.Connect, t.Answered)
}

// GoString is String.
func (t Timing) GoString() string { return t.String() }

// Format writes String, whatever the verb.
func (t Timing) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue tells the times, not the UserSig.
func (t Timing) LogValue() slog.Value {
	return slog.GroupValue(slog.Duration("round_trip", t.RoundTrip),
		slog.Duration("connect", t.Connect), slog.Bool("answered", t.Answered))
}

type timingKey struct{}

// WithTiming returns a context whose next call fills t. t must be of one call
// at a time.
func WithTiming(ctx context.Context, t *Timing) context.Context {
	return context.WithValue(ctx, timingKey{}, t)
}

// timingOf returns the Timing of ctx, or one that nobody reads.
func timingOf(ctx context.Context) *Timing {
	if t, ok := ctx.Value(timingKey{}).(*Timing); ok && t != nil {
		*t = Timing{}
		return t
	}
	return new(Timing)
}

// fastest keeps the smallest duration it was told; 0 = none yet. Safe for
// concurrent use.
type fastest struct{ ns atomic.Int64 }

func (f *fastest) add(d time.Duration) {
	n := max(1, int64(d))
	for {
		old := f.ns.Load()
		if old != 0 && old <= n || f.ns.CompareAndSwap(old, n) {
			return
		}
	}
}

func (f *fastest) get() time.Duration { return time.Duration(f.ns.Load()) }

// network is what a client has learnt about the way to its server.
type network struct{ tcp, tls fastest }

// A stopwatch follows one attempt. Its hooks run on goroutines of the
// transport, some after the attempt has ended: a connection that is dialled
// for one request may serve another.
type stopwatch struct {
	net *network

	mu    sync.Mutex
	begun time.Time            // under mu; connection got, or request written
	dials map[string]time.Time // under mu; by network and address, some side by side
	shake time.Time            // under mu
}

// trace returns a context whose request is followed by the stopwatch, which
// starts now: an in-process transport calls no hooks.
func (n *network) trace(ctx context.Context) (context.Context, *stopwatch) {
	s := &stopwatch{net: n, begun: time.Now()}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { s.begin() },
		WroteRequest: func(w httptrace.WroteRequestInfo) {
			if w.Err == nil {
				s.begin()
			}
		},
		ConnectStart:      s.dial,
		ConnectDone:       s.dialled,
		TLSHandshakeStart: s.shakeHands,
		TLSHandshakeDone:  s.shaken,
	}), s
}

func (s *stopwatch) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = time.Now()
}

func (s *stopwatch) dial(network, addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dials == nil {
		s.dials = map[string]time.Time{}
	}
	s.dials[network+" "+addr] = time.Now()
}

func (s *stopwatch) dialled(network, addr string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.dials[network+" "+addr]; ok && err == nil {
		s.net.tcp.add(time.Since(at))
	}
}

func (s *stopwatch) shakeHands() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shake = time.Now()
}

func (s *stopwatch) shaken(_ tls.ConnectionState, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && !s.shake.IsZero() {
		s.net.tls.add(time.Since(s.shake))
	}
}

// answered notes that the answer is complete.
func (s *stopwatch) answered(t *Timing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Answered, t.RoundTrip = true, time.Since(s.begun)
	t.Connect = max(s.net.tcp.get(), s.net.tls.get())
	if t.Connect == 0 {
		t.Connect = t.RoundTrip
	}
}

package chat

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptrace"
	"sync"
	"time"
)

// A Timing says how one call went on the wire. The client fills it when the
// context carries one ([WithTiming]); read it when the call has returned. It
// prints without the UserSig.
type Timing struct {
	// RoundTrip is the time from the request being written to the answer
	// being complete. It is never longer than the request was on its way, at
	// the server and back: it begins when the last byte was handed to the
	// kernel. 0: not known, because there was no complete answer, because the
	// answer was there before the request was written whole, or because the
	// transport does not say when it writes (one in the process).
	RoundTrip time.Duration
	// Answered is true when the server's answer was read to its end,
	// whatever it said.
	Answered bool
	// Sig is the UserSig of the request, for [KeySigner.Renew].
	Sig string `json:"-"`
}

// String tells the times, not the UserSig.
func (t Timing) String() string {
	return fmt.Sprintf("round trip %v, answered %v", t.RoundTrip, t.Answered)
}

// GoString is String.
func (t Timing) GoString() string { return t.String() }

// Format writes String, whatever the verb.
func (t Timing) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue tells the times, not the UserSig.
func (t Timing) LogValue() slog.Value {
	return slog.GroupValue(slog.Duration("round_trip", t.RoundTrip), slog.Bool("answered", t.Answered))
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

// A stopwatch follows one attempt. Its hook runs on a goroutine of the
// transport, perhaps after the attempt has ended.
type stopwatch struct {
	mu      sync.Mutex
	written time.Time // under mu; when the request was written whole; zero: it was not, or nobody said so
}

// follow returns a context whose request is followed by a new stopwatch.
func follow(ctx context.Context) (context.Context, *stopwatch) {
	s := &stopwatch{}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: s.wrote}), s
}

// wrote notes the moment behind the last write. One before it, such as when the
// connection was got, would make the round trip too long.
func (s *stopwatch) wrote(w httptrace.WroteRequestInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.Err == nil {
		s.written = time.Now()
	}
}

// answered notes that the answer is complete.
func (s *stopwatch) answered(t *Timing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Answered = true
	if !s.written.IsZero() {
		t.RoundTrip = time.Since(s.written)
	}
}

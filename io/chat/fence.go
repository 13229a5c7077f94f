package chat

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"sync/atomic"
)

// ErrLate is in the chain of the error of a call that was not sent, because its fence
// said that it was too late, see [WithFence].
var ErrLate = errors.New("it was too late to send the call: its turn was over, as after a halt of this process or host; nothing was sent")

// errCut says that it became too late between the writes of a long request.
var errCut = errors.New("the request was broken off: it was too late to send the rest of it, as after a halt of this process or host")

type fenceKey struct{}

// WithFence returns a context whose calls ask late whether it is too late for them
// to leave, as late as possible: before anything is dialled, and right before each
// write to the connection, if that is one of [NewHTTPClient]. If it is, nothing is
// written and the connection is closed. The call fails with a [TransportError]: of
// [ReasonLate], with [ErrLate] in its chain, if nothing was sent, and as any that is
// broken off if a part of a long request was.
//
// So a process that stood still for long, after it was its turn and before the
// write, does not send when it wakes. What remains is a halt between this look and
// the system call, and what a proxy holds back.
//
// late is called from other goroutines too, perhaps when the call has ended. nil
// is no fence.
func WithFence(ctx context.Context, late func() bool) context.Context {
	return context.WithValue(ctx, fenceKey{}, late)
}

// A fence stands before the writes of one call.
type fence struct {
	late    func() bool // nil: never
	begun   atomic.Bool // a part of the request was written
	stopped atomic.Bool // it was too late, and nothing was written
}

// check returns an error if it is too late for the next write.
func (f *fence) check() error {
	switch {
	case f.late == nil || !f.late():
		return nil
	case f.begun.Load():
		// Perhaps it was written whole, and TLS says goodbye.
		return errCut
	}
	f.stopped.Store(true)
	return ErrLate
}

// guard returns a context whose request has the fence of ctx before it, on whatever
// connection, and that fence.
func guard(ctx context.Context) (context.Context, *fence) {
	f := &fence{}
	f.late, _ = ctx.Value(fenceKey{}).(func() bool)
	var conn *fencedConn // the first hook is called before the second
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(g httptrace.GotConnInfo) {
			if conn = fencedIn(g.Conn); conn != nil {
				conn.fence.Store(f)
			}
		},
		PutIdleConn: func(err error) {
			if conn != nil && err == nil {
				conn.fence.CompareAndSwap(f, nil) // the next call may have put its own there
			}
		},
	}), f
}

// A fencedConn checks the fence of the call that has it before each write. The
// handshakes of TLS and with a proxy come before any call has it.
type fencedConn struct {
	net.Conn
	fence atomic.Pointer[fence] // nil: no call has it
}

// Write fails, and writes nothing, if it is too late.
func (c *fencedConn) Write(p []byte) (n int, err error) {
	f := c.fence.Load()
	if f == nil {
		return c.Conn.Write(p)
	}
	if err = f.check(); err != nil {
		return 0, err
	}
	if n, err = c.Conn.Write(p); n > 0 {
		f.begun.Store(true)
	}
	return n, err
}

// fencedIn finds what abrupt has made, below TLS with the server and with a proxy; nil
// if it is not there.
func fencedIn(conn net.Conn) *fencedConn {
	for {
		switch c := conn.(type) {
		case *fencedConn:
			return c
		case *tls.Conn:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

package chatsim

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// maxBody is most bytes of a request: 500 accounts need 50 KB.
const maxBody = 8 << 20

var errTooLarge = errors.New("request body is too large")

// ServeHTTP serves the API. Faults of the connection need HTTP/1; over HTTP/2
// a reset is one of the stream. A call in a hang or a delay ends early when
// the client gives up.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := s.arrive(r.Method, r.URL)
	body, err := readBody(r.Body, r.ContentLength)
	if errors.Is(err, errTooLarge) {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		return // the client went away in the middle of its request
	}
	a := s.answer(c, body)
	if sleep(r.Context(), a.delay) != nil || sleep(r.Context(), a.hang) != nil {
		return
	}
	if a.end == endReset {
		reset(w)
	}
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	if a.location != "" {
		h.Set("Location", a.location)
	}
	w.WriteHeader(a.status)
	w.Write(a.shown()) // an error is the client's
	if a.end == endCut {
		// Without the flush net/http would throw the half away.
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// reset ends the connection with an RST instead of an answer. It does not
// return.
func reset(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		if t, ok := conn.(*tls.Conn); ok {
			conn = t.NetConn() // closing the TLS connection would say goodbye
		}
		if t, ok := conn.(*net.TCPConn); ok {
			t.SetLinger(0)
		}
		conn.Close()
	}
	// Where nothing can be hijacked this is the end of the stream, and where
	// it was, net/http has nothing left to do.
	panic(http.ErrAbortHandler)
}

// readBody reads a body of which size is the announced length, -1 if unknown.
func readBody(r io.Reader, size int64) ([]byte, error) {
	if r == nil {
		return nil, nil
	}
	var b bytes.Buffer
	b.Grow(int(min(max(size, 0), maxBody)) + bytes.MinRead) // so that it need not grow
	_, err := b.ReadFrom(io.LimitReader(r, maxBody+1))
	if err == nil && b.Len() > maxBody {
		err = errTooLarge
	}
	return b.Bytes(), err
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

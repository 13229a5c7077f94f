package chatsim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strconv"
	"syscall"
)

// RoundTrip answers a request in the process, whatever its host: as a
// RoundTripper of an [http.Client] a Sim is a Chat API without a port. It waits
// in the caller's goroutine and ends when the request's context does. It calls
// the hooks of [httptrace] as a transport does whose connection takes no time,
// so that a client can tell the server's time from the network's.
func (s *Sim) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	trace := httptrace.ContextClientTrace(r.Context())
	connect(trace)
	c := s.arrive(r.Method, r.URL)
	body, err := readBody(r.Body, r.ContentLength)
	if trace != nil && trace.WroteRequest != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{Err: err})
	}
	var a answer
	switch {
	case errors.Is(err, errTooLarge):
		a = answer{status: http.StatusRequestEntityTooLarge, contentType: "text/plain", body: []byte(err.Error())}
	case err != nil:
		return nil, fmt.Errorf("read request body: %w", err)
	default:
		a = s.answer(c, body)
	}
	if err := sleep(r.Context(), a.delay); err != nil {
		return nil, err
	}
	if err := sleep(r.Context(), a.hang); err != nil {
		return nil, err
	}
	if a.end == endReset {
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	}
	if trace != nil && trace.GotFirstResponseByte != nil {
		trace.GotFirstResponseByte()
	}
	return a.response(r), nil
}

// connect tells of a connection that was made at once.
func connect(trace *httptrace.ClientTrace) {
	if trace == nil {
		return
	}
	if trace.ConnectStart != nil {
		trace.ConnectStart("memory", "simulator")
	}
	if trace.ConnectDone != nil {
		trace.ConnectDone("memory", "simulator", nil)
	}
}

// response is the answer as net/http would hand it over.
func (a *answer) response(r *http.Request) *http.Response {
	h := http.Header{"Content-Type": {a.contentType}, "Content-Length": {strconv.Itoa(len(a.body))}}
	if a.location != "" {
		h.Set("Location", a.location)
	}
	var body io.Reader = bytes.NewReader(a.shown())
	if a.end == endCut {
		body = io.MultiReader(body, brokenOff{})
	}
	return &http.Response{
		Status:     strconv.Itoa(a.status) + " " + http.StatusText(a.status),
		StatusCode: a.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        h,
		Body:          io.NopCloser(body),
		ContentLength: int64(len(a.body)),
		Request:       r,
	}
}

// brokenOff is the end of a body that was cut.
type brokenOff struct{}

func (brokenOff) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

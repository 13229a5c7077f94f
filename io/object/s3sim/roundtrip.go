package s3sim

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
)

// RoundTrip answers a request without a connection, for tests in a bubble. A handler
// that panics with http.ErrAbortHandler loses the connection: a body ends before its
// length, and what has no answer yet gets none.
func (s *Store) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	in := r.Clone(r.Context())
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	if lost := s.serve(rec, in); lost && rec.Body.Len() == 0 {
		return nil, errors.New("connection reset by peer")
	}
	resp := rec.Result()
	resp.Request = r
	if n, err := strconv.Atoi(resp.Header.Get("Content-Length")); err == nil && n > rec.Body.Len() && r.Method != http.MethodHead {
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(rec.Body.Bytes()), cut{}))
	}
	return resp, nil
}

// serve answers, and says whether the connection was lost meanwhile.
func (s *Store) serve(w http.ResponseWriter, r *http.Request) (lost bool) {
	defer func() {
		if why := recover(); why != nil {
			if why != http.ErrAbortHandler {
				panic(why)
			}
			lost = true
		}
	}()
	s.ServeHTTP(w, r)
	return false
}

// cut is what is left of a body that is cut off.
type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Cut sends of each object no more than n bytes of what is asked for, and loses the
// connection then: times times, and then not any more; below 0, always. It is for Fail.
func (s *Store) Cut(n, times int) func(http.ResponseWriter, *http.Request) bool {
	var cuts atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || times >= 0 && cuts.Add(1) > int64(times) {
			return false
		}
		rec := httptest.NewRecorder()
		s.Handle(rec, r)
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()[:min(n, rec.Body.Len())])
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler)
	}
}

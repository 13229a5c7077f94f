package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

const (
	// reopenTries bounds how often reading is taken up again without a byte in between.
	reopenTries = 6
	reopenWait  = 200 * time.Millisecond // before the first one; twice as long before each next
)

// A Reader reads one version of an object. It is not safe for concurrent use, and
// ends with Close.
type Reader struct {
	Size int64 // of the object in bytes; -1: the store does not say

	ctx   context.Context
	store *Store
	name  Name
	etag  string // of the version
	at    int64  // bytes that were read
	tries int    // to take it up again, since the last byte

	body   io.ReadCloser // nil: it broke off
	reach  context.Context
	cancel context.CancelCauseFunc // of reach, which body hangs on
}

// Get opens an object. The context is also that of the reading.
func (s *Store) Get(ctx context.Context, n Name) (*Reader, error) {
	if err := s.suits(n); err != nil {
		return nil, err
	}
	r := &Reader{Size: -1, ctx: ctx, store: s, name: n}
	if err := briefly(ctx, r.open); err != nil {
		return nil, s.why(n, err)
	}
	return r, nil
}

// briefly does a request up to three times, if that may help. The library tries each
// again, but not the one by which it finds out the region.
func briefly(ctx context.Context, request func() error) error {
	for try := 1; ; try++ {
		err := request()
		if _, slow := errors.AsType[*slowError](err); err == nil || slow || try == 3 || final(err) {
			return err
		}
		select {
		case <-time.After(reopenWait << try):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// open asks for what is not read yet.
func (r *Reader) open() error {
	var o minio.GetObjectOptions
	if r.at > 0 {
		o.Set("Range", fmt.Sprintf("bytes=%d-", r.at))
	}
	if r.etag != "" {
		o.Set("If-Match", `"`+r.etag+`"`)
	}
	r.reach, r.cancel = context.WithCancelCause(r.ctx)
	cancel := r.cancel
	watch := time.AfterFunc(openTime, func() { cancel(&slowError{openTime}) })
	body, info, header, err := r.store.core.GetObject(r.reach, r.name.Bucket, r.name.Key, o)
	watch.Stop()
	if err != nil {
		err = r.cause(err)
		r.cancel(nil)
		return err
	}
	if err := r.same(info, header); err != nil {
		r.cancel(nil)
		body.Close()
		return err
	}
	if r.etag = info.ETag; info.Size >= 0 {
		r.Size = r.at + info.Size
	}
	r.body = body
	return nil
}

// same says whether an answer goes on where we are: who keeps to no range begins
// again, and who keeps to no condition may have another version.
func (r *Reader) same(info minio.ObjectInfo, header http.Header) error {
	switch {
	case r.etag != "" && info.ETag != r.etag:
		return errChanged
	case r.at > 0 && !strings.HasPrefix(header.Get("Content-Range"), fmt.Sprintf("bytes %d-", r.at)):
		return &finalError{"it broke off, and the store cannot send what is left of it"}
	}
	return nil
}

// cause is why a request ended, where its context knows better.
func (r *Reader) cause(err error) error {
	if why := context.Cause(r.reach); why != nil {
		return why
	}
	return err
}

// Read reads on. Its errors are final.
func (r *Reader) Read(p []byte) (int, error) {
	for {
		if r.body != nil {
			n, err := r.read(p)
			if n > 0 {
				r.tries = 0
				return n, nil // the error, if there is one, comes again
			}
			switch {
			case err == nil || err == io.EOF && (r.Size < 0 || r.at == r.Size):
				return 0, err
			case err == io.EOF:
				err = io.ErrUnexpectedEOF
			}
			err = r.cause(err)
			r.drop()
			if err := r.again(err); err != nil {
				return 0, err
			}
		}
		err := r.open()
		if err == nil {
			continue
		}
		if final(err) {
			return 0, r.store.why(r.name, err)
		}
		if err := r.again(err); err != nil {
			return 0, err
		}
	}
}

// read reads of what is open, and gives up when nothing comes.
func (r *Reader) read(p []byte) (int, error) {
	cancel := r.cancel
	watch := time.AfterFunc(stall, func() { cancel(&slowError{stall}) })
	n, err := r.body.Read(p)
	watch.Stop()
	r.at += int64(n)
	return n, err
}

// again waits before the next try. It gives why if there is none.
func (r *Reader) again(why error) error {
	if r.tries++; r.tries > reopenTries || r.etag == "" || r.ctx.Err() != nil {
		return fmt.Errorf("it broke off after %d bytes: %w", r.at, r.store.why(r.name, why))
	}
	select {
	case <-time.After(reopenWait << (r.tries - 1)):
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

func (r *Reader) drop() {
	if r.body == nil {
		return
	}
	r.cancel(nil)
	r.body.Close()
	r.body = nil
}

// Close ends the reading.
func (r *Reader) Close() error {
	r.drop()
	return nil
}

package object

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// partSize is how much goes in one request, in bytes; what is larger goes in parts. S3
// takes 10,000 of them, so they grow with an object of more than 160 GB.
const (
	partSize = 16 << 20
	maxParts = 10_000
)

// abortTime bounds the last request of an upload that has failed.
const abortTime = 10 * time.Second

// An Upload is a file that is to become an object.
type Upload struct {
	File        string // its name on disk
	ContentType string
	SHA256      string // of it, in hexadecimal; goes with the object. "" leaves it out

	// Note is a file that says meanwhile which upload in parts is under way, for
	// [Store.Sweep] by another process. "" makes none.
	Note string
}

// suits refuses an endpoint that the bucket is in already: requests would be for a
// bucket in a bucket.
func (s *Store) suits(n Name) error {
	if rest, ok := strings.CutPrefix(s.host, n.Bucket+"."); ok {
		return fmt.Errorf("the bucket %s is in the endpoint %s already: the endpoint is %s", n.Bucket, s.host, rest)
	}
	return nil
}

// Probe finds out whether an object of this name may be written: it begins an
// upload and gives it up. What is there stays as it is.
func (s *Store) Probe(ctx context.Context, n Name) error {
	if err := s.suits(n); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, openTime, &slowError{openTime})
	defer cancel()
	var id string
	err := briefly(ctx, func() (err error) {
		id, err = s.core.NewMultipartUpload(ctx, n.Bucket, n.Key, minio.PutObjectOptions{})
		return err
	})
	if err != nil {
		return s.failed(ctx, n, err)
	}
	// A key that may write and not abort leaves an upload without a byte.
	s.abort(ctx, n, id)
	return nil
}

// Put makes a file an object. The object appears when all of it is there; after
// an error, what had the name before is there. The same file makes the same object.
func (s *Store) Put(ctx context.Context, n Name, u Upload) error {
	if err := s.suits(n); err != nil {
		return err
	}
	f, err := os.Open(u.File)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > partSize {
		return s.putParts(ctx, n, u, f, info.Size())
	}
	p, err := pieceOf(f, 0, info.Size())
	if err != nil {
		return err
	}
	return s.insist(ctx, n, func(ctx context.Context) error {
		// The body is signed as a whole, not in chunks: not all stores know those.
		_, err := s.core.PutObject(ctx, n.Bucket, n.Key, p, p.Size(), "", p.sha256, u.options())
		return err
	})
}

// insist does a request again and again while that may help.
func (s *Store) insist(ctx context.Context, n Name, request func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, partTime, &slowError{partTime})
	defer cancel()
	for round := 1; ; round++ {
		err := request(ctx)
		if err == nil {
			return nil
		}
		if round == rounds || final(err) {
			return s.failed(ctx, n, err)
		}
		select {
		case <-time.After(roundWait << (round - 1)):
		case <-ctx.Done():
			return s.failed(ctx, n, err)
		}
	}
}

// shaKey is the key under which the hash of an object is kept with it.
const shaKey = "Sha256"

func (u Upload) options() minio.PutObjectOptions {
	o := minio.PutObjectOptions{ContentType: u.ContentType, DisableContentSha256: true}
	if u.SHA256 != "" {
		o.UserMetadata = map[string]string{shaKey: u.SHA256}
	}
	return o
}

// A piece is a part of a file, with its hash. It can be read again.
type piece struct {
	*io.SectionReader
	sha256 string
}

func pieceOf(f *os.File, at, size int64) (*piece, error) {
	p := &piece{SectionReader: io.NewSectionReader(f, at, size)}
	h := sha256.New()
	n, err := io.Copy(h, p)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	p.sha256 = hex.EncodeToString(h.Sum(nil))
	_, err = p.Seek(0, io.SeekStart)
	return p, err
}

// putParts uploads a large file: its parts one after the other, and then they
// become the object, all at once.
func (s *Store) putParts(ctx context.Context, n Name, u Upload, f *os.File, size int64) error {
	id, err := s.begin(ctx, n, u)
	if err != nil {
		return err
	}
	parts, err := s.sendParts(ctx, n, id, f, size)
	if err == nil {
		err = s.complete(ctx, n, id, parts, u.SHA256, size)
	}
	if err == nil || s.abort(ctx, n, id) {
		forget(u.Note)
	}
	return err
}

// begin begins an upload in parts, and notes it.
func (s *Store) begin(ctx context.Context, n Name, u Upload) (id string, err error) {
	err = s.insist(ctx, n, func(ctx context.Context) (err error) {
		id, err = s.core.NewMultipartUpload(ctx, n.Bucket, n.Key, u.options())
		return err
	})
	if err != nil || u.Note == "" {
		return id, err
	}
	text, err := json.Marshal(pending{s.endpoint, n.Bucket, n.Key, id})
	if err == nil {
		err = os.WriteFile(u.Note, text, 0o600)
	}
	if err != nil {
		s.abort(ctx, n, id)
		return "", fmt.Errorf("note the upload: %w", err)
	}
	return id, nil
}

func (s *Store) sendParts(ctx context.Context, n Name, id string, f *os.File, size int64) (parts []minio.CompletePart, err error) {
	step := max(partSize, size/maxParts+1)
	for at := int64(0); at < size; at += step {
		p, err := pieceOf(f, at, min(step, size-at))
		if err != nil {
			return nil, err
		}
		done, err := s.sendPart(ctx, n, id, len(parts)+1, p)
		if err != nil {
			return nil, err
		}
		parts = append(parts, minio.CompletePart{PartNumber: done.PartNumber, ETag: done.ETag})
	}
	return parts, nil
}

func (s *Store) sendPart(ctx context.Context, n Name, id string, number int, p *piece) (done minio.ObjectPart, err error) {
	err = s.insist(ctx, n, func(ctx context.Context) (err error) {
		done, err = s.core.PutObjectPart(ctx, n.Bucket, n.Key, id, number, p, p.Size(), minio.PutObjectPartOptions{
			Sha256Hex: p.sha256, DisableContentSha256: true,
		})
		return err
	})
	if err != nil {
		err = fmt.Errorf("part %d: %w", number, err)
	}
	return done, err
}

// complete makes the parts the object. If the answer to that is lost and it is asked
// again, the upload is not there any more; the object tells whether it is this one.
func (s *Store) complete(ctx context.Context, n Name, id string, parts []minio.CompletePart, sha256 string, size int64) error {
	return s.insist(ctx, n, func(ctx context.Context) error {
		_, err := s.core.CompleteMultipartUpload(ctx, n.Bucket, n.Key, id, parts, minio.PutObjectOptions{})
		if minio.ToErrorResponse(err).Code == minio.NoSuchUpload && sha256 != "" {
			info, statErr := s.core.StatObject(ctx, n.Bucket, n.Key, minio.StatObjectOptions{})
			if statErr == nil && info.Size == size && info.UserMetadata[shaKey] == sha256 {
				return nil
			}
		}
		return err
	})
}

// failed says why a request has failed.
func (s *Store) failed(ctx context.Context, n Name, err error) error {
	if why := context.Cause(ctx); why != nil {
		err = why
	}
	return s.why(n, err)
}

// abort gives an upload in parts up, whatever has become of ctx, and says whether it
// is gone. It is a courtesy to whoever pays for the space: a rule of the bucket can do
// it, too.
func (s *Store) abort(ctx context.Context, n Name, id string) (gone bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	err := s.core.AbortMultipartUpload(ctx, n.Bucket, n.Key, id)
	return err == nil || minio.ToErrorResponse(err).Code == minio.NoSuchUpload
}

// pending is an upload in parts, as it is noted.
type pending struct {
	Endpoint, Bucket, Key, Upload string
}

// Sweep gives up the upload in parts of a process that was killed, if a file has a
// note of one. What it cannot do anything about, as of another store, it leaves as
// it is.
func (s *Store) Sweep(ctx context.Context, note string) {
	text, err := os.ReadFile(note)
	var p pending
	if err != nil || json.Unmarshal(text, &p) != nil || p.Endpoint != s.endpoint {
		return
	}
	if s.abort(ctx, Name{p.Bucket, p.Key}, p.Upload) {
		forget(note)
	}
}

func forget(note string) {
	if note != "" {
		_ = os.Remove(note)
	}
}

// Package s3sim is a store that speaks S3, in the process, for tests: objects,
// uploads in parts, ranges and conditions, and signatures, which it checks by the
// documents of Amazon and not by the client's library.
//
// A fault is a handler of the test's own that sees each request first.
package s3sim

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The key that the store knows, and the region it is in.
const (
	KeyID  = "AKIDSIMSIMSIMSIMSIMS"
	Secret = "vT5mQ8xZr2Lk9WnBc3YdJf7HgPs4Ua6EoXiRtVw0"
	Region = "ap-singapore"
)

// An Object is what a store keeps under a key.
type Object struct {
	Body   []byte
	Header http.Header // Content-Type, and X-Amz-Meta-…
	etag   string
}

// A Store is the simulated one. Its zero value has no buckets.
type Store struct {
	// Domain is what stands behind the bucket in the name of a host, for requests
	// that name it there; "" has none of those.
	Domain string

	mu      sync.Mutex
	buckets map[string]map[string]Object // under mu; by bucket and key
	uploads map[string]*upload           // under mu; by ID
	fault   func(http.ResponseWriter, *http.Request) bool
	seen    []string // under mu; requests, without queries but for their kind
	begun   int      // under mu; uploads, ever
}

type upload struct {
	bucket, key string
	header      http.Header
	parts       map[int][]byte
}

// New makes a store with buckets that have nothing in them.
func New(buckets ...string) *Store {
	s := &Store{buckets: map[string]map[string]Object{}, uploads: map[string]*upload{}}
	for _, b := range buckets {
		s.buckets[b] = map[string]Object{}
	}
	return s
}

// Serve serves the store on this machine until the test ends, and returns its URL.
func (s *Store) Serve(t testing.TB) string {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return srv.URL
}

// Fail shows each request to fault, which says whether it has answered it. nil shows
// them to nobody.
func (s *Store) Fail(fault func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Put puts an object into a bucket.
func (s *Store) Put(bucket, key string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[bucket][key] = Object{Body: body, Header: http.Header{}, etag: etagOf(body)}
}

// Get returns an object.
func (s *Store) Get(bucket, key string) (o Object, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok = s.buckets[bucket][key]
	return o, ok
}

// Keys lists a bucket.
func (s *Store) Keys(bucket string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.buckets[bucket]))
}

// Uploads is how many uploads in parts are under way, and how many parts they have.
func (s *Store) Uploads() (uploads, parts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.uploads {
		parts += len(u.parts)
	}
	return len(s.uploads), parts
}

// Seen lists the requests since the last time: "PUT exports/members.csv", with ?uploads,
// ?part or ?upload behind it for those of an upload in parts, and ?location for who asks
// where a bucket is.
func (s *Store) Seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

func etagOf(b []byte) string {
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

// ServeHTTP answers one request, unless the fault of the test does.
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, key := s.named(r)
	s.mu.Lock()
	s.seen = append(s.seen, r.Method+" "+bucket+"/"+key+kindOf(r))
	fault := s.fault
	s.mu.Unlock()
	if fault == nil || !fault(w, r) {
		s.Handle(w, r)
	}
}

// named is the bucket and the key that a request names.
func (s *Store) named(r *http.Request) (bucket, key string) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	if b, ok := strings.CutSuffix(r.Host, "."+s.Domain); ok && s.Domain != "" {
		return b, path
	}
	bucket, key, _ = strings.Cut(path, "/")
	return bucket, key
}

// Handle answers one request as a store does that has no faults.
func (s *Store) Handle(w http.ResponseWriter, r *http.Request) {
	bucket, key := s.named(r)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	if status, code := check(r, body); code != "" {
		Refuse(w, status, code)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[bucket] == nil {
		Refuse(w, http.StatusNotFound, "NoSuchBucket")
		return
	}
	s.answer(w, r, bucket, key, body)
}

func kindOf(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case q.Has("location"):
		return "?location"
	case q.Has("uploads"):
		return "?uploads"
	case q.Has("partNumber"):
		return "?part"
	case q.Has("uploadId"):
		return "?upload"
	}
	return ""
}

// answer does what is asked. Its caller holds mu.
func (s *Store) answer(w http.ResponseWriter, r *http.Request, bucket, key string, body []byte) {
	switch r.Method + kindOf(r) {
	case "GET", "HEAD":
		s.get(w, r, s.buckets[bucket], key)
	case "GET?location":
		fmt.Fprintf(w, "<LocationConstraint>%s</LocationConstraint>", Region)
	case "PUT":
		o := Object{body, keptOf(r.Header), etagOf(body)}
		s.buckets[bucket][key] = o
		w.Header().Set("ETag", strconv.Quote(o.etag))
	case "POST?uploads":
		s.begun++
		id := fmt.Sprintf("upload-%d", s.begun)
		s.uploads[id] = &upload{bucket, key, keptOf(r.Header), map[int][]byte{}}
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><UploadId>%s</UploadId></InitiateMultipartUploadResult>", bucket, key, id)
	case "PUT?part", "POST?upload", "DELETE?upload":
		id := r.URL.Query().Get("uploadId")
		u := s.uploads[id]
		if u == nil || u.bucket != bucket || u.key != key {
			Refuse(w, http.StatusNotFound, "NoSuchUpload")
			return
		}
		s.part(w, r, id, u, body)
	default:
		Refuse(w, http.StatusNotImplemented, "NotImplemented")
	}
}

// part does what is asked of an upload in parts.
func (s *Store) part(w http.ResponseWriter, r *http.Request, id string, u *upload, body []byte) {
	switch r.Method {
	case http.MethodPut:
		n, err := strconv.Atoi(r.URL.Query().Get("partNumber"))
		if err != nil || n < 1 || n > 10_000 {
			Refuse(w, http.StatusBadRequest, "InvalidArgument")
			return
		}
		u.parts[n] = body
		w.Header().Set("ETag", strconv.Quote(etagOf(body)))
	case http.MethodDelete:
		delete(s.uploads, id)
		w.WriteHeader(http.StatusNoContent)
	default:
		s.complete(w, id, u, body)
	}
}

// minPart is the least that any part but the last may have.
const minPart = 5 << 20

func (s *Store) complete(w http.ResponseWriter, id string, u *upload, body []byte) {
	var asked struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.Unmarshal(body, &asked); err != nil || len(asked.Part) == 0 {
		Refuse(w, http.StatusBadRequest, "MalformedXML")
		return
	}
	var whole []byte
	for i, p := range asked.Part {
		part, ok := u.parts[p.PartNumber]
		switch {
		case !ok || strings.Trim(p.ETag, `"`) != etagOf(part):
			Refuse(w, http.StatusBadRequest, "InvalidPart")
			return
		case i < len(asked.Part)-1 && len(part) < minPart:
			Refuse(w, http.StatusBadRequest, "EntityTooSmall")
			return
		}
		whole = append(whole, part...)
	}
	etag := fmt.Sprintf("%s-%d", etagOf(whole), len(asked.Part)) // of the whole; Amazon hashes hashes
	s.buckets[u.bucket][u.key] = Object{whole, u.header, etag}
	delete(s.uploads, id)
	fmt.Fprintf(w, "<CompleteMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><ETag>%q</ETag></CompleteMultipartUploadResult>", u.bucket, u.key, etag)
}

// keptOf is what is kept of the header of a request.
func keptOf(h http.Header) http.Header {
	kept := http.Header{}
	for name, values := range h {
		if name == "Content-Type" || name == "Content-Encoding" || strings.HasPrefix(name, "X-Amz-Meta-") {
			kept[name] = values
		}
	}
	return kept
}

func (s *Store) get(w http.ResponseWriter, r *http.Request, bucket map[string]Object, key string) {
	o, ok := bucket[key]
	if !ok {
		Refuse(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	maps.Copy(w.Header(), o.Header)
	w.Header().Set("ETag", strconv.Quote(o.etag))
	w.Header().Set("Last-Modified", time.Unix(1_800_000_000, 0).UTC().Format(http.TimeFormat))
	if want := r.Header.Get("If-Match"); want != "" && want != strconv.Quote(o.etag) {
		Refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	}
	body, status := o.Body, http.StatusOK
	if text, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
		from, err := strconv.Atoi(strings.TrimSuffix(text, "-"))
		if err != nil || from >= len(body) {
			Refuse(w, http.StatusRequestedRangeNotSatisfiable, "InvalidRange")
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
		body, status = body[from:], http.StatusPartialContent
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // the client may be gone
	}
}

// Refuse answers with an error, as a store does.
func Refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s, says the store</Message><RequestId>1</RequestId></Error>", code, code)
}

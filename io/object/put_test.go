package object

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/object/s3sim"
)

const key = "nightly/members.csv.gz"

func TestPut(t *testing.T) {
	for _, tt := range []struct {
		name string
		size int
		want []string // requests
	}{
		{"empty", 0, []string{"PUT exports/" + key}},
		{"small", 100, []string{"PUT exports/" + key}},
		{"one part", partSize, []string{"PUT exports/" + key}},
		{"two parts", partSize + 1, []string{
			"POST exports/" + key + "?uploads", "PUT exports/" + key + "?part", "PUT exports/" + key + "?part", "POST exports/" + key + "?upload",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sim := s3sim.New("exports")
			s, body := open(t, sim), noise(tt.size)
			note := filepath.Join(t.TempDir(), "note")
			u := Upload{File: file(t, body), ContentType: "application/gzip", SHA256: "a hash", Note: note}
			if err := s.Put(t.Context(), Name{"exports", key}, u); err != nil {
				t.Fatal(err)
			}
			holds(t, sim, key, body)
			o, _ := sim.Get("exports", key)
			if got := []string{o.Header.Get("Content-Type"), o.Header.Get("Content-Encoding"), o.Header.Get("X-Amz-Meta-Sha256")}; !slices.Equal(got, []string{"application/gzip", "", "a hash"}) {
				t.Errorf("got %q", got)
			}
			if d := cmp.Diff(tt.want, sim.Seen()); d != "" {
				t.Error(d)
			}
			if _, err := os.Stat(note); err == nil {
				t.Error("a note is left")
			}
		})
	}
}

// failing fails the requests of one kind, from the first one on or from a later one.
func failing(method, query string, from int64, status int, code string) func(http.ResponseWriter, *http.Request) bool {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method || query != "" && !r.URL.Query().Has(query) || n.Add(1) < from {
			return false
		}
		s3sim.Refuse(w, status, code)
		return true
	}
}

// What fails leaves the older object as it was, and no upload.
func TestPutFails(t *testing.T) {
	old, body := []byte("an older export\n"), noise(2*partSize+5)
	for _, tt := range []struct {
		name  string
		small bool
		fault func(http.ResponseWriter, *http.Request) bool
		want  string
	}{
		{"denied", true, failing("PUT", "", 1, 403, "AccessDenied"), "access denied"},
		{"no bucket any more", true, failing("PUT", "", 1, 404, "NoSuchBucket"), "there is no bucket exports"},
		{"the space is used up", true, failing("PUT", "", 1, 403, "QuotaExceeded"), "QuotaExceeded"},
		{"down", true, failing("PUT", "", 1, 503, "SlowDown"), "in trouble (SlowDown)"},
		{"keys that have run out", true, failing("PUT", "", 1, 400, "ExpiredToken"), "the temporary keys have run out"},
		{"denied, in parts", false, failing("POST", "uploads", 1, 403, "AccessDenied"), "access denied"},
		{"down in the second part", false, failing("PUT", "partNumber", 2, 500, "InternalError"), "part 2: store.test is in trouble (InternalError)"},
		{"lost in the second part", false, failing("PUT", "partNumber", 2, 404, "NoSuchUpload"), "part 2: store.test refuses (NoSuchUpload)"},
		{"down at the end", false, failing("POST", "uploadId", 1, 500, "InternalError"), "in trouble"},
		{"an error behind 200", false, failing("POST", "uploadId", 1, 200, "InternalError"), "(InternalError)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := s3sim.New("exports")
				sim.Put("exports", key, old)
				s, note := open(t, sim), filepath.Join(t.TempDir(), "note")
				sim.Fail(tt.fault)
				u := Upload{File: file(t, body), SHA256: "a hash", Note: note}
				if tt.small {
					u.File = file(t, body[:100])
				}
				err := s.Put(t.Context(), Name{"exports", key}, u)
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want an error with %q", err, tt.want)
				}
				holds(t, sim, key, old)
				if n, _ := sim.Uploads(); n > 0 {
					t.Errorf("%d uploads are left", n)
				}
				if _, err := os.Stat(note); err == nil {
					t.Error("a note is left")
				}
			})
		})
	}
}

// A store that is away for a minute is waited for.
func TestPutWaits(t *testing.T) {
	for name, size := range map[string]int{"small": 100, "parts": partSize + 5} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim, body := s3sim.New("exports"), noise(size)
				s, back := open(t, sim), time.Now().Add(time.Minute)
				sim.Fail(func(w http.ResponseWriter, r *http.Request) bool {
					if r.Method != http.MethodPut || time.Now().After(back) {
						return false
					}
					panic(http.ErrAbortHandler)
				})
				if err := s.Put(t.Context(), Name{"exports", key}, Upload{File: file(t, body)}); err != nil {
					t.Fatal(err)
				}
				holds(t, sim, key, body)
			})
		})
	}
}

// If the answer to the last request is lost, the object is there all the same.
func TestPutLosesLastAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, body := s3sim.New("exports"), noise(partSize+5)
		s := open(t, sim)
		lost := false
		sim.Fail(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost || !r.URL.Query().Has("uploadId") || lost {
				return false
			}
			lost = true
			sim.Handle(discard{http.Header{}}, r)
			panic(http.ErrAbortHandler)
		})
		if err := s.Put(t.Context(), Name{"exports", key}, Upload{File: file(t, body), SHA256: "this one"}); err != nil {
			t.Fatal(err)
		}
		holds(t, sim, key, body)
	})
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// Who is interrupted gives the upload up.
func TestPutInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		sim := s3sim.New("exports")
		s := open(t, sim)
		sim.Fail(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("partNumber") == "2" {
				cancel(why)
				s3sim.Refuse(w, 503, "SlowDown")
				return true
			}
			return false
		})
		err := s.Put(ctx, Name{"exports", key}, Upload{File: file(t, noise(partSize+5))})
		if n, _ := sim.Uploads(); !errors.Is(err, why) || n > 0 {
			t.Errorf("got %v, and %d uploads left", err, n)
		}
	})
}

// What a killed process left is given up by the next one, if it is of this store.
func TestSweep(t *testing.T) {
	sim := s3sim.New("exports")
	s, note := open(t, sim), filepath.Join(t.TempDir(), "note")
	name := Name{"exports", key}
	if _, err := s.begin(t.Context(), name, Upload{Note: note}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(note); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("note: %v, %v", info, err)
	}
	other, err := Open(t.Context(), Options{Endpoint: "https://other.test", Region: s3sim.Region, Keys: simKeys(), HTTP: sim})
	if err != nil {
		t.Fatal(err)
	}
	other.Sweep(t.Context(), note)
	if n, _ := sim.Uploads(); n != 1 {
		t.Fatalf("got %d uploads after another store was swept", n)
	}
	s.Sweep(t.Context(), note)
	s.Sweep(t.Context(), note) // there is nothing left to do
	if n, _ := sim.Uploads(); n != 0 {
		t.Errorf("%d uploads are left", n)
	}
	if _, err := os.Stat(note); err == nil {
		t.Error("the note is left")
	}
}

// A probe says what an upload would meet, and changes nothing.
func TestProbe(t *testing.T) {
	for _, tt := range []struct {
		name, bucket string
		fault        func(http.ResponseWriter, *http.Request) bool
		want         string
	}{
		{name: "it can be written", bucket: "exports"},
		{name: "but not given up", bucket: "exports", fault: failing("DELETE", "", 1, 403, "AccessDenied")},
		{name: "no bucket", bucket: "elsewhere", want: "there is no bucket elsewhere"},
		{name: "denied", bucket: "exports", fault: failing("POST", "uploads", 1, 403, "AccessDenied"), want: "access denied"},
		{name: "a wrong clock", bucket: "exports", fault: failing("POST", "uploads", 1, 403, "RequestTimeTooSkewed"), want: "the clock of this machine is wrong"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sim := s3sim.New("exports")
			sim.Put("exports", key, []byte("old"))
			s := open(t, sim)
			sim.Fail(tt.fault)
			err := s.Probe(t.Context(), Name{tt.bucket, key})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			holds(t, sim, key, []byte("old"))
		})
	}
	for what, keys := range map[string]Keys{
		"does not know the access key":                  {ID: "AKIDOTHER", Secret: s3sim.Secret},
		"the secret does not belong to the access key ": {ID: s3sim.KeyID, Secret: "another"},
	} {
		s, err := Open(t.Context(), Options{Endpoint: "https://store.test", Region: s3sim.Region, Keys: keys, HTTP: s3sim.New("exports")})
		if err == nil {
			err = s.Probe(t.Context(), Name{"exports", key})
		}
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("got %v, want %q", err, what)
		}
	}
}

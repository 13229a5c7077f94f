package object

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatbatch/io/object/s3sim"
)

// read reads an object whole.
func read(ctx context.Context, s *Store, key string) ([]byte, error) {
	r, err := s.Get(ctx, Name{"exports", key})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestGet(t *testing.T) {
	body := noise(3 << 20)
	down := func(times int, status int, code string) func(*s3sim.Store) {
		return func(sim *s3sim.Store) {
			sim.Fail(func(w http.ResponseWriter, _ *http.Request) bool {
				if times--; times >= 0 {
					s3sim.Refuse(w, status, code)
				}
				return times >= 0
			})
		}
	}
	changed := func(then func(*s3sim.Store)) func(*s3sim.Store) {
		return func(sim *s3sim.Store) {
			cut := sim.Cut(1000, 1)
			sim.Fail(func(w http.ResponseWriter, r *http.Request) bool {
				defer then(sim)
				return cut(w, r)
			})
		}
	}
	for _, tt := range []struct {
		name  string
		fault func(*s3sim.Store)
		want  string // part of the error; "" is none
		asks  int    // requests; 0: any number
	}{
		{name: "as it is", asks: 1},
		{name: "cut once", fault: func(sim *s3sim.Store) { sim.Fail(sim.Cut(1<<20, 1)) }, asks: 2},
		{name: "cut again and again, with something each time", fault: func(sim *s3sim.Store) { sim.Fail(sim.Cut(100_000, 20)) }, asks: 21},
		{name: "cut before the first byte", fault: func(sim *s3sim.Store) { sim.Fail(sim.Cut(0, 2)) }},
		{name: "cut for ever", fault: func(sim *s3sim.Store) { sim.Fail(sim.Cut(0, -1)) }, want: "store.test does not answer"},
		{name: "down for a while", fault: down(4, 503, "SlowDown"), asks: 5},
		{name: "down", fault: down(1000, 503, "SlowDown"), want: "store.test is in trouble (SlowDown)"},
		{name: "broken", fault: down(1000, 500, "<b>"), want: "store.test is in trouble (HTTP 500)"},
		{name: "denied", fault: down(1, 403, "AccessDenied"), want: "access denied: see what the key may do in the bucket exports (AccessDenied)", asks: 1},
		{name: "no bucket", fault: down(1, 404, "NoSuchBucket"), want: "there is no bucket exports at store.test (NoSuchBucket)", asks: 1},
		{name: "no such object", fault: down(1, 404, "NoSuchKey"), want: "the bucket exports has no such object (NoSuchKey)", asks: 1},
		{name: "another region", fault: down(1, 400, "AuthorizationHeaderMalformed"), want: "is not at store.test", asks: 1},
		{name: "another host", fault: redirect(301), want: "is not at store.test", asks: 1},
		{name: "another host for a while", fault: redirect(307), want: "is not at store.test", asks: 1},
		{name: "in an archive", fault: down(1, 403, "InvalidObjectState"), want: "in an archive", asks: 1},
		{
			name:  "replaced meanwhile",
			fault: changed(func(sim *s3sim.Store) { sim.Put("exports", "roster.csv", noise(2<<20)) }),
			want:  "it changed while it was read; try again when it is complete",
		},
		{
			name:  "denied meanwhile",
			fault: changed(func(sim *s3sim.Store) { sim.Fail(refuse("", 403, "AccessDenied")) }),
			want:  "access denied",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := s3sim.New("exports")
				sim.Put("exports", "roster.csv", body)
				s := open(t, sim)
				if tt.fault != nil {
					tt.fault(sim)
				}
				got, err := read(t.Context(), s, "roster.csv")
				switch {
				case tt.want == "" && (err != nil || !bytes.Equal(got, body)):
					t.Errorf("got %d bytes, %v; want %d", len(got), err, len(body))
				case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
					t.Errorf("got %v, want an error with %q", err, tt.want)
				}
				if seen := sim.Seen(); tt.asks > 0 && len(seen) != tt.asks {
					t.Errorf("got %d requests, want %d: %v", len(seen), tt.asks, seen)
				}
			})
		})
	}
}

func redirect(status int) func(*s3sim.Store) {
	return func(sim *s3sim.Store) {
		sim.Fail(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Location", "https://elsewhere.test/exports/roster.csv")
			w.WriteHeader(status)
			return true
		})
	}
}

// A store that keeps to no condition, or to no range, is found out.
func TestSame(t *testing.T) {
	for _, tt := range []struct{ name, drop, want string }{
		{"no conditions", "If-Match", "it changed while it was read"},
		{"no ranges", "Range", "the store cannot send what is left of it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := s3sim.New("exports")
				sim.Put("exports", "roster.csv", noise(1<<20))
				sim.Fail(sim.Cut(1000, 1))
				s := open(t, way(func(r *http.Request) (*http.Response, error) {
					if r.Header.Get("Range") != "" && tt.drop == "If-Match" {
						sim.Put("exports", "roster.csv", noise(2<<20))
					}
					header := r.Header.Get(tt.drop)
					resp, err := sim.RoundTrip(r)
					if err == nil && header != "" { // as if it had not been there: the signature is over it
						resp, err = without(sim, r, tt.drop)
					}
					return resp, err
				}))
				if _, err := read(t.Context(), s, "roster.csv"); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want an error with %q", err, tt.want)
				}
			})
		})
	}
}

// without answers a request as if one of its headers were not there.
func without(sim *s3sim.Store, r *http.Request, header string) (*http.Response, error) {
	o, _ := sim.Get("exports", "roster.csv")
	resp := &http.Response{StatusCode: 200, Header: http.Header{"Last-Modified": {"Mon, 02 Jan 2006 15:04:05 GMT"}}, Request: r}
	resp.Header.Set("ETag", `"another"`)
	if header == "Range" {
		resp.Header.Set("ETag", r.Header.Get("If-Match"))
	}
	resp.Body = io.NopCloser(bytes.NewReader(o.Body))
	return resp, nil
}

// A store that stalls in the middle of a body is left, and asked again.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := noise(1 << 20)
		sim := s3sim.New("exports")
		sim.Put("exports", "roster.csv", body)
		stalled := false
		s := open(t, way(func(r *http.Request) (*http.Response, error) {
			resp, err := sim.RoundTrip(r)
			if err == nil && !stalled {
				stalled = true
				resp.Body = io.NopCloser(io.MultiReader(io.LimitReader(resp.Body, 1000), hang{r.Context()}))
			}
			return resp, err
		}))
		begun := time.Now()
		got, err := read(t.Context(), s, "roster.csv")
		if err != nil || !bytes.Equal(got, body) || !stalled {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		if d := time.Since(begun); d < stall || d > 2*stall {
			t.Errorf("it took %v", d)
		}
	})
}

// hang is a body of which nothing comes.
type hang struct{ ctx context.Context }

func (h hang) Read([]byte) (int, error) {
	<-h.ctx.Done()
	return 0, h.ctx.Err()
}

// A store that does not answer at all is given up, and sooner if somebody asks.
func TestGetGivesUp(t *testing.T) {
	silent := way(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		_, err := read(t.Context(), open(t, silent), "roster.csv")
		if err == nil || !strings.Contains(err.Error(), "store.test does not answer: nothing came for 30s") {
			t.Errorf("got %v", err)
		}
		if d := time.Since(begun); d != openTime {
			t.Errorf("it took %v", d)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		if _, err := read(ctx, open(t, silent), "roster.csv"); !errors.Is(err, why) {
			t.Errorf("got %v", err)
		}
	})
}

// What a store says of a request may have its keys in it.
func TestErrorsHoldNoKeys(t *testing.T) {
	const token = "IQoJb3JpZ2luX2VjEMf__________wEaDmFwLXNvdXRoZWFzdA"
	echo := way(func(r *http.Request) (*http.Response, error) {
		var b strings.Builder
		b.WriteString("<Error><Code>" + r.Header.Get("X-Amz-Security-Token") + "</Code><Message>")
		_ = r.Header.Write(&b)
		b.WriteString("</Message></Error>")
		return &http.Response{StatusCode: 403, Status: "403 " + token, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(b.String())), Request: r}, nil
	})
	s, err := Open(t.Context(), Options{Endpoint: "https://store.test", Region: s3sim.Region, Keys: Keys{s3sim.KeyID, s3sim.Secret, token, "", ""}, HTTP: echo})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Get(t.Context(), Name{"exports", "a"})
	for _, err := range []error{err, s.Probe(t.Context(), Name{"exports", "a"}), s.Put(t.Context(), Name{"exports", "a"}, Upload{File: file(t, []byte("a"))})} {
		for _, secret := range []string{token[:16], s3sim.Secret[:8], s3sim.KeyID, "Signature"} {
			if err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("got %v, which has %s", err, secret)
			}
		}
	}
}

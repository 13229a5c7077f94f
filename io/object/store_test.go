package object

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"chatbatch/io/object/s3sim"
)

func TestOpenRefuses(t *testing.T) {
	for _, tt := range []struct{ endpoint, style, want string }{
		{"", "", "is a URL without"},
		{"cos.ap-singapore.myqcloud.com", "", "is a URL without"},
		{"https://id:" + s3sim.Secret + "@store.test", "", "is a URL without"},
		{"https://store.test/exports", "", "is a URL without"},
		{"https://store.test?a=b", "", "is a URL without"},
		{"http://store.test", "", "plain http is for this machine alone"},
		{"http://169.254.169.254", "", "plain http is for this machine alone"},
		{"ftp://store.test", "", "begins with https://"},
		{"https://store.test", "guess", `style "guess"`},
	} {
		_, err := Open(t.Context(), Options{Endpoint: tt.endpoint, Style: tt.style, Keys: simKeys()})
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), s3sim.Secret[:8]) {
			t.Errorf("%s: got %v, want an error with %q", tt.endpoint, err, tt.want)
		}
	}
	for _, endpoint := range []string{"http://127.0.0.1:9000", "http://[::1]:9000/", "http://localhost", "https://store.test"} {
		if _, err := Open(t.Context(), Options{Endpoint: endpoint, Keys: simKeys()}); err != nil {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
}

// Where the bucket stands, and which region signs, is found by the endpoint.
func TestAddresses(t *testing.T) {
	const bucket = "exports-1250000000"
	for _, tt := range []struct{ endpoint, region, style, host, path, signs string }{
		{endpoint: "https://cos.ap-singapore.myqcloud.com", host: bucket + ".cos.ap-singapore.myqcloud.com", path: "/a%20b/c%2Bd.csv", signs: "ap-singapore"},
		{endpoint: "https://cos-internal.ap-guangzhou.tencentcos.cn", host: bucket + ".cos-internal.ap-guangzhou.tencentcos.cn", path: "/a%20b/c%2Bd.csv", signs: "ap-guangzhou"},
		{endpoint: "https://cos.accelerate.myqcloud.com", region: "ap-jakarta", host: bucket + ".cos.accelerate.myqcloud.com", path: "/a%20b/c%2Bd.csv", signs: "ap-jakarta"},
		{endpoint: "https://s3.eu-central-1.amazonaws.com", host: bucket + ".s3.dualstack.eu-central-1.amazonaws.com", path: "/a%20b/c%2Bd.csv", signs: "eu-central-1"},
		{endpoint: "https://minio.example.com:9000", region: "r", host: "minio.example.com:9000", path: "/" + bucket + "/a%20b/c%2Bd.csv", signs: "r"},
		{endpoint: "https://minio.example.com", region: "r", style: Virtual, host: bucket + ".minio.example.com", path: "/a%20b/c%2Bd.csv", signs: "r"},
		{endpoint: "https://cos.ap-singapore.myqcloud.com", style: Path, host: "cos.ap-singapore.myqcloud.com", path: "/" + bucket + "/a%20b/c%2Bd.csv", signs: "ap-singapore"},
	} {
		var seen *http.Request
		s, err := Open(t.Context(), Options{Endpoint: tt.endpoint, Region: tt.region, Style: tt.style, Keys: simKeys(), HTTP: way(func(r *http.Request) (*http.Response, error) {
			seen = r
			return s3sim.New().RoundTrip(r)
		})})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), Name{bucket, "a b/c+d.csv"}); err == nil {
			t.Errorf("%s: no error of a store without buckets", tt.endpoint)
		}
		if seen.URL.Host != tt.host || seen.URL.EscapedPath() != tt.path || !strings.Contains(seen.Header.Get("Authorization"), "/"+tt.signs+"/s3/") {
			t.Errorf("%s: got %s %s, %s", tt.endpoint, seen.URL.Host, seen.URL.EscapedPath(), seen.Header.Get("Authorization"))
		}
	}
	// A bucket in its own endpoint would be there twice.
	s, err := Open(t.Context(), Options{Endpoint: "https://" + bucket + ".cos.ap-singapore.myqcloud.com", Keys: simKeys()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Probe(t.Context(), Name{bucket, "a.csv"}); err == nil || !strings.Contains(err.Error(), "the endpoint is cos.ap-singapore.myqcloud.com") {
		t.Errorf("got %v", err)
	}
}

// A region that nobody has told is asked for, once.
func TestRegionIsFound(t *testing.T) {
	sim := s3sim.New("exports")
	s, err := Open(t.Context(), Options{Endpoint: "https://store.test", Keys: simKeys(), HTTP: sim})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Probe(t.Context(), Name{"exports", "a"}); err != nil {
			t.Fatal(err)
		}
	}
	if seen := sim.Seen(); len(seen) != 5 || seen[0] != "GET exports/?location" {
		t.Errorf("got %v", seen)
	}
}

// To find out the region, too, is tried again.
func TestRegionIsFoundLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := s3sim.New("exports")
		sim.Put("exports", "a", []byte("a"))
		s, err := Open(t.Context(), Options{Endpoint: "https://store.test", Keys: simKeys(), HTTP: sim})
		if err != nil {
			t.Fatal(err)
		}
		for _, do := range []func() error{
			func() error { return s.Probe(t.Context(), Name{"exports", "a"}) },
			func() error { _, err := read(t.Context(), s, "a"); return err },
		} {
			lost := 0
			sim.Fail(func(http.ResponseWriter, *http.Request) bool {
				if lost++; lost > 2 {
					return false
				}
				panic(http.ErrAbortHandler)
			})
			if err := do(); err != nil || lost < 3 {
				t.Errorf("got %v after %d requests", err, lost)
			}
		}
	})
}

type way func(*http.Request) (*http.Response, error)

func (w way) RoundTrip(r *http.Request) (*http.Response, error) { return w(r) }

func TestKeys(t *testing.T) {
	sim := s3sim.New("exports")
	for _, tt := range []struct{ name, text, profile, want string }{
		{name: "default", text: "[default]\naws_access_key_id = ID\naws_secret_access_key = SECRET\n"},
		{name: "a profile", text: "[default]\naws_access_key_id = x\naws_secret_access_key = y\n[cos]\naws_access_key_id = ID\naws_secret_access_key = SECRET\n", profile: "cos"},
		{name: "by a program", text: "[default]\ncredential_process = printf {\"Version\":1,\"AccessKeyId\":\"ID\",\"SecretAccessKey\":\"SECRET\"}\n"},
		{name: "no such profile", text: "[default]\naws_access_key_id = ID\naws_secret_access_key = SECRET\n", profile: "cos", want: "gives none: it has a section [cos]"},
		{name: "half of it", text: "[default]\naws_access_key_id = ID\n", want: "gives none"},
		{name: "something else", text: "ID\nSECRET\n", want: "gives none"},
		{name: "an odd line", text: "[default]\nSECRET ID\n", want: "gives none"},
		{name: "empty", want: "gives none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "credentials")
			text := strings.NewReplacer("ID", s3sim.KeyID, "SECRET", s3sim.Secret).Replace(tt.text)
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(t.Context(), Options{Endpoint: "https://store.test", Region: s3sim.Region, Keys: Keys{File: name, Profile: tt.profile}, HTTP: sim})
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), s3sim.Secret[:8]) || strings.Contains(err.Error(), s3sim.KeyID) {
					t.Errorf("got %v, want an error with %q and no key", err, tt.want)
				}
				return
			}
			if err == nil {
				err = s.Probe(t.Context(), Name{"exports", "a"})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	for _, tt := range []struct {
		keys Keys
		want string
	}{{Keys{}, "no keys"}, {Keys{ID: "a"}, "half a key"}, {Keys{Secret: "a"}, "half a key"}, {Keys{File: "nowhere"}, "no such file"}} {
		if _, err := Open(t.Context(), Options{Endpoint: "https://store.test", Keys: tt.keys}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want an error with %q", err, tt.want)
		}
	}
}

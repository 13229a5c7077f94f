package object

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"chatbatch/io/object/s3sim"
)

// simKeys are the keys that the simulated store knows.
func simKeys() Keys { return Keys{ID: s3sim.KeyID, Secret: s3sim.Secret} }

// open makes a Store that asks way.
func open(t *testing.T, way http.RoundTripper) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{Endpoint: "https://store.test", Region: s3sim.Region, Keys: simKeys(), HTTP: way})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// noise is so many bytes that nobody has seen before.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	_, _ = r.Read(b)
	return b
}

// file writes a file.
func file(t *testing.T, body []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "export")
	if err := os.WriteFile(name, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// holds says whether the store has these bytes under a key.
func holds(t *testing.T, sim *s3sim.Store, key string, want []byte) {
	t.Helper()
	o, ok := sim.Get("exports", key)
	if !ok || !bytes.Equal(o.Body, want) {
		t.Errorf("%s: got %d bytes, %v; want %d", key, len(o.Body), ok, len(want))
	}
}

// refuse answers all requests, or those of one method, with an error of the store.
func refuse(method string, status int, code string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if method != "" && r.Method != method {
			return false
		}
		s3sim.Refuse(w, status, code)
		return true
	}
}

package chat

import (
	"bytes"
	"compress/zlib"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// defaultSigLife is the least life that the vendor recommends.
const defaultSigLife = 24 * time.Hour

// redacted is what a secret looks like in any output.
const redacted = "REDACTED"

// A KeySigner makes UserSigs (version 2.0) of one app admin from the app's
// secret key. A UserSig is used again until 80 % of its life has passed; then
// the next call signs anew, long before the server would call it expired.
// Safe for concurrent use. It prints as REDACTED.
type KeySigner struct {
	sdkAppID   int64
	identifier string
	life       time.Duration // whole seconds

	// Behind a pointer, since fmt prints the fields of a struct that is an
	// unexported field of another one, past any Format method; it does not
	// follow a *string.
	key *string

	mu     sync.Mutex
	sig    *string   // under mu; nil = sign at the next call
	signed time.Time // under mu; wall clock, without the monotonic reading
}

// NewKeySigner returns a signer for identifier, an app admin of sdkAppID.
// Each UserSig lives for life, rounded up to whole seconds; 0 or less is 24 h.
func NewKeySigner(sdkAppID int64, identifier, secretKey string, life time.Duration) *KeySigner {
	if life <= 0 {
		life = defaultSigLife
	}
	life = (life + time.Second - 1).Truncate(time.Second)
	return &KeySigner{sdkAppID: sdkAppID, identifier: identifier, key: &secretKey, life: life}
}

// UserSig returns a UserSig that has at least a fifth of its life left.
func (s *KeySigner) UserSig() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// The wall clock decides, since it is what the server compares with: a
	// monotonic clock stands still while the host sleeps. A clock that was
	// set back makes a signature of the future; that one is replaced too.
	now := time.Now().Round(0)
	if age := now.Sub(s.signed); s.sig != nil && age >= 0 && age < s.life/5*4 {
		return *s.sig, nil
	}
	sig, err := s.sign(now)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	s.sig, s.signed = &sig, now
	return sig, nil
}

// Renew drops the UserSig stale, so that the next UserSig is signed anew. It
// does nothing when another worker has renewed already: many may ask at once,
// one renewal is made.
func (s *KeySigner) Renew(stale string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sig != nil && *s.sig == stale {
		s.sig = nil
	}
}

// sigDocument is what a UserSig carries, in the order of the official library.
type sigDocument struct {
	Version    string `json:"TLS.ver"`
	Identifier string `json:"TLS.identifier"`
	SDKAppID   int64  `json:"TLS.sdkappid"`
	Expire     int64  `json:"TLS.expire"`
	Time       int64  `json:"TLS.time"`
	Sig        []byte `json:"TLS.sig"`
}

// userSigEncoding is base64 with the three letters of it that need escaping
// in a URL replaced.
var userSigEncoding = strings.NewReplacer("+", "*", "/", "-", "=", "_")

func (s *KeySigner) sign(now time.Time) (string, error) {
	doc := sigDocument{
		Version:    "2.0",
		Identifier: s.identifier,
		SDKAppID:   s.sdkAppID,
		Expire:     int64(s.life / time.Second),
		Time:       now.Unix(),
	}
	mac := hmac.New(sha256.New, []byte(*s.key))
	fmt.Fprintf(mac, "TLS.identifier:%s\nTLS.sdkappid:%d\nTLS.time:%d\nTLS.expire:%d\n",
		doc.Identifier, doc.SDKAppID, doc.Time, doc.Expire)
	doc.Sig = mac.Sum(nil)

	var packed bytes.Buffer
	w := zlib.NewWriter(&packed)
	if err := json.NewEncoder(w).Encode(doc); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return userSigEncoding.Replace(base64.StdEncoding.EncodeToString(packed.Bytes())), nil
}

// String returns REDACTED.
func (s *KeySigner) String() string { return redacted }

// GoString returns REDACTED.
func (s *KeySigner) GoString() string { return redacted }

// Format writes REDACTED, whatever the verb.
func (s *KeySigner) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue returns REDACTED.
func (s *KeySigner) LogValue() slog.Value { return slog.StringValue(redacted) }

// A FixedSig is a ready UserSig. It cannot be renewed: when the server calls
// it expired, the run is over. It prints as REDACTED, except where fmt cannot
// see its methods: keep it in exported fields. Convert it to string to get at
// it.
type FixedSig string

// UserSig returns the signature. It never fails.
func (s FixedSig) UserSig() (string, error) { return string(s), nil }

// String returns REDACTED.
func (s FixedSig) String() string { return redacted }

// GoString returns REDACTED.
func (s FixedSig) GoString() string { return redacted }

// Format writes REDACTED, whatever the verb.
func (s FixedSig) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue returns REDACTED.
func (s FixedSig) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns REDACTED, so that JSON never shows the signature.
func (s FixedSig) MarshalText() ([]byte, error) { return []byte(redacted), nil }

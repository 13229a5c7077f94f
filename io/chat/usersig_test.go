package chat

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tencentyun/tls-sig-api-v2-golang/tencentyun"
)

func mustSign(t *testing.T, s *KeySigner) string {
	t.Helper()
	sig, err := s.UserSig()
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// TestSignatureAgainstOfficialLibrary: its verifier takes what we sign, for
// this account, app and key only, and what we sign says the same as its own.
func TestSignatureAgainstOfficialLibrary(t *testing.T) {
	identifiers := []string{"administrator", "a", "user_01-x", "a&b", "a#b", "a b", " a ", "管理員", "학교", "á", "\"q\"", `back\slash`,
		"<html>", "a\nb", "a\tb", "+/=*-_", "%41", "a@b.example", "\u2028", "😀", strings.Repeat("z", 32)}
	for _, id := range identifiers {
		for _, app := range []int64{1, 1400000001, 1<<32 - 1} {
			synctest.Test(t, func(t *testing.T) {
				sig := mustSign(t, NewKeySigner(app, id, testKey, time.Hour))
				verify := func(app int64, key, id string, at time.Duration) error {
					return tencentyun.VerifyUserSig(uint64(app), key, id, sig, time.Now().Add(at))
				}
				if err := verify(app, testKey, id, 0); err != nil {
					t.Errorf("%q: %v", id, err)
				}
				if err := verify(app, testKey, id, time.Hour); err != nil {
					t.Errorf("%q: at the end of its life: %v", id, err)
				}
				for _, bad := range []struct{ err, want error }{
					{verify(app, testKey, id, time.Hour+time.Second), tencentyun.ErrExpired},
					{verify(app+1, testKey, id, 0), tencentyun.ErrSdkAppIDNotMatch},
					{verify(app, testKey, id+"x", 0), tencentyun.ErrIdentifierNotMatch},
					{verify(app, testKey+"x", id, 0), tencentyun.ErrSigNotMatch},
				} {
					if !errors.Is(bad.err, bad.want) {
						t.Errorf("%q: got error %v, want %v", id, bad.err, bad.want)
					}
				}
				theirs, err := tencentyun.GenUserSig(int(app), testKey, id, 3600)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(unpack(t, theirs), unpack(t, sig)); diff != "" {
					t.Errorf("%q: (-official +ours):\n%s", id, diff)
				}
			})
		}
	}
}

func unpack(t *testing.T, sig string) string {
	t.Helper()
	if strings.ContainsAny(sig, "+/=") {
		t.Errorf("UserSig %s has letters of plain base64", sig)
	}
	packed, err := base64.StdEncoding.DecodeString(strings.NewReplacer("*", "+", "-", "/", "_", "=").Replace(sig))
	if err != nil {
		t.Fatal(err)
	}
	r, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRenewalAtFourFifths(t *testing.T) {
	for _, tt := range []struct {
		name       string
		life, real time.Duration // as given, as it is
	}{
		{"day", 24 * time.Hour, 24 * time.Hour},
		{"default", 0, 24 * time.Hour},
		{"ten seconds", 10 * time.Second, 10 * time.Second},
		{"rounded up", 9*time.Second + 1, 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := NewKeySigner(1, "administrator", testKey, tt.life)
				first := mustSign(t, s)
				time.Sleep(tt.real/5*4 - 1)
				if got := mustSign(t, s); got != first {
					t.Errorf("renewed before 80 %% of its life")
				}
				time.Sleep(time.Nanosecond)
				second := mustSign(t, s)
				if second == first {
					t.Errorf("not renewed at 80 %% of its life")
				}
				if err := tencentyun.VerifyUserSig(1, testKey, "administrator", second, time.Now().Add(tt.real)); err != nil {
					t.Errorf("renewed signature: %v", err)
				}
				if err := tencentyun.VerifyUserSig(1, testKey, "administrator", second, time.Now().Add(tt.real+time.Second)); !errors.Is(err, tencentyun.ErrExpired) {
					t.Errorf("got error %v after its life, want %v", err, tencentyun.ErrExpired)
				}
			})
		})
	}
}

// TestNeverExpired: whoever asks, at any time over ten lives, gets a signature
// with a fifth of its life left.
func TestNeverExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const life = 100 * time.Second
		s := NewKeySigner(1, "administrator", testKey, life)
		for range 1000 {
			if err := tencentyun.VerifyUserSig(1, testKey, "administrator", mustSign(t, s), time.Now().Add(life/5)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
	})
}

// TestClockSetBack: a signature of the future is made anew.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewKeySigner(1, "administrator", testKey, time.Hour)
		s.sig, s.signed = new("of the future"), time.Now().Add(time.Minute)
		if got := mustSign(t, s); got == "of the future" {
			t.Error("kept a signature of the future")
		}
	})
}

func TestRenewOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewKeySigner(1, "administrator", testKey, time.Hour)
		stale := mustSign(t, s)
		seen := map[string]int{}
		var mu sync.Mutex
		for i := range 64 {
			go func() {
				// Each asks a second later than the one before: signatures
				// of two seconds differ, so a second renewal would show.
				time.Sleep(time.Duration(i+1) * time.Second)
				s.Renew(stale)
				sig, _ := s.UserSig()
				mu.Lock()
				defer mu.Unlock()
				seen[sig]++
			}()
		}
		time.Sleep(65 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if len(seen) != 1 || seen[stale] != 0 {
			t.Errorf("got %d signatures, %d uses of the stale one; want 1 and 0", len(seen), seen[stale])
		}
	})
}

func TestSecretsDoNotPrint(t *testing.T) {
	signer := NewKeySigner(1, "administrator", testKey, time.Hour)
	signer.sig = new(testSig)
	client := inProcess(nil)
	client.Signer = FixedSig(testSig)
	keyed := inProcess(nil)
	keyed.Signer = signer
	timing := Timing{Sig: testSig}
	for _, v := range []any{signer, FixedSig(testSig), client, keyed, timing, &timing,
		struct{ S Signer }{signer}, struct{ S Signer }{FixedSig(testSig)}, struct{ s *KeySigner }{signer},
		[]any{signer, FixedSig(testSig), timing}} {
		checkClean(t, v)
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		if text := log.String(); strings.Contains(text, testKey) || strings.Contains(text, testSig) {
			t.Errorf("log of %T: %s", v, text)
		}
	}
	for _, v := range []interface {
		String() string
		GoString() string
	}{signer, FixedSig(testSig)} {
		if v.String() != redacted || v.GoString() != redacted || fmt.Sprintf("%x", v) != redacted {
			t.Errorf("%T: got %q, %q and %x, want %q", v, v.String(), v.GoString(), v, redacted)
		}
	}
	if b, err := json.Marshal(map[string]any{"sig": FixedSig(testSig), "signer": signer}); err != nil || strings.Contains(string(b), testSig) || strings.Contains(string(b), testKey) {
		t.Errorf("got JSON %s, error %v", b, err)
	}
	if s, _ := FixedSig(testSig).UserSig(); s != testSig {
		t.Errorf("got UserSig %q, want %q", s, testSig)
	}
}

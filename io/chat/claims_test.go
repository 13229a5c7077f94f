package chat

import (
	"strings"
	"testing"
	"time"

	"github.com/tencentyun/tls-sig-api-v2-golang/tencentyun"
)

// A UserSig is read as the vendor's library and as we make it.
func TestClaims(t *testing.T) {
	official, err := tencentyun.GenUserSig(1400000000, "hush-hush-key", "admin&1", 3600)
	if err != nil {
		t.Fatal(err)
	}
	own, err := NewKeySigner(1400000000, "admin&1", "hush-hush-key", time.Hour).UserSig()
	if err != nil {
		t.Fatal(err)
	}
	for name, sig := range map[string]string{"the vendor's": official, "our own": own} {
		c, err := FixedSig(sig).Claims()
		if err != nil || c.Identifier != "admin&1" || c.SDKAppID != 1400000000 || c.Expires.Sub(c.Signed) != time.Hour || time.Since(c.Signed).Abs() > time.Minute {
			t.Errorf("%s: got %+v, %v", name, c, err)
		}
	}
	for name, sig := range map[string]string{
		"nothing": "", "a key": "hush-hush-key", "cut short": own[:len(own)/2], "one letter short": own[:len(own)-1], "no JSON": "eJwrzy_KSQEABiACHQ__", "not base64": "!" + own,
	} {
		if c, err := FixedSig(sig).Claims(); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: got %+v, %v", name, c, err)
		}
	}
}

func FuzzClaims(f *testing.F) {
	sig, err := NewKeySigner(1, "a", "k", time.Hour).UserSig()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sig)
	f.Add("eJw_")
	f.Fuzz(func(t *testing.T, sig string) {
		if c, err := FixedSig(sig).Claims(); err != nil && err != errNoUserSig || err == nil && c.Signed.IsZero() {
			t.Errorf("got %+v, %v", c, err)
		}
	})
}

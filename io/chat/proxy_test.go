package chat

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// A proxy that does not connect is named, with its status; one that does not let us
// in stops the run, since another try would get the same.
func TestProxyRefuses(t *testing.T) {
	for status, verdict := range map[int]Verdict{407: StopRun, 403: StopRun, 502: Retry, 503: Retry, 429: Slow} {
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.RequestURI, "usersig") || r.Method != http.MethodConnect {
				t.Errorf("the proxy was asked for %s %s", r.Method, r.RequestURI)
			}
			w.WriteHeader(status)
		}))
		defer proxy.Close()
		u, err := url.Parse(strings.Replace(proxy.URL, "http://", "http://user:proxy-password@", 1))
		if err != nil {
			t.Fatal(err)
		}
		c := inProcess(nil)
		c.HTTP = NewHTTPClient(1)
		c.HTTP.Transport.(*http.Transport).Proxy = http.ProxyURL(u)
		err = ping(t.Context(), c)
		te, ok := errors.AsType[*TransportError](err)
		if !ok || te.Reason != ReasonStatus || te.Status != status || Judge(err).Verdict != verdict {
			t.Errorf("%d: got %v, verdict %v, want %v", status, err, Judge(err).Verdict, verdict)
		}
		if text := err.Error(); !strings.Contains(text, "the proxy "+u.Host) || strings.Contains(text, "proxy-password") {
			t.Errorf("got %s", text)
		}
		checkNoSecrets(t, err)
	}
}

// What a terminal would obey does not come out of an answer.
func TestErrorsArePlain(t *testing.T) {
	c := answering(`{"ErrorCode":10004,"ErrorInfo":"a\u001b[2Jb\r\nc\u202ed\u0007","RequestId":"e\u001b]0;f"}`)
	want := "get_members: code 10004: a [2Jb  c d  (request e ]0;f)"
	if err := ping(t.Context(), c); err == nil || err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

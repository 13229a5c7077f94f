package chatsim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func TestBodyTooLarge(t *testing.T) {
	for way, start := range ways(t, class(Scenario{})) {
		t.Run(way, func(t *testing.T) {
			s, c := start(t)
			body := `{"GroupId":"class","Timestamp":0}` + strings.Repeat(" ", maxBody)
			if r := c.post(commandGetMembers, body); r.status != 413 {
				t.Errorf("got %d %v, want 413", r.status, r.err)
			}
			if n := s.Counts(); n.Calls != 1 {
				t.Errorf("got %d calls, want 1", n.Calls)
			}
		})
	}
}

func TestBrokenRequestBody(t *testing.T) {
	s := newSim(t, class(Scenario{}))
	broken := errors.New("broken")
	newRequest := func() *http.Request {
		return httptest.NewRequest("POST", "/v4/group_open_avchatroom_http_svc/get_members?"+newCaller(t, s).query.Encode(), iotest.ErrReader(broken))
	}
	if _, err := s.RoundTrip(newRequest()); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, newRequest())
	if w.Body.Len() != 0 {
		t.Errorf("got %q, want nothing", w.Body)
	}
}

// closing notes that a body was closed.
type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

func TestRoundTripKeepsTheContract(t *testing.T) {
	s := newSim(t, class(Scenario{}))
	c := newCaller(t, s)
	body := &closing{Reader: strings.NewReader(`{"GroupId":"class","Timestamp":0}`)}
	r := httptest.NewRequest("POST", c.base+"/v4/group_open_avchatroom_http_svc/get_members?"+c.query.Encode(), body)
	var events []string
	r = r.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { events = append(events, "wrote") },
		GotFirstResponseByte: func() { events = append(events, "first byte") },
	}))
	resp, err := s.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	if !body.closed || resp.Request != r || resp.ContentLength != int64(len(text)) || resp.Status != "200 OK" {
		t.Errorf("closed %v, %v %d %s", body.closed, resp.Request == r, resp.ContentLength, resp.Status)
	}
	if got := strings.Join(events, ", "); got != "wrote, first byte" {
		t.Errorf("got events %s", got)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	body.closed = false
	if _, err := s.RoundTrip(r.WithContext(ctx)); !errors.Is(err, context.Canceled) || !body.closed {
		t.Errorf("got %v, closed %v; want %v and a closed body", err, body.closed, context.Canceled)
	}
	if n := s.Counts(); n.Calls != 1 {
		t.Errorf("got %d calls, want 1: the other never left", n.Calls)
	}
}

// A virtual minute at 200 calls a second passes in a moment, and a client on
// the beat is never refused.
func TestOneMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, Scenario{Open: true, Latency: 30 * time.Millisecond})
		c := newCaller(t, s)
		began := time.Now()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for range 200 * 60 / 50 { // in bursts of 50, a quarter of a second apart
			for range 50 {
				<-tick.C
			}
			done := make(chan reply)
			for range 50 {
				go func() { done <- c.members("g", 0, 0) }()
			}
			for range 50 {
				if r := <-done; r.code() != 0 {
					t.Fatalf("got code %d %v", r.code(), r.err)
				}
			}
		}
		n := s.Counts()
		if got := time.Since(began); n.Calls != 12_000 || n.MaxInOneSecond != 200 || got < time.Minute {
			t.Errorf("got %d calls in %v, at most %d in a second", n.Calls, got, n.MaxInOneSecond)
		}
	})
}

// BenchmarkModify is the whole way of a call with 500 accounts, in process.
func BenchmarkModify(b *testing.B) {
	body := []byte(modifyBody("@TGS#a6I4ZUUGO", 1, 1000, numbered("student000", 500)...))
	for name, sc := range map[string]Scenario{
		"open":   {Open: true, QPS: -1, OfflineRate: 0.02},
		"kept":   {Open: true, QPS: -1, KeepState: true},
		"signed": {Open: true, QPS: -1, SDKAppID: testApp, SecretKey: testKey},
	} {
		b.Run(name, func(b *testing.B) {
			s := newSim(b, sc)
			c := newCaller(b, s).with("usersig", sig(b, testApp, testKey, "administrator", time.Hour))
			r := httptest.NewRequest("POST", c.base+"/v4/group_open_avchatroom_http_svc/modify_user_info?"+c.query.Encode(), nil)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r := r.Clone(b.Context())
					r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
					resp, err := s.RoundTrip(r)
					if err != nil || resp.ContentLength < 10_000 {
						b.Error(resp, err)
					}
				}
			})
		})
	}
}

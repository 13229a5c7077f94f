package chat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Secrets of the tests. The signature has the letters that are escaped in a
// URL, and the key is never sent, so it must appear nowhere at all.
const (
	testKey = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"
	testSig = "eJyrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBw*xZbypXM_Yq-5w38-KDQkGuUGF2YmKl"
)

const okBody = `{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":""}`

// roundTripper is a server in the process.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answering returns a client whose server gives the same body to each call.
func answering(body string) *Client {
	return inProcess(func(r *http.Request) (*http.Response, error) { return response(200, body), nil })
}

func inProcess(f roundTripper) *Client {
	return &Client{
		Endpoint: "https://console.tim.qq.com", SDKAppID: 1400000001, Identifier: "administrator",
		Signer: FixedSig(testSig), HTTP: &http.Client{Transport: f},
	}
}

func response(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

// serve returns a client of a server on loopback.
func serve(t *testing.T, h http.HandlerFunc) (*Client, *httptest.Server) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c := inProcess(nil)
	c.Endpoint, c.HTTP, c.Timeout = srv.URL, NewHTTPClient(8), time.Minute
	t.Cleanup(c.HTTP.CloseIdleConnections)
	return c, srv
}

// ping makes a call and returns its error.
func ping(ctx context.Context, c *Client) error {
	_, err := c.OnlineMembers(ctx, "@TGS#a6I4ZUUGO", 0, 0)
	return err
}

// checkNoSecrets looks for the signature, the key and the URL in every form
// that err, and each error below it, may be printed in.
func checkNoSecrets(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	checkClean(t, err)
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		checkNoSecrets(t, u.Unwrap())
	case interface{ Unwrap() []error }:
		for _, e := range u.Unwrap() {
			checkNoSecrets(t, e)
		}
	}
}

func checkClean(t *testing.T, v any) {
	t.Helper()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		text := fmt.Sprintf(verb, v)
		for _, secret := range []string{testSig, url.QueryEscape(testSig), testSig[:24], testSig[len(testSig)-24:], testKey, "usersig=", "contenttype", fmt.Sprintf("%x", testSig)} {
			if strings.Contains(text, secret) {
				t.Errorf("%s of %T holds %q: %s", verb, v, secret, text)
			}
		}
	}
}

func TestRequest(t *testing.T) {
	var got *http.Request
	c := inProcess(func(r *http.Request) (*http.Response, error) {
		got = r
		return response(200, okBody), nil
	})
	c.Identifier = "a&b#c d?e=管理員@x+y%41"
	if err := ping(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if got.Method != "POST" || got.URL.Scheme != "https" || got.URL.Host != "console.tim.qq.com" ||
		got.URL.Path != "/v4/group_open_avchatroom_http_svc/get_members" || got.URL.Fragment != "" {
		t.Errorf("got %s %s://%s%s#%s", got.Method, got.URL.Scheme, got.URL.Host, got.URL.Path, got.URL.Fragment)
	}
	q, err := url.ParseQuery(got.URL.RawQuery)
	if err != nil {
		t.Fatal(err)
	}
	q.Del("random")
	want := url.Values{"sdkappid": {"1400000001"}, "identifier": {c.Identifier}, "usersig": {testSig}, "contenttype": {"json"}}
	if diff := cmp.Diff(want, q); diff != "" {
		t.Errorf("query (-want +got):\n%s", diff)
	}
	if ct := got.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("got Content-Type %q, want application/json", ct)
	}
}

func TestRandomIsNewAndCoversUint32(t *testing.T) {
	seen := map[uint64]bool{}
	c := inProcess(func(r *http.Request) (*http.Response, error) {
		n, err := strconv.ParseUint(r.URL.Query().Get("random"), 10, 32)
		if err != nil {
			t.Error(err)
		}
		seen[n] = true
		return response(200, okBody), nil
	})
	for range 2000 {
		if err := ping(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	var low, high int
	for n := range seen {
		if n >= 1<<31 {
			high++
		} else {
			low++
		}
	}
	// 2000 draws of 2^32 repeat one with odds of 1 to 2000, five never.
	if len(seen) < 1995 || low < 800 || high < 800 {
		t.Errorf("got %d different values, %d below 2^31, %d from there on; want about 2000, 1000, 1000", len(seen), low, high)
	}
}

func TestSignerIsAskedEachCall(t *testing.T) {
	n := 0
	var sent []string
	c := inProcess(func(r *http.Request) (*http.Response, error) {
		sent = append(sent, r.URL.Query().Get("usersig"))
		return response(200, okBody), nil
	})
	c.Signer = signerFunc(func() (string, error) { n++; return "sig" + strconv.Itoa(n), nil })
	for range 3 {
		if err := ping(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"sig1", "sig2", "sig3"}, sent); diff != "" {
		t.Errorf("usersig (-want +got):\n%s", diff)
	}
	broken := errors.New("no key")
	c.Signer = signerFunc(func() (string, error) { return "", broken })
	if err := ping(t.Context(), c); !errors.Is(err, broken) || len(sent) != 3 {
		t.Errorf("got error %v after %d requests, want %v after 3", err, len(sent), broken)
	}
	if v := Judge(fmt.Errorf("x: %w", broken)).Verdict; v != StopRun {
		t.Errorf("got verdict %v, want %v", v, StopRun)
	}
}

type signerFunc func() (string, error)

func (f signerFunc) UserSig() (string, error) { return f() }

// Each answer is what the server may say with status 200.
func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		code       Code // of an *Error
		reason     string
	}{
		{name: "ok", body: okBody},
		{name: "ok by any name", body: `{"Action1Status":"OK","ErrorCode":0}`},
		{name: "ok without status", body: `{"ErrorCode":0}`},
		{name: "ok, null info", body: `{"ErrorCode":0,"ErrorInfo":null,"MemberList":null}`},
		{name: "ok, blanks around", body: "\r\n\t " + okBody + "\n"},
		{name: "ok, unknown fields", body: `{"ErrorCode":0,"New":{"a":[1,2]},"MemberList":[]}`},
		{name: "refused", body: `{"ActionStatus":"FAIL","ErrorCode":10010,"ErrorInfo":"no such group"}`, code: 10010},
		{name: "refused, but OK", body: `{"ActionStatus":"OK","ErrorCode":10010}`, code: 10010},
		{name: "refused, odd fields", body: `{"ErrorCode":10004,"MemberList":{"a":1},"NextTimestamp":"x"}`, code: 10004},
		{name: "refused, odd fields first", body: `{"MemberList":"none","ErrorCode":10004}`, code: 10004},
		{name: "negative code", body: `{"ErrorCode":-10102}`, code: -10102},
		{name: "FAIL with 0", body: `{"ActionStatus":"FAIL","ErrorCode":0,"ErrorInfo":"?"}`, code: 0, reason: "an *Error"},
		{name: "empty", body: "", reason: ReasonNotJSON},
		{name: "blank", body: " \n", reason: ReasonNotJSON},
		{name: "html", body: "<html><head><title>login</title></head></html>", reason: ReasonNotJSON},
		{name: "garbage", body: "\x00\xff\x1f\x8b{}", reason: ReasonNotJSON},
		{name: "cut", body: `{"ActionStatus":"OK","ErrorCode":0,"Membe`, reason: ReasonNotJSON},
		{name: "two", body: okBody + okBody, reason: ReasonNotJSON},
		{name: "null", body: "null", reason: ReasonNotJSON},
		{name: "array", body: "[" + okBody + "]", reason: ReasonNotJSON},
		{name: "string", body: `"OK"`, reason: ReasonNotJSON},
		{name: "no code", body: `{"ActionStatus":"OK"}`, reason: ReasonNotJSON},
		{name: "null code", body: `{"ErrorCode":null}`, reason: ReasonNotJSON},
		{name: "text code", body: `{"ErrorCode":"0"}`, reason: ReasonNotJSON},
		{name: "broken code", body: `{"ErrorCode":0.5}`, reason: ReasonNotJSON},
		{name: "huge code", body: `{"ErrorCode":99999999999999999999}`, reason: ReasonNotJSON},
		{name: "ok, cursor of another type", body: `{"ErrorCode":0,"NextTimestamp":{}}`, reason: ReasonNotJSON},
		{name: "ok, list first", body: `{"MemberList":[{"Member_Account":"a"}],"ErrorCode":0}`},
		{name: "refused, list of nothing first", body: `{"MemberList":[{}],"NextTimestamp":[],"ErrorCode":10004}`, code: 10004},
		{name: "ok, a member of nothing", body: `{"ErrorCode":0,"MemberList":[{}]}`},
		{name: "ok, list of nothing", body: `{"ErrorCode":0,"MemberList":[null]}`, reason: ReasonNotJSON},
		{name: "cut in the list", body: `{"ErrorCode":0,"MemberList":[{"Member_Account":"a"}`, reason: ReasonNotJSON},
		{name: "refused, but cut in the list", body: `{"ErrorCode":10004,"MemberList":[{"Member_Acc`, reason: ReasonNotJSON},
		{name: "list behind the object", body: okBody + `,"MemberList":[]`, reason: ReasonNotJSON},
		{name: "ok, list of another type", body: `{"ErrorCode":0,"MemberList":{"a":1}}`, reason: ReasonNotJSON},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := ping(t.Context(), answering(tt.body))
			te, isTransport := errors.AsType[*TransportError](err)
			e, isError := errors.AsType[*Error](err)
			switch {
			case tt.reason == "" && tt.code == 0:
				if err != nil {
					t.Errorf("got error %v, want none", err)
				}
			case tt.reason == ReasonNotJSON:
				if !isTransport || te.Reason != ReasonNotJSON || te.Status != 200 || te.Command != "get_members" {
					t.Errorf("got error %#v, want a TransportError not_json", err)
				}
			case !isError || e.Code != tt.code || e.Command != "get_members" || CodeOf(err) != tt.code:
				t.Errorf("got error %#v, want an Error with code %d", err, tt.code)
			}
		})
	}
}

func TestNumbersAreExact(t *testing.T) {
	const big = 1<<63 - 1
	c := answering(fmt.Sprintf(`{"ErrorCode":0,"MemberList":[{"Member_Account":"a","JoinTime":%d,"Marks":[%d,18446744073709551615]}],"NextTimestamp":%d}`, big-2, big-4, big-6))
	page, err := c.OnlineMembers(t.Context(), "g", 0, 9007199254740993)
	if err != nil {
		t.Fatal(err)
	}
	if page.Next != big-6 || string(page.Members[0].Fields[0].Value) != fmt.Sprint(big-2) {
		t.Errorf("got next %d, member %s", page.Next, page.Members[0])
	}
	got, err := c.ModifyMarks(t.Context(), "g", SetMarks, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Mark{big - 4, 1<<64 - 1}, got[0].Marks); diff != "" {
		t.Errorf("marks (-want +got):\n%s", diff)
	}
}

func TestCheck(t *testing.T) {
	good := func() *Client { return answering("") }
	for _, tt := range []struct {
		name   string
		change func(c *Client)
		want   string // part of the error, "" = none
	}{
		{"good", func(c *Client) {}, ""},
		{"port", func(c *Client) { c.Endpoint = "https://example.com:8443" }, ""},
		{"localhost", func(c *Client) { c.Endpoint = "http://localhost:8410" }, ""},
		{"loopback 4", func(c *Client) { c.Endpoint = "http://127.8.0.1:8410" }, ""},
		{"loopback 6", func(c *Client) { c.Endpoint = "http://[::1]:8410" }, ""},
		{"longer than the server", func(c *Client) { c.Timeout = 3*time.Second + 1 }, ""},
		{"plain http", func(c *Client) { c.Endpoint = "http://console.tim.qq.com" }, "plain http to console.tim.qq.com"},
		{"plain http, looks local", func(c *Client) { c.Endpoint = "http://localhost.example.com" }, "plain http"},
		{"plain http, any address", func(c *Client) { c.Endpoint = "http://0.0.0.0:80" }, "plain http"},
		{"path", func(c *Client) { c.Endpoint = "https://example.com/v4" }, "has a path"},
		{"slash", func(c *Client) { c.Endpoint = "https://example.com/" }, "has a path"},
		{"query", func(c *Client) { c.Endpoint = "https://example.com?usersig=" + testSig }, "more than scheme and host"},
		{"password", func(c *Client) { c.Endpoint = "https://u:" + testKey + "@example.com" }, "more than scheme and host"},
		{"bad password", func(c *Client) { c.Endpoint = "https://u:%zz" + testKey + "@example.com" }, "no URL"},
		{"no scheme", func(c *Client) { c.Endpoint = "console.tim.qq.com" }, "https"},
		{"other scheme", func(c *Client) { c.Endpoint = "ftp://console.tim.qq.com" }, `scheme "ftp"`},
		{"no host", func(c *Client) { c.Endpoint = "https://" }, "no host"},
		{"empty", func(c *Client) { c.Endpoint = "" }, "no host"},
		{"control", func(c *Client) { c.Endpoint = "https://exa\x00mple.com" }, "no URL"},
		{"sdkappid 0", func(c *Client) { c.SDKAppID = 0 }, "sdkappid"},
		{"sdkappid below 0", func(c *Client) { c.SDKAppID = -1 }, "sdkappid"},
		{"no identifier", func(c *Client) { c.Identifier = "" }, "identifier"},
		{"long identifier", func(c *Client) { c.Identifier = strings.Repeat("x", 33) }, "33 bytes"},
		{"no signer", func(c *Client) { c.Signer = nil }, "signer"},
		{"no http", func(c *Client) { c.HTTP = nil }, "HTTP client"},
		{"time-out of the server", func(c *Client) { c.Timeout = 3 * time.Second }, "timeout 3s"},
		{"negative time-out", func(c *Client) { c.Timeout = -1 }, "timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			tt.change(c)
			err := c.Check()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
			checkNoSecrets(t, err)
		})
	}
}

// FuzzDecode: any bytes are an answer, a refusal or no answer, and none of
// them shows the signature.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{okBody, "", "null", "[]", `{"ErrorCode":10002}`, `{"ErrorCode":0,"MemberList":[{"Marks":[1]}]}`,
		`{"ErrorCode":60002,"ErrorInfo":"` + testSig + `"}`, "<html>usersig=" + testSig, `{"errorcode":0,"ErrorCode":1e2}`,
		`{"ErrorCode":0,"MemberList":[{"Member_Account":"a","` + testSig + `":x}]}`, `{"ErrorCode":0,"GroupInfo":[{"GroupId":"a","ErrorCode":1}],"Next":"1"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		marks, err := decode[marksAnswer]("modify_user_info", body, testSig)
		checkDecoded(t, body, marks != nil, err)
		online, err := decode[onlineAnswer]("get_members", body, testSig)
		checkDecoded(t, body, online != nil, err)
		info, err := decode[groupInfoAnswer]("get_group_info", body, testSig)
		checkDecoded(t, body, info != nil, err)
		list, err := decode[groupListAnswer]("get_appid_group_list", body, testSig)
		checkDecoded(t, body, list != nil, err)
	})
}

func checkDecoded(t *testing.T, body []byte, value bool, err error) {
	t.Helper()
	if value == (err != nil) {
		t.Fatalf("%q: got value %v and error %v", body, value, err)
	}
	if value && !json.Valid(body) {
		t.Errorf("%q: accepted, but no JSON", body)
	}
	if err == nil {
		return
	}
	if !is[*Error](err) && !is[*TransportError](err) {
		t.Errorf("%q: got error %T", body, err)
	}
	if v := Judge(err); v.Verdict == Accepted || v.Meaning == "" {
		t.Errorf("%q: got ruling %+v", body, v)
	}
	if strings.Contains(err.Error(), testSig) {
		t.Errorf("%q: error holds the signature: %v", body, err)
	}
}

func ExampleClient() {
	c := &Client{
		Endpoint:   "https://console.tim.qq.com",
		SDKAppID:   1400000001,
		Identifier: "administrator",
		Signer:     NewKeySigner(1400000001, "administrator", testKey, 24*time.Hour),
		HTTP:       NewHTTPClient(16),
	}
	// In place of the server: student9 is offline and left out of the answer.
	c.HTTP.Transport = roundTripper(func(*http.Request) (*http.Response, error) {
		return response(200, `{"ActionStatus":"OK","ErrorCode":0,"MemberList":[{"Member_Account":"teacher10","Marks":[1000]}]}`), nil
	})
	if err := c.Check(); err != nil {
		fmt.Println(err)
		return
	}
	marked, err := c.ModifyMarks(context.Background(), "@TGS#a6I4ZUUGO", SetMarks, []MemberMarks{
		{Account: "teacher10", Marks: []Mark{1000}},
		{Account: "student9", Marks: []Mark{1001}},
	})
	fmt.Println(marked, Judge(err).Verdict)
	// Output: [{teacher10 [1000]}] accepted
}

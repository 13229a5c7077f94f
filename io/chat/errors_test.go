package chat

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
)

func TestErrorsDoNotQuoteSecrets(t *testing.T) {
	escaped := url.QueryEscape(testSig)
	for _, info := range []string{
		testSig, "bad signature " + testSig + ", try again", escaped, strings.ReplaceAll(escaped, "%2A", "%2a"), "%65" + testSig[1:] + "%", testSig[:30] + "...", "usersig=" + testSig[:5] + "&x=1",
		"POST https://console.tim.qq.com/v4/x?sdkappid=1&usersig=" + escaped + "&random=1&contenttype=json failed", testSig + testSig, "x usersig%3D" + escaped,
	} {
		body := fmt.Sprintf(`{"ActionStatus":"FAIL","ErrorCode":70003,"ErrorInfo":%q,"RequestId":%q}`, info, info)
		err := ping(t.Context(), answering(body))
		if CodeOf(err) != 70003 || !strings.Contains(err.Error(), redacted) {
			t.Errorf("%q: got error %v", info, err)
		}
		checkNoSecrets(t, err)
	}
	err := ping(t.Context(), answering(`{"ErrorCode":10004,"ErrorInfo":"usersig expired; eJyr is short"}`))
	if e, _ := errors.AsType[*Error](err); e == nil || e.Info != "usersig expired; eJyr is short" {
		t.Errorf("got error %v: harmless text was cut", err)
	}
}

func TestErrorText(t *testing.T) {
	long := strings.Repeat("群", 1000)
	for _, tt := range []struct{ body, want string }{
		{`{"ErrorCode":10010,"ErrorInfo":"gone","RequestId":"ID-1"}`, "get_members: code 10010: gone (request ID-1)"},
		{`{"ErrorCode":10010}`, "get_members: code 10010: the group does not exist or was disbanded"},
		{`{"ErrorCode":4711}`, "get_members: code 4711: unknown error"},
		{`{"ErrorCode":10010,"ErrorInfo":"` + long + `"}`, "get_members: code 10010: " + strings.Repeat("群", 340) + "…"},
		{"<html>\n <b>no</b></html>", `get_members: not_json: no JSON object: "<html> <b>no</b></html>"`},
	} {
		if err := ping(t.Context(), answering(tt.body)); err.Error() != tt.want {
			t.Errorf("got %q, want %q", err, tt.want)
		}
	}
	for _, tt := range []struct {
		err  TransportError
		want string
	}{
		{TransportError{Command: "c", Reason: ReasonTimeout}, "c: timeout"},
		{TransportError{Command: "c", Reason: ReasonStatus, Status: 502}, "c: status 502"},
		{TransportError{Command: "c", Reason: ReasonEOF, Status: 200, Err: io.ErrUnexpectedEOF}, "c: eof: unexpected EOF"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

package chatsim

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// caller is a client of the raw API: nothing of it is shared with package
// chat, so that the tests judge by the documentation only.
type caller struct {
	t     testing.TB
	rt    http.RoundTripper
	base  string
	path  string // instead of that of the command
	query url.Values
}

func newCaller(t testing.TB, rt http.RoundTripper) *caller {
	return &caller{t: t, rt: rt, base: "https://chat.example.com", query: url.Values{
		"sdkappid": {"1400000000"}, "identifier": {"administrator"}, "usersig": {"sig"},
		"random": {"4294967295"}, "contenttype": {"json"},
	}}
}

// with is a caller with another value of the query; "" takes it out.
func (c *caller) with(key, value string) *caller {
	n := *c
	n.query = maps.Clone(c.query)
	n.query.Set(key, value)
	if value == "" {
		n.query.Del(key)
	}
	return &n
}

// reply is an answer as far as it could be read.
type reply struct {
	err    error // of the transport, or of the body
	status int
	header http.Header
	text   string
	head
}

type head struct {
	ActionStatus  string
	Action1Status string
	ErrorCode     *int
	ErrorInfo     string
	RequestId     string
	CommandType   int
	MemberList    []struct {
		Member_Account string
		Marks          []uint64
		JoinTime       int64
		NickName       string
	}
	NextTimestamp *int64
}

func (r reply) code() int {
	if r.ErrorCode == nil {
		return NoCode
	}
	return *r.ErrorCode
}

// marks is the MemberList as a map.
func (r reply) marks() map[string][]uint64 {
	m := map[string][]uint64{}
	for _, e := range r.MemberList {
		m[e.Member_Account] = e.Marks
	}
	return m
}

func (r reply) accounts() []string {
	var a []string
	for _, e := range r.MemberList {
		a = append(a, e.Member_Account)
	}
	return a
}

func (c *caller) post(command, body string) reply {
	c.t.Helper()
	path := c.path
	if path == "" {
		path = pathOf(command)
	}
	r, err := http.NewRequestWithContext(c.t.Context(), "POST", c.base+path+"?"+c.query.Encode(), strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	return c.do(r)
}

// pathOf is the path of a command as its page prints it.
func pathOf(command string) string {
	switch command {
	case "get_group_member_info", "set_unread_msg_num", "get_group_info", "get_appid_group_list":
		return "/v4/group_open_http_svc/" + command
	}
	return "/v4/group_open_avchatroom_http_svc/" + command
}

func (c *caller) do(r *http.Request) reply {
	resp, err := c.rt.RoundTrip(r)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	out := reply{err: err, status: resp.StatusCode, header: resp.Header, text: string(text)}
	if err == nil {
		out.err = json.Unmarshal(text, &out.head)
	}
	return out
}

// set sets one mark for all accounts, del deletes it.
func (c *caller) set(group string, mark uint64, accounts ...string) reply {
	c.t.Helper()
	return c.post(commandModifyUserInfo, modifyBody(group, 1, mark, accounts...))
}

func (c *caller) del(group string, mark uint64, accounts ...string) reply {
	c.t.Helper()
	return c.post(commandModifyUserInfo, modifyBody(group, 2, mark, accounts...))
}

func (c *caller) members(group string, mark uint64, timestamp int64) reply {
	c.t.Helper()
	return c.post(commandGetMembers, fmt.Sprintf(`{"GroupId":%q,"Mark":%d,"Timestamp":%d}`, group, mark, timestamp))
}

func modifyBody(group string, commandType int, mark uint64, accounts ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"GroupId":%q,"CommandType":%d,"MemberList":[`, group, commandType)
	for i, a := range accounts {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"Member_Account":%q,"Marks":[%d]}`, a, mark)
	}
	b.WriteString("]}")
	return b.String()
}

// numbered makes prefix1 … prefixN.
func numbered(prefix string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(prefix, i+1)
	}
	return list
}

func newSim(t testing.TB, sc Scenario) *Sim {
	t.Helper()
	s, err := New(sc)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// class is a scenario with the group "class" of s1 … s20, s3 offline.
func class(sc Scenario) Scenario {
	sc.Groups = append(slices.Clone(sc.Groups), Group{
		ID:       "class",
		Members:  []Member{{Account: "s3", Offline: true}},
		Generate: Generate{Prefix: "s", Count: 20},
	})
	return sc
}

func wantCode(t *testing.T, r reply, want int) {
	t.Helper()
	if r.err != nil {
		t.Fatalf("got error %v, want code %d", r.err, want)
	}
	status := "OK"
	if want != 0 {
		status = "FAIL"
	}
	if r.status != 200 || r.code() != want || r.ActionStatus != status {
		t.Fatalf("got status %d, %s %d %q, want 200, %s %d", r.status, r.ActionStatus, r.code(), r.ErrorInfo, status, want)
	}
}

func testdata(t testing.TB, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{"..", "..", "..", "testdata"}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

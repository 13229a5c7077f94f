package chat

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sent returns the body of the request that call makes.
func sent(t *testing.T, call func(context.Context, *Client) error) string {
	t.Helper()
	var body []byte
	c := inProcess(func(r *http.Request) (*http.Response, error) {
		body, _ = io.ReadAll(r.Body)
		return response(200, okBody), nil
	})
	if err := call(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// What is sent and what is not, down to the difference of nil and empty.
func TestRequestsOfGroups(t *testing.T) {
	members := func(q MembersQuery) func(context.Context, *Client) error {
		return func(ctx context.Context, c *Client) error { _, err := c.GroupMembers(ctx, q); return err }
	}
	info := func(ids []string) func(context.Context, *Client) error {
		return func(ctx context.Context, c *Client) error { _, err := c.GroupInfo(ctx, ids); return err }
	}
	for _, tt := range []struct {
		name string
		call func(context.Context, *Client) error
		want string
	}{
		{"offset", members(MembersQuery{Group: "g", Limit: 50, Offset: 150, Next: "x"}), `{"GroupId":"g","Limit":50,"Offset":150}`},
		{"cursor", members(MembersQuery{Group: "g", ByCursor: true, Offset: 150, Next: "x"}), `{"GroupId":"g","Next":"x"}`},
		{"empty lists", members(MembersQuery{Group: "g", Fields: []string{}, Roles: []string{}, Custom: []string{}}),
			`{"GroupId":"g","MemberInfoFilter":[],"MemberRoleFilter":[],"AppDefinedDataFilter_GroupMember":[],"Offset":0}`},
		{"no groups", info(nil), `{"GroupIdList":[],"ResponseFilter":{"GroupBaseInfoFilter":["Type","MemberNum"]}}`},
		{"most groups of all", func(ctx context.Context, c *Client) error {
			_, err := c.GroupList(ctx, "", 0, math.MaxUint64)
			return err
		}, `{"Next":18446744073709551615}`},
		{"nothing unread", func(ctx context.Context, c *Client) error { return c.SetUnread(ctx, "g", "a", 0) },
			`{"GroupId":"g","Member_Account":"a","UnreadMsgNum":0}`},
		{"most unread", func(ctx context.Context, c *Client) error { return c.SetUnread(ctx, "g", "00123", math.MaxUint32) },
			`{"GroupId":"g","Member_Account":"00123","UnreadMsgNum":4294967295}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := sent(t, tt.call); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// notJSON says that err makes the answer unusable.
func notJSON(err error) bool {
	te, ok := errors.AsType[*TransportError](err)
	return ok && te.Reason == ReasonNotJSON && te.Status == 200
}

func TestGroupInfoAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, list string
		want       []GroupInfo // nil: the answer is unusable
	}{
		{"null fields", `[{"GroupId":"a","Type":null,"MemberNum":null,"ErrorCode":null,"ErrorInfo":null}]`, []GroupInfo{{"a", "", -1, nil}}},
		{"number as text", `[{"GroupId":"a","Type":"New","MemberNum":"3"}]`, []GroupInfo{{"a", "New", 3, nil}}},
		{"signature in the text", `[{"GroupId":"a","ErrorCode":10002,"ErrorInfo":"x ` + testSig + `"}]`,
			[]GroupInfo{{"a", "", -1, &Error{"get_group_info", 10002, "x " + redacted, "ID-1"}}}},
		{"no id", `[{"Type":"Public"}]`, nil},
		{"no object", `["a"]`, nil},
		{"no list", `{"a":1}`, nil},
		{"text for a number", `[{"GroupId":"a","MemberNum":"many"}]`, []GroupInfo{{"a", "", -1, nil}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := answering(`{"ErrorCode":0,"RequestId":"ID-1","GroupInfo":`+tt.list+`}`).GroupInfo(t.Context(), []string{"a"})
			if diff := cmp.Diff(tt.want, got); diff != "" || notJSON(err) != (tt.want == nil) {
				t.Errorf("error %v, groups (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestGroupListAnswers(t *testing.T) {
	const some = `"GroupIdList":[{"GroupId":"a","New":1}]`
	for _, tt := range []struct {
		name, fields string
		want         *GroupListPage // nil: the answer is unusable
	}{
		{"nothing", `"GroupIdList":[]`, &GroupListPage{nil, -1, 0}},
		{"null", `"GroupIdList":null,"TotalCount":null,"Next":null`, &GroupListPage{nil, -1, 0}},
		{"largest", some + `,"TotalCount":9223372036854775807,"Next":18446744073709551615`, &GroupListPage{[]string{"a"}, math.MaxInt64, math.MaxUint64}},
		{"as text", some + `,"TotalCount":"1","Next":"18446744073709551615"`, &GroupListPage{[]string{"a"}, 1, math.MaxUint64}},
		{"too large", some + `,"Next":18446744073709551616`, nil},
		{"negative", some + `,"Next":-1`, nil},
		{"fraction", some + `,"Next":1.5`, nil},
		{"exponent", some + `,"Next":1e3`, nil},
		{"number of groups too large", some + `,"TotalCount":9223372036854775808`, &GroupListPage{[]string{"a"}, -1, 0}},
		{"number of groups below 0", some + `,"TotalCount":-1`, &GroupListPage{[]string{"a"}, -1, 0}},
		{"no id", `"GroupIdList":[{"GroupId":""}]`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := answering(`{"ErrorCode":0,`+tt.fields+`}`).GroupList(t.Context(), "", 0, 0)
			if tt.want == nil {
				if !notJSON(err) {
					t.Errorf("got %+v, error %v; want none of it", got, err)
				}
				return
			}
			if diff := cmp.Diff(*tt.want, got); diff != "" || err != nil {
				t.Errorf("error %v, page (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestSetUnreadRefused(t *testing.T) {
	err := answering(`{"Action1Status":"FAIL","ErrorInfo":"no such account","ErrorCode":10019}`).SetUnread(t.Context(), "g", "a", 1)
	if r := Judge(err); CodeOf(err) != 10019 || r.Verdict != FailRow || r.Class != ClassAbsent || !strings.HasPrefix(err.Error(), "set_unread_msg_num: code 10019") {
		t.Errorf("got error %v, ruling %+v", err, r)
	}
}

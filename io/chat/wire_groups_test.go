package chat

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What the samples print of members, in their order.
const sampleCustom = `[
        {
          "Key": "MemberDefined1",
          "Value": "ModifyDefined1"
        },
        {
          "Key": "MemberDefined2",
          "Value": "ModifyDefined2"
        }
      ]`

const sampleCustom2 = `[
        {
          "Key": "MemberDefined2",
          "Value": "ModifyDefined2"
        }
      ]`

// sampleBob and samplePeter are the two members of most samples, with what
// differs between those.
func sampleBob(more ...string) Member {
	return member("bob", append([]string{"Role", `"Owner"`, "JoinTime", `1425976500`, "MsgSeq", `1233`, "MsgFlag", `"AcceptAndNotify"`,
		"LastSendMsgTime", `1425976500`, "MuteUntil", `1431069882`}, more...)...)
}

func samplePeter(role, mute string, more ...string) Member {
	return member("peter", append([]string{"Role", role, "JoinTime", `1425976500`, "MsgSeq", `1233`, "MsgFlag", `"AcceptAndNotify"`,
		"LastSendMsgTime", `1425976500`, "MuteUntil", mute}, more...)...)
}

func TestWireGroupMembers(t *testing.T) {
	const (
		group, custom, community = "@TGS#1NVTZEAE4", "@TGS#37AB3PAEC", "@TGS#_@TGS#cAVQXXXXXX"
		next                     = "144115265295492787"
		data                     = "AppMemberDefinedData"
	)
	fields := []string{"Role", "JoinTime", "MsgSeq", "MsgFlag", "LastSendMsgTime", "MuteUntil", "NameCard"}
	roles := []string{"Owner", "Member"}
	all := []Member{sampleBob(data, sampleCustom), samplePeter(`"Member"`, "0", data, sampleCustom)}
	basic := MembersPage{MemberNum: 2, Next: next, Members: []Member{all[0], samplePeter(`"Member "`, "0", data, sampleCustom)}}
	chosen := []Member{sampleBob(), samplePeter(`"Member "`, "0")}
	ofRole := func(account, role string) Member {
		return member(account, "JoinTime", `1450680436`, "LastSendMsgTime", `0`, "MsgFlag", `"AcceptNotNotify"`, "MsgSeq", `1`,
			"NameCard", `""`, "Role", role, "MuteUntil", `0`)
	}
	for _, tt := range []struct {
		name, request, answer string
		query                 MembersQuery
		want                  MembersPage
	}{
		{"basic", "request", "response", MembersQuery{Group: group}, basic},
		{"by offset", "offset.request", "response", MembersQuery{Group: group, Limit: 100}, basic},
		{"by cursor", "next.request", "response", MembersQuery{Group: community, Limit: 100, ByCursor: true, Offset: 7}, basic},
		{"by cursor, last", "next_page.request", "last.response", MembersQuery{Group: community, Limit: 100, ByCursor: true, Next: next}, MembersPage{all, 2, ""}},
		{"fields", "fields.request", "fields.response", MembersQuery{Group: group, Fields: fields}, MembersPage{chosen, 2, ""}},
		{"roles", "roles.request", "roles.response", MembersQuery{Group: custom, Roles: roles}, MembersPage{[]Member{ofRole("Test_1", `"Owner"`), ofRole("Test_6", `"Admin"`)}, 8, ""}},
		{"custom fields", "custom.request", "custom.response", MembersQuery{Group: custom, Custom: []string{"MemberDefined2"}},
			MembersPage{[]Member{sampleBob(data, sampleCustom2), samplePeter(`"Member"`, "0", data, sampleCustom2)}, 2, ""}},
		{"all in one", "all.request", "all.response", MembersQuery{Group: group, Fields: fields, Roles: roles, Custom: []string{"MemberDefined2", "MemberDefined1"}, Limit: 100, Next: "unused"}, MembersPage{all, 2, next}},
		{"extra fields", "request", "extra.response", MembersQuery{Group: group}, MembersPage{[]Member{
			sampleBob("OnlineStatus", `"Online"`), samplePeter(`"Member "`, "4294967295", "OnlineStatus", "{\n        \"Web\": true\n      }")}, 2, ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var besides []string
			if !tt.query.ByCursor {
				besides = []string{"Offset"} // the first page by any means; the samples print it only beside Limit
			}
			checkWire(t, "group_open_http_svc/get_group_member_info", "get_group_member_info."+tt.request, "get_group_member_info."+tt.answer,
				func(ctx context.Context, c *Client) (any, error) { return c.GroupMembers(ctx, tt.query) }, tt.want, besides...)
		})
	}
}

func TestWireSetUnread(t *testing.T) {
	for _, answer := range []string{"set_unread_msg_num.response", "set_unread_msg_num.status.response"} {
		t.Run(answer, func(t *testing.T) {
			checkWire(t, "group_open_http_svc/set_unread_msg_num", "set_unread_msg_num.request", answer,
				func(ctx context.Context, c *Client) (any, error) {
					return nil, c.SetUnread(ctx, "@TGS#2CLUZEAEJ", "bob", 5)
				}, nil)
		})
	}
}

func TestWireGroupInfo(t *testing.T) {
	refused := func(code Code, info string) *Error { return &Error{Command: "get_group_info", Code: code, Info: info} }
	for _, tt := range []struct {
		name, file string
		ids        []string
		want       []GroupInfo
	}{
		{"all there", "get_group_info", []string{"@TGS#1NVTZEAE4", "@TGS#_@TGS#cAVQXXXXXX"},
			[]GroupInfo{{"@TGS#1NVTZEAE4", "Public", 2, nil}, {"@TGS#_@TGS#cAVQXXXXXX", "Community", 100000, nil}}},
		{"partial", "get_group_info.partial", []string{"@TGS#1NVTZEAE4", "@TGS#a6I4ZUUGO", "gone", "@TGS#bad"},
			[]GroupInfo{{"@TGS#1NVTZEAE4", "Private", 2, nil}, {"@TGS#a6I4ZUUGO", "AVChatRoom", -1, nil},
				{"gone", "", -1, refused(10010, "The group does not exist or has been deleted.")},
				{"@TGS#bad", "", -1, refused(10015, "Invalid group ID. Use the correct group ID.")}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkWire(t, "group_open_http_svc/get_group_info", tt.file+".request", tt.file+".response",
				func(ctx context.Context, c *Client) (any, error) { return c.GroupInfo(ctx, tt.ids) }, tt.want)
		})
	}
}

func TestWireGroupList(t *testing.T) {
	first := GroupListPage{[]string{"@TGS#1NVTZEAE4", "@TGS#37AB3PAEC"}, 3, 18014398509481985}
	last := GroupListPage{[]string{"@TGS#_@TGS#cAVQXXXXXX"}, 3, 0}
	for _, tt := range []struct {
		name, request, answer, groupType string
		next                             uint64
		want                             GroupListPage
	}{
		{"first", "request", "response", "", 0, first},
		{"of a type", "type.request", "response", "Public", 0, first},
		{"last", "next.request", "last.response", "", first.Next, last},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkWire(t, "group_open_http_svc/get_appid_group_list", "get_appid_group_list."+tt.request, "get_appid_group_list."+tt.answer,
				func(ctx context.Context, c *Client) (any, error) { return c.GroupList(ctx, tt.groupType, 2, tt.next) }, tt.want)
		})
	}
}

func TestWireTooLarge(t *testing.T) {
	_, err := answering(sample(t, "get_group_member_info.10018.response")).GroupMembers(t.Context(), MembersQuery{Group: "g"})
	want := &Error{Command: "get_group_member_info", Code: 10018,
		Info: "The response exceeds the maximum size allowed (1 MB) because the group member data volume is too large."}
	if diff := cmp.Diff(error(want), err); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	if r := Judge(err); r.Verdict != Split || r.Then != FailGroup {
		t.Errorf("got %v, then %v; want a split, then the group", r.Verdict, r.Then)
	}
}

package chat

import (
	"context"
	"encoding/json"
)

// CommandGroupMembers is the command of [Client.GroupMembers].
const CommandGroupMembers = "get_group_member_info"

// A MembersQuery asks for one page of the members of a group. The lists are
// sent as they are: nil is left out, and one that is empty but not nil is sent
// as an empty list.
type MembersQuery struct {
	Group    string
	Limit    int      // most members of the page; 0 leaves it to the server
	ByCursor bool     // for a Community: Next is sent, also when it is "", and Offset is not. For all others Offset is sent, and Next is not
	Offset   int      // members before the page
	Next     string   // "" for the first page, then [MembersPage.Next]
	Fields   []string // MemberInfoFilter, e.g. "Role"; nil: all
	Roles    []string // MemberRoleFilter: "Owner", "Admin", "Member"; nil: all
	Custom   []string // AppDefinedDataFilter_GroupMember, the keys of custom fields; nil: left out
}

// A MembersPage is one page of the members of a group.
type MembersPage struct {
	Members   []Member
	MemberNum int64  // of the group as a whole, whatever the query's filters; -1 if the server does not say
	Next      string // cursor of the next page of a Community; "" (also when the server leaves it out): this page is the last
}

type membersRequest struct {
	GroupID string   `json:"GroupId"`
	Fields  []string `json:"MemberInfoFilter,omitzero"`
	Roles   []string `json:"MemberRoleFilter,omitzero"`
	Custom  []string `json:"AppDefinedDataFilter_GroupMember,omitzero"`
	Limit   int      `json:",omitempty"`
	Offset  *int     `json:",omitempty"`
	Next    *string  `json:",omitempty"`
}

type membersAnswer struct {
	envelope
	memberList
	MemberNum json.RawMessage
	Next      json.RawMessage

	page MembersPage
}

func (a *membersAnswer) finish(string, string) (err error) {
	if err = a.read(); err != nil {
		return err
	}
	a.page.Members, a.page.MemberNum = a.members, count(a.MemberNum)
	a.page.Next, err = cursor("Next", a.Next)
	return err
}

// GroupMembers reads one page of the members of a group of any type but
// AVChatRoom (10007), which has [Client.OnlineMembers].
//
// A page may be shorter than its limit: the server lowers a limit that is too
// high for it without a word. So go on behind the members that came, by
// Offset until it has reached MemberNum or a page is empty, by Next until it
// is "". A page whose answer would be larger than 1 MB is refused with 10018:
// ask for fewer members at the same place. There is no snapshot: while members
// join and leave, one may come twice, or not at all.
//
// API: v4/group_open_http_svc/get_group_member_info
func (c *Client) GroupMembers(ctx context.Context, q MembersQuery) (MembersPage, error) {
	req := membersRequest{GroupID: q.Group, Fields: q.Fields, Roles: q.Roles, Custom: q.Custom, Limit: q.Limit}
	if q.ByCursor {
		req.Next = &q.Next
	} else {
		req.Offset = &q.Offset
	}
	a, err := call[membersAnswer](ctx, c, serviceGroup, CommandGroupMembers, req)
	if err != nil {
		return MembersPage{}, err
	}
	return a.page, nil
}

package chat

import (
	"context"
	"encoding/json"
	"errors"
)

// CommandGroupInfo is the command of [Client.GroupInfo].
const CommandGroupInfo = "get_group_info"

// CommandGroupList is the command of [Client.GroupList].
const CommandGroupList = "get_appid_group_list"

// MaxGroupInfo is how many groups one call of [Client.GroupInfo] may name by
// the documentation. The client does not enforce it.
const MaxGroupInfo = 50

// A GroupInfo is what the server says of one group.
type GroupInfo struct {
	ID        string
	Type      string // as sent: "Public", "Private", "ChatRoom", "AVChatRoom", "Community", or one that is new. "" where Err is set
	MemberNum int64  // -1 if the server does not say: it does not for an AVChatRoom
	Err       *Error // why the server says nothing of this group, e.g. 10010; nil if it does
}

type groupInfoRequest struct {
	GroupIDList    []string `json:"GroupIdList"`
	ResponseFilter struct{ GroupBaseInfoFilter []string }
}

type groupInfoAnswer struct {
	envelope
	GroupInfo []struct {
		GroupID   string `json:"GroupId"`
		Type      string
		MemberNum json.RawMessage
		ErrorCode Code
		ErrorInfo string
	}

	groups []GroupInfo
}

func (a *groupInfoAnswer) finish(command, sig string) error {
	for _, g := range a.GroupInfo {
		if g.GroupID == "" {
			return errors.New("GroupInfo: no GroupId")
		}
		info := GroupInfo{ID: g.GroupID, Type: g.Type, MemberNum: count(g.MemberNum)}
		if g.ErrorCode != 0 {
			info.Err = a.refusal(command, sig, g.ErrorCode, g.ErrorInfo)
		}
		a.groups = append(a.groups, info)
	}
	return nil
}

// GroupInfo asks for the type and the number of members of at most
// [MaxGroupInfo] groups. It returns a group for each that the server tells
// about, in the server's order, whether it knows the group or not: read the
// Err of each. A group that is left out of the answer is left out here.
//
// API: v4/group_open_http_svc/get_group_info
func (c *Client) GroupInfo(ctx context.Context, ids []string) ([]GroupInfo, error) {
	if ids == nil {
		ids = []string{} // the field is an array; null is not
	}
	req := groupInfoRequest{GroupIDList: ids}
	// Without a filter each group brings all its members along.
	req.ResponseFilter.GroupBaseInfoFilter = []string{"Type", "MemberNum"}
	a, err := call[groupInfoAnswer](ctx, c, serviceGroup, CommandGroupInfo, req)
	if err != nil {
		return nil, err
	}
	return a.groups, nil
}

// A GroupListPage is one page of the groups of the app.
type GroupListPage struct {
	Groups []string // group ids
	Total  int64    // groups of the app, or of the type that was asked for; -1 if the server does not say
	Next   uint64   // cursor of the next page; 0 (also when the server leaves it out): this page is the last
}

type groupListRequest struct {
	GroupType string `json:",omitempty"`
	Limit     int    `json:",omitempty"`
	Next      uint64
}

type groupListAnswer struct {
	envelope
	TotalCount  json.RawMessage
	GroupIDList []struct {
		GroupID string `json:"GroupId"`
	} `json:"GroupIdList"`
	Next json.RawMessage

	page GroupListPage
}

func (a *groupListAnswer) finish(string, string) (err error) {
	for _, g := range a.GroupIDList {
		if g.GroupID == "" {
			return errors.New("GroupIdList: no GroupId")
		}
		a.page.Groups = append(a.page.Groups, g.GroupID)
	}
	a.page.Total = count(a.TotalCount)
	a.page.Next, err = unsigned("Next", a.Next)
	return err
}

// GroupList reads one page of the ids of the app's groups, of all types ("")
// or of one. A page has at most limit groups; by the documentation 10,000 is
// the most, and what the server chooses for 0. Start with next 0 and go on with
// [GroupListPage.Next] until it is 0. The server takes one such call a second,
// whatever it takes of others.
//
// API: v4/group_open_http_svc/get_appid_group_list
func (c *Client) GroupList(ctx context.Context, groupType string, limit int, next uint64) (GroupListPage, error) {
	a, err := call[groupListAnswer](ctx, c, serviceGroup, CommandGroupList,
		groupListRequest{GroupType: groupType, Limit: limit, Next: next})
	if err != nil {
		return GroupListPage{}, err
	}
	return a.page, nil
}

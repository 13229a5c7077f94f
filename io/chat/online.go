package chat

import "context"

// CommandGetMembers is the command of [Client.OnlineMembers].
const CommandGetMembers = "get_members"

// An OnlineMember is a member of an AVChatRoom who is online.
type OnlineMember struct {
	Account  string `json:"Member_Account"`
	JoinTime int64  // Unix seconds
	NickName string
	Avatar   string // URL
}

// An OnlinePage is one page of an online list.
type OnlinePage struct {
	Members []OnlineMember
	Next    int64 // timestamp of the next call; 0 (also when the server leaves it out): this page is the last
}

type onlineRequest struct {
	GroupID   string `json:"GroupId"`
	Mark      Mark   `json:",omitempty"`
	Timestamp int64
}

type onlineAnswer struct {
	envelope
	MemberList    []OnlineMember
	NextTimestamp int64
}

// OnlineMembers reads one page of the members of an AVChatRoom who are online,
// newest first by the documentation, of all or of those with one mark (0: no
// filter). Start with timestamp 0 and go on with [OnlinePage.Next] until it is
// 0; neither page size nor order is certain, and a member may come twice. The
// server never lists more than the 1,000 newest (30 without the edition), and
// its list is up to 40 s old. Members with mark 600 come only if asked for.
//
// API: v4/group_open_avchatroom_http_svc/get_members
func (c *Client) OnlineMembers(ctx context.Context, group string, mark Mark, timestamp int64) (OnlinePage, error) {
	a, err := call[onlineAnswer](ctx, c, serviceAVChatRoom, CommandGetMembers,
		onlineRequest{GroupID: group, Mark: mark, Timestamp: timestamp})
	if err != nil {
		return OnlinePage{}, err
	}
	return OnlinePage{Members: a.MemberList, Next: a.NextTimestamp}, nil
}

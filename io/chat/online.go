package chat

import (
	"context"
	"encoding/json"
)

// CommandGetMembers is the command of [Client.OnlineMembers].
const CommandGetMembers = "get_members"

// An OnlinePage is one page of an online list. By the documentation the fields
// of its members are JoinTime (Unix seconds), NickName and Avatar (a URL).
type OnlinePage struct {
	Members []Member
	Next    int64 // timestamp of the next call; 0 (also when the server leaves it out): this page is the last
}

type onlineRequest struct {
	GroupID   string `json:"GroupId"`
	Mark      Mark   `json:",omitempty"`
	Timestamp int64
}

type onlineAnswer struct {
	envelope
	memberList
	NextTimestamp json.RawMessage

	page OnlinePage
}

func (a *onlineAnswer) finish(string, string) (err error) {
	if err = a.read(); err != nil {
		return err
	}
	a.page.Members = a.members
	a.page.Next, err = number("NextTimestamp", a.NextTimestamp)
	return err
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
	return a.page, nil
}

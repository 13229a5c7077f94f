package chat

import "context"

// CommandSetUnread is the command of [Client.SetUnread].
const CommandSetUnread = "set_unread_msg_num"

type unreadRequest struct {
	GroupID      string `json:"GroupId"`
	Account      string `json:"Member_Account"`
	UnreadMsgNum uint32
}

type unreadAnswer struct{ envelope }

// SetUnread sets how many messages of a group one member has not read. It is
// an absolute value: sent again later, it takes back what the member has read
// since.
//
// No error means that the server took the call, not that the number stands: a
// number above that of the group's messages is lowered to it without a word,
// and in a ChatRoom, Meeting or AVChatRoom, which count no unread messages,
// nothing is done.
//
// API: v4/group_open_http_svc/set_unread_msg_num
func (c *Client) SetUnread(ctx context.Context, group, account string, unread uint32) error {
	_, err := call[unreadAnswer](ctx, c, serviceGroup, CommandSetUnread,
		unreadRequest{GroupID: group, Account: account, UnreadMsgNum: unread})
	return err
}

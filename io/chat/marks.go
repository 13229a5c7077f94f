package chat

import "context"

// CommandModifyUserInfo is the command of [Client.ModifyMarks].
const CommandModifyUserInfo = "modify_user_info"

// MaxMarkMembers is how many accounts one call of [Client.ModifyMarks] may
// name by the documentation. The client does not enforce it: what the server
// takes has changed before, and it answers 10005 when it is too much.
const MaxMarkMembers = 500

// A Mark labels an online member of a group, 1000 or more. 500 (always online,
// for at most three days) and 600 (hidden from the online list) are special.
type Mark uint64

// MemberMarks are the marks of one account.
type MemberMarks struct {
	Account string `json:"Member_Account"`
	Marks   []Mark `json:"Marks"`
}

// A MarksCommand is the CommandType of modify_user_info.
type MarksCommand int

// What [Client.ModifyMarks] does with the marks.
const (
	SetMarks    MarksCommand = 1
	DeleteMarks MarksCommand = 2
)

type marksRequest struct {
	GroupID     string `json:"GroupId"`
	CommandType MarksCommand
	MemberList  []MemberMarks
}

type marksAnswer struct {
	envelope
	MemberList []MemberMarks
}

// ModifyMarks sets or deletes marks of members of an AVChatRoom, at most
// [MaxMarkMembers] accounts, each named once. It returns the members that were
// changed, in no set order: an account that is offline or no member is left
// out without an error, and only when all are, the call fails.
//
// API: v4/group_open_avchatroom_http_svc/modify_user_info
func (c *Client) ModifyMarks(ctx context.Context, group string, cmd MarksCommand, members []MemberMarks) ([]MemberMarks, error) {
	if members == nil {
		members = []MemberMarks{} // the field is an array; null is not
	}
	a, err := call[marksAnswer](ctx, c, serviceAVChatRoom, CommandModifyUserInfo,
		marksRequest{GroupID: group, CommandType: cmd, MemberList: members})
	if err != nil {
		return nil, err
	}
	return a.MemberList, nil
}

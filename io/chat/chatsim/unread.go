package chatsim

const commandSetUnread = "set_unread_msg_num"

type unreadRequest struct {
	GroupID string  `json:"GroupId"`
	Account string  `json:"Member_Account"`
	Unread  *uint32 `json:"UnreadMsgNum"`
}

// setUnread sets how many messages a member has not read.
//
// API: v4/group_open_http_svc/set_unread_msg_num
func (s *Sim) setUnread(c *call, body []byte) ([]byte, *refusal) {
	var r unreadRequest
	if no := decode(body, &r); no != nil {
		return nil, no
	}
	c.Group = r.GroupID
	switch {
	case r.GroupID == "":
		return nil, refuse(codeBadParameter, "GroupId is missing")
	case r.Account == "":
		return nil, refuse(codeBadParameter, "Member_Account is missing")
	case r.Unread == nil:
		return nil, refuse(codeBadParameter, "UnreadMsgNum is missing")
	}
	c.Accounts = 1
	if no := s.applyUnread(&r); no != nil {
		return nil, no
	}
	return append(appendHead(nil, c, "OK", 0, ""), '}'), nil
}

func (s *Sim) applyUnread(r *unreadRequest) *refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, no := s.groupToChange(r.GroupID)
	if no != nil {
		return no
	}
	if g.kind == typeAVChatRoom || oldType(g.kind) == typeChatRoom {
		return nil // no effect and no error, whoever it is
	}
	if s.poison[r.Account] {
		return refuse(s.sc.PoisonCode, "")
	}
	if member, _ := g.present(r.Account); !member {
		return refuse(s.sc.NotMemberCode, "")
	}
	s.tally.Unread++
	n := *r.Unread
	if g.messages != nil {
		n = min(n, *g.messages)
	}
	if g.unread == nil {
		g.unread = map[string]uint32{}
	}
	g.unread[r.Account] = n
	return nil
}

// Unread is the count that a member of a group was given last, and whether it
// was given any. Of groups that exist by Open only, it is known with KeepState.
func (s *Sim) Unread(group, account string) (uint32, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.groups[group]
	if !ok {
		return 0, false
	}
	n, ok := g.unread[account]
	return n, ok
}

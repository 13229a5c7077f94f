package chatsim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

const (
	commandModifyUserInfo = "modify_user_info"

	commandSet, commandDelete = 1, 2 // CommandType
)

// modifyUserInfo sets or deletes marks.
//
// API: v4/group_open_avchatroom_http_svc/modify_user_info
func (s *Sim) modifyUserInfo(c *call, body []byte) ([]byte, *refusal) {
	r, no := decodeModify(body)
	if no != nil {
		return nil, no
	}
	asked := len(r.MemberList)
	r.MemberList = merged(r.MemberList)
	c.Group, c.Accounts = r.GroupID, len(r.MemberList)
	if no := s.checkModify(c, &r, asked); no != nil {
		return nil, no
	}
	changed, no := s.applyMarks(&r)
	if no != nil {
		return nil, no
	}
	if s.sc.Shuffle {
		rng := rand.New(rand.NewPCG(s.sc.Seed+streamShuffle, uint64(c.N)))
		rng.Shuffle(len(changed), func(i, j int) { changed[i], changed[j] = changed[j], changed[i] })
	}
	return encodeModify(c, r.CommandType, changed), nil
}

// checkModify refuses what is wrong whatever the group is.
func (s *Sim) checkModify(c *call, r *modifyRequest, asked int) *refusal {
	limit := s.sc.MaxMembers
	if c.fault != nil && c.fault.Kind == KindMembers {
		limit = c.fault.Members
	}
	switch {
	case r.GroupID == "":
		return refuse(codeBadParameter, "GroupId is missing")
	case r.CommandType != commandSet && r.CommandType != commandDelete:
		return refuse(codeBadParameter, "CommandType is neither 1 nor 2")
	case asked == 0:
		return refuse(codeBadParameter, "MemberList is empty")
	case asked > limit:
		return refuse(codeTooManyMembers, "")
	}
	for _, m := range r.MemberList {
		switch {
		case m.Account == "":
			return refuse(codeBadParameter, "Member_Account is missing")
		case len(m.Marks) == 0:
			return refuse(codeBadParameter, "Marks is empty")
		}
		for _, mark := range m.Marks {
			if mark < firstMark && mark != markAlwaysOnline && mark != markHidden {
				return refuse(codeBadParameter, fmt.Sprintf("mark %d is below %d", mark, firstMark))
			}
		}
	}
	return nil
}

// applyMarks has the effect of a request, whole or not at all, and returns
// what was changed.
func (s *Sim) applyMarks(r *modifyRequest) ([]memberMarks, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, no := s.groupToMark(r)
	if no != nil {
		return nil, no
	}
	now := time.Now()
	g.expire(now)
	able := g.able(r)
	if len(able) == 0 {
		return nil, refuse(s.sc.AllOfflineCode, "Nobody of MemberList is online.")
	}
	if r.CommandType == commandDelete {
		s.tally.Deleted += int64(len(able))
		g.deleteMarks(able)
		return able, nil
	}
	if why := g.setMarks(able, now); why != "" {
		return nil, refuse(codeBadParameter, why)
	}
	s.tally.Set += int64(len(able))
	return able, nil
}

// groupToMark finds the group of a request, or why it is refused whole.
func (s *Sim) groupToMark(r *modifyRequest) (*group, *refusal) {
	if !*s.sc.Premium {
		return nil, refuse(s.sc.NotPremiumCode, "")
	}
	g, no := s.groupToChange(r.GroupID)
	if no != nil {
		return nil, no
	}
	if !g.suits(typeAVChatRoom) {
		return nil, refuse(codeNotAllowed, "")
	}
	if g.open {
		s.crowd.saw(r.GroupID, r.MemberList)
	}
	return g, s.poisoned(r.MemberList)
}

func (s *Sim) poisoned(list []memberMarks) *refusal {
	if len(s.poison) == 0 {
		return nil
	}
	for _, m := range list {
		if s.poison[m.Account] {
			return refuse(s.sc.PoisonCode, "")
		}
	}
	return nil
}

// able is the part of a request that can have an effect: members who are
// online with all their marks, offline ones with mark 500 if they are given
// it, for it is the one mark that does not need them online.
func (g *group) able(r *modifyRequest) []memberMarks {
	out := make([]memberMarks, 0, len(r.MemberList))
	for _, m := range r.MemberList {
		member, online := g.online(m.Account)
		switch {
		case member && online:
			out = append(out, m)
		case member && r.CommandType == commandSet && slices.Contains(m.Marks, markAlwaysOnline):
			out = append(out, memberMarks{m.Account, []uint64{markAlwaysOnline}})
		}
	}
	return out
}

// setMarks sets the marks of all in list, or none and says why.
func (g *group) setMarks(list []memberMarks, now time.Time) string {
	table := g.marks
	if table == nil {
		table = newMarkTable() // so that a request by itself keeps the limits
	}
	if why := table.room(list); why != "" || g.marks == nil {
		return why
	}
	for _, m := range list {
		for _, mark := range m.Marks {
			table.set(m.Account, mark, now)
		}
	}
	return ""
}

func (g *group) deleteMarks(list []memberMarks) {
	if g.marks == nil {
		return
	}
	for _, m := range list {
		for _, mark := range m.Marks {
			g.marks.remove(m.Account, mark)
		}
		// Without mark 500 a disconnected member is offline, and that
		// clears the rest.
		if _, online := g.online(m.Account); !online {
			g.marks.clear(m.Account)
		}
	}
}

func encodeModify(c *call, commandType int64, list []memberMarks) []byte {
	b := appendHead(make([]byte, 0, 256+64*len(list)), c, "OK", 0, "")
	b = append(b, `,"CommandType":`...)
	b = strconv.AppendInt(b, commandType, 10)
	b = append(b, `,"MemberList":[`...)
	for i, m := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"Member_Account":`...)
		b = appendString(b, m.Account)
		b = append(b, `,"Marks":[`...)
		for j, mark := range m.Marks {
			if j > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendUint(b, mark, 10)
		}
		b = append(b, "]}"...)
	}
	return append(b, "]}"...)
}

package chatsim

import (
	"fmt"
	"slices"
	"strconv"
)

const (
	commandGroupInfo = "get_group_info"

	maxGroupInfo = 50
)

type groupInfoRequest struct {
	Groups []string         `json:"GroupIdList"`
	Filter *groupInfoFilter `json:"ResponseFilter"`
}

type groupInfoFilter struct {
	Base    []string `json:"GroupBaseInfoFilter"`
	Members []string `json:"MemberInfoFilter"`
	Custom  []string `json:"AppDefinedDataFilter_GroupMember"`
}

// A groupInfo is an entry of the answer, with what is needed to encode it
// without the mutex.
type groupInfo struct {
	id, kind, owner string
	no              *refusal
	members         int
	next            int64
	list            []profile
}

// groupInfo describes groups. One that cannot be described has an ErrorCode of
// its own. A request without a filter gets all members, too.
//
// API: v4/group_open_http_svc/get_group_info
func (s *Sim) groupInfo(c *call, body []byte) ([]byte, *refusal) {
	var r groupInfoRequest
	if no := decode(body, &r); no != nil {
		return nil, no
	}
	if n := len(r.Groups); n < 1 || n > maxGroupInfo {
		return nil, refuse(codeBadParameter, fmt.Sprintf("GroupIdList has %d entries, not 1 to %d", n, maxGroupInfo))
	}
	if len(r.Groups) == 1 {
		c.Group = r.Groups[0]
	}
	withMembers := r.Filter == nil || len(r.Filter.Members) > 0
	list, no := s.groupInfos(r.Groups, withMembers)
	if no != nil {
		return nil, no
	}
	f := groupInfoFilter{}
	if r.Filter != nil {
		f = *r.Filter
	}
	return s.encodeGroupInfo(c, list, f, withMembers)
}

func (s *Sim) groupInfos(ids []string, withMembers bool) ([]groupInfo, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	room := s.sc.MaxAnswer / minProfile
	list := make([]groupInfo, len(ids))
	for i, id := range ids {
		list[i].id = id
		g, no := s.group(id)
		if no != nil {
			list[i].no = no
			continue
		}
		list[i].describe(g)
		if withMembers && g.kind != typeAVChatRoom {
			all, _, no := g.profiles(roleWindow{limit: everyone, room: room})
			if no != nil {
				return nil, no
			}
			list[i].list = all
			room -= len(all)
		}
	}
	return list, nil
}

func (i *groupInfo) describe(g *group) {
	i.kind, i.members, i.next = g.kind, g.size(), 1
	if g.byOpen && g.kind == "" {
		i.kind = typePublic
	}
	if g.owner != 0 {
		i.owner = g.account(g.owner)
	}
	if g.messages != nil {
		i.next += int64(*g.messages)
	}
}

func (s *Sim) encodeGroupInfo(c *call, list []groupInfo, f groupInfoFilter, withMembers bool) ([]byte, *refusal) {
	b := appendHead(make([]byte, 0, 256+128*len(list)), c, "OK", 0, "")
	b = append(b, `,"GroupInfo":[`...)
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = list[i].appendBase(b, f.Base)
		if withMembers && list[i].no == nil && list[i].kind != typeAVChatRoom {
			var no *refusal
			if b, no = s.appendProfiles(b, list[i].list, filterOf(f.Members, f.Custom)); no != nil {
				return nil, no
			}
		}
		b = append(b, '}')
	}
	b = append(b, "]}"...)
	if len(b) > s.sc.MaxAnswer {
		return nil, refuse(codeTooLarge, "")
	}
	return b, nil
}

// appendBase opens the object of a group and appends the fields that are
// asked for, nil for all. Nothing but its refusal is told of one that failed.
func (i *groupInfo) appendBase(b []byte, fields []string) []byte {
	no := i.no
	if no == nil {
		no = &refusal{}
	}
	b = appendString(append(b, `{"GroupId":`...), i.id)
	b = strconv.AppendInt(append(b, `,"ErrorCode":`...), int64(no.code), 10)
	b = appendString(append(b, `,"ErrorInfo":`...), no.info)
	if i.no != nil {
		return b
	}
	wants := func(name string) bool { return len(fields) == 0 || slices.Contains(fields, name) }
	text := func(name, s string) {
		if wants(name) {
			b = append(appendString(append(b, ','), name), ':')
			b = appendString(b, s)
		}
	}
	number := func(name string, n int64) {
		if wants(name) {
			b = append(appendString(append(b, ','), name), ':')
			b = strconv.AppendInt(b, n, 10)
		}
	}
	text("Type", i.kind)
	text("Name", i.id)
	text("Owner_Account", i.owner)
	number("CreateTime", firstJoin)
	number("NextMsgSeq", i.next)
	if i.kind != typeAVChatRoom {
		number("MemberNum", int64(i.members))
	}
	return b
}

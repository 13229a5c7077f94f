package chatsim

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"
)

const (
	commandGetMembers = "get_members"

	maxOnline        = 1000 // newest online members that are listed
	maxOnlinePlain   = 30   // without the edition
	stuckAtNoMembers = 1    // the cursor of KindStuck when there is nobody
)

// An onlineMember is an entry of a list.
type onlineMember struct {
	account, nick, avatar string
	joined                int64
}

// getMembers lists who is online, newest first, a page at a time. The cursor
// is a time: a page begins with the members who joined at it, so that some of
// the page before may come again.
//
// API: v4/group_open_avchatroom_http_svc/get_members
func (s *Sim) getMembers(c *call, body []byte) ([]byte, *refusal) {
	var r membersRequest
	if no := decode(body, &r); no != nil {
		return nil, no
	}
	c.Group = r.GroupID
	if r.Timestamp == nil || *r.Timestamp < 0 {
		return nil, refuse(codeBadParameter, "Timestamp is missing or below zero")
	}
	list, no := s.onlineMembers(r.GroupID, r.Mark)
	if no != nil {
		return nil, no
	}
	page, next := pageOf(list, *r.Timestamp, s.sc.PageSize)
	if c.fault != nil && c.fault.Kind == KindStuck {
		next = stuckAt(*r.Timestamp, list)
	}
	return encodeMembers(c, page, next, s.sc.OmitNext), nil
}

func stuckAt(timestamp int64, list []onlineMember) int64 {
	switch {
	case timestamp != 0:
		return timestamp
	case len(list) > 0:
		return list[0].joined
	}
	return stuckAtNoMembers
}

// onlineMembers is the whole list of a group, newest first.
func (s *Sim) onlineMembers(id string, mark uint64) ([]onlineMember, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, no := s.group(id)
	if no != nil {
		return nil, no
	}
	if !g.suits(typeAVChatRoom, typeCommunity) {
		return nil, refuse(codeNotAllowed, "")
	}
	g.expire(time.Now())
	var list []onlineMember
	if mark != 0 {
		list = g.marked(mark)
	} else {
		list = g.connected(s.crowd.of(id))
	}
	slices.SortFunc(list, func(a, b onlineMember) int {
		return cmp.Or(cmp.Compare(b.joined, a.joined), cmp.Compare(a.account, b.account))
	})
	limit := maxOnline
	if !*s.sc.Premium {
		limit = maxOnlinePlain
	}
	return list[:min(len(list), limit)], nil
}

// marked lists the members with a mark. Those with mark 600 are among them:
// it hides from the list of everyone only.
func (g *group) marked(mark uint64) []onlineMember {
	if g.marks == nil {
		return nil
	}
	var list []onlineMember
	for account := range g.marks.held {
		if g.marks.has(account, mark) {
			list = append(list, g.info(account))
		}
	}
	return list
}

// connected lists who is online and not hidden: all who could be among the
// newest thousand, however many members there are. seen has accounts that
// may exist by Scenario.Open.
func (g *group) connected(seen []string) []onlineMember {
	var list []onlineMember
	add := func(account string) {
		_, online := g.online(account)
		if online && (g.marks == nil || !g.marks.has(account, markHidden)) {
			list = append(list, g.info(account))
		}
	}
	for _, m := range g.listed {
		add(m.Account)
	}
	for account := range g.told {
		if g.named[account] == nil {
			add(account)
		}
	}
	before := len(list)
	made := g.gen.Count
	if g.byOpen {
		made = 0
	}
	for n := made; n >= 1 && len(list)-before < maxOnline; n-- {
		if account := g.gen.Prefix + strconv.Itoa(n); !g.known(account) {
			add(account)
		}
	}
	if !g.open {
		return list
	}
	if g.marks != nil {
		seen = slices.AppendSeq(seen, maps.Keys(g.marks.held))
	}
	had := make(map[string]bool, len(seen))
	for _, account := range seen {
		if _, made := g.generated(account); (!made || g.byOpen) && !g.known(account) && !had[account] {
			had[account] = true
			add(account)
		}
	}
	return list
}

// known says whether an account is a member by name.
func (g *group) known(account string) bool {
	_, told := g.told[account]
	return told || g.named[account] != nil
}

// pageOf cuts a page out of list, and says where the next begins; 0: nowhere.
func pageOf(list []onlineMember, timestamp int64, size int) (page []onlineMember, next int64) {
	if timestamp != 0 {
		first := slices.IndexFunc(list, func(m onlineMember) bool { return m.joined <= timestamp })
		if first < 0 {
			return nil, 0
		}
		list = list[first:]
	}
	n := min(size, len(list))
	// A cursor that is no later than its page would never end: a page is
	// longer when more than a page of members joined in the same second.
	for n < len(list) && list[n].joined == list[0].joined {
		n++
	}
	if n < len(list) {
		next = list[n].joined
	}
	return list[:n], next
}

func encodeMembers(c *call, list []onlineMember, next int64, omitNext bool) []byte {
	b := appendHead(make([]byte, 0, 256+128*len(list)), c, "OK", 0, "")
	b = append(b, `,"MemberList":[`...)
	for i, m := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"Member_Account":`...)
		b = appendString(b, m.account)
		b = append(b, `,"JoinTime":`...)
		b = strconv.AppendInt(b, m.joined, 10)
		b = append(b, `,"NickName":`...)
		b = appendString(b, m.nick)
		b = append(b, `,"Avatar":`...)
		b = appendString(b, m.avatar)
		b = append(b, `,"OnlineStatus":"Online"}`...)
	}
	b = append(b, ']')
	if next != 0 || !omitNext {
		b = append(b, `,"NextTimestamp":`...)
		b = strconv.AppendInt(b, next, 10)
	}
	return append(b, '}')
}

package chatsim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
)

const (
	commandMemberInfo = "get_group_member_info"

	maxMemberLimit = 6000 // of Limit, by the page's table of fields
	minProfile     = 22   // bytes: {"Member_Account":"x"}
	everyone       = math.MaxInt32

	// firstCursor is the cursor before the first member; that of another is
	// so much more as its position. It is such that a page of a hundred ends
	// with the one that the documentation prints, and above what a float has
	// digits for.
	firstCursor = 144115265295492787 - 100
)

// The ways to count the Offset of a request with MemberRoleFilter.
const offsetBefore, offsetAfter = "before", "after"

type memberInfoRequest struct {
	GroupID string   `json:"GroupId"`
	Limit   *int64   `json:"Limit"`
	Offset  *int64   `json:"Offset"`
	Next    *string  `json:"Next"`
	Fields  []string `json:"MemberInfoFilter"`
	Roles   []string `json:"MemberRoleFilter"`
	Custom  []string `json:"AppDefinedDataFilter_GroupMember"`
}

// memberInfoPage is what an answer lists.
type memberInfoPage struct {
	list []profile
	num  int     // members of the group
	next *string // nil: not sent
}

// memberInfo lists the members of a group in the order of joining: those of a
// Community by a cursor that is tied to a member, those of others by their
// number, which shifts when somebody leaves.
//
// API: v4/group_open_http_svc/get_group_member_info
func (s *Sim) memberInfo(c *call, body []byte) ([]byte, *refusal) {
	var r memberInfoRequest
	if no := decode(body, &r); no != nil {
		return nil, no
	}
	c.Group = r.GroupID
	if no := r.check(); no != nil {
		return nil, no
	}
	page, no := s.memberInfoPage(c, &r)
	if no != nil {
		return nil, no
	}
	if s.sc.Shuffle {
		rng := rand.New(rand.NewPCG(s.sc.Seed+streamShuffle, uint64(c.N)))
		rng.Shuffle(len(page.list), func(i, j int) { page.list[i], page.list[j] = page.list[j], page.list[i] })
	}
	return s.encodeMemberInfo(c, &page, filterOf(r.Fields, r.Custom))
}

// check refuses what is wrong whatever the group is.
func (r *memberInfoRequest) check() *refusal {
	switch {
	case r.GroupID == "":
		return refuse(codeBadParameter, "GroupId is missing")
	case r.Limit != nil && (*r.Limit < 1 || *r.Limit > maxMemberLimit):
		return refuse(codeBadParameter, fmt.Sprintf("Limit is not within 1 to %d", maxMemberLimit))
	case r.Offset != nil && *r.Offset < 0:
		return refuse(codeBadParameter, "Offset is below zero")
	case r.Offset != nil && r.Next != nil:
		return refuse(codeBadParameter, "Offset and Next are both there")
	}
	for _, role := range r.Roles {
		if !slices.Contains(roles(), role) {
			return refuse(codeBadParameter, fmt.Sprintf("MemberRoleFilter has %q", role))
		}
	}
	return nil
}

func roles() []string { return []string{roleOwner, roleAdmin, roleMember} }

func (s *Sim) memberInfoPage(c *call, r *memberInfoRequest) (memberInfoPage, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, no := s.group(r.GroupID)
	if no != nil {
		return memberInfoPage{}, no
	}
	if no := r.fits(g); no != nil {
		return memberInfoPage{}, no
	}
	after := 0 // the position of the cursor
	if r.Next != nil {
		if after, no = g.parseCursor(*r.Next); no != nil {
			return memberInfoPage{}, no
		}
	}
	g.stir()
	w := s.windowOf(r)
	w.from = g.rank(after)
	list, end, no := g.profiles(w)
	if no != nil {
		return memberInfoPage{}, no
	}
	g.churned.listed = end
	page := memberInfoPage{list: list, num: g.size()}
	if r.Next != nil {
		page.next = s.nextCursor(c, g, *r.Next, max(end, after))
	}
	return page, nil
}

// fits refuses what is wrong for a group: there is one way to list each.
func (r *memberInfoRequest) fits(g *group) *refusal {
	switch byCursor := g.kind == typeCommunity; {
	case g.kind == typeAVChatRoom:
		return refuse(codeNotAllowed, "")
	case byCursor && r.Next == nil:
		return refuse(codeBadParameter, "Next is missing: a community has no Offset")
	case !byCursor && r.Next != nil:
		return refuse(codeBadParameter, "Next is for communities only")
	}
	return nil
}

// windowOf is what a request is about, but for its cursor.
func (s *Sim) windowOf(r *memberInfoRequest) roleWindow {
	w := roleWindow{after: s.sc.RoleOffset == offsetAfter, limit: everyone, room: s.sc.MaxAnswer / minProfile}
	if len(r.Roles) > 0 {
		w.roles = r.Roles
	}
	if r.Offset != nil {
		w.skip = int(min(*r.Offset, everyone))
	}
	if r.Limit != nil {
		w.limit = min(int(*r.Limit), s.sc.MemberLimit)
		if r.Next != nil {
			w.limit = min(int(*r.Limit), s.sc.CommunityLimit)
		}
	}
	return w
}

// parseCursor is the position of a cursor, 0 for the beginning.
func (g *group) parseCursor(next string) (int, *refusal) {
	if next == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(next, 10, 64)
	if err != nil || n < firstCursor || n-firstCursor > uint64(g.last()) {
		return 0, refuse(codeBadParameter, "Next is none of this group")
	}
	return int(n - firstCursor), nil
}

// nextCursor is the Next of an answer that ends with the member at last.
func (s *Sim) nextCursor(c *call, g *group, asked string, last int) *string {
	cursor := strconv.FormatUint(firstCursor+uint64(last), 10)
	stuck := c.fault != nil && c.fault.Kind == KindStuck
	switch {
	case stuck && asked != "":
		return &asked
	case stuck, g.rank(last) < g.size():
		return &cursor
	case s.sc.OmitNext:
		return nil
	}
	return new("")
}

// A roleWindow is the part of a roster that a request is about.
type roleWindow struct {
	from  int      // the first member that is looked at
	skip  int      // so many are passed over,
	limit int      // and so many then taken:
	roles []string // all whose role is in here, nil for any
	after bool     // skip and limit count those alone
	room  int      // more than this many do not fit into any answer
}

// profiles describes the members of a window, and tells the position where it
// ends: of the last one in it, or of the last there is. Unless the roles decide where it
// begins it costs as much as there is to answer.
func (g *group) profiles(w roleWindow) (list []profile, end int, no *refusal) {
	from, skip := w.from, w.skip
	if !w.after || w.roles == nil {
		from, skip = from+skip, 0
	}
	looked, seen := 0, 0
	end = g.last()
	g.walk(from, func(pos int) bool {
		fits := w.roles == nil || slices.Contains(w.roles, g.role(pos))
		switch {
		case w.after && !fits:
			return true
		case skip > 0:
			skip--
			return true
		case looked == w.limit:
			end = seen
			return false
		}
		looked++
		seen = pos
		if fits {
			list = append(list, g.profile(pos))
		}
		return len(list) <= w.room
	})
	if len(list) > w.room {
		return nil, 0, refuse(codeTooLarge, "")
	}
	return list, end, nil
}

func (s *Sim) encodeMemberInfo(c *call, page *memberInfoPage, f profileFilter) ([]byte, *refusal) {
	b := appendHead(make([]byte, 0, min(256+320*len(page.list), s.sc.MaxAnswer)), c, "OK", 0, "")
	if page.next != nil {
		b = append(b, `,"Next":`...)
		b = appendString(b, *page.next)
	}
	b = append(b, `,"MemberNum":`...)
	b = strconv.AppendInt(b, int64(page.num), 10)
	b, no := s.appendProfiles(b, page.list, f)
	if no != nil {
		return nil, no
	}
	b = append(b, '}')
	if len(b) > s.sc.MaxAnswer {
		return nil, refuse(codeTooLarge, "")
	}
	return b, nil
}

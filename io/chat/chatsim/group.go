package chatsim

import (
	"slices"
	"strings"
	"time"
)

const (
	typeAVChatRoom = "AVChatRoom"
	typeCommunity  = "Community"
	typePublic     = "Public"
	typeChatRoom   = "ChatRoom"
	// firstJoin is when members join who do not say when, Unix seconds: the
	// n-th of a group n seconds later.
	firstJoin = 1_700_000_000
)

// A group has members of three sorts: those the scenario lists, those it
// generates, and with Open everybody else. Under the mutex of its Sim.
type group struct {
	sc     *Scenario
	id     string
	kind   string // "" with byOpen: whatever a command needs
	byOpen bool   // it exists by Scenario.Open alone
	named  map[string]*Member
	roster
	owner    int // the position of the owner, 0 for none
	open     bool
	told     map[string]bool   // by SetOnline: who is online, whatever else says
	late     map[string]int64  // when those joined who were no members at first
	left     map[string]bool   // who was a member and is none
	marks    *markTable        // nil when no state is kept
	unread   map[string]uint32 // nil when there is none
	messages *uint32           // in the group; nil: nobody knows
	churn    Churn
	churned  churned
}

func newGroup(sc *Scenario, g Group) *group {
	n := &group{sc: sc, id: g.ID, kind: typeOr(g.Type), open: sc.Open, marks: newMarkTable(),
		named: make(map[string]*Member, len(g.Members)), messages: g.Messages, churn: g.Churn}
	n.gen = g.Generate
	if n.gen.OfflineRate == 0 {
		n.gen.OfflineRate = sc.OfflineRate
	}
	joined := int64(firstJoin)
	for _, m := range g.Members {
		if m.JoinTime == 0 {
			m.JoinTime = joined + 1
		}
		joined = m.JoinTime
		n.named[m.Account] = &m
		n.listed = append(n.listed, &m)
	}
	for _, m := range n.listed {
		if k, ok := n.generated(m.Account); ok {
			n.gone = append(n.gone, len(n.listed)+k)
		}
	}
	slices.Sort(n.gone)
	n.owner = n.findOwner(g.Owner)
	return n
}

// typeOr is the type of a group that may not say it.
func typeOr(kind string) string {
	if kind == "" {
		return typeAVChatRoom
	}
	return kind
}

// oldType is the name of a type before it was given its new one, if it was:
// both mean the same.
func oldType(kind string) string {
	switch kind {
	case "Work":
		return "Private"
	case "Meeting":
		return typeChatRoom
	}
	return kind
}

// suits says whether a command that is for some types is for the group.
func (g *group) suits(kinds ...string) bool { return g.kind == "" || slices.Contains(kinds, g.kind) }

// newOpenGroup makes a group that exists by Scenario.Open alone. It is of the
// type that is needed, unless its ID tells it. Its generated members are listed
// in its roster only: a list of who is online knows those who were named.
func newOpenGroup(sc *Scenario, id string) *group {
	g := &group{sc: sc, id: id, byOpen: true, open: true}
	g.gen = Generate{Prefix: memberPrefix, Count: max(sc.OpenMembers, 0), OfflineRate: sc.OfflineRate}
	g.owner = g.firstGenerated()
	if strings.HasPrefix(id, communityPrefix) {
		g.kind = typeCommunity
	}
	return g
}

// memberPrefix begins the accounts in groups that are not described.
const memberPrefix = "member-"

const communityPrefix = "@TGS#_"

// validGroupID holds a group ID against the rules: printable ASCII, at most
// 48 bytes, a reserved prefix only as the server itself makes it, no topic.
func validGroupID(id string) bool {
	if id == "" || len(id) > 48 || strings.Contains(id, "@TOPIC#_") {
		return false
	}
	if strings.HasPrefix(id, "@TGS") && !strings.HasPrefix(id, "@TGS#") {
		return false
	}
	for i := range len(id) {
		if id[i] < 0x20 || id[i] > 0x7e {
			return false
		}
	}
	return true
}

// group finds a group to look at; what is done to it may be lost. Under the
// mutex.
func (s *Sim) group(id string) (*group, *refusal) {
	g, ok := s.groups[id]
	switch {
	case ok:
		return g, nil
	case id == "":
		return nil, refuse(codeBadParameter, "GroupId is missing")
	case !validGroupID(id):
		return nil, refuse(codeBadGroupID, "")
	}
	if made, ok := s.sc.generatedGroup(id); ok {
		return newGroup(&s.sc, made), nil
	}
	if !s.sc.Open {
		return nil, refuse(codeNoGroup, "")
	}
	return newOpenGroup(&s.sc, id), nil
}

// groupToChange finds a group and keeps it, so that what is done to it lasts;
// unless it exists by Scenario.Open alone and no state is kept of those.
func (s *Sim) groupToChange(id string) (*group, *refusal) {
	g, no := s.group(id)
	if no != nil || g.byOpen && !s.sc.KeepState {
		return g, no
	}
	if g.marks == nil {
		g.marks = newMarkTable()
	}
	s.groups[id] = g
	return g, nil
}

// generatedGroup describes a group of GenerateGroups.
func (s *Scenario) generatedGroup(id string) (Group, bool) {
	for i := range s.GenerateGroups {
		g := &s.GenerateGroups[i]
		if _, ok := numberOf(id, g.Prefix, g.Count); ok {
			return Group{ID: id, Type: g.Type, Generate: Generate{Prefix: memberPrefix, Count: g.Members}}, true
		}
	}
	return Group{}, false
}

// present says whether an account is a member and whether it is connected.
func (g *group) present(account string) (member, connected bool) {
	if g.left[account] {
		return false, false
	}
	if on, ok := g.told[account]; ok {
		return true, on
	}
	if m, ok := g.named[account]; ok {
		return true, !m.Offline
	}
	if _, ok := g.generated(account); ok {
		return true, !chance(g.sc.Seed, g.id, account, g.gen.OfflineRate)
	}
	if g.open && validAccount(account) {
		return true, !chance(g.sc.Seed, g.id, account, g.sc.OfflineRate)
	}
	return false, false
}

// online says whether an account counts as online: it is connected, or has
// mark 500, which ignores disconnections.
func (g *group) online(account string) (member, online bool) {
	member, online = g.present(account)
	if member && !online && g.marks != nil {
		online = g.marks.has(account, markAlwaysOnline)
	}
	return member, online
}

// generated is the number of a generated account, from 1.
func (g *group) generated(account string) (int, bool) {
	return numberOf(account, g.gen.Prefix, g.gen.Count)
}

// info describes a member for a list.
func (g *group) info(account string) onlineMember {
	m := onlineMember{account: account}
	if named, ok := g.named[account]; ok {
		m.joined, m.nick, m.avatar = named.JoinTime, named.NickName, named.Avatar
	}
	if at, ok := g.late[account]; ok {
		m.joined = at
	}
	if m.joined != 0 {
		return m
	}
	if n, ok := g.generated(account); ok {
		m.joined = firstJoin + int64(n)
		return m
	}
	// Nobody knows when an open member joined: some time within a day.
	m.joined = firstJoin + int64(mix(g.sc.Seed, g.id, account)%86_400)
	return m
}

// expire ends what has lasted its time: mark 500 holds for three days.
func (g *group) expire(now time.Time) {
	if g.marks == nil {
		return
	}
	for account, since := range g.marks.pinned {
		if now.Sub(since) >= alwaysOnlineFor {
			g.marks.remove(account, markAlwaysOnline)
			if _, on := g.present(account); !on {
				g.marks.clear(account)
			}
		}
	}
}

// SetOnline connects or disconnects an account of a group that the scenario
// names or generates or that keeps its state; it joins the group if it is not a member.
// Going offline clears the marks, unless it has mark 500. It reports whether
// there is such a group.
func (s *Sim) SetOnline(group, account string, online bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.groups[group]
	if !ok {
		var no *refusal
		if g, no = s.group(group); no != nil || g.byOpen {
			return false
		}
		s.groups[group] = g
	}
	g.expire(time.Now())
	if !g.byOpen {
		g.join(account)
	}
	if g.told == nil {
		g.told = map[string]bool{}
	}
	g.told[account] = online
	if !online && !g.marks.has(account, markAlwaysOnline) {
		g.marks.clear(account)
	}
	return true
}

// mix is a number that depends on its arguments alone, in every process.
func mix(seed uint64, group, account string) uint64 {
	const prime = 1099511628211 // FNV-1a
	h := seed ^ 14695981039346656037
	for i := range len(group) {
		h = (h ^ uint64(group[i])) * prime
	}
	h = (h ^ 0xff) * prime // no group runs into its account
	for i := range len(account) {
		h = (h ^ uint64(account[i])) * prime
	}
	// FNV leaves neighbours near each other in the high bits; splitmix64's
	// finalizer spreads them.
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// chance is true for a share of all accounts.
func chance(seed uint64, group, account string, share float64) bool {
	if share == 0 {
		return false
	}
	return float64(mix(seed, group, account)>>11)/(1<<53) < share
}

package chatsim

import (
	"fmt"
	"slices"
	"strings"
)

const (
	maxCustomBytes = 1 << 20 // of a generated member
	maxChurn       = 10_000  // who leave or join at once
)

func (s *Scenario) checkGroups() error {
	seen := make(map[string]bool, len(s.Groups))
	for i := range s.Groups {
		g := &s.Groups[i]
		switch {
		case g.ID == "":
			return bad("is missing", "groups", i, "id")
		case seen[g.ID]:
			return bad(fmt.Sprintf("%q is there twice", g.ID), "groups", i, "id")
		}
		seen[g.ID] = true
		if err := g.check(i); err != nil {
			return err
		}
	}
	return nil
}

func (g *Group) check(i int) error {
	if err := g.checkMembers(i); err != nil {
		return err
	}
	if err := g.checkOwner(i); err != nil {
		return err
	}
	if err := g.checkChurn(i); err != nil {
		return err
	}
	gen := g.Generate
	switch {
	case gen.Count < 0 || gen.Count > maxGenerate:
		return bad(fmt.Sprintf("%d is not within 0 to %d", gen.Count, maxGenerate), "groups", i, "generate", "count")
	case gen.Count > 0 && !validAccount(fmt.Sprint(gen.Prefix, gen.Count)):
		return bad("makes UserIDs of more than 32 bytes", "groups", i, "generate", "prefix")
	case gen.CustomBytes < 0 || gen.CustomBytes > maxCustomBytes:
		return bad(fmt.Sprintf("%d is not within 0 to %d", gen.CustomBytes, maxCustomBytes), "groups", i, "generate", "custom_bytes")
	}
	return checkRate(gen.OfflineRate, "groups", i, "generate", "offline_rate")
}

func (g *Group) checkMembers(i int) error {
	seen := make(map[string]bool, len(g.Members))
	for j := range g.Members {
		m := &g.Members[j]
		switch {
		case !validAccount(m.Account):
			return bad(fmt.Sprintf("%q is no UserID of 1 to 32 bytes", m.Account), "groups", i, "members", j, "account")
		case seen[m.Account]:
			return bad(fmt.Sprintf("%q is there twice", m.Account), "groups", i, "members", j, "account")
		case m.Role != "" && !slices.Contains(roles(), m.Role):
			return bad(fmt.Sprintf("%q is none of %v", m.Role, roles()), "groups", i, "members", j, "role")
		}
		seen[m.Account] = true
		for _, f := range []struct {
			name  string
			value int64
		}{
			{"join_time", m.JoinTime}, {"msg_seq", m.MsgSeq}, {"last_send_msg_time", m.LastSendMsgTime}, {"mute_until", m.MuteUntil},
		} {
			if f.value < 0 {
				return bad("is below zero", "groups", i, "members", j, f.name)
			}
		}
		if err := m.Custom.check("groups", i, "members", j, "custom"); err != nil {
			return err
		}
		if err := m.Extra.check("groups", i, "members", j, "extra"); err != nil {
			return err
		}
	}
	return nil
}

// checkOwner refuses a second owner.
func (g *Group) checkOwner(i int) error {
	owner := g.Owner
	for j := range g.Members {
		m := &g.Members[j]
		switch {
		case m.Role == roleOwner && owner != "" && owner != m.Account:
			return bad(fmt.Sprintf("is Owner, but so is %q", owner), "groups", i, "members", j, "role")
		case m.Role == roleOwner:
			owner = m.Account
		case m.Role != "" && m.Account == g.Owner:
			return bad(fmt.Sprintf("is %s, but the group's owner is this account", m.Role), "groups", i, "members", j, "role")
		}
	}
	return nil
}

func (g *Group) checkChurn(i int) error {
	c := g.Churn
	for _, f := range []struct {
		name      string
		value, hi int
	}{
		{"every", c.Every, maxGenerate}, {"leave", c.Leave, maxChurn}, {"join", c.Join, maxChurn}, {"calls", c.Calls, maxGenerate},
	} {
		if f.value < 0 || f.value > f.hi {
			return bad(fmt.Sprintf("%d is not within 0 to %d", f.value, f.hi), "groups", i, "churn", f.name)
		}
	}
	switch {
	case c == Churn{}:
		return nil
	case c.Every == 0:
		return bad("is 0: it would never happen", "groups", i, "churn", "every")
	case c.Leave == 0 && c.Join == 0:
		return bad("has neither leave nor join: nothing would happen", "groups", i, "churn")
	case typeOr(g.Type) == typeAVChatRoom:
		return bad("is of get_group_member_info, which is not for an AVChatRoom", "groups", i, "churn")
	}
	return nil
}

func (s *Scenario) checkGenerateGroups() error {
	for i := range s.GenerateGroups {
		g := &s.GenerateGroups[i]
		if err := g.check(i); err != nil {
			return err
		}
		for j := range s.Groups {
			if _, ok := numberOf(s.Groups[j].ID, g.Prefix, g.Count); ok {
				return bad(fmt.Sprintf("makes %q, which is one of groups", s.Groups[j].ID), "generate_groups", i, "prefix")
			}
		}
		for j := range s.GenerateGroups {
			// If any group is made by both, the first of one of them is.
			first := s.GenerateGroups[j].Prefix + "1"
			if _, ok := numberOf(first, g.Prefix, g.Count); ok && i != j {
				return bad(fmt.Sprintf("makes %q, and so does another", first), "generate_groups", max(i, j), "prefix")
			}
		}
	}
	return nil
}

func (g *GenerateGroups) check(i int) error {
	community := strings.HasPrefix(g.Prefix, communityPrefix)
	switch {
	case g.Count < 1 || g.Count > maxGenerate:
		return bad(fmt.Sprintf("%d is not within 1 to %d", g.Count, maxGenerate), "generate_groups", i, "count")
	case g.Members < 0 || g.Members > maxGenerate:
		return bad(fmt.Sprintf("%d is not within 0 to %d", g.Members, maxGenerate), "generate_groups", i, "members")
	case !validGroupID(fmt.Sprint(g.Prefix, g.Count)):
		return bad("makes no valid group IDs", "generate_groups", i, "prefix")
	case community != (g.Type == typeCommunity):
		return bad("does not fit: IDs of Communities begin with @TGS#_, and those of others do not", "generate_groups", i, "type")
	}
	return nil
}

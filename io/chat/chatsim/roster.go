package chatsim

import (
	"slices"
	"sort"
	"strconv"
	"strings"
)

// A roster is who is in a group, in the order of joining: those the scenario
// lists, those it generates, those who came later. Each has a position, from
// 1, that is never given to anybody else. Only who came later or has left
// costs memory, so a group may have millions.
type roster struct {
	listed []*Member
	gen    Generate
	joined []string
	gone   []int // positions of nobody, ascending: who left, and generated ones that are listed
}

// last is the highest position that was given.
func (r *roster) last() int { return len(r.listed) + r.gen.Count + len(r.joined) }

// size is how many members there are.
func (r *roster) size() int { return r.last() - len(r.gone) }

// rank is how many members there are up to a position.
func (r *roster) rank(pos int) int {
	return pos - sort.SearchInts(r.gone, pos+1)
}

// at is the position of the k-th member, from 0; there is one.
func (r *roster) at(k int) int {
	// Before gone[i] there are gone[i]-1-i members.
	i := sort.Search(len(r.gone), func(i int) bool { return r.gone[i]-1-i > k })
	return k + 1 + i
}

// walk visits members from the k-th on, until visit says false.
func (r *roster) walk(k int, visit func(pos int) bool) {
	if k < 0 || k >= r.size() {
		return
	}
	pos := r.at(k)
	gone := r.gone[sort.SearchInts(r.gone, pos):]
	for ; pos <= r.last(); pos++ {
		if len(gone) > 0 && gone[0] == pos {
			gone = gone[1:]
			continue
		}
		if !visit(pos) {
			return
		}
	}
}

// remove makes a position that of nobody.
func (r *roster) remove(pos int) {
	if i, found := slices.BinarySearch(r.gone, pos); !found {
		r.gone = slices.Insert(r.gone, i, pos)
	}
}

// account is who has, or had, a position.
func (r *roster) account(pos int) string {
	n := pos - len(r.listed)
	switch {
	case n <= 0:
		return r.listed[pos-1].Account
	case n <= r.gen.Count:
		return r.gen.Prefix + strconv.Itoa(n)
	}
	return r.joined[n-r.gen.Count-1]
}

// firstGenerated is the position of the first generated member, 0 if there
// is none.
func (r *roster) firstGenerated() int {
	for n := 1; n <= r.gen.Count; n++ {
		if _, gone := slices.BinarySearch(r.gone, len(r.listed)+n); !gone {
			return len(r.listed) + n
		}
	}
	return 0
}

// numberOf is n of an ID prefixN, when N is within 1 to count.
func numberOf(id, prefix string, count int) (int, bool) {
	if count == 0 {
		return 0, false
	}
	digits, ok := strings.CutPrefix(id, prefix)
	if !ok || digits == "" || len(digits) > 9 || digits[0] < '1' {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil && n >= 1 && n <= count
}

// The roles of members, by the documentation's page of get_group_member_info.
const roleOwner, roleAdmin, roleMember = "Owner", "Admin", "Member"

// findOwner is the position of the owner of a new group, 0 if it has none:
// who is listed as such, who the group names, or the first who is generated.
func (g *group) findOwner(owner string) int {
	for i, m := range g.listed {
		if m.Role == roleOwner || m.Account == owner {
			return i + 1
		}
	}
	if owner == "" {
		return g.firstGenerated()
	}
	if n, ok := g.generated(owner); ok {
		return len(g.listed) + n
	}
	return 0
}

func (g *group) role(pos int) string {
	switch {
	case pos == g.owner:
		return roleOwner
	case pos <= len(g.listed) && g.listed[pos-1].Role != "":
		return g.listed[pos-1].Role
	}
	return roleMember
}

// join puts an account at the end of the roster, if it is not there.
func (g *group) join(account string) {
	if _, made := g.generated(account); (made || g.known(account)) && !g.left[account] {
		return
	}
	delete(g.left, account)
	g.joined = append(g.joined, account)
	if g.late == nil {
		g.late = map[string]int64{}
	}
	g.late[account] = firstJoin + int64(g.last())
}

// leave takes the member at a position out of the group, with its marks and
// its unread count.
func (g *group) leave(pos int) {
	account := g.account(pos)
	g.remove(pos)
	if g.left == nil {
		g.left = map[string]bool{}
	}
	g.left[account] = true
	delete(g.unread, account)
	if g.marks != nil {
		g.marks.clear(account)
	}
}

// MembersNow lists the members of a group in the order of joining, as
// get_group_member_info would; nil when there is no such group. Of a group
// that exists by Scenario.Open these are the generated ones.
func (s *Sim) MembersNow(group string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, no := s.group(group)
	if no != nil {
		return nil
	}
	list := make([]string, 0, g.size())
	g.walk(0, func(pos int) bool {
		list = append(list, g.account(pos))
		return true
	})
	return list
}

package chatsim

// A crowd is who exists by Scenario.Open: the accounts of the latest requests
// of a group. Without it nobody would be online in a get_members after a
// modify_user_info that was refused, though everybody is.
// It keeps pieces of requests as they came, so a call costs it next to
// nothing, and forgets: at most crowdGroups × crowdRequests requests are kept,
// some 8 MB when each has 500 accounts.
type crowd struct {
	groups map[string]*seen
	order  []string // of groups, the oldest first
}

const (
	crowdGroups   = 32
	crowdRequests = 8
)

// seen has the latest requests of a group, a ring.
type seen struct {
	requests [crowdRequests][]memberMarks
	next     int
}

// saw notes the members of a request.
func (c *crowd) saw(group string, list []memberMarks) {
	if c.groups == nil {
		c.groups = map[string]*seen{}
	}
	s := c.groups[group]
	if s == nil {
		if len(c.order) == crowdGroups {
			delete(c.groups, c.order[0])
			c.order = append(c.order[:0], c.order[1:]...)
		}
		s = new(seen)
		c.groups[group], c.order = s, append(c.order, group)
	}
	s.requests[s.next] = list
	s.next = (s.next + 1) % crowdRequests
}

// of lists the accounts of the latest requests of a group, the latest first;
// some are there twice.
func (c *crowd) of(group string) []string {
	s := c.groups[group]
	if s == nil {
		return nil
	}
	var list []string
	for i := 1; i <= crowdRequests; i++ {
		for _, m := range s.requests[(s.next-i+crowdRequests)%crowdRequests] {
			list = append(list, m.Account)
		}
	}
	return list
}

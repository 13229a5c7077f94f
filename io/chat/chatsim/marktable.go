package chatsim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The limits of marks, by the documentation's page of modify_user_info.
const (
	maxMarks       = 10   // different ones in a group
	maxMarkHolders = 1000 // members with one mark
	firstMark      = 1000

	markAlwaysOnline = 500
	markHidden       = 600
	alwaysOnlineFor  = 72 * time.Hour
)

// A markTable is who has which marks in a group. At most ten marks are in use,
// so those of an account are bits of one number. The special marks are
// counted like others: the documentation does not except them.
type markTable struct {
	used   [maxMarks]uint64 // 0: free
	count  [maxMarks]int
	held   map[string]uint16
	pinned map[string]time.Time // since when an account has mark 500
}

func newMarkTable() *markTable {
	return &markTable{held: map[string]uint16{}, pinned: map[string]time.Time{}}
}

func (t *markTable) slot(mark uint64) int { return slices.Index(t.used[:], mark) }

func (t *markTable) has(account string, mark uint64) bool {
	i := t.slot(mark)
	return i >= 0 && t.held[account]&(1<<i) != 0
}

// room says why the marks of list cannot all be set, "" if they can. Accounts
// in list are different.
func (t *markTable) room(list []memberMarks) string {
	added := map[uint64]int{}
	for _, m := range list {
		for _, mark := range m.Marks {
			if !t.has(m.Account, mark) {
				added[mark]++
			}
		}
	}
	different := 0
	for _, mark := range t.used {
		if mark != 0 {
			different++
		}
	}
	for mark, n := range added {
		i := t.slot(mark)
		if i < 0 {
			different++
		} else {
			n += t.count[i]
		}
		if n > maxMarkHolders {
			return fmt.Sprintf("mark %d would have more than %d members", mark, maxMarkHolders)
		}
	}
	if different > maxMarks {
		return fmt.Sprintf("the group would have more than %d marks", maxMarks)
	}
	return ""
}

// set gives an account a mark; room has said that there is room.
func (t *markTable) set(account string, mark uint64, now time.Time) {
	i := t.slot(mark)
	if i < 0 {
		i = t.slot(0)
		t.used[i] = mark
	}
	bits, known := t.held[account]
	if !known {
		account = strings.Clone(account) // it may be a piece of a request
	}
	if bits&(1<<i) == 0 {
		t.held[account] = bits | 1<<i
		t.count[i]++
	}
	if mark == markAlwaysOnline {
		t.pinned[account] = now // three days from the last time
	}
}

func (t *markTable) remove(account string, mark uint64) {
	i := t.slot(mark)
	if i < 0 || t.held[account]&(1<<i) == 0 {
		return
	}
	if t.held[account] &^= 1 << i; t.held[account] == 0 {
		delete(t.held, account)
	}
	if t.count[i]--; t.count[i] == 0 {
		t.used[i] = 0
	}
	if mark == markAlwaysOnline {
		delete(t.pinned, account)
	}
}

// clear takes all marks of an account.
func (t *markTable) clear(account string) {
	for _, mark := range t.of(t.held[account]) {
		t.remove(account, mark)
	}
}

// of lists the marks that bits stand for, in ascending order.
func (t *markTable) of(bits uint16) []uint64 {
	var marks []uint64
	for i, mark := range t.used {
		if bits&(1<<i) != 0 {
			marks = append(marks, mark)
		}
	}
	slices.Sort(marks)
	return marks
}

// Marks tells who has which marks in a group now, each list in ascending
// order. It is nil when there are none, or the group's state is not kept.
func (s *Sim) Marks(group string) map[string][]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.groups[group]
	if !ok {
		return nil
	}
	g.expire(time.Now())
	if len(g.marks.held) == 0 {
		return nil
	}
	all := make(map[string][]uint64, len(g.marks.held))
	for account, bits := range g.marks.held {
		all[account] = g.marks.of(bits)
	}
	return all
}

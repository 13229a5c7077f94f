//go:build linux

package chaos

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// An oddity changes the answer of a success. It is of one command.
type oddity struct {
	name    string
	command string
	change  func(c *call, answer map[string]any)
	code    int    // exit code; of those that do not change what comes of it, that of the job
	class   string // of all rows, or "": as if nothing were odd
}

// with sets a field of an answer; nil takes it out.
func with(name string, value any) func(*call, map[string]any) {
	return func(_ *call, answer map[string]any) {
		if answer[name] = value; value == nil {
			delete(answer, name)
		}
	}
}

// list changes the members of an answer one by one.
func list(f func(member map[string]any)) func(*call, map[string]any) {
	return func(_ *call, answer map[string]any) {
		var changed []any
		members, _ := answer["MemberList"].([]any)
		for _, m := range members {
			one := maps.Clone(m.(map[string]any))
			f(one)
			changed = append(changed, one)
		}
		answer["MemberList"] = changed
	}
}

// field changes a field of each member.
func field(name string, value any) func(*call, map[string]any) {
	return list(func(m map[string]any) { m[name] = value })
}

// more adds members that nobody asked for, before and behind the others; and all come twice.
func more(_ *call, answer map[string]any) {
	members, _ := answer["MemberList"].([]any)
	nobody := map[string]any{"Member_Account": "nobody", "Marks": []int{1000}}
	answer["MemberList"] = append(append(append([]any{nobody, map[string]any{}}, members...), members...), nobody)
}

func shout(m map[string]any) { m["Member_Account"] = strings.ToUpper(m["Member_Account"].(string)) }

// The answers to marks, counts, and questions for groups.
func oddAnswers() []oddity {
	const marks, unread, info = "modify_user_info", "set_unread_msg_num", "get_group_info"
	return []oddity{
		{"members twice, and others", marks, more, exitOK, ""},
		{"no marks", marks, list(func(m map[string]any) { delete(m, "Marks") }), exitOK, ""},
		{"more marks", marks, field("Marks", []int{1000, 1001, 1000}), exitOK, ""},
		{"another CommandType", marks, with("CommandType", "two"), exitOK, ""},
		{"unknown fields", marks, with("New", map[string]any{"MemberList": 3}), exitOK, ""},
		{"other marks", marks, field("Marks", []int{1001}), exitFailed, "mark_not_set"},
		{"accounts in another case", marks, list(shout), exitFailed, "offline_or_absent"},
		{"no MemberList", marks, with("MemberList", nil), exitFailed, "offline_or_absent"},
		{"an empty MemberList", marks, with("MemberList", []any{}), exitFailed, "offline_or_absent"},
		{"MemberList is an object", marks, with("MemberList", map[string]any{"a": 1}), exitStopped, ""},
		{"MemberList has texts", marks, with("MemberList", []string{"member 1"}), exitStopped, ""},
		{"accounts are numbers", marks, field("Member_Account", 1), exitStopped, ""},
		{"marks are texts", marks, field("Marks", []string{"1000"}), exitStopped, ""},
		{"ErrorCode is a text", marks, with("ErrorCode", "0"), exitStopped, ""},
		{"ErrorCode is an object", unread, with("ErrorCode", map[string]int{}), exitStopped, ""},
		{"no ErrorCode", unread, with("ErrorCode", nil), exitStopped, ""},
		{"ActionStatus is a number", unread, with("ActionStatus", 1), exitStopped, ""},
		{"a code in another case", unread, func(_ *call, a map[string]any) { delete(a, "ErrorCode"); a["errorcode"] = 0 }, exitOK, ""},
		{"much besides", unread, with("X", strings.Repeat("x", 1<<20)), exitOK, ""},
		{"nothing of groups", info, with("GroupInfo", nil), exitOK, ""},
		{"other groups", info, with("GroupInfo", []any{map[string]any{"GroupId": "nobody's", "Type": "AVChatRoom"}}), exitOK, ""},
		{"no type", info, with("GroupInfo", []any{map[string]any{"GroupId": "good", "MemberNum": -1}, map[string]any{"GroupId": "good", "MemberNum": "?"}}), exitOK, ""},
		{"no list of groups", info, with("GroupInfo", 7), exitStopped, ""},
	}
}

// Answers of a shape that nobody has written down: each row has the outcome that the answer
// vouches for. If it cannot be read, the call is tried again, and then the run stops
// and no row has failed.
func TestOddAnswers(t *testing.T) {
	for _, o := range every(oddAnswers(), 8) {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t)
			j := h.twoSets()
			j.code, j.lost = exitOK, func(e end) int { return 44 - h.summary(e).Succeeded }
			if o.command != "modify_user_info" {
				j.args = []string{"unread", "set", h.roster("two.csv", unreadHeader, h.two("7")), "--json"}
			}
			h.misbehaves(o.answer)
			e := h.run(append(j.args, "--retries", "1")...)
			e.want(t, o.code)
			lost := 0
			switch s := h.summary(e); {
			case o.class != "":
				lost = 44 - s.ByClass[o.class]
			case o.code == exitStopped:
				// A few fail, until it is clear that the others would, too.
				lost = 44 - s.Unprocessed - min(4, s.ByClass["no_answer"])
				h.misbehaves(func(*call) bool { return false })
				lost += h.resumed(j, e)
			default:
				lost = 44 - s.Succeeded
			}
			if lost != 0 {
				t.Errorf("%d rows have another outcome: %s", lost, e.stdout)
			}
			tried.add("server: an answer of an odd shape", 1, lost)
		})
	}
}

// answer answers oddly, in half of the cases with spaces between all.
func (o oddity) answer(c *call) bool {
	if c.command != o.command {
		return false
	}
	answer := maps.Clone(c.apply())
	if answer["ErrorCode"] == 0 {
		o.change(c, answer)
	}
	text, _ := json.Marshal(answer)
	if c.n%2 == 0 {
		text, _ = json.MarshalIndent(answer, "\n \r\n", " \t")
	}
	_, _ = c.w.Write(text) // who asked may be gone
	return true
}

// pageOf sends the members from one place to another, whatever was asked for.
func pageOf(first, last int) func(*call, map[string]any) {
	return func(_ *call, answer map[string]any) {
		members := []any{}
		for n := first; n < last; n++ {
			members = append(members, map[string]any{"Member_Account": fmt.Sprintf("member %d of 0", n)})
		}
		answer["MemberList"] = members
	}
}

// twice sends all members twice, the second time in another order.
func twice(_ *call, answer map[string]any) {
	members, _ := answer["MemberList"].([]any)
	again := slices.Clone(members)
	slices.Reverse(again)
	answer["MemberList"] = append(slices.Clone(members), again...)
}

// otherwise sends a cursor as a text instead of a number, or the other way round.
func otherwise(cursor string) func(*call, map[string]any) {
	return func(_ *call, answer map[string]any) {
		switch v := answer[cursor].(type) {
		case int:
			answer[cursor] = fmt.Sprint(v)
		case string:
			n, _ := strconv.Atoi(v) // "" is 0, the end
			answer[cursor] = n
		}
	}
}

// forEver gives each page a new cursor, and new members too.
func forEver(cursor string, value func(n int) any, members bool) func(*call, map[string]any) {
	return func(c *call, answer map[string]any) {
		answer[cursor] = value(c.n)
		if members {
			pageOf(c.n*1000, c.n*1000+1000)(c, answer)
		}
	}
}

func number(n int) any { return 100000 + n }
func digits(n int) any { return fmt.Sprint(100000 + n) }

// The pages of exports: of three groups each, with 450 members.
func oddPages() map[string][]oddity {
	const pages, online = "get_group_member_info", "get_members"
	num := func(value any) func(*call, map[string]any) { return with("MemberNum", value) }
	return map[string][]oddity{
		"Public": {
			{"MemberNum 0", pages, num(0), exitOK, ""}, {"MemberNum -1", pages, num(-1), exitOK, ""}, {"no MemberNum", pages, num(nil), exitOK, ""},
			{"MemberNum a text", pages, num("450"), exitOK, ""}, {"MemberNum letters", pages, num("many"), exitOK, ""}, {"MemberNum a list", pages, num([]int{}), exitOK, ""},
			{"MemberNum too large", pages, num(4500), exitOK, ""}, {"MemberNum millions", pages, num(2_000_000), exitOK, ""}, {"MemberNum out of reach", pages, num(1e18), exitOK, ""},
			{"another MemberNum on each page", pages, func(c *call, a map[string]any) { a["MemberNum"] = 451 + 7*c.n%20 }, exitOK, ""},
			{"all members twice", pages, twice, exitOK, ""}, {"always the same page", pages, pageOf(0, 100), exitFailed, "stuck_cursor"},
			{"MemberList a text", pages, with("MemberList", "none"), exitStopped, ""}, {"members are numbers", pages, with("MemberList", []int{1, 2}), exitStopped, ""},
		},
		"Community": {
			{"always the same cursor", pages, with("Next", "7"), exitFailed, "stuck_cursor"}, {"always a new cursor", pages, forEver("Next", digits, false), exitFailed, "stuck_cursor"},
			{"always new members", pages, forEver("Next", digits, true), exitFailed, "stuck_cursor"}, {"a cursor that is a list", pages, with("Next", []int{}), exitStopped, ""},
			{"a cursor that is a number", pages, otherwise("Next"), exitOK, ""}, {"MemberNum -1", pages, num(-1), exitOK, ""},
			{"MemberNum millions", pages, num(2_000_000), exitOK, ""}, {"all members twice", pages, twice, exitOK, ""},
		},
		"AVChatRoom": {
			{"always the same cursor", online, with("NextTimestamp", 7), exitFailed, "stuck_cursor"}, {"always a new cursor", online, forEver("NextTimestamp", number, false), exitFailed, "stuck_cursor"},
			{"always new members", online, forEver("NextTimestamp", number, true), exitFailed, "stuck_cursor"}, {"a cursor below 0", online, with("NextTimestamp", -1), exitStopped, ""},
			{"a cursor that is a text", online, otherwise("NextTimestamp"), exitOK, ""}, {"all members twice", online, twice, exitOK, ""},
		},
	}
}

// Pages that lie: about how many there are, about what comes next, or that never end. A
// group is whole or it fails; and no list is read for ever.
func TestOddPages(t *testing.T) {
	for kind, oddities := range oddPages() {
		for _, o := range every(oddities, 10) {
			t.Run(kind+", "+o.name, func(t *testing.T) {
				t.Parallel()
				h := newHostile(t)
				what := "members"
				if kind == "AVChatRoom" {
					what = "online"
				}
				j := h.export(what, kind, 3, 450)
				h.misbehaves(o.answer)
				e := h.run(append(j.args, "--retries", "1")...)
				e.want(t, o.code)
				lost := 0
				switch s := h.summary(e); {
				case o.code == exitOK:
					lost = j.lost(e)
				case o.code == exitStopped:
					lost = 3 - s.Unprocessed
				default:
					lost = 3 - s.ByClass[o.class]
				}
				if lost != 0 {
					t.Errorf("%d groups have another outcome: %s", lost, e.stdout)
				}
				tried.add("server: pages that lie or never end", 1, lost)
			})
		}
	}
}

// A list of all groups that lies or never ends is no list; one whose count is odd is.
func TestOddGroupList(t *testing.T) {
	const list = "get_appid_group_list"
	for _, o := range every([]oddity{
		{"TotalCount -1", list, with("TotalCount", -1), exitOK, ""}, {"no TotalCount", list, with("TotalCount", nil), exitOK, ""}, {"TotalCount a text", list, with("TotalCount", "x"), exitOK, ""},
		{"TotalCount too large", list, with("TotalCount", 4500), exitOK, ""}, {"Next a text", list, with("Next", "0"), exitOK, ""}, {"no Next", list, with("Next", nil), exitOK, ""},
		{"always the same cursor", list, with("Next", 7), exitStopped, "never ends"}, {"a cursor below 0", list, with("Next", -1), exitStopped, "Next is no whole number"},
		{"no groups, but a count", list, with("GroupIdList", nil), exitStopped, "lists none of the 3 groups"}, {"a group without a name", list, with("GroupIdList", []any{map[string]any{}}), exitStopped, "no GroupId"},
	}, 5) {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t)
			j := h.export("members", "Public", 3, 150, "--all-groups")
			h.misbehaves(o.answer)
			e := h.run(append(j.args, "--retries", "1")...)
			e.want(t, o.code, o.class)
			if lost := 0; o.code == exitOK {
				lost = j.lost(e)
				tried.add("server: a list of all groups that is odd", 1, lost)
			} else {
				tried.add("server: a list of all groups that never ends, or is none", 1, 0)
			}
		})
	}
}

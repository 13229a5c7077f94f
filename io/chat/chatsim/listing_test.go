package chatsim

import (
	"encoding/json"
	"fmt"
)

// A listing is an answer of get_group_member_info.
type listing struct {
	reply
	MemberNum  int
	Next       *string
	MemberList []map[string]any
}

func (l *listing) accounts() []string {
	var a []string
	for _, m := range l.MemberList {
		a = append(a, m["Member_Account"].(string))
	}
	return a
}

func (l *listing) field(name string) []any {
	var all []any
	for _, m := range l.MemberList {
		all = append(all, m[name])
	}
	return all
}

// listMembers asks for members; rest is the body after the GroupId.
func (c *caller) listMembers(group, rest string) listing {
	c.t.Helper()
	name, _ := json.Marshal(group)
	l := listing{reply: c.post(commandMemberInfo, fmt.Sprintf(`{"GroupId":%s%s}`, name, rest))}
	if l.err == nil && l.code() == 0 {
		if err := json.Unmarshal([]byte(l.text), &l); err != nil {
			c.t.Fatalf("%v: %s", err, l.text)
		}
	}
	return l
}

// byOffset reads a whole group by Offset.
func (c *caller) byOffset(group string, limit int) (accounts []string) {
	c.t.Helper()
	for {
		l := c.listMembers(group, fmt.Sprintf(`,"Limit":%d,"Offset":%d`, limit, len(accounts)))
		if l.code() != 0 {
			c.t.Fatalf("got %s", l.text)
		}
		if len(l.MemberList) == 0 {
			return accounts
		}
		accounts = append(accounts, l.accounts()...)
	}
}

// byCursor reads a whole Community by Next.
func (c *caller) byCursor(group string, limit int) (accounts []string) {
	c.t.Helper()
	for next := ""; ; {
		l := c.listMembers(group, fmt.Sprintf(`,"Limit":%d,"Next":%q`, limit, next))
		if l.code() != 0 {
			c.t.Fatalf("got %s", l.text)
		}
		accounts = append(accounts, l.accounts()...)
		if l.Next == nil || *l.Next == "" {
			return accounts
		}
		next = *l.Next
	}
}

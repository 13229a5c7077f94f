package chatsim

import (
	"fmt"
	"strings"
	"testing"
)

func (c *caller) unread(group, account string, n uint32) reply {
	c.t.Helper()
	return c.post(commandSetUnread, fmt.Sprintf(`{"GroupId":%q,"Member_Account":%q,"UnreadMsgNum":%d}`, group, account, n))
}

func wantUnread(t *testing.T, s *Sim, group, account string, want uint32, known bool) {
	t.Helper()
	if n, ok := s.Unread(group, account); n != want || ok != known {
		t.Errorf("%s in %s: got %d %v, want %d %v", account, group, n, ok, want, known)
	}
}

func TestUnread(t *testing.T) {
	sc := school(5, Scenario{Poison: []string{"m5"}})
	sc.Groups[0].Messages = new(uint32(10))
	for _, kind := range []string{"Meeting", "ChatRoom", "Work"} {
		sc.Groups = append(sc.Groups, Group{ID: kind, Type: kind, Messages: new(uint32(0)), Generate: Generate{Prefix: "m", Count: 2}})
	}
	tests := []struct {
		group, account string
		n              uint32
		code           int
		kept           uint32
		known          bool
	}{
		{"public", "m1", 7, 0, 7, true},
		{"public", "m2", 4294967295, 0, 10, true},
		{"public", "m3", 0, 0, 0, true},
		{"public", "m4", 10, 0, 10, true},
		{"public", "m5", 1, 10004, 0, false},
		{"public", "m6", 1, 10019, 0, false},
		{"public", strings.Repeat("x", 33), 1, 10019, 0, false},
		{"@TGS#_all", "m1", 4294967295, 0, 4294967295, true},
		{"live", "m1", 3, 0, 0, false},
		{"live", "nobody", 3, 0, 0, false},
		{"Meeting", "m1", 3, 0, 0, false},
		{"ChatRoom", "m1", 3, 0, 0, false},
		{"Work", "m1", 3, 0, 0, true},
		{"nowhere", "m1", 3, 10010, 0, false},
	}
	s := newSim(t, sc)
	c := newCaller(t, s)
	set := int64(0)
	for _, tt := range tests {
		r := c.unread(tt.group, tt.account, tt.n)
		wantCode(t, r, tt.code)
		wantUnread(t, s, tt.group, tt.account, tt.kept, tt.known)
		if tt.known {
			set++
		}
	}
	if n := s.Counts(); n.Unread != set || n.Accounts != int64(len(tests)) {
		t.Errorf("got %+v, want %d unread counts of %d accounts", n, set, len(tests))
	}
	wantCode(t, c.unread("public", "m1", 2), 0) // the last one stands
	wantUnread(t, s, "public", "m1", 2, true)
}

func TestUnreadBodies(t *testing.T) {
	c := newCaller(t, newSim(t, school(5, Scenario{})))
	for body, want := range map[string]int{
		`{"GroupId":"public","Member_Account":"m1","UnreadMsgNum":5}`:          0,
		`{"Member_Account":"m1","UnreadMsgNum":5}`:                             10004,
		`{"GroupId":"public","UnreadMsgNum":5}`:                                10004,
		`{"GroupId":"public","Member_Account":"m1"}`:                           10004,
		`{"GroupId":"public","Member_Account":"m1","UnreadMsgNum":null}`:       10004,
		`{"GroupId":"public","Member_Account":"m1","UnreadMsgNum":-1}`:         10004,
		`{"GroupId":"public","Member_Account":"m1","UnreadMsgNum":4294967296}`: 10004,
		`{"GroupId":"public","Member_Account":"m1","UnreadMsgNum":"5"}`:        10004,
		`{"GroupId":"public","Member_Account":"m1","UnreadMsgNum":5.5}`:        10004,
		`{"GroupId":"public","Member_Account":1,"UnreadMsgNum":5}`:             60015,
		`{"GroupId":"@TGSx","Member_Account":"m1","UnreadMsgNum":5}`:           10015,
	} {
		if r := c.post(commandSetUnread, body); r.code() != want {
			t.Errorf("%s: got %d, want %d", body, r.code(), want)
		}
	}
}

func TestUnreadOfOpenGroups(t *testing.T) {
	for _, keep := range []bool{false, true} {
		s := newSim(t, Scenario{Open: true, KeepState: keep, NotMemberCode: 70107})
		c := newCaller(t, s)
		wantCode(t, c.set("g", 1000, "x"), 0) // the same group may be one for marks
		wantCode(t, c.unread("g", "x", 5), 0)
		wantCode(t, c.unread("@TGS#_g", "x", 6), 0)
		wantCode(t, c.unread("g", strings.Repeat("x", 33), 5), 70107)
		if keep {
			wantUnread(t, s, "g", "x", 5, true)
			wantUnread(t, s, "@TGS#_g", "x", 6, true)
		} else {
			wantUnread(t, s, "g", "x", 0, false)
		}
	}
}

func TestAction1(t *testing.T) {
	c := newCaller(t, newSim(t, school(5, Scenario{Action1: true})))
	for account, want := range map[string]string{"m1": "OK", "m6": "FAIL"} {
		if r := c.unread("public", account, 5); r.Action1Status != want || r.ActionStatus != "" {
			t.Errorf("got %s, want Action1Status %s", r.text, want)
		}
	}
	wantCode(t, c.listMembers("public", "").reply, 0) // only set_unread_msg_num does
}

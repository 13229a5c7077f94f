package chatsim

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// profileScenario has the members of the samples of get_group_member_info.
func profileScenario() Scenario {
	custom := Custom{{"MemberDefined1", "ModifyDefined1"}, {"MemberDefined2", "ModifyDefined2"}}
	two := []Member{
		{Account: "bob", Role: "Owner", JoinTime: 1425976500, MsgSeq: 1233, LastSendMsgTime: 1425976500, MuteUntil: 1431069882, Custom: custom},
		{Account: "peter", JoinTime: 1425976500, MsgSeq: 1233, LastSendMsgTime: 1425976500, Custom: custom},
	}
	return Scenario{QPS: -1, GroupListQPS: -1, Groups: []Group{
		{ID: "@TGS#1NVTZEAE4", Type: "Public", Members: two},
		{ID: "@TGS#37AB3PAEC", Type: "Public", Members: two},
		{ID: "@TGS#_@TGS#cAVQXXXXXX", Type: "Community", Generate: Generate{Prefix: "u", Count: 100_000}},
	}}
}

// fiveMore has eight members: Test_1, Test_6 and others who have another role.
func fiveMore(s *Scenario) {
	s.Groups[1].Members = []Member{
		{Account: "Test_1", Role: "Owner", JoinTime: 1450680436, MsgSeq: 1, MsgFlag: "AcceptNotNotify", NameCard: new("")},
		{Account: "Test_6", Role: "Admin", JoinTime: 1450680436, MsgSeq: 1, MsgFlag: "AcceptNotNotify", NameCard: new("")},
	}
	s.Groups[1].Generate = Generate{Prefix: "x", Count: 6}
}

func TestProfileSamples(t *testing.T) {
	// The page prints a Next that only a Community sends in answers about
	// other groups.
	noNext := strings.NewReplacer(`"Next": "144115265295492787",`, ``)
	tests := []struct {
		name, request, response string
		change                  func(*Scenario)
		asked, answered         *strings.Replacer
	}{
		{name: "basic", request: "", response: "", change: blank, answered: noNext},
		{name: "by offset", request: "offset.", response: "", change: blank, answered: noNext},
		{name: "fields", request: "fields.", response: "fields.", change: blank},
		{name: "custom fields", request: "custom.", response: "custom."},
		{name: "all in one", request: "all.", response: "all.", answered: noNext},
		// The sample asks for Owner and Member, and lists an Admin.
		{name: "roles", request: "roles.", response: "roles.", change: fiveMore, asked: strings.NewReplacer(`"Member"`, `"Admin"`)},
		{name: "tomorrow", request: "fields.", response: "extra.", change: tomorrow, answered: strings.NewReplacer("ID-54-103-1792000000-44", "sim-1")},
		{name: "too large", request: "", response: "10018.", change: func(s *Scenario) { s.MaxAnswer = 300 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sc := profileScenario()
			if tt.change != nil {
				tt.change(&sc)
			}
			ask := replaced(tt.asked, testdata(t, "wire", "get_group_member_info."+tt.request+"request.json"))
			want := replaced(tt.answered, testdata(t, "wire", "get_group_member_info."+tt.response+"response.json"))
			wantSample(t, newCaller(t, newSim(t, sc)).post(commandMemberInfo, ask).text, []byte(want))
		})
	}
}

func replaced(r *strings.Replacer, text []byte) string {
	if r == nil {
		return string(text)
	}
	return r.Replace(string(text))
}

func blank(s *Scenario) { s.RoleBlank = true }

func tomorrow(s *Scenario) {
	blank(s)
	m := s.Groups[0].Members
	m[0].Extra, m[1].Extra = Extra{{"OnlineStatus", []byte(`"Online"`)}}, Extra{{"OnlineStatus", []byte(`{"Web":true}`)}}
	m[1].MuteUntil = 4294967295
}

// The two samples of a cursor, and the answer that ends the list.
func TestCursorSamples(t *testing.T) {
	c := newCaller(t, newSim(t, profileScenario()))
	var first, second listing
	for _, ask := range []struct {
		name string
		into *listing
	}{{"next", &first}, {"next_page", &second}} {
		r := c.post(commandMemberInfo, string(testdata(t, "wire", "get_group_member_info."+ask.name+".request.json")))
		wantCode(t, r, 0)
		if err := json.Unmarshal([]byte(r.text), ask.into); err != nil {
			t.Fatal(err)
		}
	}
	if *first.Next != "144115265295492787" {
		t.Errorf("got Next %s, want that of the sample", *first.Next)
	}
	if diff := cmp.Diff(numbered("u", 200), append(first.accounts(), second.accounts()...)); diff != "" {
		t.Error(diff)
	}
	sc := profileScenario()
	sc.Groups[2].Generate = Generate{}
	sc.Groups[2].Members = sc.Groups[0].Members
	r := newCaller(t, newSim(t, sc)).post(commandMemberInfo, string(testdata(t, "wire", "get_group_member_info.next.request.json")))
	wantSample(t, r.text, testdata(t, "wire", "get_group_member_info.last.response.json"))
}

func TestGroupSamples(t *testing.T) {
	sc := profileScenario()
	c := newCaller(t, newSim(t, sc))
	for _, name := range []string{"get_group_info", "get_appid_group_list"} {
		r := c.post(name, string(testdata(t, "wire", name+".request.json")))
		wantSample(t, r.text, testdata(t, "wire", name+".response.json"))
	}
	r := c.post(commandGroupList, string(testdata(t, "wire", "get_appid_group_list.next.request.json")))
	wantSample(t, r.text, testdata(t, "wire", "get_appid_group_list.last.response.json"))
	wantCode(t, c.post(commandGroupList, string(testdata(t, "wire", "get_appid_group_list.type.request.json"))), 0)

	// The sample does not say what makes an ID a bad one.
	bad := strings.NewReplacer("@TGS#bad", "@TGSbad", "Invalid group ID. Use the correct group ID.", texts[codeBadGroupID])
	sc.Groups[0].Type = "Private"
	sc.Groups = append(sc.Groups, Group{ID: "@TGS#a6I4ZUUGO"})
	r = newCaller(t, newSim(t, sc)).post(commandGroupInfo, replaced(bad, testdata(t, "wire", "get_group_info.partial.request.json")))
	wantSample(t, r.text, []byte(replaced(bad, testdata(t, "wire", "get_group_info.partial.response.json"))))
}

func TestUnreadSamples(t *testing.T) {
	for action1, file := range map[bool]string{false: "set_unread_msg_num.status.response.json", true: "set_unread_msg_num.response.json"} {
		s := newSim(t, Scenario{Action1: action1, Groups: []Group{{ID: "@TGS#2CLUZEAEJ", Type: "Public", Members: []Member{{Account: "bob"}}}}})
		r := newCaller(t, s).post(commandSetUnread, string(testdata(t, "wire", "set_unread_msg_num.request.json")))
		wantSample(t, r.text, testdata(t, "wire", file))
		wantUnread(t, s, "@TGS#2CLUZEAEJ", "bob", 5, true)
	}
}

// The example does what its comments say.
func TestSchoolScenario(t *testing.T) {
	sc, err := Parse(strings.NewReader(string(testdata(t, "scenarios", "school.yaml"))))
	if err != nil {
		t.Fatal(err)
	}
	sc.QPS, sc.GroupListQPS, sc.Latency, sc.Jitter = -1, -1, 0, 0
	s := newSim(t, sc)
	c := newCaller(t, s)
	kinds := map[string]bool{}
	for _, g := range sc.Groups {
		kinds[typeOr(g.Type)] = true
	}
	if len(kinds) != 5 {
		t.Errorf("got types %v, want all five", kinds)
	}
	if p := c.groups("", 10_000, 0); p.TotalCount != len(sc.Groups)+120+12+40 {
		t.Errorf("got %d groups", p.TotalCount)
	}
	staff := c.listMembers("@TGS#1STAFF", "")
	wantCode(t, staff.reply, 0)
	for i, want := range map[int]any{1: `=HYPERLINK("https://example.com","marks")`, 2: "Line one\nline two; \"quoted\", and a\ttab", 5: "", 6: nil} {
		if got := staff.field("NameCard")[i]; got != want {
			t.Errorf("member %d: got name card %q, want %q", i, got, want)
		}
	}
	if !strings.Contains(staff.text, "\xff") || !strings.Contains(staff.text, "12345678901234567890.10") {
		t.Errorf("got %q", staff.text)
	}
	c.unread("@TGS#1STAFF", "head", 99)
	wantUnread(t, s, "@TGS#1STAFF", "head", 40, true)
	if r := c.unread("@TGS#1STAFF", "spoiled", 1); r.code() != 10004 || r.Action1Status != "FAIL" {
		t.Errorf("got %s", r.text)
	}
	c.byOffset("year-5", 100)
	if left := 450 - len(s.MembersNow("year-5")); left <= 0 {
		t.Errorf("got %d who left more than joined", left)
	}
	if got := len(c.byCursor("@TGS#_alumni", 100)); got < 3000 {
		t.Errorf("got %d alumni, want at least 3000", got)
	}
	for n := range 12 {
		if got := len(c.byCursor(fmt.Sprint("@TGS#_year-", n+1), 100)); got != 350 {
			t.Errorf("got %d of year %d, want 350", got, n+1)
		}
	}
}

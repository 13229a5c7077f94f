package chatsim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// groupInfo asks about groups with a filter or another rest of the body, and
// gives a line for each.
func (c *caller) groupInfo(rest string, ids ...string) (reply, []string) {
	c.t.Helper()
	list, _ := json.Marshal(ids)
	r := c.post(commandGroupInfo, fmt.Sprintf(`{"GroupIdList":%s%s}`, list, rest))
	var l struct {
		GroupInfo []struct {
			GroupId    string
			ErrorCode  int
			Type       string
			MemberNum  *int
			NextMsgSeq int64
			MemberList []any
		}
	}
	if r.err == nil && r.code() == 0 {
		if err := json.Unmarshal([]byte(r.text), &l); err != nil {
			c.t.Fatal(err)
		}
	}
	var lines []string
	for _, g := range l.GroupInfo {
		num := "-"
		if g.MemberNum != nil {
			num = fmt.Sprint(*g.MemberNum)
		}
		lines = append(lines, fmt.Sprint(g.GroupId, " ", g.ErrorCode, " ", g.Type, " ", num, " ", g.NextMsgSeq, " ", len(g.MemberList)))
	}
	return r, lines
}

const typeAndNumber = `,"ResponseFilter":{"GroupBaseInfoFilter":["Type","MemberNum"]}`

func TestGroupInfo(t *testing.T) {
	sc := school(5, Scenario{GenerateGroups: []GenerateGroups{{Prefix: "made", Count: 3, Type: "Private", Members: 9}}})
	sc.Groups[0].Messages = new(uint32(41))
	c := newCaller(t, newSim(t, sc))
	all := []string{"public", "live", "nowhere", "@TGSbad", "@TGS#_all", "made3", "made4", "public"}
	tests := []struct {
		name, rest string
		want       []string
	}{
		{"filter", typeAndNumber, []string{"public 0 Public 5 0 0", "live 0 AVChatRoom - 0 0", "nowhere 10010  - 0 0", "@TGSbad 10015  - 0 0",
			"@TGS#_all 0 Community 5 0 0", "made3 0 Private 9 0 0", "made4 10010  - 0 0", "public 0 Public 5 0 0"}},
		{"none: members come along", ``, []string{"public 0 Public 5 42 5", "live 0 AVChatRoom - 1 0", "nowhere 10010  - 0 0", "@TGSbad 10015  - 0 0",
			"@TGS#_all 0 Community 5 1 5", "made3 0 Private 9 1 9", "made4 10010  - 0 0", "public 0 Public 5 42 5"}},
		{"members on demand", `,"ResponseFilter":{"GroupBaseInfoFilter":["Type"],"MemberInfoFilter":["Role"]}`,
			[]string{"public 0 Public - 0 5", "live 0 AVChatRoom - 0 0", "nowhere 10010  - 0 0", "@TGSbad 10015  - 0 0",
				"@TGS#_all 0 Community - 0 5", "made3 0 Private - 0 9", "made4 10010  - 0 0", "public 0 Public - 0 5"}},
	}
	for _, tt := range tests {
		r, got := c.groupInfo(tt.rest, all...)
		wantCode(t, r, 0)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	for n, want := range map[int]int{0: 10004, 1: 0, 50: 0, 51: 10004} {
		r, _ := c.groupInfo(typeAndNumber, slices.Repeat([]string{"public"}, n)...)
		wantCode(t, r, want)
	}
	wantCode(t, c.post(commandGroupInfo, `{"GroupIdList":[5]}`), 10004)
}

func TestGroupInfoTooLarge(t *testing.T) {
	c := newCaller(t, newSim(t, school(maxGenerate, Scenario{})))
	r, _ := c.groupInfo("", "public")
	wantCode(t, r, 10018)
	r, _ = c.groupInfo(typeAndNumber, "public")
	wantCode(t, r, 0)
	c = newCaller(t, newSim(t, school(100, Scenario{MaxAnswer: 50_000}))) // each fits, both do not
	r, _ = c.groupInfo("", "public")
	wantCode(t, r, 0)
	r, _ = c.groupInfo("", "public", "@TGS#_all", "public", "public")
	wantCode(t, r, 10018)
}

func TestGroupInfoOfOpenGroups(t *testing.T) {
	for _, keep := range []bool{false, true} {
		c := newCaller(t, newSim(t, Scenario{Open: true, KeepState: keep, OpenMembers: 7}))
		wantCode(t, c.set("g", 1000, "x"), 0)
		r, got := c.groupInfo(typeAndNumber, "g", "@TGS#_g", "@TGS#_g@TOPIC#_t")
		wantCode(t, r, 0)
		if diff := cmp.Diff([]string{"g 0 Public 7 0 0", "@TGS#_g 0 Community 7 0 0", "@TGS#_g@TOPIC#_t 10015  - 0 0"}, got); diff != "" {
			t.Errorf("KeepState %v: %s", keep, diff)
		}
	}
}

// A groupsPage is an answer of get_appid_group_list.
type groupsPage struct {
	reply
	TotalCount  int
	GroupIdList []struct{ GroupId string }
	Next        uint64
}

func (c *caller) groups(kind string, limit int, next uint64) groupsPage {
	c.t.Helper()
	p := groupsPage{reply: c.post(commandGroupList, fmt.Sprintf(`{"GroupType":%q,"Limit":%d,"Next":%d}`, kind, limit, next))}
	if p.err == nil && p.code() == 0 {
		if err := json.Unmarshal([]byte(p.text), &p); err != nil {
			c.t.Fatal(err)
		}
	}
	return p
}

func TestGroupList(t *testing.T) {
	sc := school(5, Scenario{Open: true, KeepState: true, GroupListQPS: -1, GenerateGroups: []GenerateGroups{
		{Prefix: "a", Count: 3, Type: "Work", Members: 2}, {Prefix: "b", Count: 4, Members: 2}, {Prefix: "c", Count: 2, Type: "Public"}}})
	c := newCaller(t, newSim(t, sc))
	wantCode(t, c.unread("open", "x", 1), 0) // exists, but is not listed
	wantCode(t, c.unread("a2", "member-2", 1), 0)
	everything := []string{"public", "@TGS#_all", "live", "a1", "a2", "a3", "b1", "b2", "b3", "b4", "c1", "c2"}
	for kind, want := range map[string][]string{
		"": everything, "Public": {"public", "c1", "c2"}, "Work": {"a1", "a2", "a3"}, "Private": {"a1", "a2", "a3"},
		"AVChatRoom": {"live", "b1", "b2", "b3", "b4"}, "Community": {"@TGS#_all"}, "Odd": nil,
	} {
		for _, limit := range []int{1, 2, 3, 10_000} {
			var got []string
			for next, pages := uint64(0), 0; ; pages++ {
				p := c.groups(kind, limit, next)
				wantCode(t, p.reply, 0)
				for _, g := range p.GroupIdList {
					got = append(got, g.GroupId)
				}
				if p.TotalCount != len(want) || len(p.GroupIdList) > limit || pages > len(want) {
					t.Fatalf("%q by %d: got %s", kind, limit, p.text)
				}
				if next = p.Next; next == 0 {
					break
				}
				if next <= 1<<53 || len(p.GroupIdList) < limit {
					t.Errorf("%q by %d: got %s", kind, limit, p.text)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%q by %d: %s", kind, limit, diff)
			}
		}
	}
}

func TestGroupListRequests(t *testing.T) {
	c := newCaller(t, newSim(t, Scenario{GroupListQPS: -1, GroupListLimit: 2, Groups: []Group{{ID: "a"}, {ID: "b"}, {ID: "c"}}}))
	for body, want := range map[string]int{
		`{}`: 0, `{"Limit":10000,"Next":0}`: 0, `{"Limit":0}`: 10004, `{"Limit":10001}`: 10004, `{"Next":"0"}`: 10004, `{"Next":-1}`: 10004,
		`{"Next":1}`: 10004, `{"Next":18014398509481983}`: 0, `{"Next":18014398509481987}`: 10004, `{"Next":18446744073709551615}`: 10004,
	} {
		r := c.post(commandGroupList, body)
		if r.code() != want {
			t.Errorf("%s: got %s, want %d", body, r.text, want)
		}
		if n := strings.Count(r.text, "GroupId\":"); want == 0 && n > 2 {
			t.Errorf("%s: got %d groups, want at most 2", body, n)
		}
	}
	c = newCaller(t, newSim(t, Scenario{}))
	if p := c.groups("", 5, 0); p.code() != 0 || !strings.Contains(p.text, `"GroupIdList":[]`) || p.Next != 0 {
		t.Errorf("got %s, want nothing", p.text)
	}
}

// The list has a quota of its own, whatever the others leave.
func TestGroupListQuota(t *testing.T) {
	for _, tt := range []struct {
		name string
		sc   Scenario
		want int
	}{
		{"once a second", Scenario{}, 1},
		{"with a quota for each", Scenario{QPSScope: "api"}, 1},
		{"without another", Scenario{QPS: -1}, 1},
		{"more often", Scenario{GroupListQPS: 3}, 3},
		{"no more often than anything", Scenario{QPS: 2, GroupListQPS: -1}, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCaller(t, newSim(t, class(tt.sc)))
			for second := range 3 {
				ok := 0
				for range 5 {
					switch p := c.groups("", 10, 0); p.code() {
					case 0:
						ok++
					case 60007:
					default:
						t.Fatalf("got %s", p.text)
					}
				}
				if ok != tt.want {
					t.Errorf("%s: got %d in second %d, want %d", tt.name, ok, second, tt.want)
				}
				time.Sleep(time.Second)
			}
		})
	}
}

// Generated groups exist for every command, and keep what is done to them.
func TestGeneratedGroups(t *testing.T) {
	s := newSim(t, Scenario{QPS: -1, GenerateGroups: []GenerateGroups{
		{Prefix: "class", Count: 100_000, Type: "Public", Members: 28}, {Prefix: "room", Count: 100_000, Members: 3}}})
	c := newCaller(t, s)
	if got := c.byOffset("class99999", 20); !slices.Equal(got, numbered("member-", 28)) {
		t.Errorf("got %v", got)
	}
	wantCode(t, c.listMembers("class100001", "").reply, 10010)
	wantCode(t, c.unread("class7", "member-28", 4), 0)
	wantUnread(t, s, "class7", "member-28", 4, true)
	wantCode(t, c.unread("class7", "member-29", 4), 10019)
	wantCode(t, c.set("room5", 1000, "member-1"), 0)
	if diff := cmp.Diff(map[string][]uint64{"member-1": {1000}}, s.Marks("room5")); diff != "" {
		t.Error(diff)
	}
	if !s.SetOnline("room6", "member-2", false) || len(c.members("room6", 0, 0).accounts()) != 2 {
		t.Error("SetOnline does not reach a generated group")
	}
	if n := len(s.groups); n != 3 {
		t.Errorf("%d groups take memory, want 3", n)
	}
}

package chatsim

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// school has a Public group, a Community and an AVChatRoom of n members each:
// m1, m2, …
func school(n int, sc Scenario) Scenario {
	gen := Generate{Prefix: "m", Count: n}
	sc.Groups = append(slices.Clone(sc.Groups), Group{ID: "public", Type: "Public", Generate: gen},
		Group{ID: "@TGS#_all", Type: "Community", Generate: gen}, Group{ID: "live", Generate: gen})
	if sc.QPS == 0 {
		sc.QPS = -1
	}
	return sc
}

func TestMemberInfoRequests(t *testing.T) {
	c := newCaller(t, newSim(t, school(5, Scenario{})))
	tests := []struct {
		name, group, rest string
		want              int
	}{
		{"all", "public", ``, 0},
		{"an offset beyond the end", "public", `,"Offset":9223372036854775807`, 0},
		{"nulls", "public", `,"Limit":null,"Offset":null,"Next":null,"MemberRoleFilter":null,"MemberInfoFilter":null`, 0},
		{"empty filters", "public", `,"MemberRoleFilter":[],"MemberInfoFilter":[],"AppDefinedDataFilter_GroupMember":[]`, 0},
		{"a cursor for a group without", "public", `,"Next":""`, 10004},
		{"both", "public", `,"Offset":0,"Next":""`, 10004},
		{"both for a community", "@TGS#_all", `,"Offset":0,"Next":""`, 10004},
		{"a community by Offset", "@TGS#_all", `,"Offset":10`, 10004},
		{"a community without Next", "@TGS#_all", ``, 10004},
		{"a community", "@TGS#_all", `,"Next":""`, 0},
		{"a community by a number", "@TGS#_all", `,"Next":144115265295492688`, 10004},
		{"a cursor of nobody", "@TGS#_all", `,"Next":"144115265295492693"`, 10004},
		{"a cursor before the first", "@TGS#_all", `,"Next":"144115265295492686"`, 10004},
		{"a cursor that is none", "@TGS#_all", `,"Next":"x"`, 10004},
		{"an AVChatRoom", "live", `,"Offset":0`, 10007},
		{"no group", "", ``, 10004},
		{"an unknown group", "nowhere", ``, 10010},
		{"a topic", "@TGS#_x@TOPIC#_y", `,"Next":""`, 10015},
		{"Limit 0", "public", `,"Limit":0`, 10004},
		{"Limit beyond 6000", "public", `,"Limit":6001`, 10004},
		{"Offset below zero", "public", `,"Offset":-1`, 10004},
		{"Offset as a string", "public", `,"Offset":"1"`, 10004},
		{"a role that is none", "public", `,"MemberRoleFilter":["Member "]`, 10004},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantCode(t, c.listMembers(tt.group, tt.rest).reply, tt.want)
		})
	}
}

func TestMemberInfoLimits(t *testing.T) {
	c := newCaller(t, newSim(t, school(1000, Scenario{})))
	for rest, want := range map[string]int{
		``: 1000, `,"Limit":6000`: 200, `,"Limit":7`: 7, `,"Limit":7,"Offset":997`: 3, `,"Offset":10`: 990, `,"Offset":1000`: 0,
	} {
		l := c.listMembers("public", rest)
		if len(l.MemberList) != want || l.MemberNum != 1000 || l.Next != nil {
			t.Errorf("%s: got %d of %d members and Next %v, want %d of 1000 and none", rest, len(l.MemberList), l.MemberNum, l.Next, want)
		}
	}
	for rest, want := range map[string]int{`,"Next":""`: 1000, `,"Limit":200,"Next":""`: 100} {
		if l := c.listMembers("@TGS#_all", rest); len(l.MemberList) != want || l.MemberNum != 1000 {
			t.Errorf("%s: got %d of %d members, want %d of 1000", rest, len(l.MemberList), l.MemberNum, want)
		}
	}
	c = newCaller(t, newSim(t, school(1000, Scenario{MemberLimit: 30, CommunityLimit: 40})))
	if n := len(c.listMembers("public", `,"Limit":6000`).MemberList); n != 30 {
		t.Errorf("got %d members, want 30", n)
	}
	if n := len(c.listMembers("@TGS#_all", `,"Limit":41,"Next":""`).MemberList); n != 40 {
		t.Errorf("got %d members, want 40", n)
	}
}

func TestMemberInfoPages(t *testing.T) {
	for _, n := range []int{0, 1, 99, 100, 101, 250} {
		s := newSim(t, school(n, Scenario{}))
		c := newCaller(t, s)
		want := s.MembersNow("public")
		if len(want) != n {
			t.Fatalf("got %d members, want %d", len(want), n)
		}
		if got := c.byOffset("public", 100); !slices.Equal(got, want) {
			t.Errorf("%d by Offset: got %v", n, got)
		}
		if got := c.byCursor("@TGS#_all", 100); !slices.Equal(got, want) {
			t.Errorf("%d by Next: got %v", n, got)
		}
	}
}

func TestMemberInfoLastPage(t *testing.T) {
	for _, omit := range []bool{false, true} {
		c := newCaller(t, newSim(t, school(101, Scenario{OmitNext: omit})))
		first := c.listMembers("@TGS#_all", `,"Limit":100,"Next":""`)
		if n, err := strconv.ParseUint(*first.Next, 10, 64); err != nil || n <= 1<<53 {
			t.Errorf("got Next %s, want a number above 2^53", *first.Next)
		}
		last := c.listMembers("@TGS#_all", fmt.Sprintf(`,"Limit":100,"Next":%q`, *first.Next))
		if omit && last.Next != nil || !omit && (last.Next == nil || *last.Next != "") {
			t.Errorf("OmitNext %v: got %s", omit, last.text)
		}
	}
}

func TestMemberInfoStuck(t *testing.T) {
	for _, n := range []int{0, 5, 300} {
		c := newCaller(t, newSim(t, school(n, Scenario{Faults: []Fault{{Kind: KindStuck, Command: commandMemberInfo, Rate: 1}}})))
		first := c.listMembers("@TGS#_all", `,"Limit":100,"Next":""`)
		if first.Next == nil || *first.Next == "" {
			t.Fatalf("got %s, want a cursor", first.text)
		}
		for range 3 {
			l := c.listMembers("@TGS#_all", fmt.Sprintf(`,"Limit":100,"Next":%q`, *first.Next))
			if l.Next == nil || *l.Next != *first.Next {
				t.Errorf("%d members: got %s, want Next %s again", n, l.text, *first.Next)
			}
		}
	}
}

func TestMemberInfoRoles(t *testing.T) {
	members := []Member{{Account: "boss"}, {Account: "a1", Role: "Admin"}, {Account: "x"}, {Account: "a2", Role: "Admin"}, {Account: "y", Role: "Member"}}
	sc := Scenario{QPS: -1, CommunityLimit: 2, Groups: []Group{{ID: "g", Type: "Public", Owner: "boss", Members: members},
		{ID: "@TGS#_g", Type: "Community", Owner: "boss", Members: members}}}
	tests := []struct {
		offset, rest string
		want         []string
	}{
		{"", `,"MemberRoleFilter":["Owner","Member"]`, []string{"boss", "x", "y"}},
		{"", `,"MemberRoleFilter":["Admin"],"Limit":2,"Offset":0`, []string{"a1"}},
		{"", `,"MemberRoleFilter":["Admin"],"Limit":2,"Offset":2`, []string{"a2"}},
		{"before", `,"MemberRoleFilter":["Owner"],"Limit":2,"Offset":2`, nil},
		{"after", `,"MemberRoleFilter":["Admin"],"Limit":2,"Offset":0`, []string{"a1", "a2"}},
		{"after", `,"MemberRoleFilter":["Admin"],"Limit":2,"Offset":1`, []string{"a2"}},
		{"after", `,"MemberRoleFilter":["Admin"],"Limit":2,"Offset":2`, nil},
		{"after", `,"Limit":2,"Offset":2`, []string{"x", "a2"}},
	}
	for _, tt := range tests {
		sc.RoleOffset = tt.offset
		l := newCaller(t, newSim(t, sc)).listMembers("g", tt.rest)
		if diff := cmp.Diff(tt.want, l.accounts()); diff != "" || l.MemberNum != 5 {
			t.Errorf("%s %s: MemberNum %d, %s", tt.offset, tt.rest, l.MemberNum, diff)
		}
	}
	// By a cursor, the list ends in both readings and has everybody once.
	for _, offset := range []string{"before", "after"} {
		sc.RoleOffset = offset
		c := newCaller(t, newSim(t, sc))
		var got []string
		next := ""
		for range 5 {
			l := c.listMembers("@TGS#_g", fmt.Sprintf(`,"MemberRoleFilter":["Admin"],"Limit":1,"Next":%q`, next))
			got = append(got, l.accounts()...)
			if next = *l.Next; next == "" {
				break
			}
		}
		if diff := cmp.Diff([]string{"a1", "a2"}, got); diff != "" || next != "" {
			t.Errorf("%s: ends with Next %q, %s", offset, next, diff)
		}
	}
}

func TestRoleBlank(t *testing.T) {
	c := newCaller(t, newSim(t, school(2, Scenario{RoleBlank: true})))
	l := c.listMembers("public", `,"MemberRoleFilter":["Owner","Member"]`)
	if diff := cmp.Diff([]any{"Owner", "Member "}, l.field("Role")); diff != "" {
		t.Error(diff)
	}
}

// Whoever owns a group is one person, whatever the sort of member.
func TestOwner(t *testing.T) {
	gen := Generate{Prefix: "s", Count: 4}
	for _, tt := range []struct {
		name string
		g    Group
		want string
	}{
		{"the first who is generated", Group{Generate: gen}, "s1"},
		{"the first who is not listed", Group{Generate: gen, Members: []Member{{Account: "s2"}, {Account: "s1"}}}, "s3"},
		{"generated and named", Group{Generate: gen, Owner: "s3"}, "s3"},
		{"listed by role", Group{Generate: gen, Members: []Member{{Account: "t"}, {Account: "u", Role: "Owner"}}}, "u"},
		{"listed and named", Group{Generate: gen, Owner: "t", Members: []Member{{Account: "t"}}}, "t"},
		{"no member", Group{Generate: gen, Owner: "t"}, ""},
		{"nobody", Group{Members: []Member{{Account: "t"}}}, ""},
	} {
		tt.g.ID, tt.g.Type = "g", "Public"
		l := newCaller(t, newSim(t, Scenario{Groups: []Group{tt.g}})).listMembers("g", `,"MemberRoleFilter":["Owner"]`)
		if got := strings.Join(l.accounts(), " "); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestMemberInfoFilters(t *testing.T) {
	sc := Scenario{Groups: []Group{{ID: "g", Type: "Public", Members: []Member{
		{Account: "a", Custom: Custom{{"k1", "v1"}, {"k2", "v2"}}, Extra: Extra{{"OnlineStatus", []byte(`"Web"`)}}}, {Account: "b", NameCard: new("")},
	}}}}
	c := newCaller(t, newSim(t, sc))
	tests := []struct{ rest, a, b string }{
		{``, `Role JoinTime MsgSeq MsgFlag LastSendMsgTime MuteUntil AppMemberDefinedData:k1,k2 OnlineStatus`, `Role JoinTime MsgSeq MsgFlag LastSendMsgTime MuteUntil NameCard`},
		{`,"MemberInfoFilter":["NameCard","JoinTime"]`, `JoinTime OnlineStatus`, `JoinTime NameCard`},
		{`,"MemberInfoFilter":["Nothing"]`, `OnlineStatus`, ``},
		{`,"MemberInfoFilter":["AppMemberDefinedData"]`, `AppMemberDefinedData:k1,k2 OnlineStatus`, ``},
		{`,"MemberInfoFilter":["Role"],"AppDefinedDataFilter_GroupMember":["k2"]`, `Role AppMemberDefinedData:k2 OnlineStatus`, `Role`},
		{`,"MemberInfoFilter":["Role"],"AppDefinedDataFilter_GroupMember":["none"]`, `Role OnlineStatus`, `Role`},
	}
	for _, tt := range tests {
		l := c.listMembers("g", tt.rest)
		wantCode(t, l.reply, 0)
		if a, b := shape(l.text, 0), shape(l.text, 1); a != tt.a || b != tt.b {
			t.Errorf("%s: got %q and %q, want %q and %q", tt.rest, a, b, tt.a, tt.b)
		}
	}
}

// shape names the fields of the n-th member in the order of the answer.
func shape(text string, n int) string {
	var l struct{ MemberList []json.RawMessage }
	if json.Unmarshal([]byte(text), &l) != nil || len(l.MemberList) <= n {
		return "?"
	}
	dec := json.NewDecoder(strings.NewReader(string(l.MemberList[n])))
	var names []string
	for dec.Token(); dec.More(); { // the opening brace
		name, _ := dec.Token()
		var v any
		if dec.Decode(&v) != nil {
			return "?"
		}
		switch list, _ := v.([]any); {
		case name == "Member_Account":
			continue
		case list != nil:
			var keys []string
			for _, e := range list {
				keys = append(keys, e.(map[string]any)["Key"].(string))
			}
			names = append(names, fmt.Sprint(name, ":", strings.Join(keys, ",")))
		default:
			names = append(names, fmt.Sprint(name))
		}
	}
	return strings.Join(names, " ")
}

// What a scenario says in YAML arrives, byte by byte.
func TestProfilesSurviveYAML(t *testing.T) {
	const text = `
groups: [{id: g, type: Public, members: [
  {account: a, name_card: "=1+\"q\", \n\r\t \u202Eعربى 王 👩🏽‍🏫 \u0001", mute_until: 4294967295, custom: {z: "a,b", y: !!binary /wD+},
   extra: {N: 12345678901234567890.10, O: {b: [1, null], a: "x"}}}]}]`
	sc, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	l := newCaller(t, newSim(t, sc)).listMembers("g", "")
	if got, want := l.MemberList[0]["NameCard"], "=1+\"q\", \n\r\t \u202Eعربى 王 👩🏽‍🏫 \u0001"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, want := range []string{`"MuteUntil":4294967295`, `{"Key":"z","Value":"a,b"},{"Key":"y","Value":"` + "\xff" + `\u0000` + "\xfe" + `"}`,
		`"N":12345678901234567890.10,"O":{"b":[1,null],"a":"x"}`} {
		if !strings.Contains(l.text, want) {
			t.Errorf("got %q, want %q in it", l.text, want)
		}
	}
}

func TestMemberInfoTooLarge(t *testing.T) {
	sc := school(2000, Scenario{})
	for i := range sc.Groups {
		sc.Groups[i].Generate.CustomBytes = 600
	}
	c := newCaller(t, newSim(t, sc))
	wantCode(t, c.listMembers("public", ``).reply, 10018)
	wantCode(t, c.listMembers("@TGS#_all", `,"Next":""`).reply, 10018)
	wantCode(t, c.listMembers("public", `,"MemberInfoFilter":["Role"]`).reply, 0)
	wantCode(t, c.listMembers("public", `,"Limit":200`).reply, 0)
	c = newCaller(t, newSim(t, school(maxGenerate, Scenario{}))) // and that takes no time
	wantCode(t, c.listMembers("public", `,"MemberInfoFilter":["Role"]`).reply, 10018)
}

// The limit is that of the answer as it is sent, to the byte.
func TestMaxAnswerIsExact(t *testing.T) {
	size := len(newCaller(t, newSim(t, school(20, Scenario{}))).listMembers("public", "").text)
	for most, want := range map[int]int{size: 0, size - 1: 10018, 1: 10018} {
		wantCode(t, newCaller(t, newSim(t, school(20, Scenario{MaxAnswer: most}))).listMembers("public", "").reply, want)
	}
}

func TestGeneratedProfiles(t *testing.T) {
	sc := school(200, Scenario{Seed: 5})
	sc.Groups[0].Generate.CustomBytes = 13
	a := newCaller(t, newSim(t, sc)).listMembers("public", "")
	b := newCaller(t, newSim(t, sc)).listMembers("public", "")
	if diff := cmp.Diff(a.MemberList, b.MemberList); diff != "" {
		t.Errorf("the same seed gives something else: %s", diff)
	}
	sc.Seed++
	if c := newCaller(t, newSim(t, sc)).listMembers("public", ""); cmp.Equal(a.MemberList, c.MemberList) {
		t.Error("another seed gives the same")
	}
	muted := 0
	for i, m := range a.MemberList {
		bytes := 0
		for _, f := range m["AppMemberDefinedData"].([]any) {
			bytes += len(f.(map[string]any)["Value"].(string))
		}
		if bytes != 13 || m["NameCard"] == nil || m["JoinTime"] != float64(firstJoin+i+1) {
			t.Fatalf("got %v", m)
		}
		if m["MuteUntil"] == float64(math.MaxUint32) {
			muted++
		}
	}
	if muted == 0 {
		t.Error("nobody is muted for ever")
	}
}

func TestOpenMemberInfo(t *testing.T) {
	for _, keep := range []bool{false, true} {
		s := newSim(t, Scenario{Open: true, KeepState: keep, QPS: -1})
		c := newCaller(t, s)
		wantCode(t, c.set("anything", 1000, "member-3", "x"), 0)
		if got := c.byOffset("anything", 50); !slices.Equal(got, numbered("member-", 120)) {
			t.Errorf("got %v", got)
		}
		if got := c.byCursor("@TGS#_any", 50); !slices.Equal(got, numbered("member-", 120)) {
			t.Errorf("got %v", got)
		}
		got := c.members("anything", 0, 0).accounts() // who was named, not who is generated
		if slices.Sort(got); !slices.Equal(got, []string{"member-3", "x"}) {
			t.Errorf("got %v online", got)
		}
	}
	for members, want := range map[int]int{7: 7, -1: 0} {
		if got := newSim(t, Scenario{Open: true, OpenMembers: members}).MembersNow("g"); len(got) != want {
			t.Errorf("got %v, want %d", got, want)
		}
	}
}

func TestShuffledMemberInfo(t *testing.T) {
	s := newSim(t, school(250, Scenario{Shuffle: true}))
	got := newCaller(t, s).byCursor("@TGS#_all", 100)
	want := s.MembersNow("@TGS#_all")
	if slices.Equal(got, want) {
		t.Error("got the order of joining")
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

package chatsim

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sampleScenario has the group and the members of the documentation's samples.
func sampleScenario() Scenario {
	return Scenario{Groups: []Group{{
		ID: "@TGS#a6I4ZUUGO",
		Members: []Member{
			{Account: "teacher10", Offline: true},
			{Account: "student9", Offline: true},
			{Account: "teacher2", JoinTime: 1657773110, NickName: "Teacher t02", Avatar: "http://www.example.com/teacher2.jpg"},
		},
	}}}
}

func TestSamples(t *testing.T) {
	tests := []struct {
		name, command, request, response string
		before                           func(*Sim)
		change                           func(*Scenario)
	}{
		{name: "set marks", command: "modify_user_info", before: online("teacher10", "student9"),
			request: "modify_user_info.set.request.json", response: "modify_user_info.set.response.json"},
		{name: "delete marks", command: "modify_user_info", before: online("teacher10", "student9"),
			request: "modify_user_info.delete.request.json", response: "modify_user_info.delete.response.json"},
		{name: "offline accounts are left out", command: "modify_user_info", before: online("teacher10"),
			request: "modify_user_info.set.request.json", response: "modify_user_info.partial.response.json"},
		{name: "no such group", command: "modify_user_info", change: func(s *Scenario) { s.Groups = nil },
			request: "modify_user_info.set.request.json", response: "modify_user_info.fail.response.json"},
		{name: "online members", command: "get_members",
			request: "get_members.request.json", response: "get_members.response.json"},
		{name: "online members with a mark", command: "get_members",
			before:  func(s *Sim) { s.groups["@TGS#a6I4ZUUGO"].marks.set("teacher2", 1000, s.start) },
			request: "get_members.mark.request.json", response: "get_members.response.json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sc := sampleScenario()
			if tt.change != nil {
				tt.change(&sc)
			}
			s := newSim(t, sc)
			if tt.before != nil {
				tt.before(s)
			}
			r := newCaller(t, s).post(tt.command, string(testdata(t, "wire", tt.request)))
			wantSample(t, r.text, testdata(t, "wire", tt.response))
		})
	}
}

func TestSampleOfMalformedURL(t *testing.T) {
	c := newCaller(t, newSim(t, sampleScenario()))
	c.path = "/v5/nonsense"
	wantSample(t, c.post("", "{}").text, testdata(t, "wire", "error.60002.response.json"))
}

func online(accounts ...string) func(*Sim) {
	return func(s *Sim) {
		for _, a := range accounts {
			s.SetOnline("@TGS#a6I4ZUUGO", a, true)
		}
	}
}

// wantSample compares an answer with a sample in every field the sample has.
func wantSample(t *testing.T, got string, sample []byte) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if err := json.Unmarshal(sample, &w); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w, common(g, w)); diff != "" {
		t.Errorf("answer differs from the sample (-want +got):\n%s", diff)
	}
}

// common drops the fields of got that want does not have. Lists are compared
// in the order of the sample: the simulator keeps the request's.
func common(got, want any) any {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return got
		}
		out := map[string]any{}
		for k := range w {
			if v, ok := g[k]; ok {
				out[k] = common(v, w[k])
			}
		}
		return out
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return got
		}
		out := []any{}
		for i := range w {
			out = append(out, common(g[i], w[i]))
		}
		return out
	}
	return got
}

func TestAnswersHaveUnknownFields(t *testing.T) {
	c := newCaller(t, newSim(t, class(Scenario{})))
	for name, r := range map[string]reply{
		"set":     c.set("class", 1000, "s1"),
		"members": c.members("class", 0, 0),
		"failure": c.set("nowhere", 1000, "s1"),
	} {
		var all map[string]any
		if err := json.Unmarshal([]byte(r.text), &all); err != nil {
			t.Fatal(err)
		}
		if all["ErrorDisplay"] == nil || all["RequestId"] == "" {
			t.Errorf("%s: got %s, want fields that are not documented", name, r.text)
		}
	}
}

func TestBodies(t *testing.T) {
	ok := `{"GroupId":"class","CommandType":1,"MemberList":[{"Member_Account":"s1","Marks":[1000]}]}`
	tests := []struct {
		name, command, body string
		want                int
	}{
		{"right", "modify_user_info", ok, 0},
		{"unknown fields", "modify_user_info", `{"New":{"a":[null]},` + ok[1:], 0},
		{"escapes", "modify_user_info", `{"GroupId":"class","CommandType":1,"MemberList":[{"Member_Account":"s\u0031","Marks":[1000]}]}`, 0},
		{"empty", "modify_user_info", "", 60003},
		{"not JSON", "modify_user_info", "GroupId=class", 60003},
		{"cut", "modify_user_info", ok[:40], 60003},
		{"trailing comma as in the documentation", "modify_user_info", `{"GroupId":"class","CommandType":1,"MemberList":[{"Member_Account":"s1","Marks":[1000]},]}`, 60003},
		{"more after it", "modify_user_info", ok + ok, 60003},
		{"a list", "modify_user_info", "[" + ok + "]", 60003},
		{"name twice", "modify_user_info", `{"GroupId":"class",` + ok[1:], 60003},
		{"account is a number", "modify_user_info", `{"GroupId":"class","CommandType":1,"MemberList":[{"Member_Account":5,"Marks":[1000]}]}`, 60015},
		{"group is a number", "modify_user_info", `{"GroupId":5,"CommandType":1,"MemberList":[{"Member_Account":"s1","Marks":[1000]}]}`, 10004},
		{"names are case-sensitive", "modify_user_info", `{"groupid":"class","CommandType":1,"MemberList":[{"Member_Account":"s1","Marks":[1000]}]}`, 10004},
		{"no CommandType", "modify_user_info", `{"GroupId":"class","MemberList":[{"Member_Account":"s1","Marks":[1000]}]}`, 10004},
		{"CommandType 3", "modify_user_info", `{"GroupId":"class","CommandType":3,"MemberList":[{"Member_Account":"s1","Marks":[1000]}]}`, 10004},
		{"no members", "modify_user_info", `{"GroupId":"class","CommandType":1}`, 10004},
		{"empty list", "modify_user_info", `{"GroupId":"class","CommandType":1,"MemberList":[]}`, 10004},
		{"no account", "modify_user_info", `{"GroupId":"class","CommandType":1,"MemberList":[{"Marks":[1000]}]}`, 10004},
		{"no marks", "modify_user_info", `{"GroupId":"class","CommandType":1,"MemberList":[{"Member_Account":"s1","Marks":[]}]}`, 10004},
		{"mark is a string", "modify_user_info", `{"GroupId":"class","CommandType":1,"MemberList":[{"Member_Account":"s1","Marks":["1000"]}]}`, 10004},
		{"mark is a fraction", "modify_user_info", `{"GroupId":"class","CommandType":1,"MemberList":[{"Member_Account":"s1","Marks":[1000.5]}]}`, 10004},
		{"mark is below zero", "modify_user_info", `{"GroupId":"class","CommandType":1,"MemberList":[{"Member_Account":"s1","Marks":[-1000]}]}`, 10004},
		{"get_members", "get_members", `{"GroupId":"class","Timestamp":0}`, 0},
		{"get_members without Timestamp", "get_members", `{"GroupId":"class"}`, 10004},
		{"get_members with a string", "get_members", `{"GroupId":"class","Timestamp":"0"}`, 10004},
		{"get_members before time", "get_members", `{"GroupId":"class","Timestamp":-1}`, 10004},
		{"get_members without a group", "get_members", `{"Timestamp":0}`, 10004},
	}
	c := newCaller(t, newSim(t, class(Scenario{})))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantCode(t, c.post(tt.command, tt.body), tt.want)
		})
	}
}

func FuzzBody(f *testing.F) {
	for _, name := range []string{"modify_user_info.set.request.json", "modify_user_info.delete.request.json",
		"get_members.request.json", "get_members.mark.request.json", "get_group_member_info.all.request.json",
		"get_group_member_info.next_page.request.json", "set_unread_msg_num.request.json", "get_group_info.partial.request.json",
		"get_appid_group_list.next.request.json"} {
		f.Add(testdata(f, "wire", name))
	}
	f.Add([]byte(`{"GroupId":"class","CommandType":1,"MemberList":[{"Member_Account":"s\u0031","Marks":[1000,1000]},{"Member_Account":"s1","Marks":[18446744073709551615]}]}`))
	f.Add([]byte(`{"GroupId":"class","CommandType":1,"MemberList":[{"Member_Account":"s1","Marks":[01]},{}]}`))
	s, err := New(Scenario{Open: true, KeepState: true, QPS: -1, GroupListQPS: -1, Poison: []string{"p"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		// What the scanner takes the decoder must take, with the same result.
		if fast, ok := scanModify(string(body)); ok {
			var slow modifyRequest
			if no := decode(body, &slow); no != nil {
				t.Fatalf("the decoder refuses %q: %v", body, no)
			}
			if diff := cmp.Diff(slow, fast, emptyIsNil); diff != "" {
				t.Fatalf("%q (-decoder +scanner):\n%s", body, diff)
			}
		}
		c := newCaller(t, s)
		for _, command := range []string{commandModifyUserInfo, commandGetMembers, commandMemberInfo, commandSetUnread, commandGroupInfo, commandGroupList} {
			if r := c.post(command, string(body)); r.err != nil || r.code() == NoCode {
				t.Fatalf("%s %q: got %q, %v", command, body, r.text, r.err)
			}
		}
	})
}

// emptyIsNil: the scanner makes empty lists where the decoder makes none.
var emptyIsNil = cmp.Transformer("marks", func(m []uint64) string {
	b, _ := json.Marshal(append([]uint64{}, m...))
	return string(b)
})

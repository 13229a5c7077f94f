package chatsim

import (
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
)

func TestExampleScenarios(t *testing.T) {
	for _, name := range []string{"class.yaml", "storm.yaml", "school.yaml"} {
		t.Run(name, func(t *testing.T) {
			sc, err := Parse(strings.NewReader(string(testdata(t, "scenarios", name))))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := New(sc); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestClassScenario(t *testing.T) {
	sc, err := Parse(strings.NewReader(string(testdata(t, "scenarios", "class.yaml"))))
	if err != nil {
		t.Fatal(err)
	}
	sc.SecretKey, sc.Latency, sc.Jitter = "", 0, 0
	c := newCaller(t, newSim(t, sc))
	list := c.members("@TGS#class-7b", 0, 0)
	wantCode(t, list, 0)
	if got := len(list.MemberList); got != 28 { // a teacher and 30 students, 3 of them offline
		t.Errorf("got %d online, want 28", got)
	}
	wantCode(t, c.set("@TGS#class-7b", 1000, numbered("student", 30)...), 10004) // poisoned
	r := c.set("@TGS#class-7b", 1000, "student1", "student4", "student30", "student31")
	wantCode(t, r, 0)
	if diff := cmp.Diff([]string{"student1", "student30"}, r.accounts()); diff != "" {
		t.Error(diff)
	}
	wantCode(t, c.set("staff-room", 1000, "teacher1"), 10007)
}

// Every kind of fault is in the storm, so that the example stays complete.
func TestStormHasEveryKind(t *testing.T) {
	sc, err := Parse(strings.NewReader(string(testdata(t, "scenarios", "storm.yaml"))))
	if err != nil {
		t.Fatal(err)
	}
	has := map[Kind]bool{}
	for _, f := range sc.Faults {
		has[f.Kind] = true
	}
	for _, k := range kinds() {
		if !has[k] {
			t.Errorf("kind %s is missing", k)
		}
	}
}

func TestParse(t *testing.T) {
	const text = `
seed: 18446744073709551615
qps: -1
latency: 1m30s
premium: false
offline_rate: 0.25
poison: [13, a b]
member_limit: 3
community_limit: 4
role_offset: after
role_blank: true
max_answer: 5
not_member_code: 6
action1: true
group_list_qps: -1
group_list_limit: 7
open_members: 8
groups: [{id: g, type: Community, owner: o, members: [{account: 007, offline: true, join_time: 5, nick_name: n, avatar: u}],
  generate: {prefix: x, count: 3, offline_rate: 1, custom_bytes: 9}, messages: 0, churn: {every: 1, leave: 2, join: 3, calls: 4}},
  {id: h, members: [{account: a, role: Admin, name_card: "", msg_seq: 1, msg_flag: Discard, last_send_msg_time: 2, mute_until: 3,
    custom: {b: 007, a: !!binary /w==, no: null}, extra: {N: 1.10, L: [null, true, "1", {x: "\"\n\t"}], E: }}]}]
generate_groups: [{prefix: p, count: 2, type: Work, members: 5}]
faults: [{kind: 502, rate: .5, command: get_members, after: 1, count: 2, delay: 3ms, applied: true}]
record: true
`
	got, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := Scenario{
		Seed: math.MaxUint64, QPS: -1, Latency: 90 * time.Second, Premium: new(false), OfflineRate: 0.25,
		Poison: []string{"13", "a b"}, Record: true,
		MemberLimit: 3, CommunityLimit: 4, RoleOffset: "after", RoleBlank: true, MaxAnswer: 5, NotMemberCode: 6, Action1: true,
		GroupListQPS: -1, GroupListLimit: 7, OpenMembers: 8,
		Groups: []Group{{ID: "g", Type: "Community", Owner: "o",
			Members:  []Member{{Account: "007", Offline: true, JoinTime: 5, NickName: "n", Avatar: "u"}},
			Generate: Generate{Prefix: "x", Count: 3, OfflineRate: 1, CustomBytes: 9},
			Messages: new(uint32(0)), Churn: Churn{Every: 1, Leave: 2, Join: 3, Calls: 4}},
			{ID: "h", Members: []Member{{Account: "a", Role: "Admin", NameCard: new(""), MsgSeq: 1, MsgFlag: "Discard", LastSendMsgTime: 2, MuteUntil: 3,
				Custom: Custom{{"b", "007"}, {"a", "\xff"}, {"no", "null"}},
				Extra: Extra{{"N", jsontext.Value("1.10")}, {"L", jsontext.Value(`[null,true,"1",{"x":"\"\n\u0009"}]`)},
					{"E", jsontext.Value("null")}}}}}},
		GenerateGroups: []GenerateGroups{{Prefix: "p", Count: 2, Type: "Work", Members: 5}},
		Faults:         []Fault{{Kind: KindStatus, Rate: 0.5, Command: "get_members", After: 1, Count: 2, Delay: 3 * time.Millisecond, Applied: true}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseErrors(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"empty", "# nothing\n", "parse scenario: the scenario is empty"},
		{"unknown field", "seed: 1\nqpz: 3\n", `parse scenario: line 2: unknown field "qpz"`},
		{"unknown field inside", "groups:\n  - id: a\n    kind: x\n", `line 3: unknown field "kind"`},
		{"wrong kind of value", "seed: 1\nqps: many\n", "line 2: cannot unmarshal !!str `many` into int"},
		{"duration without a unit", "latency: 20\n", "line 1: cannot unmarshal !!int `20` into time.Duration"},
		{"list for a group", "groups: [[]]\n", "line 1: cannot unmarshal !!seq into a Group"},
		{"not YAML", "seed: [1\n", "line 1"},
		{"second document", "seed: 1\n---\nseed: 2\n", "there is a second document"},
		{"rate of chance", "offline_rate: 1.5\n", "line 1: offline_rate: 1.5 is not within 0 to 1"},
		{"rate that is no number", "offline_rate: .nan\n", "line 1: offline_rate: NaN is not within 0 to 1"},
		{"qps", "\nqps: 1000000\n", "line 2: qps: 1000000 is not within"},
		{"latency", "latency: -1s\n", "line 1: latency: -1s is not within 0 to 1h"},
		{"jitter", "jitter: 2h\n", "line 1: jitter: 2h0m0s is not within 0 to 1h"},
		{"page size", "page_size: 1001\n", "line 1: page_size: 1001"},
		{"code", "poison_code: -1\n", "line 1: poison_code: -1"},
		{"app", "sdkappid: -1\n", "line 1: sdkappid: is below zero"},
		{"key without an app", "seed: 1\nsecret_key: k\n", "sdkappid: is needed"},
		{"window", "window: round\n", `line 1: window: "round" is neither sliding nor fixed`},
		{"scope", "qps_scope: me\n", `line 1: qps_scope: "me" is neither app nor api`},
		{"poison", "poison:\n- a\n- ''\n", "line 3: poison[1]: is no UserID"},
		{"group without id", "groups:\n- {}\n", "line 2: groups[0].id: is missing"},
		{"group twice", "groups:\n- id: a\n- id: a\n", `line 3: groups[1].id: "a" is there twice`},
		{"member without account", "groups:\n- id: a\n  members:\n  - {offline: true}\n", "line 4: groups[0].members[0].account: \"\" is no UserID"},
		{"member twice", "groups: [{id: a, members: [{account: x},\n {account: x}]}]\n", `line 2: groups[0].members[1].account: "x" is there twice`},
		{"join time", "groups: [{id: a, members: [{account: x, join_time: -1}]}]\n", "groups[0].members[0].join_time: is below zero"},
		{"generate", "groups: [{id: a, generate: {count: -1}}]\n", "groups[0].generate.count: -1 is not within"},
		{"generate long names", "groups: [{id: a, generate: {count: 10, prefix: '" + strings.Repeat("x", 31) + "'}}]\n", "groups[0].generate.prefix: makes UserIDs of more than 32 bytes"},
		{"generate rate", "groups: [{id: a, generate: {offline_rate: 2}}]\n", "groups[0].generate.offline_rate: 2"},
		{"member limit", "member_limit: 6001\n", "line 1: member_limit: 6001"},
		{"community limit", "community_limit: -1\n", "line 1: community_limit: -1"},
		{"answer", "max_answer: 10000000\n", "line 1: max_answer: 10000000"},
		{"code of strangers", "not_member_code: 100000\n", "not_member_code: 100000"},
		{"quota of the list", "group_list_qps: 1000000\n", "group_list_qps: 1000000"},
		{"limit of the list", "group_list_limit: 10001\n", "group_list_limit: 10001"},
		{"open members", "open_members: -2\n", "open_members: -2"},
		{"role offset", "role_offset: never\n", `line 1: role_offset: "never" is neither before nor after`},
		{"role", "groups: [{id: a, members: [{account: x, role: Boss}]}]\n", `members[0].role: "Boss" is none of [Owner Admin Member]`},
		{"two owners", "groups: [{id: a, members: [{account: x, role: Owner}, {account: y, role: Owner}]}]\n", `members[1].role: is Owner, but so is "x"`},
		{"two owners, by name", "groups: [{id: a, owner: x, members: [{account: x}, {account: y, role: Owner}]}]\n", `members[1].role: is Owner, but so is "x"`},
		{"owner of another role", "groups: [{id: a, owner: x, members: [{account: x, role: Admin}]}]\n", `members[0].role: is Admin, but the group's owner`},
		{"time of muting", "groups: [{id: a, members: [{account: x, mute_until: -1}]}]\n", "members[0].mute_until: is below zero"},
		{"messages", "groups: [{id: a, messages: -1}]\n", "line 1: cannot unmarshal !!int `-1` into uint32"},
		{"custom fields are a map", "groups:\n- id: a\n  members:\n  - account: x\n    custom: [1]\n", "line 5: is no map of names and values"},
		{"custom field is no text", "groups:\n- id: a\n  members:\n  - account: x\n    custom:\n      k: {}\n", "line 6: is no text"},
		{"custom field of no base64", "groups: [{id: a, members: [{account: x, custom: {k: !!binary '*'}}]}]\n", "line 1: is no base64"},
		{"custom field twice", "groups: [{id: a, members: [{account: x, custom: {k: 1, k: 2}}]}]\n", `members[0].custom: "k" is empty or there twice`},
		{"extra field that is known", "groups: [{id: a, members: [{account: x, extra: {Role: 1}}]}]\n", `members[0].extra: "Role" is a field with a name of its own`},
		{"extra field twice", "groups: [{id: a, members: [{account: x, extra: {X: 1, X: 2}}]}]\n", `members[0].extra: "X" is empty or there twice`},
		{"extra field with a name twice", "groups: [{id: a, members: [{account: x, extra: {X: {a: 1, a: 2}}}]}]\n", `members[0].extra: the value of "X" is no JSON`},
		{"extra number that JSON has not", "groups: [{id: a, members: [{account: x, extra: {X: .inf}}]}]\n", "line 1: .inf is no number of JSON"},
		{"alias in an extra field", "groups: [{id: &i a, members: [{account: x, extra: {X: [*i]}}]}]\n", "line 1: is no text"},
		{"custom bytes", "groups: [{id: a, generate: {custom_bytes: -1}}]\n", "groups[0].generate.custom_bytes: -1 is not within"},
		{"churn of nobody", "groups: [{id: a, type: Public, churn: {every: 1}}]\n", "groups[0].churn: has neither leave nor join"},
		{"churn at no time", "groups: [{id: a, type: Public, churn: {join: 1}}]\n", "groups[0].churn.every: is 0: it would never happen"},
		{"churn below zero", "groups: [{id: a, type: Public, churn: {every: 1, leave: -1}}]\n", "groups[0].churn.leave: -1 is not within"},
		{"churn where nobody is listed", "groups: [{id: a, churn: {every: 1, leave: 1}}]\n", "groups[0].churn: is of get_group_member_info, which is not for an AVChatRoom"},
		{"no generated groups", "generate_groups: [{prefix: g}]\n", "generate_groups[0].count: 0 is not within 1 to"},
		{"generated groups with members below zero", "generate_groups: [{prefix: g, count: 1, members: -1}]\n", "generate_groups[0].members: -1"},
		{"generated groups with long IDs", "generate_groups: [{count: 10, prefix: '" + strings.Repeat("x", 47) + "'}]\n", "generate_groups[0].prefix: makes no valid group IDs"},
		{"generated community", "generate_groups: [{prefix: g, count: 1, type: Community}]\n", "generate_groups[0].type: does not fit"},
		{"generated group with the ID of a community", "generate_groups: [{prefix: '@TGS#_g', count: 1, type: Public}]\n", "generate_groups[0].type: does not fit"},
		{"generated group that is named", "groups: [{id: g12}]\ngenerate_groups: [{prefix: g, count: 12}]\n", `generate_groups[0].prefix: makes "g12", which is one of groups`},
		{"group generated twice", "generate_groups: [{prefix: g, count: 12}, {prefix: g1, count: 2}]\n", `generate_groups[1].prefix: makes "g11", and so does another`},
		{"fault of no kind", "faults:\n- rate: 1\n", `line 2: faults[0].kind: "" is none of`},
		{"fault that never happens", "faults:\n- kind: reset\n  after: 3\n", "faults[0].rate: is 0 and so is count"},
		{"fault rate", "faults:\n- kind: reset\n  rate: -1\n", "line 3: faults[0].rate: -1"},
		{"fault after", "faults: [{kind: reset, rate: 1, after: -1}]\n", "faults[0].after: is below zero"},
		{"fault count", "faults: [{kind: reset, rate: 1, count: -1}]\n", "faults[0].count: is below zero"},
		{"fault code", "faults: [{kind: code, rate: 1, code: -5}]\n", "faults[0].code: -5"},
		{"fault delay", "faults: [{kind: slow, rate: 1, delay: -5s}]\n", "faults[0].delay: -5s"},
		{"fault status", "faults: [{kind: 502, rate: 1, status: 200}]\n", "faults[0].status: 200"},
		{"fault command", "faults: [{kind: reset, rate: 1, command: x}]\n", `faults[0].command: "x" is neither`},
		{"fault of another command", "faults: [{kind: stuck_cursor, rate: 1, command: modify_user_info}]\n", "faults[0].command: a stuck_cursor is of get_members or get_group_member_info"},
		{"fault without members", "faults: [{kind: max_members, rate: 1}]\n", "faults[0].members: must be at least 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(strings.NewReader(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestParseReadError(t *testing.T) {
	broken := errors.New("broken")
	if _, err := Parse(io.MultiReader(strings.NewReader("seed: 1\n"), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	if _, err := Parse(strings.NewReader(strings.Repeat("#", maxScenario+1))); err == nil || !strings.Contains(err.Error(), "more than 16 MiB") {
		t.Errorf("got %v, want a limit", err)
	}
}

func TestNewRefuses(t *testing.T) {
	_, err := New(Scenario{Faults: []Fault{{Kind: KindReset}}})
	if want := "scenario: faults[0].rate: is 0 and so is count: it would never happen"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(testdata(f, "scenarios", "class.yaml"))
	f.Add(testdata(f, "scenarios", "storm.yaml"))
	f.Add(testdata(f, "scenarios", "school.yaml"))
	f.Add([]byte("groups: &a [{id: g, members: [{account: x}]}]\nfaults: *a\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		sc, err := Parse(strings.NewReader(string(text)))
		if err != nil {
			return
		}
		// The faults and the pace of a strange scenario may be slow; the
		// rest must answer.
		sc.Faults, sc.Latency, sc.Jitter = nil, 0, 0
		s, err := New(sc)
		if err != nil {
			t.Fatalf("New refuses what Parse took: %v", err)
		}
		c := newCaller(t, s)
		if r := c.set("g", 1000, "x"); r.err != nil || r.code() == NoCode {
			t.Fatalf("got %q, %v", r.text, r.err)
		}
		for _, g := range sc.Groups {
			if r := c.listMembers(g.ID, `,"Next":""`); r.code() == NoCode {
				t.Fatalf("got %q, %v", r.text, r.err)
			}
		}
	})
}

package jobs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/chat"
	"chatbatch/io/chat/chatsim"
	"chatbatch/io/ledger"
)

// membersStage is a stage for the kind "export members".
func membersStage(t *testing.T, sc chatsim.Scenario, o MembersOptions, groups ...string) *stage {
	t.Helper()
	return kindStage(t, sc, groupChunks(groups...), func(c *chat.Client, l *memoryLedger) Kind { return ExportMembers(c, l, o) })
}

// pupils is a group with members of all sorts, and so many that are made up.
func pupils(id, kind string, n int) chatsim.Group {
	return chatsim.Group{ID: id, Type: kind, Generate: chatsim.Generate{Prefix: "user", Count: n, CustomBytes: 40}, Members: []chatsim.Member{
		{Account: "teacher", Role: "Owner", NameCard: new(""), MuteUntil: 4294967295},
		{Account: "müller", Role: "Admin", NameCard: new("=1+1,\"Müller\"\r\nAnna\n\u202e学生🎓"), Custom: chatsim.Custom{{Key: "grade", Value: "7b\xff"}, {Key: "role", Value: "monitor"}}},
		{Account: "no card", Extra: chatsim.Extra{{Name: "OnlineStatus", Value: []byte(`"Online"`)}, {Name: "Big", Value: []byte("12345678901234567890.10")}}},
	}}
}

// truth is what the simulator says of the members of a group, page by page of a
// size that no export uses.
func (s *stage) truth(t *testing.T, group string, community bool, o MembersOptions) []chat.Member {
	t.Helper()
	var all []chat.Member
	q := chat.MembersQuery{Group: group, Limit: 37, ByCursor: community, Fields: o.Fields, Custom: o.Custom}
	for {
		page, err := s.client.GroupMembers(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Members...)
		if q.Next, q.Offset = page.Next, q.Offset+len(page.Members); community && page.Next == "" || len(page.Members) == 0 {
			return all
		}
	}
}

// texts are members field by field, in a form that is compared fast.
func texts(members []chat.Member) []string {
	var all []string
	for _, m := range members {
		text := m.Account
		for _, f := range m.Fields {
			text += fmt.Sprintf("\n%q: %s", f.Name, f.Value)
		}
		all = append(all, text)
	}
	return all
}

func TestMembersAreExact(t *testing.T) {
	for _, test := range []struct {
		name, group, kind string
		o                 MembersOptions
		sc                chatsim.Scenario
	}{
		{name: "public", group: "g", kind: "Public"},
		{name: "private", group: "g", kind: "Private"},
		{name: "meeting", group: "g", kind: "ChatRoom"},
		{name: "community", group: "@TGS#_c", kind: "Community"},
		{name: "small pages", group: "g", kind: "Public", o: MembersOptions{PageSize: 7}},
		{name: "large pages", group: "g", kind: "Public", o: MembersOptions{PageSize: 6000}, sc: chatsim.Scenario{MemberLimit: 6000}},
		{name: "a server with smaller pages", group: "g", kind: "Public", o: MembersOptions{PageSize: 100}, sc: chatsim.Scenario{MemberLimit: 33}},
		{name: "a community with smaller pages", group: "@TGS#_c", kind: "Community", sc: chatsim.Scenario{CommunityLimit: 11, OmitNext: true}},
		{name: "fields", group: "g", kind: "Public", o: MembersOptions{Fields: []string{"NameCard", "MuteUntil"}}},
		{name: "custom fields", group: "@TGS#_c", kind: "Community", o: MembersOptions{Custom: []string{"grade", "Custom2"}}},
		{name: "in disorder", group: "g", kind: "Public", sc: chatsim.Scenario{Shuffle: true, RoleBlank: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sc := test.sc
				sc.Groups, sc.Latency, sc.Jitter = []chatsim.Group{pupils(test.group, test.kind, 500)}, 50*time.Millisecond, 90*time.Millisecond
				sc.Faults = []chatsim.Fault{{Kind: chatsim.KindCode, Code: 10002, Rate: 0.05}, {Kind: chatsim.KindCut, Rate: 0.02}}
				s := membersStage(t, sc, test.o, test.group)
				if err := s.runner.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				r, got := s.fetched(t, 1)
				if r.Grade != GradeExact || r.Members != 503 || r.First != 503 || r.Last != 503 || r.Reads != 1 {
					t.Errorf("got %+v", r)
				}
				sc.Faults = nil
				quiet := membersStage(t, sc, test.o, test.group)
				want := quiet.truth(t, test.group, test.kind == "Community", test.o)
				byAccount := func(a, b chat.Member) int { return strings.Compare(a.Account, b.Account) }
				if !sc.Shuffle && !slices.Equal(accountsOf(want), accountsOf(got)) {
					t.Error("the members are not in the server's order")
				}
				slices.SortFunc(want, byAccount)
				slices.SortFunc(got, byAccount)
				if d := cmp.Diff(texts(want), texts(got)); d != "" {
					t.Errorf("members (-want +got):\n%s", d)
				}
			})
		})
	}
}

// On a quiet server an export takes the fewest calls there can be.
func TestMembersFewestCalls(t *testing.T) {
	for _, test := range []struct {
		members, size, server int
		community             bool
		calls                 int64
	}{
		{0, 100, 200, false, 1}, {1, 100, 200, false, 1}, {99, 100, 200, false, 1}, {100, 100, 200, false, 1}, {101, 100, 200, false, 2},
		{1000, 100, 200, false, 10}, {1001, 100, 200, false, 11}, {1000, 200, 200, false, 5}, {1000, 500, 200, false, 5}, {1000, 100, 60, false, 17},
		{0, 100, 100, true, 1}, {100, 100, 100, true, 1}, {101, 100, 100, true, 2}, {250, 100, 100, true, 3}, {250, 100, 50, true, 5},
	} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := chatsim.Group{ID: "g", Type: "Public", Generate: chatsim.Generate{Prefix: "user", Count: test.members}}
				if test.community {
					g.ID, g.Type = "@TGS#_g", "Community"
				}
				s := membersStage(t, chatsim.Scenario{Groups: []chatsim.Group{g}, MemberLimit: test.server, CommunityLimit: test.server, Latency: 20 * time.Millisecond},
					MembersOptions{PageSize: test.size}, g.ID)
				if err := s.runner.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				r, got := s.fetched(t, 1)
				if n := s.sim.Counts().Calls; n != test.calls || r.Pages != int(n) || s.ledger.cost.Calls != int(n) || s.ledger.outcomes[1][0].Attempts != int(n) {
					t.Errorf("%d calls, want %d: %+v, %+v", n, test.calls, r, s.ledger.outcomes[1])
				}
				if r.Grade != GradeExact || !slices.Equal(accountsOf(got), numbered("user", test.members)) {
					t.Errorf("got %+v", r)
				}
			})
		})
	}
}

// The pages of one big group are fetched side by side, by no more than there
// are workers.
func TestMembersSideBySide(t *testing.T) {
	for _, test := range []struct {
		workers int
		took    time.Duration
	}{{1, 20}, {4, 1 + 5}, {64, 2}} {
		t.Run(fmt.Sprint(test.workers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sc := chatsim.Scenario{Latency: time.Second, Groups: []chatsim.Group{pupils("g", "Public", 1997)}}
				s := membersStage(t, sc, MembersOptions{}, "g")
				s.runner.Workers = test.workers
				c := s.watch()
				begin := time.Now()
				if err := s.runner.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begin); took < test.took*time.Second || took > test.took*time.Second+900*time.Millisecond || c.most > test.workers {
					t.Errorf("it took %v with %d at once, want %d s", took, c.most, test.took)
				}
			})
		})
	}
}

// Many groups of all sizes at once: each has its own members, in its own order.
func TestMembersOfManyGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := chatsim.Scenario{Latency: 40 * time.Millisecond, Jitter: 200 * time.Millisecond, Seed: 5}
		var ids []string
		for i := range 120 {
			g := chatsim.Group{ID: fmt.Sprintf("g%d", i), Type: "Public", Generate: chatsim.Generate{Prefix: fmt.Sprintf("u%d-", i), Count: i * i % 700}}
			if i%5 == 0 {
				g.ID, g.Type = "@TGS#_"+g.ID, "Community"
			}
			ids, sc.Groups = append(ids, g.ID), append(sc.Groups, g)
		}
		s := membersStage(t, sc, MembersOptions{}, ids...)
		c := s.watch()
		if err := s.runner.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, g := range sc.Groups {
			r, got := s.fetched(t, int64(i+1))
			if want := numbered(g.Generate.Prefix, g.Generate.Count); r.Grade != GradeExact || !slices.Equal(want, accountsOf(got)) {
				t.Errorf("%s: %d members, %s, want %d", g.ID, len(got), r.Grade, len(want))
			}
		}
		if n := int(s.sim.Counts().Calls); n != s.ledger.cost.Calls || c.most > s.runner.Workers || s.sim.Counts().MaxInOneSecond > 200 {
			t.Errorf("%d calls, the ledger has %d; %d at once", n, s.ledger.cost.Calls, c.most)
		}
	})
}

// Roles are chosen here, so that it does not matter what the server's Offset
// counts.
func TestMembersOfRoles(t *testing.T) {
	for _, offset := range []string{"before", "after"} {
		for _, fields := range [][]string{nil, {"NameCard"}, {"Role"}} {
			t.Run(fmt.Sprint(offset, fields), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					g := pupils("g", "Public", 450)
					for i := range 5 { // members with a role on each page
						g.Members = append(g.Members, chatsim.Member{Account: fmt.Sprintf("helper%d", i), Role: "Admin"})
					}
					s := membersStage(t, chatsim.Scenario{RoleOffset: offset, RoleBlank: true, Groups: []chatsim.Group{g}},
						MembersOptions{Roles: []string{"Owner", "admin"}, Fields: fields}, "g")
					if err := s.runner.Run(t.Context()); err != nil {
						t.Fatal(err)
					}
					r, got := s.fetched(t, 1)
					want := []string{"helper0", "helper1", "helper2", "helper3", "helper4", "müller", "teacher"}
					if r.Grade != GradeExact || r.First != 458 || !slices.Equal(sortedAccounts(got), want) {
						t.Errorf("got %v, %+v", accountsOf(got), r)
					}
					if n := s.sim.Counts().Calls; n != 5 {
						t.Errorf("%d calls", n)
					}
				})
			})
		}
	}
}

// What has no profiles costs no call if its type is known, and says what to use.
func TestMembersOfAudioVideoGroups(t *testing.T) {
	room := chatsim.Group{ID: "room", Generate: chatsim.Generate{Prefix: "user", Count: 12}}
	for _, test := range []struct {
		name, ask string
		o         MembersOptions
		class     string
		calls     int64
	}{
		{"type not known", "room", MembersOptions{}, ClassNoPermission, 1},
		{"type known", "room,AVChatRoom", MembersOptions{}, ClassUnsupported, 0},
		{"in any case", "room,avchatroom", MembersOptions{}, ClassUnsupported, 0},
		{"with rooms", "room,AVChatRoom", MembersOptions{WithRooms: true}, "", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := membersStage(t, chatsim.Scenario{Groups: []chatsim.Group{room}}, test.o, test.ask)
				if err := s.runner.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				o := s.ledger.outcomes[1][0]
				if n := s.sim.Counts().Calls; n != test.calls || o.Class != test.class {
					t.Errorf("%d calls, want %d: %+v", n, test.calls, o)
				}
				if test.class != "" && !strings.Contains(o.Error, "chatbatch export online") {
					t.Errorf("it says %q", o.Error)
				}
				if test.class == "" {
					if r, got := s.fetched(t, 1); !r.Online || len(got) != 12 || r.Type != "AVChatRoom" {
						t.Errorf("got %+v", r)
					}
				}
			})
		})
	}
}

// A list that begins with groups that have no profiles is no reason to stop.
func TestMembersBehindAudioVideoGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := membersStage(t, chatsim.Scenario{Groups: []chatsim.Group{
			{ID: "room1"}, {ID: "room2"}, {ID: "room3"}, {ID: "room4"}, {ID: "room5"}, pupils("g", "Public", 10),
		}}, MembersOptions{}, "room1", "room2", "room3", "room4", "room5", "g")
		s.runner.Workers = 1
		if err := s.runner.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r, _ := s.fetched(t, 6); r.Members != 13 {
			t.Errorf("got %+v", r)
		}
	})
}

// Groups that cannot be fetched fail alone.
func TestMembersOfGroupsThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := membersStage(t, chatsim.Scenario{Groups: []chatsim.Group{pupils("g", "Public", 250)}}, MembersOptions{}, "gone1", "gone2", "gone3", "g", "gone4")
		if err := s.runner.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for id, want := range []string{"", chat.ClassGroupNotFound, chat.ClassGroupNotFound, chat.ClassGroupNotFound, "", chat.ClassGroupNotFound} {
			if id > 0 && s.ledger.outcomes[int64(id)][0].Class != want {
				t.Errorf("group %d: %+v", id, s.ledger.outcomes[int64(id)])
			}
		}
		if r, _ := s.fetched(t, 4); r.Members != 253 {
			t.Errorf("got %+v", r)
		}
	})
}

// A stop in the middle of a big group leaves it for a later run.
func TestMembersStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := membersStage(t, chatsim.Scenario{Latency: time.Second, Groups: []chatsim.Group{pupils("g", "Public", 2000), pupils("h", "Public", 10)}}, MembersOptions{}, "h", "g")
		s.runner.Workers = 3
		if err := s.interruptAt(t, 4500*time.Millisecond); !errors.Is(err, errInterrupted) {
			t.Errorf("got %v", err)
		}
		if len(s.ledger.outcomes) != 1 || !s.ledger.sent[2] {
			t.Fatalf("%d groups are settled, want the first", len(s.ledger.outcomes))
		}
		again := newRunnerLike(s.runner)
		if err := again.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r, got := s.fetched(t, 2); r.Grade != GradeExact || len(got) != 2003 {
			t.Errorf("got %+v", r)
		}
	})
}

// A full disk stops the run and fails no group.
func TestMembersFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := membersStage(t, chatsim.Scenario{Groups: []chatsim.Group{pupils("g", "Public", 2000)}}, MembersOptions{}, "g")
		s.runner.Kind = ExportMembers(s.client, fullDisk{}, MembersOptions{})
		if err := s.runner.Run(t.Context()); !errors.Is(err, ledger.ErrFull) || len(s.ledger.outcomes) > 0 {
			t.Errorf("got %v", err)
		}
	})
}

func TestMembersWrongCredentialsCostOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := membersStage(t, chatsim.Scenario{SDKAppID: 1400000001, SecretKey: "another", Open: true}, MembersOptions{}, numbered("g", 100)...)
		s.client.Signer = chat.NewKeySigner(1400000001, "administrator", "wrong", time.Hour)
		err := s.runner.Run(t.Context())
		if _, ok := errors.AsType[*RunRefusedError](err); !ok || s.sim.Counts().Calls != 1 || len(s.ledger.outcomes) > 0 {
			t.Errorf("got %v after %d calls", err, s.sim.Counts().Calls)
		}
	})
}

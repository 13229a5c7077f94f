package jobs

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/chat"
	"chatbatch/io/chat/chatsim"
)

// A server that cannot be reached stops every kind, and is no row's fault.
func TestUnreachableServerFailsNoRow(t *testing.T) {
	kinds := map[string]func(t *testing.T, sc chatsim.Scenario) *stage{
		"marks": func(t *testing.T, sc chatsim.Scenario) *stage { return newStage(t, sc, chunksOf(50)) },
		"unread": func(t *testing.T, sc chatsim.Scenario) *stage {
			return unreadStage(t, sc, unreadChunks(t, unreadRows(50, 5), 0))
		},
		"unread, no look": func(t *testing.T, sc chatsim.Scenario) *stage {
			return kindStage(t, sc, unreadChunks(t, unreadRows(50, 5), 0), func(c *chat.Client, _ *memoryLedger) Kind { return SetUnread(c, false, nil) })
		},
		"members": func(t *testing.T, sc chatsim.Scenario) *stage {
			return membersStage(t, sc, MembersOptions{}, numbered("g", 50)...)
		},
		"online": func(t *testing.T, sc chatsim.Scenario) *stage {
			return kindStage(t, sc, groupChunks(numbered("g", 50)...), func(c *chat.Client, l *memoryLedger) Kind { return ExportOnline(c, l, 0) })
		},
	}
	for name, kind := range kinds {
		for _, workers := range []int{1, 64} {
			t.Run(fmt.Sprint(name, workers), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := kind(t, chatsim.Scenario{Open: true, Faults: []chatsim.Fault{{Kind: chatsim.KindReset, Rate: 1}}})
					s.runner.Workers, s.runner.Door.Retry.Max = workers, 1
					err := s.runner.Run(t.Context())
					if g, ok := errors.AsType[*GuardError](err); !ok || g.Reason != reasonNoAnswer {
						t.Errorf("got %v", err)
					}
					if n := len(s.ledger.outcomes) + len(s.ledger.rowOutcomes()); n > 0 {
						t.Errorf("%d are settled", n)
					}
				})
			})
		}
	}
}

// One group that the server minds does not keep it from telling of the others.
func TestOneGroupSpoilsALook(t *testing.T) {
	for _, bad := range [][]string{{"g1"}, {"g33"}, {"g60"}, {"g2", "g49", "g50", "g55"}} {
		t.Run(fmt.Sprint(bad), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := unreadStage(t, chatsim.Scenario{}, unreadChunks(t, unreadRows(60, 60), 0))
				looks, sent := 0, map[string]bool{}
				s.play(func(command string, ask map[string]any) string {
					if command == chat.CommandSetUnread {
						group := ask["GroupId"].(string)
						if sent[group] = true; slices.Contains(bad, group) {
							return `{"ActionStatus":"FAIL","ErrorCode":10015,"ErrorInfo":"invalid group id"}`
						}
						return `{"ActionStatus":"OK","ErrorCode":0}`
					}
					looks++
					var list []string
					for _, id := range ask["GroupIdList"].([]any) {
						if slices.Contains(bad, id.(string)) {
							return `{"ActionStatus":"FAIL","ErrorCode":10015,"ErrorInfo":"invalid group id"}`
						}
						list = append(list, fmt.Sprintf(`{"GroupId":%q,"ErrorCode":0,"Type":"ChatRoom"}`, id))
					}
					return `{"ActionStatus":"OK","ErrorCode":0,"GroupInfo":[` + strings.Join(list, ",") + `]}`
				})
				if err := s.runner.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				want := map[int64]string{}
				for i := range 60 {
					if want[int64(i)] = ClassUnsupported; slices.Contains(bad, fmt.Sprint("g", i+1)) {
						want[int64(i)] = chat.ClassInvalidGroup
					}
				}
				got := map[int64]string{}
				for num, o := range s.ledger.rowOutcomes() {
					got[num] = o.Class
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("classes (-want +got):\n%s", d)
				}
				if most := 2 + 12*len(bad); looks > most || len(sent) != len(bad) {
					t.Errorf("%d looks, at most %d wanted; calls for %v", looks, most, sent)
				}
			})
		})
	}
}

// The same in a listing of all groups.
func TestOneGroupSpoilsAListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, chatsim.Scenario{}, nil)
		s.play(func(command string, ask map[string]any) string {
			var list []string
			if command == chat.CommandGroupList {
				for _, g := range numbered("g", 70) {
					list = append(list, fmt.Sprintf(`{"GroupId":%q}`, g))
				}
				return `{"ActionStatus":"OK","ErrorCode":0,"TotalCount":70,"Next":0,"GroupIdList":[` + strings.Join(list, ",") + `]}`
			}
			for _, id := range ask["GroupIdList"].([]any) {
				if id == "g13" {
					return `{"ActionStatus":"FAIL","ErrorCode":10015,"ErrorInfo":"invalid group id"}`
				}
				list = append(list, fmt.Sprintf(`{"GroupId":%q,"ErrorCode":0,"Type":"Work"}`, id))
			}
			return `{"ActionStatus":"OK","ErrorCode":0,"GroupInfo":[` + strings.Join(list, ",") + `]}`
		})
		types, said, err := s.listed(t, "")
		want := map[string]string{}
		for _, g := range numbered("g", 70) {
			want[g] = "Work"
		}
		want["g13"] = ""
		if d := cmp.Diff(want, types); d != "" || err != nil || len(said) > 0 {
			t.Errorf("%v, it said %q (-want +got):\n%s", err, said, d)
		}
	})
}

// A list that names no group of those that it says there are is none; one that
// names less is used, and that is said.
func TestGroupListerCounts(t *testing.T) {
	for _, test := range []struct {
		total, listed int
		guard         bool
		said          int
	}{{3, 0, true, 0}, {0, 0, false, 0}, {3, 3, false, 0}, {3, 2, false, 1}, {2, 3, false, 0}} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, chatsim.Scenario{}, nil)
				s.play(func(string, map[string]any) string {
					var list []string
					for _, g := range numbered("g", test.listed) {
						list = append(list, fmt.Sprintf(`{"GroupId":%q}`, g))
					}
					return fmt.Sprintf(`{"ActionStatus":"OK","ErrorCode":0,"TotalCount":%d,"Next":0,"GroupIdList":[%s]}`, test.total, strings.Join(list, ","))
				})
				types, said, err := s.listed(t, "Public")
				if isGuard(err) != test.guard || err != nil && !test.guard || len(types) != test.listed || len(said) != test.said {
					t.Errorf("got %v, %v, it said %q", types, err, said)
				}
			})
		})
	}
}

// Members of roles are none of those who are online in an audio-video group.
func TestRolesOfAudioVideoGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := membersStage(t, chatsim.Scenario{Groups: []chatsim.Group{roomOf("room", 12), pupils("g", "Public", 5)}},
			MembersOptions{WithRooms: true, Roles: []string{"Owner"}}, "room,AVChatRoom", "g,Public")
		if err := s.runner.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if o := s.ledger.outcomes[1][0]; o.Class != ClassUnsupported || s.sim.Counts().Calls != 1 {
			t.Errorf("%d calls: %+v", s.sim.Counts().Calls, o)
		}
		if _, got := s.fetched(t, 2); !slices.Equal(accountsOf(got), []string{"teacher"}) {
			t.Errorf("got %v", accountsOf(got))
		}
	})
}

// A member without an account does not fail its group. It is left out, and
// counted: in the manifest too.
func TestMembersWithoutAccount(t *testing.T) {
	answer := `{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":"","MemberNum":4,"MemberList":[` +
		`{"Member_Account":"ann","Role":"Owner"},{"Role":"Member","NameCard":"nobody"},{"Member_Account":"","Role":"Member"},{"Member_Account":"bob","Role":"Member"}]}`
	community := strings.Replace(answer, `"MemberNum":4`, `"Next":"","MemberNum":4`, 1)
	server := &script{answer: func(_ string, ask map[string]any) string {
		if ask["GroupId"] == "@TGS#_town" {
			return community
		}
		return answer
	}}
	l, _ := exportedFrom(t, server, "group_id\nclass\n@TGS#_town\n", exportsMembers(MembersOptions{}))
	_, table, head, groups := published(t, l, publicationIn(t, "export members", "m.csv"))
	if want := "class,ann,Owner,,,,,,,\nclass,bob,Member,,,,,,,\n@TGS#_town,ann,Owner,,,,,,,\n@TGS#_town,bob,Member,,,,,,,\n"; !strings.HasSuffix(table, "\n"+want) {
		t.Errorf("got table\n%s", table)
	}
	if head.Rows != 4 || head.Exported != 2 || head.Failed != 0 {
		t.Errorf("got %+v", head)
	}
	for _, g := range groups {
		if g.Nameless != 2 || *g.Members != 2 {
			t.Errorf("%s: %d members, %d without an account, want 2 each", g.Group, *g.Members, g.Nameless)
		}
	}
}

// Rows that name no group are not groups that could be fetched: nothing is
// published of them alone, and beside others they are counted.
func TestPublishBadRows(t *testing.T) {
	l := exportedMembers(t, schoolToExport(), "group_id\n@TGS#_a@TOPIC#_b\n\"\"\n", MembersOptions{})
	p := publicationIn(t, "export members", "m.csv")
	if err := os.WriteFile(p.Path, []byte("of yesterday"), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := l.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	_, err = Publish(t.Context(), v, p)
	if _, ok := errors.AsType[*NothingError](err); !ok {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(p.Path); err != nil || string(text) != "of yesterday" {
		t.Errorf("got %q, %v", text, err)
	}
	l = exportedMembers(t, schoolToExport(), "group_id\n@TGS#_a@TOPIC#_b\nempty\n", MembersOptions{})
	done, _, head, _ := published(t, l, publicationIn(t, "export members", "m.csv"))
	if done.BadRows != 1 || head.BadRows != 1 || done.Groups != 1 || !strings.Contains(done.Text(), "1 bad rows name none") {
		t.Errorf("got %+v, %+v", done, head)
	}
}

// What a second reading is refused does not take away the first.
func TestASecondReadingIsRefused(t *testing.T) {
	refusals := map[string]string{
		"10004 at once":      `{"ActionStatus":"FAIL","ErrorCode":10004,"ErrorInfo":"no"}`,
		"gone meanwhile":     `{"ActionStatus":"FAIL","ErrorCode":10010,"ErrorInfo":"no group"}`,
		"10002 for ever":     `{"ActionStatus":"FAIL","ErrorCode":10002,"ErrorInfo":"busy"}`,
		"an answer of HTML":  `<html>`,
		"not on its 2nd try": "",
	}
	for name, refusal := range refusals {
		for _, group := range []string{"class", "@TGS#_town"} {
			t.Run(name+" "+group, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := membersStage(t, chatsim.Scenario{}, MembersOptions{PageSize: 2}, group)
					all, pages := numbered("user", 5), 0
					s.play(func(_ string, ask map[string]any) string {
						if pages++; pages > 3 && (refusal != "" || pages > 4) {
							if refusal == "" {
								return `{"ActionStatus":"FAIL","ErrorCode":10004,"ErrorInfo":"no"}`
							}
							return refusal
						}
						return drifting(all, ask, pages)
					})
					if err := s.runner.Run(t.Context()); err != nil {
						t.Fatal(err)
					}
					r, got := s.fetched(t, 1)
					if r.Grade != GradeDrifted || r.Reads != 1 || r.Pages != 3 || !slices.Equal(accountsOf(got), all) {
						t.Errorf("got %v: %+v", accountsOf(got), r)
					}
					if cost := s.ledger.cost.Calls; cost != pages || s.ledger.outcomes[1][0].Attempts != pages {
						t.Errorf("%d calls, the ledger has %d: %+v", pages, cost, s.ledger.outcomes[1])
					}
				})
			})
		}
	}
}

// drifting is a page of two members, of a group whose number of members is not
// the same twice.
func drifting(all []string, ask map[string]any, page int) string {
	more := fmt.Sprintf(`,"MemberNum":%d`, 5-(page-1)%3/2)
	next, byCursor := ask["Next"].(string)
	if !byCursor {
		return listing(byOffset(all, ask, 2), more)
	}
	from := len(next)
	if to := from + 2; to < len(all) {
		return listing(all[from:to], more+fmt.Sprintf(`,"Next":%q`, strings.Repeat("1", to)))
	}
	return listing(all[from:], more+`,"Next":""`)
}

// But the first is not kept if the server refuses the run: that comes again.
func TestASecondReadingIsRefusedWithTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := membersStage(t, chatsim.Scenario{}, MembersOptions{PageSize: 2}, "class")
		s.runner.Door.Renew = nil
		pages := 0
		s.play(func(_ string, ask map[string]any) string {
			if pages++; pages > 3 {
				return `{"ActionStatus":"FAIL","ErrorCode":70009,"ErrorInfo":"no"}`
			}
			return drifting(numbered("user", 5), ask, pages)
		})
		err := s.runner.Run(t.Context())
		if r, ok := errors.AsType[*RunRefusedError](err); !ok || chat.CodeOf(r) != 70009 || len(s.ledger.outcomes) > 0 {
			t.Errorf("got %v, %v", err, s.ledger.outcomes)
		}
	})
}

package jobs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatbatch/io/chat"
	"chatbatch/io/chat/chatsim"
)

// onlineStage is a stage for the kind "export online".
func onlineStage(t *testing.T, sc chatsim.Scenario, mark chat.Mark, groups ...string) *stage {
	t.Helper()
	return kindStage(t, sc, groupChunks(groups...), func(c *chat.Client, l *memoryLedger) Kind { return ExportOnline(c, l, mark) })
}

// roomOf is an audio-video group with so many who are online.
func roomOf(id string, n int) chatsim.Group {
	return chatsim.Group{ID: id, Generate: chatsim.Generate{Prefix: "user", Count: n}}
}

func TestOnline(t *testing.T) {
	for _, test := range []struct {
		members, page int
		omit, plain   bool
		want          int
		grade         string
	}{
		{0, 500, false, false, 0, GradeExact}, {1, 500, false, false, 1, GradeExact}, {700, 500, false, false, 700, GradeExact},
		{700, 250, true, false, 700, GradeExact}, {999, 250, false, false, 999, GradeExact}, {500, 250, true, false, 500, GradeExact},
		{1000, 500, false, false, 1000, GradeTruncated}, {4000, 250, true, false, 1000, GradeTruncated},
		{20, 500, false, true, 20, GradeExact}, {30, 500, false, true, 30, GradeTruncated}, {800, 500, false, true, 30, GradeTruncated},
	} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := onlineStage(t, chatsim.Scenario{
					Groups: []chatsim.Group{roomOf("room", test.members)}, PageSize: test.page, OmitNext: test.omit, Premium: new(!test.plain),
					Latency: 20 * time.Millisecond, Faults: []chatsim.Fault{{Kind: chatsim.KindCode, Code: 10002, Rate: 0.1}},
				}, 0, "room,AVChatRoom")
				if err := s.runner.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				r, got := s.fetched(t, 1)
				now := s.sim.MembersNow("room")
				slices.Sort(now)
				if accounts := sortedAccounts(got); len(accounts) != test.want || test.want == test.members && !slices.Equal(accounts, now) {
					t.Errorf("got %d members, want %d", len(got), test.want)
				}
				if grade := gradeOnline(r.Members, false); grade != test.grade || !r.Online || r.First != -1 || r.Reads != 1 || r.Type != "AVChatRoom" {
					t.Errorf("%s, want %s: %+v", grade, test.grade, r)
				}
				for _, m := range got {
					if valueOf(m, "JoinTime").Value == nil || valueOf(m, "NickName").Value == nil {
						t.Fatalf("got %+v", m)
					}
				}
			})
		})
	}
}

// Each with the mark, and nobody else.
func TestOnlineWithAMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := onlineStage(t, chatsim.Scenario{Groups: []chatsim.Group{roomOf("room", 300)}}, 1000, "room")
		var marks []chat.MemberMarks
		for i := range 120 {
			marks = append(marks, chat.MemberMarks{Account: fmt.Sprintf("user%d", i+1), Marks: []chat.Mark{1000}})
		}
		if _, err := s.client.ModifyMarks(t.Context(), "room", chat.SetMarks, marks); err != nil {
			t.Fatal(err)
		}
		if err := s.runner.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := numbered("user", 120)
		slices.Sort(want)
		if _, got := s.fetched(t, 1); !slices.Equal(sortedAccounts(got), want) {
			t.Errorf("got %v", accountsOf(got))
		}
	})
}

func TestOnlineStuck(t *testing.T) {
	endless := 0
	for _, test := range []struct {
		name   string
		answer func(ask map[string]any) string
		calls  int // at most
	}{
		{"the same cursor", func(map[string]any) string { return listing([]string{"a"}, `,"NextTimestamp":7`) }, 2},
		{"cursors for ever", func(map[string]any) string {
			endless++
			return listing([]string{"a"}, fmt.Sprintf(`,"NextTimestamp":%d`, endless))
		}, barrenPages + 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := onlineStage(t, chatsim.Scenario{}, 0, "room")
				p := s.play(func(_ string, ask map[string]any) string { return test.answer(ask) })
				if err := s.runner.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				if o := s.ledger.outcomes[1][0]; o.Class != ClassStuckCursor || p.calls > test.calls {
					t.Errorf("%d calls: %+v", p.calls, o)
				}
			})
		})
	}
	t.Run("the simulator's", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := onlineStage(t, chatsim.Scenario{
				Groups: []chatsim.Group{roomOf("a", 900), roomOf("b", 900)}, PageSize: 250,
				Faults: []chatsim.Fault{{Kind: chatsim.KindStuck, Count: 2}},
			}, 0, "a", "b")
			s.runner.Workers = 1
			if err := s.runner.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if o := s.ledger.outcomes[1][0]; o.Class != ClassStuckCursor || !strings.Contains(o.Error, "twice") {
				t.Errorf("got %+v", o)
			}
			if r, _ := s.fetched(t, 2); r.Members != 900 {
				t.Errorf("got %+v", r)
			}
		})
	})
}

// A list of 30 may be all of it if some other list is longer.
func TestGradeOnline(t *testing.T) {
	for _, test := range []struct {
		members          int64
		edition, without string
	}{
		{0, GradeExact, GradeExact}, {29, GradeExact, GradeExact}, {30, GradeExact, GradeTruncated}, {31, GradeExact, GradeTruncated},
		{32, GradeExact, GradeExact}, {999, GradeExact, GradeExact}, {1000, GradeTruncated, GradeTruncated}, {1200, GradeTruncated, GradeTruncated},
	} {
		if with, without := gradeOnline(test.members, true), gradeOnline(test.members, false); with != test.edition || without != test.without {
			t.Errorf("%d: got %s with the edition, %s without", test.members, with, without)
		}
	}
}

// A group of a type that has no such list fails alone, wherever it stands.
func TestOnlineOfOtherGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := onlineStage(t, chatsim.Scenario{Groups: []chatsim.Group{
			pupils("g1", "Public", 5), pupils("g2", "Public", 5), pupils("g3", "Private", 5), roomOf("room", 40),
		}}, 0, "g1", "g2", "g3", "gone", "room")
		s.runner.Workers = 1
		if err := s.runner.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for id, want := range map[int64]string{1: ClassNoPermission, 2: ClassNoPermission, 3: ClassNoPermission, 4: chat.ClassGroupNotFound} {
			if got := s.ledger.outcomes[id][0].Class; got != want {
				t.Errorf("group %d: %q, want %q", id, got, want)
			}
		}
		if r, _ := s.fetched(t, 5); r.Members != 40 {
			t.Errorf("got %+v", r)
		}
	})
}

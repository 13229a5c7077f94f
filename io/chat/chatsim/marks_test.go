package chatsim

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestGroups(t *testing.T) {
	sc := Scenario{Groups: []Group{{ID: "public", Type: "Public"}, {ID: "community", Type: "Community"},
		{ID: "room", Members: []Member{{Account: "a"}}}}}
	open := sc
	open.Open = true
	long := strings.Repeat("x", 49)
	tests := []struct {
		name  string
		sc    Scenario
		group string
		marks int // code of modify_user_info
		list  int // code of get_members
	}{
		{"AVChatRoom", sc, "room", 0, 0},
		{"another type", sc, "public", 10007, 10007},
		{"Community", sc, "community", 10007, 0},
		{"no such group", sc, "nowhere", 10010, 10010},
		{"no group ID", sc, "", 10004, 10004},
		{"ID too long", sc, long, 10015, 10015},
		{"ID with a tab", sc, "a\tb", 10015, 10015},
		{"ID not ASCII", sc, "群", 10015, 10015},
		{"ID with a reserved prefix", sc, "@TGSx", 10015, 10015},
		{"ID of a topic", sc, "@TGS#_a@TOPIC#_b", 10015, 10015},
		{"open: any group", open, "nowhere", 0, 0},
		{"open: any group made by the server", open, "@TGS#aC72FIKLF", 0, 0},
		{"open: Community by prefix", open, "@TGS#_club", 10007, 0},
		{"open: named type stays", open, "public", 10007, 10007},
		{"open: invalid ID", open, long, 10015, 10015},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCaller(t, newSim(t, tt.sc))
			wantCode(t, c.set(tt.group, 1000, "a"), tt.marks)
			wantCode(t, c.members(tt.group, 0, 0), tt.list)
		})
	}
}

func TestMarkValues(t *testing.T) {
	c := newCaller(t, newSim(t, class(Scenario{})))
	for mark, want := range map[uint64]int{1000: 0, 1001: 0, 1 << 63: 0, 500: 0, 600: 0, 0: 10004, 1: 10004, 501: 10004, 999: 10004} {
		t.Run(fmt.Sprint(mark), func(t *testing.T) {
			wantCode(t, c.set("class", mark, "s1"), want)
			wantCode(t, c.del("class", mark, "s1"), want)
		})
	}
}

func TestSetAndDelete(t *testing.T) {
	s := newSim(t, class(Scenario{}))
	c := newCaller(t, s)
	wantCode(t, c.set("class", 1001, "s1", "s2"), 0)
	wantCode(t, c.set("class", 1000, "s2"), 0)
	wantMarks(t, s, map[string][]uint64{"s1": {1001}, "s2": {1000, 1001}})
	r := c.del("class", 1001, "s2", "s4") // s4 has no mark: there is nothing to do, and it is done
	wantCode(t, r, 0)
	if diff := cmp.Diff(map[string][]uint64{"s2": {1001}, "s4": {1001}}, r.marks()); diff != "" || r.CommandType != 2 {
		t.Errorf("CommandType %d, %s", r.CommandType, diff)
	}
	wantMarks(t, s, map[string][]uint64{"s1": {1001}, "s2": {1000}})
	wantCode(t, c.del("class", 1001, "s1"), 0)
	wantCode(t, c.del("class", 1000, "s2"), 0)
	wantMarks(t, s, nil)
	if n := s.Counts(); n.Set != 3 || n.Deleted != 4 || n.Accounts != 7 {
		t.Errorf("got %+v, want 3 set, 4 deleted, 7 accounts", n)
	}
}

func wantMarks(t *testing.T, s *Sim, want map[string][]uint64) {
	t.Helper()
	if diff := cmp.Diff(want, s.Marks("class")); diff != "" {
		t.Errorf("marks (-want +got):\n%s", diff)
	}
}

func TestOfflineMembersAreLeftOut(t *testing.T) {
	s := newSim(t, class(Scenario{}))
	c := newCaller(t, s)
	r := c.set("class", 1000, "s1", "s3", "nobody", "s4") // s3 is offline
	wantCode(t, r, 0)
	if diff := cmp.Diff([]string{"s1", "s4"}, r.accounts()); diff != "" {
		t.Error(diff)
	}
	wantMarks(t, s, map[string][]uint64{"s1": {1000}, "s4": {1000}})
}

func TestAllOfflineFails(t *testing.T) {
	for _, code := range []int{0, 10004, 10019, 70107} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			s := newSim(t, class(Scenario{AllOfflineCode: code}))
			c := newCaller(t, s)
			want := code
			if want == 0 {
				want = 10004
			}
			wantCode(t, c.set("class", 1000, "s3", "nobody"), want)
			wantCode(t, c.del("class", 1000, "s3"), want)
			wantMarks(t, s, nil)
		})
	}
}

func TestDuplicateAccountsAreMerged(t *testing.T) {
	s := newSim(t, class(Scenario{}))
	r := newCaller(t, s).post(commandModifyUserInfo, `{"GroupId":"class","CommandType":1,"MemberList":[
		{"Member_Account":"s1","Marks":[1000,1001,1000]},{"Member_Account":"s2","Marks":[1000]},{"Member_Account":"s1","Marks":[1002,1001]}]}`)
	wantCode(t, r, 0)
	want := map[string][]uint64{"s1": {1000, 1001, 1002}, "s2": {1000}}
	if diff := cmp.Diff(want, r.marks()); diff != "" || len(r.MemberList) != 2 {
		t.Errorf("%d members, %s", len(r.MemberList), diff)
	}
	wantMarks(t, s, want)
}

func TestAccountsPerRequest(t *testing.T) {
	sc := Scenario{Open: true}
	c := newCaller(t, newSim(t, sc))
	wantCode(t, c.set("g", 1000, numbered("a", 500)...), 0)
	wantCode(t, c.set("g", 1000, numbered("a", 501)...), 10005)
	wantCode(t, c.set("g", 1000, append(numbered("a", 500), "a1")...), 10005) // a duplicate is an entry, too
	sc.MaxMembers = 20
	c = newCaller(t, newSim(t, sc))
	wantCode(t, c.set("g", 1000, numbered("a", 20)...), 0)
	wantCode(t, c.set("g", 1000, numbered("a", 21)...), 10005)
}

func TestTenMarksPerGroup(t *testing.T) {
	s := newSim(t, class(Scenario{}))
	c := newCaller(t, s)
	for i := range uint64(10) {
		wantCode(t, c.set("class", 1000+i, "s1"), 0)
	}
	wantCode(t, c.set("class", 1010, "s2"), 10004)
	wantCode(t, c.set("class", 600, "s2"), 10004) // the special ones are marks, too
	wantCode(t, c.set("class", 1009, "s2"), 0)
	if _, ok := s.Marks("class")["s2"]; !ok {
		t.Error("a mark that is in use could not be set")
	}
	wantCode(t, c.del("class", 1000, "s1"), 0) // nobody has it any more: there is room
	wantCode(t, c.set("class", 1010, "s2"), 0)

	eleven := `{"GroupId":"g","CommandType":1,"MemberList":[{"Member_Account":"a","Marks":[1000,1001,1002,1003,1004,1005,1006,1007,1008,1009,1010]}]}`
	wantCode(t, newCaller(t, newSim(t, Scenario{Open: true})).post(commandModifyUserInfo, eleven), 10004)
}

func TestThousandMembersPerMark(t *testing.T) {
	sc := Scenario{Groups: []Group{{ID: "g", Generate: Generate{Prefix: "a", Count: 2000}}}}
	s := newSim(t, sc)
	c := newCaller(t, s)
	all := numbered("a", 2000)
	wantCode(t, c.set("g", 1000, all[:500]...), 0)
	wantCode(t, c.set("g", 1000, all[500:999]...), 0)
	wantCode(t, c.set("g", 1000, all[999:1001]...), 10004) // whole or not at all
	if got := len(s.Marks("g")); got != 999 {
		t.Fatalf("got %d members with marks, want 999", got)
	}
	wantCode(t, c.set("g", 1000, all[999]), 0)
	wantCode(t, c.set("g", 1000, all[:500]...), 0) // who has it does not count again
	wantCode(t, c.set("g", 1000, all[1000]), 10004)
	wantCode(t, c.set("g", 1001, all[1000]), 0)
	wantCode(t, c.del("g", 1000, all[0]), 0)
	wantCode(t, c.set("g", 1000, all[1000]), 0)
}

func TestGoingOfflineClearsMarks(t *testing.T) {
	s := newSim(t, class(Scenario{}))
	c := newCaller(t, s)
	wantCode(t, c.set("class", 1000, "s1", "s2"), 0)
	if !s.SetOnline("class", "s1", false) || s.SetOnline("nowhere", "s1", false) {
		t.Error("SetOnline does not know which group there is")
	}
	wantMarks(t, s, map[string][]uint64{"s2": {1000}})
	wantCode(t, c.set("class", 1000, "s1"), 10004)
	s.SetOnline("class", "s1", true)
	wantMarks(t, s, map[string][]uint64{"s2": {1000}}) // to be set anew
	wantCode(t, c.set("class", 1000, "s1"), 0)
	s.SetOnline("class", "new", true)
	wantCode(t, c.set("class", 1000, "new"), 0)
}

func TestMark500(t *testing.T) {
	t.Run("is set for who is offline", func(t *testing.T) {
		s := newSim(t, class(Scenario{}))
		c := newCaller(t, s)
		r := c.post(commandModifyUserInfo, `{"GroupId":"class","CommandType":1,"MemberList":[{"Member_Account":"s3","Marks":[1000,500]}]}`)
		wantCode(t, r, 0)
		if diff := cmp.Diff(map[string][]uint64{"s3": {500}}, r.marks()); diff != "" {
			t.Error(diff)
		}
		wantCode(t, c.set("class", 1000, "s3"), 0) // from now on s3 counts as online
		wantMarks(t, s, map[string][]uint64{"s3": {500, 1000}})
		wantCode(t, c.set("class", 500, "nobody"), 10004) // not for who is no member
	})
	t.Run("is not deleted for who is offline", func(t *testing.T) {
		wantCode(t, newCaller(t, newSim(t, class(Scenario{}))).del("class", 500, "s3"), 10004)
	})
	t.Run("disconnections are ignored", func(t *testing.T) {
		s := newSim(t, class(Scenario{}))
		c := newCaller(t, s)
		wantCode(t, c.set("class", 500, "s1"), 0)
		wantCode(t, c.set("class", 1000, "s1"), 0)
		s.SetOnline("class", "s1", false)
		wantMarks(t, s, map[string][]uint64{"s1": {500, 1000}})
		wantCode(t, c.del("class", 500, "s1"), 0)
		wantMarks(t, s, nil)
		wantCode(t, c.set("class", 1000, "s1"), 10004)
	})
	t.Run("lasts three days", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, class(Scenario{}))
			c := newCaller(t, s)
			wantCode(t, c.set("class", 500, "s3", "s1"), 0)
			wantCode(t, c.set("class", 1000, "s3", "s1"), 0)
			time.Sleep(72*time.Hour - time.Nanosecond)
			wantMarks(t, s, map[string][]uint64{"s1": {500, 1000}, "s3": {500, 1000}})
			time.Sleep(time.Nanosecond)
			wantMarks(t, s, map[string][]uint64{"s1": {1000}})
			wantCode(t, c.set("class", 1000, "s3"), 10004)
		})
	})
}

func TestPoison(t *testing.T) {
	s := newSim(t, class(Scenario{Poison: []string{"s5", "s6"}, PoisonCode: 10019}))
	c := newCaller(t, s)
	wantCode(t, c.set("class", 1000, numbered("s", 20)...), 10019)
	wantMarks(t, s, nil)
	wantCode(t, c.set("class", 1000, "s5"), 10019)
	wantCode(t, c.del("class", 1000, "s1", "s6"), 10019)
	wantCode(t, c.set("class", 1000, "s1", "s2"), 0)
	wantCode(t, newCaller(t, newSim(t, class(Scenario{Poison: []string{"s1"}}))).set("class", 1000, "s1"), 10004)
}

func TestWithoutTheEdition(t *testing.T) {
	c := newCaller(t, newSim(t, Scenario{Open: true, Premium: new(false)}))
	wantCode(t, c.set("g", 1000, "a"), 10059)
	c = newCaller(t, newSim(t, Scenario{Open: true, Premium: new(false), NotPremiumCode: 60020}))
	wantCode(t, c.set("g", 1000, "a"), 60020)
}

func TestOpenOfflineRate(t *testing.T) {
	sc := Scenario{Open: true, OfflineRate: 0.3, MaxMembers: 1000, Seed: 3}
	all := numbered("a", 1000)
	first := newCaller(t, newSim(t, sc)).set("g", 1000, all...)
	wantCode(t, first, 0)
	if got := len(first.MemberList); got < 650 || got > 750 {
		t.Errorf("got %d of 1000 online, want about 700", got)
	}
	again := newCaller(t, newSim(t, sc)).set("g", 1001, all...)
	if diff := cmp.Diff(first.accounts(), again.accounts()); diff != "" {
		t.Error("the same seed has others offline")
	}
	other := newCaller(t, newSim(t, sc)).set("h", 1000, all...)
	if cmp.Equal(first.accounts(), other.accounts()) {
		t.Error("another group has the same offline")
	}
	sc.Seed++
	if cmp.Equal(first.accounts(), newCaller(t, newSim(t, sc)).set("g", 1000, all...).accounts()) {
		t.Error("another seed has the same offline")
	}
}

func TestKeepState(t *testing.T) {
	for _, keep := range []bool{false, true} {
		s := newSim(t, Scenario{Open: true, KeepState: keep})
		c := newCaller(t, s)
		wantCode(t, c.set("g", 1000, "a", "b"), 0)
		wantCode(t, c.del("g", 1000, "b"), 0)
		var want map[string][]uint64
		if keep {
			want = map[string][]uint64{"a": {1000}}
		}
		if diff := cmp.Diff(want, s.Marks("g")); diff != "" {
			t.Errorf("KeepState %v: %s", keep, diff)
		}
		if got := len(s.groups); got != len(want) {
			t.Errorf("KeepState %v: %d groups are kept", keep, got)
		}
	}
}

func TestCrowdForgets(t *testing.T) {
	s := newSim(t, Scenario{Open: true, QPS: -1})
	c := newCaller(t, s)
	for i := range 3 * crowdGroups {
		for range 2 * crowdRequests {
			wantCode(t, c.set(fmt.Sprint("g", i), 1000, "a"), 0)
		}
	}
	if got := len(s.crowd.groups); got != crowdGroups || len(s.crowd.order) != crowdGroups {
		t.Errorf("got %d groups in memory, want %d", got, crowdGroups)
	}
	wantCode(t, c.members("g0", 0, 0), 0)
}

func TestShuffle(t *testing.T) {
	sc := Scenario{Open: true, Shuffle: true}
	all := numbered("a", 100)
	r := newCaller(t, newSim(t, sc)).set("g", 1000, all...)
	wantCode(t, r, 0)
	if len(r.marks()) != 100 || cmp.Equal(all, r.accounts()) {
		t.Errorf("got %d accounts in the order of the request, want 100 in another", len(r.marks()))
	}
	if again := newCaller(t, newSim(t, sc)).set("g", 1000, all...); !cmp.Equal(again.accounts(), r.accounts()) {
		t.Error("the same seed has another order")
	}
}

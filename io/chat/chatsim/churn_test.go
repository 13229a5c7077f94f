package chatsim

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func churning(n int, c Churn, sc Scenario) Scenario {
	sc = school(n, sc)
	sc.Groups[0].Churn, sc.Groups[1].Churn = c, c
	return sc
}

// Who leaves shifts the offsets of all who follow; a cursor does not mind.
func TestChurn(t *testing.T) {
	s := newSim(t, churning(1000, Churn{Every: 1, Leave: 3, Join: 2}, Scenario{Seed: 1}))
	c := newCaller(t, s)
	before := s.MembersNow("public")
	got := c.byOffset("public", 100)
	missed := 0
	for _, a := range s.MembersNow("public") {
		if slices.Contains(before, a) && !slices.Contains(got, a) {
			missed++
		}
	}
	if missed == 0 {
		t.Error("nobody who stayed was missed by Offset")
	}
	got = c.byCursor("@TGS#_all", 100)
	slices.Sort(got)
	if n := len(got); len(slices.Compact(got)) != n {
		t.Error("somebody is listed twice by Next")
	}
	for _, a := range s.MembersNow("@TGS#_all") {
		if slices.Contains(before, a) && !slices.Contains(got, a) {
			t.Errorf("%s stayed, and was missed by Next", a)
		}
	}
}

func TestChurnKeepsItsNumbers(t *testing.T) {
	const every, leave, join, times = 3, 4, 1, 5
	run := func(seed uint64) []string {
		s := newSim(t, churning(200, Churn{Every: every, Leave: leave, Join: join, Calls: times}, Scenario{Seed: seed}))
		c := newCaller(t, s)
		for i := 1; i <= 40; i++ {
			l := c.listMembers("public", `,"Limit":50,"Offset":0`)
			events := min(i/every, times)
			if want := 200 - events*(leave-join); l.MemberNum != want || len(s.MembersNow("public")) != want {
				t.Fatalf("call %d: got %d members, want %d", i, l.MemberNum, want)
			}
		}
		return s.MembersNow("public")
	}
	one := run(1)
	if diff := cmp.Diff(one, run(1)); diff != "" {
		t.Error(diff)
	}
	if slices.Equal(one, run(2)) {
		t.Error("another seed lets the same ones leave")
	}
	if one[0] != "m1" {
		t.Errorf("got %s first: the owner left", one[0])
	}
	if tail := one[len(one)-times*join:]; !slices.Equal(tail, numbered("joined-", 5)) {
		t.Errorf("got %v at the end", tail)
	}
}

// Who has left is nobody to the other commands, and who has joined is.
func TestChurnIsSeenByAll(t *testing.T) {
	s := newSim(t, Scenario{QPS: -1, Groups: []Group{{ID: "g", Type: "Community", Generate: Generate{Prefix: "m", Count: 30},
		Churn: Churn{Every: 2, Leave: 20, Join: 3, Calls: 1}}}})
	c := newCaller(t, s)
	before := s.MembersNow("g")
	for _, a := range before {
		wantCode(t, c.unread("g", a, 9), 0)
	}
	for range 2 {
		c.listMembers("g", `,"Next":""`)
	}
	now := s.MembersNow("g")
	online := c.members("g", 0, 0).accounts()
	slices.Sort(online)
	sorted := slices.Sorted(slices.Values(now))
	if diff := cmp.Diff(sorted, online); diff != "" || len(now) != 13 {
		t.Errorf("get_members lists others: %s", diff)
	}
	for _, a := range append(before, "joined-1", "joined-2", "joined-3") {
		want := 10019
		if slices.Contains(now, a) {
			want = 0
		}
		wantCode(t, c.unread("g", a, 1), want)
	}
	gone := slices.IndexFunc(before, func(a string) bool { return !slices.Contains(now, a) })
	wantUnread(t, s, "g", before[gone], 0, false)
	s.SetOnline("g", before[gone], true) // comes back, at the end
	if got := s.MembersNow("g"); got[len(got)-1] != before[gone] || len(got) != 14 {
		t.Errorf("got %v, want %s at the end", got, before[gone])
	}
	wantCode(t, c.unread("g", before[gone], 1), 0)
}

// An owner cannot leave, also when there is nobody else.
func TestOwnerStays(t *testing.T) {
	s := newSim(t, churning(3, Churn{Every: 1, Leave: 5}, Scenario{}))
	c := newCaller(t, s)
	for range 5 {
		c.listMembers("public", "")
	}
	if diff := cmp.Diff([]string{"m1"}, s.MembersNow("public")); diff != "" {
		t.Error(diff)
	}
}

func TestSetOnlineJoins(t *testing.T) {
	s := newSim(t, school(3, Scenario{}))
	for _, a := range []string{"late", "m2", "late"} {
		s.SetOnline("public", a, true)
	}
	if diff := cmp.Diff([]string{"m1", "m2", "m3", "late"}, s.MembersNow("public")); diff != "" {
		t.Error(diff)
	}
}

// A roster is a list with a hole for each who left: the arithmetic against
// the list itself.
func TestRoster(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &roster{gen: Generate{Prefix: "g", Count: rapid.IntRange(0, 20).Draw(t, "generated")}}
		for i := range rapid.IntRange(0, 5).Draw(t, "listed") {
			r.listed = append(r.listed, &Member{Account: fmt.Sprint("l", i)})
		}
		var model []int // positions
		for pos := range r.last() {
			model = append(model, pos+1)
		}
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			if len(model) > 0 && rapid.Bool().Draw(t, "leave") {
				i := rapid.IntRange(0, len(model)-1).Draw(t, "who")
				r.remove(model[i])
				model = slices.Delete(model, i, i+1)
			} else {
				r.joined = append(r.joined, "j")
				model = append(model, r.last())
			}
		}
		if r.size() != len(model) {
			t.Fatalf("got size %d, want %d", r.size(), len(model))
		}
		for k, pos := range model {
			if r.at(k) != pos || r.rank(pos) != k+1 {
				t.Fatalf("member %d is at %d and has rank %d, want %d and %d", k, r.at(k), r.rank(pos), pos, k+1)
			}
		}
		for pos := range r.last() + 1 { // of those who left, too
			want := 0
			for _, p := range model {
				if p <= pos {
					want++
				}
			}
			if got := r.rank(pos); got != want {
				t.Fatalf("position %d has rank %d, want %d", pos, got, want)
			}
		}
		from := rapid.IntRange(0, len(model)+1).Draw(t, "from")
		var walked []int
		r.walk(from, func(pos int) bool { walked = append(walked, pos); return true })
		if want := model[min(from, len(model)):]; !slices.Equal(walked, want) {
			t.Fatalf("walked %v from %d, want %v", walked, from, want)
		}
	})
}

// A page in the middle of 100,000 members costs about as much as one of a
// group of 200.
func TestPageOfManyIsCheap(t *testing.T) {
	read := func(n, offset int) time.Duration {
		s := newSim(t, churning(n, Churn{Every: 5, Leave: 2, Join: 2}, Scenario{}))
		c := newCaller(t, s)
		best := time.Hour
		for range 50 {
			start := time.Now()
			l := c.listMembers("public", fmt.Sprintf(`,"Limit":100,"Offset":%d`, offset))
			best = min(best, time.Since(start))
			if len(l.MemberList) != 100 {
				t.Fatalf("got %s", l.text)
			}
		}
		return best
	}
	few, many := read(300, 100), read(maxGenerate, maxGenerate-1000)
	if many > 20*few+10*time.Millisecond {
		t.Errorf("a page of ten million takes %v, of 300 %v", many, few)
	}
}

func BenchmarkMemberInfo(b *testing.B) {
	s := newSim(b, churning(100_000, Churn{Every: 10, Leave: 1, Join: 1}, Scenario{}))
	c := newCaller(b, s)
	body := `{"GroupId":"public","Limit":100,"Offset":50000}`
	for b.Loop() {
		c.post(commandMemberInfo, body)
	}
}

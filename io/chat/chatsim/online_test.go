package chatsim

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pages reads a whole list by its cursor.
func (c *caller) pages(group string) (accounts []string, sizes []int) {
	c.t.Helper()
	for at := int64(0); ; {
		r := c.members(group, 0, at)
		if r.err != nil || r.code() != 0 {
			c.t.Fatalf("page %d: %v %d", len(sizes)+1, r.err, r.code())
		}
		accounts, sizes = append(accounts, r.accounts()...), append(sizes, len(r.MemberList))
		if r.NextTimestamp == nil || *r.NextTimestamp == 0 {
			return accounts, sizes
		}
		at = *r.NextTimestamp
	}
}

func generated(n int, sc Scenario) Scenario {
	sc.Groups = []Group{{ID: "g", Generate: Generate{Prefix: "a", Count: n}}}
	return sc
}

func TestPages(t *testing.T) {
	tests := []struct {
		name    string
		sc      Scenario
		sizes   []int
		newest  string
		members int
	}{
		{"nobody", Scenario{Groups: []Group{{ID: "g"}}}, []int{0}, "", 0},
		{"one page", generated(500, Scenario{}), []int{500}, "a500", 500},
		{"one more", generated(501, Scenario{}), []int{500, 1}, "a501", 501},
		{"pages of 250", generated(600, Scenario{PageSize: 250}), []int{250, 250, 100}, "a600", 600},
		{"the newest thousand", generated(2500, Scenario{}), []int{500, 500}, "a2500", 1000},
		{"the newest thousand of a million", generated(1_000_000, Scenario{PageSize: 1000}), []int{1000}, "a1000000", 1000},
		{"without the edition", generated(600, Scenario{Premium: new(false)}), []int{30}, "a600", 30},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			accounts, sizes := newCaller(t, newSim(t, tt.sc)).pages("g")
			if diff := cmp.Diff(tt.sizes, sizes); diff != "" {
				t.Error(diff)
			}
			if tt.members > 0 && accounts[0] != tt.newest {
				t.Errorf("got %s first, want the newest, %s", accounts[0], tt.newest)
			}
			slices.Sort(accounts)
			if got := len(slices.Compact(accounts)); got != tt.members {
				t.Errorf("got %d members, want %d", got, tt.members)
			}
		})
	}
}

// Members who joined in one second come again on the next page, and a second
// with more than a page does not stop the cursor.
func TestPagesOfOneSecond(t *testing.T) {
	g := Group{ID: "g"}
	for i := range 40 {
		g.Members = append(g.Members, Member{Account: fmt.Sprint("m", i), JoinTime: 1000 + int64(i/20)})
	}
	c := newCaller(t, newSim(t, Scenario{PageSize: 7, Groups: []Group{g}}))
	accounts, sizes := c.pages("g")
	if diff := cmp.Diff([]int{20, 20}, sizes); diff != "" {
		t.Error(diff)
	}
	slices.Sort(accounts)
	if got := len(slices.Compact(accounts)); got != 40 {
		t.Errorf("got %d members, want 40", got)
	}
	c = newCaller(t, newSim(t, Scenario{PageSize: 30, Groups: []Group{g}}))
	if _, sizes = c.pages("g"); !cmp.Equal(sizes, []int{30, 20}) { // 10 of them twice
		t.Errorf("got pages of %v, want 30 and 20", sizes)
	}
}

func TestOmitNext(t *testing.T) {
	for _, omit := range []bool{false, true} {
		c := newCaller(t, newSim(t, generated(501, Scenario{OmitNext: omit})))
		first := c.members("g", 0, 0)
		last := c.members("g", 0, *first.NextTimestamp)
		if got := last.NextTimestamp == nil; got != omit || last.code() != 0 {
			t.Errorf("OmitNext %v: NextTimestamp is left out: %v", omit, got)
		}
	}
}

func TestMembersByMark(t *testing.T) {
	s := newSim(t, class(Scenario{}))
	c := newCaller(t, s)
	wantCode(t, c.set("class", 1000, "s1", "s2", "s4"), 0)
	wantCode(t, c.set("class", 1001, "s4", "s5"), 0)
	for mark, want := range map[uint64][]string{1000: {"s4", "s2", "s1"}, 1001: {"s5", "s4"}, 1002: nil} {
		r := c.members("class", mark, 0)
		wantCode(t, r, 0)
		if diff := cmp.Diff(want, r.accounts()); diff != "" {
			t.Errorf("mark %d: %s", mark, diff)
		}
	}
}

func TestMark600Hides(t *testing.T) {
	s := newSim(t, class(Scenario{}))
	c := newCaller(t, s)
	wantCode(t, c.set("class", 600, "s1"), 0)
	wantCode(t, c.set("class", 1000, "s1", "s2"), 0)
	all := c.members("class", 0, 0)
	if got := all.accounts(); slices.Contains(got, "s1") || len(got) != 18 { // nor s3, who is offline
		t.Errorf("got %v, want 18 without s1", got)
	}
	for mark, want := range map[uint64][]string{600: {"s1"}, 1000: {"s2", "s1"}} {
		if diff := cmp.Diff(want, c.members("class", mark, 0).accounts()); diff != "" {
			t.Errorf("mark %d: %s", mark, diff)
		}
	}
}

func TestOnlineFollowsSetOnline(t *testing.T) {
	s := newSim(t, class(Scenario{}))
	c := newCaller(t, s)
	s.SetOnline("class", "s1", false)
	s.SetOnline("class", "s3", true)
	s.SetOnline("class", "late", true)
	wantCode(t, c.set("class", 500, "s1"), 0) // always online
	got := c.members("class", 0, 0).accounts()
	slices.Sort(got)
	want := append(numbered("s", 20), "late")
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Who exists by Open alone is listed when a request has named it, also one
// that was refused: a client that asks who of a refused request is online
// must not be told that nobody is.
func TestOpenMembersAreListed(t *testing.T) {
	for _, keep := range []bool{false, true} {
		s := newSim(t, Scenario{Open: true, KeepState: keep, OfflineRate: 0.2, Poison: []string{"a7"}})
		c := newCaller(t, s)
		wantCode(t, c.set("g", 1000, numbered("a", 300)...), 10004)
		wantCode(t, c.set("other", 1000, numbered("b", 9)...), 0)
		var want []string
		for _, a := range numbered("a", 300) {
			if !chance(0, "g", a, 0.2) {
				want = append(want, a)
			}
		}
		got := c.members("g", 0, 0).accounts()
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("KeepState %v: %s", keep, diff)
		}
	}
}

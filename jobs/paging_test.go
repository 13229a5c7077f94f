package jobs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"chatbatch/io/chat"
	"chatbatch/io/chat/chatsim"
)

func TestPageLimit(t *testing.T) {
	fit := func(l *pageLimit, pages int) {
		for range pages {
			l.fits(l.get())
		}
	}
	for _, test := range []struct {
		name string
		do   func(l *pageLimit)
		want int
	}{
		{"at first", func(*pageLimit) {}, 100},
		{"refused", func(l *pageLimit) { l.tooLarge(100) }, 50},
		{"refused to the end", func(l *pageLimit) {
			for range 20 {
				l.tooLarge(l.get())
			}
		}, 1},
		{"a smaller page than now", func(l *pageLimit) { l.tooLarge(30) }, 15},
		{"refused for pages that left together", func(l *pageLimit) { l.tooLarge(100); l.tooLarge(100); l.tooLarge(100) }, 50},
		{"a few fit", func(l *pageLimit) { l.tooLarge(100); fit(l, growAfter-1) }, 50},
		{"it grows", func(l *pageLimit) { l.tooLarge(100); fit(l, growAfter) }, 100},
		{"no more than wanted", func(l *pageLimit) { l.tooLarge(60); fit(l, 50*growAfter) }, 100},
		{"smaller pages do not count", func(l *pageLimit) {
			l.tooLarge(100)
			for range 100 {
				l.fits(20)
			}
		}, 50},
		{"several halvings at once cost no patience", func(l *pageLimit) {
			l.tooLarge(100)
			l.tooLarge(50)
			l.tooLarge(25)
			fit(l, growAfter)
		}, 24},
		{"growing was too much", func(l *pageLimit) {
			l.tooLarge(100)
			fit(l, growAfter)
			l.tooLarge(100)
			fit(l, 2*growAfter-1)
		}, 50},
		{"and is tried again", func(l *pageLimit) {
			l.tooLarge(100)
			fit(l, growAfter)
			l.tooLarge(100)
			fit(l, 2*growAfter)
		}, 100},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newPageLimit(100)
			if test.do(l); l.get() != test.want {
				t.Errorf("got %d, want %d", l.get(), test.want)
			}
		})
	}
}

// heavy is a group whose first members do not fit 50 into an answer, nor 1.1 MB.
func heavy(id, kind string) chatsim.Group {
	g := chatsim.Group{ID: id, Type: kind, Generate: chatsim.Generate{Prefix: "user", Count: 2940}}
	for i := range 60 {
		g.Members = append(g.Members, chatsim.Member{
			Account: fmt.Sprintf("heavy%d", i),
			Custom:  chatsim.Custom{{Key: "essay", Value: strings.Repeat("x", 40<<10)}},
		})
	}
	return g
}

// Answers that are too large are asked for in smaller pages; behind them pages
// grow again.
func TestMembersTooLargeForAnAnswer(t *testing.T) {
	for _, test := range []struct {
		group   chatsim.Group
		workers int
		most    int64 // calls
	}{
		// Two refusals, 8 pages of 25, 8 of 50, and the rest in full ones.
		{heavy("g", "Public"), 1, 2 + 8 + 8 + 26}, {heavy("@TGS#_c", "Community"), 1, 2 + 8 + 8 + 26}, {heavy("g", "Public"), 64, 120},
	} {
		t.Run(fmt.Sprint(test.group.Type, test.workers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := membersStage(t, chatsim.Scenario{Groups: []chatsim.Group{test.group}, Latency: 30 * time.Millisecond}, MembersOptions{}, test.group.ID)
				s.runner.Workers = test.workers
				if err := s.runner.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				r, got := s.fetched(t, 1)
				if r.Grade != GradeExact || !slices.Equal(accountsOf(got), s.sim.MembersNow(test.group.ID)) {
					t.Errorf("got %d members, %+v", len(got), r)
				}
				t.Logf("%d calls", s.sim.Counts().Calls)
				if n := s.sim.Counts().Calls; n > test.most {
					t.Errorf("%d calls, want at most %d", n, test.most)
				}
				if !slices.Equal(r.Keys, []string{"essay"}) {
					t.Errorf("custom fields %q", r.Keys)
				}
			})
		})
	}
}

// One member that fits into no answer fails the group, and no other.
func TestMembersOneTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := heavy("g", "Public")
		g.Members[30].Custom[0].Value = strings.Repeat("x", 2<<20)
		s := membersStage(t, chatsim.Scenario{Groups: []chatsim.Group{g, pupils("h", "Public", 5)}}, MembersOptions{}, "g", "h")
		if err := s.runner.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if o := s.ledger.outcomes[1][0]; o.Class != ClassRefused || o.Code != 10018 {
			t.Errorf("got %+v", o)
		}
		s.fetched(t, 2)
	})
}

// While members come and go nobody is there twice, and a group is "exact" only
// if it is.
func TestMembersChurn(t *testing.T) {
	exact, drifted, again := 0, 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		c := chatsim.Churn{
			Every: rapid.IntRange(1, 6).Draw(rt, "every"), Calls: rapid.IntRange(0, 6).Draw(rt, "calls"),
			Leave: rapid.IntRange(0, 5).Draw(rt, "leave"), Join: rapid.IntRange(0, 5).Draw(rt, "join"),
		}
		if c.Leave == c.Join { // nothing tells of those: the numbers are the same on each page
			c.Join++
		}
		g := chatsim.Group{ID: "g", Type: "Public", Churn: c, Generate: chatsim.Generate{Prefix: "user", Count: rapid.IntRange(50, 1500).Draw(rt, "members")}}
		if rapid.Bool().Draw(rt, "community") {
			g.ID, g.Type = "@TGS#_g", "Community"
		}
		seed := rapid.Uint64Range(0, 1<<40).Draw(rt, "seed")
		synctest.Test(t, func(t *testing.T) {
			s := membersStage(t, chatsim.Scenario{Seed: seed, Groups: []chatsim.Group{g}, Latency: 30 * time.Millisecond, Jitter: 60 * time.Millisecond}, MembersOptions{}, g.ID)
			if err := s.runner.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			r, got := s.fetched(t, 1)
			accounts := sortedAccounts(got)
			if len(slices.Compact(slices.Clone(accounts))) != len(accounts) {
				t.Errorf("an account is there twice: %+v", g)
			}
			now := s.sim.MembersNow(g.ID)
			slices.Sort(now)
			switch same := slices.Equal(accounts, now); {
			case r.Grade == GradeExact && !same:
				t.Errorf("graded exact with %d members of %d: %+v, %+v", len(accounts), len(now), r, g)
			case r.Grade == GradeExact:
				exact++
			case r.Grade != GradeDrifted || r.Reads != 2:
				t.Errorf("got %+v", r)
			default:
				drifted++
			}
			if r.Reads == 2 && r.Grade == GradeExact {
				again++
			}
		})
	})
	t.Logf("%d exact, %d of them when they were read again; %d drifted", exact, again, drifted)
	if exact == 0 || drifted == 0 || again == 0 {
		t.Error("not all cases were met")
	}
}

// playMembers exports one group from a script.
func playMembers(t *testing.T, o MembersOptions, group string, answer func(ask map[string]any) string) (*stage, *script) {
	t.Helper()
	s := membersStage(t, chatsim.Scenario{}, o, group)
	p := s.play(func(_ string, ask map[string]any) string { return answer(ask) })
	if err := s.runner.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, p
}

// Servers that do not keep to their documentation.
func TestMembersOfOddServers(t *testing.T) {
	all := numbered("user", 450)
	number := `,"MemberNum":450`
	for _, test := range []struct {
		name, group string
		answer      func(ask map[string]any) string
		grade       string
		calls       int
	}{
		{"no MemberNum", "g", func(ask map[string]any) string { return listing(byOffset(all, ask, 100), "") }, GradeUncounted, 6},
		{"MemberNum on some pages", "g", func(ask map[string]any) string {
			if ask["Offset"].(float64) > 150 {
				return listing(byOffset(all, ask, 100), "")
			}
			return listing(byOffset(all, ask, 100), number)
		}, GradeExact, 5},
		{"pages of 33", "g", func(ask map[string]any) string { return listing(byOffset(all, ask, 33), number) }, GradeExact, 14},
		{"pages of any size", "g", func(ask map[string]any) string {
			return listing(byOffset(all, ask, 20+int(ask["Offset"].(float64))*7%60), number)
		}, GradeExact, 0},
		{"MemberNum too small", "g", func(ask map[string]any) string { return listing(byOffset(all, ask, 100), `,"MemberNum":250`) }, GradeDrifted, 12},
		{"MemberNum smaller than a page", "g", func(ask map[string]any) string { return listing(byOffset(all, ask, 100), `,"MemberNum":5`) }, GradeDrifted, 12},
		{"MemberNum too large", "g", func(ask map[string]any) string { return listing(byOffset(all, ask, 100), `,"MemberNum":470`) }, GradeDrifted, 0},
		{"MemberNum out of this world", "g", func(ask map[string]any) string {
			return listing(byOffset(all, ask, 100), `,"MemberNum":9223372036854775807`)
		}, GradeDrifted, 0},
		{"a cursor without a prefix", "plain", func(ask map[string]any) string { return byNext(all, ask, 100, 0) }, GradeExact, 5},
		{"a community with empty pages", "@TGS#_c", func(ask map[string]any) string { return byNext(all, ask, 100, 20) }, GradeExact, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := playMembers(t, MembersOptions{}, test.group, test.answer)
				r, got := s.fetched(t, 1)
				if r.Grade != test.grade || test.calls > 0 && p.calls != test.calls {
					t.Errorf("%d calls, want %d: %+v", p.calls, test.calls, r)
				}
				if !slices.Equal(accountsOf(got), all) {
					t.Errorf("got %d members", len(got))
				}
			})
		})
	}
}

// byNext are members by a cursor, with so many empty pages behind each page.
func byNext(all []string, ask map[string]any, most, empty int) string {
	next, _ := ask["Next"].(string)
	from, barren := 0, 0
	if next != "" {
		if _, err := fmt.Sscanf(next, "%d.%d", &from, &barren); err != nil {
			return `{"ActionStatus":"FAIL","ErrorCode":10004}`
		}
	}
	more := fmt.Sprintf(`,"MemberNum":%d,"Next":`, len(all))
	if barren > 0 {
		return listing(nil, more+fmt.Sprintf(`"%d.%d"`, from, barren-1))
	}
	end := min(from+most, len(all))
	if end == len(all) {
		return listing(all[from:end], more+`""`)
	}
	return listing(all[from:end], more+fmt.Sprintf(`"%d.%d"`, end, empty))
}

// Pages that never end fail their group after a bounded number of calls.
func TestMembersStuck(t *testing.T) {
	all := numbered("user", 40_000)
	endless := 0
	for _, test := range []struct {
		name, group string
		answer      func(ask map[string]any) string
		calls       int // at most
	}{
		{"the Offset is ignored", "g", func(map[string]any) string { return listing(all[:100], `,"MemberNum":40000`) }, 150},
		{"the Offset is ignored in a small group", "g", func(map[string]any) string { return listing(all[:100], `,"MemberNum":150`) }, 2},
		{"the Offset is ignored, no MemberNum", "g", func(map[string]any) string { return listing(all[:100], "") }, 60},
		{"the Offset begins anew", "g", func(ask map[string]any) string {
			ask["Offset"] = float64(int(ask["Offset"].(float64)) % 1000)
			return listing(byOffset(all, ask, 100), "")
		}, 70},
		{"a cursor comes twice", "@TGS#_c", func(map[string]any) string { return listing(all[:100], `,"Next":"7"`) }, 2},
		{"a cursor goes back", "@TGS#_c", func(ask map[string]any) string {
			if ask["Next"] == "b" {
				return listing(all[:100], `,"Next":"a"`)
			}
			return listing(all[:100], `,"Next":"b"`)
		}, 4},
		{"cursors for ever", "@TGS#_c", func(map[string]any) string { endless++; return listing(nil, fmt.Sprintf(`,"Next":"%d"`, endless)) }, 60},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := playMembers(t, MembersOptions{}, test.group, test.answer)
				o := s.ledger.outcomes[1][0]
				if o.Class != ClassStuckCursor || p.calls > test.calls || o.Attempts != p.calls {
					t.Errorf("%d calls, want at most %d: %+v", p.calls, test.calls, o)
				}
			})
		})
	}
	t.Run("a cursor of the simulator", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := membersStage(t, chatsim.Scenario{
				Groups: []chatsim.Group{pupils("@TGS#_c", "Community", 500)},
				Faults: []chatsim.Fault{{Kind: chatsim.KindStuck, Command: chat.CommandGroupMembers, After: 2, Rate: 1}},
			}, MembersOptions{}, "@TGS#_c")
			if err := s.runner.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if o := s.ledger.outcomes[1][0]; o.Class != ClassStuckCursor || s.sim.Counts().Calls > 4 {
				t.Errorf("%d calls: %+v", s.sim.Counts().Calls, o)
			}
		})
	})
}

// The type of a group that is in the input decides how it is asked for.
func TestMembersOfACommunityWithoutThePrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := numbered("user", 250)
		s, p := playMembers(t, MembersOptions{}, "plain,community", func(ask map[string]any) string {
			if _, byCursor := ask["Next"]; !byCursor {
				return `{"ActionStatus":"FAIL","ErrorCode":10004}`
			}
			return byNext(all, ask, 100, 0)
		})
		if r, got := s.fetched(t, 1); r.Grade != GradeExact || !slices.Equal(accountsOf(got), all) || p.calls != 3 {
			t.Errorf("%d calls: %+v", p.calls, r)
		}
	})
}

// What comes in any order goes on in the order of its places; an error ends it.
func TestInLine(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 20).Draw(rt, "n")
		order := rapid.Permutation(numbersTo(n)).Draw(rt, "order")
		fails := rapid.IntRange(-n-1, n-1).Draw(rt, "fails")
		why := errors.New("full")
		var got []int
		line := &inLine{waiting: map[int][]chat.Member{}}
		for _, place := range order {
			err := line.put(place, []chat.Member{{Account: fmt.Sprint(place)}}, func(m []chat.Member) error {
				if fmt.Sprint(fails) == m[0].Account {
					return why
				}
				got = append(got, len(got))
				if m[0].Account != fmt.Sprint(len(got)-1) {
					rt.Fatalf("%s came at place %d", m[0].Account, len(got)-1)
				}
				return nil
			})
			if err != nil {
				if !errors.Is(err, why) || len(got) != fails {
					rt.Errorf("got %v", err)
				}
				return
			}
		}
		if len(got) != n || fails >= 0 {
			rt.Errorf("%d of %d went on", len(got), n)
		}
	})
}

func numbersTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// A page takes up a place for each account, and for each member without one.
func TestPlaces(t *testing.T) {
	page := []chat.Member{{Account: "a"}, {Account: "b"}, {Account: "a"}, {}, {}, {Account: "b"}}
	if n := places(page); n != 4 {
		t.Errorf("got %d, want 4", n)
	}
}

// A list that goes on far behind what the server says there is has no end; one of which it
// says nothing, or little, is read on.
func TestTooMany(t *testing.T) {
	for _, test := range []struct {
		told int64
		seen int
		many bool
	}{{-1, 300_000, false}, {0, 100_000, false}, {0, 100_001, true}, {450, 100_900, false}, {450, 100_901, true}, {1 << 60, 300_000, false}} {
		r := &reading{last: test.told, basket: newBasket(nil, nil)}
		for n := range test.seen {
			r.basket.seen[uint64(n)] = struct{}{}
		}
		if err := r.tooMany(); (err != nil) != test.many {
			t.Errorf("%d of %d: got %v", test.seen, test.told, err)
		}
	}
}

package main

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/chat/chatsim"
)

// isolated are codes that may mean one account or all of them; what the vendor
// answers is not documented. The last one is in no table: it is tried once more.
var isolated = []int{10004, 10016, 10019, 70107, unknownCode}

const unknownCode = 99999

// One poisoned account in a chunk of 500 must not fail its 499 neighbours, and
// may cost 20 calls, wherever it stands.
func TestOnePoisonedAccount(t *testing.T) {
	t.Parallel()
	places := []int{0, 249, 250, 499}
	for range 20 {
		places = append(places, rand.IntN(500))
	}
	for i, code := range isolated {
		places := places
		if i > 0 {
			places = places[:9]
		}
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			sc := chatsim.Scenario{Open: true, PoisonCode: code}
			var rows [][2]string
			want := map[string]string{}
			for g, place := range places {
				group := fmt.Sprint("g", g)
				for i := range 500 {
					account := fmt.Sprintf("%s-%d", group, i)
					rows = append(rows, [2]string{group, account})
					if i == place {
						sc.Poison = append(sc.Poison, account)
						want[group+" "+account] = fmt.Sprint(classAlone(code), " ", code)
					}
				}
			}
			c := newCourse(t, sc)
			got := c.marksSet(rows)
			if d := cmp.Diff(want, got.failed); d != "" || got.code != exitFailed {
				t.Fatalf("exit code %d; failed: want -, got +\n%s", got.code, d)
			}
			for g, place := range places {
				if n := c.spent(fmt.Sprint("g", g), unknownCode); n > 1+20 {
					t.Errorf("place %d: got %d calls more than the one, want at most 20", place, n-1)
				}
			}
		})
	}
}

// A mix is a chunk of some size with poisoned accounts, and some who are
// offline, by their places in it.
type mix struct {
	group   string
	size    int
	poison  []int
	offline func(i int) bool
	extra   int // most calls beyond the first
}

func nobody(int) bool    { return false }
func everybody(int) bool { return true }

func mixes() []mix {
	return []mix{
		{"everybody offline", 500, nil, everybody, 10},
		{"one account: offline", 1, nil, everybody, 10},
		{"two poisoned", 500, []int{17, 333}, nobody, 40},
		{"two poisoned: side by side", 500, []int{249, 250}, nobody, 40},
		{"poisoned: some offline", 500, []int{77}, func(i int) bool { return i%3 == 0 && i != 77 }, 20},
		{"poisoned: the others of its half offline", 500, []int{77}, func(i int) bool { return i < 250 && i != 77 }, 30},
		{"poisoned: the other half offline", 500, []int{77}, func(i int) bool { return i >= 250 }, 30},
		{"poisoned: all others offline", 500, []int{400}, func(i int) bool { return i != 400 }, 30},
		{"all online", 500, nil, nobody, 0},
	}
}

// Chunks of poisoned and offline accounts: every account gets its own outcome,
// at a bounded cost, whether the two refusals look alike or not.
func TestPoisonedAndOffline(t *testing.T) {
	t.Parallel()
	for i, poison := range isolated {
		for _, offline := range []int{poison, isolated[(i+1)%len(isolated)]} {
			t.Run(fmt.Sprintf("%d and %d", poison, offline), func(t *testing.T) {
				sc := chatsim.Scenario{PoisonCode: poison, AllOfflineCode: offline}
				var rows [][2]string
				want := map[string]string{}
				for _, m := range mixes() {
					rows = append(rows, m.in(&sc, want)...)
				}
				c := newCourse(t, sc)
				got := c.marksSet(rows)
				for who, what := range got.failed { // an offline account comes with or without a code
					if strings.HasPrefix(what, "offline_or_absent ") && want[who] == "offline_or_absent" {
						got.failed[who] = "offline_or_absent"
					}
				}
				if d := cmp.Diff(want, got.failed); d != "" || got.code != exitFailed {
					t.Errorf("exit code %d; failed: want -, got +\n%s", got.code, d)
				}
				for _, m := range mixes() {
					n := c.spent(m.group, unknownCode)
					t.Logf("%s: %d calls more than the one", m.group, n-1)
					if n > 1+m.extra {
						t.Errorf("%s: got %d calls more than the one, want at most %d", m.group, n-1, m.extra)
					}
				}
			})
		}
	}
}

// classAlone is the class of an account that is refused alone with a code.
func classAlone(code int) string {
	if code == 10019 || code == 70107 { // there is no such account
		return "offline_or_absent"
	}
	return "refused"
}

// in puts the mix into a scenario, and returns its rows.
func (m mix) in(sc *chatsim.Scenario, want map[string]string) [][2]string {
	g := chatsim.Group{ID: m.group}
	var rows [][2]string
	for i := range m.size {
		account := fmt.Sprintf("%d-%d", len(sc.Groups), i)
		rows = append(rows, [2]string{m.group, account})
		g.Members = append(g.Members, chatsim.Member{Account: account, Offline: m.offline(i)})
		if m.offline(i) {
			want[m.group+" "+account] = "offline_or_absent"
		}
		for _, p := range m.poison {
			if p == i {
				sc.Poison = append(sc.Poison, account)
				want[m.group+" "+account] = fmt.Sprint(classAlone(sc.PoisonCode), " ", sc.PoisonCode)
			}
		}
	}
	sc.Groups = append(sc.Groups, g)
	return rows
}

// The only chunk of a run is also its first call, which nothing vouches for.
func TestOnlyChunk(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name          string
		accounts      int
		offline       float64
		poison        string
		class         string
		failed, calls int64
	}{
		{"500 offline", 500, 1, "", "offline_or_absent", 500, 1 + 10},
		{"one offline", 1, 1, "", "offline_or_absent", 1, 1 + 10},
		{"two offline", 2, 1, "", "offline_or_absent", 2, 1 + 10},
		{"one poisoned of 500", 500, 0, "a0", "refused", 1, 1 + 20},
		{"one poisoned alone", 1, 0, "a0", "refused", 1, 1 + 20},
	}
	for _, tt := range tests {
		for _, code := range isolated {
			t.Run(fmt.Sprintf("%s, code %d", tt.name, code), func(t *testing.T) {
				class := tt.class
				if class == "refused" {
					class = classAlone(code)
				}
				dir := t.TempDir()
				scenario := filepath.Join(dir, "scenario.yaml")
				text := fmt.Sprintf("open: true\nqps: -1\noffline_rate: %v\npoison: [%s]\npoison_code: %d\nall_offline_code: %d\n",
					tt.offline, tt.poison, code, code)
				if err := os.WriteFile(scenario, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				var rows [][2]string
				for i := range tt.accounts {
					rows = append(rows, [2]string{"g", fmt.Sprint("a", i)})
				}
				// Retries wait; in a bubble that takes no time.
				synctest.Test(t, func(t *testing.T) {
					c := &course{t: t, dir: dir}
					got := c.marksSet(rows, "--sim-scenario", scenario, "--endpoint", "")
					if got.sum.Failed != tt.failed || got.sum.ByClass[class] != tt.failed || got.sum.Unprocessed != 0 || got.code != exitFailed {
						t.Errorf("exit code %d, %+v", got.code, got.sum)
					}
					if n := got.sum.Calls - got.sum.Retries; n > tt.calls {
						t.Errorf("got %d calls, want at most %d", n, tt.calls)
					}
					if code != unknownCode && got.sum.Retries > 0 {
						t.Errorf("got %d retries of a code that does not heal", got.sum.Retries)
					}
				})
			})
		}
	}
}

// The server takes fewer accounts than it says: a few calls find that out, and
// all later ones are smaller.
func TestTooManyAccounts(t *testing.T) {
	t.Parallel()
	c := newCourse(t, chatsim.Scenario{Open: true, MaxMembers: 100})
	var rows [][2]string
	for i := range 4000 {
		rows = append(rows, [2]string{fmt.Sprint("g", i%4), fmt.Sprint("a", i)})
	}
	got := c.marksSet(rows)
	if got.code != exitOK || got.sum.Succeeded != 4000 {
		t.Errorf("exit code %d, %+v", got.code, got.sum)
	}
	seen := c.sim.Counts()
	if n := seen.ByCode[10005]; n > 4 {
		t.Errorf("got %d calls refused as too large, want at most 4", n)
	}
	if n := seen.Calls; n > 80 { // 40 are the fewest; halving 500 makes 62 of 100
		t.Errorf("got %d calls, want at most 80", n)
	}
}

// A group that is not there costs one call, however many chunks it has, and
// those that were under way at the same time.
func TestGroupNotFound(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 4} {
		for _, others := range []int{0, 300} {
			t.Run(fmt.Sprintf("%d workers, %d other rows", workers, others), func(t *testing.T) {
				c := newCourse(t, chatsim.Scenario{Latency: 20 * time.Millisecond, Groups: []chatsim.Group{
					{ID: "here", Generate: chatsim.Generate{Prefix: "a", Count: 2000}},
				}})
				var rows [][2]string
				for i := range others {
					rows = append(rows, [2]string{"here", fmt.Sprint("a", i+1)})
				}
				for i := range 1500 {
					rows = append(rows, [2]string{"gone", fmt.Sprint("a", i+1)})
				}
				got := c.marksSet(rows, "--chunk-size", "100", "--workers", fmt.Sprint(workers))
				want := map[string]int64{"group_not_found": 1500}
				if d := cmp.Diff(want, got.sum.ByClass); d != "" || got.code != exitFailed || got.sum.Succeeded != int64(others) {
					t.Errorf("exit code %d, %+v; classes: want -, got +\n%s", got.code, got.sum, d)
				}
				if n := int(c.spent("gone")); n < 1 || n > workers {
					t.Errorf("got %d calls for the group, want at most %d", n, workers)
				}
			})
		}
	}
}

// The newest run is the one that was begun last, also when several are begun in
// the same second. (Time stands still in a bubble.)
func TestNewestOfOneSecond(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	scenario := filepath.Join(dir, "scenario.yaml")
	if err := os.WriteFile(scenario, []byte("open: true\nqps: -1\npoison: [a0]\npoison_code: 60010\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		c := &course{t: t, dir: dir}
		for i := range 5 {
			began := c.marksSet([][2]string{{fmt.Sprint("g", i), "a0"}}, "--sim-scenario", scenario, "--endpoint", "")
			if began.code != exitRefused {
				t.Fatalf("exit code %d, %+v", began.code, began.sum)
			}
			time.Sleep(time.Millisecond)
			if resumed := c.command("resume"); resumed.sum.Run != began.sum.Run {
				t.Fatalf("run %d: resumed %s, want %s", i, resumed.sum.Run, began.sum.Run)
			}
		}
	})
}

// Books that do not balance are never printed as if they did.
func TestUnbalanced(t *testing.T) {
	t.Parallel()
	c := newCourse(t, chatsim.Scenario{Open: true})
	got := c.marksSet([][2]string{{"g", "a0"}, {"g", "a1"}})
	dir := filepath.Join(c.dir, "state", "chatbatch", "runs", got.sum.Run)
	db, err := sql.Open("sqlite", filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("UPDATE books SET succeeded = 1"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "summary.json")); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := program(t, c.env(), "report", got.sum.Run)
	if code != exitUnbalanced || stdout != "" || !strings.Contains(stderr, "balance") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "summary.json")); err == nil {
		t.Error("a summary was written")
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/chat/chatsim"
	"chatbatch/io/ledger"
)

// An unreadRow is a row of the file of counts, and what must become of it.
type unreadRow struct {
	group, account, count string
	class                 string
}

// A counting is a siege of `unread set`.
type counting struct {
	*siege
	rows    []unreadRow
	settled map[string]int // calls of a member when the ledger had its outcome
}

const (
	unreadWorkers  = 16
	unreadMessages = 1000
)

// TestKillUnread kills `unread set` at random moments, and gives the same command
// again. Its chunks are large, so that each kill is in the middle of some. A row
// whose outcome is on record is never sent again: its member may have read
// since.
func TestKillUnread(t *testing.T) {
	t.Parallel()
	kills, members := 25, 150
	if testing.Short() {
		kills, members = 6, 40
	}
	c := newCounting(t, members)
	left := len(c.rows)
	for c.kills < kills {
		average := max(left/(kills-c.kills+3), 1)
		p, killed := c.kill(c.after(c.rng.IntN(2*average)+1), 6*time.Millisecond)
		if !killed && c.kills < kills/2 {
			t.Fatalf("it ended by itself after %d kills:\n%s", c.kills, p.stderr.String())
		}
		if !killed {
			c.check(p.end(t))
			return
		}
		left = c.look()
	}
	stdout, code := c.program().end(t)
	c.check(stdout, code)
}

func newCounting(t *testing.T, members int) *counting {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	most := uint32(unreadMessages)
	sc := chatsim.Scenario{
		Seed: seed, QPS: -1, Latency: 2 * time.Millisecond, Jitter: 4 * time.Millisecond, Action1: true,
		Faults: []chatsim.Fault{
			{Kind: chatsim.KindCode, Code: 10002, Rate: 0.05, Command: "set_unread_msg_num"},
			{Kind: chatsim.KindLost, Rate: 0.02, Command: "set_unread_msg_num"},
		},
	}
	c := &counting{settled: map[string]int{}}
	for _, g := range []chatsim.Group{{ID: "class", Type: "Public"}, {ID: "@TGS#_town", Type: "Community"}, {ID: "math", Type: "Private"}, {ID: "lunch", Type: "ChatRoom"}} {
		g.Messages = &most
		sc.Groups = append(sc.Groups, g)
	}
	for i := range members {
		for g := range sc.Groups {
			group := &sc.Groups[g]
			row := unreadRow{group: group.ID, account: fmt.Sprintf("pupil %d", i), count: fmt.Sprint(i*17%1500 + 1)}
			switch {
			case group.Type == "ChatRoom":
				row.class = "unsupported_group_type"
			case i%29 == 3:
				row.class = "offline_or_absent" // not a member
			case i%41 == 5:
				row.count, row.class = "-1", "bad_row"
			}
			if row.class != "offline_or_absent" {
				group.Members = append(group.Members, chatsim.Member{Account: row.account})
			}
			if i%31 == 7 { // replaced by the row that follows
				earlier := row
				earlier.count = "4294967295"
				c.rows = append(c.rows, earlier)
			}
			c.rows = append(c.rows, row)
		}
	}
	c.siege = newSiege(t, seed, sc, "unread", "set", "counts.csv", "--chunk-size", "100", "--workers", fmt.Sprint(unreadWorkers))
	var b strings.Builder
	b.WriteString("group_id,account,unread_msg_num\n")
	for _, r := range c.rows {
		fmt.Fprintf(&b, "%s,%s,%s\n", r.group, r.account, r.count)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "counts.csv"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// look looks at the ledger after a kill, and says how many rows are left.
func (c *counting) look() (left int) {
	c.t.Helper()
	l := c.run()
	if l == nil {
		return len(c.rows)
	}
	defer l.Close()
	for r, err := range l.Rows(c.t.Context()) {
		if err != nil {
			c.t.Fatal(err)
		}
		row := c.rows[r.Num]
		name := row.group + " " + row.account
		if sent, known := c.settled[name]; known && c.callsOf(name) != sent {
			c.t.Errorf("%s was settled after %d calls, and got %d", name, sent, c.callsOf(name))
		}
		if r.Status != ledger.Unprocessed {
			c.settled[name] = c.callsOf(name)
		}
	}
	s, err := l.Summary(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	c.checkReplayed(s)
	return int(s.Unprocessed)
}

// checkReplayed holds that a kill leaves no more in doubt than a row for each
// worker. (They may be sent again a few kills later.)
func (c *counting) checkReplayed(s ledger.Summary) {
	c.t.Helper()
	if most := int64(c.kills * unreadWorkers); s.Replayed > most {
		c.t.Errorf("got %d rows replayed after %d kills with %d workers", s.Replayed, c.kills, unreadWorkers)
	}
}

func (c *counting) check(stdout string, code int) {
	t := c.t
	if code != exitFailed {
		t.Errorf("got exit code %d, want %d", code, exitFailed)
	}
	var sum ledger.Summary
	if err := json.Unmarshal([]byte(stdout), &sum); err != nil {
		t.Fatalf("summary %q: %v", stdout, err)
	}
	c.look()
	classes := map[string]int64{}
	var failed, superseded int64
	for i, r := range c.rows {
		if r.class != "" {
			failed++
			classes[r.class]++
		}
		if i+1 < len(c.rows) && c.rows[i+1].account == r.account && c.rows[i+1].group == r.group && c.rows[i+1].class != "bad_row" {
			superseded++
		}
	}
	rows := int64(len(c.rows))
	got := []any{sum.State, sum.Rows, sum.Succeeded, sum.Failed, sum.Unprocessed, sum.ByClass, sum.Superseded}
	want := []any{ledger.Finished, rows, rows - failed, failed, int64(0), classes, superseded}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("books: want -, got +\n%s", d)
	}
	c.checkOutcomes()
	c.checkServer()
	c.checkCalls(sum)
	c.clean()
}

// checkOutcomes looks at each single row.
func (c *counting) checkOutcomes() {
	l := c.run()
	defer l.Close()
	for r, err := range l.Rows(c.t.Context()) {
		if err != nil {
			c.t.Fatal(err)
		}
		if want := c.rows[r.Num]; r.Outcome.Class != want.class || r.Status == ledger.Unprocessed {
			c.t.Errorf("row %d: got %v %+v, want %+v", r.Num, r.Status, r.Outcome, want)
		}
	}
}

// checkServer looks at the count of each member.
func (c *counting) checkServer() {
	want, got := map[string]uint32{}, map[string]uint32{}
	for _, r := range c.rows {
		name := r.group + " " + r.account
		if n, ok := c.sim.Unread(r.group, r.account); ok {
			got[name] = n
		}
		if r.class == "" {
			var n uint32
			fmt.Sscan(r.count, &n)
			want[name] = min(n, unreadMessages)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		c.t.Errorf("unread counts: want -, got +\n%s", d)
	}
}

// checkCalls holds that a row is sent once, and once more for each answer that
// was spoiled and for each time that it was in doubt.
func (c *counting) checkCalls(sum ledger.Summary) {
	seen := c.sim.Counts()
	spoiled := seen.ByFault[chatsim.KindCode] + seen.ByFault[chatsim.KindLost]
	sent, once := seen.ByCommand["set_unread_msg_num"], int64(0)
	for name, n := range c.calls {
		if strings.Contains(name, " ") && n > 0 {
			once++
		}
	}
	c.t.Logf("%d kills: %d members in %d chunks, %d calls, %d answers spoiled, %d replayed; %d calls and %d retries in the books",
		c.kills, once, sum.Chunks, sent, spoiled, sum.Replayed, sum.Calls, sum.Retries)
	if sent-once > spoiled+sum.Replayed {
		c.t.Errorf("got %d calls for %d members, more than %d spoiled and %d replayed explain", sent, once, spoiled, sum.Replayed)
	}
	if c.kills > 3 && sum.Replayed == 0 {
		c.t.Error("no kill was in the middle of a call")
	}
	if c.callsOf("lunch pupil 0") > 0 {
		c.t.Error("a group that cannot have counts got a call")
	}
}

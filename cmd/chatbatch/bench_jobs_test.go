package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"chatbatch/io/chat/chatsim"
)

// A gate counts what arrives by itself, before the simulator sees it, and whose
// it is.
type gate struct {
	arrivals
	whose func(command, group string) string

	mu   sync.Mutex
	mine map[string][]time.Time // under mu
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	now := time.Now()
	if err != nil {
		return
	}
	var request struct {
		GroupID string `json:"GroupId"`
	}
	_ = json.Unmarshal(body, &request) // the simulator says what it thinks of it
	who := g.whose(path.Base(r.URL.Path), request.GroupID)
	g.mu.Lock()
	g.at = append(g.at, now)
	g.mine[who] = append(g.mine[who], now)
	g.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	g.next.ServeHTTP(w, r)
}

// gated serves a scenario over loopback HTTP behind a gate.
func gated(tb testing.TB, sc chatsim.Scenario, whose func(command, group string) string) (*gate, string) {
	tb.Helper()
	sim, err := chatsim.New(sc)
	if err != nil {
		tb.Fatal(err)
	}
	g := &gate{arrivals: arrivals{next: sim}, whose: whose, mine: map[string][]time.Time{}}
	srv := httptest.NewServer(g)
	tb.Cleanup(srv.Close)
	return g, srv.URL
}

// between counts times in a span.
func between(times []time.Time, from, to time.Time) (n int) {
	for _, t := range times {
		if t.After(from) && !t.After(to) {
			n++
		}
	}
	return n
}

// A tableFile writes a file of n rows after a header.
func tableFile(tb testing.TB, name, header string, n int, row func(i int) string) string {
	tb.Helper()
	var b bytes.Buffer
	b.WriteString(header + "\n")
	for i := range n {
		b.WriteString(row(i) + "\n")
	}
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		tb.Fatal(err)
	}
	return name
}

// BenchmarkRunFile is a file of three jobs of different kinds, of 1,200 calls
// each, side by side inside one budget: marks, unread counts and member
// profiles. It reports the most arrivals in any second, the use of the budget
// while all three have work, and the smallest share of a job by the largest.
func BenchmarkRunFile(b *testing.B) {
	dir := b.TempDir()
	tableFile(b, filepath.Join(dir, "marks.csv"), "group_id,account,marks", 12_000, func(i int) string {
		return fmt.Sprintf("live%d,a%d,%d", i%24, i/24, 1000)
	})
	tableFile(b, filepath.Join(dir, "counts.csv"), "group_id,account,unread_msg_num", 1200, func(i int) string {
		return fmt.Sprintf("class%d,a%d,%d", i%7, i, i)
	})
	tableFile(b, filepath.Join(dir, "groups.csv"), "group_id", 240, func(i int) string { return fmt.Sprint("club", i) })
	jobs := "sdkappid: 1400000000\nidentifier: administrator\njobs:\n" +
		"  - {kind: marks set, input: marks.csv, chunk-size: 10}\n" +
		"  - {kind: unread set, input: counts.csv}\n" +
		"  - {kind: export members, input: groups.csv, output: members.csv.gz}\n"
	if err := os.WriteFile(filepath.Join(dir, "jobs.yaml"), []byte(jobs), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		g, url := gated(b, chatsim.Scenario{
			Seed: 11, Open: true, OpenMembers: 500, QPS: 200, Latency: 20 * time.Millisecond, Jitter: 10 * time.Millisecond,
		}, func(command, _ string) string { return command })
		sum := runFile(b, b.TempDir(), filepath.Join(dir, "jobs.yaml"), "--endpoint", url)
		if sum.Exit != exitOK || sum.Rows != sum.Succeeded || len(sum.Jobs) != 3 {
			b.Fatalf("got %+v", sum)
		}
		shares, use := g.shares("modify_user_info", "set_unread_msg_num", "get_group_member_info")
		b.Logf("calls while all have work: %v; %d in all, %d retries", shares, sum.Calls, sum.Retries)
		b.ReportMetric(float64(g.worst()), "max-in-1s")
		b.ReportMetric(100*use/200, "%of-budget")
		b.ReportMetric(float64(slices.Min(shares))/float64(slices.Max(shares)), "min/max-share")
	}
}

// shares counts the calls of each while all have work, without the first and the
// last second of that, and says how many there were a second.
func (g *gate) shares(who ...string) (calls []int, each float64) {
	from, to := g.at[0], g.at[len(g.at)-1]
	for _, w := range who {
		mine := g.mine[w]
		if len(mine) == 0 {
			return make([]int, len(who)), 0
		}
		if mine[0].After(from) {
			from = mine[0]
		}
		if last := mine[len(mine)-1]; last.Before(to) {
			to = last
		}
	}
	from, to = from.Add(time.Second), to.Add(-time.Second)
	for _, w := range who {
		calls = append(calls, between(g.mine[w], from, to))
	}
	return calls, float64(between(g.at, from, to)) / to.Sub(from).Seconds()
}

// runFile runs the jobs of a file.
func runFile(tb testing.TB, state string, args ...string) (sum allJSON) {
	tb.Helper()
	var stdout, stderr bytes.Buffer
	env := map[string]string{"XDG_STATE_HOME": state, "CHATBATCH_SECRET_KEY": "key"}
	args = append([]string{"run"}, append(args, "--json")...)
	code := run(context.Background(), args, world{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, getenv: func(k string) string { return env[k] }})
	if err := json.Unmarshal(stdout.Bytes(), &sum); err != nil || code > exitFailed {
		tb.Fatalf("exit %d, %v\n%s", code, err, stderr.String())
	}
	return sum
}

// BenchmarkExport is an export of a Community of 100,000 members, whose 1,000
// pages come one after the other, and of 200 groups of 500. It reports the use
// of the budget while there is work beside the Community, the most arrivals in
// any second, and the calls by the fewest possible.
func BenchmarkExport(b *testing.B) {
	const community, fewest = "@TGS#_town", 1000 + 200*5
	dir := b.TempDir()
	groups := tableFile(b, filepath.Join(dir, "groups.csv"), "group_id", 201, func(i int) string {
		if i == 0 {
			return community
		}
		return fmt.Sprint("class-", i)
	})
	for b.Loop() {
		g, url := gated(b, chatsim.Scenario{
			Seed: 11, QPS: 200, Latency: 20 * time.Millisecond, Jitter: 10 * time.Millisecond,
			Groups:         []chatsim.Group{{ID: community, Type: "Community", Generate: chatsim.Generate{Prefix: "m", Count: 100_000, CustomBytes: 100}}},
			GenerateGroups: []chatsim.GenerateGroups{{Prefix: "class-", Count: 200, Type: "Public", Members: 500}},
		}, func(_, group string) string {
			if group == community {
				return group
			}
			return "other"
		})
		sum := runProgram(b, b.TempDir(), "export", "members", groups, "-o", filepath.Join(dir, "members.csv.gz"), "--endpoint", url,
			"--sdkappid", "1400000000", "--identifier", "administrator")
		if sum.Succeeded != 201 {
			b.Fatalf("got %+v", sum)
		}
		other := g.mine["other"]
		from, to := g.at[0].Add(time.Second), other[len(other)-1]
		b.Logf("%d calls, %d retries, in %.1f s; the groups beside the Community took %.1f s", sum.Calls, sum.Retries, sum.Seconds, to.Sub(g.at[0]).Seconds())
		b.ReportMetric(100*float64(between(g.at, from, to))/to.Sub(from).Seconds()/200, "%of-budget")
		b.ReportMetric(float64(g.worst()), "max-in-1s")
		b.ReportMetric(float64(sum.Calls)/fewest, "calls/fewest")
		b.ReportMetric(100*float64(len(g.mine[community]))/float64(sum.Calls), "%community")
	}
}

// BenchmarkUnread is 20,000 unread counts in 40 groups, with 5 % of the calls
// answered 10002. It reports the use of the budget at full work, the most
// arrivals in any second, and calls per row.
func BenchmarkUnread(b *testing.B) {
	const rows = 20_000
	counts := tableFile(b, filepath.Join(b.TempDir(), "counts.csv"), "group_id,account,unread_msg_num", rows, func(i int) string {
		return fmt.Sprintf("class%d,pupil%d,%d", i%40, i/40, i)
	})
	for b.Loop() {
		a, url := rehearsal(b, chatsim.Scenario{
			Seed: 11, Open: true, QPS: 200, Latency: 20 * time.Millisecond, Jitter: 10 * time.Millisecond,
			Faults: []chatsim.Fault{{Kind: chatsim.KindCode, Code: 10002, Rate: 0.05}},
		})
		sum := runProgram(b, b.TempDir(), "unread", "set", counts, "--endpoint", url, "--sdkappid", "1400000000", "--identifier", "administrator")
		if sum.Succeeded != rows {
			b.Fatalf("got %+v", sum)
		}
		b.ReportMetric(100*a.atFullWork()/200, "%of-budget")
		b.ReportMetric(float64(a.worst()), "max-in-1s")
		b.ReportMetric(float64(sum.Calls)/rows, "calls/row")
	}
}

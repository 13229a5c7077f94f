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
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"chatbatch/io/chat/chatsim"
	"chatbatch/io/ledger"
)

// arrivals counts requests by itself, before the simulator sees them.
type arrivals struct {
	next http.Handler
	mu   sync.Mutex
	at   []time.Time // under mu
}

func (a *arrivals) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.at = append(a.at, time.Now())
	a.mu.Unlock()
	a.next.ServeHTTP(w, r)
}

// worst is the most arrivals in any half-open second.
func (a *arrivals) worst() (most int) {
	from := 0
	for i, t := range a.at {
		for t.Sub(a.at[from]) >= time.Second {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

// atFullWork is the rate from 2 s after the first arrival to 2 s before the last.
func (a *arrivals) atFullWork() float64 {
	from, to := a.at[0].Add(2*time.Second), a.at[len(a.at)-1].Add(-2*time.Second)
	n := 0
	for _, t := range a.at {
		if t.After(from) && !t.After(to) {
			n++
		}
	}
	return float64(n) / to.Sub(from).Seconds()
}

// rehearsal serves a scenario over loopback HTTP and counts what arrives.
func rehearsal(tb testing.TB, sc chatsim.Scenario) (*arrivals, string) {
	tb.Helper()
	sim, err := chatsim.New(sc)
	if err != nil {
		tb.Fatal(err)
	}
	a := &arrivals{next: sim}
	srv := httptest.NewServer(a)
	tb.Cleanup(srv.Close)
	return a, srv.URL
}

// interleaved writes a roster of rows in groups, within the limits of marks.
func interleaved(tb testing.TB, rows, groups int) string {
	tb.Helper()
	var b bytes.Buffer
	b.WriteString("group_id,account,marks\n")
	for i := range rows {
		fmt.Fprintf(&b, "@TGS#class%02d,student%06d,%d\n", i%groups, i/groups, 1000+i/groups/1000)
	}
	name := filepath.Join(tb.TempDir(), "roster.csv")
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		tb.Fatal(err)
	}
	return name
}

// runProgram runs the program and returns its summary.
func runProgram(tb testing.TB, state string, args ...string) ledger.Summary {
	tb.Helper()
	var stdout, stderr bytes.Buffer
	env := map[string]string{"XDG_STATE_HOME": state, "CHATBATCH_SECRET_KEY": "key"}
	code := run(context.Background(), append(args, "--json"), world{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, getenv: func(k string) string { return env[k] }})
	var sum ledger.Summary
	if err := json.Unmarshal(stdout.Bytes(), &sum); err != nil || code > exitFailed {
		tb.Fatalf("exit %d, %v\n%s", code, err, stderr.String())
	}
	return sum
}

// BenchmarkRun is the main job over loopback HTTP: 200,000 rows in 24
// interleaved groups, 4,008 chunks of 50, 5 % of the calls answered 10002, 2 %
// of the members offline. It reports the use of the budget in the seconds at
// full work, the most arrivals in any second, and calls per chunk.
func BenchmarkRun(b *testing.B) {
	roster := interleaved(b, 200_000, 24)
	for b.Loop() {
		a, url := rehearsal(b, chatsim.Scenario{
			Seed: 11, Open: true, QPS: 200, Latency: 20 * time.Millisecond, OfflineRate: 0.02,
			Faults: []chatsim.Fault{{Kind: chatsim.KindCode, Code: 10002, Rate: 0.05}},
		})
		sum := runProgram(b, b.TempDir(), "marks", "set", roster, "--endpoint", url,
			"--sdkappid", "1400000000", "--identifier", "administrator", "--chunk-size", "50")
		if sum.Unprocessed != 0 || sum.ByClass["offline_or_absent"] != sum.Failed {
			b.Fatalf("got %+v", sum)
		}
		b.ReportMetric(100*a.atFullWork()/200, "%of-budget")
		b.ReportMetric(float64(a.worst()), "max-in-1s")
		b.ReportMetric(float64(sum.Calls)/float64(sum.Chunks), "calls/chunk")
	}
}

// BenchmarkThroughput compares the whole program, its limiter out of the way,
// with a bare net/http loop of as many workers that posts the same bodies and
// decodes the answers.
func BenchmarkThroughput(b *testing.B) {
	const chunks, size = 4000, 100
	roster := interleaved(b, chunks*size, 100)
	sc := chatsim.Scenario{Open: true, QPS: -1, Latency: 20 * time.Millisecond}
	var ours, bare []float64
	for b.Loop() {
		_, url := rehearsal(b, sc)
		sum := runProgram(b, b.TempDir(), "marks", "set", roster, "--endpoint", url, "--limiter", "memory", "--qps", "5000",
			"--sdkappid", "1400000000", "--identifier", "administrator", "--chunk-size", fmt.Sprint(size))
		ours = append(ours, sum.CallsPerSecond)
		bare = append(bare, bareLoop(b, url, chunks, size))
	}
	o, l := median(ours), median(bare)
	b.ReportMetric(o, "calls/s")
	b.ReportMetric(l, "bare-calls/s")
	b.ReportMetric(o/l, "of-bare")
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// bareLoop posts as many calls as a run of 64 workers does, and says how many
// it did a second.
func bareLoop(b *testing.B, url string, calls, size int) float64 {
	type member struct {
		Account string   `json:"Member_Account"`
		Marks   []uint64 `json:"Marks"`
	}
	body := struct {
		GroupId     string
		CommandType int
		MemberList  []member
	}{GroupId: "@TGS#bare", CommandType: 1}
	for i := range size {
		body.MemberList = append(body.MemberList, member{fmt.Sprintf("student%06d", i), []uint64{1000}})
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	path := url + "/v4/group_open_avchatroom_http_svc/modify_user_info?sdkappid=1&identifier=a&usersig=s&random=1&contenttype=json"
	var g errgroup.Group
	g.SetLimit(64)
	begin := time.Now()
	for range calls {
		g.Go(func() error {
			text, err := json.Marshal(body)
			if err != nil {
				return err
			}
			res, err := client.Post(path, "application/json", bytes.NewReader(text))
			if err != nil {
				return err
			}
			defer res.Body.Close()
			got, err := io.ReadAll(res.Body)
			if err != nil {
				return err
			}
			answer := body
			answer.MemberList = nil
			if err := json.Unmarshal(got, &answer); err != nil || len(answer.MemberList) != size {
				return fmt.Errorf("%d members in %.200s, %v", len(answer.MemberList), got, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	return float64(calls) / time.Since(begin).Seconds()
}

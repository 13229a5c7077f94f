package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"chatbatch/io/chat"
	"chatbatch/io/chat/chatsim"
	"chatbatch/io/ledger"
	"chatbatch/io/roster"
)

// kindStage is a stage for another kind than marks.
func kindStage(t *testing.T, sc chatsim.Scenario, chunks []ledger.Chunk, kind func(*chat.Client, *memoryLedger) Kind) *stage {
	t.Helper()
	s := newStage(t, sc, chunks)
	s.runner.Kind = kind(s.client, s.ledger)
	return s
}

// planned makes the chunks of an input.
func planned(t testing.TB, k Kind, in *Input, err error, size int) ([]ledger.Chunk, Totals) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	p := newMemoryPlan()
	totals, err := (&Planner{Kind: k, ChunkSize: size, TempDir: t.TempDir()}).Plan(t.Context(), in, p)
	if err != nil {
		t.Fatal(err)
	}
	return p.chunks, totals
}

// csvOptions are of a file in CSV.
func csvOptions() roster.Options { return roster.Options{Format: roster.CSV} }

// unreadChunks makes the chunks of a file of unread counts.
func unreadChunks(t testing.TB, text string, size int) []ledger.Chunk {
	t.Helper()
	in, err := OpenUnread(strings.NewReader(text), csvOptions())
	chunks, _ := planned(t, SetUnread(nil, false, nil), in, err, size)
	return chunks
}

// groupChunks makes the chunks of an export: "group" or "group,type" each.
func groupChunks(groups ...string) []ledger.Chunk {
	var all []ledger.Chunk
	for i, g := range groups {
		id, kind, _ := strings.Cut(g, ",")
		all = append(all, ledger.Chunk{ID: int64(i + 1), Group: id, Entries: []ledger.Entry{{Data: []byte(kind), Rows: []int64{int64(i)}}}})
	}
	return all
}

// rowOutcomes is what became of each row, settled chunks and single entries.
func (l *memoryLedger) rowOutcomes() map[int64]ledger.Outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	rows := map[int64]ledger.Outcome{}
	for _, c := range l.chunks {
		for i, e := range c.Entries {
			o, ok := l.entries[c.ID][i]
			if whole := l.outcomes[c.ID]; whole != nil {
				o, ok = whole[i], true
			}
			for _, num := range e.Rows {
				if ok {
					rows[num] = o
				}
			}
		}
	}
	return rows
}

// inDoubt is how many entries are sent and not settled.
func (l *memoryLedger) inDoubt() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, entries := range l.doubts {
		n += len(entries)
	}
	return n
}

// fetched is the receipt of a group, and the members that were kept of it.
func (s *stage) fetched(t testing.TB, chunk int64) (receipt, []chat.Member) {
	t.Helper()
	o := s.ledger.outcomes[chunk]
	if len(o) != 1 || o[0].Class != "" {
		t.Fatalf("chunk %d: got %+v", chunk, o)
	}
	r, err := decodeReceipt(s.ledger.notes[chunk])
	if err != nil {
		t.Fatal(err)
	}
	var all []chat.Member
	for _, span := range r.Spans {
		if err := eachMember(s.ledger.kept[span.Offset], func(m chat.Member) error { all = append(all, m); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if int64(len(all)) != r.Members {
		t.Errorf("%d members are kept, the receipt says %d", len(all), r.Members)
	}
	return r, all
}

// accountsOf lists accounts.
func accountsOf(members []chat.Member) []string {
	var all []string
	for _, m := range members {
		all = append(all, m.Account)
	}
	return all
}

// numbered are prefix1 to prefixN.
func numbered(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = prefix + strconv.Itoa(i+1)
	}
	return all
}

// A script is a server that answers as a test wants it. It is asked by one call
// at a time.
type script struct {
	mu     sync.Mutex
	answer func(command string, ask map[string]any) string
	calls  int
	delay  time.Duration
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	var ask map[string]any
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		return nil, err
	}
	select {
	case <-time.After(s.delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	body := s.answer(path.Base(r.URL.Path), ask)
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}, nil
}

// listing is an answer with members, and other fields.
func listing(accounts []string, more string) string {
	text := `{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":""` + more + `,"MemberList":[`
	for i, a := range accounts {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf(`{"Member_Account":%q,"Role":"Member"}`, a)
	}
	return text + "]}"
}

// byOffset are the members that a request by Offset asks for.
func byOffset(all []string, ask map[string]any, most int) []string {
	offset, _ := ask["Offset"].(float64)
	limit, _ := ask["Limit"].(float64)
	from := min(int(offset), len(all))
	return all[from:min(from+min(int(limit), most), len(all))]
}

// A crowd counts the calls that are under way at once.
type crowd struct {
	next http.RoundTripper

	mu        sync.Mutex
	now, most int
}

func (c *crowd) RoundTrip(r *http.Request) (*http.Response, error) {
	c.count(1)
	defer c.count(-1)
	return c.next.RoundTrip(r)
}

func (c *crowd) count(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now += n
	c.most = max(c.most, c.now)
}

// watch puts a crowd between the client and its server.
func (s *stage) watch() *crowd {
	c := &crowd{next: s.client.HTTP.Transport}
	s.client.HTTP = &http.Client{Transport: c}
	return c
}

// play puts a script in the place of the simulator.
func (s *stage) play(answer func(command string, ask map[string]any) string) *script {
	p := &script{answer: answer}
	s.client.HTTP = &http.Client{Transport: p}
	return p
}

// lone is a caller outside a run, whom the server knows already.
func lone(ctx context.Context, d *Door, workers int) *Caller {
	c := NewCaller(ctx, d, workers)
	c.canary = false
	return c
}

// sortedAccounts are the accounts of members in alphabetical order.
func sortedAccounts(members []chat.Member) []string {
	all := accountsOf(members)
	slices.Sort(all)
	return all
}

// fullDisk keeps nothing.
type fullDisk struct{}

func (fullDisk) Keep(context.Context, []byte) (ledger.Span, error) {
	return ledger.Span{}, ledger.ErrFull
}

package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"chatbatch/io/ledger"
	"chatbatch/io/roster"
)

func TestPlanMergesRowsOfOneAccount(t *testing.T) {
	in := openText(t, `group_id,account,marks
g1,ann,1000
g2,ann,1000
g1,bob,1001
g1,ann,1000
g1,ann,"1002,1001"
`)
	p := newMemoryPlan()
	totals, err := (&Planner{Kind: SetMarks(nil, 0), TempDir: t.TempDir()}).Plan(t.Context(), in, p)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Totals{Rows: 5, Accounts: 3, Groups: 2, Chunks: 2}, totals); d != "" {
		t.Errorf("totals (-want +got):\n%s", d)
	}
	slices.SortFunc(p.chunks, func(a, b ledger.Chunk) int { return strings.Compare(a.Group, b.Group) })
	want := []ledger.Entry{
		{Account: "ann", Data: encodeMarks(nil, []uint64{1000, 1001, 1002}), Rows: []int64{0, 3, 4}},
		{Account: "bob", Data: encodeMarks(nil, []uint64{1001}), Rows: []int64{2}},
	}
	if d := cmp.Diff(want, p.chunks[0].Entries); d != "" {
		t.Errorf("entries of g1 (-want +got):\n%s", d)
	}
}

func TestPlanBadRows(t *testing.T) {
	for _, test := range []struct{ name, row, why string }{
		{"mark below 1000", "g,ann,999", "999 is not a mark"},
		{"special mark 500", "g,ann,500", ""},
		{"special mark 600", "g,ann,600", ""},
		{"mark with a leading zero", "g,ann,01000", "marks"},
		{"no account", "g,,1000", "account"},
		{"no group", ",ann,1000", "group"},
		{"long account", "g," + strings.Repeat("a", 33) + ",1000", "33 bytes"},
		{"account of 32 bytes", "g," + strings.Repeat("学", 10) + "ab,1000", ""},
		{"a long group", strings.Repeat("g", 1025) + ",ann,1000", "group_id has 1025 bytes"},
		{"a long topic", "@TOPIC#_" + strings.Repeat("\x01", 900) + ",ann,1000", "…\" is a topic"},
		{"a topic", "@TGS#_@TGS#c@TOPIC#_t,ann,1000", "topic"},
		{"too few fields", "g,ann", "fields"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newMemoryPlan()
			totals, err := (&Planner{Kind: SetMarks(nil, 0)}).Plan(t.Context(), openText(t, "group_id,account,marks\n"+test.row+"\n"), p)
			if err != nil {
				t.Fatal(err)
			}
			if test.why == "" {
				if totals.BadRows != 0 {
					t.Errorf("got bad row: %v", totals.Bad)
				}
				return
			}
			o := p.failed[0]
			if o.Class != ClassBadRow || !strings.Contains(o.Error, test.why) || totals.Bad[0].Line != 2 {
				t.Errorf("got %+v, %+v, want a bad row that says %q", o, totals.Bad, test.why)
			}
		})
	}
}

func TestPlanLimitsOfGroup(t *testing.T) {
	var b strings.Builder
	b.WriteString("group_id,account,marks\n")
	for i := range 1002 {
		fmt.Fprintf(&b, "g,user%04d,1000\n", i)
	}
	b.WriteString("g,user0000,1000\n")          // has the mark already
	b.WriteString("h,user1001,1000\n")          // another group
	b.WriteString("g,user0001,\"1001,1000\"\n") // a further mark
	b.WriteString("g,user1001,\"1003,1000\"\n") // all or nothing: 1003 is not counted
	for mark := 1002; mark <= 1010; mark++ {
		fmt.Fprintf(&b, "g,user0002,%d\n", mark) // the 11th different one is 1010
	}
	p := newMemoryPlan()
	totals, err := (&Planner{Kind: SetMarks(nil, 0)}).Plan(t.Context(), openText(t, b.String()), p)
	if err != nil {
		t.Fatal(err)
	}
	var failed []int64
	for num, o := range p.failed {
		if o.Class != ClassOverLimit {
			t.Errorf("row %d: got class %s", num, o.Class)
		}
		failed = append(failed, num)
	}
	slices.Sort(failed)
	if want := []int64{1000, 1001, 1005, 1014}; !slices.Equal(failed, want) {
		t.Errorf("over a limit: got rows %v, want %v", failed, want)
	}
	if totals.OverLimit != 4 || totals.Over[0].Line != 1002 {
		t.Errorf("got %d over a limit, first %+v", totals.OverLimit, totals.Over[0])
	}

	// Deleting has no such limits.
	totals, err = (&Planner{Kind: DeleteMarks(nil, 0)}).Plan(t.Context(), openText(t, b.String()), nil)
	if err != nil || totals.OverLimit != 0 {
		t.Errorf("delete: got %d over a limit, %v", totals.OverLimit, err)
	}
}

func TestPlanRefusesAnInputThatIsMostlyWrong(t *testing.T) {
	text := "group_id,account,marks\n" + strings.Repeat("g,ann,1000\n", 9) + "g,ann,x\ng,bob,7\n"
	_, err := (&Planner{Kind: SetMarks(nil, 0), MaxBad: Limit{Most: 10, Percent: true, Set: true}}).Plan(t.Context(), openText(t, text), nil)
	bad, ok := errors.AsType[*InputError](err)
	if !ok {
		t.Fatalf("got %v, want an InputError", err)
	}
	if bad.Totals.BadRows != 2 || bad.Totals.Bad[0].Line != 11 || bad.Totals.Bad[1].Line != 12 {
		t.Errorf("got %+v", bad.Totals)
	}
}

// A failed file is full of bad rows, and is taken all the same.
func TestPlanTakesAFailedFile(t *testing.T) {
	text := "group_id,account,marks,_line,_class,_code,_error,_attempts,_run\n" +
		"g,,1000,2,bad_row,0,column account: is empty,0,r\ng,\"ann,1000,3,bad_row,0,a quote,0,r\n"
	totals, err := (&Planner{Kind: SetMarks(nil, 0), MaxBad: Limit{Most: 10, Percent: true, Set: true}}).Plan(t.Context(), openText(t, text), nil)
	if err != nil || totals.BadRows != 2 {
		t.Errorf("got %+v, %v", totals, err)
	}
}

func TestPlanStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if _, err := (&Planner{Kind: SetMarks(nil, 0)}).Plan(ctx, openText(t, "group_id,account,marks\ng,a,1000\n"), nil); !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
}

func TestPlanHandsOnWhatTheReaderSays(t *testing.T) {
	why := errors.New("disk on fire")
	r := io.MultiReader(strings.NewReader("group_id,account,marks\ng,a,1000\n"), failing{why})
	in, err := OpenMarks(r, roster.Options{Format: roster.CSV})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&Planner{Kind: SetMarks(nil, 0)}).Plan(t.Context(), in, nil); !errors.Is(err, why) {
		t.Errorf("got %v, want %v", err, why)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Whatever the input, and whether it spills or not: every row is in one place
// of the plan, chunks are of one group and not too long, and there are as few
// as can be.
func TestPlanIsWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, rows := drawRoster(t)
		kind := rapid.SampledFrom([]Kind{SetMarks(nil, 0), DeleteMarks(nil, 0)}).Draw(t, "kind")
		planner := Planner{
			Kind: kind, ChunkSize: rapid.IntRange(1, 20).Draw(t, "size"),
			Memory: rapid.SampledFrom([]int{1, 100, 1 << 20}).Draw(t, "memory"), TempDir: os.TempDir(),
		}
		in, err := OpenMarks(strings.NewReader(text), roster.Options{Format: roster.CSV})
		if err != nil {
			t.Fatal(err)
		}
		p := newMemoryPlan()
		totals, err := planner.Plan(context.Background(), in, p)
		if err != nil {
			t.Fatal(err)
		}
		if totals.Rows != int64(rows) || len(p.source) != rows {
			t.Fatalf("got %d rows, %d of source, want %d", totals.Rows, len(p.source), rows)
		}
		checkPlan(t, p, totals, planner.ChunkSize)
	})
}

func drawRoster(t *rapid.T) (text string, rows int) {
	var b strings.Builder
	b.WriteString("group_id,account,marks\n")
	rows = rapid.IntRange(0, 200).Draw(t, "rows")
	groups := rapid.IntRange(1, 8).Draw(t, "groups")
	accounts := rapid.IntRange(1, 60).Draw(t, "accounts")
	seed := rapid.Uint64().Draw(t, "seed")
	r := rand.New(rand.NewPCG(seed, 0))
	for range rows {
		if r.IntN(20) == 0 {
			b.WriteString("broken\n")
			continue
		}
		fmt.Fprintf(&b, "g%d,a%d,%d\n", r.IntN(groups), r.IntN(accounts), 1000+r.IntN(14))
	}
	return b.String(), rows
}

func checkPlan(t *rapid.T, p *memoryPlan, totals Totals, size int) {
	seen := map[int64]int{}
	for num := range p.failed {
		seen[num]++
	}
	accounts := map[string]map[string]bool{}
	chunks := map[string]int{}
	for _, c := range p.chunks {
		if len(c.Entries) == 0 || len(c.Entries) > size {
			t.Fatalf("a chunk of %d entries", len(c.Entries))
		}
		chunks[c.Group]++
		if accounts[c.Group] == nil {
			accounts[c.Group] = map[string]bool{}
		}
		for _, e := range c.Entries {
			if accounts[c.Group][e.Account] {
				t.Fatalf("%s is twice in %s", e.Account, c.Group)
			}
			accounts[c.Group][e.Account] = true
			for _, num := range e.Rows {
				seen[num]++
				if f := strings.Split(p.source[num], ","); f[0] != c.Group || f[1] != e.Account {
					t.Fatalf("row %q is planned for %s of %s", p.source[num], e.Account, c.Group)
				}
			}
		}
	}
	for num := range p.source {
		if seen[num] != 1 {
			t.Fatalf("row %d is in %d places", num, seen[num])
		}
	}
	for g, a := range accounts {
		if want := (len(a) + size - 1) / size; chunks[g] != want {
			t.Fatalf("%s: %d accounts in %d chunks, want %d", g, len(a), chunks[g], want)
		}
	}
	if totals.Groups != int64(len(accounts)) || totals.Chunks != int64(len(p.chunks)) {
		t.Fatalf("got %+v, want %d groups, %d chunks", totals, len(accounts), len(p.chunks))
	}
}

// A huge group is parted by account, and still costs the fewest calls.
func TestPlanOfOneHugeGroup(t *testing.T) {
	const rows = 3*regroupRows + 17
	in := &Input{Records: func(yield func(Record, error) bool) {
		data := encodeMarks(nil, []uint64{1000})
		for i := range int64(rows) {
			// Every account comes twice, far apart.
			a := Ask{Group: "g", Account: fmt.Sprint("user", i%(rows/2+1)), Data: data}
			if !yield(Record{Num: i, Line: i + 2, Ask: a}, nil) {
				return
			}
		}
	}}
	p := newMemoryPlan()
	totals, err := (&Planner{Kind: DeleteMarks(nil, 0), TempDir: t.TempDir(), Memory: 1 << 20}).Plan(t.Context(), in, p)
	if err != nil {
		t.Fatal(err)
	}
	accounts := int64(rows/2 + 1)
	if totals.Accounts != accounts || totals.Groups != 1 || totals.Chunks != (accounts+499)/500 {
		t.Errorf("got %+v, want %d accounts in %d chunks", totals, accounts, (accounts+499)/500)
	}
	left, err := os.ReadDir(t.TempDir())
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestParseLimit(t *testing.T) {
	for _, test := range []struct {
		text  string
		n     int64
		rows  int64
		over  bool
		wrong bool
	}{
		{text: "", n: 1 << 40, rows: 1},
		{text: "0", n: 0, rows: 10},
		{text: "0", n: 1, rows: 10, over: true},
		{text: "100", n: 100, rows: 100},
		{text: "100", n: 101, rows: 1000, over: true},
		{text: "5%", n: 5, rows: 100},
		{text: "5%", n: 6, rows: 100, over: true},
		{text: "0%", n: 1, rows: 100, over: true},
		{text: "12.5%", n: 1, rows: 8},
		{text: "-1", wrong: true},
		{text: "101%", wrong: true},
		{text: "NaN%", wrong: true},
		{text: "x", wrong: true},
	} {
		l, err := ParseLimit(test.text)
		if (err != nil) != test.wrong {
			t.Errorf("%q: got error %v", test.text, err)
		}
		if err == nil && l.Exceeded(test.n, test.rows) != test.over {
			t.Errorf("%q: %d of %d: got %v", test.text, test.n, test.rows, !test.over)
		}
		if err == nil && l.String() != test.text {
			t.Errorf("%q prints as %q", test.text, l)
		}
	}
}

// BenchmarkPlan plans interleaved rows of 2,000 groups, as a dry run does.
func BenchmarkPlan(b *testing.B) {
	const rows = 500_000
	var text bytes.Buffer
	text.WriteString("group_id,account,marks\n")
	for i := range rows {
		fmt.Fprintf(&text, "@TGS#group%04d,student%08d,%d\n", i%2000, i, 1000+i%10)
	}
	for b.Loop() {
		in, err := OpenMarks(bytes.NewReader(text.Bytes()), roster.Options{Format: roster.CSV})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := (&Planner{Kind: SetMarks(nil, 0), TempDir: b.TempDir()}).Plan(b.Context(), in, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*rows/b.Elapsed().Seconds(), "rows/s")
}

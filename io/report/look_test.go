package report

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"chatbatch/io/ledger"
)

// widest is how many columns the widest line takes.
func widest(s string) (n int) {
	for line := range strings.Lines(s) {
		n = max(n, text.StringWidthWithoutEscSequences(strings.TrimSuffix(line, "\n")))
	}
	return n
}

// A table fits a terminal, whatever stands in it; where there is none, its lines are
// whole.
func TestTableFits(t *testing.T) {
	sum := ledger.Summary{
		Kind: "export members", State: ledger.Interrupted, Rows: 12345678, Succeeded: 12000000, Failed: 345678,
		Calls: 2500000, Retries: 31000, Chunks: 2470000, Groups: 24000, Seconds: 12345, CallsPerSecond: 199.2, MaxCallsInOneSecond: 200,
	}
	pace := Pace{Seconds: 9, Budget: 200, Least: 96, LeastAt: time.Date(2026, 11, 22, 3, 12, 7, 0, time.UTC)}
	examples := []ledger.Example{
		{Class: "unsupported_group_type", Code: 10007, Rows: 345670, Line: 12345678, Raw: strings.Repeat("三年二班,张伟,", 20), Error: strings.Repeat("没有权限 ", 30)},
		{Class: "bad_row", Rows: 8, Line: 3, Raw: "@TGS#1,bob", Error: "wrong number of fields"},
	}
	for _, columns := range []int{0, 20, 40, 60, 80, 120, 200} {
		t.Run(fmt.Sprint(columns), func(t *testing.T) {
			var b bytes.Buffer
			must(t, Table(&b, sum, pace, examples, Look{Columns: columns}))
			shown := b.String()
			room := max(columns, 44) // classes and counts take that
			if columns == 0 {
				const whole = "2,500,000 calls (31,000 of them retries) for 2,470,000 chunks of 24,000 groups, in 3h25m45s: 199.2 a second, at most 200 in any\n"
				if !strings.Contains(shown, whole) {
					t.Errorf("no %q in\n%s", whole, shown)
				}
				room = len(whole) - 1
			}
			if n := widest(shown); n > room {
				t.Errorf("%d columns are taken of\n%s", n, shown)
			}
			for _, want := range []string{"unsupported_group_type", "345,670", "12345678", "三年二", "没有权限", "wrong number"} {
				if !strings.Contains(shown, want) {
					t.Errorf("no %q in\n%s", want, shown)
				}
			}
		})
	}
}

// paced is a run that took so many seconds.
func paced(t *testing.T, seconds int64, lanes func(i int64) (usable, of int)) *ledger.Ledger {
	t.Helper()
	l := small(t, ledger.Meta{Format: "csv", Header: "a"}, [6]string{"0", "1", "2", "3", "4", "5"})
	var pace []ledger.Second
	for i := range seconds {
		usable, of := lanes(i)
		pace = append(pace, ledger.Second{Unix: 1700000000 + i, Calls: 190 + int(i%10), Lanes: usable, Budget: of})
	}
	must(t, l.AddPace(t.Context(), pace))
	return l
}

func TestPlot(t *testing.T) {
	all := func(int64) (int, int) { return 200, 200 }
	none := func(int64) (int, int) { return 0, 0 }
	slowed := func(i int64) (int, int) { return 200 - int(i%5*30), 200 }
	for _, test := range []struct {
		name    string
		seconds int64
		lanes   func(int64) (int, int)
		columns int
		want    []string // none: nothing is drawn
	}{
		{"too short", 9, all, 80, nil},
		{"a minute", 60, all, 80, []string{"calls a second; ··· the lanes", " 200 ┼", "   0 ┤", "0s ", "1m0s"}},
		{"on little room", 60, all, 40, []string{" 200 ┼", "1m0s"}},
		{"an hour and a half, wide", 5400, slowed, 200, []string{" 200 ┼", "1h30m", "·"}},
		{"lanes are not known", 60, none, 80, []string{"calls a second\n"}},
		{"no terminal", 60, all, 0, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Plot(t.Context(), paced(t, test.seconds, test.lanes), Look{Columns: test.columns})
			must(t, err)
			if (got != "") != (len(test.want) > 0) {
				t.Fatalf("got\n%s", got)
			}
			for _, want := range test.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in\n%s", want, got)
				}
			}
			if n := widest(got); n > test.columns || strings.Count(got, "\n") >= 8 {
				t.Errorf("%d columns are taken of\n%s", n, got)
			}
			if strings.Contains(got, "\x1b") {
				t.Errorf("escape codes without color: %q", got)
			}
		})
	}
	colored, err := Plot(t.Context(), paced(t, 20, all), Look{Columns: 80, Color: true})
	if must(t, err); !strings.Contains(colored, "\x1b[") {
		t.Errorf("no color in %q", colored)
	}
}

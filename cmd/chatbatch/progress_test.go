package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatbatch/jobs"
)

// The time left is what the speed of the last half minute says, but never less than
// the calls that are left take at the budget, and unknown where nothing comes on.
func TestTimeLeft(t *testing.T) {
	every := func(seconds int, done ...int64) (list []sample) {
		for i, n := range done {
			list = append(list, sample{time.Unix(int64(i*seconds), 0), n})
		}
		return list
	}
	for _, test := range []struct {
		name    string
		samples []sample
		calls   float64 // for a row
		lanes   [2]int
		want    time.Duration
	}{
		{"too early", every(1, 0, 100), 1, [2]int{}, unknown},
		{"at 10 rows a second", every(5, 0, 50, 100), 0.1, [2]int{}, 90 * time.Second},
		{"faster than the budget for a while", every(5, 0, 400, 500), 1, [2]int{}, 50 * time.Second},
		{"with half of the lanes", every(5, 0, 400, 500), 1, [2]int{5, 10}, 100 * time.Second},
		{"all lanes, of a host that has few of them", every(5, 0, 400, 500), 1, [2]int{4, 4}, 125 * time.Second},
		{"no lanes", every(5, 0, 400, 500), 1, [2]int{0, 10}, unknown},
		{"nothing for 10 s", every(5, 0, 400, 400, 400), 1, [2]int{}, unknown},
		{"nothing for 5 s", every(5, 0, 250, 500, 500), 1, [2]int{}, 50 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &progress{}
			last := test.samples[len(test.samples)-1].done
			p.send(&jobs.Meter{}, sending{rows: 1000, before: last, budget: 10, calls: test.calls})
			p.sawLanes(test.lanes[0], test.lanes[1])
			p.samples = test.samples
			if got := p.now().left; got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestLong(t *testing.T) {
	for d, want := range map[time.Duration]string{
		unknown: "unknown", 0: "0s", 4400 * time.Millisecond: "4s", 61 * time.Second: "1m1s", 3599600 * time.Millisecond: "1h00m",
		time.Hour: "1h00m", 26*time.Hour + 3*time.Minute + 40*time.Second: "26h04m",
	} {
		if got := long(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}

// Where there is no terminal, a line each 10 s says what a job does: also while it
// reads, plans and writes its reports.
func TestProgressLines(t *testing.T) {
	name := filepath.Join(t.TempDir(), "class.csv")
	if err := os.WriteFile(name, make([]byte, 4000), 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := openSource(t.Context(), name, nil, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer src.close()
	src.name = "class.csv"
	for _, test := range []struct {
		name string
		do   func(p *progress)
		want string
	}{
		{"waits", func(*progress) {}, ""},
		{"reads", func(p *progress) { p.read(reads, src); _, _ = src.reader(t.Context()).Read(make([]byte, 1000)) }, `msg="reading class.csv" read="1.0 kB" of="4.0 kB"`},
		{"plans", func(p *progress) { p.read(plans, src); p.planned(77, 50) }, `msg="planning class.csv" rows=77 in_chunks=50 read="0 B" of="4.0 kB"`},
		{"lists", func(p *progress) { p.read(lists, src) }, `msg="listing class.csv" calls=0`},
		{"sends", func(p *progress) { p.send(&jobs.Meter{}, sending{rows: 5000, before: 1200, budget: 9}) },
			`msg="1,200 of 5,000 rows" succeeded=0 failed=0 calls=0 retries=0 calls_last_second=0 left=unknown`},
		{"writes reports", func(p *progress) { p.send(&jobs.Meter{}, sending{rows: 5000}); p.enter(reports) }, `msg="writing the reports" rows=5000`},
		{"has ended", func(p *progress) { p.done("") }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said bytes.Buffer
				b := newBoard(&said, &output{}, nil)
				ctx, cancel := context.WithTimeout(t.Context(), 2*progressEvery+time.Second)
				defer cancel()
				test.do(b.add("", logs{log: slog.New(slog.NewTextHandler(&said, nil))}))
				b.follow(ctx)
				lines := strings.Count(said.String(), "\n")
				if !strings.Contains(said.String(), test.want) || test.want == "" && lines > 0 || test.want != "" && lines != 2 {
					t.Errorf("got %q, want two lines with %q", said.String(), test.want)
				}
			})
		})
	}
}

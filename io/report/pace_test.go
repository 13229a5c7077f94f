package report

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"chatbatch/io/ledger"
)

// slowed is a run that was refused calls for their frequency.
func slowed(t *testing.T) *ledger.Ledger {
	t.Helper()
	l := small(t, ledger.Meta{Format: "csv", Header: "a"}, [6]string{"0", "1", "2", "3", "4", "5"})
	at := time.Date(2026, 11, 22, 3, 12, 5, 0, time.UTC).Unix()
	must(t, l.AddPace(t.Context(), []ledger.Second{
		{Unix: at - 20, Calls: 1},
		{Unix: at, Calls: 200, Retries: 12, Lanes: 200, Budget: 200},
		{Unix: at + 1, Calls: 180, Refused: 41, Lanes: 180, Budget: 200},
		{Unix: at + 2, Lanes: 96, Budget: 200},
		{Unix: at + 4, Calls: 50, Lanes: 50, Budget: 50}, // resumed with another budget
		{Unix: at + 5, Calls: 96, Lanes: 96, Budget: 200},
	}))
	return l
}

func TestPaceFile(t *testing.T) {
	l := slowed(t)
	dir := t.TempDir()
	must(t, os.WriteFile(PaceFile(dir), []byte("stale"), 0o644))
	for range 2 { // the second time is `chatbatch report`
		_, err := Write(t.Context(), l, dir, nil)
		must(t, err)
		golden(t, PaceFile(dir), `time,calls,retries,refused,lanes
2026-11-22T03:11:45Z,1,0,0,
2026-11-22T03:12:05Z,200,12,0,200
2026-11-22T03:12:06Z,180,0,41,180
2026-11-22T03:12:07Z,0,0,0,96
2026-11-22T03:12:09Z,50,0,0,50
2026-11-22T03:12:10Z,96,0,0,96
`)
		must(t, os.Remove(PaceFile(dir)))
	}
}

// Where nothing is on record there is no such file, and nothing is said.
func TestNoPace(t *testing.T) {
	l := small(t, ledger.Meta{Format: "csv", Header: "a"}, [6]string{"0", "1", "2", "3", "4", "5"})
	dir := t.TempDir()
	_, err := Write(t.Context(), l, dir, nil)
	must(t, err)
	if _, err := os.Lstat(PaceFile(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("pace.csv: got %v, want none", err)
	}
	p, err := PaceOf(t.Context(), l)
	must(t, err)
	if line := p.line(ledger.Summary{MaxCallsInOneSecond: 3}); p != (Pace{}) || line != "" {
		t.Errorf("got %+v %q", p, line)
	}
}

func TestPaceOf(t *testing.T) {
	got, err := PaceOf(t.Context(), slowed(t))
	must(t, err)
	if want := (Pace{Seconds: 6, Budget: 200, Least: 96, LeastAt: time.Date(2026, 11, 22, 3, 12, 7, 0, time.UTC)}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestPaceLine(t *testing.T) {
	night := time.Date(2026, 11, 22, 3, 12, 7, 0, time.UTC)
	for _, test := range []struct {
		name    string
		pace    Pace
		refused int64
		want    string
	}{
		{"all lanes, nothing refused", Pace{Seconds: 1, Budget: 1200}, 0, "pace: at most 1,200 calls in a second"},
		{"lanes are not known", Pace{Seconds: 1}, 0, "pace: at most 1,200 calls in a second"},
		{"held back", Pace{Seconds: 9, Budget: 1200, Least: 96, LeastAt: night}, 4100,
			"pace: at most 1,200 calls in a second; 1,200 lanes, least 96 at 2026-11-22T03:12:07Z; 4,100 calls refused for frequency"},
		{"held back by others", Pace{Seconds: 9, Budget: 1200, LeastAt: night}, 0,
			"pace: at most 1,200 calls in a second; 1,200 lanes, least 0 at 2026-11-22T03:12:07Z"},
		{"refused too briefly to be seen in the lanes", Pace{Seconds: 9, Budget: 1200}, 1,
			"pace: at most 1,200 calls in a second; 1 call refused for frequency"},
	} {
		t.Run(test.name, func(t *testing.T) {
			sum := ledger.Summary{MaxCallsInOneSecond: 1200, Refused: test.refused}
			if got := test.pace.line(sum); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			var b bytes.Buffer
			must(t, Table(&b, sum, test.pace, nil, Look{}))
			if !strings.HasSuffix(b.String(), "\n"+test.want+"\n") {
				t.Errorf("it is not the last line of\n%s", b.String())
			}
		})
	}
}

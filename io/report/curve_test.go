package report

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/ledger"
)

func drawnJSON(t *testing.T, seconds []ledger.Second) string {
	t.Helper()
	var c curve
	for _, s := range seconds {
		c.add(s)
	}
	b, err := json.Marshal(c.drawn())
	must(t, err)
	return string(b)
}

// A second that is not on record had no calls and lanes as before.
func TestCurve(t *testing.T) {
	got := drawnJSON(t, []ledger.Second{
		{Unix: 100, Calls: 1},
		{Unix: 101, Calls: 200, Retries: 12, Lanes: 200, Budget: 200},
		{Unix: 102, Calls: 180, Refused: 41, Lanes: 180, Budget: 200},
		{Unix: 105, Calls: 7, Lanes: 200, Budget: 200},
	})
	want := `{"start":100,"width":1,"calls":[1,200,180,0,0,7],"most":[1,200,180,0,0,7],"retries":[0,12,0,0,0,0],` +
		`"refused":[0,0,41,0,0,0],"lanes":[null,200,180,180,180,200],"budget":[null,200,200,200,200,200],"cuts":[]}`
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := drawnJSON(t, nil); got != "null" {
		t.Errorf("of nothing: got %s", got)
	}
}

// A run that is resumed the next day is drawn without the night.
func TestCurveCutsPauses(t *testing.T) {
	day := int64(24 * time.Hour / time.Second)
	got := drawnJSON(t, []ledger.Second{{Unix: 100, Calls: 1}, {Unix: 102 + day, Calls: 2}, {Unix: 102 + 2*day, Calls: 3}})
	var d drawn
	must(t, json.Unmarshal([]byte(got), &d))
	// A minute and what is not a whole one is left of each.
	want := [][2]int64{{62, day - 60}, {122, 2*day - 120}}
	if d.Width != 1 || len(d.Calls) != 123 || d.Calls[62] != 2 || d.Calls[122] != 3 || cmp.Diff(want, d.Cuts) != "" {
		t.Errorf("got width %d, %d points, cuts %v, want %v", d.Width, len(d.Calls), d.Cuts, want)
	}
	for _, c := range d.Cuts {
		if c[1]%60 != 0 {
			t.Errorf("cut of %d seconds: the clock is not round any more", c[1])
		}
	}
}

// However long a run was, its curve has some hundred points, and says of all calls.
func TestCurveIsBounded(t *testing.T) {
	var c curve
	const seconds = 100_000
	for i := range int64(seconds) {
		c.add(ledger.Second{Unix: i, Calls: 200, Refused: int(i % 2), Lanes: 200 - int(i%3), Budget: 200})
	}
	d := c.drawn()
	if n := len(d.Calls); n > maxPoints || n < maxPoints/2 {
		t.Errorf("got %d points", n)
	}
	calls, refused := 0.0, 0
	for i, n := range d.Calls {
		if d.Most[i] != 200 || n != 200 || *d.Lanes[i] != 198 || *d.Budget[i] != 200 {
			t.Fatalf("point %d: got %v calls, %d at most, %d lanes", i, n, d.Most[i], *d.Lanes[i])
		}
		calls += n * float64(d.Width)
		refused += d.Refused[i]
	}
	if over := calls - 200*seconds; over < 0 || over >= 200*float64(d.Width) || refused != seconds/2 {
		t.Errorf("got %v calls and %d refused", calls, refused)
	}
	// Runs whose seconds lie far apart cost no more.
	var far curve
	for i := range int64(1000) {
		far.add(ledger.Second{Unix: i * 1_000_000, Calls: 1})
	}
	if d := far.drawn(); len(d.Calls) > maxPoints || len(d.Cuts) != maxCuts {
		t.Errorf("far apart: got %d points, %d cuts", len(d.Calls), len(d.Cuts))
	}
}

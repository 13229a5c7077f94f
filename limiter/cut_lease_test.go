package limiter

import (
	"testing"
	"time"
)

// A host that has lost most of its lanes after frequency codes, and has leased only a few
// since, has them back when a host with all lanes would have.
func TestCutOfMoreThanIsLeased(t *testing.T) {
	table := &Table{now: time.Hour, lease: lease{leased: true, scale: 200}}
	table.cuts[0] = cut{n: 135, at: table.now, refused: 1}
	for _, test := range []struct {
		after time.Duration
		n     int
		want  int
	}{
		{0, 200, 135}, {0, 26, 25}, {0, 4, 3}, {0, 1, 0}, {0, 0, 0},
		{100 * time.Second, 26, 12}, {100 * time.Second, 200, 35},
		{200 * time.Second, 26, 0}, {200 * time.Second, 4, 0}, {200 * time.Second, 200, 0},
	} {
		table.now = time.Hour + test.after
		if got := table.out(0, test.n); got != test.want {
			t.Errorf("after %v %d of %d lanes are out of use, want %d", test.after, got, test.n, test.want)
		}
	}
}

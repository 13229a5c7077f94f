package limiter

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var seeLanes = cmp.AllowUnexported(lane{})

func TestTakeTheLongestRested(t *testing.T) {
	const s = time.Second
	tests := []struct {
		name  string
		lanes []lane
		cut   int
		want  int
		wait  time.Duration
	}{
		{"the longest rested", []lane{{ready: 9 * s}, {ready: 7 * s}, {ready: 8 * s}}, 0, 1, 0},
		{"ready just now", []lane{{ready: 11 * s}, {ready: 10 * s}}, 0, 1, 0},
		{"a held lane is not ready", []lane{{ready: 7 * s, holder: 2}, {ready: 8 * s}}, 0, 1, 0},
		{"nor is one's own", []lane{{ready: 7 * s, holder: 1}, {ready: 8 * s}}, 0, 1, 0},
		{"none: the next that ends its rest", []lane{{ready: 10*s + 5e6}, {ready: 10*s + 3e6}}, 0, -1, 3e6},
		{"none: a long rest is polled", []lane{{ready: 11 * s}}, 0, -1, poll},
		{"none: all held", []lane{{holder: 2}, {holder: 3}}, 0, -1, poll},
		{"out of use: a ready lane is not taken", []lane{{ready: 10*s + 4e6}, {ready: 5 * s}}, 1, -1, 4e6},
		{"out of use: but fewer are busy", []lane{{ready: 6 * s}, {ready: 5 * s}}, 1, 1, 0},
		{"out of use: one always stays", []lane{{ready: 6 * s}, {ready: 5 * s}}, 50, 1, 0},
	}
	for _, tt := range tests {
		table := &Table{now: 10 * s, self: 1, lanes: tt.lanes, cuts: [maxCuts]cut{{n: tt.cut, at: 10 * s}}}
		got, wait, _ := table.take(s, "")
		if got != tt.want || wait != tt.wait {
			t.Errorf("%s: got lane %d, wait %v, want %d, %v", tt.name, got, wait, tt.want, tt.wait)
		}
		if got >= 0 && table.lanes[got].holder != 1 {
			t.Errorf("%s: got holder %d, want 1", tt.name, table.lanes[got].holder)
		}
	}
}

func TestTakeFromTheDead(t *testing.T) {
	const s = time.Second
	var asked []uint32
	table := &Table{
		now: 10 * s, self: 1,
		lanes: []lane{{holder: 2}, {holder: 3}, {holder: 1}, {holder: 2}, {ready: 11 * s}},
		dead: func(holder uint32) bool {
			asked = append(asked, holder)
			return holder == 2
		},
	}
	if got, _, _ := table.take(s, ""); got != -1 {
		t.Errorf("got lane %d, want none: the dead one's lanes rest first", got)
	}
	want := []lane{{ready: 11 * s}, {holder: 3}, {holder: 1}, {ready: 11 * s}, {ready: 11 * s}}
	if diff := cmp.Diff(want, table.lanes, seeLanes); diff != "" {
		t.Errorf("lanes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]uint32{2, 3}, asked); diff != "" {
		t.Errorf("asked after (-want +got):\n%s", diff)
	}
	if table.lo != 0 || table.hi != 4 {
		t.Errorf("got changed lanes [%d:%d], want [0:4]", table.lo, table.hi)
	}
}

func TestSettle(t *testing.T) {
	const now, rest = 100 * time.Second, time.Second
	tests := []struct {
		name string
		lane lane
		held bool
		want lane
	}{
		{"resting", lane{ready: now + 1000}, false, lane{ready: now + 1000}},
		{"ready", lane{ready: 5}, false, lane{ready: 5}},
		{"another's", lane{ready: 5, holder: 2}, false, lane{ready: 5, holder: 2}},
		{"ours", lane{ready: 5, holder: 1}, true, lane{ready: 5, holder: 1}},
		{"lost", lane{lost: true}, false, lane{ready: now + rest}},
		{"lost while ours", lane{lost: true}, true, lane{ready: now + rest, holder: 1}},
		{"freed while ours", lane{ready: 5}, true, lane{ready: now, holder: 1}},
		{"used by another while ours", lane{ready: now + 7000}, true, lane{ready: now + 7000, holder: 1}},
		{"taken while ours", lane{ready: 5, holder: 2}, true, lane{ready: 5, holder: 2}},
		{"ours, and we know nothing of it", lane{ready: 5, holder: 1}, false, lane{ready: now + rest}},
		{"far in the future", lane{ready: now + rest + longest + 1000}, false, lane{ready: now + rest}},
		{"as far as can be", lane{ready: now + rest + longest}, false, lane{ready: now + rest + longest}},
		{"far in the future but held", lane{ready: now + 9*longest, holder: 2}, false, lane{ready: now + 9*longest, holder: 2}},
	}
	for _, tt := range tests {
		table := &Table{now: now, self: 1, lanes: []lane{tt.lane}}
		table.settle([]bool{tt.held}, rest)
		if diff := cmp.Diff(tt.want, table.lanes[0], seeLanes); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if changed := table.lo < table.hi; changed != (tt.lane != tt.want) {
			t.Errorf("%s: got changed %v", tt.name, changed)
		}
	}
}

func TestGive(t *testing.T) {
	tests := []struct {
		name string
		lane lane
		want lane
	}{
		{"ours", lane{ready: 5e3, holder: 1}, lane{ready: 50e3}},
		{"ours, got a rest meanwhile", lane{ready: 60e3, holder: 1}, lane{ready: 60e3}},
		{"freed meanwhile, rests longer", lane{ready: 60e3}, lane{ready: 60e3}},
		{"freed meanwhile, rests less", lane{ready: 40e3}, lane{ready: 50e3}},
		{"taken by another", lane{ready: 5e3, holder: 2}, lane{ready: 5e3, holder: 2}},
		{"lost", lane{lost: true}, lane{lost: true}},
	}
	for _, tt := range tests {
		table := &Table{self: 1, lanes: []lane{tt.lane}}
		table.give(0, 50e3, 0)
		if diff := cmp.Diff(tt.want, table.lanes[0], seeLanes); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestCut(t *testing.T) {
	type step struct {
		at      time.Duration
		slow    bool
		allowed int
	}
	const s, ms = time.Second, time.Millisecond
	tests := []struct {
		name  string
		lanes int
		cut   int // at 0, by another
		steps []step
	}{
		{"one", 200, 0, []step{{5 * s, false, 200}, {5 * s, true, 180}, {6*s - 1, false, 180}, {6 * s, false, 181}, {24 * s, false, 199}, {25 * s, false, 200}, {90 * s, false, 200}}},
		{"two are one", 200, 0, []step{{5 * s, true, 180}, {5*s + ms, true, 180}, {6*s - 1, false, 180}, {6 * s, true, 163}}},
		{"a burst costs two lanes more for each", 200, 0, []step{{5 * s, true, 180}, {5*s + ms, true, 180}, {5*s + ms, true, 178}, {5*s + ms, true, 176}, {6 * s, false, 177}}},
		{"at least one lane", 5, 0, []step{{5 * s, true, 4}, {6 * s, false, 5}}},
		{"never the last", 3, 0, []step{{5 * s, true, 2}, {6 * s, true, 2}, {7*s - 1, true, 2}}},
		{"a single lane", 1, 0, []step{{5 * s, true, 1}, {5*s + 1, false, 1}}},
		{"a larger sharer cut more", 10, 50, []step{{1 * s, false, 1}, {2 * s, true, 1}, {45 * s, false, 5}, {50 * s, false, 10}}},
	}
	for _, tt := range tests {
		table := &Table{lanes: make([]lane, tt.lanes), cuts: [maxCuts]cut{{n: tt.cut}}}
		for _, st := range tt.steps {
			table.now = st.at
			if st.slow {
				table.slowDown(0)
			}
			if got := table.allowed(0, table.size()); got != st.allowed {
				t.Errorf("%s: at %v got %d lanes, want %d", tt.name, st.at, got, st.allowed)
			}
		}
	}
}

func TestRecords(t *testing.T) {
	want := Table{
		lanes:  []lane{{ready: 1000}, {ready: 2000, holder: 0xffffffff, user: 0xffffffff, short: true, api: 7, lease: leaving}, {lost: true}, {ready: 1 << 51 * 1000, lease: ours}},
		lease:  lease{leased: true, host: 1 << 63, joined: 1, until: 2, claimed: 3, interval: 4, renewer: 5, failing: true, hungry: 6, told: 7, scale: 8, credit: 9, boot: 1 << 62, limit: 10},
		wishes: [maxWaiting]wish{{5, 6}, {1<<32 - 1, 7}}, ways: [2]way{{1 << 63, 1}, {2, 3}},
	}
	for i := range want.cuts {
		want.cuts[i] = cut{api: apiName(strings.Repeat("a", 8*i)), n: 7, at: 99, refused: 3, tell: 2, heard: 1<<32 - 1}
	}
	b := encoded(&want)
	got := Table{lanes: make([]lane, 4)}
	if n, err := decode(b, nil, &got); n != 4 || err != nil {
		t.Errorf("got %d lanes, %v", n, err)
	}
	if diff := cmp.Diff(want, got, seeLanes, cmp.AllowUnexported(Table{}, cut{}, lease{}, wish{}, way{}, utterance{}), cmpopts.IgnoreFields(Table{}, "dead")); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

// encoded is the file of a table.
func encoded(t *Table) []byte {
	b := make([]byte, lanesAt+len(t.lanes)*laneSize)
	encodeHeader(b, t, len(t.lanes))
	for i, c := range t.cuts {
		encodeCut(b[headerSize+i*cutSize:], c)
	}
	for i, l := range t.lanes {
		encodeLane(b[lanesAt+i*laneSize:], l)
	}
	return b
}

// Any single byte that is changed costs its record or the whole file, and is
// never read as something else.
func TestFlippedByteIsNotRead(t *testing.T) {
	table := Table{lanes: []lane{{ready: 1e18, user: 6}, {ready: 2e18, holder: 5, user: 5}}, lease: lease{leased: true, until: 5}}
	for i := range table.cuts {
		table.cuts[i] = cut{n: 7, at: 99}
	}
	good := encoded(&table)
	for at := range good {
		for bit := range 8 {
			bad := append([]byte(nil), good...)
			bad[at] ^= 1 << bit
			got := Table{lanes: make([]lane, 2)}
			n, err := decode(bad, nil, &got)
			if err != nil {
				t.Fatalf("byte %d: %v", at, err)
			}
			whole := n == 0 && got.lanes[0].lost && got.lanes[1].lost && got.lease == lease{}
			if at < headerSize && !whole {
				t.Errorf("byte %d bit %d: header was read: %d lanes, lease %+v", at, bit, n, got.lease)
			}
			if hit := (at - headerSize) / cutSize; at >= headerSize && at < lanesAt && (got.cuts[hit] != cut{} || got.cuts[(hit+1)%maxCuts] != table.cuts[0]) {
				t.Errorf("byte %d bit %d: got lanes out of use %v", at, bit, got.cuts)
			}
			if hit := (at - lanesAt) / laneSize; at >= lanesAt && (!got.lanes[hit].lost || got.lanes[1-hit] != table.lanes[1-hit]) {
				t.Errorf("byte %d bit %d: got lanes %v", at, bit, got.lanes)
			}
		}
	}
}

package chatsim

import (
	"maps"
	"slices"
	"time"
)

// NoCode stands for the ErrorCode of a call that never got as far as one:
// an HTML page, a reset before the effect, a hang.
const NoCode = -1

// A Call is one request as the simulator saw it.
type Call struct {
	N        int64     // 1 for the first that arrived
	At       time.Time // of arrival
	Command  string    // modify_user_info, get_members; "" when the URL has neither
	Group    string    // "" when the request did not get as far as being read
	Accounts int       // named in the request, each once
	Code     int       // ErrorCode that was decided, also when the answer was lost; or NoCode
	Fault    Kind      // "" when there was none
	Random   string    // the random of the URL
}

// Counts is what the simulator has seen since [New].
type Counts struct {
	Calls     int64            `json:"calls"`
	ByCommand map[string]int64 `json:"by_command"` // "" for URLs that name none
	ByCode    map[int]int64    `json:"by_code"`
	ByFault   map[Kind]int64   `json:"by_fault"`
	Accounts  int64            `json:"accounts"` // named in requests that were read
	Set       int64            `json:"set"`      // accounts whose marks were set, each time anew
	Deleted   int64            `json:"deleted"`  // accounts whose marks were deleted, likewise
	Unread    int64            `json:"unread"`   // unread counts that were set, likewise

	// Most arrivals in any window (t-1s, t], refused ones too.
	MaxInOneSecond   int            `json:"max_in_one_second"`
	MaxInOneSecondOf map[string]int `json:"max_in_one_second_of"` // by command
}

// MaxInWindow is how many of times lie in the fullest half-open window of
// length d; 0 when there are none or d is not above 0. The times need not be
// sorted, and are left as they are.
func MaxInWindow(times []time.Time, d time.Duration) int {
	if d <= 0 {
		return 0
	}
	sorted := slices.SortedFunc(slices.Values(times), time.Time.Compare)
	most, first := 0, 0
	for i, t := range sorted {
		for sorted[first].Add(d).Compare(t) <= 0 && first < i {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// peak follows the most arrivals in any second, in the memory of one second.
type peak struct {
	recent []time.Duration // a ring; arrivals since the simulator began
	head   int
	n      int
	most   int
}

// add notes an arrival; at never goes back.
func (p *peak) add(at time.Duration) {
	for p.n > 0 && p.recent[p.head] <= at-time.Second {
		p.head = (p.head + 1) % len(p.recent)
		p.n--
	}
	if p.n == len(p.recent) {
		grown := make([]time.Duration, max(64, 2*p.n))
		copied := copy(grown, p.recent[p.head:])
		copy(grown[copied:], p.recent[:p.head])
		p.recent, p.head = grown, 0
	}
	p.recent[(p.head+p.n)%len(p.recent)] = at
	p.n++
	p.most = max(p.most, p.n)
}

// tally is what Counts is made from.
type tally struct {
	Counts
	all   peak
	peaks map[string]*peak // by command
}

func newTally() tally {
	return tally{
		Counts: Counts{ByCommand: map[string]int64{}, ByCode: map[int]int64{}, ByFault: map[Kind]int64{}},
		peaks:  map[string]*peak{},
	}
}

func (t *tally) arrived(c *call) {
	t.Calls++
	t.ByCommand[c.Command]++
	p := t.peaks[c.Command]
	if p == nil {
		p = new(peak)
		t.peaks[c.Command] = p
	}
	p.add(c.since)
	t.all.add(c.since)
}

func (t *tally) settled(c *call) {
	t.ByCode[c.Code]++
	if c.Fault != "" {
		t.ByFault[c.Fault]++
	}
	t.Accounts += int64(c.Accounts)
}

func (t *tally) snapshot() Counts {
	c := t.Counts
	c.ByCommand, c.ByCode, c.ByFault = maps.Clone(c.ByCommand), maps.Clone(c.ByCode), maps.Clone(c.ByFault)
	c.MaxInOneSecond = t.all.most
	c.MaxInOneSecondOf = make(map[string]int, len(t.peaks))
	for command, p := range t.peaks {
		c.MaxInOneSecondOf[command] = p.most
	}
	return c
}

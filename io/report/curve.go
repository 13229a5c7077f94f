package report

import (
	"context"

	"chatbatch/io/ledger"
)

const (
	maxPoints = 1500 // in the curve; a longer run has points of more seconds
	maxCuts   = 100

	// A time in which nothing happened is cut out of the curve if it is longer
	// than this, but for a minute at least: a run that was resumed the next day
	// would be two strokes otherwise.
	pauseSeconds = 600
)

// A curve is the pace of a run as it is drawn: points of so many seconds each, a
// power of two, from the first on record. Its size does not depend on the run's.
type curve struct {
	width int64
	start int64 // Unix
	last  int64 // Unix, of the newest second
	cut   int64 // seconds cut out so far
	cuts  []cut
	list  []point
}

// A cut is where seconds were left out: what is drawn at At and later was so many
// seconds later. At counts from the start.
type cut struct{ At, Seconds int64 }

// A point is the sums of its seconds, and of lanes the fewest.
type point struct {
	calls, retries, refused int
	most                    int // calls in one of its seconds
	lanes, budget           int // budget 0: lanes are not known
}

// add takes the next second; they come in order.
func (c *curve) add(s ledger.Second) {
	if len(c.list) == 0 {
		c.width, c.start, c.last = 1, s.Unix, s.Unix
	}
	if gap := s.Unix - c.last; gap > pauseSeconds && len(c.cuts) < maxCuts {
		c.cut += (gap - 60) / 60 * 60 // whole minutes: the clock stays round
		c.cuts = append(c.cuts, cut{s.Unix - c.cut - c.start, c.cut})
	}
	c.last = s.Unix
	i := (s.Unix - c.cut - c.start) / c.width
	for i >= maxPoints {
		c.halve()
		i /= 2
	}
	for int64(len(c.list)) <= i {
		// A second that is not on record had no calls, and lanes as before.
		var p point
		if n := len(c.list); n > 0 {
			p.lanes, p.budget = c.list[n-1].lanes, c.list[n-1].budget
		}
		if int64(len(c.list)) == i {
			p.lanes, p.budget = s.Lanes, s.Budget
		}
		c.list = append(c.list, p)
	}
	p := point{s.Calls, s.Retries, s.Refused, s.Calls, s.Lanes, s.Budget}
	c.list[i].merge(p)
}

func (p *point) merge(o point) {
	p.calls += o.calls
	p.retries += o.retries
	p.refused += o.refused
	p.most = max(p.most, o.most)
	switch {
	case p.budget == 0:
		p.lanes = o.lanes
	case o.budget > 0:
		p.lanes = min(p.lanes, o.lanes)
	}
	p.budget = max(p.budget, o.budget)
}

// halve makes one point of two.
func (c *curve) halve() {
	for i := range c.list {
		if i%2 == 0 {
			c.list[i/2] = c.list[i]
		} else {
			c.list[i/2].merge(c.list[i])
		}
	}
	c.list = c.list[:(len(c.list)+1)/2]
	c.width *= 2
}

// drawn is a curve for the page's script: one list for each column, and as many
// entries in each. Calls are a second, on average; lanes and budget are null where
// they are not known.
type drawn struct {
	Start   int64      `json:"start"`
	Width   int64      `json:"width"`
	Calls   []float64  `json:"calls"`
	Most    []int      `json:"most"`
	Retries []int      `json:"retries"`
	Refused []int      `json:"refused"`
	Lanes   []*int     `json:"lanes"`
	Budget  []*int     `json:"budget"`
	Cuts    [][2]int64 `json:"cuts"`

	Trips   *trips    `json:"trips,omitempty"`   // nil: not known
	Failing []failing `json:"failing,omitempty"` // nil: no row has failed by a call, or it is not known when
}

// drawnWith is the curve with the latency, and the rows that failed, beside it.
func (c *curve) drawnWith(ctx context.Context, v *ledger.View) (d *drawn, err error) {
	if d = c.drawn(); d == nil {
		return nil, nil
	}
	if d.Trips, err = c.trips(ctx, v); err == nil {
		d.Failing, err = c.failing(ctx, v)
	}
	return d, err
}

func (c *curve) drawn() *drawn {
	if len(c.list) == 0 {
		return nil
	}
	d := &drawn{Start: c.start, Width: c.width, Cuts: [][2]int64{}}
	for i := range c.list {
		p := &c.list[i]
		seconds := c.width
		if i == len(c.list)-1 { // it may not be over
			seconds = c.last - c.cut - c.start - int64(i)*c.width + 1
		}
		d.Calls = append(d.Calls, float64(p.calls*100/int(seconds))/100)
		d.Most = append(d.Most, p.most)
		d.Retries = append(d.Retries, p.retries)
		d.Refused = append(d.Refused, p.refused)
		var lanes, budget *int
		if p.budget > 0 {
			lanes, budget = &p.lanes, &p.budget
		}
		d.Lanes, d.Budget = append(d.Lanes, lanes), append(d.Budget, budget)
	}
	for _, k := range c.cuts {
		d.Cuts = append(d.Cuts, [2]int64{k.At, k.Seconds})
	}
	return d
}

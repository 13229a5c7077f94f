package report

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"

	"chatbatch/io/ledger"
)

// maxDrawnClasses is how many classes of failed rows are drawn; from that on the rarest
// are one.
const (
	maxDrawnClasses = 8
	otherClasses    = "others"
)

// trips is the latency as it is drawn: one entry for each point, in milliseconds, null
// where no call was answered.
type trips struct {
	P50 []*float64 `json:"p50"`
	P95 []*float64 `json:"p95"`
	P99 []*float64 `json:"p99"`
}

// failing are the rows of one class that have failed, as they are drawn: one entry for
// each point.
type failing struct {
	Class string  `json:"class"`
	Rows  []int64 `json:"rows"`
}

// trips reads the latency of each point of the curve. The windows of a point are
// merged exactly: they come in order, so one histogram is enough for all.
func (c *curve) trips(ctx context.Context, v *ledger.View) (*trips, error) {
	n := len(c.list)
	d := &trips{make([]*float64, n), make([]*float64, n), make([]*float64, n)}
	var sum ledger.Latency
	at := -1
	end := func() {
		if q := sum.Quantiles(); q != nil {
			d.P50[at], d.P95[at], d.P99[at] = new(tenths(q.P50)), new(tenths(q.P95)), new(tenths(q.P99))
			sum.Reset()
		}
	}
	for w, err := range v.Latencies(ctx) {
		if err != nil {
			return nil, err
		}
		if i := c.place(w.Unix); i != at {
			end()
			at = i
		}
		sum.Merge(w.Latency)
	}
	if end(); at < 0 {
		return nil, nil
	}
	return d, nil
}

// tenths rounds to a tenth, which nobody sees in a picture.
func tenths(ms float64) float64 { return math.Round(ms*10) / 10 }

// failing reads when rows have failed, the most frequent class first.
func (c *curve) failing(ctx context.Context, v *ledger.View) (list []failing, err error) {
	all := map[string]int64{} // rows by class
	for w, err := range v.Failing(ctx) {
		if err != nil {
			return nil, err
		}
		for class, rows := range w.Failed {
			all[class] += rows
		}
	}
	classes := slices.SortedFunc(maps.Keys(all), func(a, b string) int { return cmp.Or(cmp.Compare(all[b], all[a]), cmp.Compare(a, b)) })
	at := map[string]int{} // place in list, by class
	for i, class := range classes {
		name := class
		if i >= maxDrawnClasses-1 && len(classes) > maxDrawnClasses {
			i, name = maxDrawnClasses-1, otherClasses
		}
		if at[class] = i; i == len(list) {
			list = append(list, failing{visible(clipText(name)), make([]int64, len(c.list))})
		}
	}
	for w, err := range v.Failing(ctx) {
		if err != nil {
			return nil, err
		}
		for class, rows := range w.Failed {
			list[at[class]].Rows[c.place(w.Unix)] += rows
		}
	}
	return list, nil
}

// place is the point in which a second is drawn, or the nearest one. All seconds of the
// pace have been added before.
func (c *curve) place(unix int64) int {
	x, end := unix-c.start, int64(len(c.list))*c.width
	for _, k := range slices.Backward(c.cuts) {
		if x >= k.At+k.Seconds {
			x -= k.Seconds
			break
		}
		end = k.At // it is before this cut, if only in what was cut out
	}
	return int(max(0, min(x, end-1)) / c.width)
}

package ledger

import (
	"fmt"
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A Latency counts how long calls took, from the request being written to the
// answer being complete. It takes 24 KB, and what it says is at most 0.8 % more than
// what it was told. Its zero value is that of no call. It is not safe for
// concurrent use.
type Latency struct{ counts *hdrhistogram.Histogram }

// What a Latency tells apart: times from 1 µs to 10 minutes, which is longer than
// calls are let be under way, by two significant digits. What is longer counts as that.
const (
	leastTrip    = time.Microsecond
	longestTrip  = 10 * time.Minute
	latencyDigit = 2
)

func newCounts() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(leastTrip/time.Microsecond), int64(longestTrip/time.Microsecond), latencyDigit)
}

// Add counts a call.
func (l *Latency) Add(took time.Duration) {
	if l.counts == nil {
		l.counts = newCounts()
	}
	// It is within the bounds, the only error there is.
	_ = l.counts.RecordValue(int64(min(max(took, leastTrip), longestTrip) / time.Microsecond))
}

// Merge adds the calls of another one. It is exact: as if this one had been told of
// all of them.
func (l *Latency) Merge(o *Latency) {
	if o == nil || o.counts == nil {
		return
	}
	if l.counts == nil {
		l.counts = newCounts()
	}
	l.counts.Merge(o.counts)
}

// Reset makes it that of no call again, and keeps its memory.
func (l *Latency) Reset() {
	if l.counts != nil {
		l.counts.Reset()
	}
}

// Clone returns a copy.
func (l *Latency) Clone() *Latency {
	c := &Latency{}
	c.Merge(l)
	return c
}

// Calls is how many were counted.
func (l *Latency) Calls() int64 {
	if l == nil || l.counts == nil {
		return 0
	}
	return l.counts.TotalCount()
}

// At is what that share of the calls, in percent, took at most; 0 if there is none.
func (l *Latency) At(percent float64) time.Duration {
	if l.Calls() == 0 {
		return 0
	}
	return time.Duration(l.counts.ValueAtPercentile(percent)) * time.Microsecond
}

// Within is, for each of some times in ascending order, how many calls took no longer.
func (l *Latency) Within(times ...time.Duration) []int64 {
	calls := make([]int64, len(times))
	if l.Calls() == 0 {
		return calls
	}
	sum, bars := int64(0), l.counts.Distribution()
	for i, d := range times {
		for len(bars) > 0 && bars[0].To <= d.Microseconds() {
			sum, bars = sum+bars[0].Count, bars[1:]
		}
		calls[i] = sum
	}
	return calls
}

// Sum is how long all calls took together.
func (l *Latency) Sum() time.Duration {
	if l.Calls() == 0 {
		return 0
	}
	return time.Duration(l.counts.Mean() * float64(l.Calls()) * float64(time.Microsecond))
}

// Quantiles sum it up; nil if there is no call.
func (l *Latency) Quantiles() *Quantiles {
	if l.Calls() == 0 {
		return nil
	}
	return &Quantiles{P50: ms(l.At(50)), P95: ms(l.At(95)), P99: ms(l.At(99)), Max: ms(l.At(100))}
}

// Quantiles are what half, 95 % and 99 % of the calls took at most, and the longest
// of them, in milliseconds.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// ms is a time in milliseconds, to 10 µs.
func ms(d time.Duration) float64 { return math.Round(float64(d)/1e4) / 100 }

// encode writes it in the V2 format of HdrHistogram, which other programs read.
func (l *Latency) encode() (string, error) {
	b, err := l.counts.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	return string(b), err
}

// decodeLatency reads what encode has written.
func decodeLatency(text []byte) (*Latency, error) {
	h, err := hdrhistogram.Decode(text)
	if err != nil {
		return nil, fmt.Errorf("%w: latency: %w", ErrDamaged, err)
	}
	return &Latency{h}, nil
}

package report

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/guptarohit/asciigraph"

	"chatbatch/io/ledger"
)

const (
	plotRows    = 5  // of the plot, beside its axis and what it says
	plotSeconds = 10 // that a run has at least to be worth a plot
	plotEdge    = 12 // columns on its left and right, for numbers
)

// Plot draws the calls of a run over time for a terminal, with the number of lanes as
// the ceiling. It is "" if the run is too short for that, or there is no terminal.
func Plot(ctx context.Context, l *ledger.Ledger, look Look) (string, error) {
	v, err := l.View(ctx)
	if err != nil {
		return "", err
	}
	defer v.Close()
	var c curve
	for s, err := range v.Pace(ctx) {
		if err != nil {
			return "", err
		}
		c.add(s)
	}
	d := c.drawn()
	if d == nil || int64(len(d.Calls))*d.Width < plotSeconds || look.Columns == 0 {
		return "", nil
	}
	return d.plot(look.width()-plotEdge, look.Color), nil
}

// plot draws d with so many points at the most.
func (d *drawn) plot(points int, color bool) string {
	lanes := make([]float64, len(d.Calls))
	for i, n := range d.Lanes {
		if lanes[i] = math.NaN(); n != nil {
			lanes[i] = float64(*n)
		}
	}
	took := seconds(int64(len(d.Calls)) * d.Width)
	calls, ceiling := gather(d.Calls, points), gather(lanes, points)
	high := 0.0
	for _, n := range d.Budget {
		if n != nil {
			high = max(high, float64(*n))
		}
	}
	options := []asciigraph.Option{
		asciigraph.Height(plotRows - 1), asciigraph.LowerBound(0), asciigraph.UpperBound(high), asciigraph.Precision(0), asciigraph.Width(points),
		asciigraph.SeriesChars(asciigraph.CreateCharSet("·"), asciigraph.DefaultCharSet),
		asciigraph.XAxisRange(0, took.Seconds()), asciigraph.XAxisTickCount(max(2, points/16)),
		asciigraph.XAxisValueFormatter(func(s float64) string { return clock(seconds(int64(s)), took) }),
	}
	if color {
		options = append(options, asciigraph.SeriesColors(asciigraph.Gray, asciigraph.Green))
	}
	series := [][]float64{ceiling, calls}
	title := "calls a second; ··· the lanes"
	if !slices.ContainsFunc(ceiling, func(n float64) bool { return !math.IsNaN(n) }) {
		series, title = [][]float64{calls}, "calls a second"
	}
	return title + "\n" + strings.TrimRight(asciigraph.PlotMany(series, options...), "\n")
}

// gather makes at most n points of a curve: the mean of those that fall together.
func gather(points []float64, n int) []float64 {
	if len(points) <= n {
		return points
	}
	means := make([]float64, n)
	for i := range means {
		from, to := i*len(points)/n, (i+1)*len(points)/n
		var sum, known float64
		for _, p := range points[from:to] {
			if !math.IsNaN(p) {
				sum, known = sum+p, known+1
			}
		}
		means[i] = sum / known // NaN if none is known
	}
	return means
}

// clock is a time since the beginning of what took so long.
func clock(d, took time.Duration) string {
	if took < time.Hour || d == 0 {
		return d.String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }

package ui

import (
	"cmp"
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"chatbatch/io/ledger"
	"chatbatch/io/report"
)

// Runs are where the runs of a fleet are: [ledger.Postgres].
type Runs interface {
	Survey(ctx context.Context) (ledger.Survey, error)
	Row(ctx context.Context, run string, num int64) (line int64, raw string, err error)
}

// Budgets says who has which part of the budgets that the hosts share. It is not called
// twice at once.
type Budgets func(ctx context.Context) ([]Budget, error)

// Budget is one that hosts share.
type Budget struct {
	Name  string
	Lanes int // calls allowed inside one second
	Free  int // lanes that are no host's
	Hosts []Tenant
}

// Tenant is a host with a part of a budget.
type Tenant struct {
	Name      string
	Lanes     int           // leased to it
	Waiting   int           // calls that wait for a lane
	OutOfUse  int           // lanes, after frequency codes
	LeaseEnds time.Duration // from now; negative: it has ended
}

// Ended says that the host has died, or is cut off.
func (t Tenant) Ended() bool { return t.LeaseEnds <= 0 }

const (
	lookEvery = time.Second     // at the most
	lookTime  = 4 * time.Second // for all that one look asks

	maxFailures = 30 // that are shown
	maxExamples = 10 // rows that are asked for in one look
	maxKept     = 1000
)

// A board is what the page shows. Whoever asks looks for all others, too.
type board struct {
	o Options

	mu       sync.Mutex // held by who looks
	ended    time.Time  // of the last look
	survey   ledger.Survey
	since    time.Time // the runs are away; zero: they are not
	why      error
	budgets  []Budget
	why2     error // the budgets are away
	paces    map[paceKey]*pace
	growth   map[failureKey]growth
	examples map[exampleKey]string
}

type failureKey struct {
	run, class string
	code       int
}

// growth is how a failure was seen to grow.
type growth struct {
	rows int64
	seen time.Time // it was more than before; zero: it was there already
}

type exampleKey struct {
	run string
	num int64
}

func newBoard(o Options) *board {
	return &board{o: o, paces: map[paceKey]*pace{}, examples: map[exampleKey]string{}}
}

// write writes a part of the template.
func (b *board) write(ctx context.Context, out io.Writer, part string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.ended) >= lookEvery {
		// Others wait for what is seen, also when who asked first has gone.
		b.look(context.WithoutCancel(ctx))
		b.ended = time.Now()
	}
	return pageTemplate().ExecuteTemplate(out, part, b.scene())
}

// look looks at how things stand.
func (b *board) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	s, err := b.o.Runs.Survey(ctx)
	if b.why = err; err != nil {
		if b.since.IsZero() {
			b.since = time.Now()
		}
	} else {
		b.since = time.Time{}
		b.enter(s)
		b.ask(ctx)
	}
	if b.o.Budgets != nil {
		b.budgets, b.why2 = b.o.Budgets(ctx)
	}
}

// enter takes what a look has seen.
func (b *board) enter(s ledger.Survey) {
	first := b.growth == nil
	grown := make(map[failureKey]growth, len(s.Failures))
	for _, f := range s.Failures {
		k := failureKey{f.Run, f.Class, f.Code}
		g, known := b.growth[k]
		if !first && (!known || f.Rows > g.rows) {
			g.seen = s.Now
		}
		g.rows = f.Rows
		grown[k] = g
	}
	b.growth = grown
	// The newest first; those that were there already as they come, by run.
	slices.SortStableFunc(s.Failures, func(f, g ledger.Failure) int { return b.grown(g).Compare(b.grown(f)) })
	s.Failures = s.Failures[:min(len(s.Failures), maxFailures)]
	b.survey = s
	b.measure(s)
}

func (b *board) grown(f ledger.Failure) time.Time {
	return b.growth[failureKey{f.Run, f.Class, f.Code}].seen
}

// ask asks for the rows that are examples, some at a time.
func (b *board) ask(ctx context.Context) {
	if len(b.examples) > maxKept {
		clear(b.examples)
	}
	asked := 0
	for _, f := range b.survey.Failures {
		k := exampleKey{f.Run, f.Example}
		if _, known := b.examples[k]; known || asked == maxExamples {
			continue
		}
		asked++
		if _, raw, err := b.o.Runs.Row(ctx, f.Run, f.Example); err == nil {
			b.examples[k] = clip(b.text(f.Run, raw))
		}
	}
}

// text is a row of a run as people read it, whatever encoding its input has.
func (b *board) text(run, raw string) string {
	i := slices.IndexFunc(b.survey.Runs, func(r ledger.Surveyed) bool { return r.Run == run })
	if i < 0 {
		return raw
	}
	text, err := report.TextOf(b.survey.Runs[i].Meta)
	if err != nil {
		return raw // of an encoding that this version does not know
	}
	return text(raw)
}

// A pace is how something has got on lately.
type pace struct{ points []point }

type paceKey struct {
	run     string
	session int64 // 0: all of the run
}

type point struct {
	at          time.Time
	rows, calls int64
}

const (
	paceOver  = 30 * time.Second // a pace is that of so long
	paceLeast = 2 * time.Second
)

// measure notes how far runs and hosts are.
func (b *board) measure(s ledger.Survey) {
	old := b.paces
	b.paces = map[paceKey]*pace{}
	note := func(k paceKey, rows, calls int64) {
		p := cmp.Or(old[k], &pace{})
		p.add(point{s.Now, rows, calls})
		b.paces[k] = p
	}
	for _, r := range s.Runs {
		if r.State == ledger.Running {
			note(paceKey{run: r.Run}, r.Books.Succeeded+r.Books.Failed, r.Calls)
		}
	}
	for _, h := range s.Hosts {
		note(paceKey{h.Run, h.Session}, h.Settled, h.Calls)
	}
}

func (p *pace) add(now point) {
	p.points = slices.DeleteFunc(p.points, func(o point) bool {
		return now.at.Sub(o.at) > paceOver || !o.at.Before(now.at) || o.rows > now.rows
	})
	p.points = append(p.points, now)
}

// perSecond says how many rows and calls there were in a second; known is false if it has
// not been looked at for long enough.
func (p *pace) perSecond() (rows, calls float64, known bool) {
	if p == nil || len(p.points) == 0 {
		return 0, 0, false
	}
	first, last := p.points[0], p.points[len(p.points)-1]
	span := last.at.Sub(first.at)
	if span < paceLeast {
		return 0, 0, false
	}
	return float64(last.rows-first.rows) / span.Seconds(), float64(last.calls-first.calls) / span.Seconds(), true
}

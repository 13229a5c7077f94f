package main

import (
	"context"
	"log/slog"
	"time"

	"chatbatch/io/ledger"
	"chatbatch/limiter"
)

const (
	// sampleEvery is how often the lanes are looked at: what SlowDown takes
	// comes back by one lane a second.
	sampleEvery = time.Second

	// paceEvery is how often the pace is written: one commit in 10 s beside
	// the hundreds of a run at work.
	paceEvery = 10 * time.Second
)

// A paceBook is where the pace of a run is kept; *ledger.Ledger is one.
type paceBook interface {
	AddPace(ctx context.Context, seconds []ledger.Second) error
	AddWindows(ctx context.Context, windows []ledger.Window, session *ledger.Latency) error
}

// A counter is what a sampler takes; *jobs.Meter is one.
type counter interface {
	TakePace() []ledger.Second
	TakeWindows(open bool) []ledger.Window
	Latency() *ledger.Latency
}

// A sampler keeps the pace and the latency of one run. It belongs to one goroutine. They
// are not part of the books: where they cannot be kept, the run goes on without.
type sampler struct {
	meter counter
	lanes func() (usable, of int) // of is 0 if it is not known
	book  paceBook
	log   *slog.Logger

	pending []ledger.Second // not in the book yet
	short   int             // lanes that were out of use in the newest second
	written time.Time       // when pending was last put into the book
	had     bool            // lanes could be used before
	broken  bool            // the book takes no more, and that was said
}

// run samples until ctx ends, and then once more.
func (s *sampler) run(ctx context.Context) {
	t := time.NewTicker(sampleEvery)
	defer t.Stop()
	s.written = time.Now()
	for {
		select {
		case <-ctx.Done():
			s.sample(time.Now())
			s.write(ctx, true)
			return
		case now := <-t.C:
			s.sample(now)
			if now.Sub(s.written) >= paceEvery {
				s.written = now
				s.write(ctx, false)
			}
		}
	}
}

// sample takes what the meter has counted and looks at the lanes. A second
// without calls is kept only if the lanes have changed: until the next one that
// is kept, they are as they were.
func (s *sampler) sample(now time.Time) {
	seconds := s.meter.TakePace()
	usable, of := s.lanes()
	if s.had = s.had || usable > 0; !s.had {
		of = 0 // the first lease is on its way
	}
	if len(seconds) == 0 && of > 0 && of-usable != s.short {
		seconds = []ledger.Second{{Unix: now.Unix()}}
	}
	for i := range seconds {
		// What was called while groups were listed, before the run began, is
		// too long ago for the lanes of now.
		if one := &seconds[i]; of > 0 && one.Unix >= now.Unix()-1 {
			one.Lanes, one.Budget = usable, of
			s.short = of - usable
		}
	}
	if !s.broken {
		s.pending = append(s.pending, seconds...)
	}
}

// write puts what is pending into the book, also while the run is being stopped. At
// the end of the run that is also the window that goes on.
func (s *sampler) write(ctx context.Context, end bool) {
	ctx = context.WithoutCancel(ctx)
	windows := s.meter.TakeWindows(end)
	if s.broken {
		return
	}
	var err error
	if len(s.pending) > 0 {
		err = s.book.AddPace(ctx, s.pending)
	}
	if err == nil && len(windows) > 0 {
		err = s.book.AddWindows(ctx, windows, s.meter.Latency())
	}
	if err != nil {
		s.broken = true
		s.log.Warn("the pace of the run is not kept any more: " + err.Error())
	}
	s.pending = nil
}

// sampler makes the one that keeps the pace of b, and tells p of the lanes.
func (b *begun) sampler(log *slog.Logger, p *progress) *sampler {
	lanes := func() (usable, of int) {
		usable, of = b.lanes()
		p.sawLanes(usable, of)
		return usable, of
	}
	return &sampler{meter: b.meter, lanes: lanes, book: b.ledger, log: log}
}

// lanes is how many lanes the calls for the rows of b can use now, and of how many
// that this host has: all, unless they are leased; 0, 0 if that is not known.
func (b *begun) lanes() (usable, of int) {
	return b.conn.lanes(b.ledger.Meta().Kind)
}

// lanes is the same for the rows of any run of a kind.
func (c *connection) lanes(kind string) (usable, of int) {
	all, err := c.limiter.Status()
	if err != nil {
		return 0, 0 // who wants to send is told
	}
	return usableLanes(all, kinds()[kind].api)
}

// usableLanes counts the lanes of the budget that calls of api draw on: the common
// one, or, with --qps-scope api, its own once that is open. It is 0, 0 for a host that
// has given its lanes to others, since it has no use for them.
func usableLanes(all []limiter.Status, api string) (usable, of int) {
	for _, s := range all {
		if s.API == "" || s.API == api {
			of = s.Leased
			if of == 0 && s.Waiting > 0 { // the lease has ended, or the first is on its way
				of = s.Lanes
			}
			return max(0, s.Leased-max(s.OutOfUse, s.SlowAPIs[api])), of
		}
	}
	return 0, 0
}

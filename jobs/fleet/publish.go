package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"chatbatch/io/ledger"
)

// What the runs of an app have fetched is published by one of its hosts when they are
// finished. No job of the queue says so, but the run itself: hosts look for such runs every
// two seconds, as they look for what dead hosts have left. So it cannot be lost with a job,
// and a host of a version that knows nothing of it does no harm.

const (
	publishEvery = 2 * time.Second

	// firstPause is how long a host lets others try that could not publish a run itself;
	// twice as long after each try, up to longestPause.
	firstPause   = 10 * time.Second
	longestPause = 10 * time.Minute
)

// Published says what was published.
type Published struct {
	Text  string // for people
	Place string // see [ledger.Publication]
}

// A rest is the time that a host leaves a run to others.
type rest struct {
	given int64 // how often the run had been given to the hosts: the rest ends with the next time
	until time.Time
	next  time.Duration // one
}

// publish publishes what is to be published by the hosts of an app, one run after the
// other, until ctx ends.
func (w *Worker) publish(ctx context.Context, s *Service) {
	t := time.NewTicker(publishEvery)
	defer t.Stop()
	rests := map[string]rest{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		runs, given, err := w.Store.Unpublished(ctx, s.App.name())
		if err != nil && ctx.Err() == nil {
			s.Log.Debug("look for what is to be published: " + err.Error())
		}
		left := map[string]rest{}
		for _, run := range runs {
			r := rests[run]
			if r.given != given[run] {
				r = rest{given: given[run]}
			}
			if ctx.Err() == nil && time.Now().After(r.until) {
				r = w.publishOne(ctx, s, run, r)
			}
			left[run] = r
		}
		if err == nil || len(runs) > 0 { // or it is not known which are left
			rests = left
		}
	}
}

// publishOne tries to publish a run. It returns for how long others are to try.
func (w *Worker) publishOne(ctx context.Context, s *Service, run string, r rest) rest {
	right, err := w.Store.TakePublishing(ctx, run, false)
	if err != nil {
		if !errors.Is(err, ledger.ErrLocked) && !errors.Is(err, ledger.ErrDropped) && ctx.Err() == nil {
			s.Log.Debug(err.Error())
		}
		return r
	}
	defer right.End()
	held, stop := right.Held(ctx)
	var done Published
	err = s.Publish(held, run, func(p Published) error {
		done = p
		return right.Done(context.WithoutCancel(ctx), p.Text, p.Place) // it is there, also when this host is to stop
	})
	lost := held.Err() != nil
	stop()
	switch {
	case err == nil:
		s.Log.Info("published run "+run+": "+done.Text, "run", run)
		return r
	case ctx.Err() != nil:
		s.Log.Info("run " + run + " is left to others to publish")
		return r
	case lost, errors.Is(err, ledger.ErrUnreachable), errors.Is(err, ledger.ErrLocked): // it says nothing of this host
		s.Log.Warn("publish run " + run + ": " + err.Error() + "; it is tried again")
		return r
	}
	r.next = min(max(2*r.next, firstPause), longestPause)
	r.until = time.Now().Add(r.next)
	s.Log.Warn(fmt.Sprintf("run %s cannot be published here: %v; other hosts may try, and this one again in %v", run, err, r.next), "run", run)
	if err := right.Failed(ctx, err.Error()); err != nil {
		s.Log.Debug(err.Error())
	}
	return r
}

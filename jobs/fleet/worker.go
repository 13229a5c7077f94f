package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"chatbatch/io/ledger"
	"chatbatch/jobs"
)

const (
	// rescueAfter is when the queue gives a job to another host whose host may be dead:
	// with the 30 s between its looks and the 5 s until a job that waits is let go, 50 s
	// at the most. A host that lives has its chunk in hand all the same, and keeps it.
	rescueAfter = 15 * time.Second

	// rowChunks is how many chunks a host takes at a time of which each row is a call.
	rowChunks = 16

	// groupChunks is how many groups a host takes at a time: of each it remembers who
	// has been seen, 3 MB for a Community of 100,000. Pages of one group go side by side
	// all the same, as many as there are calls under way.
	groupChunks = 32

	fetchEvery = 50 * time.Millisecond // at the most, for jobs
	buryEvery  = 2 * time.Second
	tryTime    = 10 * time.Second // for a question that takes no time
	lookEvery  = time.Second      // at the state of a run
	sayEvery   = 10 * time.Second

	// laterTime is when a job comes again whose chunk another has in hand, soonTime
	// when this host could not take it.
	laterTime = 5 * time.Second
	soonTime  = 2 * time.Second

	// clockLimit is how far a host's clock may be from that of the database. By the clocks
	// of its hosts the queue tells which jobs are stuck, and when one comes again.
	clockLimit = 10 * time.Second

	keepJobs = time.Hour // that are done, in the queue's table

	// closeTime is what a worker that is to stop has beyond its grace time for a database
	// that is away or slow. What it has not written then, others do again.
	closeTime = 5 * time.Second
)

var (
	errStopping = errors.New("this host is to stop")
	errHalted   = errors.New("the run is not to be worked on any more")
	errForeign  = errors.New("its chunks are in the queue of another app")
)

// ErrClock says that the clock of this host is wrong.
var ErrClock = errors.New("the clock of this host and that of the database do not agree")

// A Worker is a host that works on the runs of some apps. Its fields are set before Run.
type Worker struct {
	Store    *ledger.Postgres
	Services []*Service // one at least, and of each app one
	Log      *slog.Logger

	client *river.Client[pgx.Tx] // from Run on

	mu        sync.Mutex
	crews     map[string]*crew // under mu; by run
	stopping  bool             // under mu
	unwritten error            // under mu; why a crew could not give back what it had when it was to stop
	working   sync.WaitGroup   // crews, and those who publish

	pulse
}

// A Service is what a worker does for one app. All services of a worker share its
// connections to the database, and nothing else.
type Service struct {
	App      App
	Workers  int           // calls under way at once
	Grace    time.Duration // that they have when the worker is to stop
	CallTime time.Duration // that one call takes at the most
	Log      *slog.Logger

	// Equip makes what a run needs to be worked on here.
	Equip func(ctx context.Context, l *ledger.Ledger) (Gear, error)

	// Publish puts what a finished run has fetched in its place, and says so to noted before
	// anything else may be put there. ctx ends when this host is to stop, or has not heard of
	// the database for too long.
	Publish func(ctx context.Context, run string, noted func(Published) error) error

	resting bool // under mu of the worker; nothing is taken from its queues for a while
}

// Gear is what a run needs on one host.
type Gear struct {
	Kind    jobs.Kind
	Door    *jobs.Door
	Beside  func(ctx context.Context) // what is to be done meanwhile; returns soon after ctx has ended
	Session func() ledger.Session     // what was done so far
}

// Run works until ctx ends: then it takes no more, lets the calls under way come back
// within the grace time, and gives back what is not settled. That takes a few seconds
// more than the grace time at the most: a database that is away is not waited for any
// longer. The error is then [ledger.ErrUnreachable]; others take over what this host had
// in hand, as if it had died. The store cannot be used any more in that case.
func (w *Worker) Run(ctx context.Context) error {
	w.crews = map[string]*crew{}
	pool, err := w.Store.NewPool(ctx, 8)
	if err != nil {
		return err
	}
	defer ledger.ClosePools(pool)
	base, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	w.client, err = river.NewClient(riverpgxv5.New(pool), w.config(base))
	if err != nil {
		return fmt.Errorf("open the queue: %w", err)
	}
	if err := w.checkClock(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	if err := w.client.Start(base); err != nil {
		return fmt.Errorf("open the queue: %w", w.Store.Explain(ctx, err))
	}
	w.beat(nil) // to open the queue was to hear of it
	publishing, enough := context.WithCancel(ctx)
	defer enough()
	for _, s := range w.Services {
		w.working.Go(func() { w.publish(publishing, s) })
	}
	wrong := w.bury(ctx, pool)
	enough()
	w.stop(end)
	if err := w.leave(ctx); err != nil {
		return err
	}
	return wrong
}

// checkClock is ErrClock if this host must not work for its clock.
func (w *Worker) checkClock(ctx context.Context) error {
	ahead, err := w.Store.ClockAhead(ctx)
	switch {
	case err != nil:
		return err
	case ahead > clockLimit:
		return fmt.Errorf("%w: it is %v ahead, and %v are allowed: set it, best by NTP", ErrClock, ahead.Round(time.Second), clockLimit)
	case ahead < -clockLimit:
		return fmt.Errorf("%w: it is %v behind, and %v are allowed: set it, best by NTP", ErrClock, -ahead.Round(time.Second), clockLimit)
	}
	return nil
}

// leave gives back what is not settled, as far as the database lets it, and then leaves
// the queue.
func (w *Worker) leave(ctx context.Context) error {
	most := w.grace() + closeTime
	defer time.AfterFunc(most, w.Store.GiveUp).Stop()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), most+time.Second)
	defer cancel()
	w.working.Wait() // by their grace time, they come to an end
	if err := w.client.Stop(ending); err != nil {
		return fmt.Errorf("leave the queue: %w", w.Store.Explain(ending, err))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unwritten
}

// grace is the longest of its services.
func (w *Worker) grace() (d time.Duration) {
	for _, s := range w.Services {
		d = max(d, s.Grace)
	}
	return d
}

// config is how the queue is worked on; base is the context of all work.
func (w *Worker) config(base context.Context) *river.Config {
	h := &handler{w: w, ctx: base, of: map[string]*Service{}}
	all := map[string]river.QueueConfig{}
	for _, s := range w.Services {
		for name, q := range s.queues() {
			all[name], h.of[name] = q, s
		}
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, h)
	log := slog.New(slog.DiscardHandler)
	if w.Log.Enabled(context.Background(), slog.LevelDebug) {
		log = w.Log
	}
	return &river.Config{
		Queues: all, Workers: workers, Logger: log,
		// A job has no time of its own: what a chunk may take is the door's to know. But
		// one without a limit would never be given to another host.
		JobTimeout: rescueAfter, RescueStuckJobsAfter: rescueAfter, JobStuckThreshold: 24 * time.Hour,
		FetchCooldown: fetchEvery, RetryPolicy: atOnce{},
		CompletedJobRetentionPeriod: keepJobs, CancelledJobRetentionPeriod: keepJobs,
	}
}

// atOnce lets a job that was taken from a dead host go on at once.
type atOnce struct{}

// NextRetry is now.
func (atOnce) NextRetry(*rivertype.JobRow) time.Time { return time.Now() }

// bury frees what dead hosts have in hand, and finishes what they could not, until ctx
// ends, or the clock of this host goes wrong. By the way it finds out whether the database
// is there, for both of its pools.
func (w *Worker) bury(ctx context.Context, queue *pgxpool.Pool) error {
	t := time.NewTicker(buryEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			clock := w.checkClock(ctx)
			if errors.Is(clock, ErrClock) {
				return clock
			}
			// Those who have settled the last chunk of a run may be dead, too.
			err := cmp.Or(clock, w.Store.Bury(ctx), w.Store.Finish(ctx, ""), w.tryQueue(ctx, queue)) // of a database that is away one says it
			if ctx.Err() != nil {
				return nil
			}
			if w.beat(err); err != nil {
				w.Log.Debug("see to what dead hosts have left: " + err.Error())
			}
		}
	}
}

// tryQueue finds out whether the queue can be read by its own connections.
func (w *Worker) tryQueue(ctx context.Context, queue *pgxpool.Pool) error {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	_, err := queue.Exec(ctx, "SELECT FROM river_job LIMIT 0")
	if err != nil {
		return fmt.Errorf("read the queue: %w", w.Store.Explain(ctx, err))
	}
	return nil
}

// InHand is how many chunks of a run this host has in hand.
func (w *Worker) InHand(run string) int {
	w.mu.Lock()
	c := w.crews[run]
	w.mu.Unlock()
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.errands)
}

// stop ends the work on all runs.
func (w *Worker) stop(end context.CancelCauseFunc) {
	w.mu.Lock()
	w.stopping = true
	w.mu.Unlock()
	end(errStopping)
}

// unwrote notes why a crew could not leave its run. That others have long taken it over is
// no reason.
func (w *Worker) unwrote(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopping && w.unwritten == nil && errors.Is(err, ledger.ErrUnreachable) {
		w.unwritten = err
	}
}

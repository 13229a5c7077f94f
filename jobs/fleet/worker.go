package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
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

	fetchEvery = 50 * time.Millisecond // at the most, for jobs
	buryEvery  = 2 * time.Second
	lookEvery  = time.Second // at the state of a run
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
)

// ErrClock says that the clock of this host is wrong.
var ErrClock = errors.New("the clock of this host and that of the database do not agree")

// A Worker is a host that works on the runs of one app. Its fields are set before Run.
type Worker struct {
	Store    *ledger.Postgres
	App      App
	Workers  int           // calls under way at once
	Grace    time.Duration // that they have when the worker is to stop
	CallTime time.Duration // that one call takes at the most
	Log      *slog.Logger

	// Equip makes what a run needs to be worked on here.
	Equip func(ctx context.Context, l *ledger.Ledger) (Gear, error)

	client *river.Client[pgx.Tx] // from Run on

	mu        sync.Mutex
	crews     map[string]*crew // under mu; by run
	stopping  bool             // under mu
	resting   bool             // under mu; nothing is taken from the queue for a while
	unwritten error            // under mu; why a crew could not give back what it had when it was to stop
	working   sync.WaitGroup   // crews
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
	workers := river.NewWorkers()
	river.AddWorker(workers, &handler{w: w, ctx: base})
	w.client, err = river.NewClient(riverpgxv5.New(pool), w.config(workers))
	if err != nil {
		return fmt.Errorf("open the queue: %w", err)
	}
	if err := w.checkClock(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	if err := w.client.Start(base); err != nil {
		return fmt.Errorf("open the queue: %w", w.Store.Explain(ctx, err))
	}
	wrong := w.bury(ctx)
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
	defer time.AfterFunc(w.Grace+closeTime, w.Store.GiveUp).Stop()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.Grace+closeTime+time.Second)
	defer cancel()
	w.working.Wait() // by their grace time, they come to an end
	if err := w.client.Stop(ending); err != nil {
		return fmt.Errorf("leave the queue: %w", w.Store.Explain(ending, err))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unwritten
}

func (w *Worker) config(workers *river.Workers) *river.Config {
	log := slog.New(slog.DiscardHandler)
	if w.Log.Enabled(context.Background(), slog.LevelDebug) {
		log = w.Log
	}
	return &river.Config{
		Queues: w.queues(), Workers: workers, Logger: log,
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
// ends, or the clock of this host goes wrong.
func (w *Worker) bury(ctx context.Context) error {
	t := time.NewTicker(buryEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := w.checkClock(ctx); errors.Is(err, ErrClock) {
				return err
			}
			// Those who have settled the last chunk of a run may be dead, too.
			if err := errors.Join(w.Store.Bury(ctx), w.Store.Finish(ctx, "")); err != nil && ctx.Err() == nil {
				w.Log.Debug("see to what dead hosts have left: " + err.Error())
			}
		}
	}
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

// A handler is what the queue calls with a job.
type handler struct {
	river.WorkerDefaults[chunkArgs]
	w   *Worker
	ctx context.Context // of all work of the worker
}

// Work returns when the chunk of a job is settled, or given back.
func (h *handler) Work(ctx context.Context, job *river.Job[chunkArgs]) error {
	c, err := h.w.crewOf(h.ctx, job.Args.Run)
	if err == nil {
		err = c.errand(ctx, job)
	}
	switch {
	case err == nil, errors.Is(err, ledger.ErrSettled):
		return nil
	case errors.Is(err, ledger.ErrNoRun):
		return river.JobCancel(err)
	case errors.Is(err, errHalted), errors.Is(err, ledger.ErrNotRunning):
		return h.w.halted(ctx, job.Args.Run, err)
	case errors.Is(err, ledger.ErrTaken):
		return river.JobSnooze(laterTime)
	case errors.Is(err, errStopping):
		return river.JobSnooze(0)
	}
	return river.JobSnooze(soonTime)
}

// halted is how a job ends whose run is not to be worked on: who lets it go on gives its
// chunks to the queue again. That may have happened meanwhile, and this be such a job.
func (w *Worker) halted(ctx context.Context, run string, err error) error {
	s, err2 := w.Store.Standing(context.WithoutCancel(ctx), run)
	if err2 != nil || s.State == ledger.Running {
		return river.JobSnooze(soonTime)
	}
	return river.JobCancel(err)
}

// crewOf is who works on a run here. It joins the run if nobody does yet.
func (w *Worker) crewOf(ctx context.Context, run string) (*crew, error) {
	w.mu.Lock()
	c := w.crews[run]
	if c == nil && w.resting {
		w.mu.Unlock()
		return nil, errDeaf
	}
	if c == nil && !w.stopping {
		c = newCrew(w, run)
		w.crews[run] = c
		w.working.Go(func() {
			c.work(ctx)
			tired := errors.Is(c.why, errDeaf) && w.tire()
			w.mu.Lock()
			delete(w.crews, run)
			w.mu.Unlock()
			close(c.ended)
			if tired {
				w.rest(ctx)
			}
		})
	}
	w.mu.Unlock()
	if c == nil {
		return nil, errStopping
	}
	select {
	case <-c.joined:
		return c, nil
	case <-c.ended:
		return nil, c.why
	}
}

// completeIn completes a job in the transaction in which its chunk is settled.
func completeIn(ctx context.Context, tx pgx.Tx, work context.Context, job *river.Job[chunkArgs]) error {
	_, err := river.JobCompleteTx[*riverpgxv5.Driver](valued{ctx, work}, tx, job)
	if errors.Is(err, rivertype.ErrNotFound) {
		return nil // somebody has removed it from the queue
	}
	return err
}

// valued is a context with the values of another one, which may have ended.
type valued struct {
	context.Context
	values context.Context
}

// Value is that of the other context.
func (v valued) Value(key any) any { return v.values.Value(key) }

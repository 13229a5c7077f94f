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

	fetchEvery = 50 * time.Millisecond // at the most, for jobs
	buryEvery  = 2 * time.Second
	tryTime    = 10 * time.Second // for a question that takes no time
	lookEvery  = time.Second      // at the state of a run
	sayEvery   = 10 * time.Second

	// laterTime is when a job comes again whose chunk another has in hand, soonTime
	// when this host could not take it.
	laterTime = 5 * time.Second
	soonTime  = 2 * time.Second

	keepJobs = time.Hour // that are done, in the queue's table
)

var (
	errStopping = errors.New("this host is to stop")
	errHalted   = errors.New("the run is not to be worked on any more")
	errForeign  = errors.New("its chunks are in the queue of another app")
)

// A Worker is a host that works on the runs of some apps. Its fields are set before Run.
type Worker struct {
	Store    *ledger.Postgres
	Services []*Service // one at least, and of each app one
	Log      *slog.Logger

	mu       sync.Mutex
	crews    map[string]*crew // under mu; by run
	stopping bool             // under mu
	working  sync.WaitGroup   // crews

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
}

// Gear is what a run needs on one host.
type Gear struct {
	Kind    jobs.Kind
	Door    *jobs.Door
	Beside  func(ctx context.Context) // what is to be done meanwhile; returns soon after ctx has ended
	Session func() ledger.Session     // what was done so far
}

// Run works until ctx ends: then it takes no more, lets the calls under way come back
// within the grace time, and gives back what is not settled.
func (w *Worker) Run(ctx context.Context) error {
	w.crews = map[string]*crew{}
	pool, err := w.Store.NewPool(ctx, 8)
	if err != nil {
		return err
	}
	defer pool.Close()
	base, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	client, err := river.NewClient(riverpgxv5.New(pool), w.config(base))
	if err != nil {
		return fmt.Errorf("open the queue: %w", err)
	}
	if err := client.Start(base); err != nil {
		return fmt.Errorf("open the queue: %w", w.Store.Explain(ctx, err))
	}
	w.beat(nil) // to open the queue was to hear of it
	w.bury(ctx, pool)
	w.stop(end)
	w.working.Wait() // by their grace time, they come to an end
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.grace()+rescueAfter)
	defer cancel()
	if err := client.Stop(ending); err != nil {
		return fmt.Errorf("leave the queue: %w", w.Store.Explain(ending, err))
	}
	return nil
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
	queues := map[string]river.QueueConfig{}
	for _, s := range w.Services {
		for _, rows := range []bool{false, true} {
			most := s.Workers
			if rows {
				most = min(rowChunks, most)
			}
			name := s.App.queue(rows)
			queues[name], h.of[name] = river.QueueConfig{MaxWorkers: most}, s
		}
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, h)
	log := slog.New(slog.DiscardHandler)
	if w.Log.Enabled(context.Background(), slog.LevelDebug) {
		log = w.Log
	}
	return &river.Config{
		Queues: queues, Workers: workers, Logger: log,
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
// ends. By the way it finds out whether the database is there, for both of its pools.
func (w *Worker) bury(ctx context.Context, queue *pgxpool.Pool) {
	t := time.NewTicker(buryEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			// Those who have settled the last chunk of a run may be dead, too.
			err := cmp.Or(w.Store.Bury(ctx), w.Store.Finish(ctx, ""), w.tryQueue(ctx, queue)) // of a database that is away one says it
			if ctx.Err() != nil {
				return
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

// A handler is what the queue calls with a job.
type handler struct {
	river.WorkerDefaults[chunkArgs]
	w   *Worker
	ctx context.Context     // of all work of the worker
	of  map[string]*Service // by queue
}

// Work returns when the chunk of a job is settled, or given back.
func (h *handler) Work(ctx context.Context, job *river.Job[chunkArgs]) error {
	c, err := h.w.crewOf(h.ctx, h.of[job.Queue], job.Args.Run)
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
func (w *Worker) crewOf(ctx context.Context, of *Service, run string) (*crew, error) {
	w.mu.Lock()
	c := w.crews[run]
	if c == nil && !w.stopping {
		c = newCrew(w, of, run)
		w.crews[run] = c
		w.working.Go(func() {
			c.work(ctx)
			w.mu.Lock()
			delete(w.crews, run)
			w.mu.Unlock()
			close(c.ended)
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

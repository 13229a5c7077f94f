package fleet

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"chatbatch/io/ledger"
)

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
	if c == nil && of.resting {
		w.mu.Unlock()
		return nil, errDeaf
	}
	if c == nil && !w.stopping {
		c = newCrew(w, of, run)
		w.crews[run] = c
		w.working.Go(func() {
			c.work(ctx)
			tired := errors.Is(c.why, errDeaf) && w.tire(of)
			close(c.ended)
			c.pause(ctx)
			w.mu.Lock()
			delete(w.crews, run)
			w.mu.Unlock()
			if tired {
				w.rest(ctx, of)
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

package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/riverqueue/river"

	"chatbatch/io/ledger"
	"chatbatch/jobs"
)

const (
	// deafTime is how long, beyond the time of one call, a host goes on without a single
	// answer while others get theirs.
	deafTime = 5 * time.Second

	// restTime is how long such a host takes nothing from the queue: others are to get
	// what it has given back.
	restTime = 30 * time.Second
)

// errDeaf says that it is this host whose network, or whatever is between, is at fault. The
// run must neither be stopped for that, nor may its rows fail.
var errDeaf = errors.New("the server answers other hosts, and not this one: check its network")

// A hearing finds out whether it is this host alone that the server does not answer. It is
// not safe for concurrent use.
type hearing struct {
	most   time.Duration // without an answer
	looked bool
	others int64 // rows that others had settled when there was the last answer
}

// deaf is told how the run stands, and what this host did of it before that was asked.
func (h *hearing) deaf(s ledger.Standing, r jobs.Reading) bool {
	others := s.Books.Succeeded + s.Books.Failed - r.Succeeded - r.Failed
	if r.Silent <= lookEvery || !h.looked {
		h.others, h.looked = others, true
		return false
	}
	return r.Silent > h.most && others > h.others
}

// queues are those from which a host takes the jobs of an app.
func (s *Service) queues() map[string]river.QueueConfig {
	return map[string]river.QueueConfig{
		s.App.queue(Calls):  {MaxWorkers: s.Workers},
		s.App.queue(Rows):   {MaxWorkers: min(rowChunks, s.Workers)},
		s.App.queue(Groups): {MaxWorkers: min(groupChunks, s.Workers)},
	}
}

// tire begins a rest of a service, if there is none yet.
func (w *Worker) tire(s *Service) (began bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	began = !s.resting && !w.stopping
	s.resting = s.resting || began
	return began
}

// rest takes nothing from the queues of a service for a while.
func (w *Worker) rest(ctx context.Context, s *Service) {
	for name := range s.queues() {
		for ctx.Err() == nil && w.leaveQueue(ctx, s, name) != nil {
			s.Log.Debug("the queue cannot be left yet") // the database may be away, too
		}
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(restTime):
	}
	w.mu.Lock()
	s.resting = false
	w.mu.Unlock()
	for name, q := range s.queues() {
		if err := w.client.Queues().Add(name, q); err != nil {
			s.Log.Warn("go on with the queue: " + err.Error()) // it cannot be
		}
	}
}

func (w *Worker) leaveQueue(ctx context.Context, s *Service, name string) error {
	ctx, cancel := context.WithTimeout(ctx, s.Grace+closeTime)
	defer cancel()
	err := w.client.Queues().Remove(ctx, name)
	if _, gone := errors.AsType[*river.QueueNotFoundError](err); gone {
		return nil
	}
	return err
}

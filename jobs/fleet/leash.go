package fleet

import (
	"context"
	"errors"
	"time"

	"chatbatch/jobs"
)

const (
	// sendTime is how long a host goes on to send after the database has last heard of
	// it. Its signs of life are a second apart.
	sendTime = 8 * time.Second

	// leaseMargin is between the end of the last call that may have left then and the
	// end of the host's lease.
	leaseMargin = 2 * time.Second

	leashPoll = 100 * time.Millisecond
)

// errLost says that the database takes this host for dead.
var errLost = errors.New("the database has not heard of this host for too long: its chunks are others' now")

// leashed gives no turn while the database does not hear of this host: others may take its
// chunks over then.
type leashed struct {
	jobs.Limiter
	heard func() (ago time.Duration, lost bool)
}

func (l leashed) free() bool {
	ago, lost := l.heard()
	return ago < sendTime && !lost
}

// Take waits until the host is heard of.
func (l leashed) Take(ctx context.Context, api string) (done func(time.Duration, bool), late func() bool, err error) {
	return l.take(ctx, api, l.Limiter.Take)
}

// TakeAhead is Take for a call that goes before others.
func (l leashed) TakeAhead(ctx context.Context, api string) (done func(time.Duration, bool), late func() bool, err error) {
	return l.take(ctx, api, l.Limiter.TakeAhead)
}

type take func(ctx context.Context, api string) (func(time.Duration, bool), func() bool, error)

func (l leashed) take(ctx context.Context, api string, of take) (func(time.Duration, bool), func() bool, error) {
	for !l.free() {
		if _, lost := l.heard(); lost {
			return nil, nil, errLost
		}
		select {
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-time.After(leashPoll):
		}
	}
	done, late, err := of(ctx, api)
	if err != nil {
		return nil, nil, err
	}
	return done, func() bool { return late() || !l.free() }, nil
}

// Package fleet lets many hosts work on one run: the plan, the outcomes and the queue of
// its chunks are in one PostgreSQL database, and no host keeps anything that the others
// would miss.
//
// The queue is River's. A job of it is a chunk, and says no more than its run and number;
// what the chunk asks, who has it in hand and what became of it is in the ledger. So a job
// may come twice, or too late: the ledger knows better. [Release] gives a planned run to
// the hosts, a [Worker] is one of them.
//
// A worker sends nothing by itself. For each run it has one [jobs.Runner], to which it
// deals the chunks that the queue hands to this host: one door to the API, wherever a run
// is worked on. The outcomes of a chunk and the completion of its job are one transaction.
//
// A chunk is sent by one host at a time. A host holds what it has in hand by a lease in the
// database; it sends no call when it has not been able to renew that for a while, and the
// lease ends so much later that such a call has ended, too. What a host had in hand that
// is no more is taken over by the next one to which the queue gives it; the chunks that
// had been sent then count as replayed.
package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"chatbatch/io/ledger"
)

// chunkArgs are all that a job says.
type chunkArgs struct {
	Run   string `json:"run"`
	Chunk int64  `json:"chunk"`
}

// Kind names the jobs in River's table.
func (chunkArgs) Kind() string { return "chatbatch_chunk" }

// An App is what a worker must have credentials for to take a run: an app of an endpoint.
type App struct {
	SDKAppID int64
	Endpoint string
}

// Sort says what the chunks of a run are. Each sort has a queue of its own: of what takes
// long, or much memory, a host takes less at a time; and a host of a version that does not
// know a sort takes none of it.
type Sort string

// The sorts of chunks.
const (
	Calls  Sort = ""        // a chunk is a call or some
	Rows   Sort = "-rows"   // each row is a call
	Groups Sort = "-groups" // of which all members are fetched
)

// name is how the app is called in the database.
func (a App) name() string {
	sum := sha256.Sum256([]byte(a.Endpoint))
	return fmt.Sprintf("chatbatch-%d-%s", a.SDKAppID, hex.EncodeToString(sum[:4]))
}

func (a App) queue(s Sort) string { return a.name() + string(s) }

// Migrate makes the tables of the queue, or brings them up to date; changed is false if
// there was nothing to do. It may be repeated.
func Migrate(ctx context.Context, store *ledger.Postgres) (changed bool, err error) {
	m, free, err := migrator(ctx, store)
	if err != nil {
		return false, err
	}
	defer free()
	res, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil)
	if err != nil {
		// Two at once: whoever comes second finds that the other has done it.
		if again, err2 := m.Validate(ctx, nil); err2 == nil && again.OK {
			return false, nil
		}
		return false, fmt.Errorf("migrate the queue: %w", store.Explain(ctx, err))
	}
	return len(res.Versions) > 0, nil
}

// Check says whether the tables of the queue are there.
func Check(ctx context.Context, store *ledger.Postgres) error {
	m, free, err := migrator(ctx, store)
	if err != nil {
		return err
	}
	defer free()
	res, err := m.Validate(ctx, nil)
	switch {
	case err != nil:
		return fmt.Errorf("open the queue: %w", store.Explain(ctx, err))
	case !res.OK:
		return fmt.Errorf("open the queue: %s: %w", store, ledger.ErrNotMigrated)
	}
	return nil
}

func migrator(ctx context.Context, store *ledger.Postgres) (m *rivermigrate.Migrator[pgx.Tx], free func(), err error) {
	pool, err := store.NewPool(ctx, 2)
	if err != nil {
		return nil, nil, err
	}
	m, err = rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	return m, pool.Close, nil
}

// Release gives a planned run to the hosts that work for its app, one job for each chunk
// that is not settled. The caller holds the lock of the run's key. released is false if the
// hosts have it already. It is all or nothing, however many chunks there are.
func Release(ctx context.Context, store *ledger.Postgres, m ledger.Meta, s Sort, o ledger.Orders) (released bool, err error) {
	client, err := river.NewClient(riverpgxv5.New(nil), &river.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return false, fmt.Errorf("open the queue: %w", err)
	}
	app := App{m.SDKAppID, m.Endpoint}
	o.App = app.name()
	opts := &river.InsertOpts{Queue: app.queue(s), MaxAttempts: math.MaxInt16}
	return store.Release(ctx, m, o, func(ctx context.Context, tx pgx.Tx, open []int64) error {
		batch := make([]river.InsertManyParams, len(open))
		for i, chunk := range open {
			batch[i] = river.InsertManyParams{Args: chunkArgs{m.Run, chunk}, InsertOpts: opts}
		}
		_, err := client.InsertManyFastTx(ctx, tx, batch)
		return err
	})
}

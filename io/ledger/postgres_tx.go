package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// errDone ends an attempt whose work an earlier one turns out to have done.
var errDone = errors.New("done before")

// settingsSQL begins every transaction. Where somebody has set synchronous_commit to
// off, a crash of the server would forget what it has promised. A transaction whose client
// has died must not keep its locks. And the plans are known, all by index: tables that
// were filled a moment ago have no statistics yet to find them by.
const settingsSQL = `SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'local'
		ELSE current_setting('synchronous_commit') END, true),
	set_config('idle_in_transaction_session_timeout', '10s', true),
	set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
	set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true)`

const beginSQL = `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE`

// fenceSQL takes the lock of a key for the length of the transaction, if it is still
// ours, and notes the number of this commit. It returns the number of the last one.
const fenceSQL = `WITH was AS (SELECT commits FROM chatbatch_lock WHERE key = $1 AND holder = $2 FOR UPDATE)
	UPDATE chatbatch_lock l SET commits = $3, until = clock_timestamp() + $4 * interval '1 microsecond'
	FROM was WHERE l.key = $1 AND l.holder = $2 RETURNING was.commits`

// durably does something in a transaction that only the holder of a lock may do. It is
// done once: when the connection is lost nobody knows whether the server has still
// committed, so the transaction leaves its number beside the lock, and who tries again
// looks there first. A database that is away is waited for.
func (p *Postgres) durably(ctx context.Context, by *lease, limit time.Duration, do func(ctx context.Context, tx *pgTx) error) error {
	by.order.Lock()
	defer by.order.Unlock()
	by.commits++ // also if it fails: nobody must take the next one for this one
	number := by.commits
	since := time.Now()
	for try := 0; ; try++ {
		err := p.attempt(ctx, by, number, limit, do)
		if err == nil || errors.Is(err, errDone) {
			p.tell(false)
			return nil
		}
		if !p.wait(ctx, err, since, try) {
			return p.explain(ctx, err)
		}
	}
}

func (p *Postgres) attempt(ctx context.Context, by *lease, number int64, limit time.Duration, do func(ctx context.Context, tx *pgTx) error) error {
	ctx, cancel := p.limited(ctx, limit)
	defer cancel()
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release() // one that is not idle again is closed by that
	tx := &pgTx{conn: conn.Conn(), by: by, number: number}
	if err := do(ctx, tx); err != nil {
		return err
	}
	return tx.end(ctx)
}

// pgTx is a transaction. What is queued goes to the server in one piece: the beginning
// with the first question, the end with the last statements.
type pgTx struct {
	conn   *pgx.Conn
	by     *lease
	number int64
	begun  bool
	last   pgx.Batch
}

// begin begins, and puts questions. Their answers come in that order.
func (t *pgTx) begin(ctx context.Context, ask func(q *pgx.Batch)) error {
	var q pgx.Batch
	q.Queue(beginSQL)
	q.Queue(settingsSQL)
	var was int64 = -1
	q.Queue(fenceSQL, t.by.key, t.by.holder, t.number, t.by.length.Microseconds()).QueryRow(func(row pgx.Row) error {
		err := row.Scan(&was)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	if ask != nil {
		ask(&q)
	}
	t.begun = true
	err := t.conn.SendBatch(ctx, &q).Close()
	switch {
	case was == t.number: // whatever the questions, put once more, have come to
		return errDone
	case err != nil:
		return err
	case was >= 0:
		return nil
	}
	t.by.lose()
	return ours{errLeaseLost}
}

// end sends what is queued, and commits.
func (t *pgTx) end(ctx context.Context) error {
	t.last.Queue("COMMIT")
	return t.conn.SendBatch(ctx, &t.last).Close()
}

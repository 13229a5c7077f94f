package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Standing is how a run stands that many hosts work on, as each of them must know it.
type Standing struct {
	State     State
	Why       string // it is in this state, if that is not its end
	Fleet     int64  // how often it was given to the hosts; 0: it is a run of one process
	Known     bool   // the server has accepted a call of it since
	MaxErrors string // failed rows beyond which it is stopped
	Books     Books
	Open      int64 // chunks that are not settled
	Hosts     int64 // that have joined and are alive
	Calls     int64 // as far as they are in the books
}

const standingSQL = `SELECT r.state, r.why, r.fleet, r.known, r.max_errors, r.rows, b.succeeded, b.failed, r.chunks - b.settled, h.hosts, b.calls
	FROM chatbatch_run r
	CROSS JOIN LATERAL (SELECT coalesce(sum(succeeded), 0)::bigint AS succeeded, coalesce(sum(failed), 0)::bigint AS failed,
		coalesce(sum(settled), 0)::bigint AS settled, coalesce(sum(calls), 0)::bigint AS calls FROM chatbatch_books WHERE run = r.no) b
	CROSS JOIN LATERAL (SELECT count(*) AS hosts FROM chatbatch_session s JOIN chatbatch_lock k ON k.key = s.lease WHERE s.run = r.no) h
	WHERE r.run = $1`

// Standing says how a run stands. A database that is away is waited for.
func (p *Postgres) Standing(ctx context.Context, run string) (s Standing, err error) {
	var state string
	var why []byte
	err = p.ask(ctx, func(ctx context.Context) error {
		return p.pool.QueryRow(ctx, standingSQL, run).Scan(&state, &why, &s.Fleet, &s.Known, &s.MaxErrors,
			&s.Books.Rows, &s.Books.Succeeded, &s.Books.Failed, &s.Open, &s.Hosts, &s.Calls)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return s, fmt.Errorf("look at the run: %w: %s in %s", ErrNoRun, run, p.at)
	}
	s.State, s.Why = State(state), string(why)
	s.Books.Unprocessed = s.Books.Rows - s.Books.Succeeded - s.Books.Failed
	return s, p.explain(ctx, err)
}

// Orders are what all hosts are told about a run.
type Orders struct {
	MaxErrors string // failed rows beyond which it is stopped; "": no bound
	Waited    bool   // somebody waits for its end, to make its reports

	Publish Publish // of what it fetches
	App     string  // whose hosts publish it, if they do
}

// Release gives a planned run to the hosts: it is Running from now on, and has orders.
// enqueue is called in the same transaction, with the chunks that are not settled; it
// may be called again when the connection is lost. The caller holds the lock of the
// run's key. It does nothing to a run that the hosts have already; it is ErrFinished for
// one that is finished.
func (p *Postgres) Release(ctx context.Context, m Meta, o Orders, enqueue func(ctx context.Context, tx pgx.Tx, open []int64) error) (released bool, err error) {
	d := &pgRun{p: p, run: m.Run}
	if d.by, err = p.held(m.Key()); err != nil {
		return false, d.fail("release", err)
	}
	err = p.durably(ctx, d.by, longTime, func(ctx context.Context, tx *pgTx) error {
		if err := tx.begin(ctx, nil); err != nil {
			return err
		}
		released, err = d.release(ctx, tx, o, enqueue)
		return err
	})
	return released, d.fail("release", err)
}

func (d *pgRun) release(ctx context.Context, tx *pgTx, o Orders, enqueue func(ctx context.Context, tx pgx.Tx, open []int64) error) (bool, error) {
	var state string
	var fleet int64
	err := tx.conn.QueryRow(ctx, "SELECT no, state, fleet FROM chatbatch_run WHERE run = $1 FOR UPDATE", d.run).Scan(&d.no, &state, &fleet)
	switch {
	case err != nil:
		return false, err
	case State(state) == Planning:
		return false, ours{ErrNotPlanned}
	case State(state) == Finished:
		return false, ours{ErrFinished}
	case State(state) == Running && fleet > 0:
		return false, nil
	}
	for after := int64(0); ; {
		rows, err := tx.conn.Query(ctx, `SELECT chunk FROM chatbatch_progress
			WHERE run = $1 AND chunk > $2 AND settled IS NULL ORDER BY chunk LIMIT $3`, d.no, after, int64(releaseStep))
		if err != nil {
			return false, err
		}
		open, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			return false, err
		}
		if len(open) == 0 {
			break
		}
		if err := enqueue(ctx, tx.lend(), open); err != nil {
			return false, err
		}
		after = open[len(open)-1]
	}
	tx.last.Queue(`UPDATE chatbatch_run SET state = 'running', told = false, fleet = fleet + 1, why = '', max_errors = $2, waited = $3,
		known = false, canary = 0, publish = $4, app = $5, tries = 0, tried = 0, unpublished = '' WHERE no = $1`,
		d.no, o.MaxErrors, o.Waited, string(o.Publish), o.App)
	// What took long must not have cost the lock.
	tx.last.Queue(beatSQL, d.by.key, d.by.holder, d.by.length.Microseconds())
	return true, nil
}

// releaseStep is how many chunks are given to enqueue at a time.
const releaseStep = 5000

// Wait says whether somebody waits for the end of a run, to make its reports.
func (p *Postgres) Wait(ctx context.Context, run string) error {
	return p.exec(ctx, "UPDATE chatbatch_run SET waited = true WHERE run = $1 AND state <> 'finished'", run)
}

// Reported notes that the reports of a finished run of many hosts are made; as
// [Ledger.Reported] does.
func (p *Postgres) Reported(ctx context.Context, run string) error {
	return p.exec(ctx, "UPDATE chatbatch_run SET told = true WHERE run = $1", run)
}

// Halt ends the work of all hosts on a run: it is in state from now on, and why says why.
// fleet is the time for which it was given to them ([Standing].Fleet) that this is about: what
// was found out then says nothing of a later one, which has other orders; 0 is any. changed
// is false if they are not at work on it.
func (p *Postgres) Halt(ctx context.Context, run string, fleet int64, state State, why string) (changed bool, err error) {
	err = p.ask(ctx, func(ctx context.Context) error {
		done, err := p.pool.Exec(ctx, `UPDATE chatbatch_run SET state = $3, why = $4, told = false
			WHERE run = $1 AND state = 'running' AND fleet > 0 AND $2::bigint IN (0, fleet)`, run, fleet, string(state), []byte(why))
		changed = done.RowsAffected() > 0
		return err
	})
	return changed, p.explain(ctx, err)
}

// Cancel is Halt for good: the command of the run begins a new one from then on. It also
// cancels a run that waits.
func (p *Postgres) Cancel(ctx context.Context, run string) (changed bool, err error) {
	err = p.ask(ctx, func(ctx context.Context) error {
		done, err := p.pool.Exec(ctx, `UPDATE chatbatch_run SET state = 'cancelled', why = 'it was cancelled', told = false
			WHERE run = $1 AND fleet > 0 AND state NOT IN ('finished', 'planning', 'cancelled')`, run)
		changed = done.RowsAffected() > 0
		return err
	})
	return changed, p.explain(ctx, err)
}

// Finish finishes a run of many hosts, "" is all of them, if every chunk of it is settled.
func (p *Postgres) Finish(ctx context.Context, run string) error {
	return p.exec(ctx, `UPDATE chatbatch_run r SET state = 'finished', told = NOT waited
		WHERE ($1 = '' OR run = $1) AND state = 'running' AND fleet > 0
			AND chunks = (SELECT coalesce(sum(settled), 0) FROM chatbatch_books WHERE run = r.no)`, run)
}

// Introduce says whether the server is known to accept calls of the run, and, if not,
// whether this session is the one to find that out. Then it tells by Introduced.
func (p *Postgres) Introduce(ctx context.Context, run string, session int64) (first, known bool, err error) {
	err = p.ask(ctx, func(ctx context.Context) error {
		err := p.pool.QueryRow(ctx, `UPDATE chatbatch_run r SET canary = $2
			WHERE run = $1 AND NOT known AND (canary = $2 OR NOT EXISTS (SELECT 1 FROM chatbatch_session s
				JOIN chatbatch_lock k ON k.key = s.lease WHERE s.run = r.no AND s.id = r.canary)) RETURNING true`, run, session).Scan(&first)
		if errors.Is(err, pgx.ErrNoRows) {
			return p.pool.QueryRow(ctx, "SELECT known FROM chatbatch_run WHERE run = $1", run).Scan(&known)
		}
		return err
	})
	return first, known, p.explain(ctx, err)
}

// Introduced notes that the server has accepted a call of the run since it was given to the
// hosts for that time; see [Postgres.Halt].
func (p *Postgres) Introduced(ctx context.Context, run string, fleet int64) error {
	return p.exec(ctx, "UPDATE chatbatch_run SET known = true WHERE run = $1 AND fleet = $2 AND NOT known", run, fleet)
}

// Bury removes the locks of those who had joined a run and have not been heard of for too
// long: what they had in hand is free from then on, and they can commit nothing more.
func (p *Postgres) Bury(ctx context.Context) error {
	return p.exec(ctx, `DELETE FROM chatbatch_lock WHERE key IN (SELECT key FROM chatbatch_lock
		WHERE key LIKE $1 AND until < clock_timestamp() FOR UPDATE SKIP LOCKED)`, joinPrefix+"%")
}

// ClockAhead is how far the clock of this host is ahead of that of the database, at the
// least; behind it is negative. A database that is away is waited for.
func (p *Postgres) ClockAhead(ctx context.Context) (ahead time.Duration, err error) {
	err = p.ask(ctx, func(ctx context.Context) error {
		var there time.Time
		before := time.Now()
		err := p.pool.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&there)
		after := before.Add(since(before)) // a host that was suspended meanwhile is not behind
		ahead = max(before.Sub(there), 0) + min(after.Sub(there), 0)
		return err
	})
	return ahead, p.explain(ctx, err)
}

// exec executes a statement that may be repeated. A database that is away is waited for.
func (p *Postgres) exec(ctx context.Context, statement string, args ...any) error {
	return p.explain(ctx, p.ask(ctx, func(ctx context.Context) error {
		_, err := p.pool.Exec(ctx, statement, args...)
		return err
	}))
}

// NewPool makes a pool of connections to the same database, for others. Its owner closes
// it.
func (p *Postgres) NewPool(ctx context.Context, most int32) (*pgxpool.Pool, error) {
	pool, err := newPool(ctx, p.url, p.params, most)
	if err != nil {
		return nil, p.at.Say("the connection string cannot be used") // what pgx says may quote it
	}
	return pool, nil
}

// Explain puts an error of the database into words that hold no password.
func (p *Postgres) Explain(ctx context.Context, err error) error { return p.explain(ctx, err) }

// Passes says whether an error of the database may be gone after a while.
func (p *Postgres) Passes(ctx context.Context, err error) bool { return p.passes(ctx, err) }

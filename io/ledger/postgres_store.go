package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Create makes the ledger of a new run m.Run, for planning. The caller holds the lock
// of its key.
func (p *Postgres) Create(ctx context.Context, m Meta) (*Ledger, error) {
	d := &pgRun{p: p, run: m.Run}
	text, err := json.Marshal(m)
	if err == nil && !plainName.MatchString(m.Run) {
		err = fmt.Errorf("%w: %q is not the name of a run", ErrNoRun, m.Run)
	}
	if err == nil {
		d.by, err = p.held(m.Key())
	}
	if err == nil {
		err = p.durably(ctx, d.by, askTime, func(ctx context.Context, tx *pgTx) error {
			return tx.begin(ctx, func(q *pgx.Batch) {
				q.Queue(`INSERT INTO chatbatch_run (run, key, meta, sum, state) VALUES ($1, $2, $3, $4, 'planning') RETURNING no`,
					m.Run, m.Key(), text, int64(checksum(text, ""))).QueryRow(func(row pgx.Row) error { return row.Scan(&d.no) })
			})
		})
	}
	if err != nil {
		return nil, d.fail("create", err)
	}
	l := newLedger(ctx, d, m)
	l.plan.to = &pgPlan{d: d}
	return l, nil
}

// takeHand gives d a number that no other who works on the run has or had.
func (d *pgRun) takeHand(ctx context.Context) error {
	return d.p.durably(ctx, d.by, askTime, func(ctx context.Context, tx *pgTx) error {
		var hand int64
		err := tx.begin(ctx, func(q *pgx.Batch) {
			q.Queue(`UPDATE chatbatch_run SET hands = hands + 1 WHERE no = $1 RETURNING hands`, d.no).
				QueryRow(func(row pgx.Row) error { return row.Scan(&hand) })
		})
		if err == nil { // not one that is told, and not taken, when an earlier try turns out to have been made
			d.hand = hand
		}
		return err
	})
}

// Open opens the ledger of a planned run to go on with it. The caller holds the lock of
// its key.
func (p *Postgres) Open(ctx context.Context, run string) (*Ledger, error) {
	l, err := p.OpenRead(ctx, run)
	if err != nil {
		return nil, err
	}
	d := l.disk.(*pgRun)
	var fleet int64
	if d.by, err = p.held(l.meta.Key()); err == nil && l.state == Planning {
		err = ErrNotPlanned
	}
	if err == nil {
		err = p.ask(ctx, func(ctx context.Context) error {
			return p.readers.QueryRow(ctx, "SELECT fleet FROM chatbatch_run WHERE no = $1", d.no).Scan(&fleet)
		})
	}
	switch {
	case err != nil || fleet == 0:
	case l.state == Running:
		err = fmt.Errorf("%w: hosts are at work on it", ErrLocked)
	default: // jobs of it may be in their queue
		err = fmt.Errorf("%w: chatbatch resume %s gives it to them again, and --fresh begins another", ErrShared, run)
	}
	if err == nil {
		err = d.takeHand(ctx)
	}
	if err != nil {
		return nil, d.fail("open", err)
	}
	l.readOnly = false
	l.startWriter()
	return l, nil
}

// OpenRead opens the ledger of a run for reading, also while another process, on any
// host, works on it. A run that is being planned can be opened, but has no rows yet.
func (p *Postgres) OpenRead(ctx context.Context, run string) (*Ledger, error) {
	d := &pgRun{p: p, run: run}
	l := &Ledger{disk: d, base: context.WithoutCancel(ctx), readOnly: true}
	var text []byte
	var sum int64
	var state string
	var dropped bool
	err := p.ask(ctx, func(ctx context.Context) error {
		return p.readers.QueryRow(ctx, "SELECT no, meta, sum, state, "+reportedSQL+", dropped FROM chatbatch_run r WHERE run = $1", run).
			Scan(&d.no, &text, &sum, &state, &l.told, &dropped)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("open: %w: %s in %s", ErrNoRun, run, p.at)
	}
	if err != nil {
		return nil, d.fail("open", p.explain(ctx, err))
	}
	d.dropped.Store(dropped)
	l.state = State(state)
	if l.meta, err = metaOf(text, uint32(sum)); err == nil && l.meta.Run != run {
		err = fmt.Errorf("it is that of run %s", l.meta.Run)
	}
	if err == nil {
		err = checkState(l.state)
	}
	if err != nil {
		return nil, d.fail("open", fmt.Errorf("%w: %w", ErrDamaged, err))
	}
	return l, nil
}

// ask waits for a database that is away.
func (p *Postgres) ask(ctx context.Context, read func(ctx context.Context) error) error {
	since := time.Now()
	for try := 0; ; try++ {
		asking, cancel := p.limited(ctx, askTime)
		err := read(asking)
		cancel()
		if err == nil {
			p.tell(false)
		}
		if err == nil || !p.wait(ctx, err, since, try) {
			return err
		}
	}
}

// sumsSQL is what the books and sessions of runs add up to.
const sumsSQL = `r.state, r.rows, b.succeeded, b.failed, r.superseded, b.replayed, b.calls + s.calls, b.retries + s.retries,
	s.refused, r.chunks, r.groups, s.started, s.seen, CASE WHEN r.fleet > 0 THEN s.span ELSE s.seconds END, s.peak
	FROM chatbatch_run r
	CROSS JOIN LATERAL (SELECT coalesce(sum(succeeded), 0)::bigint AS succeeded, coalesce(sum(failed), 0)::bigint AS failed,
		coalesce(sum(replayed), 0)::bigint AS replayed, coalesce(sum(calls), 0)::bigint AS calls,
		coalesce(sum(retries), 0)::bigint AS retries FROM chatbatch_books WHERE run = r.no) b
	CROSS JOIN LATERAL (SELECT min(started) AS started, max(seen) AS seen, coalesce(sum(seconds), 0) AS seconds,
		coalesce(sum(calls), 0)::bigint AS calls, coalesce(sum(retries), 0)::bigint AS retries,
		coalesce(sum(refused), 0)::bigint AS refused, coalesce(max(peak), 0) AS peak,
		coalesce(sum(greatest(0, seen - greatest(started, before))), 0)::double precision / 1000 AS span -- sessions side by side count once
		FROM (SELECT *, coalesce(max(seen) OVER (ORDER BY started, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
			FROM chatbatch_session WHERE run = r.no) AS t) s`

// dest is where sumsSQL goes.
func (s *sums) dest(state *string) []any {
	return []any{
		state, &s.rows, &s.succeeded, &s.failed, &s.superseded, &s.replayed, &s.calls, &s.retries,
		&s.refused, &s.chunks, &s.groups, &s.started, &s.seen, &s.seconds, &s.peak,
	}
}

// List says how each run of the database stands, the newest last.
func (p *Postgres) List(ctx context.Context) (list []Info, err error) {
	err = p.ask(ctx, func(ctx context.Context) error {
		list = nil
		rows, err := p.readers.Query(ctx, "SELECT r.run, r.meta, r.sum, "+reportedSQL+", "+sumsSQL+" ORDER BY r.run")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var i Info
			var text []byte
			var sum int64
			var state string
			var s sums
			if err := rows.Scan(append([]any{&i.Run, &text, &sum, &i.Reported}, s.dest(&state)...)...); err != nil {
				return err
			}
			s.state = State(state)
			if i.Meta, i.Err = metaOf(text, uint32(sum)); i.Err == nil {
				i.Err = checkState(s.state)
			}
			if i.Err != nil {
				d := &pgRun{p: p, run: i.Run}
				i.Err = d.fail("read the run", fmt.Errorf("%w: %w", ErrDamaged, i.Err))
			}
			i.enter(s)
			list = append(list, i)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", p.explain(ctx, err))
	}
	return list, nil
}

// NewRun makes a name for a run of key that begins now, and comes behind all that
// there are of this key. The caller holds the lock of the key.
func (p *Postgres) NewRun(ctx context.Context, key string, now time.Time) string {
	id := NewRunID(now)
	var newest string
	err := p.ask(ctx, func(ctx context.Context) error {
		return p.readers.QueryRow(ctx, `SELECT coalesce(max(run), '') FROM chatbatch_run
			WHERE key = $1 AND run ~ '^[0-9]{8}T[0-9]{6}[.][0-9]{3}Z-[0-9a-f]{6}$'`, key).Scan(&newest)
	})
	if err != nil {
		return id // whoever makes the run finds out
	}
	return behind(id, newest)
}

// Find returns the run that goes on when the command of this key is given again, as
// [Store.Find] does.
func (p *Postgres) Find(ctx context.Context, list []Info, key string) (string, error) {
	keyOf := func(run string) (k string) {
		_ = p.readers.QueryRow(ctx, "SELECT key FROM chatbatch_run WHERE run = $1", run).Scan(&k) // "": it is unknown
		return k
	}
	return find(ctx, list, key, keyOf, p.Remove)
}

// removableSQL also says whether a run is in the hands of hosts, or of one who publishes it.
// Those who have yet to leave a run that was stopped might put something behind it.
const removableSQL = `SELECT no, key, state = 'running' AND fleet > 0 OR ` + heldSQL + ` OR EXISTS (SELECT 1 FROM chatbatch_session s
		JOIN chatbatch_lock k ON k.key = s.lease WHERE s.run = r.no)
	FROM chatbatch_run r WHERE run = $1`

// Remove removes a run with all that it has. The caller holds its lock. It is gone from
// the list at once, or not at all.
func (p *Postgres) Remove(ctx context.Context, run string) error {
	d := &pgRun{p: p, run: run}
	var key string
	var shared bool
	err := p.Bury(ctx)
	if err == nil {
		err = p.ask(ctx, func(ctx context.Context) error {
			return p.readers.QueryRow(ctx, removableSQL, run).Scan(&d.no, &key, &shared)
		})
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("remove run: %w: %s", ErrNoRun, run)
	}
	if err == nil && shared {
		return fmt.Errorf("remove run: %w: hosts are at work on %s, or have yet to leave it; chatbatch cancel %s ends that", ErrLocked, run, run)
	}
	var by *lease
	if err == nil {
		by, err = p.held(key)
	}
	if err == nil {
		err = p.durably(ctx, by, longTime, func(ctx context.Context, tx *pgTx) error {
			err := tx.begin(ctx, nil)
			for _, table := range partTables() {
				tx.last.Queue("DELETE FROM chatbatch_"+table+" WHERE run = $1", d.no)
			}
			tx.last.Queue("DELETE FROM chatbatch_run WHERE no = $1", d.no)
			return err
		})
	}
	return d.fail("remove run", p.explain(ctx, err))
}

// Sweep removes locks that have ended.
func (p *Postgres) Sweep() {
	ctx, cancel := context.WithTimeout(p.base, time.Second)
	defer cancel()
	// They are in nobody's way: who wants one takes it.
	_, _ = p.pool.Exec(ctx, "DELETE FROM chatbatch_lock WHERE until < clock_timestamp() - interval '1 hour'")
}

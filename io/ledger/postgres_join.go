package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Many hosts may work on one run of a database at once: each joins it, with a lock of its
// own beside that of the others, claims the chunks that it is handed, and settles them as
// ever. What it has in hand is nobody else's until its lock has ended; and when that is
// found to have ended, it is removed ([Postgres.Bury]), and whatever that host still
// wants to commit is refused. So a chunk has one owner, and its outcome is that owner's.

// An Also is what must be in the same transaction as a change. It may be called again,
// in another transaction, when the connection is lost.
type Also func(ctx context.Context, tx pgx.Tx) error

// joinPrefix begins the names of the locks of those who have joined a run.
const joinPrefix = "joined-"

// Join opens a run that many work on, and begins a session of this process beside
// theirs. What it has in hand is taken over by others when the database has not heard of
// it for length. Leave and Close end that.
func (p *Postgres) Join(ctx context.Context, run string, length time.Duration) (*Ledger, error) {
	l, err := p.OpenRead(ctx, run)
	if err != nil {
		return nil, err
	}
	if l.state != Running {
		return nil, fmt.Errorf("join: %w: run %s is %s", ErrNotRunning, run, l.state)
	}
	d := l.disk.(*pgRun)
	by := newLease(joinPrefix+newHolder(), length)
	var got bool
	err = p.ask(ctx, func(ctx context.Context) error {
		got, _, err = p.take(ctx, by)
		return err
	})
	if err == nil && !got {
		err = ErrLocked // it cannot be: nobody else knows the key
	}
	if err != nil {
		return nil, d.fail("join", p.explain(ctx, err))
	}
	p.hold(ctx, by)
	d.by, d.own = by, true
	if err = d.takeHand(ctx); err == nil {
		l.readOnly = false
		l.startWriter()
		err = l.change(ctx, "join", need{}, func(b *batch) error {
			last, err := b.from.lastSession()
			if err != nil {
				return b.broke(err)
			}
			b.begun, b.lease = last+1, by.key
			return nil
		})
	}
	if err != nil {
		l.Close()
		by.unlock()
		return nil, d.fail("join", err)
	}
	return l, nil
}

// Leave ends the session of one who has joined, with its figures. The run goes on.
func (l *Ledger) Leave(ctx context.Context, s Session) error {
	return l.change(ctx, "leave", need{}, func(b *batch) error {
		session := l.session.Load()
		if session == 0 || b.ended {
			return fmt.Errorf("run %s was not joined", l.meta.Run)
		}
		b.beat(session, Interrupted, &s)
		b.ended = true
		return nil
	})
}

// SessionID is the number of the session that is under way, 0 if none is.
func (l *Ledger) SessionID() int64 { return l.session.Load() }

// Heard says how long ago this process, which has joined, gave the sign of life that the
// database has heard last: measured from before it was given. lost says that the run is
// taken from it.
func (l *Ledger) Heard() (ago time.Duration, lost bool) {
	d, ok := l.disk.(*pgRun)
	if !ok || d.by == nil {
		return 0, false
	}
	return since(*d.by.alive.Load()), d.by.lost.Load()
}

// since is how long ago that was, by whichever clock of this host says more: the one on
// the wall may have been set back, and the other one stands still while the host is
// suspended.
func since(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

// Claim takes a chunk into this session's hands, and reads it. It is ErrTaken if another
// has it, and ErrSettled if there is nothing left to be done.
func (l *Ledger) Claim(ctx context.Context, chunk int64) (c Chunk, err error) {
	what := need{chunk: chunk, rows: true, asks: true, entries: true}
	err = l.change(ctx, fmt.Sprintf("claim chunk %d", chunk), what, func(b *batch) error {
		r, err := b.chunk(chunk)
		session := l.session.Load()
		switch {
		case err != nil:
			return err
		case r.settled:
			return ErrSettled
		case r.owned && r.owner != session:
			return ErrTaken
		}
		if c, err = l.claimed(r); err == nil && r.owner != session {
			r.owner, r.owned, r.changed = session, true, true
		}
		return err
	})
	return c, err
}

// claimed is the chunk that a record is of.
func (l *Ledger) claimed(r *record) (c Chunk, err error) {
	of := l.owner()
	c = Chunk{ID: r.id, Group: r.group, InDoubt: r.sent != 0 && r.sent != l.session.Load()}
	if c.Entries, err = decodeEntries(r.asks, of.asks(c.ID, r.lo, c.Group), of, r.nums, r.entries); err != nil {
		return c, err
	}
	parts, err := l.readEntries(r.records, c.ID, r.entries)
	c.Settled, c.InDoubt = parts.settled, c.InDoubt || parts.inDoubt
	return c, err
}

// SettleAlso is [Ledger.SettleWith], and does also in the same transaction; only in a
// database.
func (l *Ledger) SettleAlso(ctx context.Context, chunk int64, outcomes []Outcome, note []byte, c Cost, also Also) error {
	s := newSettlement(l.owner(), chunk, outcomes, note, c)
	return l.queue(ctx, &change{
		op: fmt.Sprintf("settle chunk %d", chunk), settle: true, need: s.needs(), apply: s.apply, also: also, done: make(chan error, 1),
	})
}

// lend is the transaction for others, who may neither end it nor begin another in it.
func (t *pgTx) lend() pgx.Tx { return lentTx{conn{t.conn}} }

type conn struct{ *pgx.Conn }

type lentTx struct{ conn }

var errLent = errors.New("the transaction is its owner's to begin and to end")

func (lentTx) Begin(context.Context) (pgx.Tx, error) { return nil, errLent }
func (lentTx) Commit(context.Context) error          { return errLent }
func (lentTx) Rollback(context.Context) error        { return errLent }
func (lentTx) LargeObjects() pgx.LargeObjects        { return pgx.LargeObjects{} }
func (t lentTx) Conn() *pgx.Conn                     { return t.conn.Conn }

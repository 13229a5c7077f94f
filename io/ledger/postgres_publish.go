package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// formFour is for exports over many hosts: what they have fetched is published by one of
// them when the last group is settled. That it is to be is a part of the run's own row, and
// so neither lost nor doubled, whoever has finished the run and whoever dies.
const formFour = `
ALTER TABLE chatbatch_run
	ADD publish     text COLLATE "C" NOT NULL DEFAULT '', -- what becomes of what it has fetched
	ADD app         text COLLATE "C" NOT NULL DEFAULT '', -- whose hosts may do that
	ADD published   bytea NOT NULL DEFAULT '', -- what was published, for people
	ADD place       bytea NOT NULL DEFAULT '', -- where that is
	ADD publisher   text NOT NULL DEFAULT '', -- host that has published it, or was the last to try
	ADD tries       bigint NOT NULL DEFAULT 0, -- that have failed
	ADD tried       bigint NOT NULL DEFAULT 0, -- when the last one did; Unix milliseconds
	ADD unpublished bytea NOT NULL DEFAULT ''; -- why it did
CREATE INDEX chatbatch_run_publish ON chatbatch_run (app, run) WHERE state = 'finished' AND publish IN ('hosts', 'published');
`

// Publish says what becomes of what a run of many hosts has fetched.
type Publish string

// A run that fetches nothing has no Publish.
const (
	PublishByCommand Publish = "command"   // who waits for the run's end publishes it
	PublishByHosts   Publish = "hosts"     // a host of its app does
	PublishRemoving  Publish = "published" // it is published, and removed from the database just now
	PublishDone      Publish = "done"      // it is published, and nowhere else
)

// Over says that there is nothing to publish, or not any more.
func (p Publish) Over() bool { return p == "" || p == PublishRemoving || p == PublishDone }

// reportedSQL says whether a run is done with all that was to be written. A host of an
// older version knows nothing of exports when it finishes a run.
const reportedSQL = `r.told AND r.publish NOT IN ('command', 'hosts')`

// A Publication is how the publication of a run stands.
type Publication struct {
	Publish Publish
	Ended   bool // the run is finished: it can be published
	Held    bool // somebody does it just now

	// Of what was published:
	Text  string // for people
	Place string // a file, "-" for the output of a command, or an object
	Host  string // that did it, or was the last to try

	Tries int64     // that have failed
	Tried time.Time // when the last one did
	Why   string
}

// publishPrefix begins the names of the locks of those who publish a run.
const publishPrefix = "publish-"

const heldSQL = `EXISTS (SELECT 1 FROM chatbatch_lock WHERE key = '` + publishPrefix + `' || r.run AND until > clock_timestamp())`

// Publication says how the publication of a run stands. A database that is away is
// waited for.
func (p *Postgres) Publication(ctx context.Context, run string) (s Publication, err error) {
	var publish string
	var text, place, why []byte
	var tried int64
	err = p.ask(ctx, func(ctx context.Context) error {
		return p.pool.QueryRow(ctx, `SELECT publish, state = 'finished', `+heldSQL+`, published, place, publisher, tries, tried, unpublished
			FROM chatbatch_run r WHERE run = $1`, run).
			Scan(&publish, &s.Ended, &s.Held, &text, &place, &s.Host, &s.Tries, &tried, &why)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return s, fmt.Errorf("look at the publication: %w: %s in %s", ErrNoRun, run, p.at)
	}
	s.Publish, s.Text, s.Place, s.Why = Publish(publish), string(text), string(place), string(why)
	if tried > 0 {
		s.Tried = time.UnixMilli(tried).UTC()
	}
	return s, p.explain(ctx, err)
}

// Unpublished are the finished runs of an app that its hosts are to publish and nobody does
// just now, the oldest first; given says how often each was given to the hosts: a failure
// before the last time says nothing any more. What was published of others, and is still in
// the database because somebody has died, is removed.
func (p *Postgres) Unpublished(ctx context.Context, app string) (runs []string, given map[string]int64, err error) {
	var rest []string
	err = p.ask(ctx, func(ctx context.Context) error {
		runs, given, rest = nil, map[string]int64{}, nil
		rows, err := p.pool.Query(ctx, `SELECT run, publish = 'published', fleet FROM chatbatch_run r
			WHERE app = $1 AND state = 'finished' AND publish IN ('hosts', 'published') AND NOT `+heldSQL+` ORDER BY run`, app)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var run string
			var done bool
			var times int64
			if err := rows.Scan(&run, &done, &times); err != nil {
				return err
			}
			if done {
				rest = append(rest, run)
			} else {
				runs, given[run] = append(runs, run), times
			}
		}
		return rows.Err()
	})
	for _, run := range rest {
		err = errors.Join(err, p.removeKept(ctx, run))
	}
	return runs, given, p.explain(ctx, err)
}

// NewerAt is a run that comes after another one and is published in a place; "" if there is
// none. What came later is not to be replaced by what came before.
func (p *Postgres) NewerAt(ctx context.Context, run, place string) (newer string, err error) {
	err = p.ask(ctx, func(ctx context.Context) error {
		return p.pool.QueryRow(ctx, `SELECT coalesce(max(run), '') FROM chatbatch_run
			WHERE run > $1 AND place = $2 AND publish IN ('published', 'done')`, run, []byte(place)).Scan(&newer)
	})
	return newer, p.explain(ctx, err)
}

// PublishBy changes who publishes a run that is not published yet. Failures before that
// are forgotten: if it is finished it is given to the hosts anew, and those that had left it
// to others try again.
func (p *Postgres) PublishBy(ctx context.Context, run string, by Publish) error {
	return p.exec(ctx, `UPDATE chatbatch_run SET publish = $2, fleet = fleet + CASE state WHEN 'finished' THEN 1 ELSE 0 END, tries = 0, tried = 0, unpublished = ''
		WHERE run = $1 AND publish IN ('command', 'hosts')`, run, string(by))
}

// A Publishing is the right to publish what a run has fetched. One has it at a time; it
// ends by itself when its holder dies.
type Publishing struct {
	p       *Postgres
	run     string
	by      *lease
	release func()
}

// TakePublishing takes the right to publish what a finished run has fetched. It is
// ErrLocked if somebody else has it, unless that is waited for, and ErrDropped if the run
// is published. End gives it back.
func (p *Postgres) TakePublishing(ctx context.Context, run string, wait bool) (*Publishing, error) {
	unlock, err := p.Lock(ctx, publishPrefix+run, wait)
	if err != nil {
		return nil, err
	}
	b := &Publishing{p: p, run: run, release: unlock}
	at, err := p.Publication(ctx, run)
	switch {
	case err != nil:
	case !at.Ended:
		err = fmt.Errorf("publish run %s: it is not finished", run)
	case at.Publish.Over():
		err = fmt.Errorf("publish run %s: %w", run, ErrDropped)
	default:
		b.by, err = p.held(publishPrefix + run)
	}
	if err != nil {
		unlock()
		return nil, err
	}
	return b, nil
}

// End gives the right back.
func (b *Publishing) End() { b.release() }

// Held is ctx for as long as the right is sure to be this process's. Who has not heard of
// the database for too long is not to go on: another may have begun. stop ends the watch.
func (b *Publishing) Held(ctx context.Context) (held context.Context, stop func()) {
	held, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(leasePoll)
		defer t.Stop()
		for {
			select {
			case <-held.Done():
				return
			case <-t.C:
				if b.by.lost.Load() || since(*b.by.alive.Load()) > leaseTime-2*leasePoll {
					cancel(fmt.Errorf("publish run %s: %w", b.run, errPublishingLost))
					return
				}
			}
		}
	}()
	return held, func() {
		cancel(nil)
		<-ended
	}
}

// errPublishingLost says that somebody else may publish now.
var errPublishingLost = fmt.Errorf("%w: it was not heard of for too long, and another may publish this now", ErrUnreachable)

// Done notes what was published and where, and then removes what was fetched.
func (b *Publishing) Done(ctx context.Context, text, place string) error {
	err := b.p.durably(ctx, b.by, askTime, func(ctx context.Context, tx *pgTx) error {
		if err := tx.begin(ctx, nil); err != nil {
			return err
		}
		tx.last.Queue(`UPDATE chatbatch_run SET publish = 'published', dropped = true, published = $2, place = $3, publisher = $4, unpublished = ''
			WHERE run = $1 AND publish IN ('command', 'hosts')`, b.run, []byte(text), []byte(place), b.p.host)
		return nil
	})
	if err != nil {
		return fmt.Errorf("note the publication of run %s: %w", b.run, err)
	}
	return b.p.removeKept(ctx, b.run)
}

// Failed notes why it could not be published here.
func (b *Publishing) Failed(ctx context.Context, why string) error {
	return b.p.exec(ctx, `UPDATE chatbatch_run SET tries = tries + 1, tried = $2, publisher = $3, unpublished = $4
		WHERE run = $1 AND publish IN ('command', 'hosts')`, b.run, time.Now().UnixMilli(), b.p.host, []byte(why))
}

// removeKeptSQL removes pieces of a published run, found by an index whatever the planner
// thinks of the run. Those that another is removing it passes over.
const removeKeptSQL = `DELETE FROM chatbatch_kept WHERE run = (SELECT no FROM chatbatch_run WHERE run = $1)
	AND id = ANY(ARRAY(SELECT id FROM chatbatch_kept WHERE run = (SELECT no FROM chatbatch_run WHERE run = $1 AND publish = 'published')
		ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED))`

// removeKept removes what a published run has fetched, a little at a time. It does not
// matter who does it, nor how many at once: whoever finds that nothing is left says so.
func (p *Postgres) removeKept(ctx context.Context, run string) error {
	for more := true; more; {
		err := p.ask(ctx, func(ctx context.Context) error {
			done, err := p.pool.Exec(ctx, removeKeptSQL, run, int64(dropStep))
			more = done.RowsAffected() > 0
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: run %s: %w", opDrop, run, p.explain(ctx, err))
		}
	}
	return p.exec(ctx, `UPDATE chatbatch_run r SET publish = 'done' WHERE run = $1 AND publish = 'published'
		AND NOT EXISTS (SELECT 1 FROM chatbatch_kept WHERE run = r.no)`, run)
}

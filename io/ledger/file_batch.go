package ledger

import (
	"context"
	"database/sql"
	"slices"
	"time"
)

// commit makes changes durable in one transaction. After an error nobody knows what
// the disk has, and no other may follow.
func (f *file) commit(ctx context.Context, l *Ledger, changes []*change, errs []error) (*batch, error) {
	t := &fileTx{ctx: ctx, f: f}
	t.syncKept(changes)
	t.exec("BEGIN IMMEDIATE")
	if t.err != nil {
		return nil, t.undone()
	}
	b := l.apply(t, changes, errs)
	if t.err = b.err; t.err == nil {
		t.save(b)
	}
	t.exec("COMMIT")
	if t.err != nil {
		return nil, t.undone()
	}
	f.commits++
	return b, f.seq.write(f.commits)
}

// fileTx is one transaction on a file.
type fileTx struct {
	ctx  context.Context
	f    *file
	err  error // the first of SQLite
	kept int64 // bytes of the file of fetched data that count now; 0: as before
}

func (t *fileTx) undone() error {
	_, _ = t.f.conn.ExecContext(t.ctx, "ROLLBACK")
	return t.err
}

// syncKept brings to disk what was kept before these changes: their callers had
// kept it when they queued. One sync serves all of them.
func (t *fileTx) syncKept(changes []*change) {
	if !slices.ContainsFunc(changes, func(c *change) bool { return c.settle }) {
		return
	}
	var err error
	t.kept, err = t.f.kept.sync()
	t.err = fileError(t.f.keptPath(), "sync", err)
}

// record reads what a change needs of a chunk.
func (t *fileTx) record(n need, have *record) (*record, error) {
	r := have
	if r == nil {
		r = &record{id: n.chunk}
		found := t.row(`SELECT c.entries, p.chunk IS NOT NULL, coalesce(p.sent, 0), coalesce(p.doubt, 0), coalesce(p.replays, 0),
			coalesce(p.calls, 0), coalesce(p.retries, 0), p.outcomes IS NOT NULL
			FROM chunk c LEFT JOIN progress p ON p.chunk = c.id WHERE c.id = ?`, []any{n.chunk},
			&r.entries, &r.known, &r.sent, &r.doubt, &r.replays, &r.calls, &r.retries, &r.settled)
		if !found {
			return nil, t.err
		}
	}
	if n.rows && r.nums == nil {
		t.row("SELECT nums FROM chunk WHERE id = ?", []any{n.chunk}, &r.nums)
	}
	switch {
	case n.entries && !r.allParts:
		t.parts(r, selectEntries, n.chunk)
		r.allParts = true
	case n.entry && !r.has(n):
		t.parts(r, selectEntries+" AND place = ?", n.chunk, n.place)
		r.part(n.place)
	}
	return r, t.err
}

// parts reads records of entries that are not known yet.
func (t *fileTx) parts(r *record, query string, args ...any) {
	rows := t.query(query, args...)
	if rows == nil {
		return
	}
	for e, err := range scanEntries(rows) {
		if err != nil {
			t.err = err
			return
		}
		if r.parts[e.place] == nil {
			p := &part{entryRow: *e, known: true}
			p.outcome = slices.Clone(e.outcome)
			r.put(p)
		}
	}
}

func (t *fileTx) lastSession() (int64, error) {
	var last sql.NullInt64
	t.row("SELECT max(id) FROM session", nil, &last)
	return last.Int64, t.err
}

func (t *fileTx) openChunks() (int64, error) {
	var open int64
	t.row("SELECT chunks - settled FROM books", nil, &open)
	return open, t.err
}

// save writes what a batch has come to.
func (t *fileTx) save(b *batch) {
	for _, r := range b.records {
		t.saveRecord(r)
	}
	d := b.books
	t.exec(`UPDATE books SET succeeded = succeeded + ?, failed = failed + ?, settled = settled + ?,
		replayed = replayed + ?, calls = calls + ?, retries = retries + ?, commits = commits + 1`,
		d.succeeded, d.failed, d.settled, d.replayed, d.calls, d.retries)
	for k, v := range b.tally {
		t.exec(`INSERT INTO tally (class, code, rows, example, error) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET rows = rows + excluded.rows`, k.class, k.code, v.rows, v.example, v.error)
	}
	if b.dropped {
		t.exec("UPDATE books SET kept = -1")
	} else if t.kept > 0 {
		t.exec("UPDATE books SET kept = ? WHERE kept >= 0", t.kept)
	}
	const more = "budget = 0 OR excluded.budget > 0 AND excluded.budget - excluded.lanes > budget - lanes" // are missing
	for _, s := range b.pace {
		t.exec(`INSERT INTO pace (second, calls, retries, refused, lanes, budget) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET calls = calls + excluded.calls, retries = retries + excluded.retries,
				refused = refused + excluded.refused,
				lanes = CASE WHEN `+more+` THEN excluded.lanes ELSE lanes END,
				budget = CASE WHEN `+more+` THEN excluded.budget ELSE budget END`,
			s.Unix, s.Calls, s.Retries, s.Refused, s.Lanes, s.Budget)
	}
	t.saveWindows(b)
	t.saveStanding(b)
}

func (t *fileTx) saveWindows(b *batch) {
	for _, w := range b.windows {
		if w.histogram != "" {
			t.exec("INSERT INTO latency (second, seconds, answers, histogram) VALUES (?, ?, ?, ?)", w.second, w.seconds, w.answers, w.histogram)
		}
		for class, rows := range w.failed {
			t.exec(`INSERT INTO failing (second, class, rows) VALUES (?, ?, ?)
				ON CONFLICT DO UPDATE SET rows = rows + excluded.rows`, w.second, class, rows)
		}
	}
	if b.latency != "" {
		t.exec("UPDATE session SET latency = ? WHERE id = ?", b.latency, b.l.session.Load())
	}
}

// saveStanding writes how the run stands now.
func (t *fileTx) saveStanding(b *batch) {
	now := time.Now().UnixMilli()
	if b.begun != 0 {
		t.exec("INSERT INTO session (id, started, seen, state) VALUES (?, ?, ?, 'running')", b.begun, now, now)
	}
	for _, s := range b.beats {
		t.exec("UPDATE session SET seen = ?, state = ?, seconds = ?, calls = ?, retries = ?, refused = ?, peak = ? WHERE id = ?",
			now, string(s.state), s.seconds, s.Calls, s.Retries, s.Refused, s.MaxCallsInOneSecond, s.session)
	}
	if b.state != "" {
		t.exec("UPDATE run SET state = ?, told = 0", string(b.state))
	}
	if b.told {
		t.exec("UPDATE run SET told = 1")
	}
}

func (t *fileTx) saveRecord(r *record) {
	if r == nil {
		return
	}
	if r.folded {
		t.exec("DELETE FROM entry WHERE chunk = ?", r.id)
	}
	for place, p := range r.parts {
		switch {
		case p.removed:
			t.exec("DELETE FROM entry WHERE chunk = ? AND place = ?", r.id, place)
		case p.changed:
			t.exec(`INSERT INTO entry (chunk, place, sent, doubt, calls, retries, outcome) VALUES (?, ?, ?, ?, ?, ?, ?)
				ON CONFLICT DO UPDATE SET sent = excluded.sent, doubt = excluded.doubt, calls = excluded.calls,
					retries = excluded.retries, outcome = excluded.outcome`,
				r.id, place, p.sent, p.doubt, p.calls, p.retries, p.outcome)
		}
	}
	var at any
	if r.outcomes != nil {
		at = r.at
	}
	if r.changed {
		t.exec(`INSERT INTO progress (chunk, sent, doubt, replays, calls, retries, outcomes, settled, note) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET sent = excluded.sent, doubt = excluded.doubt, replays = excluded.replays,
				calls = excluded.calls, retries = excluded.retries, outcomes = excluded.outcomes,
				settled = excluded.settled, note = excluded.note`,
			r.id, r.sent, r.doubt, r.replays, r.calls, r.retries, r.outcomes, at, r.note)
	}
}

// prepared returns the statement for a text. It is called with a few constant
// texts, so the map stays small.
func (t *fileTx) prepared(text string) *sql.Stmt {
	if t.err != nil {
		return nil
	}
	if s, ok := t.f.stmt[text]; ok {
		return s
	}
	s, err := t.f.conn.PrepareContext(t.ctx, text)
	if err != nil {
		t.err = err
		return nil
	}
	t.f.stmt[text] = s
	return s
}

// exec runs a statement unless one before has failed.
func (t *fileTx) exec(text string, args ...any) {
	if s := t.prepared(text); s != nil {
		_, t.err = s.ExecContext(t.ctx, args...)
	}
}

// query runs one that yields rows; nil if one has failed.
func (t *fileTx) query(text string, args ...any) (rows *sql.Rows) {
	if s := t.prepared(text); s != nil {
		rows, t.err = s.QueryContext(t.ctx, args...)
	}
	return rows
}

// row reads one row into dest; found is false if there is none.
func (t *fileTx) row(text string, args []any, dest ...any) (found bool) {
	s := t.prepared(text)
	if s == nil {
		return false
	}
	err := s.QueryRowContext(t.ctx, args...).Scan(dest...)
	if err == sql.ErrNoRows {
		return false
	}
	t.err = err
	return err == nil
}

package ledger

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// pgBatch is a transaction that commits a batch of changes.
type pgBatch struct {
	ctx     context.Context
	d       *pgRun
	conn    *pgx.Conn
	records map[int64]*record
}

// Which chunks, or entries, is asked with the number of their run in each row, behind an
// OFFSET 0: so the planner cannot walk all of the run instead, which it takes for a row or
// two when its statistics are from before the run.
const (
	loadChunksSQL = `SELECT p.chunk, c.entries, CASE WHEN p.chunk = ANY($3) THEN c.nums END,
			p.sent, p.doubt, p.replays, p.calls, p.retries, p.settled IS NOT NULL, p.owner,
			p.owner <> 0 AND EXISTS (SELECT 1 FROM chatbatch_session s JOIN chatbatch_lock k ON k.key = s.lease WHERE s.run = p.run AND s.id = p.owner),
			c.grp, c.lo, CASE WHEN p.chunk = ANY($4) THEN c.asks END
		FROM (SELECT $1::bigint AS run, * FROM unnest($2::bigint[]) AS t (chunk) OFFSET 0) AS u
		JOIN chatbatch_progress p ON p.run = u.run AND p.chunk = u.chunk JOIN chatbatch_chunk c ON c.run = u.run AND c.id = u.chunk
		ORDER BY u.chunk FOR UPDATE OF p`

	loadEntriesSQL = `SELECT e.chunk, e.place, e.sent, e.doubt, e.calls, e.retries, e.outcome
		FROM (SELECT $1::bigint AS run, * FROM unnest($2::bigint[]) AS t (chunk) OFFSET 0) AS u
		JOIN chatbatch_entry e ON e.run = u.run AND e.chunk = u.chunk
		UNION ALL SELECT e.chunk, e.place, e.sent, e.doubt, e.calls, e.retries, e.outcome
		FROM (SELECT DISTINCT $1::bigint AS run, chunk, place FROM unnest($3::bigint[], $4::bigint[]) AS t (chunk, place) OFFSET 0) AS u
		JOIN chatbatch_entry e ON e.run = u.run AND e.chunk = u.chunk AND e.place = u.place`
)

// needed is what the changes of a batch need, together.
type needed struct{ chunks, rows, asks, whole, entryOf, place []int64 }

func neededBy(changes []*change) (w needed) {
	all, rows, asks, whole := map[int64]bool{}, map[int64]bool{}, map[int64]bool{}, map[int64]bool{}
	for _, c := range changes {
		n := c.need
		if n.chunk == 0 {
			continue
		}
		all[n.chunk] = true
		if n.rows {
			rows[n.chunk] = true
		}
		if n.asks {
			asks[n.chunk] = true
		}
		if n.entries {
			whole[n.chunk] = true
		}
	}
	for _, c := range changes {
		if c.need.entry && !whole[c.need.chunk] {
			w.entryOf, w.place = append(w.entryOf, c.need.chunk), append(w.place, int64(c.need.place))
		}
	}
	list := func(m map[int64]bool) []int64 { return slices.AppendSeq(make([]int64, 0, len(m)), maps.Keys(m)) } // never nil: that would be NULL
	w.chunks, w.rows, w.asks, w.whole = list(all), list(rows), list(asks), list(whole)
	return w
}

// questions ask for all that the changes need, and lock it.
func (t *pgBatch) questions(q *pgx.Batch, changes []*change) {
	w := neededBy(changes)
	t.records = map[int64]*record{}
	if len(w.chunks) > 0 {
		q.Queue(loadChunksSQL, t.d.no, w.chunks, w.rows, w.asks).Query(t.readChunks)
	}
	if len(w.whole)+len(w.entryOf) > 0 {
		q.Queue(loadEntriesSQL, t.d.no, w.whole, w.entryOf, w.place).Query(func(rows pgx.Rows) error {
			return t.readEntries(rows, w.whole)
		})
	}
}

func (t *pgBatch) readChunks(rows pgx.Rows) error {
	defer rows.Close()
	for rows.Next() {
		r := &record{known: true}
		var group []byte
		err := rows.Scan(&r.id, &r.entries, &r.nums, &r.sent, &r.doubt, &r.replays, &r.calls, &r.retries, &r.settled, &r.owner, &r.owned,
			&group, &r.lo, &r.asks)
		r.group = string(group)
		if err != nil {
			return err
		}
		t.records[r.id] = r
	}
	return rows.Err()
}

func (t *pgBatch) readEntries(rows pgx.Rows, whole []int64) error {
	defer rows.Close()
	for rows.Next() {
		var chunk int64
		p := &part{known: true}
		if err := rows.Scan(&chunk, &p.place, &p.sent, &p.doubt, &p.calls, &p.retries, &p.outcome); err != nil {
			return err
		}
		if r := t.records[chunk]; r != nil {
			r.put(p)
		}
	}
	for _, chunk := range whole {
		if r := t.records[chunk]; r != nil {
			r.allParts = true
		}
	}
	return rows.Err()
}

// record gives what load has read.
func (t *pgBatch) record(n need, _ *record) (*record, error) {
	r := t.records[n.chunk]
	if r != nil && n.entry {
		r.part(n.place)
	}
	return r, nil
}

func (t *pgBatch) lastSession() (last int64, err error) {
	// Hosts that begin at once do so one after the other, and none in a run that was removed.
	found, err := t.conn.Exec(t.ctx, "SELECT 1 FROM chatbatch_run WHERE no = $1 FOR UPDATE", t.d.no)
	switch {
	case err != nil:
		return 0, err
	case found.RowsAffected() == 0:
		return 0, ours{ErrNoRun}
	}
	err = t.conn.QueryRow(t.ctx, "SELECT coalesce(max(id), 0) FROM chatbatch_session WHERE run = $1", t.d.no).Scan(&last)
	return last, err
}

func (t *pgBatch) openChunks() (open int64, err error) {
	err = t.conn.QueryRow(t.ctx, `SELECT chunks - (SELECT coalesce(sum(settled), 0)::bigint FROM chatbatch_books WHERE run = no)
		FROM chatbatch_run WHERE no = $1`, t.d.no).Scan(&open)
	return open, err
}

// save queues what a batch has come to.
func (d *pgRun) save(q *pgx.Batch, b *batch) {
	no := d.no
	saveRecords(q, no, b.records)
	saveSums(q, no, d.hand, b)
	savePace(q, no, b.pace)
	saveWindows(q, no, b)
	if len(b.keeps) > 0 {
		var ids []int64
		var data [][]byte
		for _, k := range b.keeps {
			ids, data = append(ids, k.id), append(data, k.data)
		}
		// People's data must not come behind the removal of the rest. (Nothing needs it then.)
		q.Queue(`INSERT INTO chatbatch_kept (run, id, data) SELECT $1, * FROM unnest($2::bigint[], $3::bytea[])
			WHERE EXISTS (SELECT 1 FROM chatbatch_run WHERE no = $1 AND NOT dropped)`, no, ids, data)
	}
	now := time.Now().UnixMilli()
	if b.begun != 0 {
		q.Queue("INSERT INTO chatbatch_session (run, id, started, seen, state, lease, host, hand) VALUES ($1, $2, $3, $3, 'running', $4, $5, $6)",
			no, b.begun, now, b.lease, d.p.host, d.hand)
	}
	for _, s := range b.beats {
		q.Queue(`UPDATE chatbatch_session SET seen = $3, state = $4, seconds = $5, calls = $6, retries = $7, refused = $8, peak = $9
			WHERE run = $1 AND id = $2`, no, s.session, now, string(s.state), s.seconds,
			int64(s.Calls), int64(s.Retries), int64(s.Refused), int64(s.MaxCallsInOneSecond))
	}
	if b.state != "" {
		q.Queue("UPDATE chatbatch_run SET state = $2, told = false WHERE no = $1", no, string(b.state))
	}
	if b.told {
		q.Queue("UPDATE chatbatch_run SET told = true WHERE no = $1", no)
	}
	if b.dropped {
		q.Queue("UPDATE chatbatch_run SET dropped = true WHERE no = $1", no)
	}
}

// pgChunks are chunks that have changed, and pgParts entries, by their columns.
type (
	pgChunks struct {
		chunk, sent, doubt, replays, calls, retries, settled, owner []int64
		outcomes, note                                              [][]byte
	}
	pgParts struct {
		chunk, place, sent, doubt, calls, retries []int64
		outcome                                   [][]byte
	}
)

func (u *pgChunks) add(r *record) {
	u.chunk, u.sent, u.doubt = append(u.chunk, r.id), append(u.sent, r.sent), append(u.doubt, r.doubt)
	u.replays, u.calls, u.retries = append(u.replays, int64(r.replays)), append(u.calls, r.calls), append(u.retries, r.retries)
	u.settled, u.outcomes, u.note = append(u.settled, r.at), append(u.outcomes, r.outcomes), append(u.note, r.note)
	u.owner = append(u.owner, r.owner)
}

func (e *pgParts) add(chunk int64, p *part) {
	e.chunk, e.place = append(e.chunk, chunk), append(e.place, int64(p.place))
	e.sent, e.doubt = append(e.sent, p.sent), append(e.doubt, p.doubt)
	e.calls, e.retries, e.outcome = append(e.calls, p.calls), append(e.retries, p.retries), append(e.outcome, p.outcome)
}

// saveRecords queues the changes of chunks, a statement for all of them.
func saveRecords(q *pgx.Batch, no int64, records map[int64]*record) {
	var u pgChunks
	var changed, removed pgParts
	var folded []int64
	for _, r := range records {
		if r == nil {
			continue
		}
		if r.folded {
			folded = append(folded, r.id)
		}
		if r.changed {
			u.add(r)
		}
		for _, p := range r.parts {
			switch {
			case p.removed:
				removed.add(r.id, p)
			case p.changed:
				changed.add(r.id, p)
			}
		}
	}
	if len(folded) > 0 {
		q.Queue(removeFoldedSQL, no, folded)
	}
	if len(removed.chunk) > 0 {
		q.Queue(removeEntriesSQL, no, removed.chunk, removed.place)
	}
	if e := changed; len(e.chunk) > 0 {
		q.Queue(saveEntriesSQL, no, e.chunk, e.place, e.sent, e.doubt, e.calls, e.retries, e.outcome)
	}
	if len(u.chunk) > 0 {
		q.Queue(saveChunksSQL, no, u.chunk, u.sent, u.doubt, u.replays, u.calls, u.retries, u.settled, u.outcomes, u.note, u.owner)
	}
}

const (
	saveEntriesSQL = `INSERT INTO chatbatch_entry (run, chunk, place, sent, doubt, calls, retries, outcome)
		SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[])
		ON CONFLICT (run, chunk, place) DO UPDATE SET sent = excluded.sent, doubt = excluded.doubt,
			calls = excluded.calls, retries = excluded.retries, outcome = excluded.outcome`

	saveChunksSQL = `UPDATE chatbatch_progress p SET sent = u.sent, doubt = u.doubt, replays = u.replays, calls = u.calls,
			retries = u.retries, settled = nullif(u.settled, 0), outcomes = u.outcomes, note = u.note, owner = u.owner
		FROM (SELECT $1::bigint AS run, * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
			$9::bytea[], $10::bytea[], $11::bigint[]) AS t (chunk, sent, doubt, replays, calls, retries, settled, outcomes, note, owner) OFFSET 0) AS u
		WHERE p.run = u.run AND p.chunk = u.chunk`

	removeFoldedSQL = `DELETE FROM chatbatch_entry e
		USING (SELECT $1::bigint AS run, * FROM unnest($2::bigint[]) AS t (chunk) OFFSET 0) AS u WHERE e.run = u.run AND e.chunk = u.chunk`

	removeEntriesSQL = `DELETE FROM chatbatch_entry e
		USING (SELECT $1::bigint AS run, * FROM unnest($2::bigint[], $3::bigint[]) AS t (chunk, place) OFFSET 0) AS u
		WHERE e.run = u.run AND e.chunk = u.chunk AND e.place = u.place`
)

// saveSums queues what comes to the books and the tally of a hand.
func saveSums(q *pgx.Batch, no, hand int64, b *batch) {
	if d := b.books; d != (delta{}) {
		q.Queue(`INSERT INTO chatbatch_books AS b (run, hand, succeeded, failed, settled, replayed, calls, retries)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (run, hand) DO UPDATE SET succeeded = b.succeeded + excluded.succeeded,
				failed = b.failed + excluded.failed, settled = b.settled + excluded.settled, replayed = b.replayed + excluded.replayed,
				calls = b.calls + excluded.calls, retries = b.retries + excluded.retries`,
			no, hand, d.succeeded, d.failed, d.settled, d.replayed, d.calls, d.retries)
	}
	saveTally(q, no, hand, b.tally)
}

func saveTally(q *pgx.Batch, no, hand int64, tally map[tallyKey]tallyRow) {
	for k, v := range tally {
		q.Queue(`INSERT INTO chatbatch_tally AS t (run, hand, class, code, rows, example, error) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (run, hand, class, code) DO UPDATE SET rows = t.rows + excluded.rows`,
			no, hand, k.class, int64(k.code), v.rows, v.example, []byte(v.error))
	}
}

// savePace queues seconds. Each row is a statement of its own, since two of them may
// be the same second. Hosts share these rows: all of them come to them in the same order,
// so that no two wait for each other.
func savePace(q *pgx.Batch, no int64, pace []Second) {
	const more = "p.budget = 0 OR excluded.budget > 0 AND excluded.budget - excluded.lanes > p.budget - p.lanes" // are missing
	inOrder := func(a, b Second) int { return cmp.Compare(a.Unix, b.Unix) }
	for _, s := range slices.SortedStableFunc(slices.Values(pace), inOrder) {
		q.Queue(`INSERT INTO chatbatch_pace AS p (run, second, calls, retries, refused, lanes, budget) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (run, second) DO UPDATE SET calls = p.calls + excluded.calls, retries = p.retries + excluded.retries,
				refused = p.refused + excluded.refused,
				lanes = CASE WHEN `+more+` THEN excluded.lanes ELSE p.lanes END,
				budget = CASE WHEN `+more+` THEN excluded.budget ELSE p.budget END`,
			no, s.Unix, int64(s.Calls), int64(s.Retries), int64(s.Refused), int64(s.Lanes), int64(s.Budget))
	}
}

// saveWindows queues windows, in the order of savePace for its reason.
func saveWindows(q *pgx.Batch, no int64, b *batch) {
	inOrder := func(a, b windowRow) int { return cmp.Compare(a.second, b.second) }
	for _, w := range slices.SortedStableFunc(slices.Values(b.windows), inOrder) {
		if w.histogram != "" {
			q.Queue("INSERT INTO chatbatch_latency (run, second, seconds, answers, histogram) VALUES ($1, $2, $3, $4, $5)",
				no, w.second, int64(w.seconds), w.answers, w.histogram)
		}
		for _, class := range slices.Sorted(maps.Keys(w.failed)) {
			q.Queue(`INSERT INTO chatbatch_failing AS f (run, second, class, rows) VALUES ($1, $2, $3, $4)
				ON CONFLICT (run, second, class) DO UPDATE SET rows = f.rows + excluded.rows`, no, w.second, class, w.failed[class])
		}
	}
	if b.latency != "" {
		q.Queue("UPDATE chatbatch_session SET latency = $3 WHERE run = $1 AND id = $2", no, b.l.session.Load(), b.latency)
	}
}

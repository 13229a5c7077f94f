package ledger

import (
	"context"
	"database/sql"
	"iter"
	"os"
	"strings"
)

// fileLook is a file as it stood at one moment. It keeps the -wal file from shrinking.
type fileLook struct {
	f       *file
	conn    *sql.Conn
	ctx     context.Context // of look, without its cancellation, for close
	version int             // of the schema; an old ledger is read as it is
	fetched *os.File        // fetched.dat; nil until kept
}

func (f *file) look(ctx context.Context) (look, error) {
	conn, err := f.read.Conn(ctx)
	if err != nil {
		return nil, err
	}
	v := &fileLook{f: f, conn: conn, ctx: context.WithoutCancel(ctx)}
	// The transaction sees what is there when it first reads.
	if _, err = conn.ExecContext(ctx, "BEGIN"); err == nil {
		err = conn.QueryRowContext(ctx, "SELECT one FROM run").Scan(new(int))
	}
	if err == nil {
		err = conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&v.version)
	}
	if err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

func (v *fileLook) close() {
	_, _ = v.conn.ExecContext(v.ctx, "ROLLBACK") // it only read
	_ = v.conn.Close()
	if v.fetched != nil {
		_ = v.fetched.Close() // it only read
	}
}

func (v *fileLook) sums(ctx context.Context) (s sums, err error) {
	row := v.conn.QueryRowContext(ctx, "SELECT state, rows, succeeded, failed, replayed, calls, retries, chunks, groups FROM run, books")
	err = row.Scan(&s.state, &s.rows, &s.succeeded, &s.failed, &s.replayed, &s.calls, &s.retries, &s.chunks, &s.groups)
	if err == nil && v.version >= 2 {
		err = v.conn.QueryRowContext(ctx, "SELECT superseded FROM books").Scan(&s.superseded)
	}
	if err == nil && v.version >= 3 {
		err = v.conn.QueryRowContext(ctx, "SELECT coalesce(sum(refused), 0) FROM session").Scan(&s.refused)
	}
	if err != nil {
		return s, err
	}
	var calls, retries int64 // of no settled chunk
	err = v.conn.QueryRowContext(ctx, `SELECT min(started), max(seen), coalesce(sum(seconds), 0),
		coalesce(sum(calls), 0), coalesce(sum(retries), 0), coalesce(max(peak), 0) FROM session`).
		Scan(&s.started, &s.seen, &s.seconds, &calls, &retries, &s.peak)
	s.calls += calls
	s.retries += retries
	return s, err
}

func (v *fileLook) tally(ctx context.Context) (list []Example, err error) {
	rows, err := v.conn.QueryContext(ctx, "SELECT class, code, rows, example, error FROM tally ORDER BY class, code")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var e Example
		if err := rows.Scan(&e.Class, &e.Code, &e.Rows, &e.Num, &e.Error); err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, rows.Err()
}

// chunks walks an index: nothing is sorted.
func (v *fileLook) chunks(ctx context.Context, s selection) iter.Seq2[*chunkRow, error] {
	return func(yield func(*chunkRow, error) bool) {
		query, args := v.selectChunks(s)
		rows, err := v.conn.QueryContext(ctx, query, args...)
		if err != nil {
			yield(nil, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			c, err := scanChunk(rows)
			if !yield(c, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(nil, err)
		}
	}
}

func (v *fileLook) selectChunks(s selection) (query string, args []any) {
	if s.refused {
		return `SELECT id, '', rows, lo, hi, rows, nums, NULL, 0, outcomes, NULL, NULL, 0 FROM refused WHERE hi >= ? AND lo < ?`, []any{s.lo, s.hi}
	}
	nums, asks, note, parts := "NULL", "NULL", "p.note, p.settled", "EXISTS (SELECT 1 FROM entry e WHERE e.chunk = c.id)"
	switch {
	case s.nums:
		nums = "c.nums"
	case s.counts:
		nums = "CASE WHEN c.rows <> c.entries THEN c.nums END"
	}
	if s.asks {
		asks = "c.asks"
	}
	if v.version < 2 {
		note, parts = "NULL, NULL", "0"
	}
	var where []string
	if s.hi > 0 {
		where, args = append(where, "c.hi >= ? AND c.lo < ?"), append(args, s.lo, s.hi)
	}
	if s.open {
		where, args = append(where, "c.id > ? AND p.outcomes IS NULL"), append(args, s.after)
	}
	query = `SELECT c.id, c.grp, c.rows, c.lo, c.hi, c.entries, ` + nums + `, ` + asks + `, coalesce(p.sent, 0), p.outcomes, ` + note +
		`, p.outcomes IS NULL AND ` + parts + ` FROM chunk c LEFT JOIN progress p ON p.chunk = c.id`
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	if s.byRow {
		query += " ORDER BY c.lo, c.id"
	} else {
		query += " ORDER BY c.id"
	}
	if s.limit > 0 {
		query, args = query+" LIMIT ?", append(args, s.limit)
	}
	return query, args
}

func scanChunk(rows *sql.Rows) (*chunkRow, error) {
	var c chunkRow
	var nums, asks, outcomes, note sql.RawBytes
	err := rows.Scan(&c.id, &c.group, &c.rows, &c.lo, &c.hi, &c.entries, &nums, &asks, &c.sent, &outcomes, &note, &c.settled, &c.parts)
	c.nums, c.asks, c.outcomes, c.note = nums, asks, outcomes, note
	return &c, err
}

const selectEntries = "SELECT place, sent, doubt, calls, retries, outcome FROM entry WHERE chunk = ?"

func (v *fileLook) entries(ctx context.Context, chunk int64) iter.Seq2[*entryRow, error] {
	return func(yield func(*entryRow, error) bool) {
		rows, err := v.conn.QueryContext(ctx, selectEntries, chunk)
		if err != nil {
			yield(nil, err)
			return
		}
		scanEntries(rows)(yield)
	}
}

// scanEntries takes the answer to selectEntries, and closes it.
func scanEntries(rows *sql.Rows) iter.Seq2[*entryRow, error] {
	return func(yield func(*entryRow, error) bool) {
		defer rows.Close()
		for rows.Next() {
			var e entryRow
			var outcome sql.RawBytes
			err := rows.Scan(&e.place, &e.sent, &e.doubt, &e.calls, &e.retries, &outcome)
			e.outcome = outcome
			if !yield(&e, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(nil, err)
		}
	}
}

func (v *fileLook) source(ctx context.Context, num int64) (b block, err error) {
	err = v.conn.QueryRowContext(ctx, "SELECT first, rows, data FROM source WHERE first <= ? ORDER BY first DESC LIMIT 1", num).
		Scan(&b.first, &b.rows, &b.data)
	return b, err
}

// pace yields nothing for the ledger of an older program; so do those below.
func (v *fileLook) pace(ctx context.Context) iter.Seq2[Second, error] {
	const query = "SELECT second, calls, retries, refused, lanes, budget FROM pace ORDER BY second"
	return eachRow(ctx, v, 3, query, func(rows *sql.Rows) (s Second, err error) {
		err = rows.Scan(&s.Unix, &s.Calls, &s.Retries, &s.Refused, &s.Lanes, &s.Budget)
		return s, err
	})
}

func (v *fileLook) latencies(ctx context.Context) iter.Seq2[windowRow, error] {
	const query = "SELECT second, seconds, histogram FROM latency ORDER BY second, id"
	return eachRow(ctx, v, 5, query, func(rows *sql.Rows) (w windowRow, err error) {
		err = rows.Scan(&w.second, &w.seconds, &w.histogram)
		return w, err
	})
}

func (v *fileLook) failing(ctx context.Context) iter.Seq2[windowRow, error] {
	return eachRow(ctx, v, 5, "SELECT second, class, rows FROM failing ORDER BY second, class", func(rows *sql.Rows) (w windowRow, err error) {
		var class string
		var n int64
		err = rows.Scan(&w.second, &class, &n)
		w.failed = map[string]int64{class: n}
		return w, err
	})
}

func (v *fileLook) sessionLatencies(ctx context.Context) (list []string, err error) {
	const query = "SELECT latency FROM session WHERE latency IS NOT NULL"
	for text, err := range eachRow(ctx, v, 5, query, func(rows *sql.Rows) (text string, err error) {
		err = rows.Scan(&text)
		return text, err
	}) {
		if err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, nil
}

// eachRow yields what a query comes to, as scan reads a row of it; nothing if the
// schema is older than since.
func eachRow[T any](ctx context.Context, v *fileLook, since int, query string, scan func(*sql.Rows) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if v.version < since {
			return
		}
		rows, err := v.conn.QueryContext(ctx, query)
		if err != nil {
			yield(none, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			one, err := scan(rows)
			if !yield(one, err) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(none, err)
		}
	}
}

package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// pgLook is the rows of a run as they stood at one moment: a transaction that reads. It
// reads some rows at a time, so that between them it can be asked for others.
type pgLook struct {
	d    *pgRun
	conn *pgxpool.Conn
	ctx  context.Context // of look, without its cancellation, for close
}

const lookSQL = `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`

// lookSettingsSQL lets whoever looks take its time between two questions, but not for
// ever: who has died keeps the database from cleaning up. What is read in order is walked
// by an index that has that order, a page at a time, and not sorted anew for each page.
const lookSettingsSQL = `SELECT set_config('idle_in_transaction_session_timeout', '1h', true),
	set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
	set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
	set_config('enable_sort', 'off', true), set_config('jit', 'off', true)`

func (d *pgRun) look(ctx context.Context) (look, error) {
	asking, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	conn, err := d.p.readers.Acquire(ctx) // others look, too
	if err != nil {
		return nil, d.p.explain(ctx, err)
	}
	var q pgx.Batch
	q.Queue(lookSQL)
	q.Queue(lookSettingsSQL)
	if err := conn.SendBatch(asking, &q).Close(); err != nil {
		conn.Release()
		return nil, d.p.explain(ctx, err)
	}
	return &pgLook{d: d, conn: conn, ctx: context.WithoutCancel(ctx)}, nil
}

func (v *pgLook) close() {
	ctx, cancel := context.WithTimeout(v.ctx, askTime)
	defer cancel()
	_, _ = v.conn.Exec(ctx, "ROLLBACK") // it only read
	v.conn.Release()
}

// said puts what pgx says into words without a password.
func (v *pgLook) said(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	return v.d.p.explain(ctx, err)
}

func (v *pgLook) sums(ctx context.Context) (s sums, err error) {
	var state string
	err = v.conn.QueryRow(ctx, "SELECT "+sumsSQL+" WHERE r.no = $1", v.d.no).Scan(s.dest(&state)...)
	s.state = State(state)
	return s, v.said(ctx, err)
}

func (v *pgLook) tally(ctx context.Context) ([]Example, error) {
	// Of several hands the first example is the one that is shown.
	rows, err := v.conn.Query(ctx, `SELECT class, code, (sum(rows))::bigint, min(example),
			(array_agg(error ORDER BY example))[1]
		FROM chatbatch_tally WHERE run = $1 GROUP BY class, code ORDER BY class, code`, v.d.no)
	if err != nil {
		return nil, v.said(ctx, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e Example, err error) {
		var text []byte
		err = row.Scan(&e.Class, &e.Code, &e.Rows, &e.Num, &text)
		e.Error = string(text)
		return e, err
	})
	return list, v.said(ctx, err)
}

// How many rows a look reads at a time: with what chunks ask, which is 10 KB each;
// with the numbers of their rows; and without.
const (
	pageAsks = 64
	pageNums = 256
	pageBare = 1024
)

func (v *pgLook) chunks(ctx context.Context, s selection) iter.Seq2[*chunkRow, error] {
	return func(yield func(*chunkRow, error) bool) {
		after := chunkRow{id: s.after, lo: -1}
		for {
			query, args, size := v.selectChunks(s, after)
			rows, err := v.conn.Query(ctx, query, args...)
			var page []chunkRow
			if err == nil {
				page, err = pgx.CollectRows(rows, scanPGChunk)
			}
			if err != nil {
				yield(nil, v.said(ctx, err))
				return
			}
			for i := range page {
				if !yield(&page[i], nil) {
					return
				}
			}
			if len(page) < size || s.limit > 0 {
				return
			}
			after = page[len(page)-1]
		}
	}
}

func scanPGChunk(row pgx.CollectableRow) (c chunkRow, err error) {
	var group []byte
	err = row.Scan(&c.id, &group, &c.rows, &c.lo, &c.hi, &c.entries, &c.nums, &c.asks, &c.sent, &c.outcomes, &c.note, &c.settled, &c.parts)
	c.group = string(group)
	return c, err
}

// selectChunks asks for the chunks behind one, in the order of an index.
func (v *pgLook) selectChunks(s selection, after chunkRow) (query string, args []any, size int) {
	args = []any{v.d.no}
	arg := func(a any) string {
		args = append(args, a)
		return "$" + strconv.Itoa(len(args))
	}
	if s.refused {
		query = `SELECT id, ''::bytea, rows, lo, hi, rows, nums, NULL::bytea, 0::bigint, outcomes, NULL::bytea, NULL::bigint, false
			FROM chatbatch_refused WHERE run = $1 AND hi >= ` + arg(s.lo) + ` AND lo < ` + arg(s.hi) + ` AND id > ` + arg(after.id) + ` ORDER BY id`
		return query + " LIMIT " + strconv.Itoa(pageNums), args, pageNums
	}
	nums, asks, size := "NULL::bytea", "NULL::bytea", pageBare
	switch {
	case s.nums:
		nums, size = "c.nums", pageNums
	case s.counts:
		nums, size = "CASE WHEN c.rows <> c.entries THEN c.nums END", pageNums
	}
	if s.asks {
		asks, size = "c.asks", pageAsks
	}
	if s.limit > 0 {
		size = s.limit
	}
	where := []string{"c.run = $1"}
	order := "c.id"
	if s.byRow {
		order = "c.lo, c.id"
		where = append(where, "(c.lo, c.id) > ("+arg(after.lo)+", "+arg(after.id)+")")
	} else {
		where = append(where, "c.id > "+arg(after.id))
	}
	if s.hi > 0 {
		where = append(where, "c.hi >= "+arg(s.lo)+" AND c.lo < "+arg(s.hi))
	}
	if s.open {
		where = append(where, "p.settled IS NULL")
	}
	// One table is walked; the others are asked for each row, whatever the planner thinks
	// of the run: OFFSET 0 and the subselect leave it no other way. With a join it read all
	// of the run for each page, and the reports of 100,000 chunks took ten minutes.
	query = `SELECT c.id, c.grp, c.rows, c.lo, c.hi, c.entries, ` + nums + `, ` + asks + `, p.sent, p.outcomes, p.note, p.settled,
			p.settled IS NULL AND coalesce((SELECT true FROM chatbatch_entry e WHERE e.run = c.run AND e.chunk = c.id LIMIT 1), false)
		FROM chatbatch_chunk c CROSS JOIN LATERAL (SELECT sent, outcomes, note, settled
			FROM chatbatch_progress WHERE run = c.run AND chunk = c.id OFFSET 0) AS p
		WHERE ` + strings.Join(where, " AND ") + ` ORDER BY ` + order + ` LIMIT ` + strconv.Itoa(size)
	return query, args, size
}

func (v *pgLook) entries(ctx context.Context, chunk int64) iter.Seq2[*entryRow, error] {
	return func(yield func(*entryRow, error) bool) {
		rows, err := v.conn.Query(ctx, "SELECT place, sent, doubt, calls, retries, outcome FROM chatbatch_entry WHERE run = $1 AND chunk = $2", v.d.no, chunk)
		var all []entryRow
		if err == nil {
			all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (e entryRow, err error) {
				err = row.Scan(&e.place, &e.sent, &e.doubt, &e.calls, &e.retries, &e.outcome)
				return e, err
			})
		}
		if err != nil {
			yield(nil, v.said(ctx, err))
			return
		}
		for i := range all {
			if !yield(&all[i], nil) {
				return
			}
		}
	}
}

func (v *pgLook) source(ctx context.Context, num int64) (b block, err error) {
	err = v.conn.QueryRow(ctx, "SELECT first, rows, data FROM chatbatch_source WHERE run = $1 AND first <= $2 ORDER BY first DESC LIMIT 1", v.d.no, num).
		Scan(&b.first, &b.rows, &b.data)
	if errors.Is(err, pgx.ErrNoRows) {
		return b, errNoRecord
	}
	return b, v.said(ctx, err)
}

func (v *pgLook) pace(ctx context.Context) iter.Seq2[Second, error] {
	const query = `SELECT second, calls, retries, refused, lanes, budget FROM chatbatch_pace
		WHERE run = $1 AND second > $2 ORDER BY second LIMIT $3`
	return paged(ctx, v, query, []any{int64(math.MinInt64)}, func(row pgx.CollectableRow) (s Second, err error) {
		err = row.Scan(&s.Unix, &s.Calls, &s.Retries, &s.Refused, &s.Lanes, &s.Budget)
		return s, err
	}, func(s Second) []any { return []any{s.Unix} })
}

func (v *pgLook) latencies(ctx context.Context) iter.Seq2[windowRow, error] {
	const query = `SELECT second, id, seconds, histogram FROM chatbatch_latency
		WHERE run = $1 AND (second, id) > ($2, $3) ORDER BY second, id LIMIT $4`
	return paged(ctx, v, query, []any{int64(math.MinInt64), int64(0)}, func(row pgx.CollectableRow) (w windowRow, err error) {
		err = row.Scan(&w.second, &w.id, &w.seconds, &w.histogram)
		return w, err
	}, func(w windowRow) []any { return []any{w.second, w.id} })
}

func (v *pgLook) failing(ctx context.Context) iter.Seq2[windowRow, error] {
	const query = `SELECT second, class, rows FROM chatbatch_failing
		WHERE run = $1 AND (second, class) > ($2, $3) ORDER BY second, class LIMIT $4`
	return paged(ctx, v, query, []any{int64(math.MinInt64), ""}, func(row pgx.CollectableRow) (w windowRow, err error) {
		var n int64
		err = row.Scan(&w.second, &w.class, &n)
		w.failed = map[string]int64{w.class: n}
		return w, err
	}, func(w windowRow) []any { return []any{w.second, w.class} })
}

func (v *pgLook) sessionLatencies(ctx context.Context) ([]string, error) {
	rows, err := v.conn.Query(ctx, "SELECT latency FROM chatbatch_session WHERE run = $1 AND latency IS NOT NULL", v.d.no)
	if err != nil {
		return nil, v.said(ctx, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return list, v.said(ctx, err)
}

// paged yields what a query comes to, some rows at a time: those behind the key after,
// which is that of the last one before.
func paged[T any](ctx context.Context, v *pgLook, query string, after []any, scan pgx.RowToFunc[T], key func(T) []any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			rows, err := v.conn.Query(ctx, query, append(append([]any{v.d.no}, after...), int64(pageBare))...)
			var page []T
			if err == nil {
				page, err = pgx.CollectRows(rows, scan)
			}
			if err != nil {
				var none T
				yield(none, v.said(ctx, err))
				return
			}
			for _, one := range page {
				if after = key(one); !yield(one, nil) {
					return
				}
			}
			if len(page) < pageBare {
				return
			}
		}
	}
}

func (v *pgLook) kept(ctx context.Context, s Span) ([]byte, error) {
	var blob []byte
	var dropped bool
	err := v.conn.QueryRow(ctx, `SELECT r.dropped, k.data FROM chatbatch_run r
		LEFT JOIN chatbatch_kept k ON k.run = r.no AND k.id = $2 WHERE r.no = $1`, v.d.no, s.Offset).Scan(&dropped, &blob)
	switch {
	case err != nil:
		return nil, v.said(ctx, err)
	case dropped || v.d.dropped.Load():
		return nil, ErrDropped
	case blob == nil:
		return nil, fmt.Errorf("%w: there is no such record", ErrDamaged)
	}
	d, err := unseal(blob, owner(v.d.run).kept(s.Offset))
	if err == nil && int64(len(d.b)) != s.Length {
		err = fmt.Errorf("%w: it has %d bytes", ErrDamaged, len(d.b))
	}
	if err != nil {
		return nil, err
	}
	return d.b, nil
}

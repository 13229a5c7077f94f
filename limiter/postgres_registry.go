package limiter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"chatbatch/io/postgres"
)

// closeTime bounds how long closing says goodbye to the server.
const closeTime = 200 * time.Millisecond

const (
	clockSQL = `(extract(epoch FROM clock_timestamp()) * 1000000)::bigint`

	// serverSQL tells servers apart. Two do not start in the same microsecond,
	// so that this is enough for a replica too; everybody may read it, and it
	// costs nothing. The system identifier is the same on a replica, costs
	// reading a file, and may be closed to us. The server's address depends on
	// the way to it.
	serverSQL = `(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint`

	// durableSQL is always true. Where somebody has set synchronous_commit to
	// off, a crash of the server forgets what it has promised in the last
	// moments, and two hosts get the same lanes. This sets it to local, for this
	// statement only.
	durableSQL = `(current_setting('synchronous_commit') <> 'off' OR set_config('synchronous_commit', 'local', true) IS NOT NULL)`

	// The clock is read when the row is ours: if the statement has waited for
	// another to change it, PostgreSQL computes the new row anew.
	beatSQL = `
UPDATE chatbatch_lanes SET rev = rev + 1, changed = clock_timestamp(),
	roll = jsonb_set(roll, ARRAY['hosts', $2::text], roll->'hosts'->$2::text || $3::jsonb
		|| jsonb_build_object('until', ` + clockSQL + ` + $4::bigint))
WHERE budget = $1 AND roll->'hosts' ? $2::text AND ` + durableSQL + `
RETURNING budget, rev, roll, ` + clockSQL + `, ` + serverSQL

	replaceSQL = `
UPDATE chatbatch_lanes SET rev = rev + 1, changed = clock_timestamp(), roll = $3::jsonb
WHERE budget = $1 AND rev = $2::bigint AND ` + durableSQL

	insertSQL = `
INSERT INTO chatbatch_lanes (budget, rev, changed, roll)
SELECT $1, 1, clock_timestamp(), $2::jsonb WHERE ` + durableSQL + `
ON CONFLICT (budget) DO NOTHING`

	// One row comes even if there is no budget: with the clock and the form.
	loadSQL = `
SELECT budget, rev, roll, ` + clockSQL + `, ` + serverSQL + `,
	obj_description('chatbatch_lanes'::regclass, 'pg_class')
FROM (SELECT) AS one LEFT JOIN chatbatch_lanes ON `
)

// pgRegistry is a registry in PostgreSQL: a row for each budget. Each statement is a
// transaction of its own and leaves nothing on the connection, so that a pooler such as
// PgBouncer may stand between.
type pgRegistry struct {
	cfg  *pgconn.Config // not changed after openPGRegistry
	at   postgres.Site
	conn *pgconn.PgConn // nil if there is none

	// pgx ends connections that broke in the background: it tells the server to
	// cancel what it does for us. That too ends with life.
	life   context.Context
	end    context.CancelFunc
	ending []<-chan struct{}
}

// openPGRegistry reads a connection string. It does not connect.
func openPGRegistry(url string) (*pgRegistry, error) {
	cfg, err := postgres.Parse(url)
	if err != nil {
		return nil, err
	}
	r := &pgRegistry{cfg: cfg, at: postgres.SiteOf(cfg, use)}
	r.life, r.end = context.WithCancel(context.Background()) // until close
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return r.dial(ctx, dial, network, addr)
	}
	return r, nil
}

func (r *pgRegistry) beat(ctx context.Context, budget, host string, p pulse) (record, bool, error) {
	said, err := json.Marshal(p)
	if err != nil {
		return record{}, false, err
	}
	lease := strconv.FormatInt(leaseInTable.Microseconds(), 10)
	res, err := r.repeat(ctx, beatSQL, budget, host, string(said), lease)
	if err != nil {
		return record{}, false, fmt.Errorf("renew the lease: %w", err)
	}
	if len(res.Rows) == 0 {
		return record{}, false, nil
	}
	rec, err := readRecord(res.Rows[0])
	return rec, err == nil, err
}

func (r *pgRegistry) load(ctx context.Context, budget string) (record, error) {
	res, err := r.repeat(ctx, loadSQL+`budget = $1`, budget)
	if err != nil {
		return record{}, fmt.Errorf("read the lanes: %w", err)
	}
	if err := checkForm(r.at, res.Rows[0][5]); err != nil {
		return record{}, err
	}
	return readRecord(res.Rows[0])
}

// loadAll reads all rolls.
func (r *pgRegistry) loadAll(ctx context.Context) (map[string]record, error) {
	res, err := r.repeat(ctx, loadSQL+`true`)
	if err != nil {
		return nil, err
	}
	if err := checkForm(r.at, res.Rows[0][5]); err != nil {
		return nil, err
	}
	all := map[string]record{}
	for _, row := range res.Rows {
		if row[0] == nil {
			continue // no budget at all
		}
		if all[string(row[0])], err = readRecord(row); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// After an error the roll may be stored or not, even later: the statement may still
// be under way. Then it counts only if nobody has changed the row before.
func (r *pgRegistry) store(ctx context.Context, budget string, rev int64, next roll) (bool, error) {
	text, err := json.Marshal(next)
	if err != nil {
		return false, err
	}
	sql, args := replaceSQL, []string{budget, strconv.FormatInt(rev, 10), string(text)}
	if rev == 0 {
		sql, args = insertSQL, []string{budget, string(text)}
	}
	res, err := r.ask(ctx, sql, args...)
	if err != nil {
		return false, fmt.Errorf("store the lanes: %w", err)
	}
	return res.CommandTag.RowsAffected() == 1, nil
}

// readRecord reads budget, rev, roll, clock and server.
func readRecord(row [][]byte) (record, error) {
	micros, err := strconv.ParseInt(string(row[3]), 10, 64)
	if err != nil {
		return record{}, fmt.Errorf("read the database's clock: %w", err)
	}
	rec := record{now: time.UnixMicro(micros), server: string(row[4])}
	if row[0] == nil {
		return rec, nil
	}
	if rec.rev, err = strconv.ParseInt(string(row[1]), 10, 64); err == nil {
		err = json.Unmarshal(row[2], &rec.roll)
	}
	if err != nil {
		return record{}, fmt.Errorf("the lanes of %q in the table chatbatch_lanes are damaged (%w): "+
			"stop all programs that use them, and delete the row", row[0], err)
	}
	return rec, nil
}

// repeat is ask for statements that may be run twice: it does so if the connection
// turns out to have ended since the last one.
func (r *pgRegistry) repeat(ctx context.Context, sql string, args ...string) (*pgconn.Result, error) {
	old := r.conn
	res, err := r.ask(ctx, sql, args...)
	if err != nil && old != nil && r.conn == nil && ctx.Err() == nil {
		res, err = r.ask(ctx, sql, args...)
	}
	return res, err
}

// ask runs one statement in one round trip, on a new connection if there is none.
// Parameters are text.
func (r *pgRegistry) ask(ctx context.Context, sql string, args ...string) (*pgconn.Result, error) {
	params := make([][]byte, len(args))
	for i, a := range args {
		params[i] = []byte(a)
	}
	for {
		if err := r.connect(ctx); err != nil {
			return nil, err
		}
		res := r.conn.ExecParams(ctx, sql, params, nil, nil, nil).Read()
		switch {
		case res.Err == nil:
			return res, nil
		case stateOf(res.Err) == "40001" && ctx.Err() == nil:
			// Somebody has set a stricter isolation, and another has changed
			// the row. Nothing was done; the next look sees the change.
			continue
		}
		if !usable(res.Err) {
			r.drop()
		}
		return nil, r.at.Explain(ctx, res.Err)
	}
}

func (r *pgRegistry) connect(ctx context.Context) error {
	if r.life.Err() != nil {
		return ErrClosed
	}
	if r.conn != nil && !r.conn.IsClosed() {
		return nil
	}
	r.drop()
	conn, err := pgconn.ConnectConfig(ctx, postgres.Fairly(ctx, r.cfg))
	if err != nil {
		return r.at.Explain(ctx, err)
	}
	r.conn = conn
	return nil
}

// drop gives the connection up. The next statement makes a new one.
func (r *pgRegistry) drop() {
	if r.conn == nil {
		return
	}
	goodbye(r.conn)
	still := r.ending[:0]
	for _, c := range append(r.ending, r.conn.CleanupDone()) {
		select {
		case <-c:
		default:
			still = append(still, c)
		}
	}
	r.conn, r.ending = nil, still
}

// goodbye closes a connection within closeTime. It does nothing if pgx has begun to.
func goodbye(conn *pgconn.PgConn) {
	if conn.IsClosed() {
		return
	}
	_ = conn.Conn().SetDeadline(time.Now().Add(closeTime))
	_ = conn.Close(context.Background()) // its time is bounded by the deadline
}

// close ends the connection and all that is still under way for older ones.
func (r *pgRegistry) close() error {
	r.drop()
	r.end()
	for _, c := range r.ending {
		<-c // its connections are closed: soon
	}
	r.ending = nil
	return nil
}

// dial makes a connection that ends with r.life.
func (r *pgRegistry) dial(ctx context.Context, dial pgconn.DialFunc, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.life, cancel)()
	c, err := dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &mortal{Conn: c, spare: context.AfterFunc(r.life, func() { _ = c.Close() })}, nil
}

// mortal is a connection that is closed when its life ends.
type mortal struct {
	net.Conn
	spare func() bool
}

func (c *mortal) Close() error {
	c.spare()
	return c.Conn.Close()
}

// stateOf is the SQLSTATE of an error of the server, "" for any other.
func stateOf(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// usable says whether the connection can serve the next statement after err: after
// an error of the statement, unless another server might do better.
func usable(err error) bool {
	code := stateOf(err)
	return code != "" && !postgres.Temporary(code)
}

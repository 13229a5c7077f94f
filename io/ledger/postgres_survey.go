package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// A Survey is how the runs of a database stand at one moment: sums alone, so that it costs
// the same however many rows they have.
type Survey struct {
	Now      time.Time // on the database's clock
	Runs     []Surveyed
	More     bool // there are older runs, which are at rest
	Hosts    []Host
	Failures []Failure
}

// Surveyed is a run in a survey.
type Surveyed struct {
	Info
	Why    string // it is in this state, if that is not its end
	Shared bool   // it was given to many hosts
	Calls  int64  // as far as they are in the books

	Publish     Publish // of what it has fetched
	Unpublished string  // why it could not be published
}

// Host is a process that works on a run. One that works on several is there for each.
type Host struct {
	Run       string
	Name      string        // see [PostgresOptions]
	Session   int64         // of the run
	Since     time.Time     // on its own clock
	Settled   int64         // rows that it has settled
	Calls     int64         // as far as they are in the books
	LeaseEnds time.Duration // from now, on the database's clock; negative: it has died, or is cut off
}

// Failure is the rows of a run that failed with one class and code.
type Failure struct {
	Run     string
	Class   string
	Code    int
	Rows    int64
	Example int64  // number of one of them, see [Postgres.Row]
	Error   string // of that one
}

const (
	surveyRuns     = 30  // that are at rest
	surveyBusy     = 100 // that are not; and ten times as many hosts
	surveyFailures = 200
)

// surveyedSQL are the numbers of the runs in a survey. The newest are found by an index.
const surveyedSQL = `(SELECT no FROM ((SELECT no FROM chatbatch_run WHERE state IN ('planning', 'running') ORDER BY run DESC LIMIT $1)
	UNION (SELECT no FROM chatbatch_run WHERE state NOT IN ('planning', 'running') ORDER BY run DESC LIMIT $2)) AS u)`

const surveyRunsSQL = `SELECT r.run, r.meta, r.sum, r.why, r.fleet > 0, r.publish, r.unpublished, ` + sumsSQL +
	` WHERE r.no IN ` + surveyedSQL + ` ORDER BY r.state IN ('planning', 'running') DESC, r.run DESC`

// A process that works on a run alone holds the lock of its key; of those only the newest
// session can be alive.
const surveyHostsSQL = `SELECT r.run, s.host, s.id, s.started, coalesce(b.succeeded + b.failed, 0), coalesce(b.calls, 0),
		(extract(epoch FROM k.until - clock_timestamp()) * 1000)::bigint
	FROM chatbatch_run r
	JOIN chatbatch_session s ON s.run = r.no AND s.state = 'running'
	JOIN chatbatch_lock k ON k.key = CASE s.lease WHEN '' THEN r.key ELSE s.lease END
	LEFT JOIN chatbatch_books b ON b.run = s.run AND b.hand = s.hand AND s.hand > 0
	WHERE r.no IN ` + surveyedSQL + `
		AND (s.lease <> '' OR r.state = 'running' AND s.id = (SELECT max(id) FROM chatbatch_session WHERE run = r.no))
	ORDER BY r.run DESC, s.host, s.id LIMIT 10 * $1`

// Of several hands the first example is the one that is shown.
const surveyFailuresSQL = `SELECT r.run, t.class, t.code, sum(t.rows)::bigint, min(t.example), (array_agg(t.error ORDER BY t.example))[1]
	FROM chatbatch_tally t JOIN chatbatch_run r ON r.no = t.run
	WHERE t.run IN ` + surveyedSQL + `
	GROUP BY r.state IN ('planning', 'running'), r.run, t.class, t.code
	ORDER BY r.state IN ('planning', 'running') DESC, r.run DESC, sum(t.rows) DESC, t.class, t.code LIMIT $3`

// Survey looks at the runs of the database: those that are worked on first, then the newest
// of the others. It waits for nobody: a database that is away is an error at once, or when
// ctx ends.
func (p *Postgres) Survey(ctx context.Context) (Survey, error) {
	var s Survey
	var q pgx.Batch
	busy, rest := int64(surveyBusy), int64(surveyRuns+1)
	q.Queue("SELECT clock_timestamp()").QueryRow(func(row pgx.Row) error { return row.Scan(&s.Now) })
	q.Queue(surveyRunsSQL, busy, rest).Query(s.readRuns)
	q.Queue(surveyHostsSQL, busy, rest).Query(s.readHosts)
	q.Queue(surveyFailuresSQL, busy, rest, int64(surveyFailures)).Query(s.readFailures)
	err := p.readers.SendBatch(ctx, &q).Close()
	if p.passes(ctx, err) && ctx.Err() == nil {
		p.readers.Reset() // its connections may be those to a server that is no more
		s = Survey{}
		err = p.readers.SendBatch(ctx, &q).Close()
	}
	if err != nil {
		return Survey{}, fmt.Errorf("look at the runs: %w", p.explain(ctx, err))
	}
	s.drop()
	return s, nil
}

// drop leaves out the run that was read to see whether there is one more.
func (s *Survey) drop() {
	atRest := func(r Surveyed) bool { return r.State != Planning && r.State != Running }
	if first := slices.IndexFunc(s.Runs, atRest); first >= 0 && len(s.Runs)-first > surveyRuns {
		s.Runs, s.More = s.Runs[:first+surveyRuns], true
	}
}

func (s *Survey) readRuns(rows pgx.Rows) error {
	for rows.Next() {
		var r Surveyed
		var text, why, unpublished []byte
		var sum int64
		var state, publish string
		var t sums
		if err := rows.Scan(append([]any{&r.Run, &text, &sum, &why, &r.Shared, &publish, &unpublished}, t.dest(&state)...)...); err != nil {
			return err
		}
		t.state = State(state)
		if r.Meta, r.Err = metaOf(text, uint32(sum)); r.Err == nil {
			r.Err = checkState(t.state)
		}
		r.enter(t)
		r.Why, r.Calls, r.Publish, r.Unpublished = string(why), t.calls, Publish(publish), string(unpublished)
		s.Runs = append(s.Runs, r)
	}
	return rows.Err()
}

func (s *Survey) readHosts(rows pgx.Rows) error {
	for rows.Next() {
		var h Host
		var started, ends int64
		if err := rows.Scan(&h.Run, &h.Name, &h.Session, &started, &h.Settled, &h.Calls, &ends); err != nil {
			return err
		}
		h.Since, h.LeaseEnds = time.UnixMilli(started).UTC(), time.Duration(ends)*time.Millisecond
		s.Hosts = append(s.Hosts, h)
	}
	return rows.Err()
}

func (s *Survey) readFailures(rows pgx.Rows) error {
	for rows.Next() {
		var f Failure
		var text []byte
		if err := rows.Scan(&f.Run, &f.Class, &f.Code, &f.Rows, &f.Example, &text); err != nil {
			return err
		}
		f.Error = string(text)
		s.Failures = append(s.Failures, f)
	}
	return rows.Err()
}

// Row is a row of a run as written, by its number. Like Survey it waits for nobody.
func (p *Postgres) Row(ctx context.Context, run string, num int64) (line int64, raw string, err error) {
	var b block
	err = p.readers.QueryRow(ctx, `SELECT first, rows, data FROM chatbatch_source
		WHERE run = (SELECT no FROM chatbatch_run WHERE run = $1) AND first <= $2 ORDER BY first DESC LIMIT 1`, run, num).
		Scan(&b.first, &b.rows, &b.data)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, "", fmt.Errorf("run %s: row %d is not on record: %w", run, num, ErrNoRun)
	}
	if err != nil {
		return 0, "", p.explain(ctx, err)
	}
	b.of = owner(run)
	return b.row(num)
}

// maxHost bounds the name of a host.
const maxHost = 64

// plainHost is the name of a host as every database can keep it.
func plainHost(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, name)
	return name[:min(len(name), maxHost)]
}

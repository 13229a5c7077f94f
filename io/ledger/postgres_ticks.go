package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// formThree is for schedules, and the ticks that came of them.
const formThree = `
CREATE TABLE chatbatch_schedule (
	name  text COLLATE "C" PRIMARY KEY,
	about bytea NOT NULL, -- JSON
	clock text COLLATE "C" NOT NULL, -- cron expression and time zone
	lock  text COLLATE "C" NOT NULL, -- key of the lock of who works on a tick of it
	upto  timestamptz NOT NULL, -- the ticks up to then are decided
	seen  timestamptz NOT NULL -- a host that holds it has looked at it
) WITH (fillfactor = 20);
CREATE TABLE chatbatch_tick (
	schedule text COLLATE "C" NOT NULL,
	tick     timestamptz NOT NULL,
	state    text NOT NULL,
	run      text COLLATE "C" NOT NULL DEFAULT '',
	host     bytea NOT NULL DEFAULT '',
	takes    bigint NOT NULL DEFAULT 0, -- how often a host has begun with it
	began    timestamptz,
	ended    timestamptz,
	code     bigint NOT NULL DEFAULT 0, -- exit code
	why      bytea NOT NULL DEFAULT '',
	PRIMARY KEY (schedule, tick)
) WITH (fillfactor = 50);
`

// TickState says what became of a tick.
type TickState string

// The states of a tick. A tick that was missed or skipped is never worked on.
const (
	TickWaiting TickState = "waiting" // for a host to take it
	TickRunning TickState = "running"
	TickEnded   TickState = "ended"
	TickSkipped TickState = "skipped" // an earlier one was under way
	TickMissed  TickState = "missed"  // no host was there
)

// A Schedule says what is to be done, and when. Hosts that hold one of the same name
// hold the same one.
type Schedule struct {
	Name    string `json:"-"`
	Kind    string `json:"kind"`
	Input   string `json:"input,omitempty"`
	Output  string `json:"output,omitempty"`
	Cron    string `json:"cron"`
	Zone    string `json:"timezone"`
	Missed  string `json:"missed"`
	Overlap string `json:"overlap"`
	Submit  bool   `json:"submit,omitempty"`
	Flags   string `json:"flags,omitempty"` // tells apart what else it may say
}

// A Tick is one moment of a schedule, and what became of it.
type Tick struct {
	Schedule     string
	At           time.Time
	State        TickState
	Run          string // "": none was begun
	Host         string // that took it last
	Takes        int64  // how often a host has begun with it
	Began, Ended time.Time
	Code         int // exit code, once it has ended
	Why          string
}

// Scheduled is how a schedule stands.
type Scheduled struct {
	Schedule
	Upto, Now time.Time // by the database's clock: the ticks up to Upto are decided
	Seen      time.Time // a host that holds it has looked at it
	Held      bool      // a host works on a tick of it
	Open      bool      // a tick of it waits, or is worked on
	Last      Tick      // the newest one; zero: there was none
}

// scheduleLock is the key of the lock of who works on a tick of a schedule.
func scheduleLock(name string) string {
	sum := sha256.Sum256([]byte("schedule\n" + name))
	return hex.EncodeToString(sum[:])
}

func (s Schedule) about() ([]byte, error) { return json.Marshal(s) }

// HoldSchedule puts a schedule into the database, or what it says now in the place of
// what it said. One that is new there, or has another clock, begins now: no tick of it
// was before.
func (p *Postgres) HoldSchedule(ctx context.Context, s Schedule) error {
	about, err := s.about()
	if err != nil {
		return err
	}
	err = p.exec(ctx, `INSERT INTO chatbatch_schedule AS s (name, about, clock, lock, upto, seen)
		VALUES ($1, $2, $3, $4, clock_timestamp(), clock_timestamp())
		ON CONFLICT (name) DO UPDATE SET about = excluded.about, clock = excluded.clock, seen = excluded.seen,
			upto = CASE WHEN s.clock = excluded.clock THEN s.upto ELSE excluded.upto END`,
		s.Name, about, s.Cron+"\n"+s.Zone, scheduleLock(s.Name))
	if err != nil {
		return fmt.Errorf("hold schedule %s: %w", s.Name, err)
	}
	return nil
}

// SeeSchedules notes that this host holds some schedules.
func (p *Postgres) SeeSchedules(ctx context.Context, names []string) error {
	return p.exec(ctx, "UPDATE chatbatch_schedule SET seen = clock_timestamp() WHERE name = ANY($1)", names)
}

// tickColumns are those of a tick t, as scanTick wants them.
const tickColumns = `t.schedule, t.tick, t.state, t.run, t.host, t.takes, t.began, t.ended, t.code, t.why`

const scheduledSQL = `SELECT s.name, s.about, s.upto, clock_timestamp(), s.seen,
	coalesce((SELECT k.until > clock_timestamp() FROM chatbatch_lock k WHERE k.key = s.lock), false),
	EXISTS (SELECT 1 FROM chatbatch_tick o WHERE o.schedule = s.name AND o.ended IS NULL),
	coalesce(t.schedule, ''), coalesce(t.tick, 'epoch'), coalesce(t.state, ''), coalesce(t.run, ''), coalesce(t.host, ''), coalesce(t.takes, 0),
	t.began, t.ended, coalesce(t.code, 0), coalesce(t.why, '')
	FROM chatbatch_schedule s
	LEFT JOIN LATERAL (SELECT * FROM chatbatch_tick WHERE schedule = s.name ORDER BY tick DESC LIMIT 1) t ON true
	ORDER BY s.name`

// Schedules says how all schedules of the database stand. It does not wait for a
// database that is away.
func (p *Postgres) Schedules(ctx context.Context) ([]Scheduled, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	rows, err := p.readers.Query(ctx, scheduledSQL)
	if err != nil {
		return nil, fmt.Errorf("look at the schedules: %w", p.explain(ctx, err))
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Scheduled, err error) {
		var about []byte
		var name string
		s.Last, err = scanTick(row, &name, &about, &s.Upto, &s.Now, &s.Seen, &s.Held, &s.Open)
		if err == nil {
			err = json.Unmarshal(about, &s.Schedule)
		}
		s.Name = name
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("look at the schedules: %w", p.explain(ctx, err))
	}
	return all, nil
}

// scanTick reads a tick, behind what before is for.
func scanTick(row pgx.CollectableRow, before ...any) (t Tick, err error) {
	var state string
	var host, why []byte
	var began, ended *time.Time
	var code int64
	err = row.Scan(append(before, &t.Schedule, &t.At, &state, &t.Run, &host, &t.Takes, &began, &ended, &code, &why)...)
	t.State, t.Host, t.Why, t.Code = TickState(state), string(host), string(why), int(code)
	if began != nil {
		t.Began = *began
	}
	if ended != nil {
		t.Ended = *ended
	}
	return t, err
}

// Decide lets decide say which ticks of a schedule came after upto until now, and what is
// to become of each; open are those before them that have not ended. Of all hosts, and
// whatever dies, one decides of a tick. It decides nothing if the database has a
// schedule of this name that says something else.
func (p *Postgres) Decide(ctx context.Context, s Schedule, decide func(upto, now time.Time, open int) []Tick) (ticks []Tick, err error) {
	about, err := s.about()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	err = pgx.BeginTxFunc(ctx, p.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, settingsSQL); err != nil {
			return err
		}
		var upto, now time.Time
		var open int
		err := tx.QueryRow(ctx, `SELECT upto, clock_timestamp() FROM chatbatch_schedule WHERE name = $1 AND about = $2 FOR UPDATE`,
			s.Name, about).Scan(&upto, &now)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err == nil {
			// Only now: another may have decided while this one waited for it.
			err = tx.QueryRow(ctx, "SELECT count(*) FROM chatbatch_tick WHERE schedule = $1 AND ended IS NULL", s.Name).Scan(&open)
		}
		if err != nil {
			return err
		}
		if ticks = decide(upto, now, open); len(ticks) == 0 {
			return nil
		}
		return enterTicks(ctx, tx, s.Name, ticks)
	})
	if err != nil {
		return nil, fmt.Errorf("schedule %s: %w", s.Name, p.explain(ctx, err))
	}
	return ticks, nil
}

func enterTicks(ctx context.Context, tx pgx.Tx, name string, ticks []Tick) error {
	var q pgx.Batch
	for _, t := range ticks {
		q.Queue(`INSERT INTO chatbatch_tick (schedule, tick, state, why, ended)
			VALUES ($1, $2, $3, $4, CASE WHEN $3 = 'waiting' THEN NULL ELSE clock_timestamp() END)
			ON CONFLICT DO NOTHING`, name, t.At, string(t.State), []byte(t.Why))
	}
	q.Queue("UPDATE chatbatch_schedule SET upto = $2 WHERE name = $1", name, ticks[len(ticks)-1].At)
	// What is kept is for people to look at.
	q.Queue(`DELETE FROM chatbatch_tick WHERE schedule = $1 AND ended IS NOT NULL AND tick <
		(SELECT tick FROM chatbatch_tick WHERE schedule = $1 ORDER BY tick DESC OFFSET $2 LIMIT 1)`, name, int64(keptTicks))
	return tx.SendBatch(ctx, &q).Close()
}

// keptTicks is how many ticks of a schedule are kept.
const keptTicks = 2000

// A HeldTick is a tick that this host has taken. No other has it meanwhile.
type HeldTick struct {
	Tick
	p   *Postgres
	key string
	end func()
}

// TakeTick takes the oldest tick of a schedule that waits, or that a host had which is no
// more; nil if there is none. It is ErrLocked while another works on one.
func (p *Postgres) TakeTick(ctx context.Context, schedule, host string) (*HeldTick, error) {
	key := scheduleLock(schedule)
	unlock, err := p.Lock(ctx, key, false)
	if err != nil {
		return nil, err
	}
	h := &HeldTick{p: p, key: key, end: unlock}
	err = p.ask(ctx, func(ctx context.Context) error {
		rows, err := p.pool.Query(ctx, "SELECT "+tickColumns+" FROM chatbatch_tick t WHERE t.schedule = $1 AND t.ended IS NULL ORDER BY t.tick LIMIT 1", schedule)
		if err != nil {
			return err
		}
		h.Tick, err = pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (Tick, error) { return scanTick(row) })
		return err
	})
	if err == nil {
		h.State, h.Host, h.Why = TickRunning, host, ""
		h.Takes++
		err = h.Save(ctx)
	}
	switch {
	case err == nil:
		return h, nil
	case errors.Is(err, pgx.ErrNoRows):
		unlock()
		return nil, nil
	}
	unlock()
	return nil, fmt.Errorf("take a tick of schedule %s: %w", schedule, p.explain(ctx, err))
}

// Save writes what has become of the tick. A database that is away is waited for.
func (h *HeldTick) Save(ctx context.Context) error {
	by, err := h.p.held(h.key)
	if err != nil {
		return err
	}
	return h.p.durably(ctx, by, askTime, func(ctx context.Context, tx *pgTx) error {
		err := tx.begin(ctx, nil)
		tx.last.Queue(`UPDATE chatbatch_tick SET state = $3, run = $4, host = $5, takes = $6, code = $7, why = $8,
			began = coalesce(began, clock_timestamp()), ended = CASE WHEN $3 = 'ended' THEN clock_timestamp() END
			WHERE schedule = $1 AND tick = $2`,
			h.Schedule, h.At, string(h.State), h.Run, []byte(h.Host), h.Takes, int64(h.Code), []byte(h.Why))
		return err
	})
}

// Release lets the next tick of the schedule be taken, or this one again if it has not
// ended.
func (h *HeldTick) Release() { h.end() }

// Ticks are the newest ticks of a schedule, or of all for "", the newest last.
func (p *Postgres) Ticks(ctx context.Context, schedule string, most int) (ticks []Tick, err error) {
	err = p.ask(ctx, func(ctx context.Context) error {
		rows, err := p.readers.Query(ctx, `SELECT * FROM (SELECT `+tickColumns+` FROM chatbatch_tick t WHERE $1 = '' OR t.schedule = $1
			ORDER BY t.tick DESC, t.schedule DESC LIMIT $2) AS t ORDER BY t.tick, t.schedule`, schedule, int64(most))
		if err != nil {
			return err
		}
		ticks, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (Tick, error) { return scanTick(row) })
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list ticks: %w", p.explain(ctx, err))
	}
	return ticks, nil
}

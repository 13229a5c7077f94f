package jobs

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"chatbatch/io/ledger"
)

// A Plan is where a [Planner] writes what it found. *ledger.Ledger is one; a
// dry run has none.
type Plan interface {
	PlanSource(num, line int64, raw string) error
	PlanFailed(num int64, o ledger.Outcome) error
	PlanChunk(group string, entries []ledger.Entry) error
}

// A Planner reads a whole input, checks it, merges it and cuts it into chunks,
// before the first call.
//
// Its memory does not grow with the input: rows are hashed by group into
// partitions that spill to one temporary file when the input is large, and one
// partition is grouped at a time.
type Planner struct {
	Kind      Kind
	ChunkSize int   // most accounts in a chunk; DefaultChunkSize if 0
	MaxBad    Limit // bad rows beyond which the input is refused, not counting those of a failed file; none if zero
	TempDir   string
	Memory    int // bytes of rows in memory before they spill; 8 MiB if 0

	// Tell is told now and then how far it is: rows read, and accounts put into
	// chunks. It may be nil, and is called by one goroutine at a time.
	Tell func(rows, accounts int64)
}

// A Limit is a bound on a number of rows: a count, or a share of all rows in
// percent. The zero Limit never bounds.
type Limit struct {
	Most    float64
	Percent bool // Most is a share
	Set     bool
}

// ParseLimit reads "100" or "5%"; the empty text is no limit.
func ParseLimit(text string) (Limit, error) {
	if text == "" {
		return Limit{}, nil
	}
	if share, ok := strings.CutSuffix(text, "%"); ok {
		p, err := strconv.ParseFloat(share, 64)
		if err != nil || !(p >= 0 && p <= 100) { // so written, NaN is refused too
			return Limit{}, fmt.Errorf("%q is not a share between 0%% and 100%%", text)
		}
		return Limit{Most: p, Percent: true, Set: true}, nil
	}
	n, err := strconv.ParseUint(text, 10, 53)
	if err != nil {
		return Limit{}, fmt.Errorf("%q is neither a number of rows nor a share like 5%%", text)
	}
	return Limit{Most: float64(n), Set: true}, nil
}

// Exceeded says whether n of rows is beyond the limit.
func (l Limit) Exceeded(n, rows int64) bool {
	if l.Percent {
		return l.Set && float64(n)*100 > l.Most*float64(rows)
	}
	return l.Set && float64(n) > l.Most
}

// String is the limit as [ParseLimit] reads it.
func (l Limit) String() string {
	switch text := strconv.FormatFloat(l.Most, 'f', -1, 64); {
	case !l.Set:
		return ""
	case l.Percent:
		return text + "%"
	default:
		return text
	}
}

// A BadRow is a row that is named in a refusal or in a dry run.
type BadRow struct {
	Line int64
	Err  error
}

// badRowsKept is how many bad rows are named; all are counted.
const badRowsKept = 20

// Totals is what a plan comes to.
type Totals struct {
	Rows       int64
	BadRows    int64
	OverLimit  int64 // rows beyond a limit of their group
	Superseded int64 // rows that a later row of the same account replaced
	Accounts   int64 // entries after merging
	Groups     int64
	Chunks     int64
	EachRow    bool     // an entry is a call of its own
	Bad        []BadRow // the first of the bad rows
	Over       []BadRow // the first of the rows over a limit
}

// Calls is the fewest calls that can do the plan. An export takes more if a group
// has more than one page.
func (t Totals) Calls() int64 {
	if t.EachRow {
		return t.Accounts
	}
	return t.Chunks
}

// Duration is how long the plan's calls take at a budget of qps a second.
func (t Totals) Duration(qps int) time.Duration {
	return time.Duration(float64(t.Calls()) / float64(qps) * float64(time.Second)).Round(time.Second / 10)
}

// An InputError refuses an input of which too many rows are bad.
type InputError struct {
	Totals Totals
	Max    Limit
}

func (e *InputError) Error() string {
	return fmt.Sprintf("%d of %d rows are bad, more than the %s allowed", e.Totals.BadRows, e.Totals.Rows, e.Max)
}

// Plan reads in to its end. An error is either an *InputError, or says that
// the input could not be read or the plan not be written; in each case nothing
// may be sent. sink may be nil.
func (p *Planner) Plan(ctx context.Context, in *Input, sink Plan) (Totals, error) {
	pl := &planning{Planner: *p, sink: sink}
	if pl.ChunkSize == 0 {
		pl.ChunkSize = DefaultChunkSize
	}
	if pl.Memory == 0 {
		pl.Memory = 8 << 20
	}
	if sink == nil {
		pl.sink = discard{}
	}
	_, pl.supersedes = p.Kind.(Superseder)
	_, pl.totals.EachRow = p.Kind.(RowKind)
	pl.spill = newSpill(p.TempDir, partitions, pl.Memory)
	defer pl.spill.close()
	if err := pl.read(ctx, in); err != nil {
		return pl.totals, err
	}
	if err := pl.spill.drain(); err != nil {
		return pl.totals, err
	}
	if p.MaxBad.Exceeded(pl.totals.BadRows-pl.knownBad, pl.totals.Rows) {
		return pl.totals, &InputError{Totals: pl.totals, Max: p.MaxBad}
	}
	return pl.totals, pl.groupAll(ctx)
}

// partitions is how many parts a large input is cut into: 10 million rows make
// parts of about 40,000, which group in a few megabytes.
const partitions = 256

// A planning is one call of Plan.
type planning struct {
	Planner
	spill      *spill
	knownBad   int64 // bad rows that come from a failed file: they were reported before
	supersedes bool  // the last row of an account replaces the earlier ones

	mu     sync.Mutex // while partitions are grouped side by side
	sink   Plan       // under mu then
	totals Totals     // under mu then
}

// checkEvery is how often a long loop looks whether it was cancelled.
const checkEvery = 1 << 12

func (p *planning) read(ctx context.Context, in *Input) error {
	for rec, err := range in.Records {
		if err != nil {
			return err
		}
		if rec.Num%checkEvery == 0 {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			p.tell()
		}
		p.totals.Rows++
		if err := p.sink.PlanSource(rec.Num, rec.Line, rec.Raw); err != nil {
			return err
		}
		if rec.Err != nil {
			if err := p.bad(rec); err != nil {
				return err
			}
			continue
		}
		a := rec.Ask
		part := int(hash(a.Group) % partitions)
		if err := p.spill.add(part, rec.Num, rec.Line, a.Group, a.Account, a.Data); err != nil {
			return err
		}
	}
	return nil
}

// tell says how far the plan is. While partitions are grouped the caller holds p.mu.
func (p *planning) tell() {
	if p.Tell != nil {
		p.Tell(p.totals.Rows, p.totals.Accounts)
	}
}

func (p *planning) bad(rec Record) error {
	p.totals.BadRows++
	if rec.FedBack {
		p.knownBad++
	}
	if len(p.totals.Bad) < badRowsKept {
		p.totals.Bad = append(p.totals.Bad, BadRow{rec.Line, rec.Err})
	}
	return p.sink.PlanFailed(rec.Num, ledger.Outcome{Class: ClassBadRow, Error: rec.Err.Error()})
}

// discard is the plan of a dry run.
type discard struct{}

func (discard) PlanSource(int64, int64, string) error  { return nil }
func (discard) PlanFailed(int64, ledger.Outcome) error { return nil }
func (discard) PlanChunk(string, []ledger.Entry) error { return nil }

// hash is FNV-1a with a final mix: the same in every process, and spread well
// over its low bits also for ids that differ in their last digits only.
func hash[T string | []byte](s T) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	return h ^ h>>33
}

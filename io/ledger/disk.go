package ledger

import (
	"context"
	"database/sql"
	"iter"
	"time"
)

// A disk is where the records of one open run lie: a file of SQLite, or tables in
// PostgreSQL. What a run is and how its records change is the same on all of them;
// a disk only reads and writes. Its errors are its own, until fail puts them in words.
type disk interface {
	// commit makes some changes durable, all or none, and notes in errs which of
	// them cannot be made. It returns what they came to.
	commit(ctx context.Context, l *Ledger, changes []*change, errs []error) (*batch, error)

	// look takes a look that stays as it is, however the run goes on.
	look(ctx context.Context) (look, error)

	keep(ctx context.Context, l *Ledger, data []byte) (Span, error)
	hasKept(ctx context.Context) bool
	dropKept(ctx context.Context, l *Ledger) error

	// again waits after an error of a look, and says whether to take another. Its
	// callers have done so since the first error.
	again(ctx context.Context, err error, since time.Time) bool

	fail(op string, err error) error // says where it happened, and what to do
	close(ctx context.Context) error
}

// A planDisk takes the plan of a run. What it has taken counts when sealed.
type planDisk interface {
	source(ctx context.Context, b block) error
	refused(ctx context.Context, r refusedRows) error
	chunk(ctx context.Context, c chunkRow) error
	seal(ctx context.Context, p *planner, superseded int64) error
}

// A look is the records of a run at one moment. One goroutine at a time. Blobs that
// it yields are valid until the next item.
type look interface {
	sums(ctx context.Context) (sums, error)
	tally(ctx context.Context) ([]Example, error) // without Num's Line and Raw
	chunks(ctx context.Context, s selection) iter.Seq2[*chunkRow, error]
	entries(ctx context.Context, chunk int64) iter.Seq2[*entryRow, error]
	source(ctx context.Context, num int64) (block, error) // that row num is in; errNoRecord if there is none
	pace(ctx context.Context) iter.Seq2[Second, error]
	latencies(ctx context.Context) iter.Seq2[windowRow, error] // without what failed
	failing(ctx context.Context) iter.Seq2[windowRow, error]   // of one class each
	sessionLatencies(ctx context.Context) ([]string, error)
	kept(ctx context.Context, s Span) ([]byte, error)
	close()
}

// A loader reads what a batch is about to change.
type loader interface {
	// record reads what n asks for; nil if there is no such chunk.
	record(n need, have *record) (*record, error)
	lastSession() (int64, error)
	openChunks() (int64, error) // that are not settled
}

// errNoRecord says that there is no such record.
var errNoRecord = sql.ErrNoRows

// sums are what the books and the sessions of a run add up to.
type sums struct {
	state                               State
	rows, succeeded, failed, superseded int64
	replayed, calls, retries, refused   int64
	chunks, groups                      int64
	started, seen                       sql.NullInt64 // Unix milliseconds
	seconds                             float64
	peak                                int
}

// chunkRow is a chunk on record, or a blob of refused rows.
type chunkRow struct {
	id           int64
	group        string
	rows, lo, hi int64
	entries      int
	nums, asks   []byte // nil if not asked for

	sent           int64 // session that sent it last; 0: none
	outcomes, note []byte
	settled        sql.NullInt64 // Unix milliseconds
	parts          bool          // it has records of its entries
}

// refusedRows are rows that fail before any call.
type refusedRows struct {
	rows, lo, hi   int64
	nums, outcomes []byte
}

// A selection says which chunks are wanted, and how. They come by number.
type selection struct {
	refused bool  // blobs of refused rows instead of chunks
	lo, hi  int64 // only those that can have rows from lo to hi, without hi; hi 0: all
	byRow   bool  // by the first row of each instead of by number
	open    bool  // only those that are not settled,
	after   int64 // behind this one,
	limit   int   // and so many; 0: all

	nums, asks bool // with these
	counts     bool // with nums where they say that an entry has several rows
}

// entryRow is the record of an entry of a chunk.
type entryRow struct {
	place                       int
	sent, doubt, calls, retries int64
	outcome                     []byte // nil: not settled
}

// windowRow is a part of a run's time.
type windowRow struct {
	second, answers int64
	seconds         int
	histogram       string // "": no call was answered
	failed          map[string]int64

	id    int64  // of a latency in a database
	class string // of failed, there
}

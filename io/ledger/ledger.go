// Package ledger is the durable record of a run: what its input said, what was
// planned, what was sent, and what became of every row.
//
// A run has a directory in a [Store] and in it one SQLite file, and beside it,
// for what an export fetches, one file that only grows; or, in a [Postgres], its
// rows in the tables of a database, where any host goes on with it. It promises
// three things. What a method has returned for is on disk: the process or the
// machine may die in the next instant. A row has one outcome: [Ledger.Rows]
// checks it, row by row, and stops with [ErrUnbalanced] where it is not so.
// And a run whose planning never ended counts as never begun.
//
// It does not keep a row for each account: rows and outcomes lie in compact
// blobs, a few thousand to the file's every page, so that ten million rows cost
// about as much disk as the input and the books of 500 cost one small write.
//
// Planning is the work of one goroutine. Everything after [Ledger.PlanDone] may
// be called by many. Only one process at a time may have a run open for writing
// (see [Store.Lock]), unless they have joined (see [Postgres.Join]); any number may
// read it with [Store.OpenRead] meanwhile.
package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Meta says what a run is: the command that began it and the input it read.
type Meta struct {
	Run         string            `json:"run"` // see NewRunID
	Kind        string            `json:"kind"`
	Endpoint    string            `json:"endpoint"`
	SDKAppID    int64             `json:"sdkappid"`
	Identifier  string            `json:"identifier"`
	Input       string            `json:"input"` // name of the input, as given
	InputSHA256 string            `json:"input_sha256"`
	Options     map[string]string `json:"options,omitempty"`   // those that change the plan
	Format      string            `json:"format"`              // "csv", "jsonl" or "xlsx"
	Header      string            `json:"header"`              // as written, without line end; "" for JSONL
	NewLine     string            `json:"newline"`             // "\n" or "\r\n"
	Encoding    string            `json:"encoding,omitempty"`  // "" is UTF-8
	Delimiter   string            `json:"delimiter,omitempty"` // "" is a comma
	Created     time.Time         `json:"created"`
	Version     string            `json:"version"`         // of the program
	Batch       string            `json:"batch,omitempty"` // what several runs that were begun together share
	Of          string            `json:"of,omitempty"`    // the earlier run whose failed rows these are
}

// Key says which command this is; see [Key].
func (m Meta) Key() string {
	return Key(m.Kind, m.Endpoint, m.SDKAppID, m.InputSHA256, m.Options)
}

// plainMeta is Meta without its methods.
type plainMeta Meta

// storedMeta is Meta as JSON, which has no bytes that are not UTF-8.
type storedMeta struct {
	plainMeta
	HeaderBytes []byte `json:"header_bytes,omitempty"` // in place of a Header that is not UTF-8
}

// MarshalJSON keeps all bytes of the Header.
func (m Meta) MarshalJSON() ([]byte, error) {
	s := storedMeta{plainMeta: plainMeta(m)}
	if !utf8.ValidString(m.Header) {
		s.HeaderBytes = []byte(m.Header)
	}
	return json.Marshal(s)
}

// UnmarshalJSON reads what MarshalJSON wrote, now or in an older version.
func (m *Meta) UnmarshalJSON(b []byte) error {
	var s storedMeta
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if *m = Meta(s.plainMeta); s.HeaderBytes != nil {
		m.Header = string(s.HeaderBytes)
	}
	return nil
}

// State says where a run stands.
type State string

// The states of a run. A run that is Running while no process holds its lock
// was killed; it goes on like an interrupted one.
const (
	Planning    State = "planning"    // counts as never begun
	Planned     State = "planned"     // not a call yet
	Running     State = "running"     // between Begin and End
	Finished    State = "finished"    // every chunk is settled
	Interrupted State = "interrupted" // by a signal
	Stopped     State = "stopped"     // by a guard
	Refused     State = "refused"     // by the server, for the run as a whole
	Expired     State = "expired"     // the time it was given is over
	Cancelled   State = "cancelled"   // by its user, for good unless it is resumed by its name
)

func states() []State {
	return []State{Planning, Planned, Running, Finished, Interrupted, Stopped, Refused, Expired, Cancelled}
}

// Entry is what a chunk asks for one account.
type Entry struct {
	Account string
	Data    []byte  // of the kind's own making, e.g. the marks
	Rows    []int64 // numbers of the rows that share the outcome; at least one
}

// Chunk is a set of entries of one group that are sent and settled together.
type Chunk struct {
	ID      int64 // in plan order
	Group   string
	Entries []Entry
	InDoubt bool // it, or an entry, was sent by an earlier session that did not settle it

	// Settled has the outcomes of entries that SettleEntry has settled, by
	// their place in Entries; nil if there is none.
	Settled map[int]Outcome
}

// Outcome is what became of a row. Its zero value is a success at no attempt.
type Outcome struct {
	Class    string // "" means succeeded
	Code     int    // of the server; 0 if it sent none
	Error    string // for people
	Attempts int    // calls that carried this row
}

// Cost is what a chunk took. Retries are among the Calls.
type Cost struct{ Calls, Retries int }

// Session is what one process did for a run, beyond what its settled chunks say.
type Session struct {
	Calls               int     // of no settled chunk
	Retries             int     // of no settled chunk; among the Calls
	Refused             int     // all calls that the server refused for their frequency
	MaxCallsInOneSecond int     // most calls in any window of one second
	Seconds             float64 // at work; 0: the time since Begin
}

// Ledger is the open record of one run. Close it.
type Ledger struct {
	meta     Meta
	disk     disk
	readOnly bool
	told     bool // the reports were written when it was opened

	// base is the context of Open without its cancellation: what was queued
	// is written also while the run is being stopped.
	base context.Context

	plan  *planner // until PlanDone; only the planning goroutine touches it
	write *writer  // from PlanDone on

	session atomic.Int64            // number of the session, 0 outside of Begin and End
	note    atomic.Pointer[Session] // newest figures of the session

	mu     sync.Mutex
	state  State // under mu
	closed bool  // under mu
}

// newLedger is that of a run that is to be planned.
func newLedger(ctx context.Context, d disk, m Meta) *Ledger {
	return &Ledger{
		disk: d, base: context.WithoutCancel(ctx), meta: m, state: Planning, plan: &planner{tally: map[tallyKey]tallyRow{}},
	}
}

// Meta returns what the run is. Meta.Format is "csv", "jsonl" or "xlsx".
func (l *Ledger) Meta() Meta { return l.meta }

// owner is whose the blobs of this ledger are.
func (l *Ledger) owner() owner { return owner(l.meta.Run) }

// fail makes an error of this ledger out of err; nil stays nil.
func (l *Ledger) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	return l.disk.fail(op, err)
}

func (l *Ledger) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// State returns where the run stands, as of Open or of the last change made
// through this Ledger. (A reader sees the newest in [Ledger.Summary].)
func (l *Ledger) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

func (l *Ledger) setState(s State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = s
}

// Close writes what is queued and closes what is open. A run that is still being
// planned is left as never begun. Close may be called twice; the second call does
// nothing.
func (l *Ledger) Close() error {
	l.mu.Lock()
	done := l.closed
	l.closed = true
	l.mu.Unlock()
	if done {
		return nil
	}
	if l.write != nil {
		l.write.close()
	}
	return l.fail("close", l.disk.close(l.base))
}

// metaOf reads what a run is, as it was written with this checksum; 0: it is not known.
func metaOf(text []byte, sum uint32) (m Meta, err error) {
	if err = json.Unmarshal(text, &m); err == nil && sum != 0 && sum != checksum(text, "") {
		err = errors.New("wrong checksum")
	}
	return m, err
}

// checkState refuses a state that a run cannot be in.
func checkState(s State) error {
	if !slices.Contains(states(), s) {
		return fmt.Errorf("the run is in no state that there is: %q", s)
	}
	return nil
}

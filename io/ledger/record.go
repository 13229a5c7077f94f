package ledger

import (
	"fmt"
	"slices"
)

// A need says what a change must know of a chunk.
type need struct {
	chunk   int64 // 0: nothing
	rows    bool  // the numbers of its rows
	asks    bool  // what it asks; only of a database
	place   int   // the record of this entry, if one is wanted
	entry   bool  // one is
	entries bool  // the records of all its entries
}

// A record is what changes of a chunk, as a batch found it and leaves it.
type record struct {
	id      int64
	entries int
	nums    []byte // nil unless a need asked for it
	group   string // of a database, like the next two
	lo      int64  // least row number
	asks    []byte // nil unless a need asked for it

	known          bool  // something was noted of it before
	sent, doubt    int64 // sessions that sent it last, and before that; 0: none
	replays        int64
	calls, retries int64
	settled        bool
	owner          int64  // session that has it in hand; 0: none
	owned          bool   // by a session that lives
	outcomes, note []byte // nil unless it was settled in this batch
	at             int64  // when, in Unix milliseconds
	changed        bool
	parts          map[int]*part // records of entries that were asked for, by place
	allParts       bool          // there are no others
	folded         bool          // all records of entries are to go
}

// A part is the record of an entry. One that was not there before has all zeros.
type part struct {
	entryRow
	known            bool // it was on record, or will be
	changed, removed bool
}

// has says whether r answers n.
func (r *record) has(n need) bool {
	_, part := r.parts[n.place]
	return (!n.rows || r.nums != nil) && (!n.asks || r.asks != nil) && (!n.entries || r.allParts) && (!n.entry || part || r.allParts)
}

// part is the record of an entry, to be changed.
func (r *record) part(place int) *part {
	p := r.parts[place]
	if p == nil {
		p = &part{entryRow: entryRow{place: place}}
		r.put(p)
	}
	return p
}

func (r *record) put(p *part) {
	if r.parts == nil {
		r.parts = map[int]*part{}
	}
	r.parts[p.place] = p
}

// send notes that a session sends the chunk. It says whether an earlier one had.
func (r *record) send(session int64) (replayed bool) {
	switch r.sent {
	case session:
		return false
	case 0:
		r.sent, r.changed = session, true
		return false
	}
	r.sent, r.doubt, r.changed = session, r.sent, true
	r.replays++
	return true
}

// takeBack undoes send. It says whether that was a replay.
func (r *record) takeBack(session int64) (replayed bool) {
	if r.sent == 0 || r.sent != session {
		return false
	}
	replayed = r.doubt != 0
	r.sent, r.doubt, r.changed = r.doubt, 0, true
	if replayed {
		r.replays--
	}
	return replayed
}

// open is the record of an entry that can still be sent and settled; ErrSettled if it
// cannot, by itself or as a part of its chunk.
func (r *record) open(place int) (*part, error) {
	if place < 0 || place >= r.entries {
		return nil, fmt.Errorf("there is no entry %d: the chunk has %d", place, r.entries)
	}
	p := r.part(place)
	if r.settled || p.outcome != nil {
		return nil, ErrSettled
	}
	return p, nil
}

// send notes that a session sends the entry. It says whether an earlier one had.
func (p *part) send(session int64) (replayed bool) {
	switch {
	case !p.known:
		p.sent, p.doubt = session, 0
	case p.sent != session:
		p.sent, p.doubt = session, p.sent
		replayed = true
	default:
		return false
	}
	p.known, p.changed, p.removed = true, true, false
	return replayed
}

// takeBack undoes send. It says whether that was a replay.
func (p *part) takeBack(session int64) (replayed bool) {
	switch {
	case !p.known || p.sent != session:
		return false
	case p.doubt != 0:
		p.sent, p.doubt = p.doubt, 0
		replayed = true
	default:
		p.known, p.removed, p.sent = false, true, 0
	}
	p.changed = true
	return replayed
}

// settle notes what became of the entry.
func (p *part) settle(outcome []byte, c Cost) {
	p.outcome, p.calls, p.retries = outcome, int64(c.Calls), int64(c.Retries)
	p.known, p.changed, p.removed = true, true, false
}

// settle notes what became of the chunk, entries that were settled before included,
// and what all that took.
func (r *record) settle(s *settlement, before entriesOf, at int64) {
	r.settled, r.changed, r.folded, r.at = true, true, true, at
	r.outcomes, r.note = s.blob, s.note
	r.calls, r.retries = int64(s.cost.Calls)+before.calls, int64(s.cost.Retries)+before.retries
	r.parts, r.allParts = nil, true
}

// records yields what is on record of the entries.
func (r *record) records(yield func(*entryRow, error) bool) {
	for _, p := range r.parts {
		if p.known && !yield(&p.entryRow, nil) {
			return
		}
	}
}

// merged returns outcomes with those that were settled before in their places.
func merged(outcomes []Outcome, settled map[int]Outcome) []Outcome {
	all := slices.Clone(outcomes)
	for i, o := range settled {
		all[i] = o
	}
	return all
}

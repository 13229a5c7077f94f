package jobs

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"

	"github.com/klauspost/compress/s2"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
)

// A Keeper is where an export keeps what it has fetched until it is published.
// *ledger.Ledger is one.
type Keeper interface {
	Keep(ctx context.Context, data []byte) (ledger.Span, error)
}

// Grades of what was fetched of a group.
const (
	GradeExact     = "exact"     // read to its end, and the number of members is the one the server tells
	GradeDrifted   = "drifted"   // members came or went while it was read, twice
	GradeTruncated = "truncated" // the server lists no more than this
	GradeUncounted = "uncounted" // read to its end; the server does not tell how many there are
)

// A receipt says what was fetched of one group, and where it lies. It is the note
// of its chunk.
type receipt struct {
	Type     string        `json:"type,omitempty"`
	Online   bool          `json:"online,omitempty"` // it is the group's online list
	Members  int64         `json:"members"`
	Nameless int64         `json:"nameless,omitempty"` // members without an account, who are left out
	First    int64         `json:"first"`              // MemberNum of the first page, -1: not told
	Last     int64         `json:"last"`               // and of the last
	Pages    int           `json:"pages"`
	Reads    int           `json:"reads"`
	Grade    string        `json:"grade"`
	Keys     []string      `json:"keys,omitempty"` // of custom fields
	Spans    []ledger.Span `json:"spans,omitempty"`
}

func (r receipt) encode() ([]byte, error) { return json.Marshal(r) }

func decodeReceipt(note []byte) (r receipt, err error) {
	if err := json.Unmarshal(note, &r); err != nil {
		return r, fmt.Errorf("read the note of a group: %w", err)
	}
	return r, nil
}

// pieceBytes is how much is gathered before it is compressed and kept.
const pieceBytes = 64 << 10

// A basket takes the members of one reading of one group, each once.
type basket struct {
	keep   Keeper
	wanted func(chat.Member) bool // nil: all

	// seen has hashes of accounts: a Community has 100,000 of them, and many
	// are read side by side. If two are ever alike the count is not that of the
	// server, and the group is read again, with another seed.
	seen map[uint64]struct{}
	seed maphash.Seed

	members  int64 // wanted ones
	nameless int64 // without an account
	keys     map[string]bool
	raw      []byte
	spans    []ledger.Span
}

func newBasket(keep Keeper, wanted func(chat.Member) bool) *basket {
	return &basket{
		keep: keep, wanted: wanted, seen: map[uint64]struct{}{}, seed: maphash.MakeSeed(), keys: map[string]bool{},
	}
}

// add takes a page. It returns how many of its members are new.
func (b *basket) add(ctx context.Context, page []chat.Member) (fresh int, err error) {
	for _, m := range page {
		if m.Account == "" {
			b.nameless++
			continue
		}
		h := maphash.String(b.seed, m.Account)
		if _, again := b.seen[h]; again {
			continue
		}
		b.seen[h] = struct{}{}
		fresh++
		if b.wanted != nil && !b.wanted(m) {
			continue
		}
		b.members++
		for _, c := range customOf(m) {
			b.keys[c.Name] = true
		}
		b.raw = appendMember(b.raw, m)
	}
	if len(b.raw) < pieceBytes {
		return fresh, nil
	}
	return fresh, b.flush(ctx)
}

func (b *basket) flush(ctx context.Context) error {
	if len(b.raw) == 0 {
		return nil
	}
	span, err := b.keep.Keep(ctx, s2.Encode(nil, b.raw))
	if err != nil {
		return err
	}
	b.spans, b.raw = append(b.spans, span), b.raw[:0]
	return nil
}

// fill puts what the basket has into a receipt.
func (b *basket) fill(ctx context.Context, r *receipt) error {
	if err := b.flush(ctx); err != nil {
		return err
	}
	r.Members, r.Spans, r.Keys = b.members, b.spans, slices.Sorted(maps.Keys(b.keys))
	return nil
}

// errPiece says that a kept piece cannot be read.
var errPiece = errors.New("a kept piece of the export is broken")

// A member on record is its account, the number of its fields, and each name and
// value; texts have their length before them.
func appendMember(b []byte, m chat.Member) []byte {
	b = appendText(b, m.Account)
	b = binary.AppendUvarint(b, uint64(len(m.Fields)))
	for _, f := range m.Fields {
		b = appendText(appendText(b, f.Name), f.Value)
	}
	return b
}

func appendText[T string | []byte](b []byte, text T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// eachMember calls visit with the members of a kept piece.
func eachMember(piece []byte, visit func(chat.Member) error) error {
	raw, err := s2.Decode(nil, piece)
	if err != nil {
		return fmt.Errorf("%w: %w", errPiece, err)
	}
	p := pieceReader{rest: raw}
	for len(p.rest) > 0 {
		m := chat.Member{Account: string(p.text())}
		n := p.number()
		if n > uint64(len(p.rest)) { // each takes at least a byte
			return errPiece
		}
		m.Fields = make([]chat.Field, n)
		for i := range m.Fields {
			m.Fields[i] = chat.Field{Name: string(p.text()), Value: p.text()}
		}
		if p.broken {
			return errPiece
		}
		if err := visit(m); err != nil {
			return err
		}
	}
	return nil
}

// A pieceReader takes values off a piece. After the first that is not there it
// is broken, and yields nothing.
type pieceReader struct {
	rest   []byte
	broken bool
}

func (p *pieceReader) number() uint64 {
	n, size := binary.Uvarint(p.rest)
	if size <= 0 {
		p.broken, p.rest = true, nil
		return 0
	}
	p.rest = p.rest[size:]
	return n
}

func (p *pieceReader) text() []byte {
	n := p.number()
	if n > uint64(len(p.rest)) {
		p.broken, p.rest = true, nil
		return nil
	}
	text := p.rest[:n:n]
	p.rest = p.rest[n:]
	return text
}

package ledger

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// The blobs. Integers are varints; signed ones in zigzag form. Each blob ends
// with a CRC-32C of the rest: SQLite does not notice a bit that has flipped
// inside a value, and here that would be another account. What a blob belongs
// to is under its checksum too, without being in it: a bit that flips in the
// name of a group would be another group, one in the number of a chunk would
// give it the outcomes of its neighbour, and a -wal file beside another ledger
// would bring parts of one run into the other.
//
//	source    for each row: line − line of the row before, length of text, text
//	nums      0: each entry has one row; 1: then for each entry its count;
//	          then for each row: number − number of the row before
//	asks      for each entry: length of account, account,
//	          then 0: same data as before; else length of data + 1, data
//	outcomes  number of different outcomes; each: class, code, error, attempts;
//	          then runs: which outcome, for how many entries
//	note      as the kind has made it
//	kept      what was fetched; in a database alone, see keptName for the file

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is that of b and what it belongs to.
func checksum(b []byte, belongs string) uint32 {
	return crc32.Update(crc32.Checksum([]byte(belongs), castagnoli), castagnoli, b)
}

// seal ends a blob that belongs to something; see [owner].
func seal(b []byte, belongs string) []byte {
	return binary.LittleEndian.AppendUint32(b, checksum(b, belongs))
}

// unseal opens such a blob. Before version 4 of the schema it belonged to nothing.
func unseal(b []byte, belongs string) (*decoder, error) {
	n := len(b) - 4
	if n >= 0 {
		if sum := binary.LittleEndian.Uint32(b[n:]); sum == checksum(b[:n], belongs) || sum == checksum(b[:n], "") {
			return &decoder{b: b[:n]}, nil
		}
	}
	return nil, fmt.Errorf("%w: wrong checksum", ErrDamaged)
}

// An owner is a run, and a part of it.
type owner string

func (o owner) source(first int64) string { return fmt.Sprintf("%s source %d", o, first) }
func (o owner) numbers() string           { return fmt.Sprintf("%s numbers", o) }
func (o owner) refused(int64) string      { return fmt.Sprintf("%s refused", o) }

// asks is that of what a chunk asks for; lo is the least number of its rows: exports
// are in its order.
func (o owner) asks(chunk, lo int64, group string) string {
	return fmt.Sprintf("%s asks %d %d %s", o, chunk, lo, group)
}

func (o owner) outcomes(chunk int64) string { return fmt.Sprintf("%s outcomes %d", o, chunk) }
func (o owner) note(chunk int64) string     { return fmt.Sprintf("%s note %d", o, chunk) }
func (o owner) kept(id int64) string        { return fmt.Sprintf("%s kept %d", o, id) }

func (o owner) entry(chunk int64, place int) string {
	return fmt.Sprintf("%s entry %d %d", o, chunk, place)
}

// decoder takes values off a blob. After the first that is not there it is bad,
// and yields zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) string() string { return string(d.bytes(d.uint())) }

// end says whether the blob was taken off exactly.
func (d *decoder) end() error {
	if d.bad || len(d.b) > 0 {
		return fmt.Errorf("%w: blob of the wrong length", ErrDamaged)
	}
	return nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// encodeNums packs the row numbers of entries and finds the least and the
// greatest, and how many there are.
func encodeNums(entries []Entry, of owner) (blob []byte, lo, hi, rows int64) {
	single := byte(0)
	for _, e := range entries {
		rows += int64(len(e.Rows))
		if len(e.Rows) != 1 {
			single = 1
		}
	}
	b := make([]byte, 0, 16+2*rows+int64(len(entries)))
	b = append(b, single)
	if single == 1 {
		for _, e := range entries {
			b = binary.AppendUvarint(b, uint64(len(e.Rows)))
		}
	}
	lo, prev := int64(-1), int64(0)
	for _, e := range entries {
		for _, num := range e.Rows {
			if lo < 0 {
				lo, hi = num, num
			}
			lo, hi = min(lo, num), max(hi, num)
			b = binary.AppendVarint(b, num-prev)
			prev = num
		}
	}
	return seal(b, of.numbers()), lo, hi, rows
}

// nums reads the row numbers of a chunk or a blob of refused rows.
type nums struct {
	d       *decoder
	entries int
	counts  []uint64 // nil: one each
}

func decodeNums(blob []byte, of owner, entries int) (nums, error) {
	d, err := unseal(blob, of.numbers())
	if err != nil {
		return nums{}, err
	}
	n := nums{d: d, entries: entries}
	many := d.bytes(1)
	if d.bad || entries > len(d.b) { // each entry takes at least a byte
		return nums{}, fmt.Errorf("%w: blob of the wrong length", ErrDamaged)
	}
	if many[0] == 0 {
		return n, nil
	}
	n.counts = make([]uint64, entries)
	for i := range n.counts {
		n.counts[i] = d.uint()
		if n.counts[i] > uint64(len(d.b)) {
			return nums{}, fmt.Errorf("%w: blob of the wrong length", ErrDamaged)
		}
	}
	return n, nil
}

// count returns how many rows entry i has.
func (n nums) count(i int) int64 {
	if n.counts == nil {
		return 1
	}
	return int64(n.counts[i])
}

// each calls visit with the index of the entry and the number of each row.
func (n nums) each(visit func(entry int, num int64) error) error {
	num := int64(0)
	for i := range n.entries {
		for range n.count(i) {
			num += n.d.int()
			if n.d.bad {
				return n.d.end()
			}
			if err := visit(i, num); err != nil {
				return err
			}
		}
	}
	return n.d.end()
}

func encodeAsks(entries []Entry, belongs string) []byte {
	b := make([]byte, 0, 32*len(entries))
	var prev []byte
	for _, e := range entries {
		b = appendString(b, e.Account)
		if bytes.Equal(e.Data, prev) {
			b = append(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(e.Data))+1)
		b = append(b, e.Data...)
		prev = e.Data
	}
	return seal(b, belongs)
}

// decodeEntries puts a chunk's entries together again.
func decodeEntries(asks []byte, belongs string, of owner, numsBlob []byte, n int) ([]Entry, error) {
	d, err := unseal(asks, belongs)
	if err != nil {
		return nil, err
	}
	numbers, err := decodeNums(numsBlob, of, n)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, n)
	var prev []byte
	for i := range entries {
		entries[i].Account = d.string()
		if size := d.uint(); size > 0 {
			prev = d.bytes(size - 1)
		}
		entries[i].Data = prev
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	all := make([]int64, 0, n) // one array for all, cut up below
	if err := numbers.each(func(_ int, num int64) error { all = append(all, num); return nil }); err != nil {
		return nil, err
	}
	for i := range entries {
		c := numbers.count(i)
		entries[i].Rows, all = all[:c:c], all[c:]
	}
	return entries, nil
}

// firstAsk takes the data of the first entry off a chunk's asks.
func firstAsk(asks []byte, belongs string) ([]byte, error) {
	d, err := unseal(asks, belongs)
	if err != nil {
		return nil, err
	}
	d.string()
	var data []byte
	if size := d.uint(); size > 0 {
		data = bytes.Clone(d.bytes(size - 1))
	}
	if d.bad {
		return nil, d.end()
	}
	return data, nil
}

// sealNote keeps nil apart from empty: no note is no blob.
func sealNote(note []byte, belongs string) []byte {
	if note == nil {
		return nil
	}
	return seal(bytes.Clone(note), belongs) // the caller's array is not ours to write in
}

func openNote(blob []byte, belongs string) ([]byte, error) {
	d, err := unseal(blob, belongs)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(d.b), nil
}

func encodeOutcomes(outcomes []Outcome, belongs string) []byte {
	index := make(map[Outcome]uint64)
	var different []Outcome
	var runs []byte
	for i := 0; i < len(outcomes); {
		o := outcomes[i]
		j := i + 1
		for j < len(outcomes) && outcomes[j] == o {
			j++
		}
		k, ok := index[o]
		if !ok {
			k = uint64(len(different))
			index[o] = k
			different = append(different, o)
		}
		runs = binary.AppendUvarint(binary.AppendUvarint(runs, k), uint64(j-i))
		i = j
	}
	b := binary.AppendUvarint(nil, uint64(len(different)))
	for _, o := range different {
		b = appendString(b, o.Class)
		b = binary.AppendVarint(b, int64(o.Code))
		b = appendString(b, o.Error)
		b = binary.AppendUvarint(b, uint64(o.Attempts))
	}
	return seal(append(b, runs...), belongs)
}

// decodeOutcomes returns the different outcomes, and for each of n entries
// which one it has.
func decodeOutcomes(blob []byte, belongs string, n int, which []uint32) ([]Outcome, []uint32, error) {
	d, err := unseal(blob, belongs)
	if err != nil {
		return nil, nil, err
	}
	count := d.uint()
	if count > uint64(len(d.b)) {
		return nil, nil, fmt.Errorf("%w: blob of the wrong length", ErrDamaged)
	}
	different := make([]Outcome, count)
	for i := range different {
		different[i] = Outcome{d.string(), int(d.int()), d.string(), int(d.uint())}
	}
	which = which[:0]
	for len(d.b) > 0 && !d.bad {
		k, run := d.uint(), d.uint()
		if k >= count || run > uint64(n-len(which)) {
			return nil, nil, fmt.Errorf("%w: outcomes do not fit their chunk", ErrDamaged)
		}
		for range run {
			which = append(which, uint32(k))
		}
	}
	if len(which) != n {
		return nil, nil, fmt.Errorf("%w: %d outcomes for %d entries", ErrDamaged, len(which), n)
	}
	return different, which, d.end()
}

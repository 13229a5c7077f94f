package jobs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
)

// A spilled is one good row between reading and grouping. Its bytes are valid
// until the next one is read.
type spilled struct {
	num, line            int64
	group, account, data []byte
}

// A spill is a set of partitions of rows. It keeps up to limit bytes in
// memory; beyond that, all partitions are written as one extent each to a
// single temporary file, which has no name while it is in use. Rows come out
// of a partition in the order in which they went in.
type spill struct {
	dir   string // of the temporary file
	limit int    // bytes in memory
	bufs  [][]byte
	rows  []int64 // rows in each partition
	inMem int

	file    *os.File
	off     int64
	extents [][]extent // of each partition
}

type extent struct{ off, n int64 }

func newSpill(dir string, partitions, limit int) *spill {
	return &spill{
		dir: dir, limit: limit,
		bufs: make([][]byte, partitions), rows: make([]int64, partitions), extents: make([][]extent, partitions),
	}
}

// add puts one row into partition p.
func (s *spill) add(p int, num, line int64, group, account string, data []byte) error {
	b := s.bufs[p]
	before := len(b)
	b = binary.AppendUvarint(b, uint64(num))
	b = binary.AppendUvarint(b, uint64(line-num))
	b = append(binary.AppendUvarint(b, uint64(len(group))), group...)
	b = append(binary.AppendUvarint(b, uint64(len(account))), account...)
	b = append(binary.AppendUvarint(b, uint64(len(data))), data...)
	s.bufs[p] = b
	s.rows[p]++
	s.inMem += len(b) - before
	if s.inMem < s.limit {
		return nil
	}
	return s.flush()
}

// drain ends the adding. What a spill has in memory is written, too, if it had to write
// before, and its memory given back: grouping needs that.
func (s *spill) drain() error {
	if s.file == nil {
		return nil
	}
	err := s.flush()
	clear(s.bufs)
	return err
}

// flush writes what is in memory as one extent for each partition.
func (s *spill) flush() error {
	if s.file == nil {
		f, err := os.CreateTemp(s.dir, ".plan-*")
		if err != nil {
			return fmt.Errorf("make temporary file: %w", err)
		}
		// Without a name the file is gone when the process is, however it
		// ends. Where that cannot be done, close removes it.
		_ = os.Remove(f.Name())
		s.file = f
	}
	for p, b := range s.bufs {
		if len(b) == 0 {
			continue
		}
		if _, err := s.file.WriteAt(b, s.off); err != nil {
			return fmt.Errorf("write temporary file in %s: %w", s.dir, err)
		}
		s.extents[p] = append(s.extents[p], extent{s.off, int64(len(b))})
		s.off += int64(len(b))
		s.bufs[p] = b[:0]
	}
	s.inMem = 0
	return nil
}

// spillReadSize is how much of an extent is in memory at once.
const spillReadSize = 64 << 10

// read yields the rows of partition p. An error is the last item.
func (s *spill) read(p int) iter.Seq2[spilled, error] {
	return func(yield func(spilled, error) bool) {
		var readers []io.Reader
		for _, x := range s.extents[p] {
			readers = append(readers, io.NewSectionReader(s.file, x.off, x.n))
		}
		d := spillDecoder{r: io.MultiReader(readers...), tail: s.bufs[p]}
		for range s.rows[p] {
			r, err := d.next()
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// free drops the memory of partition p.
func (s *spill) free(p int) {
	s.bufs[p], s.extents[p], s.rows[p] = nil, nil, 0
}

func (s *spill) close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	if rm := os.Remove(s.file.Name()); rm != nil && !errors.Is(rm, os.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	return err
}

// A spillDecoder reads rows from the extents of a partition and then from the
// part of it that is still in memory. A row never crosses an extent's end.
type spillDecoder struct {
	r    io.Reader
	tail []byte
	buf  []byte // what is read and not yet decoded
	mem  []byte // the memory of buf
}

func (d *spillDecoder) next() (spilled, error) {
	for {
		if r, n := decodeSpilled(d.buf); n > 0 {
			d.buf = d.buf[n:]
			return r, nil
		}
		if err := d.fill(); err != nil {
			return spilled{}, fmt.Errorf("read temporary file: %w", err)
		}
	}
}

// fill reads more bytes behind those that are left.
func (d *spillDecoder) fill() error {
	if cap(d.mem) < len(d.buf)+spillReadSize {
		d.mem = make([]byte, 0, 2*len(d.buf)+spillReadSize)
	}
	left := append(d.mem[:0], d.buf...) // d.buf may lie in d.mem: a memmove
	n, err := io.ReadAtLeast(d.r, left[len(left):len(left)+spillReadSize], 1)
	d.buf = left[:len(left)+n]
	if errors.Is(err, io.EOF) && len(d.buf) == 0 && len(d.tail) > 0 {
		d.buf, d.tail = d.tail, nil
		return nil
	}
	return err
}

// decodeSpilled decodes the first row of b and says how long it is; 0 if b
// does not hold a whole row.
func decodeSpilled(b []byte) (spilled, int) {
	num, n := binary.Uvarint(b)
	if n <= 0 {
		return spilled{}, 0
	}
	ahead, k := binary.Uvarint(b[n:])
	if k <= 0 {
		return spilled{}, 0
	}
	n += k
	r := spilled{num: int64(num), line: int64(num + ahead)}
	for _, f := range [...]*[]byte{&r.group, &r.account, &r.data} {
		size, k := binary.Uvarint(b[n:])
		if k <= 0 || uint64(len(b)-n-k) < size {
			return spilled{}, 0
		}
		n += k
		*f = b[n : n+int(size) : n+int(size)]
		n += int(size)
	}
	return r, n
}

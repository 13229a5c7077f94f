package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Span says where a record lies that Keep has kept. A kind writes it into the
// note of the chunk for which it was fetched.
type Span struct {
	Offset int64 // of the record in the file, in bytes
	Length int64 // of what was kept, in bytes
}

// keptName is the file of what chunks brought home: too large for the ledger,
// and written once. A record is
//
//	magic    4 bytes
//	length   8 bytes, little-endian, of the data
//	checksum 4 bytes, little-endian: CRC-32C of magic, length, offset of the
//	         record (8 bytes) and data. With the offset, a record that has got to
//	         another place is none.
//	data
//
// A record counts when the ledger has its span, and the file is synced before
// that. So a torn one at the end is never looked at; what follows lies behind it.
const (
	keptName   = "fetched.dat"
	keptMagic  = "kept"
	keptHeader = 16
)

// keptFile is the file while the run is open for work.
type keptFile struct {
	mu      sync.Mutex
	f       *os.File // under mu; nil until the first Keep
	end     int64    // under mu; where the next record goes; before the first Keep, what the ledger says
	dirty   bool     // under mu; a record was written since the last sync
	dropped bool     // under mu
}

func (f *file) keptPath() string { return filepath.Join(filepath.Dir(f.path), keptName) }

// loadKept takes up what earlier sessions have left.
func (f *file) loadKept(ctx context.Context) error {
	k := &f.kept
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := f.conn.QueryRowContext(ctx, "SELECT kept FROM books").Scan(&k.end); err != nil {
		return err
	}
	if k.end < -1 {
		return fmt.Errorf("%w: %d bytes were fetched", ErrDamaged, k.end)
	}
	k.dropped, k.end = k.end < 0, max(k.end, 0)
	return nil
}

// Keep adds data to what the run has fetched and returns where it lies.
// It is on disk at the latest when a Settle, SettleWith or SettleEntry that is
// called afterwards has returned nil. It is safe for concurrent use. It is
// ErrFull if there is no room, and ErrDropped after DropKept.
func (l *Ledger) Keep(ctx context.Context, data []byte) (Span, error) {
	const op = "keep"
	if l.readOnly || l.write == nil {
		return Span{}, fmt.Errorf("%s: %w: run %s is not open for work", op, ErrNotQueued, l.meta.Run)
	}
	if ctx.Err() != nil {
		return Span{}, fmt.Errorf("%s: %w: %w", op, ErrNotQueued, context.Cause(ctx))
	}
	return l.disk.keep(ctx, l, data)
}

func (f *file) keep(_ context.Context, l *Ledger, data []byte) (Span, error) {
	s := Span{Length: int64(len(data))}
	to, err := f.reserve(l, &s)
	if err == nil {
		_, err = to.WriteAt(keptHead(s, data), s.Offset)
	}
	if err == nil {
		_, err = to.WriteAt(data, s.Offset+keptHeader)
	}
	if err != nil {
		return Span{}, fileError(f.keptPath(), "keep", err)
	}
	f.kept.mu.Lock()
	defer f.kept.mu.Unlock()
	f.kept.dirty = !f.kept.dropped
	return s, nil
}

// keptHead makes the header of a record.
func keptHead(s Span, data []byte) []byte {
	head := append(make([]byte, 0, keptHeader+8), keptMagic...)
	head = binary.LittleEndian.AppendUint64(head, uint64(s.Length))
	place := binary.LittleEndian.AppendUint64(head, uint64(s.Offset))
	sum := crc32.Update(crc32.Checksum(place, castagnoli), castagnoli, data)
	return binary.LittleEndian.AppendUint32(head, sum)
}

// reserve gives a record its place. It opens the file if need be.
func (f *file) reserve(l *Ledger, s *Span) (*os.File, error) {
	k := &f.kept
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.dropped:
		return nil, ErrDropped
	case l.isClosed():
		return nil, ErrClosed
	case k.f == nil:
		if err := k.open(f.keptPath()); err != nil {
			return nil, err
		}
	}
	s.Offset = k.end
	k.end += keptHeader + s.Length
	return k.f, nil
}

// open opens the file to append to it: behind whatever is there, and behind what
// the ledger knows of. Should the file have lost its end, the spans that point
// there find a hole and not the records of others.
func (k *keptFile) open(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	// SQLite syncs the ledger only: the name of this file is ours to sync.
	err = errors.Join(f.Chmod(0o600), syncDir(filepath.Dir(path)))
	i, statErr := f.Stat()
	if err = errors.Join(err, statErr); err != nil {
		return errors.Join(err, f.Close())
	}
	k.f, k.end = f, max(k.end, i.Size())
	return nil
}

// sync brings to disk what was kept so far. It returns how much of the file
// counts now, or 0 if nothing came to it.
func (k *keptFile) sync() (int64, error) {
	k.mu.Lock()
	f, end, dirty := k.f, k.end, k.dirty
	k.dirty = false
	k.mu.Unlock()
	if !dirty {
		return 0, nil
	}
	return end, f.Sync() // not under mu: others go on writing
}

func (k *keptFile) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.f
	k.f, k.dirty = nil, false
	if f == nil {
		return nil
	}
	return f.Close()
}

// opDrop is what DropKept tries, for its errors.
const opDrop = "remove what was fetched"

// DropKept removes what was fetched, once it is no longer needed: nothing
// can be kept or read any more (ErrDropped). No Keep may be under way. Calling it
// again removes what a crash in between has left.
func (l *Ledger) DropKept(ctx context.Context) error { return l.disk.dropKept(ctx, l) }

func (f *file) dropKept(ctx context.Context, l *Ledger) error {
	// It is noted first: a file that is gone without a note would be damage.
	err := l.change(ctx, opDrop, need{}, func(b *batch) error {
		b.dropped = true
		f.kept.mu.Lock()
		defer f.kept.mu.Unlock()
		f.kept.dropped, f.kept.dirty = true, false
		return nil
	})
	if err != nil {
		return err
	}
	err = f.kept.close()
	if e := os.Remove(f.keptPath()); e != nil && !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return fileError(f.keptPath(), opDrop, err)
}

// HasKept says whether settled chunks have data in the run's file, and it was not
// dropped. It is false after Close.
func (l *Ledger) HasKept() bool { return l.disk.hasKept(l.base) }

func (f *file) hasKept(ctx context.Context) bool {
	var end int64
	// An error, such as that of an old ledger without the column, means no.
	err := f.read.QueryRowContext(ctx, "SELECT kept FROM books").Scan(&end)
	return err == nil && end > 0
}

// Kept returns what Keep has kept at s. The bytes are checked: it is ErrDamaged
// if they are not those that were kept, and ErrDropped after DropKept.
func (v *View) Kept(s Span) ([]byte, error) {
	data, err := v.at.kept(v.ctx, s)
	return data, v.l.fail(fmt.Sprintf("read %d bytes at %d", s.Length, s.Offset), err)
}

func (v *fileLook) kept(ctx context.Context, s Span) ([]byte, error) {
	err := v.openKept(ctx)
	var data []byte
	if err == nil {
		data, err = readKept(v.fetched, s)
	}
	return data, fileError(v.f.keptPath(), fmt.Sprintf("read %d bytes at %d", s.Length, s.Offset), err)
}

// openKept opens the file for the rest of the look's life.
func (v *fileLook) openKept(ctx context.Context) error {
	if v.fetched != nil {
		return nil
	}
	var end int64
	if v.version >= 2 {
		if err := v.conn.QueryRowContext(ctx, "SELECT kept FROM books").Scan(&end); err != nil {
			return err
		}
	}
	if end < -1 {
		return fmt.Errorf("%w: %d bytes were fetched", ErrDamaged, end)
	}
	if end < 0 {
		return ErrDropped
	}
	f, err := os.Open(v.f.keptPath())
	if errors.Is(err, fs.ErrNotExist) {
		return v.f.missing()
	}
	v.fetched = f
	return err
}

// missing says why the file is not there.
func (f *file) missing() error {
	f.kept.mu.Lock()
	defer f.kept.mu.Unlock()
	if f.kept.dropped { // after the view was taken
		return ErrDropped
	}
	return fmt.Errorf("%w: the file is missing", ErrDamaged)
}

func readKept(f *os.File, s Span) ([]byte, error) {
	i, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !i.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: it is not a file", ErrDamaged)
	}
	// The sum of both could be too large for a number.
	if room := i.Size() - keptHeader; s.Offset < 0 || s.Length < 0 || s.Offset > room || s.Length > room-s.Offset {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrDamaged, i.Size())
	}
	b := make([]byte, keptHeader+s.Length)
	if _, err := f.ReadAt(b, s.Offset); err != nil {
		return nil, err
	}
	data := b[keptHeader:]
	if string(b[:keptHeader]) != string(keptHead(s, data)) {
		return nil, fmt.Errorf("%w: there is no such record, or its checksum is wrong", ErrDamaged)
	}
	return data, nil
}

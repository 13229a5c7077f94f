package limiter

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

const (
	// patience is how long an Update tries for the lock. It is held for some
	// microseconds, unless its holder was stopped with it in hand.
	patience = 100 * time.Millisecond

	// openPatience is how long opening tries in all.
	openPatience = 5 * time.Second

	// deadLook is how often a process that finds no lane ready looks for dead
	// members: an open and a lock for each other process.
	deadLook = 50 * time.Millisecond
)

// File keeps lanes in dir, one file for each key, shared by all processes of this
// host that may read and write it; dir is made if need be. A file that was not
// there, or was torn, begins with a rest of one second. Lanes of a process that
// died come back by themselves, after a rest.
//
// dir must be on a local disk: over a network file system the locks of other
// hosts mean nothing, and neither does this host's clock. A process that is
// stopped in the few microseconds in which it has the file locked stops the
// others' calls too, until it goes on.
func File(dir string) func(key string) (Lanes, error) {
	return func(key string) (Lanes, error) {
		path := filepath.Join(dir, fileName(key))
		f := &fileLanes{dir: dir, path: path + ".lanes", turn: make(chan struct{}, 1)}
		f.members.dir = path + ".members"
		if err := f.open(); err != nil {
			return nil, fmt.Errorf("share lanes in %s: %w", dir, err)
		}
		return f, nil
	}
}

// fileName makes a key safe as the name of a file. The prefix keeps names apart
// from ".", ".." and the device names of Windows.
func fileName(key string) string {
	if name := url.QueryEscape(key); len(name) <= 128 {
		return "budget-" + name
	}
	sum := sha256.Sum256([]byte(key))
	return "budget-" + hex.EncodeToString(sum[:])
}

// fileLanes is one opening of the file of a budget.
type fileLanes struct {
	dir, path string

	// turn has the fields below: a kernel lock keeps out other openings, but
	// not other goroutines of this one.
	turn    chan struct{}
	closed  bool
	members members
	file    *os.File // nil if not open
	buf     []byte   // for the bytes read
	prev    []byte   // the bytes that made table, nil if it is not made of any
	table   Table
	looked  time.Duration // when dead members were last looked for
	stuck   bool          // the last Update ran out of patience
}

func (f *fileLanes) open() error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	name, err := networkFS(f.dir)
	if err != nil {
		return err
	}
	if name != "" {
		return fmt.Errorf("it is on a network file system (%s): choose a directory on a local disk", name)
	}
	// On a busy host the lock's holder may not run for a while.
	for began := time.Now(); ; time.Sleep(poll) {
		err = f.probe()
		if !errors.Is(err, errBusy) || time.Since(began) > openPatience {
			break
		}
	}
	if err != nil {
		_ = f.Close()
	}
	return err
}

// probe joins the members and finds out what cannot be read or written.
func (f *fileLanes) probe() error {
	if err := f.acquire(); err != nil {
		return err
	}
	_, err := f.read(1, &f.table)
	if _, clock := hostClock(); clock != nil {
		err = errors.Join(err, fmt.Errorf("read the host's clock: %w", clock))
	}
	f.prev = nil
	return errors.Join(err, unlock(f.file))
}

// Now is the host's monotonic clock. It does not fail: probe has asked it before.
func (f *fileLanes) Now() time.Duration {
	now, _ := hostClock()
	return now
}

func (f *fileLanes) Update(n int, change func(*Table)) error {
	f.turn <- struct{}{}
	defer func() { <-f.turn }()
	if f.closed {
		return ErrClosed
	}
	if err := f.acquire(); err != nil {
		return err
	}
	err := f.locked(n, change)
	if err != nil {
		f.prev = nil
	}
	return errors.Join(err, unlock(f.file))
}

// acquire opens the file, if need be, and locks it. It does not wait in the
// kernel: a process that is stopped with the lock in hand must not hold up a
// cancelled call.
func (f *fileLanes) acquire() error {
	var began time.Time
	for pause := 20 * time.Microsecond; ; pause = min(2*pause, time.Millisecond) {
		ok, err := f.attach()
		if ok || err != nil {
			f.stuck = false
			return err
		}
		// Once is enough to ask while the lock is stuck, or many callers of
		// done would queue up behind each other's patience.
		if began.IsZero() {
			began = time.Now()
		}
		if f.stuck || time.Since(began) > patience {
			f.stuck = true
			return errBusy
		}
		time.Sleep(pause)
	}
}

// attach tries once to lock the file that is at the path now: if somebody has
// removed ours, those who come later do not see what we write to it.
func (f *fileLanes) attach() (bool, error) {
	fresh := f.file == nil
	if fresh {
		if err := os.MkdirAll(f.dir, 0o700); err != nil {
			return false, err
		}
		file, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return false, err
		}
		f.file, f.prev = file, nil
	}
	ok, err := tryLock(f.file)
	if err != nil || !ok {
		return false, f.abandon(err, err != nil || fresh)
	}
	gone, err := removed(f.file)
	if err == nil && !gone && fresh {
		err = f.members.join()
	}
	if err != nil || gone {
		return false, f.abandon(err, true)
	}
	return true, nil
}

// abandon closes the file if asked, so that the next attach opens it anew and
// joins the members. It passes err on.
func (f *fileLanes) abandon(err error, really bool) error {
	if really {
		_ = f.file.Close()
		f.file = nil
	}
	return err
}

// locked is Update with the lock in hand.
func (f *fileLanes) locked(n int, change func(*Table)) (err error) {
	t := &f.table
	known, err := f.read(n, t)
	if err != nil {
		return err
	}
	if t.now, err = hostClock(); err != nil {
		return fmt.Errorf("read the host's clock: %w", err)
	}
	t.self, t.dead = f.members.id, nil
	if t.now-f.looked >= deadLook {
		t.dead = func(holder uint32) bool {
			f.looked = t.now
			return f.members.dead(holder)
		}
	}
	change(t)
	return f.write(t, known)
}

// read reads the header and the first n lanes.
func (f *fileLanes) read(n int, t *Table) (known int, err error) {
	if size := headerSize + n*laneSize; len(f.buf) != size {
		f.buf, f.prev = make([]byte, size), nil
		t.lanes = make([]lane, n)
	}
	got, err := f.file.ReadAt(f.buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read lanes: %w", err)
	}
	clear(f.buf[got:])
	if known, err = decode(f.buf, f.prev, t); err != nil {
		return 0, fmt.Errorf("read %s: %w", f.path, err)
	}
	t.head, t.lo, t.hi = known < n, 0, 0
	return known, nil
}

// write stores what has changed. The lanes go first: a header that says there are
// more of them than are written would be a lie, the opposite only costs a rest.
func (f *fileLanes) write(t *Table, known int) error {
	if t.lo < t.hi {
		for i := t.lo; i < t.hi; i++ {
			encodeLane(f.buf[headerSize+i*laneSize:], t.lanes[i])
		}
		from, to := headerSize+t.lo*laneSize, headerSize+t.hi*laneSize
		if _, err := f.file.WriteAt(f.buf[from:to], int64(from)); err != nil {
			return fmt.Errorf("write lanes: %w", err)
		}
	}
	if t.head {
		encodeHeader(f.buf, t, max(known, len(t.lanes)))
		if _, err := f.file.WriteAt(f.buf[:headerSize], 0); err != nil {
			return fmt.Errorf("write header of lanes: %w", err)
		}
	}
	if f.prev == nil {
		f.prev = make([]byte, len(f.buf))
	}
	f.buf, f.prev = f.prev, f.buf
	return nil
}

// Close leaves the members. Lanes that were given back go on resting.
func (f *fileLanes) Close() error {
	f.turn <- struct{}{}
	defer func() { <-f.turn }()
	if f.closed {
		return nil
	}
	f.closed = true
	held := f.file != nil && f.acquire() == nil
	// Without the lock the member file must stay. It is a dead one then.
	err := f.members.leave(held)
	if f.file != nil {
		err = errors.Join(err, f.file.Close()) // and unlock it
	}
	return err
}

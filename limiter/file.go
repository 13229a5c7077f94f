package limiter

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

	lanesSuffix   = ".lanes"
	membersSuffix = ".members"
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
	return func(key string) (Lanes, error) { return openFile(dir, key, false) }
}

// openFile opens the lanes of a budget; leased says whether only those can be used
// that the host has leased.
func openFile(dir, key string, leased bool) (*fileLanes, error) {
	path := filepath.Join(dir, fileName(key))
	f := &fileLanes{dir: dir, path: path + lanesSuffix, leased: leased, turn: make(chan struct{}, 1)}
	f.members.dir = path + membersSuffix
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("share lanes in %s: %w", dir, err)
	}
	return f, nil
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

var (
	errHostOnly  = errors.New("other processes on this host use the whole budget of this app, without leasing it: give all of them the same --limiter, or wait until they have ended")
	errOtherBoot = errors.New("other processes use it that were started on another host: give each host a state directory of its own")
	errLeased    = errors.New("other processes on this host lease the budget of this app from a database: give all of them the same --limiter, or wait until they have ended")
)

// fileLanes is one opening of the file of a budget.
type fileLanes struct {
	dir, path string
	leased    bool

	// turn has the fields below: a kernel lock keeps out other openings, but
	// not other goroutines of this one.
	turn    chan struct{}
	closed  bool
	members members
	file    *os.File // nil if not open
	boot    uint64   // if leased: tells this file on this start of this host from a copy of it, and from before
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
	known, err := f.read(1, &f.table)
	if err == nil {
		err = f.agree(&f.table, known)
	}
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
		f.boot = hostBoot() ^ identity(f.file)
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
	if err := f.agree(t, known); err != nil {
		return err
	}
	if t.now-f.looked >= deadLook {
		t.dead = func(holder uint32) bool {
			f.looked = t.now
			return f.members.dead(holder)
		}
	}
	change(t)
	if err := f.write(t, known); err != nil {
		return err
	}
	f.members.say(t.now, t.said)
	return nil
}

// agree makes sure that all who use the lanes mean the same by them: their host's,
// or those that it has leased. Who comes when nobody else is there decides. The
// lanes begin anew then, since what the others did is not known. So they do after
// the host was started again, or the file was copied to another.
func (f *fileLanes) agree(t *Table, known int) error {
	same := t.lease.leased == f.leased
	if same && (!f.leased || t.lease.boot == f.boot) {
		return nil
	}
	if known > 0 {
		switch alone, err := f.members.alone(); {
		case err != nil:
			return err
		case alone:
		case same:
			return fmt.Errorf("%s: %w", f.path, errOtherBoot)
		case f.leased:
			return fmt.Errorf("%s: %w", f.path, errHostOnly)
		default:
			return fmt.Errorf("%s: %w", f.path, errLeased)
		}
	}
	t.lease, t.head = lease{leased: f.leased}, true
	if f.leased {
		t.lease.boot, t.lease.host = f.boot, rand.Uint64()|1 // never 0
	}
	for i := range t.lanes {
		t.lanes[i] = lane{lost: true}
	}
	return nil
}

// read reads the header and the first n lanes.
func (f *fileLanes) read(n int, t *Table) (known int, err error) {
	if size := lanesAt + n*laneSize; len(f.buf) != size {
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
	t.cutHead = [maxCuts]bool{}
	return known, nil
}

// write stores what has changed. The lanes go first: a header that says there are
// more of them than are written would be a lie, the opposite only costs a rest.
func (f *fileLanes) write(t *Table, known int) error {
	if t.lo < t.hi {
		for i := t.lo; i < t.hi; i++ {
			encodeLane(f.buf[lanesAt+i*laneSize:], t.lanes[i])
		}
		from, to := lanesAt+t.lo*laneSize, lanesAt+t.hi*laneSize
		if _, err := f.file.WriteAt(f.buf[from:to], int64(from)); err != nil {
			return fmt.Errorf("write lanes: %w", err)
		}
	}
	for i, changed := range t.cutHead {
		if !changed {
			continue
		}
		at := headerSize + i*cutSize
		encodeCut(f.buf[at:], t.cuts[i])
		if _, err := f.file.WriteAt(f.buf[at:at+cutSize], int64(at)); err != nil {
			return fmt.Errorf("write lanes out of use: %w", err)
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

// alone says whether no other process uses the lanes. To be called by f of Update.
func (f *fileLanes) alone() bool {
	alone, err := f.members.alone()
	return err == nil && alone
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

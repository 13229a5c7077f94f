package ledger

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// Key names a command: two runs of the same key are the same kind of job, for
// the same app and server, over the same bytes of input, with the same options
// that change the plan. It is a hex SHA-256.
func Key(kind, endpoint string, sdkAppID int64, inputSHA256 string, options map[string]string) string {
	if options == nil {
		options = map[string]string{} // nil and empty are the same command
	}
	// JSON keeps the parts apart, and writes the keys of a map in order.
	b, err := json.Marshal([]any{kind, endpoint, sdkAppID, inputSHA256, options})
	if err != nil {
		panic(err) // strings and a number: cannot be
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// runTime is how the name of a run begins.
const (
	runTime    = "20060102T150405.000Z"
	runTimeLen = len(runTime)
)

// NewRunID makes a name for a run that begins now, e.g.
// "20261122T014912.345Z-4f2a9c". Names sort by UTC time, to the millisecond.
func NewRunID(now time.Time) string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails
	return now.UTC().Format(runTime) + "-" + hex.EncodeToString(b[:])
}

// NewRun makes a name for a run of key that begins now, and comes behind all that
// the store has of this key: the newest one is the one that goes on, also where the
// clock was set back. The caller holds the lock of the key.
func (s Store) NewRun(ctx context.Context, key string, now time.Time) string {
	id := NewRunID(now)
	dirs, _ := os.ReadDir(s.Dir)
	for _, d := range dirs { // in order of their names, and so of time
		name := d.Name()
		if !d.IsDir() || !runName.MatchString(name) || name[:runTimeLen] < id[:runTimeLen] {
			continue
		}
		if i := s.info(ctx, name); i.Err == nil && i.Meta.Key() == key {
			id = behind(id, name)
		}
	}
	return id
}

// behind is id, or one that comes behind the run called name if id does not.
func behind(id, name string) string {
	if !runName.MatchString(name) || name[:runTimeLen] < id[:runTimeLen] {
		return id
	}
	at, err := time.Parse(runTime, name[:runTimeLen])
	if err != nil {
		return id
	}
	return NewRunID(at.Add(time.Millisecond))
}

// Store is a directory with a directory for each run, kept from other users.
// It is safe for concurrent use, also by several processes.
type Store struct{ Dir string }

// Info says how a run stands.
type Info struct {
	Run      string // name of its directory
	Meta     Meta
	State    State
	Reported bool // the reports of this state are written; see Ledger.Reported
	Books    Books
	Started  time.Time // of the first session; zero: none yet
	Finished time.Time // when the last session ended; zero: it has not
	Err      error     // why the rest is not known
}

// Books are the sums of a run, in rows.
type Books struct{ Rows, Succeeded, Failed, Unprocessed int64 }

// A name that NewRunID has made.
var runName = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}\.[0-9]{3}Z-[0-9a-f]{6}$`)

// maxPath is how long the name of a ledger may be, in bytes. SQLite's own bound
// is 512, with what it puts behind it.
const maxPath = 500

// A key, as Key makes it.
var keyForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// A name that is a plain part of a path, and does not begin with a dot.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// Path returns the directory of a run.
func (s Store) Path(run string) string { return filepath.Join(s.Dir, run) }

func (s Store) path(run string) (dir, db string, err error) {
	if !plainName.MatchString(run) {
		return "", "", fmt.Errorf("%w: %q is not the name of a run", ErrNoRun, run)
	}
	return s.Path(run), filepath.Join(s.Path(run), fileName), nil
}

// Create makes the directory and the ledger of a new run m.Run, for planning.
func (s Store) Create(ctx context.Context, m Meta) (*Ledger, error) {
	dir, path, err := s.path(m.Run)
	if err != nil {
		return nil, err
	}
	f := &file{path: path, stmt: map[string]*sql.Stmt{}}
	l := newLedger(ctx, f, m)
	if abs, err := filepath.Abs(path); err == nil && len(abs) > maxPath {
		return nil, l.fail("create", fmt.Errorf("the name has %d bytes, more than the %d that SQLite takes: choose a shorter directory of runs", len(abs), maxPath))
	}
	if err := makeDirs(s.Dir, dir); err != nil {
		return nil, l.fail("create the run's directory", err)
	}
	if err := f.create(ctx, m); err != nil {
		f.abandon()
		_ = os.RemoveAll(dir) // what is left is swept away later
		return nil, l.fail("create", err)
	}
	f.plan = &filePlan{f: f}
	l.plan.to = f.plan
	return l, nil
}

// makeDirs makes the store's directory if need be, and the run's.
func makeDirs(store, run string) error {
	if err := os.MkdirAll(store, 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(run, 0o700); err != nil {
		return err
	}
	return os.Chmod(run, 0o700) // whatever the umask is
}

// Open opens the ledger of a planned run to go on with it. The caller holds the
// run's lock (Lock with the Key of its Meta): two writers would send chunks twice.
func (s Store) Open(ctx context.Context, run string) (*Ledger, error) {
	f, seq, err := s.open(ctx, run)
	if err != nil {
		return nil, err
	}
	l, err := f.openForWork(ctx, seq)
	if err != nil {
		f.abandon()
		return nil, f.fail("open", err)
	}
	l.startWriter()
	return l, nil
}

func (f *file) openForWork(ctx context.Context, seq int64) (_ *Ledger, err error) {
	if f.seq, err = openSequence(f.path); err != nil {
		return nil, err
	}
	if err := f.openWriter(ctx, f.path); err != nil {
		return nil, err
	}
	if err := f.exec(ctx, "PRAGMA synchronous = FULL"); err != nil {
		return nil, err
	}
	l, err := f.load(ctx)
	if err != nil {
		return nil, err
	}
	if l.state == Planning {
		return nil, ErrNotPlanned
	}
	if err := checkSequence(ctx, f.read, seq); err != nil {
		return nil, err
	}
	if err := f.upgrade(ctx); err != nil {
		return nil, err
	}
	if err := f.loadKept(ctx); err != nil {
		return nil, err
	}
	return l, f.conn.QueryRowContext(ctx, "SELECT commits FROM books").Scan(&f.commits)
}

// OpenRead opens the ledger of a run for reading, also while another process
// works on it. A run that is being planned can be opened, but has no rows yet.
func (s Store) OpenRead(ctx context.Context, run string) (*Ledger, error) {
	f, seq, err := s.open(ctx, run)
	if err != nil {
		return nil, err
	}
	l, err := f.load(ctx)
	if err == nil {
		err = checkSequence(ctx, f.read, seq)
	}
	if err != nil {
		f.abandon()
		return nil, f.fail("open", err)
	}
	l.readOnly = true
	return l, nil
}

// open does what both ways of opening begin with. The sequence is read first: a
// run that goes on may be ahead of it, never behind.
func (s Store) open(ctx context.Context, run string) (f *file, seq int64, err error) {
	_, path, err := s.path(run)
	if err != nil {
		return nil, 0, err
	}
	f = &file{path: path, stmt: map[string]*sql.Stmt{}}
	if err = checkFile(path); err == nil {
		seq, err = readSequence(path)
	}
	if err == nil {
		err = f.openReaders()
	}
	return f, seq, f.fail("open", err)
}

// Names of locks, whose keys are hex, and of inputs that commands copy here to read
// them twice.
var (
	lockName = regexp.MustCompile(`^[0-9a-f]{64}\.lock$`)
	copyName = regexp.MustCompile(`^\.input-[0-9]+$`)
)

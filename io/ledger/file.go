package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A file is the SQLite file of one run, and the file beside it of what was fetched.
type file struct {
	path string

	db   *sql.DB // for writing, one connection; nil if it is open for reading
	read *sql.DB // a few connections that cannot write
	conn *sql.Conn
	seq  *sequence // nil if it is open for reading

	plan *filePlan // until it is sealed

	// Of the goroutine that writes.
	stmt    map[string]*sql.Stmt
	commits int64

	kept keptFile // what chunks brought home
}

// Path returns the name of the ledger's file; "" if it is in a database.
func (l *Ledger) Path() string {
	if f, ok := l.disk.(*file); ok {
		return f.path
	}
	return ""
}

func (f *file) fail(op string, err error) error { return fileError(f.path, op, err) }

// again is false: what a file does not give now it does not give later.
func (f *file) again(context.Context, error, time.Time) bool { return false }

// close brings the file into one piece and closes it.
func (f *file) close(ctx context.Context) error {
	err := f.read.Close()
	if f.conn == nil {
		return err
	}
	if f.plan != nil && f.plan.open {
		_, _ = f.conn.ExecContext(ctx, "ROLLBACK") // never begun
	}
	for _, s := range f.stmt {
		_ = s.Close()
	}
	// A checkpoint that a reader stands in the way of is made by the next
	// one: nothing is lost, the -wal file stays.
	_, _ = f.conn.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	for _, e := range []error{f.conn.Close(), f.db.Close(), f.seq.close(), f.kept.close()} {
		if err == nil {
			err = e
		}
	}
	return err
}

// load reads the run's row and its state.
func (f *file) load(ctx context.Context) (*Ledger, error) {
	l := &Ledger{disk: f, base: context.WithoutCancel(ctx)}
	var text string
	var sum uint32
	err := f.read.QueryRowContext(ctx, "SELECT meta, state, told FROM run").Scan(&text, &l.state, &l.told)
	if err == nil {
		sum, err = sumOf(ctx, f.read)
	}
	if err != nil {
		return nil, f.fail("read the run", err)
	}
	l.meta, err = metaOf([]byte(text), sum)
	if run := filepath.Base(filepath.Dir(f.path)); err == nil && l.meta.Run != run {
		err = fmt.Errorf("it is that of run %s; give a run's directory the name that it had", l.meta.Run)
	}
	if err == nil {
		err = checkState(l.state)
	}
	if err != nil {
		return nil, f.fail("read the run", fmt.Errorf("%w: %w", ErrDamaged, err))
	}
	return l, nil
}

// sumOf is the checksum of meta, 0 if it is not known.
func sumOf(ctx context.Context, db *sql.DB) (sum uint32, err error) {
	var version int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil || version < 4 {
		return 0, err
	}
	err = db.QueryRowContext(ctx, "SELECT sum FROM run").Scan(&sum)
	return sum, err
}

// create makes the file, under another name until it is a ledger: whatever dies
// in between, a file called ledger.db has all its tables.
func (f *file) create(ctx context.Context, m Meta) (err error) {
	if f.seq, err = createSequence(f.path, m.Key()); err != nil {
		return err
	}
	draft := f.path + ".new"
	if err := f.draft(ctx, draft, m); err != nil {
		return err
	}
	if err := os.Rename(draft, f.path); err != nil {
		return err
	}
	if err := f.openWriter(ctx, f.path); err != nil {
		return err
	}
	// NORMAL while planning: a commit does not wait for the disk, but what
	// leaves the -wal file has been synced, so the order holds.
	if err := f.exec(ctx, "PRAGMA synchronous = NORMAL"); err != nil {
		return err
	}
	return f.openReaders()
}

// draft makes an empty ledger. SQLite does not make the file: it would have the
// rights that the umask leaves, and -wal and -shm take theirs from it.
func (f *file) draft(ctx context.Context, path string, m Meta) error {
	made, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(made.Chmod(0o600), made.Close()); err != nil {
		return err
	}
	meta, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := f.openWriter(ctx, path); err != nil {
		return err
	}
	defer f.closeWriter()
	// The ids are written before the file becomes a WAL one, so that they can
	// be read from its first bytes.
	all := schemas()
	err = f.exec(ctx, append([]string{"BEGIN", fmt.Sprintf("PRAGMA application_id = %d", applicationID),
		fmt.Sprintf("PRAGMA user_version = %d", version)}, all[:]...)...)
	if err != nil {
		return err
	}
	if _, err := f.conn.ExecContext(ctx, "INSERT INTO run (one, meta, state, sum) VALUES (1, ?, 'planning', ?)", string(meta), checksum(meta, "")); err != nil {
		return err
	}
	return f.exec(ctx, "COMMIT", "PRAGMA journal_mode = WAL")
}

func (f *file) closeWriter() {
	if f.conn != nil {
		_ = f.conn.Close()
	}
	if f.db != nil {
		_ = f.db.Close()
	}
	f.conn, f.db = nil, nil
}

// abandon closes what is open of a ledger that could not be opened.
func (f *file) abandon() {
	f.closeWriter()
	if f.read != nil {
		_ = f.read.Close()
	}
	if f.seq != nil {
		_ = f.seq.close()
	}
}

// openWriter opens the one connection that writes.
func (f *file) openWriter(ctx context.Context, path string) (err error) {
	f.db, err = sql.Open("sqlite", dsn(path, "rw"))
	if err != nil {
		return err
	}
	f.db.SetMaxOpenConns(1)
	f.conn, err = f.db.Conn(ctx)
	return err
}

// openReaders opens the connections that cannot write.
func (f *file) openReaders() (err error) {
	f.read, err = sql.Open("sqlite", dsn(f.path, "ro"))
	if err != nil {
		return err
	}
	f.read.SetMaxOpenConns(4) // Rows in one goroutine, Pending in another
	return nil
}

func (f *file) exec(ctx context.Context, statements ...string) error {
	for _, s := range statements {
		if _, err := f.conn.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// upgrade brings a ledger of an older version up to this one, in one step.
func (f *file) upgrade(ctx context.Context) error {
	var old int
	if err := f.conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&old); err != nil || old == version {
		return err
	}
	if old < 1 || old > version {
		return wrongVersion(old)
	}
	if err := f.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	all := schemas()
	err := f.exec(ctx, append(all[old:], fmt.Sprintf("PRAGMA user_version = %d", version), "COMMIT")...)
	if err != nil {
		_, _ = f.conn.ExecContext(ctx, "ROLLBACK")
		return err
	}
	// An older program looks for the version in the first bytes of the file. One
	// who reads may be in the way; then the next checkpoint brings it there.
	_, _ = f.conn.ExecContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)")
	return nil
}

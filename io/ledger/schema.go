package ledger

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	fileName      = "ledger.db"
	applicationID = 0x63626c67 // "cblg"
	version       = 5          // of the schema
)

// schemas. A new ledger goes through all of them, one of an older version
// through those that it lacks: both come out alike.
func schemas() [version]string {
	return [...]string{schemaOne, schemaTwo, schemaThree, schemaFour, schemaFive}
}

// schemaOne is version 1. What changes while a run goes on (progress, books, tally, session) is
// kept apart from what does not, since SQLite writes a row as a whole.
const schemaOne = `
CREATE TABLE run (
	one   INTEGER PRIMARY KEY CHECK (one = 1),
	meta  TEXT NOT NULL, -- JSON
	state TEXT NOT NULL,
	told  INTEGER NOT NULL DEFAULT 0 -- 1: the reports of this state are written
) STRICT;
CREATE TABLE books ( -- sums over all that is settled
	one       INTEGER PRIMARY KEY CHECK (one = 1),
	rows      INTEGER NOT NULL DEFAULT 0,
	chunks    INTEGER NOT NULL DEFAULT 0,
	groups    INTEGER NOT NULL DEFAULT 0,
	succeeded INTEGER NOT NULL DEFAULT 0, -- rows
	failed    INTEGER NOT NULL DEFAULT 0, -- rows
	settled   INTEGER NOT NULL DEFAULT 0, -- chunks
	replayed  INTEGER NOT NULL DEFAULT 0, -- times that a chunk in doubt was sent again
	calls     INTEGER NOT NULL DEFAULT 0,
	retries   INTEGER NOT NULL DEFAULT 0,
	commits   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE tally ( -- failed rows
	class   TEXT NOT NULL,
	code    INTEGER NOT NULL,
	rows    INTEGER NOT NULL,
	example INTEGER NOT NULL, -- number of one of them
	error   TEXT NOT NULL,    -- its error
	PRIMARY KEY (class, code)
) STRICT, WITHOUT ROWID;
CREATE TABLE source ( -- the rows as written
	first INTEGER PRIMARY KEY, -- number of the first of them
	rows  INTEGER NOT NULL,
	data  BLOB NOT NULL
) STRICT;
CREATE TABLE refused ( -- rows that failed before any call
	id       INTEGER PRIMARY KEY,
	rows     INTEGER NOT NULL,
	lo       INTEGER NOT NULL, -- least row number
	hi       INTEGER NOT NULL, -- greatest row number
	nums     BLOB NOT NULL,
	outcomes BLOB NOT NULL
) STRICT;
CREATE TABLE chunk (
	id      INTEGER PRIMARY KEY,
	grp     TEXT NOT NULL,
	rows    INTEGER NOT NULL,
	entries INTEGER NOT NULL,
	lo      INTEGER NOT NULL,
	hi      INTEGER NOT NULL,
	nums    BLOB NOT NULL,
	asks    BLOB NOT NULL
) STRICT;
CREATE TABLE progress (
	chunk    INTEGER PRIMARY KEY,
	sent     INTEGER NOT NULL, -- session that sent it last; 0: none
	doubt    INTEGER NOT NULL, -- session that sent it before that; 0: none
	replays  INTEGER NOT NULL DEFAULT 0,
	calls    INTEGER NOT NULL DEFAULT 0,
	retries  INTEGER NOT NULL DEFAULT 0,
	outcomes BLOB -- NULL: not settled
) STRICT;
CREATE TABLE session (
	id      INTEGER PRIMARY KEY,
	started INTEGER NOT NULL, -- Unix milliseconds
	seen    INTEGER NOT NULL, -- Unix milliseconds, of the last sign of life
	state   TEXT NOT NULL,
	seconds REAL NOT NULL DEFAULT 0,
	calls   INTEGER NOT NULL DEFAULT 0,
	retries INTEGER NOT NULL DEFAULT 0,
	peak    INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO books (one) VALUES (1);
`

// schemaTwo adds entries that are settled one by one, and what chunks brought
// home. The index is for Chunks; a chunk has hundreds of rows, or is one group.
const schemaTwo = `
CREATE TABLE entry ( -- of chunks that are not settled; Settle folds them into progress
	chunk   INTEGER NOT NULL,
	place   INTEGER NOT NULL, -- among the chunk's entries, from 0
	sent    INTEGER NOT NULL, -- session that sent it last; 0: none
	doubt   INTEGER NOT NULL, -- session that sent it before that; 0: none
	calls   INTEGER NOT NULL DEFAULT 0,
	retries INTEGER NOT NULL DEFAULT 0,
	outcome BLOB, -- NULL: not settled
	PRIMARY KEY (chunk, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX chunk_lo ON chunk (lo);
ALTER TABLE progress ADD COLUMN settled INTEGER; -- Unix milliseconds
ALTER TABLE progress ADD COLUMN note BLOB;
ALTER TABLE books ADD COLUMN superseded INTEGER NOT NULL DEFAULT 0; -- rows
ALTER TABLE books ADD COLUMN kept INTEGER NOT NULL DEFAULT 0; -- bytes of fetched.dat that count; -1: it was dropped
`

// schemaThree adds the pace: a row for each second in which something happened.
const schemaThree = `
CREATE TABLE pace (
	second  INTEGER PRIMARY KEY, -- Unix
	calls   INTEGER NOT NULL,
	retries INTEGER NOT NULL, -- among the calls
	refused INTEGER NOT NULL, -- for their frequency
	lanes   INTEGER NOT NULL,
	budget  INTEGER NOT NULL  -- 0: lanes are not known
) STRICT;
ALTER TABLE session ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;
`

// schemaFour adds a checksum of meta. From then on the checksums of blobs cover
// what they belong to; see [seal].
const schemaFour = `
ALTER TABLE run ADD COLUMN sum INTEGER NOT NULL DEFAULT 0; -- CRC-32C of meta; 0: not known
`

// schemaFive adds how long calls took, and when rows failed: in windows of time that
// begin in a second. Several may begin in the same one.
const schemaFive = `
CREATE TABLE latency (
	id        INTEGER PRIMARY KEY,
	second    INTEGER NOT NULL, -- Unix
	seconds   INTEGER NOT NULL, -- how long the window is
	answers   INTEGER NOT NULL, -- that were counted
	histogram TEXT NOT NULL     -- of microseconds; HdrHistogram, V2 compressed, base64
) STRICT;
CREATE INDEX latency_second ON latency (second);
CREATE TABLE failing ( -- rows
	second INTEGER NOT NULL, -- Unix
	class  TEXT NOT NULL,
	rows   INTEGER NOT NULL,
	PRIMARY KEY (second, class)
) STRICT, WITHOUT ROWID;
ALTER TABLE session ADD COLUMN latency TEXT; -- histogram of all its calls; NULL: not known
`

func wrongVersion(v int) error {
	return fmt.Errorf("%w: it has format %d, this program reads 1 to %d", ErrForeign, v, version)
}

// dsn makes the name by which the driver opens path; mode is "rw" or "ro".
func dsn(path, mode string) string {
	q := url.Values{"mode": {mode}, "_pragma": {
		"busy_timeout(10000)", "trusted_schema(0)", "cell_size_check(1)",
	}}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs // the first part of a relative one would be taken for a host
	}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: q.Encode()}
	return u.String()
}

// checkFile refuses what is not a ledger by the first bytes of the file, before
// SQLite opens it: opening a file of somebody else's could already change it.
func checkFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if readKey(path) != "" {
			return fmt.Errorf("%w: the file is missing", ErrDamaged)
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), elsewhereName)); err == nil {
			return fmt.Errorf("%w here: its ledger is in a database (--ledger)", ErrNoRun)
		}
		return fmt.Errorf("%w: %s is missing", ErrNoRun, path)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 100)
	if _, err := io.ReadFull(f, head); err != nil {
		return fmt.Errorf("%w: the file is cut off or empty", ErrDamaged)
	}
	if string(head[:16]) != "SQLite format 3\x00" {
		return fmt.Errorf("%w: no SQLite file", ErrForeign)
	}
	if id := binary.BigEndian.Uint32(head[68:]); id != applicationID {
		return fmt.Errorf("%w: SQLite file of another program (application_id %#x)", ErrForeign, id)
	}
	if v := binary.BigEndian.Uint32(head[60:]); v < 1 || v > version {
		return wrongVersion(int(v))
	}
	return nil
}

// sequence is a small file beside the ledger with the number of the last commit,
// and in a second line the key of the run.
//
// SQLite itself does not notice that its -wal file was removed after a crash, or
// that a ledger was put back from an old copy: it shows an older state, and what
// was settled since would be sent again as if it had never been. A ledger that
// is behind its sequence is refused. The number is written after the commit, and
// not synced: it may be behind the ledger, which proves nothing, never before it.
//
// The key says whose ledger lies beside it, should that be unreadable: the run's
// command must not begin anew then as if nothing had been sent.
//
// Who works on the run holds this file, too. The lock of the key does not keep a
// second process out when somebody has removed it, taking it for a stale one.
type sequence struct{ f *os.File }

const (
	sequenceSuffix = "-seq"
	sequenceLine   = 21 // bytes of the first line
)

func createSequence(path, key string) (*sequence, error) {
	f, err := os.OpenFile(path+sequenceSuffix, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	s := &sequence{f}
	// In one piece: a key without a number would say that there was a ledger.
	_, err = f.WriteAt(fmt.Appendf(nil, "%020d\n%s\n", 0, key), 0)
	return s, errors.Join(hold(f), f.Chmod(0o600), err)
}

func openSequence(path string) (*sequence, error) {
	f, err := os.OpenFile(path+sequenceSuffix, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing: copy a run's directory as a whole", ErrDamaged, filepath.Base(path)+sequenceSuffix)
	}
	if err != nil {
		return nil, err
	}
	return &sequence{f}, hold(f)
}

// readSequence returns 0 if there is no such file.
func readSequence(path string) (int64, error) {
	b, err := os.ReadFile(path + sequenceSuffix)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0 {
		return 0, nil
	}
	if i, e := os.Stat(path + sequenceSuffix); e == nil && i.IsDir() {
		return 0, fmt.Errorf("%w: %s is a directory", ErrDamaged, filepath.Base(path)+sequenceSuffix)
	}
	if err != nil {
		return 0, err
	}
	if len(b) < 20 {
		return 0, fmt.Errorf("%w: %s is cut off", ErrDamaged, filepath.Base(path)+sequenceSuffix)
	}
	n, err := strconv.ParseInt(string(b[:20]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %s: %w", ErrDamaged, filepath.Base(path)+sequenceSuffix, err)
	}
	return n, nil
}

// readKey returns the key of the run, or "" if it is not to be had.
func readKey(path string) string {
	b, err := os.ReadFile(path + sequenceSuffix)
	if err != nil || len(b) <= sequenceLine {
		return ""
	}
	return strings.TrimSuffix(string(b[sequenceLine:]), "\n")
}

// write notes a commit. It fails if the run's directory is no longer where it
// was: SQLite goes on writing a file that nobody will find again.
func (s *sequence) write(n int64) error {
	if _, err := s.f.WriteAt(fmt.Appendf(nil, "%020d\n", n), 0); err != nil {
		return err
	}
	mine, err := s.f.Stat()
	if err != nil {
		return err
	}
	if named, err := os.Stat(s.f.Name()); err != nil || !os.SameFile(mine, named) {
		return fmt.Errorf("%w: the run's directory was removed, renamed or replaced while the run went on", ErrDamaged)
	}
	return nil
}

func (s *sequence) close() error { return s.f.Close() }

// checkSequence compares the ledger with the sequence that was read before it
// was opened.
func checkSequence(ctx context.Context, db *sql.DB, seq int64) error {
	var commits int64
	if err := db.QueryRowContext(ctx, "SELECT commits FROM books").Scan(&commits); err != nil {
		return err
	}
	if commits < seq {
		return fmt.Errorf("%w: its last %d changes are gone: was %s-wal removed, or an old copy put back?", ErrDamaged, seq-commits, fileName)
	}
	return nil
}

//go:build unix

package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestKey(t *testing.T) {
	base := meta("r1")
	same := meta("r2")
	same.Input, same.Created, same.Identifier = "other.csv", time.Time{}, "other"
	if base.Key() != same.Key() {
		t.Error("name of the input or time changed the key")
	}
	if Key("k", "e", 1, "s", nil) != Key("k", "e", 1, "s", map[string]string{}) {
		t.Error("nil and empty options differ")
	}
	if !regexp.MustCompile("^[0-9a-f]{64}$").MatchString(base.Key()) {
		t.Errorf("got %q", base.Key())
	}
	seen := map[string]string{base.Key(): "base"}
	for name, change := range map[string]func(*Meta){
		"kind":     func(m *Meta) { m.Kind = "marks delete" },
		"endpoint": func(m *Meta) { m.Endpoint = "https://x" },
		"app":      func(m *Meta) { m.SDKAppID++ },
		"input":    func(m *Meta) { m.InputSHA256 = "cd" },
		"option":   func(m *Meta) { m.Options = map[string]string{"chunk-size": "50"} },
		"options":  func(m *Meta) { m.Options = nil },
		"moved":    func(m *Meta) { m.Kind, m.Endpoint = m.Kind+"https:", "//console.tim.qq.com" },
	} {
		m := meta("r1")
		change(&m)
		if other, ok := seen[m.Key()]; ok {
			t.Errorf("%s and %s have the same key", name, other)
		}
		seen[m.Key()] = name
	}
}

func TestNewRunID(t *testing.T) {
	at := time.Date(2026, 11, 22, 9, 49, 12, 0, time.FixedZone("", 8*3600))
	id := NewRunID(at)
	if !regexp.MustCompile(`^20261122T014912\.000Z-[0-9a-f]{6}$`).MatchString(id) || !plainName.MatchString(id) {
		t.Errorf("got %q", id)
	}
	if later := NewRunID(at.Add(time.Second)); later <= id {
		t.Errorf("%q does not sort after %q", later, id)
	}
}

// Whatever the umask, nobody else can read a run, and its owner can.
// A run that begins now comes behind all of its command, also when the clock was set
// back since they began; runs of other commands, and what is no run, do not matter.
func TestNewRun(t *testing.T) {
	ctx, now := t.Context(), time.Date(2026, 11, 22, 1, 49, 12, 0, time.UTC)
	s := Store{Dir: t.TempDir()}
	key := meta("any").Key()
	if id := s.NewRun(ctx, key, now); !strings.HasPrefix(id, "20261122T014912.000Z-") {
		t.Errorf("in an empty store: got %q", id)
	}
	begin := func(id string, input string) {
		m := meta(id)
		if input != "" {
			m.InputSHA256 = input
		}
		l, err := s.Create(ctx, m)
		must(t, err)
		must(t, planSmallErr(ctx, l))
		must(t, l.Close())
	}
	begin("20301122T014912.999Z-ffffff", "")
	begin("20991122T014912.999Z-ffffff", "ef")
	must(t, os.Mkdir(s.Path("20980101T000000.000Z-abcdef"), 0o700))
	for range 3 {
		id := s.NewRun(ctx, key, now)
		if id <= "20301122T014912.999Z-ffffff" || id >= "2031" {
			t.Fatalf("got %q", id)
		}
		begin(id, "")
		if run, err := found(t, s, key); run != id || err != nil {
			t.Errorf("%q, %v goes on, want %q", run, err, id)
		}
	}
}

// A ledger that could not be made leaves no directory.
func TestCreateThatFails(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Create(ctx, meta("r1")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(s.Dir); err != nil || len(left) > 0 {
		t.Errorf("got %v, %v", left, err)
	}
}

func TestModes(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o177} {
		t.Run(fmt.Sprintf("%03o", umask), func(t *testing.T) {
			old := syscall.Umask(umask)
			defer syscall.Umask(old)
			dir := filepath.Join(t.TempDir(), "runs")
			must(t, os.Mkdir(dir, 0o700))
			must(t, os.Chmod(dir, 0o700))
			l, err := Store{dir}.Create(t.Context(), meta("r1"))
			must(t, err)
			defer l.Close()
			planSmall(t, l)
			must(t, l.Begin(t.Context()))
			files, err := os.ReadDir(filepath.Join(dir, "r1"))
			must(t, err)
			var names []string
			for _, f := range files {
				names = append(names, f.Name())
				if i, err := f.Info(); err != nil || i.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v, %v", f.Name(), i.Mode(), err)
				}
			}
			diff(t, "files", names, []string{"ledger.db", "ledger.db-seq", "ledger.db-shm", "ledger.db-wal"})
			if i, _ := os.Stat(filepath.Join(dir, "r1")); i.Mode().Perm() != 0o700 {
				t.Errorf("directory: %v", i.Mode())
			}
			must(t, l.Close())
			if left, _ := filepath.Glob(filepath.Join(dir, "r1", "ledger.db-[ws]*")); len(left) != 1 {
				t.Errorf("after Close: %v", left)
			}
		})
	}
}

func TestFindAndList(t *testing.T) {
	s := Store{t.TempDir()}
	ctx := t.Context()
	key := meta("").Key()
	find := func(want string) {
		t.Helper()
		if got, err := found(t, s, key); got != want || err != nil {
			t.Errorf("Find: got %q, %v, want %q", got, err, want)
		}
	}
	add := func(run string, m Meta, state State) {
		t.Helper()
		m.Run = run
		l, err := s.Create(ctx, m)
		must(t, err)
		defer func() { must(t, l.Close()) }()
		if state == Planning {
			return
		}
		planSmall(t, l)
		if state == Planned {
			return
		}
		must(t, l.Begin(ctx))
		if state == Running {
			return
		}
		if state == Finished {
			must(t, l.Settle(ctx, 1, make([]Outcome, 2), Cost{1, 0}))
			must(t, l.Settle(ctx, 2, make([]Outcome, 3), Cost{1, 0}))
		}
		must(t, l.End(ctx, state, Session{}))
	}
	find("")
	other := meta("")
	other.Kind = "marks delete"
	add("r1", meta(""), Planned)
	find("r1")
	add("r2", meta(""), Interrupted)
	add("r3", other, Running)
	add("r4", other, Planning)
	add("r5", meta(""), Planning)
	must(t, os.Mkdir(filepath.Join(s.Dir, "r6"), 0o700))
	must(t, os.WriteFile(filepath.Join(s.Dir, "r6", "failed.csv"), []byte("somebody's"), 0o600))
	old := time.Now().Add(-time.Hour)
	for _, unnamed := range []string{"20260101T000000.000Z-000061", "20260101T000000.000Z-000062"} { // killed at its first step, and at work just now
		must(t, os.Mkdir(filepath.Join(s.Dir, unnamed), 0o700))
		must(t, os.WriteFile(filepath.Join(s.Dir, unnamed, fileName+".new"), []byte("SQLite"), 0o600))
	}
	must(t, os.Chtimes(filepath.Join(s.Dir, "20260101T000000.000Z-000061"), old, old))
	must(t, os.WriteFile(filepath.Join(s.Dir, "notes.txt"), nil, 0o600))
	find("r2")
	s.Sweep()
	var names, states []string
	for _, i := range mustList(t, s) {
		names = append(names, i.Run)
		states = append(states, string(i.State))
		if (i.Err != nil) != (i.Run == "r6") || i.Meta.Run != i.Run {
			t.Errorf("%s: %+v", i.Run, i)
		}
	}
	diff(t, "names", names, []string{"r1", "r2", "r3", "r4", "r6"}) // r5 was never begun
	diff(t, "states", states, []string{"planned", "interrupted", "running", "planning", ""})
	if _, err := os.Stat(filepath.Join(s.Dir, "20260101T000000.000Z-000061")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(s.Dir, "20260101T000000.000Z-000062")); err != nil {
		t.Error(err)
	}
	add("r7", meta(""), Finished)
	find("r7") // its reports are not written
	l, err := s.Open(ctx, "r7")
	must(t, err)
	must(t, l.Reported(ctx))
	must(t, l.Close())
	find("") // r2 is history now
	add("r8", meta(""), Expired)
	find("r8")
	list := mustList(t, s)
	got := list[slices.IndexFunc(list, func(i Info) bool { return i.Run == "r7" })]
	diff(t, "books", got.Books, Books{8, 6, 2, 0})
	if got.Started.IsZero() || got.Finished.IsZero() {
		t.Errorf("got %+v", got)
	}
	must(t, s.Remove(ctx, "r8"))
	if err := s.Remove(ctx, "r8"); !errors.Is(err, ErrNoRun) {
		t.Errorf("Remove again: got %v", err)
	}
	for _, bad := range []string{"", ".", "..", "../x", "a/b", ".hidden"} {
		if err := s.Remove(ctx, bad); !errors.Is(err, ErrNoRun) {
			t.Errorf("Remove(%q): got %v, want ErrNoRun", bad, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(s.Dir, ".*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if list, err := (Store{filepath.Join(s.Dir, "none")}).List(ctx); len(list) != 0 || err != nil {
		t.Errorf("no directory: got %v, %v", list, err)
	}
}

// settledRun makes a run with one settled chunk, and copies its files while it is
// open: what is there after a kill.
func settledRun(t *testing.T) (Store, string) {
	t.Helper()
	s, l := create(t, "r1")
	planSmall(t, l)
	must(t, l.Begin(t.Context()))
	must(t, l.Settle(t.Context(), 1, make([]Outcome, 2), Cost{1, 0}))
	killed := Store{t.TempDir()}
	must(t, os.CopyFS(killed.Path("r1"), os.DirFS(s.Path("r1"))))
	_ = os.Remove(filepath.Join(killed.Path("r1"), "ledger.db-shm"))
	return killed, filepath.Join(killed.Path("r1"), "ledger.db")
}

func TestDamage(t *testing.T) {
	overwrite := func(path string, at int64, b string) error {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte(b), at)
		return errors.Join(err, f.Close())
	}
	// execDB changes the file as a tool of the user's would.
	execDB := func(path, statement string) error {
		db, err := sql.Open("sqlite", path)
		if err != nil {
			return err
		}
		_, err = db.Exec(statement)
		return errors.Join(err, db.Close())
	}
	flip := func(column, table string) string {
		return fmt.Sprintf("UPDATE %s SET %s = cast(x'7e' || substr(%s, 2) AS BLOB)", table, column, column)
	}
	tests := []struct {
		name  string
		spoil func(path string) error
		want  error  // nil: nothing is wrong
		says  string // part of the message
	}{
		{"as after a kill", func(string) error { return nil }, nil, ""},
		{"looked at with another tool", func(p string) error { return execDB(p, "PRAGMA wal_checkpoint") }, nil, ""},
		{"file is gone", os.Remove, ErrDamaged, "--fresh"},
		{"empty", func(p string) error { return os.Truncate(p, 0) }, ErrDamaged, "--fresh"},
		{"cut off", func(p string) error { return errors.Join(execDB(p, "PRAGMA wal_checkpoint"), os.Truncate(p, 20000)) }, ErrDamaged, "--fresh"},
		{"overwritten page", func(p string) error {
			return errors.Join(execDB(p, "PRAGMA wal_checkpoint"), overwrite(p, 4096, strings.Repeat("junk", 10000)))
		}, ErrDamaged, "--fresh"},
		{"-wal is gone", func(p string) error { return os.Remove(p + "-wal") }, ErrDamaged, "ledger.db-wal removed"},
		{"-seq is gone", func(p string) error { return os.Remove(p + "-seq") }, ErrDamaged, "ledger.db-seq is missing"},
		{"-seq is nonsense", func(p string) error { return os.WriteFile(p+"-seq", []byte(strings.Repeat("?", 21)), 0o600) }, ErrDamaged, "ledger.db-seq"},
		{"text file", func(p string) error { return os.WriteFile(p, []byte(strings.Repeat("group_id,account\n", 20)), 0o600) }, ErrForeign, "no SQLite file"},
		{"other program's", func(p string) error { return errors.Join(os.Remove(p), execDB(p, "CREATE TABLE t (a)")) }, ErrForeign, "another program"},
		{"of the future", func(p string) error {
			return errors.Join(execDB(p, fmt.Sprintf("PRAGMA user_version = %d", version+1)), execDB(p, "PRAGMA wal_checkpoint"))
		}, ErrForeign, fmt.Sprintf("format %d", version+1)},
		{"flipped bit in a number", func(p string) error { return execDB(p, flip("nums", "chunk")) }, ErrDamaged, "checksum"},
		{"flipped bit in an account", func(p string) error { return execDB(p, flip("asks", "chunk")) }, ErrDamaged, "checksum"},
		{"flipped bit in an outcome", func(p string) error { return execDB(p, flip("outcomes", "progress")) }, ErrDamaged, "checksum"},
		{"flipped bit in the source", func(p string) error { return execDB(p, flip("data", "source")) }, ErrDamaged, "checksum"},
		{"flipped bit in a group", func(p string) error { return execDB(p, "UPDATE chunk SET grp = 'f' || substr(grp, 2) WHERE id = 2") }, ErrDamaged, "chunk 2: ledger is damaged: wrong checksum"},
		{"flipped bit in the place of a chunk", func(p string) error { return execDB(p, "UPDATE chunk SET lo = 1 WHERE id = 2") }, ErrDamaged, "chunk 2"},
		{"outcomes of one chunk at another", func(p string) error { return execDB(p, "UPDATE progress SET chunk = 2 WHERE chunk = 1") }, ErrDamaged, "checksum"},
		{"flipped bit in the endpoint", func(p string) error { return execDB(p, "UPDATE run SET meta = replace(meta, 'qq', 'pq')") }, ErrDamaged, "checksum"},
		{"no such state", func(p string) error { return execDB(p, "UPDATE run SET state = 'finishee'") }, ErrDamaged, "finishee"},
		{"of another run", func(p string) error {
			return execDB(p, "UPDATE run SET sum = 0, meta = replace(meta, '\"r1\"', '\"r2\"')")
		}, ErrDamaged, "it is that of run r2"},
		{"a source block is gone", func(p string) error { return execDB(p, "DELETE FROM source") }, ErrUnbalanced, "row 0"},
		{"a chunk is gone", func(p string) error { return execDB(p, "DELETE FROM chunk WHERE id = 1") }, ErrUnbalanced, "row 0 (line 2) is in no chunk"},
		{"a chunk is there twice", func(p string) error {
			return execDB(p, "INSERT INTO chunk SELECT 3, grp, rows, entries, lo, hi, nums, asks FROM chunk WHERE id = 2")
		}, ErrUnbalanced, "row 3 (line 6) is counted twice"},
		{"failed and in a chunk", func(p string) error {
			return execDB(p, "UPDATE chunk SET nums = (SELECT nums FROM refused), entries = 2, lo = 1, hi = 6 WHERE id = 1")
		}, ErrUnbalanced, "row 0 (line 2)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, path := settledRun(t)
			must(t, tt.spoil(path))
			err := readAll(t, s)
			if tt.want == nil && err != nil || !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err != nil && (!strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("%q does not name %q and say %q", err, path, tt.says)
			}
		})
	}
}

// readAll opens the run for work and reads all there is.
func readAll(t *testing.T, s Store) error {
	l, err := s.Open(t.Context(), "r1")
	if err != nil {
		return err
	}
	defer l.Close()
	for _, err := range l.Rows(t.Context()) {
		if err != nil {
			return err
		}
	}
	for _, err := range l.Pending(t.Context()) {
		if err != nil {
			return err
		}
	}
	_, err = l.Summary(t.Context())
	return err
}

func TestForeignFileIsNotChanged(t *testing.T) {
	s := Store{t.TempDir()}
	must(t, os.Mkdir(s.Path("r1"), 0o700))
	path := filepath.Join(s.Path("r1"), fileName)
	db, err := sql.Open("sqlite", path)
	must(t, err)
	_, err = db.Exec("CREATE TABLE precious (a); PRAGMA application_id = 77")
	must(t, errors.Join(err, db.Close()))
	before, _ := os.ReadFile(path)
	if _, err := s.Open(t.Context(), "r1"); !errors.Is(err, ErrForeign) {
		t.Errorf("got %v, want ErrForeign", err)
	}
	if after, _ := os.ReadFile(path); string(before) != string(after) {
		t.Error("the file was changed")
	}
	if files, _ := os.ReadDir(s.Path("r1")); len(files) != 1 {
		t.Errorf("files: %v", files)
	}
}

func TestFullDisk(t *testing.T) {
	s, l := create(t, "r1")
	for i := range int64(5000) {
		must(t, l.PlanSource(i, i+2, ""))
		must(t, l.PlanChunk("g", []Entry{{"a", nil, []int64{i}}}))
	}
	must(t, l.PlanDone(t.Context(), 5000, 0))
	must(t, l.Begin(t.Context()))
	// SQLite's own bound stands in for the disk's: the same error in the same place.
	var pages int
	must(t, fileOf(l).read.QueryRow("PRAGMA page_count").Scan(&pages))
	must(t, fileOf(l).exec(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", pages+20)))
	settled := 0
	var err error
	for id := int64(1); id <= 5000 && err == nil; id++ {
		if err = l.Settle(t.Context(), id, []Outcome{{"refused", 1, strings.Repeat("long ", 100), 1}}, Cost{1, 0}); err == nil {
			settled++
		}
	}
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), l.Path()) || !strings.Contains(err.Error(), "free some space") {
		t.Fatalf("got %v, want ErrFull, the file, and what to do", err)
	}
	if err := l.Settle(t.Context(), 5000, make([]Outcome, 1), Cost{}); !errors.Is(err, ErrFull) {
		t.Errorf("after that: got %v, want ErrFull", err)
	}
	must(t, l.Close())
	l, err = s.Open(t.Context(), "r1")
	must(t, err)
	defer l.Close()
	sum, err := l.Summary(t.Context())
	must(t, err)
	if int(sum.Failed) != settled || settled == 0 {
		t.Errorf("%d acknowledged, %d on disk", settled, sum.Failed)
	}
	must(t, l.Begin(t.Context())) // there is room now
	must(t, l.Settle(t.Context(), 5000, make([]Outcome, 1), Cost{}))
}

func TestFullDiskWhilePlanning(t *testing.T) {
	_, l := create(t, "r1")
	must(t, fileOf(l).exec(t.Context(), "PRAGMA max_page_count = 60"))
	var err error
	for i := int64(0); i < 10_000 && err == nil; i++ {
		err = l.PlanSource(i, i+2, strings.Repeat("x", 100))
	}
	if !errors.Is(err, ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	if err := l.PlanDone(t.Context(), 0, 0); !errors.Is(err, ErrFull) {
		t.Errorf("PlanDone after that: got %v, want ErrFull", err)
	}
}

// A run that cannot be read is not passed over as if it had sent nothing.
func TestFindAnUnreadableRun(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"cut off":     func(p string) error { return os.Truncate(p, 50) },
		"gone":        os.Remove,
		"a directory": func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) },
	} {
		t.Run(name, func(t *testing.T) {
			s, path := settledRun(t)
			must(t, spoil(path))
			must(t, os.Chtimes(filepath.Dir(path), time.Now(), time.Now().Add(-time.Hour)))
			for range 2 {
				run, err := found(t, s, meta("").Key())
				if err == nil || !strings.Contains(err.Error(), "run r1") || !strings.Contains(err.Error(), "--fresh") {
					t.Errorf("got %q, %v, want an error that names the run and --fresh", run, err)
				}
			}
			other := meta("")
			other.Kind = "marks delete"
			if run, err := found(t, s, other.Key()); run != "" || err != nil {
				t.Errorf("another command: got %q, %v", run, err)
			}
			l, err := s.Create(t.Context(), meta("r2"))
			must(t, err)
			planSmall(t, l)
			must(t, l.Close())
			if run, err := found(t, s, meta("").Key()); run != "r2" || err != nil {
				t.Errorf("with a newer run: got %q, %v", run, err)
			}
		})
	}
}

// What is written to a file that has lost its name is not on record.
func TestDirectoryIsGoneMeanwhile(t *testing.T) {
	for name, take := range map[string]func(dir string) error{
		"removed": os.RemoveAll,
		"renamed": func(dir string) error { return os.Rename(dir, dir+".old") },
		"replaced": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".old"), os.CopyFS(dir, os.DirFS(dir+".old")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, l := create(t, "r1")
			planSmall(t, l)
			must(t, l.Begin(t.Context()))
			must(t, take(filepath.Dir(l.Path())))
			err := l.Settle(t.Context(), 1, make([]Outcome, 2), Cost{1, 0})
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "renamed") {
				t.Errorf("got %v, want ErrDamaged and why", err)
			}
		})
	}
}

// found is the run that goes on when the command of a key is given again.
func found(t *testing.T, s Store, key string) (string, error) {
	t.Helper()
	list, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Find(t.Context(), list, key)
}

//go:build linux

package chaos

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What can be done to the directory of a run.

func replace(name, with string) func(dir string) error {
	return func(dir string) error {
		b, err := os.ReadFile(with)
		return errors.Join(err, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
}

func remove(names ...string) func(dir string) error {
	return func(dir string) (err error) {
		for _, name := range names {
			err = errors.Join(err, os.Remove(filepath.Join(dir, name)))
		}
		return err
	}
}

func makeDir(name string) func(dir string) error {
	return func(dir string) error { return os.Mkdir(filepath.Join(dir, name), 0o700) }
}

func both(first, then func(dir string) error) func(dir string) error {
	return func(dir string) error { return errors.Join(first(dir), then(dir)) }
}

// TestLostFiles takes files of a killed run away, or puts others in their place.
func TestLostFiles(t *testing.T) {
	t.Parallel()
	w := newWreck(t, syscall.SIGKILL, 60)
	other := newWreck(t, syscall.SIGTERM, 59)
	text, foreign := filepath.Join(w.dir, "class.csv"), filepath.Join(other.copy, other.run, "ledger.db")
	older := func(name string) string { return filepath.Join(w.early, w.run, name) }
	harms := []struct {
		what string
		do   func(dir string) error
	}{
		{"nothing", func(string) error { return nil }},
		{"no ledger", remove("ledger.db")},
		{"no ledger and no -wal", remove("ledger.db", "ledger.db-wal", "ledger.db-shm")},
		{"no -wal", remove("ledger.db-wal")},
		{"no -shm", remove("ledger.db-shm")},
		{"no -wal and no -shm", remove("ledger.db-wal", "ledger.db-shm")},
		{"no -seq", remove("ledger.db-seq")},
		{"a text for a ledger", replace("ledger.db", text)},
		{"a text for the -wal", replace("ledger.db-wal", text)},
		{"a text for the -shm", replace("ledger.db-shm", text)},
		{"a text for the -seq", replace("ledger.db-seq", text)},
		{"ledger of another run", replace("ledger.db", foreign)},
		{"another's, and no -wal", both(replace("ledger.db", foreign), remove("ledger.db-wal", "ledger.db-shm"))},
		{"an old ledger and -wal", both(both(replace("ledger.db", older("ledger.db")), replace("ledger.db-wal", older("ledger.db-wal"))), remove("ledger.db-shm"))},
		{"an old -wal", both(replace("ledger.db-wal", older("ledger.db-wal")), remove("ledger.db-shm"))},
		{"a directory", both(remove("ledger.db"), makeDir("ledger.db"))},
		{"a directory for -seq", both(remove("ledger.db-seq"), makeDir("ledger.db-seq"))},
		{"a directory for -wal", both(remove("ledger.db-wal"), makeDir("ledger.db-wal"))},
		{"a link that leads on", both(remove("ledger.db"), func(dir string) error { return os.Symlink("nowhere", filepath.Join(dir, "ledger.db")) })},
		{"the run renamed", func(dir string) error { return os.Rename(dir, dir[:len(dir)-6]+"ffffff") }},
		{"nobody may read it", func(dir string) error { return os.Chmod(filepath.Join(dir, "ledger.db"), 0) }}, // root may
	}
	for i := 0; i < len(harms); i += times(4, 1) {
		lost, wentOn := w.endsWell(harms[i].what, harms[i].do)
		tried.add("files of a killed run lost or replaced: marks", 1, lost)
		t.Logf("%s: %v", harms[i].what, wentOn)
	}
}

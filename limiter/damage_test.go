package limiter

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A file is damaged while one process has a call under way: that lane stays its
// own, lanes whose history is lost rest, and the budget goes on.
func damage(t *testing.T, name string, lost func(lane int) bool, harm func(path string) error) {
	t.Helper()
	dir := t.TempDir()
	rested(t, dir, 4)
	a := budgetOf(t, dir, 4)
	h, _, err := a.look("")
	if err != nil || h.lane < 0 {
		t.Fatalf("%s: got lane %d, %v", name, h.lane, err)
	}
	for range 2 { // so that both buffers are full
		if err := a.update(nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := harm(filepath.Join(dir, "budget-app.lanes")); err != nil {
		t.Fatal(err)
	}
	before := a.lanes.Now()
	if err := a.update(nil); err != nil {
		t.Errorf("%s: got %v, want a mended file", name, err)
	}
	b := budgetOf(t, dir, 4)
	s, err := b.status()
	if err != nil || s.Held != 1 || s.Lanes != 4 {
		t.Errorf("%s: got %+v, %v, want the holding back", name, s, err)
	}
	err = b.update(func(tb *Table) {
		for i, l := range tb.lanes {
			if i == h.lane {
				if l.holder == 0 {
					t.Errorf("%s: lane %d is free, its call is under way", name, i)
				}
				continue
			}
			if lost(i) && l.ready < before+time.Second || !lost(i) && l.ready != 0 {
				t.Errorf("%s: lane %d is ready %v after the damage", name, i, l.ready-before)
			}
		}
	})
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	a.done(h, 0, true)
	if s, err := b.status(); err != nil || s.Held != 0 {
		t.Errorf("%s: after done got %+v, %v", name, s, err)
	}
	a.close()
	b.close()
}

func TestDamagedFile(t *testing.T) {
	all := func(int) bool { return true }
	size := lanesAt + 4*laneSize
	for n := range size {
		lost := func(lane int) bool { return n < lanesAt+(lane+1)*laneSize }
		damage(t, fmt.Sprintf("cut at %d", n), lost, func(path string) error { return os.Truncate(path, int64(n)) })
	}
	for at := range size {
		lost := func(lane int) bool { return at < headerSize || at >= lanesAt && (at-lanesAt)/laneSize == lane }
		damage(t, fmt.Sprintf("byte %d", at), lost, func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b[at] ^= 0x41
			return os.WriteFile(path, b, 0o600)
		})
	}
	damage(t, "removed", all, os.Remove)
	damage(t, "all removed", all, func(path string) error { return os.RemoveAll(filepath.Dir(path)) })
	damage(t, "foreign", all, func(path string) error {
		return os.WriteFile(path, []byte(strings.Repeat("group_id,account\n", 100)), 0o600)
	})
}

func FuzzFile(f *testing.F) {
	dir := f.TempDir()
	rested(f, dir, 3)
	good, err := os.ReadFile(filepath.Join(dir, "budget-app.lanes"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add(good)
	f.Add(good[:70])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "budget-app.lanes")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		lanes, err := File(dir)("app")
		if err != nil {
			if !strings.Contains(err.Error(), "update this program") {
				t.Errorf("got %v, want a mended file", err)
			}
			return
		}
		b := newBudget("", 5, time.Second+defaultMargin, lanes, make(chan struct{}))
		defer b.close()
		before := lanes.Now()
		// Lanes 3 and 4 were never written, so they have to rest.
		err = b.update(func(tb *Table) {
			for i, l := range tb.lanes {
				if l.ready > tb.now+longest && l.holder == 0 || l.lost {
					t.Errorf("lane %d is not settled: %+v", i, l)
				}
				if len(content) < lanesAt+laneSize && l.ready < before+time.Second {
					t.Errorf("lane %d of a short file is ready early: %+v", i, l)
				}
			}
			if a := tb.allowed(0, tb.size()); a < 1 || a > 5 {
				t.Errorf("got %d lanes in use", a)
			}
		})
		if err != nil {
			t.Error(err)
		}
		// What is remembered must be what is in the file.
		remembered := slices.Clone(lanes.(*fileLanes).table.lanes)
		lanes.(*fileLanes).prev = nil
		if err := lanes.Update(5, func(*Table) {}); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(remembered, lanes.(*fileLanes).table.lanes, seeLanes); diff != "" {
			t.Errorf("file differs from memory (-memory +file):\n%s", diff)
		}
	})
}

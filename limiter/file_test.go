package limiter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func opened(t testing.TB, dir, key string) *fileLanes {
	t.Helper()
	lanes, err := File(dir)(key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lanes.Close() })
	return lanes.(*fileLanes)
}

// budgetOf is a budget on its own opening of the file.
func budgetOf(t testing.TB, dir string, n int) *budget {
	return newBudget("", n, time.Second+defaultMargin, opened(t, dir, "app"), make(chan struct{}))
}

// rested makes a file with n lanes that are ready.
func rested(t testing.TB, dir string, n int) {
	t.Helper()
	f := opened(t, dir, "app")
	err := f.Update(n, func(tb *Table) {
		for i := range tb.lanes {
			tb.set(i, lane{})
		}
	})
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestFileNames(t *testing.T) {
	tests := []struct{ key, want string }{
		{"1400000000", "budget-1400000000"},
		{"1400000000/get_members", "budget-1400000000%2Fget_members"},
		{"../../etc/passwd", "budget-..%2F..%2Fetc%2Fpasswd"},
		{"", "budget-"},
		{"a b:c\\d\x00", "budget-a+b%3Ac%5Cd%00"},
		{"中", "budget-%E4%B8%AD"},
	}
	for _, tt := range tests {
		if got := fileName(tt.key); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.key, got, tt.want)
		}
	}
	long, other := fileName(strings.Repeat("x", 500)), fileName(strings.Repeat("x", 499))
	if len(long) > 200 || long == other {
		t.Errorf("long keys: got %q and %q", long, other)
	}
}

func TestFileModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "lanes")
	b := budgetOf(t, dir, 3)
	if err := b.update(nil); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		rel, _ := filepath.Rel(dir, path)
		got[strings.ReplaceAll(rel, fmt.Sprintf("%08x", b.lanes.(*fileLanes).members.id), "ID")] = info.Mode().String()
		return err
	})
	want := map[string]string{
		".": "drwx------", "budget-app.lanes": "-rw-------",
		"budget-app.members": "drwx------", "budget-app.members/ID": "-rw-------",
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("files (-want +got): %v\n%s", err, diff)
	}
	if err := b.close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "budget-app.members")); err != nil || len(left) != 0 {
		t.Errorf("after close: got members %v, %v, want none", left, err)
	}
}

func TestFileErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New(Options{QPS: 1, Key: "app", Lanes: File(filepath.Join(file, "state"))})
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("directory below a file: got %v, want an error that names it", err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "budget-app.lanes"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := File(dir)("app"); err == nil {
		t.Error("a folder in place of the file: got no error")
	}
}

func TestNewLanesRestFirst(t *testing.T) {
	dir := t.TempDir()
	small := budgetOf(t, dir, 2)
	if h, _, err := small.look(""); err != nil || h.lane >= 0 {
		t.Errorf("new file: got lane %d, %v, want none", h.lane, err)
	}
	rested(t, dir, 2)
	if h, _, err := small.look(""); err != nil || h.lane < 0 {
		t.Errorf("rested file: got lane %d, %v, want one", h.lane, err)
	}
	large := budgetOf(t, dir, 4)
	s, err := large.status()
	if want := (Status{Lanes: 4, Leased: 4, Held: 1, Resting: 2}); err != nil || !cmp.Equal(s, want) {
		t.Errorf("grown file: got %+v, %v, want %+v", s, err, want)
	}
	s, err = small.status()
	if want := (Status{Lanes: 2, Leased: 2, Held: 1}); err != nil || !cmp.Equal(s, want) {
		t.Errorf("seen by the smaller: got %+v, %v, want %+v", s, err, want)
	}
}

func TestFileIsShared(t *testing.T) {
	dir := t.TempDir()
	rested(t, dir, 12)
	a, b := budgetOf(t, dir, 12), budgetOf(t, dir, 12)
	lanes := map[int]bool{}
	for i := range 12 {
		h, _, err := []*budget{a, b}[i%2].look("")
		if err != nil || h.lane < 0 || lanes[h.lane] {
			t.Fatalf("look %d: got lane %d, %v", i, h.lane, err)
		}
		lanes[h.lane] = true
	}
	if h, _, err := a.look(""); err != nil || h.lane >= 0 {
		t.Errorf("all held: got lane %d, %v", h.lane, err)
	}
	b.slowDown("")
	s, err := a.status()
	if diff := cmp.Diff(Status{Lanes: 12, Leased: 12, Held: 12, OutOfUse: 1}, s); err != nil || diff != "" {
		t.Errorf("after the other's SlowDown: %v\n%s", err, diff)
	}
}

func TestNewerFile(t *testing.T) {
	dir := t.TempDir()
	rested(t, dir, 1)
	path := filepath.Join(dir, "budget-app.lanes")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(b[8:], version+1)
	binary.LittleEndian.PutUint32(b[12:], checksum(b[:12]))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = New(Options{QPS: 1, Key: "app", Lanes: File(dir)})
	if err == nil || !strings.Contains(err.Error(), "update this program") || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want what to do, and the file's name", err)
	}
	if after, _ := os.ReadFile(path); !slices.Equal(b, after) {
		t.Error("the newer file was changed")
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "budget-app.members")); len(left) != 0 {
		t.Errorf("got members %v, want none left", left)
	}
}

// The lock is in the hand of somebody who is stopped: nothing is sent and nobody
// hangs, and what was done meanwhile is not forgotten.
func TestStuckLock(t *testing.T) {
	dir := t.TempDir()
	rested(t, dir, 2)
	l := newLimiter(t, Options{QPS: 2, Key: "app", Lanes: File(dir)})
	done, _, err := l.Take(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	other := opened(t, dir, "app")
	if err := other.acquire(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	done(0, true)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, _, err := l.Take(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("done and Take hung for %v", took)
	}
	if err := unlock(other.file); err != nil {
		t.Fatal(err)
	}
	s, err := l.Status()
	if diff := cmp.Diff([]Status{{Lanes: 2, Leased: 2, Resting: 1}}, s); err != nil || diff != "" {
		t.Errorf("status (-want +got): %v\n%s", err, diff)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestCloseLeavesHeldLanesUntilDone(t *testing.T) {
	dir := t.TempDir()
	rested(t, dir, 2)
	l := newLimiter(t, Options{QPS: 2, Key: "app", Lanes: File(dir)})
	done, _, err := l.Take(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b := budgetOf(t, dir, 2)
	for i, want := range []Status{{Lanes: 2, Leased: 2, Held: 1}, {Lanes: 2, Leased: 2, Resting: 1}} {
		if got, err := b.status(); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%d: got %+v, %v, want %+v", i, got, err, want)
		}
		done(0, true)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "budget-app.members")); len(left) != 1 {
		t.Errorf("got %d members, want the other's only", len(left))
	}
}

// Openings in one process share like processes do.
func TestManyOpenings(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
	defer cancel()
	start := time.Now()
	var mu sync.Mutex
	var sends []time.Duration
	var wg sync.WaitGroup
	for _, qps := range []int{100, 100, 30} {
		l := newLimiter(t, Options{QPS: qps, Key: "app", Lanes: File(dir)})
		defer l.Close()
		for range 10 {
			wg.Go(func() {
				for {
					done, _, err := l.Take(ctx, "")
					if err != nil {
						return
					}
					at := time.Since(start)
					time.Sleep(upTo(10 * time.Millisecond))
					mu.Lock()
					sends = append(sends, at)
					mu.Unlock()
					done(0, true)
				}
			})
		}
	}
	wg.Wait()
	if worst := worstSecond(sends); worst > 100 {
		t.Errorf("got %d sends in one second, want at most 100", worst)
	}
	if len(sends) < 150 {
		t.Errorf("got %d sends in 2.5 s, want about 248", len(sends))
	}
	t.Logf("%d sends", len(sends))
}

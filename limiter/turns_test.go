package limiter

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestShare(t *testing.T) {
	const now = 100 * time.Second
	tests := []struct {
		name   string
		wishes []wish
		size   int
		want   int
	}{
		{"nobody else", nil, 200, 200},
		{"oneself", []wish{{1, now}}, 200, 200},
		{"three others", []wish{{2, now}, {1, now}, {3, now - 1}, {4, now - wishes + 1}}, 200, 50},
		{"others of long ago", []wish{{2, now - wishes}}, 200, 200},
		{"rounded up", []wish{{2, now}, {3, now}}, 200, 67},
	}
	for _, tt := range tests {
		table := &Table{now: now, self: 1}
		copy(table.wishes[:], tt.wishes)
		if got := table.share(tt.size); got != tt.want {
			t.Errorf("%s: got %d lanes, want %d", tt.name, got, tt.want)
		}
	}
}

func TestYield(t *testing.T) {
	const now, s = 100 * time.Second, time.Second
	mine := lane{ready: now + s, user: 1}
	tests := []struct {
		name  string
		lanes []lane // the first is ready
		other bool   // waits, too
		want  time.Duration
	}{
		{"alone", []lane{{ready: now}, mine, mine, mine}, false, 0},
		{"had less", []lane{{ready: now}, mine, {ready: now + s, user: 2}, {}}, true, 0},
		{"had its share", []lane{{ready: now}, mine, mine, {ready: now + s, user: 2}}, true, poll},
		{"holds its share", []lane{{ready: now}, {holder: 1, user: 1}, mine, {}}, true, poll},
		{"its calls were longer ago", []lane{{ready: now}, {ready: now, user: 1}, {ready: now, user: 1}, {}}, true, 0},
		{"nobody wants the lane", []lane{{ready: now - idleLane}, mine, mine, mine}, true, 0},
		{"nobody wants it soon", []lane{{ready: now - idleLane + 3}, mine, mine, mine}, true, 3},
	}
	for _, tt := range tests {
		table := &Table{now: now, self: 1, lanes: tt.lanes}
		if tt.other {
			table.wishes[0] = wish{2, now}
		}
		if got := table.yield(0, len(tt.lanes)); got != tt.want {
			t.Errorf("%s: got wait %v, want %v", tt.name, got, tt.want)
		}
	}
}

// The oldest wish makes room for a new one.
func TestWishes(t *testing.T) {
	table := &Table{}
	for i := range uint32(2 * maxWaiting) {
		table.self, table.now = i+1, time.Duration(i+1)*time.Second
		table.wish()
		table.wish()
	}
	for _, w := range table.wishes {
		if w.member <= maxWaiting || w.at != time.Duration(w.member)*time.Second {
			t.Errorf("got %v, want the last %d", table.wishes, maxWaiting)
		}
	}
}

// An API with nearly all lanes out of use does not hold up the others, and goes on.
func TestSlowAPIHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 50
		l := newLimiter(t, Options{QPS: n})
		defer l.Close()
		for range 40 {
			l.SlowDown("slow")
		}
		slow := &world{api: "slow", service: time.Millisecond}
		fast := &world{api: "fast", service: time.Millisecond}
		const d = 10 * time.Second
		all := together(t, []*world{slow, fast}, []taker{l.Queue(), l.Queue()}, []int{16, 16}, []time.Duration{d, d})
		all.check(t, n)
		if got := slow.in(0, time.Second); got != 1 {
			t.Errorf("got %d calls of the slow API in the first second, want 1", got)
		}
		if got := slow.in(9*time.Second, d); got < 8 || got > 11 {
			t.Errorf("got %d calls of the slow API in the tenth second, want about 10: one lane came back each second", got)
		}
		if use := useOf(all.sends, n, 2*time.Second); use < 0.98 {
			t.Errorf("got use %.4f, want at least 0.98", use)
		}
		empty(t, l)
	})
}

func TestCancelAtTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Options{QPS: 10})
		defer l.Close()
		for range 10 {
			l.SlowDown("slow")
		}
		done, _, err := l.Take(t.Context(), "slow")
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				if _, _, err := l.Take(ctx, "slow"); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("at the gate: got %v, want the deadline", err)
				}
			})
		}
		all.Wait()
		empty(t, l)
		done(0, true)
		takeWithin(t, l, 10*time.Millisecond) // another API
		if _, _, err := l.Take(t.Context(), "slow"); err != nil {
			t.Errorf("after the gate: %v", err)
		}
	})
}

// Two programs on one host lease lanes together, although one uses fewer; another
// host has its part.
func TestLeasedBySizes(t *testing.T) {
	t.Parallel() // its time is that of a bubble
	if testing.Short() {
		t.Skip("takes 8 seconds")
	}
	b, dir, start := newBook(), t.TempDir(), time.Now()
	open := func(dir string) func(string) (Lanes, error) {
		return func(key string) (Lanes, error) {
			f, err := openFile(dir, key, true)
			if err != nil {
				return nil, err
			}
			return newLeased(f, &desk{book: b}, key, Lease{}), nil
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	var mu sync.Mutex
	var sends []time.Duration
	counts := map[string]int{}
	var all sync.WaitGroup
	for name, n := range map[string]int{"large": 60, "small": 15, "other": 60} {
		home := dir
		if name == "other" {
			home = t.TempDir()
		}
		l := newLimiter(t, Options{QPS: n, Key: "app", Lanes: open(home)})
		for range 8 {
			all.Go(func() {
				for {
					done, _, err := l.Take(ctx, "")
					if err != nil {
						return
					}
					mu.Lock()
					sends = append(sends, time.Since(start))
					counts[name]++
					mu.Unlock()
					time.Sleep(5 * time.Millisecond)
					done(0, true)
				}
			})
		}
		defer l.Close()
	}
	all.Wait()
	if worst := worstSecond(sends); worst > 60 {
		t.Errorf("got %d calls in one second, want at most 60", worst)
	}
	t.Logf("%v calls, at most %d in one second", counts, worstSecond(sends))
	for _, name := range []string{"large", "small", "other"} {
		if counts[name] < 20 {
			t.Errorf("got %d calls of %q in 8 s, want at least 20", counts[name], name)
		}
	}
}

// Who uses the whole budget of a host and who leases it do not share a file.
func TestLeasedAndNot(t *testing.T) {
	dir := t.TempDir()
	host := opened(t, dir, "app")
	if err := host.Update(3, func(*Table) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := openFile(dir, "app", true); !errors.Is(err, errHostOnly) {
		t.Errorf("leased beside a whole one: got %v, want %v", err, errHostOnly)
	}
	host.Close()
	leased, err := openFile(dir, "app", true)
	if err != nil {
		t.Fatalf("alone: %v", err)
	}
	if err := leased.Update(3, func(tb *Table) {
		if tb.size() != 0 || tb.lease.host == 0 {
			t.Errorf("got %d lanes of host %x, want none of a host", tb.size(), tb.lease.host)
		}
	}); err != nil {
		t.Error(err)
	}
	if _, err := File(dir)("app"); !errors.Is(err, errLeased) {
		t.Errorf("whole beside a leased one: got %v, want %v", err, errLeased)
	}
	leased.Close()
	found, err := InspectHost(dir)
	want := []HostBudget{{Key: "app", Leased: true, Lanes: 3}}
	if diff := cmp.Diff(want, found, cmp.AllowUnexported(Process{})); err != nil || diff != "" {
		t.Errorf("%s: %v\n%s", filepath.Base(dir), err, diff)
	}
}

// A file that was copied to another host, or is of before this one was started,
// gives nobody a lease.
func TestLeaseEndsWithTheHost(t *testing.T) {
	dir := t.TempDir()
	a, err := openFile(dir, "app", true)
	if err != nil {
		t.Fatal(err)
	}
	var host uint64
	err = a.Update(2, func(tb *Table) {
		host = tb.lease.host
		tb.lease.until, tb.lease.limit, tb.head = tb.now+time.Second, 2, true
		tb.set(0, lane{lease: ours})
	})
	if err := errors.Join(err, a.Close()); err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for dir, again := range map[string]bool{dir: true, copied: false} {
		b, err := openFile(dir, "app", true)
		if err != nil {
			t.Fatal(err)
		}
		err = b.Update(2, func(tb *Table) {
			if same := tb.lease.host == host; same != again || (tb.size() > 0) != again {
				t.Errorf("the same file %v: got %d lanes of host %x, before it was %x", again, tb.size(), tb.lease.host, host)
			}
		})
		if err := errors.Join(err, b.Close()); err != nil {
			t.Error(err)
		}
	}
}

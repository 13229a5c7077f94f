package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

func viewOf(t testing.TB, l *Ledger) *View {
	t.Helper()
	v, err := l.View(t.Context())
	must(t, err)
	t.Cleanup(v.Close)
	return v
}

// kept reads a span in a view of its own. (Close waits for open ones.)
func kept(t testing.TB, l *Ledger, s Span) ([]byte, error) {
	t.Helper()
	v, err := l.View(t.Context())
	must(t, err)
	defer v.Close()
	return v.Kept(s)
}

func keep(t testing.TB, l *Ledger, data string) Span {
	t.Helper()
	s, err := l.Keep(t.Context(), []byte(data))
	must(t, err)
	return s
}

func TestKeep(t *testing.T) {
	s, l := create(t, "r1")
	ctx := t.Context()
	if _, err := l.Keep(ctx, nil); !errors.Is(err, ErrNotQueued) {
		t.Errorf("while planning: got %v, want ErrNotQueued", err)
	}
	planSmall(t, l)
	if _, err := os.Stat(fileOf(l).keptPath()); err == nil || l.HasKept() {
		t.Errorf("before anything was kept: %v, HasKept %v", err, l.HasKept())
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := l.Keep(cancelled, nil); !errors.Is(err, ErrNotQueued) {
		t.Errorf("cancelled: got %v, want ErrNotQueued", err)
	}
	must(t, l.Begin(ctx))
	want := map[Span]string{}
	for _, data := range []string{"members of g1", "", strings.Repeat("班级", 100_000)} {
		want[keep(t, l, data)] = data
	}
	if i, err := os.Stat(fileOf(l).keptPath()); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", i.Mode(), err)
	}
	if l.HasKept() {
		t.Error("it counts before anything was settled")
	}
	must(t, l.SettleWith(ctx, 1, make([]Outcome, 2), []byte("note"), Cost{1, 0}))
	if !l.HasKept() {
		t.Error("it does not count after a chunk was settled")
	}
	must(t, l.Close())
	if _, err := l.Keep(ctx, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: got %v, want ErrClosed", err)
	}
	l, err := s.Open(ctx, "r1")
	must(t, err)
	defer l.Close()
	want[keep(t, l, "of another session")] = "of another session"
	for span, data := range want {
		if got, err := kept(t, l, span); string(got) != data || err != nil {
			t.Errorf("%v: got %d bytes, %v", span, len(got), err)
		}
	}
	r, err := s.OpenRead(ctx, "r1")
	must(t, err)
	defer r.Close()
	if _, err := r.Keep(ctx, nil); !errors.Is(err, ErrNotQueued) || !r.HasKept() {
		t.Errorf("on a reader: got %v, HasKept %v", err, r.HasKept())
	}
}

func TestKeepOfMany(t *testing.T) {
	_, l := create(t, "r1")
	planSmall(t, l)
	v := viewOf(t, l)
	var mu sync.Mutex
	want := map[Span][]byte{}
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 30 {
				data := bytes.Repeat([]byte{byte(w), byte(i)}, w*i)
				s, err := l.Keep(t.Context(), data)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				want[s] = data
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for s, data := range want {
		if got, err := v.Kept(s); !bytes.Equal(got, data) || err != nil {
			t.Errorf("%v: got %d bytes, %v", s, len(got), err)
		}
	}
	if len(want) != 16*30 {
		t.Errorf("%d places for %d records", len(want), 16*30)
	}
}

// A Settle of any sort brings to disk what was kept before it.
func TestSettleSyncsWhatWasKept(t *testing.T) {
	_, l := create(t, "r1")
	planSmall(t, l)
	ctx := t.Context()
	must(t, l.Begin(ctx))
	dirty := func() bool {
		fileOf(l).kept.mu.Lock()
		defer fileOf(l).kept.mu.Unlock()
		return fileOf(l).kept.dirty
	}
	for _, step := range []struct {
		name   string
		settle func() error
	}{
		{"Settle", func() error { return l.Settle(ctx, 1, make([]Outcome, 2), Cost{}) }},
		{"SettleEntry", func() error { return l.SettleEntry(ctx, 2, 0, Outcome{}, Cost{}) }},
		{"SettleWith", func() error { return l.SettleWith(ctx, 2, make([]Outcome, 3), []byte{1}, Cost{}) }},
	} {
		keep(t, l, step.name)
		must(t, l.Reported(ctx))
		if !dirty() {
			t.Errorf("before %s: synced for nothing", step.name)
		}
		must(t, step.settle())
		if dirty() {
			t.Errorf("%s: not synced", step.name)
		}
	}
}

func TestFailedSyncSettlesNothing(t *testing.T) {
	_, l := create(t, "r1")
	planSmall(t, l)
	ctx := t.Context()
	must(t, l.Begin(ctx))
	keep(t, l, "members")
	must(t, fileOf(l).kept.f.Close()) // stands in for a disk that refuses
	err := l.SettleEntry(ctx, 1, 0, Outcome{}, Cost{1, 0})
	if err == nil || !strings.Contains(err.Error(), keptName) {
		t.Errorf("got %v, want an error that names %s", err, keptName)
	}
	if err := l.Settle(ctx, 2, make([]Outcome, 3), Cost{}); err == nil {
		t.Error("after that: no error")
	}
	if sum := summaryOf(t, l); sum.Succeeded != 0 {
		t.Errorf("got %+v", sum)
	}
}

func TestKeptDamage(t *testing.T) {
	edit := func(change func(b []byte) []byte) func(string) error {
		return func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, change(b), 0o600)
		}
	}
	flip := func(at int) func(string) error {
		return edit(func(b []byte) []byte { b[at] ^= 1; return b })
	}
	const record = keptHeader + 5
	tests := []struct {
		name  string
		spoil func(path string) error
		move  Span // added to the span of the second record of three
		says  string
	}{
		{"as it was", func(string) error { return nil }, Span{}, ""},
		{"gone", os.Remove, Span{}, "missing"},
		{"empty", func(p string) error { return os.Truncate(p, 0) }, Span{}, "it has 0 bytes"},
		{"cut off in the data", func(p string) error { return os.Truncate(p, 2*record-1) }, Span{}, "bytes"},
		{"flipped bit in the magic", flip(record), Span{}, "no such record"},
		{"flipped bit in the length", flip(record + 4), Span{}, "no such record"},
		{"flipped bit in the checksum", flip(record + 12), Span{}, "no such record"},
		{"flipped bit in the data", flip(record + keptHeader), Span{}, "no such record"},
		{"flipped bit in a neighbour", flip(keptHeader), Span{}, ""},
		{"another record in its place", edit(func(b []byte) []byte { return append(b[:record:record], b...) }), Span{}, "no such record"},
		{"a hole", edit(func(b []byte) []byte { clear(b); return b }), Span{}, "no such record"},
		{"span beside a record", func(string) error { return nil }, Span{Offset: 1}, "no such record"},
		{"span too short", func(string) error { return nil }, Span{Length: -1}, "no such record"},
		{"span too long", func(string) error { return nil }, Span{Length: 1}, "no such record"},
		{"span beyond the end", func(string) error { return nil }, Span{Offset: 1 << 62}, "it has 63 bytes"},
		{"span before the beginning", func(string) error { return nil }, Span{Offset: -record - 1}, "it has 63 bytes"},
		{"length of nonsense", func(string) error { return nil }, Span{Length: 1<<63 - 6}, "it has 63 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, l := create(t, "r1")
			planSmall(t, l)
			keep(t, l, "first")
			span := keep(t, l, "mid 2")
			keep(t, l, "third")
			must(t, l.Settle(t.Context(), 1, make([]Outcome, 2), Cost{}))
			must(t, tt.spoil(fileOf(l).keptPath()))
			got, err := kept(t, l, Span{span.Offset + tt.move.Offset, span.Length + tt.move.Length})
			if tt.says == "" {
				if string(got) != "mid 2" || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
				return
			}
			if !errors.Is(err, ErrDamaged) || got != nil {
				t.Fatalf("got %q, %v, want ErrDamaged", got, err)
			}
			for _, part := range []string{fileOf(l).keptPath(), tt.says, "--fresh"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

// What a killed process has left at the end is stepped over; where the end of
// the file was lost, its spans do not point to what came after.
func TestKeepAfterALostOrTornEnd(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"torn": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("kept\xff\xff\x00\x00\x00\x00\x00\x00torn data")
			return errors.Join(err, f.Close())
		},
		"lost": func(path string) error { return os.Truncate(path, 5) },
		"gone": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			s, l := create(t, "r1")
			planSmall(t, l)
			old := keep(t, l, "the data of a chunk")
			must(t, l.Settle(t.Context(), 1, make([]Outcome, 2), Cost{}))
			must(t, l.Close())
			must(t, spoil(fileOf(l).keptPath()))
			l, err := s.Open(t.Context(), "r1")
			must(t, err)
			defer l.Close()
			size := int64(0)
			if i, err := os.Stat(fileOf(l).keptPath()); err == nil {
				size = i.Size()
			}
			// The same bytes: at the same place they would pass for the old ones.
			fresh := keep(t, l, "the data of a chunk")
			if fresh.Offset < size {
				t.Errorf("at %d of %d bytes", fresh.Offset, size)
			}
			if got, err := kept(t, l, fresh); string(got) != "the data of a chunk" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			if _, err := kept(t, l, old); (err == nil) != (name == "torn") {
				t.Errorf("what was kept before: got %v", err)
			}
		})
	}
}

func TestDropKept(t *testing.T) {
	s, l := create(t, "r1")
	planSmall(t, l)
	ctx := t.Context()
	span := keep(t, l, "members")
	must(t, l.SettleWith(ctx, 1, make([]Outcome, 2), []byte{1}, Cost{}))
	before, err := l.View(ctx) // it has not opened the file yet
	must(t, err)
	must(t, l.DropKept(ctx))
	if _, err := os.Stat(fileOf(l).keptPath()); err == nil || l.HasKept() {
		t.Errorf("after it: %v, HasKept %v", err, l.HasKept())
	}
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrDropped) || errors.Is(err, ErrDamaged) || !strings.Contains(fmt.Sprint(err), "--fresh") {
			t.Errorf("%s: got %v, want ErrDropped and what to do", what, err)
		}
	}
	_, err = l.Keep(ctx, []byte("more"))
	check("Keep", err)
	_, err = kept(t, l, span)
	check("Kept", err)
	_, err = before.Kept(span)
	check("Kept of an older view", err)
	before.Close()
	must(t, l.SettleWith(ctx, 2, make([]Outcome, 3), []byte{1}, Cost{}))
	must(t, l.Close())

	// A process that died between the note and the removal.
	must(t, os.WriteFile(fileOf(l).keptPath(), []byte("left"), 0o600))
	l, err = s.Open(ctx, "r1")
	must(t, err)
	defer l.Close()
	if l.HasKept() {
		t.Error("what was dropped is there again")
	}
	_, err = kept(t, l, span)
	check("Kept of the next process", err)
	_, err = l.Keep(ctx, nil)
	check("Keep of the next process", err)
	must(t, l.DropKept(ctx))
	if _, err := os.Stat(fileOf(l).keptPath()); err == nil {
		t.Error("it is still there")
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
	"chatbatch/jobs"
	"chatbatch/limiter"
)

// memoryBook keeps the pace in memory; with err it keeps nothing.
type memoryBook struct {
	batches [][]ledger.Second
	windows [][]ledger.Window
	latency *ledger.Latency // of the session, as it was handed in last
	asked   int
	err     error
}

func (b *memoryBook) AddWindows(ctx context.Context, windows []ledger.Window, session *ledger.Latency) error {
	if err := errors.Join(ctx.Err(), b.err); err != nil {
		return err
	}
	b.windows, b.latency = append(b.windows, windows), session
	return nil
}

// A paceMeter counts calls as it is told, and a window for each look at it.
type paceMeter func() []ledger.Second

func (m paceMeter) TakePace() []ledger.Second { return m() }

func (m paceMeter) TakeWindows(open bool) []ledger.Window {
	if open {
		return []ledger.Window{{Unix: time.Now().Unix(), Seconds: 1}, {Unix: time.Now().Unix(), Seconds: 2}}
	}
	return []ledger.Window{{Unix: time.Now().Unix(), Seconds: 1}}
}

func (m paceMeter) Latency() *ledger.Latency { return &ledger.Latency{} }

func (b *memoryBook) AddPace(ctx context.Context, seconds []ledger.Second) error {
	b.asked++
	if err := errors.Join(ctx.Err(), b.err); err != nil {
		return err
	}
	b.batches = append(b.batches, seconds)
	return nil
}

// A moment is what a sampler sees once: calls of the second before, and lanes.
type moment struct{ calls, usable, of int }

// sampled has a sampler see some moments, one a second, and then end. Times
// are seconds since it began.
func sampled(t *testing.T, moments []moment) (batches [][]ledger.Second) {
	t.Helper()
	return sampledBook(t, moments).batches
}

func sampledBook(t *testing.T, moments []moment) *memoryBook {
	t.Helper()
	book := &memoryBook{}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now().Unix()
		var now atomic.Pointer[moment]
		s := &sampler{
			meter: paceMeter(func() []ledger.Second {
				if m := now.Load(); m.calls > 0 {
					return []ledger.Second{{Unix: time.Now().Unix() - 1, Calls: m.calls}}
				}
				return nil
			}),
			lanes: func() (usable, of int) { return now.Load().usable, now.Load().of },
			book:  book, log: slog.New(slog.DiscardHandler),
		}
		ctx, cancel := context.WithCancel(t.Context())
		var ended bool
		go func() {
			s.run(ctx)
			ended = true
		}()
		for _, m := range moments {
			now.Store(&m)
			time.Sleep(time.Second)
			synctest.Wait()
		}
		last := *now.Load()
		last.calls = 0
		now.Store(&last)
		cancel()
		synctest.Wait()
		if !ended {
			t.Error("it does not end with its context")
		}
		for _, batch := range book.batches {
			for i := range batch {
				batch[i].Unix -= began
			}
		}
	})
	return book
}

func TestSampler(t *testing.T) {
	busy := func(n int) (list []moment) {
		for range n {
			list = append(list, moment{5, 20, 20})
		}
		return list
	}
	second := func(unix int64, calls, lanes, budget int) ledger.Second {
		return ledger.Second{Unix: unix, Calls: calls, Lanes: lanes, Budget: budget}
	}
	for _, test := range []struct {
		name    string
		moments []moment
		want    []ledger.Second
	}{
		{"nothing happens", []moment{{0, 20, 20}, {0, 20, 20}, {0, 0, 0}}, nil},
		{"calls", []moment{{3, 20, 20}, {0, 20, 20}, {4, 20, 20}}, []ledger.Second{second(0, 3, 20, 20), second(2, 4, 20, 20)}},
		{"lanes go and come back without calls", []moment{{3, 20, 20}, {0, 0, 20}, {0, 0, 20}, {0, 20, 20}, {0, 20, 20}},
			[]ledger.Second{second(0, 3, 20, 20), second(2, 0, 0, 20), second(4, 0, 20, 20)}},
		{"lanes that are not known say nothing", []moment{{3, 18, 20}, {0, 0, 0}, {2, 0, 0}, {0, 18, 20}},
			[]ledger.Second{second(0, 3, 18, 20), second(2, 2, 0, 0)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []ledger.Second
			for _, batch := range sampled(t, test.moments) {
				got = append(got, batch...)
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("got + want -\n%s", d)
			}
		})
	}
	// A kill loses at most the last batch, and an end nothing.
	book := sampledBook(t, busy(25))
	if n := len(book.windows); n != 3 || len(book.windows[0]) != 1 || len(book.windows[2]) != 2 || book.latency == nil {
		t.Errorf("25 seconds: got windows %+v, want the open one at the end alone", book.windows)
	}
	batches := book.batches
	if len(batches) != 3 || len(batches[0]) != 10 || len(batches[1]) != 10 || len(batches[2]) != 5 {
		t.Errorf("25 seconds: got batches %+v", batches)
	}
}

// What was called long before the first look does not have the lanes of then.
func TestSamplerLooksNotBack(t *testing.T) {
	now := time.Unix(1000, 0)
	s := &sampler{
		meter: paceMeter(func() []ledger.Second {
			return []ledger.Second{{Unix: 990, Calls: 1}, {Unix: 999, Calls: 2}, {Unix: 1000, Calls: 3}}
		}),
		lanes: func() (usable, of int) { return 7, 20 },
	}
	s.sample(now)
	want := []ledger.Second{{Unix: 990, Calls: 1}, {Unix: 999, Calls: 2, Lanes: 7, Budget: 20}, {Unix: 1000, Calls: 3, Lanes: 7, Budget: 20}}
	if d := cmp.Diff(want, s.pending); d != "" {
		t.Errorf("got + want -\n%s", d)
	}
}

// A pace that cannot be kept is said once, and not tried again.
func TestSamplerWithoutABook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		book := &memoryBook{err: errors.New("disk is full")}
		s := &sampler{
			meter: paceMeter(func() []ledger.Second { return []ledger.Second{{Unix: time.Now().Unix(), Calls: 1}} }),
			lanes: func() (usable, of int) { return 20, 20 },
			book:  book, log: slog.New(slog.NewTextHandler(&said, nil)),
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		s.run(ctx)
		if n := strings.Count(said.String(), "level=WARN"); n != 1 || book.asked != 1 || len(s.pending) > 0 {
			t.Errorf("asked %d times, %d seconds wait; it said:\n%s", book.asked, len(s.pending), said.String())
		}
	})
}

func TestUsableLanes(t *testing.T) {
	const api = chat.CommandSetUnread
	slow := func(of string, out int) map[string]int { return map[string]int{of: out} }
	for _, test := range []struct {
		name       string
		status     []limiter.Status
		usable, of int
	}{
		{name: "no budget is open"},
		{"all", []limiter.Status{{Lanes: 20, Leased: 20}}, 20, 20},
		{"some out of use", []limiter.Status{{Lanes: 20, Leased: 20, OutOfUse: 3}}, 17, 20},
		{"for this API", []limiter.Status{{Lanes: 20, Leased: 20, OutOfUse: 3, SlowAPIs: slow(api, 5)}}, 15, 20},
		{"more of them for all", []limiter.Status{{Lanes: 20, Leased: 20, OutOfUse: 6, SlowAPIs: slow(api, 5)}}, 14, 20},
		{"for another API", []limiter.Status{{Lanes: 20, Leased: 20, SlowAPIs: slow("another", 5)}}, 20, 20},
		{"some leased", []limiter.Status{{Lanes: 20, Leased: 8, OutOfUse: 3}}, 5, 8},
		{"the lease is over", []limiter.Status{{Lanes: 20, OutOfUse: 3, Waiting: 1}}, 0, 20},
		{"it was handed back", []limiter.Status{{Lanes: 20, OutOfUse: 3}}, 0, 0},
		{"the listing of groups is not meant", []limiter.Status{{Lanes: 20, Leased: 20}, {API: chat.CommandGroupList, Lanes: 1, Leased: 1}}, 20, 20},
		{name: "nor when it is alone", status: []limiter.Status{{API: chat.CommandGroupList, Lanes: 1, Leased: 1}}},
		{"one for each API", []limiter.Status{{API: "another", Lanes: 20, Leased: 20, OutOfUse: 9}, {API: api, Lanes: 20, Leased: 20, OutOfUse: 5}}, 15, 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			if usable, of := usableLanes(test.status, api); usable != test.usable || of != test.of {
				t.Errorf("got %d of %d, want %d of %d", usable, of, test.usable, test.of)
			}
		})
	}
	for name, k := range kinds() {
		if k.api == "" {
			t.Errorf("%s has no API", name)
		}
	}
}

// A line of progress names lanes only while some are missing.
func TestProgressNamesMissingLanes(t *testing.T) {
	for _, test := range []struct {
		usable, of int
		want       string
	}{{20, 20, ""}, {0, 0, ""}, {18, 20, " lanes=18"}, {0, 20, " lanes=0"}} {
		synctest.Test(t, func(t *testing.T) {
			var said bytes.Buffer
			ctx, cancel := context.WithTimeout(t.Context(), progressEvery+time.Second)
			defer cancel()
			b := newBoard(&said, &output{}, nil)
			p := b.add("", logs{log: slog.New(slog.NewTextHandler(&said, nil))})
			p.send(&jobs.Meter{}, sending{rows: 9, budget: 20})
			p.sawLanes(test.usable, test.of)
			b.follow(ctx)
			line := strings.TrimSuffix(said.String(), "\n")
			if strings.Contains(line, "lanes") != (test.want != "") || !strings.HasSuffix(line, test.want) || !strings.Contains(line, "left=") {
				t.Errorf("%d of %d lanes: got %q, want %q at its end", test.usable, test.of, line, test.want)
			}
		})
	}
}

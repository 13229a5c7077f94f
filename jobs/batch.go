package jobs

import (
	"context"
	"sync/atomic"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
)

// A batch settles the chunks of kinds that send many accounts in one call. It
// is shared by all workers.
type batch struct {
	api         string
	send        func(ctx context.Context, group string, entries []ledger.Entry) ([]ledger.Outcome, error)
	online      func(ctx context.Context, call *Caller, group string, pages int) (online map[string]bool, complete bool, err error)
	needsOnline func(ledger.Entry) bool // whether an account that is offline must fail
	budget      int                     // calls that the isolation of one chunk may cost

	size atomic.Int64 // most accounts a call, since the server refused more; 0: it has not
}

// A span is some entries of a chunk, by their places in it.
type span []int

// A settling is one chunk on its way to its outcomes.
type settling struct {
	*batch
	call     *Caller
	chunk    ledger.Chunk
	outcomes []ledger.Outcome
	done     []bool // has an outcome
	attempts []int  // calls that each entry was part of
}

// settle sends a chunk and finds an outcome for each of its entries.
func (b *batch) settle(ctx context.Context, call *Caller, c ledger.Chunk) ([]ledger.Outcome, error) {
	n := len(c.Entries)
	s := &settling{
		batch: b, call: call, chunk: c,
		outcomes: make([]ledger.Outcome, n), done: make([]bool, n), attempts: make([]int, n),
	}
	all := make(span, n)
	for i := range all {
		all[i] = i
	}
	if err := s.whole(ctx, all); err != nil {
		r, ok := refusalOf(err)
		if !ok || r.Verdict != chat.FailGroup {
			return nil, err
		}
		call.groupRefused = r
		s.fail(all, r.outcome(r.Ruling.Class))
	}
	for i := range s.outcomes {
		s.outcomes[i].Attempts = s.attempts[i]
	}
	return s.outcomes, nil
}

// whole sends accounts in as few calls as the server takes.
func (s *settling) whole(ctx context.Context, all span) error {
	for len(all) > 0 {
		n := len(all)
		if size := int(s.size.Load()); size > 0 {
			n = min(n, size)
		}
		why, err := s.try(ctx, all[:n], anyRetries)
		switch {
		case err != nil:
			return err
		case why != nil && why.Verdict == chat.Split && n > 1:
			s.shrink(n / 2)
			continue
		case why != nil:
			if err := s.isolate(ctx, all[:n], why); err != nil {
				return err
			}
		}
		all = all[n:]
	}
	return nil
}

// shrink makes this call and all later ones of the run smaller.
func (b *batch) shrink(to int) {
	for {
		size := b.size.Load()
		if size > 0 && size <= int64(to) || b.size.CompareAndSwap(size, int64(to)) {
			return
		}
	}
}

// try sends some accounts in one call. A refusal that concerns only them comes
// back as why; one that concerns their group or the run is an error.
func (s *settling) try(ctx context.Context, which span, retries int) (why *Refusal, err error) {
	entries := make([]ledger.Entry, len(which))
	for i, place := range which {
		entries[i] = s.chunk.Entries[place]
	}
	var got []ledger.Outcome
	err = s.call.Do(ctx, s.api, retries, func(ctx context.Context) (err error) {
		got, err = s.send(ctx, s.chunk.Group, entries)
		return err
	})
	for _, place := range which {
		s.attempts[place] += s.call.attempts
	}
	if err == nil {
		for i, place := range which {
			s.outcomes[place], s.done[place] = got[i], true
		}
		return nil, nil
	}
	if r, ok := refusalOf(err); ok && r.Verdict != chat.FailGroup && r.Verdict != chat.StopRun {
		return r, nil
	}
	return nil, err
}

// fail gives an outcome to those of which that have none yet.
func (s *settling) fail(which span, o ledger.Outcome) {
	for _, place := range which {
		if !s.done[place] {
			s.outcomes[place], s.done[place] = o, true
		}
	}
}

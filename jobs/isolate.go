package jobs

import (
	"context"
	"errors"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
)

const (
	// DefaultIsolateCalls is how many calls the isolation of one chunk may cost.
	DefaultIsolateCalls = 64

	// probeRetries bounds the retries of calls that repeat what was refused,
	// retries and all, a moment ago.
	probeRetries = 2

	// onlinePages is enough to read the longest online list in its smallest
	// pages: 1,000 members by 250, and an empty page.
	onlinePages = 5
)

// An isolation parts a refused span until it has found who is to blame, so
// that one bad account does not fail its neighbours.
//
// The API does not say which account it refused, nor which code it answers
// when all accounts of a call are offline. So a refused span is halved, level
// by level. A half is not asked when the answer follows from its twin: if the
// first half is accepted, the second is to blame. When both halves are refused,
// the online list of the group tells, for all of them at once, who is merely
// offline.
type isolation struct {
	*settling
	why     *Refusal // of the span as a whole
	queue   []suspect
	singles []suspect // refused alone
	from    int       // calls of the chunk when the isolation began
	before  int       // calls accepted from any chunk when the isolation began
	found   bool      // part of the span was accepted

	asked    bool
	online   map[string]bool
	complete bool // who is not in online is not online
}

// A suspect is a span that is known to be refused.
type suspect struct {
	span
	why *Refusal
}

// isolate finds an outcome for each account of a refused span.
func (s *settling) isolate(ctx context.Context, bad span, why *Refusal) error {
	if _, answered := errors.AsType[*chat.Error](why.Err); !answered {
		// No answer says nothing about any account.
		if why.Lonely {
			return &GuardError{Reason: reasonNoAnswer, Err: why}
		}
		s.fail(bad, why.outcome(why.Ruling.Class))
		return nil
	}
	i := &isolation{settling: s, why: why, from: s.call.Cost.Calls, before: s.call.door.acceptedOf(s.api)}
	i.queue = []suspect{{bad, why}}
	for len(i.queue) > 0 {
		next := i.queue[0]
		i.queue = i.queue[1:]
		if err := i.part(ctx, next); err != nil {
			return err
		}
		if (i.asked || i.left() <= 0) && i.sick() && len(i.queue) > 0 && !i.anyOffline(i.queue[0].span) {
			return &GuardError{Reason: "the server refuses every call", Err: why}
		}
	}
	return i.judge(ctx)
}

// sick says that the span was refused for something that ought to heal, and
// that the server has accepted nothing since, from anybody.
func (i *isolation) sick() bool {
	rule := i.why.Ruling
	heals := (rule.Verdict == chat.Retry || rule.Verdict == chat.Slow) && rule.Tries == 0
	return heals && i.why.Lonely && i.call.door.acceptedOf(i.api) == i.before
}

// left is how many calls the isolation may still make.
func (i *isolation) left() int { return i.budget - (i.call.Cost.Calls - i.from) }

// part finds the guilty half of a suspect.
func (i *isolation) part(ctx context.Context, s suspect) error {
	switch {
	case i.anyOffline(s.span):
		s.span = i.dropOffline(s.span)
		if len(s.span) == 0 {
			return nil
		}
		return i.probe(ctx, s.span, s.why)
	case len(s.span) == 1:
		i.singles = append(i.singles, s)
		return nil
	case i.left() <= 0:
		i.fail(s.span, s.why.outcome(ClassWithChunk))
		return nil
	}
	a, b := s.span[:len(s.span)/2], s.span[len(s.span)/2:]
	waiting := len(i.queue)
	if err := i.probe(ctx, a, s.why); err != nil {
		return err
	}
	if len(i.queue) == waiting && len(b) > 1 {
		i.queue = append(i.queue, suspect{b, s.why}) // a was accepted
		return nil
	}
	if err := i.probe(ctx, b, s.why); err != nil {
		return err
	}
	if len(i.queue) < waiting+2 || i.asked {
		return nil
	}
	if err := i.ask(ctx); err != nil {
		return err
	}
	if i.anyOffline(s.span) {
		i.queue = append(i.queue[:waiting], s) // those who are online are tried together
	}
	return nil
}

// probe sends a span and, if it is refused, queues it. Beyond the budget it
// fails as its chunk did.
func (i *isolation) probe(ctx context.Context, which span, why *Refusal) error {
	if i.left() <= 0 {
		i.fail(which, why.outcome(ClassWithChunk))
		return nil
	}
	retries := anyRetries
	if i.sick() || i.why.Exhausted {
		retries = probeRetries
	}
	refused, err := i.try(ctx, which, retries)
	if err != nil {
		return err
	}
	if refused == nil {
		i.found = true
		return nil
	}
	i.queue = append(i.queue, suspect{which, refused})
	return nil
}

// ask reads the online list of the group, once. A list that cannot be had is
// an empty and incomplete one.
func (i *isolation) ask(ctx context.Context) error {
	i.asked = true
	pages := min(onlinePages, i.left())
	if pages <= 0 {
		return nil
	}
	online, complete, err := i.batch.online(ctx, i.call, i.chunk.Group, pages)
	if r, ok := refusalOf(err); err != nil && (!ok || r.Verdict == chat.StopRun) {
		return err
	}
	i.online, i.complete = online, complete && err == nil
	return nil
}

// offline says that an account is certainly not online.
func (i *isolation) offline(place int) bool {
	e := i.chunk.Entries[place]
	return i.complete && !i.online[e.Account] && i.needsOnline(e)
}

func (i *isolation) anyOffline(which span) bool {
	for _, place := range which {
		if i.offline(place) {
			return true
		}
	}
	return false
}

// dropOffline fails those who are offline and returns the others.
func (i *isolation) dropOffline(which span) span {
	var rest span
	for _, place := range which {
		if i.offline(place) {
			i.fail(span{place}, ledger.Outcome{
				Class: ClassOffline, Code: int(chat.CodeOf(i.why.Err)),
				Error: "not in the online list of the group, and refused with others who are not",
			})
			continue
		}
		rest = append(rest, place)
	}
	return rest
}

// judge finds the class of the accounts that were refused alone. If there is
// but one, and others of its span were accepted, it is the one to blame: the
// span was not refused because all of it was offline. Otherwise the online
// list tells the offline from the bad.
func (i *isolation) judge(ctx context.Context) error {
	if len(i.singles) == 0 {
		return nil
	}
	if !i.asked && (len(i.singles) > 1 || !i.found) {
		if err := i.ask(ctx); err != nil {
			return err
		}
	}
	for _, s := range i.singles {
		if len(i.dropOffline(s.span)) == 0 {
			continue
		}
		if i.sick() {
			return &GuardError{Reason: "the server refuses every call", Err: i.why}
		}
		i.fail(s.span, s.why.outcome(s.why.Ruling.Class))
	}
	return nil
}

package jobs

import (
	"errors"

	"chatbatch/io/chat"
)

// sickRefusals is how many calls in a row must be given up, for something that
// ought to heal, before the run is stopped: the few that fail until then can be
// told from a server that serves nobody by no other means.
const sickRefusals = 5

const reasonNoAnswer = "the server does not answer"

// A sickness counts refusals since the server accepted a call.
type sickness struct {
	accepted int // calls that were, when the count began
	refusals int
}

// ail notes that a call was given up. It returns a guard's error if the server
// seems to serve nobody.
func (r *Runner) ail(why *Refusal) error {
	rule := why.Ruling
	_, answered := errors.AsType[*chat.Error](why.Err)
	if heals := (rule.Verdict == chat.Retry || rule.Verdict == chat.Slow) && (rule.Tries == 0 || !answered); !heals {
		return nil
	}
	accepted := r.Door.acceptedOfAll()
	if !answered && accepted == 0 {
		// It has not been there since this process began: no row is to blame.
		return &GuardError{Reason: reasonNoAnswer, Err: why, Silent: true}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sick.refusals == 0 || r.sick.accepted != accepted {
		r.sick = sickness{accepted: accepted}
	}
	if r.sick.refusals++; r.sick.refusals < sickRefusals {
		return nil
	}
	reason := "the server refuses every call"
	if !answered {
		reason = reasonNoAnswer
	}
	return &GuardError{Reason: reason, Err: why}
}

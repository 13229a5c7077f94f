package jobs

import (
	"errors"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
)

// A Refusal is a call that was given up: what the server said, and what it
// means for those it was for.
type Refusal struct {
	Verdict   chat.Verdict // Split, FailRow, FailChunk, FailGroup or StopRun
	Ruling    chat.Ruling
	Exhausted bool // it might have healed, but did not in time
	API       string
	Lonely    bool // between the last two attempts the server accepted no call to this API, from anybody
	Err       error
}

func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap gives the client's error.
func (r *Refusal) Unwrap() error { return r.Err }

// outcome is what a refusal makes of a row, in the class that the caller found.
func (r *Refusal) outcome(class string) ledger.Outcome {
	return ledger.Outcome{Class: class, Code: int(chat.CodeOf(r.Err)), Error: r.text()}
}

// text is the refusal as a row's report says it.
func (r *Refusal) text() string {
	if e, ok := errors.AsType[*chat.Error](r.Err); ok {
		switch {
		case e.Info != "" && r.Ruling.Meaning != "":
			return r.Ruling.Meaning + ": " + e.Info
		case e.Info != "":
			return e.Info
		case r.Ruling.Meaning != "":
			return r.Ruling.Meaning
		}
	}
	return r.Err.Error()
}

// refusalOf is the refusal that Do has returned, if it was one. It does not look
// behind an error: the cause of a run that is being stopped may hold a refusal
// too, but of somebody else's call.
func refusalOf(err error) (*Refusal, bool) {
	r, ok := err.(*Refusal)
	return r, ok
}

package jobs

import (
	"context"
	"iter"
	"maps"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
)

// windowChunks bounds the chunks that wait while their groups are looked at.
const windowChunks = 64

// A window is the next chunks of the plan, and the groups that they are of.
type window struct {
	chunks []ledger.Chunk
	groups []string
	end    bool  // there are no more
	err    error // that ended the reading behind these chunks
}

// pending yields the chunks that are to be sent. Those of a [Preparer] come when
// their groups have been looked at: a window of them while the workers are busy
// with the one before. canary says whether the server has still to prove that it
// knows us, and is changed when looking at groups has proved it.
func (r *Runner) pending(ctx, soft, hard context.Context, canary *bool) iter.Seq2[ledger.Chunk, error] {
	p, ok := r.Kind.(Preparer)
	if d, dealt := r.Ledger.(Dealer); dealt {
		return r.dealt(soft, hard, d, p, canary)
	}
	if !ok {
		return r.Ledger.Pending(ctx)
	}
	return func(yield func(ledger.Chunk, error) bool) {
		next, end := iter.Pull2(r.Ledger.Pending(ctx))
		defer end()
		soft, stop := context.WithCancel(soft)
		w := nextWindow(next)
		looked := r.lookNow(soft, hard, p, w, canary)
		defer func() { <-looked }() // it must not outlive the run
		defer stop()
		for len(w.chunks) > 0 || w.err != nil {
			if err := <-looked; err != nil {
				yield(ledger.Chunk{}, err)
				return
			}
			ahead := window{end: true}
			if !w.end {
				ahead = nextWindow(next)
			}
			looked = r.lookNow(soft, hard, p, ahead, canary)
			if !yieldAll(w, yield) {
				return
			}
			w = ahead
		}
	}
}

// yieldAll yields the chunks of a window.
func yieldAll(w window, yield func(ledger.Chunk, error) bool) (more bool) {
	for _, c := range w.chunks {
		if !yield(c, nil) {
			return false
		}
	}
	if w.err != nil {
		yield(ledger.Chunk{}, w.err)
		return false
	}
	return true
}

// nextWindow reads chunks of as many groups as one call can ask for.
func nextWindow(next func() (ledger.Chunk, error, bool)) (w window) {
	seen := map[string]bool{}
	for len(w.chunks) < windowChunks && len(seen) < chat.MaxGroupInfo {
		c, err, ok := next()
		if err != nil || !ok {
			w.end, w.err = true, err
			return w
		}
		w.chunks = append(w.chunks, c)
		if !seen[c.Group] {
			seen[c.Group] = true
			w.groups = append(w.groups, c.Group)
		}
	}
	return w
}

// lookNow lets the kind look at the groups of a window, in the background unless
// the server has still to prove that it knows us. What it returns yields the
// error, if there is one, and is closed.
func (r *Runner) lookNow(soft, hard context.Context, p Preparer, w window, canary *bool) <-chan error {
	done := make(chan error, 1)
	if len(w.groups) == 0 {
		close(done)
		return done
	}
	call := &Caller{door: r.Door, hard: hard, slots: r.slots, canary: *canary}
	look := func() {
		defer close(done)
		done <- r.look(soft, call, p, w.groups)
	}
	if !*canary {
		go look()
		return done
	}
	look()
	*canary = call.canary
	return done
}

// look remembers the groups whose rows need no call.
func (r *Runner) look(soft context.Context, call *Caller, p Preparer, groups []string) error {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-soft.Done():
		return context.Cause(soft)
	}
	known, err := p.Prepare(soft, call, groups)
	if refused, ok := refusalOf(err); ok {
		return &RunRefusedError{refused}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.Copy(r.groups, known)
	return err
}

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"chatbatch/io/ledger"
	"chatbatch/io/notify"
	"chatbatch/io/object"
	"chatbatch/jobs/fleet"
)

// jobAt makes the job number i of the file as it is at a tick. It has a world of its
// own: what it prints goes to said.
func (h *holder) jobAt(i int, tick time.Time, said io.Writer) (*member, error) {
	e, err := h.file.jobs[i].at(tick.In(h.schedules[i].Location))
	if err != nil {
		return nil, err
	}
	host, o := *h.job, *h.options
	o.dryRun, o.maxDuration = false, h.each
	host.options = &o
	host.w.stdout, host.w.stderr = io.Discard, said
	host.board = &board{out: said}
	host.w.ending = &ending{}
	return host.member(e, h.file.given, nil)
}

// do does what a tick is for: it begins the run, or goes on with that of a host that is
// no more.
func (h *holder) do(ctx context.Context, s *fleet.Schedule, t ledger.Tick, begun func(ctx context.Context, run string) error) fleet.Ending {
	ended := h.observer.tickBegins(s.Name)
	how := h.doTick(ctx, s, t, begun)
	ended(how.Code, how.Again)
	return how
}

func (h *holder) doTick(ctx context.Context, s *fleet.Schedule, t ledger.Tick, begun func(ctx context.Context, run string) error) fleet.Ending {
	i := slices.Index(h.schedules, s)
	var text bytes.Buffer // in one piece, for others may say something meanwhile
	m, err := h.jobAt(i, t.At, &text)
	if err != nil {
		return h.ended(ctx, m, s, usage("%s: line %d: %w", h.file.path, h.file.jobs[i].line, err))
	}
	m.onRun = begun
	working, cancel := m.until(ctx)
	defer cancel()
	following, end := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { m.board.follow(following) })
	err = cutShort(working, m.tick(working, s, t.Run))
	end()
	wg.Wait()
	_, _ = text.WriteTo(h.w.stderr) // that nobody can be shown it is no reason to fail
	return h.ended(ctx, m, s, err)
}

// tick begins a run, or goes on with one.
func (m *member) tick(ctx context.Context, s *fleet.Schedule, run string) error {
	switch {
	case run == "" && s.Submit:
		return m.submit(ctx, m.kind, m.input, true)
	case run == "":
		return m.start(ctx, m.kind, m.input)
	}
	m.ifLocked = "wait" // a host that seems to be dead may have it for some seconds
	meta, err := m.resumable(ctx, []string{run})
	if err != nil {
		return m.endedMeanwhile(ctx, run)
	}
	if m.format == "" && !(s.Submit && object.Is(m.target)) { // the file lies where it does on this host; its format is by its name
		m.instead = m.target
	}
	if s.Submit {
		return m.followAgain(ctx, meta)
	}
	return m.resume(ctx, []string{run}, false)
}

// followAgain follows a run of many hosts, and gives it to them if nobody has come to that.
// It is not given again: somebody may have stopped it.
func (m *member) followAgain(ctx context.Context, meta ledger.Meta) error {
	at, err := m.store.database.Standing(ctx, meta.Run)
	switch {
	case err != nil:
		return err
	case at.Fleet == 0:
		return m.release(ctx, meta, true)
	}
	m.shared = true
	return m.follow(ctx, meta)
}

// ended says how the work on a tick has ended, and tells who wants to know. m is nil if
// it could not begin.
func (h *holder) ended(ctx context.Context, m *member, s *fleet.Schedule, err error) fleet.Ending {
	how := fleet.Ending{Why: outward(err)}
	if err != nil {
		how.Code = codeOf(err)
	}
	// A run of many hosts may have been interrupted by somebody: that is its end here.
	how.Again = how.Code == exitInterrupted && ctx.Err() != nil || errors.Is(err, ledger.ErrUnreachable) || errors.Is(err, ledger.ErrLocked)
	if text := said(err); text != "" && !how.Again {
		h.log.Error(text, "schedule", s.Name, "exit", how.Code)
	}
	if hook := h.w.ending.hook; hook != nil && !how.Again {
		h.tell(ctx, hook, m, s, how)
	}
	return how
}

// tell tells a web hook how a tick has ended.
func (h *holder) tell(ctx context.Context, hook *notify.Hook, m *member, s *fleet.Schedule, how fleet.Ending) {
	t := told{
		Exit: how.Code, Error: how.Why, Host: hostName(), Ended: time.Now().UTC().Truncate(time.Second),
		Command: "schedule " + s.Name + " (" + s.Kind + ")",
	}
	if m != nil {
		t.Input, t.Summary = brief(filepath.Base(cmp.Or(m.input, "--all-groups"))), m.w.ending.summary
	}
	t.Text = t.line()
	posting, cancel := context.WithTimeout(context.WithoutCancel(ctx), notifyTime)
	defer cancel()
	if err := hook.Post(posting, notify.Message{Text: t.Text, JSON: t}); err != nil {
		h.log.Error("the web hook of --notify-url was not told how this tick has ended: "+err.Error(), "schedule", s.Name)
	}
}

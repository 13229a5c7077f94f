package fleet

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"chatbatch/io/ledger"
	"chatbatch/jobs"
)

// A crew works on one run on this host: it deals the chunks that come from the queue to a
// Runner, whose ledger it is. It is safe for concurrent use.
type crew struct {
	*ledger.Ledger // from joined on
	w              *Worker
	of             *Service // for which it works
	run            string
	fleet          int64 // the time for which the run was given to the hosts; from joined on

	joined chan struct{}     // closed when it has joined the run
	inHand chan struct{}     // closed when it has claimed a chunk
	claims sync.Once         // closes inHand
	dealt  chan ledger.Chunk // to the Runner
	ended  chan struct{}     // closed when all is given back
	why    error             // it ended; from ended on

	mu      sync.Mutex
	errands map[int64]*errand // under mu; by chunk
}

// An errand is a chunk that this host has in hand.
type errand struct {
	ctx     context.Context // of the job
	job     *river.Job[chunkArgs]
	settled chan struct{} // closed when it is
}

func newCrew(w *Worker, of *Service, run string) *crew {
	return &crew{
		w: w, of: of, run: run, joined: make(chan struct{}), inHand: make(chan struct{}), dealt: make(chan ledger.Chunk), ended: make(chan struct{}),
		errands: map[int64]*errand{},
	}
}

// work joins the run and works on it until it ends, or ctx does.
func (c *crew) work(ctx context.Context) {
	length := sendTime + c.of.CallTime + leaseMargin
	if c.Ledger, c.why = c.w.Store.Join(ctx, c.run, length); c.why != nil {
		c.say(ctx, c.why)
		return
	}
	defer c.Ledger.Close()
	if m := c.Meta(); (App{m.SDKAppID, m.Endpoint}) != c.of.App {
		c.why = errForeign // whoever has put it there: no app's calls are made for another
		c.say(ctx, c.why)
		return
	}
	gear, err := c.equip(ctx)
	if err != nil {
		c.why = err
		c.say(ctx, err)
		return
	}
	c.of.Log.Info("joined run "+c.run, "kind", c.Meta().Kind)
	close(c.joined)
	c.why = c.session(ctx, gear)
	if err := c.Leave(context.WithoutCancel(ctx), gear.Session()); err != nil && !errors.Is(c.why, errLost) {
		c.say(ctx, err)
		c.w.unwrote(err)
	}
	c.of.Log.Info("left run " + c.run)
}

// equip makes what the run needs here, and notes which of its orders they are that this crew
// follows.
func (c *crew) equip(ctx context.Context) (Gear, error) {
	s, err := c.w.Store.Standing(ctx, c.run)
	if err != nil {
		return Gear{}, err
	}
	c.fleet = s.Fleet
	return c.of.Equip(ctx, c.Ledger)
}

// session works on the run, and says why it does no more.
func (c *crew) session(ctx context.Context, gear Gear) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	beside, end := context.WithCancel(ctx)
	defer end()
	wg.Go(func() { gear.Beside(beside) })
	wg.Go(func() { c.watch(beside, gear.Door.Meter, stop) })

	before, err := c.introduced(ctx)
	if err != nil {
		return c.verdict(ctx, err)
	}
	limit, err := jobs.ParseLimit(before.MaxErrors)
	if err != nil {
		return c.verdict(ctx, err)
	}
	gear.Door.Limiter = leashed{gear.Door.Limiter, c.Heard}
	r := &jobs.Runner{
		Kind: gear.Kind, Ledger: c, Door: gear.Door, Workers: c.of.Workers, Grace: c.of.Grace,
		MaxErrors: limit, Rows: before.Books.Rows, Failed: before.Books.Failed, Known: func() { c.known(ctx) },
	}
	return c.verdict(ctx, r.Run(ctx))
}

// introduceTime is how long a host waits for what another finds out. That one may have
// settled what it had without a call, and have no more.
const introduceTime = 30 * time.Second

// introduced waits until the server is known to accept calls of the run, or until it is
// for this host to find out: wrong credentials must cost one call, however many hosts
// there are. Only a host with something to send can find out.
func (c *crew) introduced(ctx context.Context) (ledger.Standing, error) {
	select {
	case <-c.inHand:
	case <-ctx.Done():
		return ledger.Standing{}, context.Cause(ctx)
	}
	for since := time.Now(); ; {
		first, known, err := c.w.Store.Introduce(ctx, c.run, c.SessionID())
		if err != nil {
			return ledger.Standing{}, err
		}
		if first || known || time.Since(since) > introduceTime {
			s, err := c.w.Store.Standing(ctx, c.run)
			if err == nil && s.State != ledger.Running {
				err = errHalted // by what came of the first call of another host
			}
			return s, err
		}
		select {
		case <-ctx.Done():
			return ledger.Standing{}, context.Cause(ctx)
		case <-time.After(lookEvery / 4):
		}
	}
}

// known tells the other hosts that the server accepts calls of the run.
func (c *crew) known(ctx context.Context) {
	if err := c.w.Store.Introduced(context.WithoutCancel(ctx), c.run, c.fleet); err != nil {
		c.say(ctx, err) // another finds out, when this host has left
	}
}

// verdict carries what has ended the work here to all hosts, if it concerns the run.
func (c *crew) verdict(ctx context.Context, err error) error {
	state := ledger.Stopped
	guard, guarded := errors.AsType[*jobs.GuardError](err)
	if _, ok := errors.AsType[*jobs.RunRefusedError](err); ok {
		state, guarded = ledger.Refused, true
	}
	switch {
	case errors.Is(err, errHalted):
		return err
	case guarded && (guard == nil || !c.ofHost(ctx, guard)):
		changed, err2 := c.w.Store.Halt(context.WithoutCancel(ctx), c.run, c.fleet, state, err.Error())
		if err2 != nil {
			c.say(ctx, err2)
			return err2
		}
		if changed {
			c.of.Log.Warn("run " + c.run + " is stopped everywhere: " + err.Error())
		}
		return errHalted
	case err == nil && ctx.Err() == nil:
		return fmt.Errorf("run %s: no more chunks were dealt", c.run) // it cannot be
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	c.say(ctx, err)
	return err
}

// ofHost says whether it is this host that a guard is about: others may well go on. Where
// the server answers them, a host that it never answers is at fault itself.
func (c *crew) ofHost(ctx context.Context, g *jobs.GuardError) bool {
	if !g.Silent {
		return g.Host
	}
	s, err := c.w.Store.Standing(context.WithoutCancel(ctx), c.run)
	return g.Host || err == nil && s.Known
}

// pause keeps this host from the run for a while when it has left that for something that is
// wrong here, and will be the next time: each time that it joins leaves a session in the
// database. Chunks of it are given back meanwhile.
func (c *crew) pause(ctx context.Context) {
	for _, other := range []error{
		errHalted, errStopping, errLost, errDeaf, ledger.ErrNotRunning, ledger.ErrNoRun, ledger.ErrLocked, ledger.ErrUnreachable,
	} {
		if errors.Is(c.why, other) {
			return
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(againTime):
	}
}

// say says what went wrong here.
func (c *crew) say(ctx context.Context, err error) {
	if ctx.Err() == nil && !errors.Is(err, ledger.ErrNotRunning) && !errors.Is(err, ledger.ErrNoRun) {
		c.of.Log.Warn("run " + c.run + " is given back: " + err.Error())
	}
}

// watch looks at the run each second, and stops the work on it when it is not to be
// worked on any more.
func (c *crew) watch(ctx context.Context, meter *jobs.Meter, stop context.CancelCauseFunc) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	said := time.Now()
	ears := hearing{most: c.of.CallTime + deafTime}
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			here := meter.Read()
			s, err := c.w.Store.Standing(ctx, c.run)
			if err == nil {
				s, err = c.judge(ctx, s)
			}
			_, lost := c.Heard()
			switch {
			case lost:
				stop(errLost)
			case errors.Is(err, ledger.ErrNoRun), err == nil && (s.State != ledger.Running || s.Fleet != c.fleet):
				stop(errHalted)
			case err != nil:
				c.say(ctx, err)
			case ears.deaf(s, here):
				c.say(ctx, errDeaf)
				stop(errDeaf)
			case now.Sub(said) >= sayEvery:
				said = now
				c.progress(s, here)
			}
		}
	}
}

// judge ends a run that has come to its end, or of which too many rows have failed, on
// whatever host.
func (c *crew) judge(ctx context.Context, s ledger.Standing) (ledger.Standing, error) {
	if s.State != ledger.Running {
		return s, nil
	}
	limit, err := jobs.ParseLimit(s.MaxErrors)
	switch {
	case err != nil:
		return s, err
	case s.Open == 0:
		err = c.w.Store.Finish(ctx, c.run)
	case limit.Exceeded(s.Books.Failed, s.Books.Rows):
		_, err = c.w.Store.Halt(ctx, c.run, s.Fleet, ledger.Stopped, jobs.TooManyFailed(s.Books.Failed, limit).Error())
	default:
		return s, nil
	}
	if err != nil {
		return s, err
	}
	return c.w.Store.Standing(ctx, c.run)
}

func (c *crew) progress(s ledger.Standing, r jobs.Reading) {
	about := []any{"succeeded", s.Books.Succeeded, "failed", s.Books.Failed, "hosts", s.Hosts,
		"rows_here", r.Succeeded + r.Failed, "calls_here", r.Calls, "calls_last_second_here", r.InOneSecond}
	if r.Trouble != "" && r.InOneSecond == 0 {
		about = append(about, "trouble", r.Trouble)
	}
	c.of.Log.Info(fmt.Sprintf("run %s: %d of %d rows", c.run, s.Books.Succeeded+s.Books.Failed, s.Books.Rows), about...)
}

// errand brings a chunk to its end. An error says why it was not.
func (c *crew) errand(ctx context.Context, job *river.Job[chunkArgs]) error {
	id := job.Args.Chunk
	e := &errand{ctx: ctx, job: job, settled: make(chan struct{})}
	if !c.begin(id, e) {
		return ledger.ErrTaken // the queue has it twice
	}
	defer c.end(id)
	chunk, err := c.Claim(context.WithoutCancel(ctx), id)
	if err != nil {
		return c.endedOr(err)
	}
	c.claims.Do(func() { close(c.inHand) })
	select {
	case c.dealt <- chunk:
	case <-c.ended:
		return c.why
	}
	select {
	case <-e.settled:
		return nil
	case <-c.ended:
	}
	select {
	case <-e.settled:
		return nil
	default:
		return c.why
	}
}

// endedOr is err, or why the crew has ended if that is behind it.
func (c *crew) endedOr(err error) error {
	if !errors.Is(err, ledger.ErrNotQueued) {
		return err
	}
	<-c.ended // its ledger is closed
	return c.why
}

func (c *crew) begin(chunk int64, e *errand) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.errands[chunk] != nil {
		return false
	}
	c.errands[chunk] = e
	return true
}

func (c *crew) end(chunk int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.errands, chunk)
}

// Deal waits for chunks: see [jobs.Dealer].
func (c *crew) Deal(ctx context.Context, most int) (all []ledger.Chunk) {
	select {
	case chunk := <-c.dealt:
		all = append(all, chunk)
	case <-ctx.Done():
		return nil
	}
	for len(all) < most {
		select {
		case chunk := <-c.dealt:
			all = append(all, chunk)
		default:
			return all
		}
	}
	return all
}

// Pending is not called: chunks are dealt.
func (c *crew) Pending(context.Context) iter.Seq2[ledger.Chunk, error] {
	return func(yield func(ledger.Chunk, error) bool) {
		yield(ledger.Chunk{}, fmt.Errorf("run %s: chunks are dealt", c.run))
	}
}

// SettleWith settles a chunk and completes its job, in one transaction.
func (c *crew) SettleWith(ctx context.Context, chunk int64, outcomes []ledger.Outcome, note []byte, cost ledger.Cost) error {
	c.mu.Lock()
	e := c.errands[chunk]
	c.mu.Unlock()
	if e == nil {
		return fmt.Errorf("settle chunk %d: it is not in hand", chunk)
	}
	err := c.SettleAlso(ctx, chunk, outcomes, note, cost, func(ctx context.Context, tx pgx.Tx) error {
		return completeIn(ctx, tx, e.ctx, e.job)
	})
	if err == nil {
		close(e.settled)
	}
	return err
}

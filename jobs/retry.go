package jobs

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
)

// A Limiter says who may send now. Its methods are called from many
// goroutines; *limiter.Queue is one.
type Limiter interface {
	// Take waits for the turn of one call to api. done is called once, when
	// the attempt has ended: roundTrip is the whole time from the request being
	// written to its answer being complete, 0 if it is not known. Connecting is
	// not in it, and nothing need be taken off it: the call that leaves next in
	// the place of this one is on its way for as long as the fastest one at
	// least, so the limiter may credit the smallest round trip as a whole. late
	// says whether it is too late for the call to leave; it is asked until the
	// request is written, see [chat.WithFence].
	Take(ctx context.Context, api string) (done func(roundTrip time.Duration, answered bool), late func() bool, err error)

	// TakeAhead is Take for a call on which others depend: it goes before
	// those that wait by Take.
	TakeAhead(ctx context.Context, api string) (done func(roundTrip time.Duration, answered bool), late func() bool, err error)

	// SlowDown tells that the server refused a call to api for its
	// frequency; "" stands for all APIs of the app.
	SlowDown(api string)
}

// A Retry bounds how often and how long a call is tried again.
type Retry struct {
	Max        int           // tries after the first
	Initial    time.Duration // the first wait; each next one is twice as long, ± 50 %
	MaxWait    time.Duration // the longest wait
	MaxElapsed time.Duration // from the first try; 0: no bound
}

// DefaultRetry outlasts a server that is away for a minute.
func DefaultRetry() Retry {
	return Retry{Max: 12, Initial: 200 * time.Millisecond, MaxWait: 30 * time.Second, MaxElapsed: 10 * time.Minute}
}

// backOff makes the waits of one call: a BackOff must not be shared.
func (r Retry) backOff(ctx context.Context, most int) backoff.BackOff {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(r.Initial), backoff.WithMaxInterval(r.MaxWait),
		backoff.WithMultiplier(2), backoff.WithMaxElapsedTime(r.MaxElapsed))
	return backoff.WithContext(backoff.WithMaxRetries(b, uint64(most)), ctx)
}

// A Door is the only way to the API: whatever a run sends passes through it,
// and each attempt pays one turn. It is shared by all workers.
type Door struct {
	Limiter Limiter
	Retry   Retry
	Renew   func(stale string) // makes the next call sign anew; nil if nothing can be signed
	Meter   *Meter
	Front   *Front // shared with other runs on the same server; nil: there are none

	alone    Front // without Front
	mu       sync.Mutex
	accepted map[string]int // under mu; calls that the server accepted, by API
}

func (d *Door) front() *Front {
	if d.Front != nil {
		return d.Front
	}
	return &d.alone
}

// acceptedOf is how many calls to api the server has accepted so far.
func (d *Door) acceptedOf(api string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.accepted[api]
}

// acceptedOfAll is how many calls the server has accepted so far.
func (d *Door) acceptedOfAll() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, of := range d.accepted {
		n += of
	}
	return n
}

func (d *Door) accept(api string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.accepted == nil {
		d.accepted = map[string]int{}
	}
	d.accepted[api]++
}

// A Caller makes the calls of one chunk, one after the other. It is not safe
// for concurrent use; what may go side by side goes through [Caller.Each].
type Caller struct {
	door   *Door
	hard   context.Context // of calls under way: outlives the wish to stop by the grace time
	slots  chan struct{}   // one for each call that may be under way; nil: none to spare
	canary bool            // no call of this run has come back yet with anything but a reason to stop
	ahead  bool            // its next call depends on this one

	onTurn   func() // called when a call has its turn; may be nil
	onAccept func() // called when the server has accepted a call; may be nil

	Cost         ledger.Cost // of all calls so far
	attempts     int         // of the last call
	groupRefused *Refusal    // set when the server refused the chunk's whole group
	gaveUp       *Refusal    // set when the chunk failed by a call that was given up
}

// NewCaller makes a caller for calls outside a run, with workers calls at most
// under way at once. They end with ctx.
func NewCaller(ctx context.Context, d *Door, workers int) *Caller {
	c := &Caller{door: d, hard: ctx, slots: make(chan struct{}, max(workers, 1)), canary: true}
	c.slots <- struct{}{} // its own
	return c
}

// introduce notes that the server knows us. It writes once: the run looks at canary
// when the first call has been accepted, while this caller goes on.
func (c *Caller) introduce() {
	if c.canary {
		c.canary = false
	}
}

// anyRetries lets Do retry as often as the door allows.
const anyRetries = -1

// Do makes one call, tries it again while that may help, and names what is
// left as a *Refusal. When ctx ends, no new attempt begins; the error is then
// the cause of ctx. most bounds the retries; anyRetries leaves them to the door.
func (c *Caller) Do(ctx context.Context, api string, most int, call func(context.Context) error) error {
	if most == anyRetries {
		most = c.door.Retry.Max
	}
	a := &attempts{Caller: c, api: api, call: call, seen: map[string]int{}}
	a.accepted[1] = c.door.acceptedOf(api)
	err := backoff.Retry(func() error { return a.next(ctx) }, c.door.Retry.backOff(ctx, most))
	c.attempts = a.made
	switch {
	case err == nil:
		c.introduce()
		if c.onAccept != nil {
			c.onAccept()
		}
		c.door.accept(api)
		return nil
	case ctx.Err() != nil:
		// An interrupted call is not a refused one: a later run sends it.
		return context.Cause(ctx)
	}
	r, ok := refusalOf(err)
	switch {
	case ok:
	case isGuard(err):
		return err
	case c.hard.Err() != nil:
		return context.Cause(c.hard)
	default:
		r = a.refusal(err, true)
	}
	if _, answered := errors.AsType[*chat.Error](r.Err); answered && r.Verdict != chat.StopRun && r.Ruling.Canary != chat.StopRun {
		c.introduce() // it is these accounts that it refuses
	}
	return r
}

// attempts is one call with its retries.
type attempts struct {
	*Caller
	api  string
	call func(context.Context) error

	made     int
	seen     map[string]int // answers that have a bound of their own, by what they mean
	accepted [2]int         // calls accepted when the attempt before the last had failed, and the last
	resigned bool
	paused   bool
}

// next makes one attempt, and a second one where the first asks for it: with a
// new signature, or after a pause. An error that is not permanent is worth
// another.
func (a *attempts) next(ctx context.Context) error {
	sig, err := a.attempt(ctx, false)
	if err != nil && !a.over(ctx, err) {
		switch rule := chat.Judge(err); {
		case rule.Pause > 0 && !a.paused:
			err = a.pause(ctx, rule.Pause)
		case rule.Verdict == chat.Resign && !a.resigned && a.door.Renew != nil:
			a.resigned = true
			a.door.Renew(sig)
			_, err = a.attempt(ctx, false)
		}
	}
	switch {
	case err == nil:
		return nil
	case a.over(ctx, err):
		return backoff.Permanent(err)
	}
	return a.judge(err)
}

// over says that err is no answer to this call, and that there is nothing to judge:
// the call was given up, or did not leave, since the run is to stop.
func (a *attempts) over(ctx context.Context, err error) bool {
	_, refused := refusalOf(err)
	return ctx.Err() != nil || a.hard.Err() != nil || isGuard(err) || refused
}

// judge says whether an error is worth another attempt.
func (a *attempts) judge(err error) error {
	rule := chat.Judge(err)
	switch rule.Verdict {
	case chat.Slow:
		api := a.api
		if rule.WholeApp {
			api = ""
		}
		a.door.Limiter.SlowDown(api)
		a.door.Meter.refused()
		fallthrough
	case chat.Retry:
		if a.isBeyond(rule) {
			return backoff.Permanent(a.refusal(err, true))
		}
		a.door.Meter.tryAgain(err)
		return err
	case chat.Resign:
		return backoff.Permanent(a.refusal(err, true))
	}
	return backoff.Permanent(a.refusal(err, false))
}

// isBeyond says that an answer has come more often than it may. Others that came to the
// same call, say of a server that was away, do not count.
func (a *attempts) isBeyond(rule chat.Ruling) bool {
	return rule.Tries > 0 && a.seen[rule.Meaning] > rule.Tries
}

// attempt takes a turn and calls. It returns the signature that was used. alone
// is set by the one who has shut the gate.
func (a *attempts) attempt(ctx context.Context, alone bool) (sig string, err error) {
	done, late, err := a.turn(ctx, alone)
	if err != nil {
		return "", err
	}
	if a.onTurn != nil {
		a.onTurn()
	}
	var t chat.Timing
	defer func() { done(t.RoundTrip, t.Answered) }()
	uncount, left := a.count(), time.Now()
	err = a.call(chat.WithFence(chat.WithTiming(a.hard, &t), late))
	if t.Answered {
		a.door.Meter.answered(trip(t, left))
	}
	switch {
	case errors.Is(err, chat.ErrLate):
		uncount() // it did not leave
	case err != nil:
		a.accepted[0], a.accepted[1] = a.accepted[1], a.door.acceptedOf(a.api)
		if a.hard.Err() == nil {
			a.seen[chat.Judge(err).Meaning]++
		}
	}
	return t.Sig, err
}

// trip is how long an answered call took that was made at left. Where the transport does
// not say when it writes, as in the simulator, that is all of the call.
func trip(t chat.Timing, left time.Time) time.Duration {
	if t.RoundTrip > 0 {
		return t.RoundTrip
	}
	return time.Since(left)
}

// count counts a call that leaves now; uncount takes it back.
func (a *attempts) count() (uncount func()) {
	retry := 0
	if a.made > 0 {
		retry = 1
	}
	a.made++
	a.Cost.Calls++
	a.Cost.Retries += retry
	at := a.door.Meter.call(retry > 0)
	return func() {
		a.made--
		a.Cost.Calls--
		a.Cost.Retries -= retry
		a.door.Meter.uncall(at, retry > 0)
	}
}

// turn waits for the gate and for a turn. A turn that comes when the gate has
// been shut meanwhile is given back.
func (a *attempts) turn(ctx context.Context, alone bool) (done func(time.Duration, bool), late func() bool, err error) {
	for {
		if !alone {
			if err := a.door.front().gate.pass(ctx); err != nil {
				return nil, nil, err
			}
		}
		take := a.door.Limiter.Take
		if a.ahead {
			take = a.door.Limiter.TakeAhead
		}
		done, late, err := take(ctx, a.api)
		switch {
		case err != nil && ctx.Err() == nil:
			return nil, nil, &GuardError{Reason: "the limiter gives no turns", Err: err, Host: true}
		case err != nil || alone || !a.door.front().gate.isShut():
			return done, late, err
		}
		done(0, false)
	}
}

// pause stops all calls for d and then makes this one alone. If another call
// does that already, this one waits until it is done, and follows it.
func (a *attempts) pause(ctx context.Context, d time.Duration) error {
	a.paused = true
	if !a.door.front().gate.close() {
		_, err := a.attempt(ctx, false)
		return err
	}
	var refused *Refusal
	defer func() { a.door.front().gate.open(refused) }()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		_, err := a.attempt(ctx, true)
		if err != nil && !a.over(ctx, err) {
			refused = a.stops(err)
		}
		return err
	}
}

// stops is the refusal that an error is if it will stop the run, nil otherwise.
func (a *attempts) stops(err error) *Refusal {
	rule := chat.Judge(err)
	if rule.Then != chat.StopRun || rule.Verdict == chat.Retry && !a.isBeyond(rule) {
		return nil
	}
	return a.refusal(err, true)
}

// refusal names what an error means when it is final.
func (a *attempts) refusal(err error, exhausted bool) *Refusal {
	rule := chat.Judge(err)
	lonely := a.accepted[0] == a.accepted[1]
	r := &Refusal{Verdict: rule.Verdict, Ruling: rule, Exhausted: exhausted, API: a.api, Lonely: lonely, Err: err}
	if exhausted {
		r.Verdict = rule.Then
	}
	if _, answered := errors.AsType[*chat.Error](err); answered && a.canary && r.Verdict == chat.FailChunk {
		r.Verdict = rule.Canary
	}
	return r
}

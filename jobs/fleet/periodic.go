package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"chatbatch/io/ledger"
)

const (
	// missedAfter is how late a tick is that counts as missed. Hosts look each second; a
	// restart of one, or of the database, is no reason to miss a tick.
	missedAfter = time.Minute

	againTime = 10 * time.Second // until a host tries again what it could not do
	seeEvery  = 10 * time.Second // in which a host says that it holds its schedules
)

// The rules of a schedule.
const (
	RuleRun  = "run"  // of missed ticks: the last one is done late
	RuleSkip = "skip" // missed ticks, or those that come while one is under way, are not done
	RuleWait = "wait" // of ticks that come while one is under way: one waits for its end
)

// A Schedule is one that a host holds.
type Schedule struct {
	ledger.Schedule
	Location *time.Location
	clock    clock
}

// NewSchedule checks a schedule.
func NewSchedule(s ledger.Schedule) (*Schedule, error) {
	switch {
	case s.Missed != RuleRun && s.Missed != RuleSkip:
		return nil, fmt.Errorf("missed: %q is neither run nor skip", s.Missed)
	case s.Overlap != RuleSkip && s.Overlap != RuleWait:
		return nil, fmt.Errorf("overlap: %q is neither skip nor wait", s.Overlap)
	case s.Zone == "" || s.Zone == "Local":
		return nil, fmt.Errorf("timezone: %q is none; want a name like Asia/Shanghai, or UTC", s.Zone)
	}
	zone, err := time.LoadLocation(s.Zone)
	if err != nil {
		return nil, fmt.Errorf("timezone: there is no %q; want a name like Asia/Shanghai, or UTC", s.Zone)
	}
	c, err := parseClock(s.Cron, zone)
	if err != nil {
		return nil, fmt.Errorf("cron: %q: %w", s.Cron, err)
	}
	return &Schedule{s, zone, c}, nil
}

// Next is the first tick after a time.
func (s *Schedule) Next(after time.Time) time.Time { return s.clock.Next(after) }

// decide says what is to become of the ticks after upto until now; open are those before
// them that have not ended.
func (s *Schedule) decide(upto, now time.Time, open int) []ledger.Tick {
	ticks := s.newest(upto, now)
	for i := range ticks {
		t := &ticks[i]
		late := now.Sub(t.At) > missedAfter
		switch {
		case late && i < len(ticks)-1:
			t.State, t.Why = ledger.TickMissed, "no host was there, and a later tick has come since"
		case late && s.Missed == RuleSkip:
			t.State, t.Why = ledger.TickMissed, "no host was there"
		case s.Overlap == RuleSkip && open > 0:
			t.State, t.Why = ledger.TickSkipped, "an earlier tick was under way"
		case open > 1:
			t.State, t.Why = ledger.TickSkipped, "an earlier tick was under way, and another one waited for it"
		default:
			t.State = ledger.TickWaiting
			open++
		}
	}
	return ticks
}

// mostMissed is how many ticks are written down at once: who was away for a year is
// interested in the newest.
const mostMissed = 100

// newest are the newest ticks after upto until now, found from the end: there may be a
// million.
func (s *Schedule) newest(upto, now time.Time) (ticks []ledger.Tick) {
	for back := time.Hour; len(ticks) < mostMissed; back *= 2 {
		from := now.Add(-back)
		if !from.After(upto) {
			from = upto
		}
		ticks = nil
		for at := s.Next(from); !at.IsZero() && !at.After(now); at = s.Next(at) {
			ticks = append(ticks, ledger.Tick{Schedule: s.Name, At: at})
		}
		if from.Equal(upto) {
			break
		}
	}
	return ticks[max(0, len(ticks)-mostMissed):]
}

// A Keeper holds schedules on this host. Of all hosts that hold them, one decides of each
// tick, by a transaction, and one works on it; when that dies another takes it over. Its
// fields are set before Run.
//
// There is no leader that could be changed between two ticks. River's would be one of all
// hosts of the database, also of those that only work on chunks and know of no schedule;
// and it counts from when it was elected, so that what is due just then is lost.
type Keeper struct {
	Store     *ledger.Postgres
	Schedules []*Schedule
	Host      string // name of this one
	Log       *slog.Logger

	// Do does what a tick is for. It calls begun with the run of it as soon as there is
	// one; a tick that comes with its run was begun by a host that is no more.
	Do func(ctx context.Context, s *Schedule, t ledger.Tick, begun func(ctx context.Context, run string) error) Ending

	mu    sync.Mutex
	busy  map[string]bool      // under mu; schedules of which a tick is in hand here
	after map[string]time.Time // under mu; when a schedule's ticks may be tried again

	foreign map[string]bool // schedules that say something else elsewhere
	away    bool            // the database

	pulse
}

// Ending is how the work on a tick has ended.
type Ending struct {
	Code  int // exit code
	Why   string
	Again bool // it has not: whoever can goes on with it
}

// Run holds the schedules until ctx ends: then it takes no more ticks, and returns when
// those that it has in hand are ended or given back.
func (k *Keeper) Run(ctx context.Context) error {
	k.busy, k.after, k.foreign = map[string]bool{}, map[string]time.Time{}, map[string]bool{}
	mine := map[string]*Schedule{}
	var names []string
	for _, s := range k.Schedules {
		if err := k.Store.HoldSchedule(ctx, s.Schedule); err != nil && ctx.Err() == nil {
			return err
		}
		mine[s.Name], names = s, append(names, s.Name)
	}
	var working sync.WaitGroup
	defer working.Wait()
	for seen := time.Now(); ctx.Err() == nil; {
		all, err := k.Store.Schedules(ctx)
		k.beat(err)
		if k.tell(ctx, err); err == nil {
			for _, at := range all {
				if s := mine[at.Name]; s != nil && ctx.Err() == nil {
					k.tend(ctx, &working, s, at)
				}
			}
			if time.Since(seen) >= seeEvery {
				seen = time.Now()
				k.tell(ctx, k.Store.SeeSchedules(ctx, names))
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
	return nil
}

// tell says, once, that the database is away or that it is back.
func (k *Keeper) tell(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case err != nil && !k.away:
		k.away = true
		k.Log.Warn(err.Error() + "; no tick is begun until the database is back")
	case err == nil && k.away:
		k.away = false
		k.Log.Info("the database with the schedules is back")
	}
}

// tend decides of the ticks of a schedule that are due, and takes one that waits.
func (k *Keeper) tend(ctx context.Context, working *sync.WaitGroup, s *Schedule, at ledger.Scheduled) {
	if at.Schedule != s.Schedule {
		if !k.foreign[s.Name] {
			k.foreign[s.Name] = true
			k.Log.Warn("a host that was started later holds another schedule of this name: it is left to that", "schedule", s.Name)
		}
		return
	}
	k.foreign[s.Name] = false
	if next := s.Next(at.Upto); !next.IsZero() && !next.After(at.Now) {
		ticks, err := k.Store.Decide(ctx, s.Schedule, s.decide)
		if k.tell(ctx, err); err != nil {
			return
		}
		for _, t := range ticks {
			k.say(s, t)
			at.Open = at.Open || t.State == ledger.TickWaiting
		}
	}
	if at.Open && !at.Held && k.begin(s.Name) {
		working.Go(func() {
			defer k.end(s.Name)
			if err := k.take(ctx, s); err != nil && ctx.Err() == nil {
				k.pause(s.Name)
				k.Log.Warn(err.Error(), "schedule", s.Name)
			}
		})
	}
}

func (k *Keeper) say(s *Schedule, t ledger.Tick) {
	if t.State != ledger.TickWaiting {
		k.Log.Warn(fmt.Sprintf("tick %s: %s", t.State, t.Why), "schedule", s.Name, "tick", s.When(t.At))
	}
}

// When writes a tick in the time zone of its schedule.
func (s *Schedule) When(t time.Time) string { return t.In(s.Location).Format(time.RFC3339) }

func (k *Keeper) begin(name string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.busy[name] || time.Now().Before(k.after[name]) {
		return false
	}
	k.busy[name] = true
	return true
}

func (k *Keeper) end(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.busy, name)
}

func (k *Keeper) pause(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.after[name] = time.Now().Add(againTime)
}

// take takes a tick of a schedule, and does what it is for.
func (k *Keeper) take(ctx context.Context, s *Schedule) error {
	t, err := k.Store.TakeTick(ctx, s.Name, k.Host)
	if errors.Is(err, ledger.ErrLocked) || err == nil && t == nil {
		return nil // another host was faster
	}
	if err != nil {
		return err
	}
	defer t.Release()
	log := k.Log.With("schedule", s.Name, "tick", s.When(t.At))
	if t.Takes == 1 {
		log.Info("tick begun")
	} else {
		log.Info("going on with a tick", "run", t.Run)
	}
	how := k.Do(ctx, s, t.Tick, func(ctx context.Context, run string) error {
		t.Run = run
		return t.Save(ctx)
	})
	t.State, t.Code, t.Why = ledger.TickEnded, how.Code, how.Why
	if how.Again {
		t.State, t.Code = ledger.TickWaiting, 0
	}
	// This is to be known also when this host is to stop.
	if err := t.Save(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	if how.Again {
		k.pause(s.Name)
		log.Warn("tick given back: " + how.Why)
		return nil
	}
	log.Info("tick ended", "run", t.Run, "exit", how.Code)
	return nil
}

package limiter

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

const (
	// leaseInTable is how long a lease lasts in the registry, leaseAtHost how long
	// a host uses it, counted from before it asked: no clocks need to agree.
	// What lies between is for calls that left at the last moment. A lane that
	// gets a new owner without being handed back rests for a second besides.
	leaseInTable = 6 * time.Second
	leaseAtHost  = 5 * time.Second

	// turnsOf is how long those have their turn who must take turns, because
	// there are more hosts than lanes, and remainderOf for how long a host has
	// one lane more than others, if that is more than a twentieth.
	turnsOf     = 10 * time.Second
	remainderOf = 30 * time.Second
)

// A roll says which host has which lanes of a budget. It is kept by a registry;
// all times are microseconds since 1970 on the registry's clock.
type roll struct {
	Lanes int               `json:"lanes"`          // of the budget: the most that any of the hosts knows
	Free  laneSet           `json:"free"`           // handed back rested, nobody's
	Hosts map[string]tenant `json:"hosts"`          // by id
	Slow  map[string]int64  `json:"slow,omitempty"` // frequency refusals told so far, by API, "" for the app

	// Since then no lane may have been promised to somebody by a registry that
	// has forgotten it: another server, or a clock that jumped.
	Server string `json:"server"`
	Since  int64  `json:"since"`
}

// A tenant is a host with a lease.
type tenant struct {
	Name  string  `json:"name"`
	Lanes laneSet `json:"lanes"`
	Limit int     `json:"limit"` // it can use the lanes below
	Until int64   `json:"until"` // end of its lease
	pulse
}

// A pulse is what a host says each time.
type pulse struct {
	Wants    int `json:"wants"`   // lanes that it has use for
	Calls    int `json:"calls"`   // in the last second
	Waiting  int `json:"waiting"` // for a lane
	OutOfUse int `json:"out"`     // of its lanes, after frequency codes
}

// An ask is what a host wants to change in the roll.
type ask struct {
	host, name string
	limit      int
	pulse
	give laneSet          // its lanes that have rested and that it does not use any more
	slow map[string]int64 // frequency refusals to tell, by API
	late bool             // it cannot tell who else is gone from who was only cut off
	held bool             // it had a lease
	jump bool             // the registry's clock has jumped

	hungry bool // calls wait there
}

// A grant is what the roll has for a host.
type grant struct {
	rested  laneSet // new for it, ready
	fresh   laneSet // new for it, must rest first
	surplus int     // lanes that it should give up to others
	below   int     // somebody among these can use lanes below only
	short   int     // lanes that it should have and that others must give up first
}

// enter writes a into the roll and says what it gets. changed is false if the roll
// is as it was.
func (r *roll) enter(rec record, a ask) (g grant, changed bool) {
	now := rec.now.UnixMicro()
	changed = r.trust(rec, a, now)
	settled := now-r.Since >= leaseInTable.Microseconds()
	changed = r.clean(now, a, settled && !a.late) || changed
	changed = r.seat(a, now) || changed
	entitled := r.entitlements(now)
	if settled {
		g = r.take(a.host, entitled[a.host])
	}
	g.surplus, g.below = r.surplus(a.host, entitled)
	g.short = max(0, entitled[a.host]-r.Hosts[a.host].Lanes.count())
	changed = r.tell(a.slow) || changed
	return g, changed || g.rested.count()+g.fresh.count() > 0
}

// trust notes from when on the roll tells all that was promised.
func (r *roll) trust(rec record, a ask, now int64) (changed bool) {
	switch {
	case rec.rev == 0 && !a.held:
		r.Server = rec.server // the first roll of this budget
	case rec.rev == 0, // there was one, and it is gone
		r.Server != rec.server, a.jump, r.Since > now: // the clock has gone back
		r.Server, r.Since = rec.server, now
	default:
		return false
	}
	return true
}

// seat writes down what the host has and wants.
func (r *roll) seat(a ask, now int64) (changed bool) {
	me, known := r.Hosts[a.host]
	if !known {
		me = tenant{Name: a.name, Limit: a.limit, Until: now + leaseInTable.Microseconds()}
		changed = true
	}
	if me.pulse = a.pulse; me.Limit != a.limit {
		me.Limit, changed = a.limit, true
		for lane := range me.Lanes.all() {
			if lane >= a.limit {
				me.Lanes.remove(lane) // it does not see it any more
			}
		}
	}
	for lane := range a.give.all() {
		if me.Lanes.has(lane) {
			me.Lanes.remove(lane)
			r.Free.add(lane)
			changed = true
		}
	}
	r.Hosts[a.host] = me
	r.Lanes = r.most()
	return changed
}

// clean removes hosts whose lease has ended, if it may. Their lanes are nobody's
// then, and not free either: nobody knows that they have rested.
func (r *roll) clean(now int64, a ask, mayRemove bool) (changed bool) {
	if r.Hosts == nil {
		r.Hosts = map[string]tenant{}
	}
	most := now + leaseInTable.Microseconds()
	for id, h := range r.Hosts {
		switch {
		case id != a.host && h.Until < now && mayRemove:
			delete(r.Hosts, id)
			changed = true
		case h.Until > most+time.Second.Microseconds(): // the clock went back
			h.Until = most
			r.Hosts[id] = h
			changed = true
		}
	}
	return changed
}

// leave removes a host. rested are its lanes that others can use at once.
func (r *roll) leave(host string, rested laneSet) (changed bool) {
	h, known := r.Hosts[host]
	if !known {
		return false
	}
	for lane := range rested.all() {
		if h.Lanes.has(lane) {
			r.Free.add(lane)
		}
	}
	delete(r.Hosts, host)
	return true
}

func (r *roll) tell(slow map[string]int64) (changed bool) {
	for api, n := range slow {
		if r.Slow == nil {
			r.Slow = map[string]int64{}
		}
		r.Slow[api] += n
		changed = changed || n > 0
	}
	return changed
}

func (r *roll) most() (lanes int) {
	for _, h := range r.Hosts {
		lanes = max(lanes, h.Limit)
	}
	return lanes
}

// take gives a host lanes that are nobody's, until it has n: some of small numbers
// and some of great ones, for a process with a smaller budget than others on its
// host can use the small ones only.
func (r *roll) take(host string, n int) (g grant) {
	me := r.Hosts[host]
	taken := laneSet{}
	for _, h := range r.Hosts {
		for lane := range h.Lanes.all() {
			taken.add(lane)
		}
	}
	have := me.Lanes.count()
	for from, to := range r.parts(me.Limit) {
		for lane := range spread(to) {
			free := r.Free.has(lane)
			if have >= n || taken.has(lane) || lane < from {
				continue
			}
			if free {
				g.rested.add(lane)
				r.Free.remove(lane)
			} else {
				g.fresh.add(lane)
			}
			me.Lanes.add(lane)
			taken.add(lane)
			have++
		}
	}
	r.Hosts[host] = me
	return g
}

// parts yields the lanes below n in parts: first those that no host with fewer lanes
// can use.
func (r *roll) parts(n int) func(yield func(from, to int) bool) {
	limits := []int{0, n}
	for _, h := range r.Hosts {
		if h.Limit < n {
			limits = append(limits, h.Limit)
		}
	}
	slices.Sort(limits)
	limits = slices.Compact(limits)
	return func(yield func(from, to int) bool) {
		for i := len(limits) - 1; i > 0; i-- {
			if !yield(limits[i-1], limits[i]) {
				return
			}
		}
	}
}

// spread yields the numbers below n by blocks, so that the first of them are from
// everywhere and their text is short.
func spread(n int) func(yield func(int) bool) {
	const most = 53 // of blocks; a prime, so that every stride meets all of them
	block := (n + most - 1) / most
	return func(yield func(int) bool) {
		for i := range most {
			first := (most - 1 - i*33%most) * block
			for lane := first; lane < min(first+block, n); lane++ {
				if !yield(lane) {
					return
				}
			}
		}
	}
}

// surplus is how many lanes of a host others should have and cannot get
// otherwise, and below which number one of them can use lanes only.
func (r *roll) surplus(host string, entitled map[string]int) (n, below int) {
	taken := laneSet{}
	var short []string
	for id, h := range r.Hosts {
		for lane := range h.Lanes.all() {
			taken.add(lane)
		}
		if id != host && entitled[id] > h.Lanes.count() {
			short = append(short, id)
		}
	}
	// Who can use few lanes first: what is left for it is there for the others, too.
	slices.SortFunc(short, func(a, b string) int { return cmp.Compare(r.Hosts[a].Limit, r.Hosts[b].Limit) })
	lane, free := 0, 0
	for _, id := range short {
		h := r.Hosts[id]
		for ; lane < h.Limit; lane++ {
			if !taken.has(lane) {
				free++
			}
		}
		missing := entitled[id] - h.Lanes.count()
		got := min(missing, free)
		free -= got
		if n += missing - got; missing > got && (below == 0 || h.Limit < below) {
			below = h.Limit
		}
	}
	me := r.Hosts[host]
	spare, most := max(0, me.Lanes.count()-entitled[host]), 0
	for _, h := range r.Hosts {
		swap := 0
		if h.Limit < me.Limit {
			swap = swappable(me, taken, h.Limit)
		}
		if most = max(most, swap); spare == 0 && swap > 0 && swap == most {
			below = h.Limit
		}
	}
	return max(0, min(n, spare+most)), below
}

// swappable is how many lanes a host has below a number for which it can have others.
func swappable(h tenant, taken laneSet, below int) int {
	has, others := 0, 0
	for lane := range h.Limit {
		switch {
		case lane < below && h.Lanes.has(lane):
			has++
		case lane >= below && !taken.has(lane):
			others++
		}
	}
	return min(has, others)
}

// entitlements shares the lanes out among those who have use for them: nobody gets
// more than that, and who gets less gets no less than any other (max-min fair).
// Hosts that know of m lanes have no more than these m together.
func (r *roll) entitlements(now int64) map[string]int {
	ids := slices.Sorted(maps.Keys(r.Hosts))
	ids = slices.DeleteFunc(ids, func(id string) bool { return r.wants(id) <= 0 })
	entitled, given := map[string]int{}, 0
	for len(ids) > 0 {
		share := r.fill(ids, r.Lanes-given, now)
		m := r.exceeded(share, given)
		if m > 0 {
			few := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return r.Hosts[id].Limit > m })
			share = r.fill(few, m-given, now)
		}
		for id, n := range share {
			entitled[id] = n
			given += n
		}
		ids = slices.DeleteFunc(ids, func(id string) bool { _, done := share[id]; return done })
	}
	return entitled
}

func (r *roll) wants(id string) int { return min(r.Hosts[id].Wants, r.Hosts[id].Limit) }

// exceeded is the smallest m for which those who know of m lanes would have more
// than these, with those that others have who know of fewer; 0 if there is none.
func (r *roll) exceeded(share map[string]int, given int) int {
	limits := []int{}
	for id := range share {
		limits = append(limits, r.Hosts[id].Limit)
	}
	slices.Sort(limits)
	for _, m := range limits {
		sum := given
		for id, n := range share {
			if r.Hosts[id].Limit <= m {
				sum += n
			}
		}
		if sum > m {
			return m
		}
	}
	return 0
}

// fill shares lanes out among hosts. If these are more than the lanes, they take turns.
func (r *roll) fill(ids []string, lanes int, now int64) map[string]int {
	share := map[string]int{}
	for _, id := range ids {
		share[id] = 0
	}
	ids = slices.Clone(ids)
	if n := len(ids); n > lanes {
		ids = rotated(ids, int(now/turnsOf.Microseconds())*lanes)[:lanes]
	} else if lanes/n < 20 {
		ids = rotated(ids, int(now/remainderOf.Microseconds()))
	}
	slices.SortStableFunc(ids, func(a, b string) int { return cmp.Compare(r.wants(a), r.wants(b)) })
	for i, id := range ids {
		// The last of those who want the same get what a division leaves over.
		share[id] = min(r.wants(id), lanes/(len(ids)-i))
		lanes -= share[id]
	}
	return share
}

func rotated(ids []string, by int) []string {
	by %= len(ids)
	return slices.Concat(ids[by:], ids[:by])
}

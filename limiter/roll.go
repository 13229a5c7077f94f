package limiter

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
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
	late bool             // its lease had ended: it cannot tell who else was only cut off
	jump bool             // the registry's clock has jumped
}

// A grant is what the roll has for a host.
type grant struct {
	rested  laneSet // new for it, ready
	fresh   laneSet // new for it, must rest first
	surplus int     // lanes that it should give up to others
	short   int     // lanes that it should have and that others must give up first
}

// enter writes a into the roll and says what it gets. changed is false if the roll
// is as it was.
func (r *roll) enter(rec record, a ask) (g grant, changed bool) {
	now := rec.now.UnixMicro()
	if rec.rev == 0 {
		r.Server, changed = rec.server, true
	}
	if r.Server != rec.server || a.jump {
		r.Server, r.Since, changed = rec.server, now, true
	}
	settled := now-r.Since >= leaseInTable.Microseconds()
	changed = r.clean(now, a, settled && !a.late) || changed
	me, known := r.Hosts[a.host]
	if !known && a.Wants == 0 {
		return grant{}, r.tell(a.slow) || changed
	}
	if !known {
		me = tenant{Name: a.name, Limit: a.limit, Until: now + leaseInTable.Microseconds(), pulse: a.pulse}
		r.Hosts[a.host], changed = me, true
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
	entitled := r.entitlements(now)
	if settled {
		g = r.take(a.host, entitled[a.host])
	}
	g.surplus = r.surplus(a.host, entitled)
	g.short = max(0, entitled[a.host]-r.Hosts[a.host].Lanes.count())
	changed = r.tell(a.slow) || changed
	return g, changed || g.rested.count()+g.fresh.count() > 0
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

// take gives a host lanes that are nobody's, until it has n. Those with great
// numbers go first: a host with a smaller budget can use the small ones only.
func (r *roll) take(host string, n int) (g grant) {
	me := r.Hosts[host]
	taken := laneSet{}
	for _, h := range r.Hosts {
		for lane := range h.Lanes.all() {
			taken.add(lane)
		}
	}
	have := me.Lanes.count()
	for _, free := range []bool{true, false} {
		for lane := me.Limit - 1; lane >= 0 && have < n; lane-- {
			if taken.has(lane) || r.Free.has(lane) != free {
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

// surplus is how many lanes of a host others should have and cannot get
// otherwise.
func (r *roll) surplus(host string, entitled map[string]int) int {
	missing, held := 0, 0
	for id, h := range r.Hosts {
		has := h.Lanes.count()
		held += has
		if id != host {
			missing += max(0, entitled[id]-has)
		}
	}
	missing -= max(0, r.Lanes-held)
	return max(0, min(missing, r.Hosts[host].Lanes.count()-entitled[host]))
}

// entitlements shares the lanes out among those who have use for them: nobody gets
// more than that, and who gets less gets no less than any other (max-min fair).
// If there are more hosts than lanes, they take turns.
func (r *roll) entitlements(now int64) map[string]int {
	wants := func(id string) int { return min(r.Hosts[id].Wants, r.Hosts[id].Limit) }
	ids := slices.Sorted(maps.Keys(r.Hosts))
	ids = slices.DeleteFunc(ids, func(id string) bool { return wants(id) <= 0 })
	if n := len(ids); n > r.Lanes {
		ids = rotated(ids, int(now/turnsOf.Microseconds())*r.Lanes)[:r.Lanes]
	} else if n > 0 && r.Lanes/n < 20 {
		ids = rotated(ids, int(now/remainderOf.Microseconds()))
	}
	slices.SortStableFunc(ids, func(a, b string) int { return cmp.Compare(wants(a), wants(b)) })
	entitled := map[string]int{}
	left := r.Lanes
	for i, id := range ids {
		// The last of those who want the same get what a division leaves over.
		entitled[id] = min(wants(id), left/(len(ids)-i))
		left -= entitled[id]
	}
	return entitled
}

func rotated(ids []string, by int) []string {
	by %= len(ids)
	return slices.Concat(ids[by:], ids[:by])
}

// A laneSet is a set of lanes by number. As text it is "0-99,150".
type laneSet struct{ in []bool }

func (s *laneSet) add(lane int) {
	if lane >= len(s.in) {
		s.in = append(s.in, make([]bool, lane+1-len(s.in))...)
	}
	s.in[lane] = true
}

func (s *laneSet) remove(lane int) {
	if lane < len(s.in) {
		s.in[lane] = false
	}
}

func (s laneSet) has(lane int) bool { return lane < len(s.in) && s.in[lane] }

func (s laneSet) count() (n int) {
	for range s.all() {
		n++
	}
	return n
}

// all yields the lanes in order.
func (s laneSet) all() func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for lane, in := range s.in {
			if in && !yield(lane) {
				return
			}
		}
	}
}

// MarshalText writes ranges.
func (s laneSet) MarshalText() ([]byte, error) {
	var text []byte
	for from := 0; from < len(s.in); from++ {
		if !s.in[from] {
			continue
		}
		to := from
		for to+1 < len(s.in) && s.in[to+1] {
			to++
		}
		if len(text) > 0 {
			text = append(text, ',')
		}
		text = strconv.AppendInt(text, int64(from), 10)
		if to > from {
			text = strconv.AppendInt(append(text, '-'), int64(to), 10)
		}
		from = to
	}
	return text, nil
}

// UnmarshalText reads ranges.
func (s *laneSet) UnmarshalText(text []byte) error {
	*s = laneSet{}
	if len(text) == 0 {
		return nil
	}
	for part := range strings.SplitSeq(string(text), ",") {
		first, last, isRange := strings.Cut(part, "-")
		from, err := strconv.ParseUint(first, 10, 31)
		to := from
		if err == nil && isRange {
			to, err = strconv.ParseUint(last, 10, 31)
		}
		if err != nil || to < from || to >= maxQPS {
			return fmt.Errorf("lanes %q, want ranges such as 0-99,150", part)
		}
		for lane := from; lane <= to; lane++ {
			s.add(int(lane))
		}
	}
	return nil
}

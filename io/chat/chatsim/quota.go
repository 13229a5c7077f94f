package chatsim

import "time"

// A window lets a number of calls into each second. Times are counted from
// the start of the simulator and never go back.
type window interface {
	admit(at time.Duration) bool
}

// newWindow makes the window of a quota, nil for none.
func newWindow(quota int, sc *Scenario, start time.Time) window {
	switch {
	case quota <= 0:
		return nil
	case sc.Window == windowFixed:
		// Seconds are those of the clock, as a server would count them.
		return &fixed{quota: quota, phase: time.Duration(start.Nanosecond()), second: -1}
	default:
		return &sliding{last: make([]time.Duration, quota), all: sc.CountRejected}
	}
}

// sliding admits a call when fewer than len(last) calls lie in (at-1s, at].
type sliding struct {
	last []time.Duration // the latest calls that count, a ring
	n    int             // of them known, at most len(last)
	next int             // where the oldest is, once the ring is full
	all  bool            // rejected calls count, too
}

func (w *sliding) admit(at time.Duration) bool {
	ok := w.n < len(w.last) || w.last[w.next] <= at-time.Second
	if ok || w.all {
		w.last[w.next] = at
		w.next = (w.next + 1) % len(w.last)
		w.n = min(w.n+1, len(w.last))
	}
	return ok
}

// fixed admits quota calls in each second of the clock. Whether rejected
// calls count makes no difference: the second is used up already.
type fixed struct {
	quota  int
	phase  time.Duration // of the start within its second
	second int64
	used   int
}

func (w *fixed) admit(at time.Duration) bool {
	if s := int64((at + w.phase) / time.Second); s != w.second {
		w.second, w.used = s, 0
	}
	if w.used >= w.quota {
		return false
	}
	w.used++
	return true
}

// quotas is what a call must be let through by.
type quotas struct {
	app       window            // over all commands, refused with 60011
	shared    window            // QPS for all commands
	byCommand map[string]window // QPS for each
	own       map[string]window // of commands that have one besides
	code      int               // over QPS
}

func newQuotas(sc *Scenario, start time.Time) quotas {
	q := quotas{app: newWindow(sc.AppQPS, sc, start), code: sc.OverQuotaCode,
		own: map[string]window{commandGroupList: newWindow(sc.GroupListQPS, sc, start)}}
	if sc.QPSScope == scopeApp {
		q.shared = newWindow(sc.QPS, sc, start)
		return q
	}
	q.byCommand = make(map[string]window, len(commands))
	for _, c := range commands {
		q.byCommand[c.name] = newWindow(sc.QPS, sc, start)
	}
	return q
}

// admit counts a call and says whether it is refused.
func (q *quotas) admit(command string, at time.Duration) *refusal {
	if q.app != nil && !q.app.admit(at) {
		return refuse(codeOverAppQuota, "")
	}
	w := q.shared
	if q.byCommand != nil {
		w = q.byCommand[command]
	}
	if w != nil && !w.admit(at) {
		return refuse(q.code, "")
	}
	if w = q.own[command]; w != nil && !w.admit(at) {
		return refuse(q.code, "")
	}
	return nil
}

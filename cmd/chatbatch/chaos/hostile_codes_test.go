//go:build linux

package chaos

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// A meaning is what an error code means for a run, by the API's pages.
type meaning int

const (
	heals     meaning = iota // try again
	perhaps                  // try again a few times: it may as well be for good
	slower                   // too frequent
	sign                     // the signature: a new one, once; for good, the run
	signOrRow                // the same, but for good it is what was asked, if the run has had a good answer
	whole                    // the run
	group                    // the group
	request                  // what was asked: some account of it
	absent                   // an account that is not there
	smaller                  // too much was asked
)

// codes are all codes of the API's pages that a bulk job can meet, by meaning. Of 70050,
// which waits for a minute, see TestLockedOut.
func codes() map[meaning][]int {
	return map[meaning][]int{
		heals:     {10002, 60013, 60014, 70169, 70202, 70500, 20004, 20005, 91000, 90990, 90995, 90999},
		perhaps:   {60008, 60001, 60099, 12345, -1, 999999999},
		slower:    {60007, 60011, 60018, 60019, 10006},
		sign:      {70001, 70003, 70052, 10001, 10008},
		signOrRow: {60004, 60005},
		whole: {60002, 60006, 60009, 60010, 60012, 60016, 60017, 60020, 60021, 70002, 70005, 70009, 70013, 70014,
			70016, 70020, 70051, 70114, 70398, 70403, 10003, 10012, 10026, 10059},
		group: {10007, 10010, 10015},
		request: {60003, 60015, 70402, 10004, 10011, 10016, 10013, 10014, 10017, 10021, 10023, 10024, 10025, 10030, 10031,
			10032, 10033, 10034, 10035, 10036, 10037, 10038, 10041, 10050, 10056, 10070, 10071, 71000},
		absent:  {10019, 70107},
		smaller: {10005, 10018, 70206},
	}
}

// A coded is one of the codes.
type coded struct {
	meaning
	code int
}

// eachCode calls f side by side with some of the codes, or with all.
func eachCode(t *testing.T, f func(t *testing.T, m meaning, code int)) {
	t.Parallel()
	all := map[string]coded{}
	for m, list := range codes() {
		for i, code := range list {
			if *full || i == 0 && (m == perhaps || m == signOrRow) {
				all[fmt.Sprint(code)] = coded{m, code}
			}
		}
	}
	together(t, all, func(t *testing.T, c coded) { f(t, c.meaning, c.code) })
}

// A code that comes once, as the answer to the first call or to a later one, fails no row
// but that of a group, and stops no run but by what every later call would get too. When
// the server thinks better of it the same command goes on.
func TestCodeOnce(t *testing.T) {
	eachCode(t, func(t *testing.T, m meaning, code int) {
		for _, at := range []int{4, 1}[:times(1, 2)] {
			h := newHostile(t)
			j := h.set(4, 10)
			h.misbehaves(once(at, func(c *call) bool { c.refuse(code); return true }))
			e := h.run(append(j.args, "--workers", "1")...)
			switch stops := m == whole || code == 60003 && at == 1; {
			case stops && h.api.count() != at:
				t.Errorf("%d calls, want %d", h.api.count(), at)
			case stops:
				e.want(t, exitRefused, fmt.Sprint("code ", code), "run the same command again")
				e = h.run(j.args...)
			}
			what, lost := h.afterOnce(e, m, j)
			tried.add("server: a code that comes once: "+what, 1, lost)
		}
	})
}

// afterOnce checks a job after a code that came once.
func (h *hostile) afterOnce(e end, m meaning, j job) (what string, lost int) {
	e.want(h.t, j.code)
	if m != group {
		return "all rows as ever", j.lost(e)
	}
	s := h.summary(e) // ten of a group, less those that fail in any case
	n := s.ByClass["no_permission"] + s.ByClass["group_not_found"] + s.ByClass["invalid_group"]
	if n < 8 || n > 10 || s.Unprocessed != 0 {
		h.t.Errorf("got %+v, want a group that failed", s)
		lost = 1
	}
	return "one group fails", lost
}

// once hands the call of a number to f, and no other.
func once(at int, f func(c *call) bool) func(c *call) bool {
	return func(c *call) bool { return c.n == at && f(c) }
}

// A code that comes for ever, but for one group of several only: its rows have the class
// that the code means, the others are as ever.
func TestCodeOfAGroup(t *testing.T) {
	classes := map[meaning]string{heals: "server_error", perhaps: "", slower: "server_error", signOrRow: "refused", request: "refused", absent: "offline_or_absent", smaller: "refused"}
	ofGroup := map[int]string{10007: "no_permission", 10010: "group_not_found", 10015: "invalid_group"}
	eachCode(t, func(t *testing.T, m meaning, code int) {
		class := classes[m]
		switch {
		case m == group:
			class = ofGroup[code]
		case m == perhaps && code > 60000 && code < 70000:
			class = "server_error"
		case m == perhaps:
			class = "refused"
		}
		for _, of := range []func(h *hostile) job{(*hostile).twoSets, (*hostile).twoCounts}[:times(1, 2)] {
			h := newHostile(t)
			j := of(h)
			h.misbehaves(func(c *call) bool {
				bad := c.body["GroupId"] == "bad" && c.command != "get_members"
				if bad {
					c.refuse(code)
				}
				return bad
			})
			e := h.run(append(j.args, "--workers", "2", "--retries", "1")...)
			if m == whole || m == sign {
				e.want(t, exitRefused, fmt.Sprint("code ", code))
				tried.add("server: a code for ever, that concerns the run", 1, min(1, h.summary(e).Failed))
				continue
			}
			s := h.summary(e)
			if heal := m == heals || m == slower; heal && e.code == exitStopped && s.Succeeded == 40 && s.Unprocessed == 4 {
				// When the others are done it cannot be told from a server that refuses every call.
				tried.add("server: a code for ever, for one group: stopped at the end", 1, 0)
				continue
			}
			e.want(t, exitFailed)
			lost := 0
			if s.ByClass[class] != 4 || s.Failed != 4 || s.Succeeded != 40 {
				t.Errorf("got %+v, want 4 rows of class %s", s, class)
				lost = 1
			}
			tried.add("server: a code for ever, for one group", 1, lost)
		}
	})
}

// twoSets is a job of marks with a good group of 40 members, and one of 4.
func (h *hostile) twoSets() job {
	return job{args: []string{"marks", "set", h.roster("two.csv", "group_id,account,marks", h.two("1000")), "--json", "--chunk-size", "10"}}
}

// twoCounts is the same for unread counts.
func (h *hostile) twoCounts() job {
	return job{args: []string{"unread", "set", h.roster("two.csv", unreadHeader, h.two("7")), "--check-groups=false", "--json"}}
}

func (h *hostile) two(value string) (rows []row) {
	h.api.found("good", "Public")
	h.api.found("bad", "Public")
	for n := range 44 {
		name := "good"
		if n%10 == 9 {
			name = "bad"
		}
		account := fmt.Sprint("member ", n)
		h.api.join(name, account)
		rows = append(rows, row{text: name + "," + account + "," + value})
	}
	return rows
}

// A code that comes for ever, to every call, costs few calls, and fails no row that it
// does not mean.
func TestCodeForEver(t *testing.T) {
	eachCode(t, func(t *testing.T, m meaning, code int) {
		names := slices.Sorted(maps.Keys(jobsOfAllKinds()))
		for i, name := range names {
			if i != max(code, 0)%len(names) {
				continue
			}
			h, of := newHostile(t), jobsOfAllKinds()[name]
			j := of(h)
			h.misbehaves(func(c *call) bool { c.refuse(code); return true })
			e := h.run(append(j.args, "--retries", "1", "--isolate-budget", "4")...)
			what, lost := "", 0
			switch stops := slices.Contains([]int{exitStopped, exitRefused}, e.code); {
			case m == whole:
				e.want(t, exitRefused, fmt.Sprint("code ", code))
				what = "the run: one call, exit code 5"
				lost = h.api.count() - h.askedFirst(j, code)
			case m == sign:
				e.want(t, exitRefused, fmt.Sprint("code ", code))
				what = "the signature: two calls, exit code 5"
				lost = h.api.count() - 2
			case stops:
				what = "the run is stopped"
			default:
				e.want(t, exitFailed)
				what = "rows fail"
			}
			if e.stdout != "" && (m == whole || m == sign) {
				sum := h.summary(e)
				lost += sum.Failed - sum.ByClass["bad_row"]
			}
			if lost != 0 {
				t.Errorf("%s: %d calls, %s", name, h.api.count(), e.stdout)
			}
			tried.add("server: a code for ever, to all calls: "+what, 1, lost)
		}
	})
}

// askedFirst is how many calls a code that concerns the whole run may cost: one, but where a
// command that can be done without is asked for first, and may be missing by itself.
func (h *hostile) askedFirst(j job, code int) int {
	if j.name == "unread set" && slices.Contains([]int{10003, 10026, 10059, 60002, 60009, 60017}, code) {
		return 2
	}
	return 1
}

// An HTTP status that forbids or does not know what was asked concerns the run, and costs one
// call; the same command goes on when somebody has mended it.
func TestForbidden(t *testing.T) {
	t.Parallel()
	for _, status := range every([]int{400, 401, 403, 404}, 4) {
		together(t, some(jobsOfAllKinds(), "export online"), func(t *testing.T, of func(h *hostile) job) {
			h := newHostile(t)
			j := of(h)
			at := 1 + status%2*3 // the first call or a later one
			h.misbehaves(once(at, text(status)))
			e := h.run(append(j.args, "--workers", "1")...)
			lost := 0
			if j.name == "unread set" && at == 1 { // the look at the groups can be done without
				e.want(t, j.code, fmt.Sprint("status ", status))
			} else {
				e.want(t, exitRefused, fmt.Sprint("status ", status), "a proxy may be in the way")
				if lost = h.api.count() - at; lost != 0 {
					t.Errorf("%d calls, want %d", h.api.count(), at)
				}
				e = h.run(j.args...)
			}
			e.want(t, j.code)
			tried.add("server: HTTP status 4xx, then not", 1, lost+j.lost(e))
		})
	}
}

// 413 makes calls smaller: marks by less accounts, pages by less members. What cannot be
// smaller is refused.
func TestTooMuchAsked(t *testing.T) {
	t.Parallel()
	for _, most := range []int{7, 0}[:times(1, 2)] {
		h := newHostile(t)
		for _, j := range []job{h.set(4, 60), h.export("members", "Public", 2, 450), h.export("members", "Community", 2, 300)}[:times(1, 3)] {
			h.misbehaves(func(c *call) bool {
				list, _ := c.body["MemberList"].([]any)
				limit, _ := c.body["Limit"].(float64)
				return max(len(list), int(limit)) > most && text(413)(c)
			})
			before := h.api.count()
			if j.args[0] == "marks" {
				j.args = append(j.args, "--chunk-size", "500")
			}
			e := h.run(j.args...)
			if most > 0 {
				e.want(t, j.code)
				tried.add("server: 413 for all that is large", 1, j.lost(e))
				continue
			}
			s := h.summary(e)
			if s.Succeeded > 0 || e.code == exitOK || h.api.count()-before > 40 {
				t.Errorf("%s: exit code %d, %d calls, %+v", j.name, e.code, h.api.count()-before, s)
			}
			tried.add("server: 413 for everything: stopped or refused", 1, s.Succeeded)
		}
	}
}

// While a server asks to wait, nothing is sent.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, status := range []int{429, 503}[:times(1, 2)] {
		h := newHostile(t)
		j := h.set(8, 60)
		h.misbehaves(once(6, text(status, "Retry-After", "2")))
		e := h.run(append(j.args, "--workers", "4")...)
		e.want(t, j.code)
		h.api.mu.Lock()
		slices.SortFunc(h.api.arrivals, time.Time.Compare)
		longest := time.Duration(0)
		for i, at := range h.api.arrivals[1:] {
			longest = max(longest, at.Sub(h.api.arrivals[i]))
		}
		h.api.mu.Unlock()
		if longest < 1900*time.Millisecond {
			t.Errorf("%d: the longest time without a call was %v, want 2s", status, longest)
		}
		tried.add("server: asks to wait for 2 s", 1, j.lost(e))
	}
}

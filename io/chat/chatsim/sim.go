// Package chatsim is a Chat API in the process: the group part of the Tencent
// Cloud Chat server REST API with its rules and limits, groups and members
// from a [Scenario], and faults on demand.
//
// A [Sim] is an [http.Handler] and an [http.RoundTripper]. As a RoundTripper
// it needs no port, and looks at time by time.Now and timers only, so that
// it lives in a bubble of testing/synctest when it was made in there.
//
// It has its own idea of the wire and of the error codes and takes nothing
// from the client, so that each checks the other. What the vendor does not
// document (the code when everyone is offline, whether refused calls count)
// is a choice of the scenario, never a promise.
//
// API: v4/group_open_avchatroom_http_svc/{modify_user_info,get_members},
// v4/group_open_http_svc/{get_group_member_info,set_unread_msg_num,get_group_info,get_appid_group_list}
package chatsim

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Sim is a simulated Chat API. It is safe for concurrent use.
type Sim struct {
	sc     Scenario // with its defaults; never changes
	poison map[string]bool
	start  time.Time

	mu      sync.Mutex // held for the decisions and the effects of a call, never while waiting
	quotas  quotas     // under mu, like all below
	lockout lockout
	faults  faults
	jitter  *rand.Rand
	groups  map[string]*group // named ones, and open ones that are kept
	crowd   crowd             // open members that were named lately
	tally   tally
	calls   []Call // with Scenario.Record; call n is calls[n-1]
}

// New makes the API that a scenario describes, or says what is wrong with it.
func New(sc Scenario) (*Sim, error) {
	if err := sc.check(); err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	sc = sc.withDefaults()
	s := &Sim{
		sc:      sc,
		poison:  make(map[string]bool, len(sc.Poison)),
		start:   time.Now(),
		lockout: lockout{limit: sc.AuthFailures},
		faults:  newFaults(sc.Faults, sc.Seed),
		jitter:  rand.New(rand.NewPCG(sc.Seed, streamJitter)),
		groups:  make(map[string]*group, len(sc.Groups)),
		tally:   newTally(),
	}
	s.quotas = newQuotas(&s.sc, s.start)
	for _, a := range sc.Poison {
		s.poison[a] = true
	}
	for i := range sc.Groups {
		s.groups[sc.Groups[i].ID] = newGroup(&s.sc, sc.Groups[i])
	}
	return s, nil
}

// The streams of chance are apart, so that one does not shift another.
const (
	streamFaults = iota
	streamJitter
	streamShuffle
	streamChurn
)

// A command is one endpoint.
type command struct {
	service, name string
	serve         func(*Sim, *call, []byte) ([]byte, *refusal)
}

const (
	liveService  = "group_open_avchatroom_http_svc"
	groupService = "group_open_http_svc"
)

// commands is the table of endpoints: one line and one file each.
var commands = []command{
	{liveService, commandModifyUserInfo, (*Sim).modifyUserInfo},
	{liveService, commandGetMembers, (*Sim).getMembers},
	{groupService, commandMemberInfo, (*Sim).memberInfo},
	{groupService, commandSetUnread, (*Sim).setUnread},
	{groupService, commandGroupInfo, (*Sim).groupInfo},
	{groupService, commandGroupList, (*Sim).groupList},
}

// A call is a request on its way through the simulator.
type call struct {
	Call
	since   time.Duration // of the arrival, since the start
	command command
	query   query
	no      *refusal // known at the door
	fault   *Fault   // to be played, nil for none
	delay   time.Duration
	action1 bool // ActionStatus is spelled Action1Status
}

// arrive notes a call and decides all that does not need its body: whether
// the URL is one of the API's, the quota lets it in and a fault hits it.
func (s *Sim) arrive(method string, u *url.URL) *call {
	cmd, q, no := parseURL(method, u)
	if no == nil && s.sc.SDKAppID != 0 && q.app != s.sc.SDKAppID {
		no = refuse(codeBadApp, "")
	}
	c := &call{command: cmd, query: q, no: no, action1: s.sc.Action1 && cmd.name == commandSetUnread}
	c.Command, c.Random, c.Code = cmd.name, q.random, NoCode

	s.mu.Lock()
	defer s.mu.Unlock()
	c.At = time.Now() // under the lock: in the order of N
	c.since = c.At.Sub(s.start)
	s.tally.arrived(c)
	c.N = s.tally.Calls
	c.delay = s.sc.Latency
	if s.sc.Jitter > 0 {
		c.delay += time.Duration(s.jitter.Int64N(int64(s.sc.Jitter)))
	}
	if c.no == nil {
		c.no = s.quotas.admit(cmd.name, c.since)
	}
	if c.no == nil {
		if c.fault = s.faults.next(cmd.name); c.fault != nil {
			c.Fault = c.fault.Kind
		}
	}
	if s.sc.Record {
		s.calls = append(s.calls, c.Call)
	}
	return c
}

// answer gives a call its effect and says what its caller gets to see.
func (s *Sim) answer(c *call, body []byte) answer {
	a := s.decide(c, body)
	c.Code = a.code
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.settled(c)
	if s.sc.Record {
		s.calls[c.N-1] = c.Call
	}
	return a
}

func (s *Sim) decide(c *call, body []byte) answer {
	switch {
	case c.no != nil:
		return s.refused(c, c.no)
	case c.fault != nil:
		return s.spoil(c, body)
	}
	return s.serve(c, body)
}

// serve answers as if there were no faults.
func (s *Sim) serve(c *call, body []byte) answer {
	if no := s.authenticate(c); no != nil {
		return s.refused(c, no)
	}
	ok, no := c.command.serve(s, c, body)
	if no != nil {
		return s.refused(c, no)
	}
	return answer{status: 200, contentType: typeJSON, body: ok, delay: c.delay}
}

func (s *Sim) refused(c *call, no *refusal) answer {
	return answer{status: 200, contentType: typeJSON, body: encodeRefusal(c, no), code: no.code, delay: c.delay}
}

// Counts tells what has been seen so far.
func (s *Sim) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally.snapshot()
}

// Calls lists every call in the order of arrival, if the scenario has Record;
// one that is still on its way has NoCode.
func (s *Sim) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

package chatsim

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A faultCase is a fault on the first call of a scenario, and what its caller
// must see, whichever way the call comes.
type faultCase struct {
	name    string
	fault   Fault
	list    bool // the call is get_members, not modify_user_info
	applied bool
	code    int // as counted
	check   func(t *testing.T, r reply)
}

func faultCases() []faultCase {
	return []faultCase{
		{"code", Fault{Kind: KindCode}, false, false, 10002, code(10002)},
		{"another code", Fault{Kind: KindCode, Code: 60008}, false, false, 60008, code(60008)},
		{"code though applied", Fault{Kind: KindCode, Applied: true}, false, true, 10002, code(10002)},
		{"code with a text", Fault{Kind: KindCode, Info: "bad usersig={usersig}"}, false, false, 10002, func(t *testing.T, r reply) {
			if r.ErrorInfo != "bad usersig=sig" {
				t.Errorf("got %q", r.ErrorInfo)
			}
		}},
		{"over quota", Fault{Kind: KindOverQuota, Applied: true}, false, false, 60007, code(60007)},
		{"over quota of the app", Fault{Kind: KindOverQuota, Code: 60011}, false, false, 60011, code(60011)},
		{"502", Fault{Kind: KindStatus}, false, false, NoCode, status(502)},
		{"503 though applied", Fault{Kind: KindStatus, Status: 503, Applied: true}, false, true, 0, status(503)},
		{"redirect", Fault{Kind: KindStatus, Status: 302}, false, false, NoCode, status(302)},
		{"reset", Fault{Kind: KindReset}, false, false, NoCode, wantReset},
		{"reset though applied", Fault{Kind: KindReset, Applied: true}, false, true, 0, wantReset},
		{"lost", Fault{Kind: KindLost}, false, true, 0, wantReset},
		{"cut", Fault{Kind: KindCut}, false, true, 0, func(t *testing.T, r reply) {
			if !errors.Is(r.err, io.ErrUnexpectedEOF) || r.status != 200 || !strings.HasPrefix(r.text, `{"ActionStatus":"OK"`) {
				t.Errorf("got %d %q, %v; want half an answer", r.status, r.text, r.err)
			}
		}},
		{"garbage", Fault{Kind: KindGarbage}, false, false, NoCode, func(t *testing.T, r reply) {
			if r.status != 200 || r.err == nil || r.text == "" {
				t.Errorf("got %d %q, want no JSON", r.status, r.text)
			}
		}},
		{"fail with 0", Fault{Kind: KindFailZero}, false, false, 0, func(t *testing.T, r reply) {
			if r.status != 200 || r.ActionStatus != "FAIL" || r.code() != 0 {
				t.Errorf("got %d %q, want FAIL with 0", r.status, r.text)
			}
		}},
		{"no code", Fault{Kind: KindNoCode}, false, false, NoCode, func(t *testing.T, r reply) {
			if r.status != 200 || r.err != nil || r.ErrorCode != nil {
				t.Errorf("got %d %q, want JSON without ErrorCode", r.status, r.text)
			}
		}},
		{"Action1Status", Fault{Kind: KindAction1}, false, true, 0, func(t *testing.T, r reply) {
			if r.Action1Status != "OK" || r.ActionStatus != "" || r.code() != 0 {
				t.Errorf("got %q, want Action1Status", r.text)
			}
		}},
		{"slow", Fault{Kind: KindSlow, Delay: time.Millisecond}, false, true, 0, code(0)},
		{"hang", Fault{Kind: KindHang, Delay: time.Millisecond}, false, false, NoCode, wantReset},
		{"hang though applied", Fault{Kind: KindHang, Delay: time.Millisecond, Applied: true}, false, true, 0, wantReset},
		{"stuck cursor", Fault{Kind: KindStuck}, true, false, 0, func(t *testing.T, r reply) {
			if wantCode(t, r, 0); r.NextTimestamp == nil || *r.NextTimestamp == 0 {
				t.Errorf("got %q, want a cursor", r.text)
			}
		}},
		{"fewer members", Fault{Kind: KindMembers, Members: 1}, false, false, 10005, code(10005)},
		{"enough members", Fault{Kind: KindMembers, Members: 2}, false, true, 0, code(0)},
	}
}

// code wants an ErrorCode, status a page of HTML.
func code(want int) func(*testing.T, reply) {
	return func(t *testing.T, r reply) { t.Helper(); wantCode(t, r, want) }
}

func status(want int) func(*testing.T, reply) {
	return func(t *testing.T, r reply) {
		if r.status != want || !strings.Contains(r.text, "<html>") || r.header.Get("Content-Type") != "text/html" {
			t.Errorf("got status %d %q, want %d and a page", r.status, r.text, want)
		}
		if got := r.header.Get("Location"); (got != "") != (want/100 == 3) {
			t.Errorf("got Location %q with status %d", got, want)
		}
	}
}

func wantReset(t *testing.T, r reply) {
	t.Helper()
	if !errors.Is(r.err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", r.err)
	}
}

// ways are those a call can come. Each is a fresh caller of a simulator.
func ways(t *testing.T, sc Scenario) map[string]func(*testing.T) (*Sim, *caller) {
	return map[string]func(*testing.T) (*Sim, *caller){
		"in process": func(t *testing.T) (*Sim, *caller) {
			s := newSim(t, sc)
			return s, newCaller(t, s)
		},
		"over HTTP": func(t *testing.T) (*Sim, *caller) {
			s := newSim(t, sc)
			srv := httptest.NewServer(s)
			t.Cleanup(srv.Close)
			c := newCaller(t, srv.Client().Transport)
			c.base = srv.URL
			return s, c
		},
	}
}

func TestFaults(t *testing.T) {
	for _, tt := range faultCases() {
		tt.fault.Count = 1
		sc := class(Scenario{Faults: []Fault{tt.fault}})
		for way, start := range ways(t, sc) {
			t.Run(tt.name+" "+way, func(t *testing.T) {
				s, c := start(t)
				if tt.list {
					tt.check(t, c.members("class", 0, 0))
				} else {
					tt.check(t, c.set("class", 1000, "s1", "s2"))
				}
				if got := s.Marks("class") != nil; got != tt.applied {
					t.Errorf("applied: got %v, want %v", got, tt.applied)
				}
				n := s.Counts()
				if n.ByFault[tt.fault.Kind] != 1 || n.ByCode[tt.code] != 1 {
					t.Errorf("got %v, %v; want one %s with code %d", n.ByFault, n.ByCode, tt.fault.Kind, tt.code)
				}
				// It happens once, and leaves the server well.
				wantCode(t, c.set("class", 1000, "s1"), 0)
				if n := s.Counts(); n.ByFault[tt.fault.Kind] != 1 {
					t.Errorf("got %v, want one %s", n.ByFault, tt.fault.Kind)
				}
			})
		}
	}
}

// Each kind is tried above.
func TestFaultCasesAreComplete(t *testing.T) {
	for _, k := range kinds() {
		if !slices.ContainsFunc(faultCases(), func(c faultCase) bool { return c.fault.Kind == k }) {
			t.Errorf("kind %s is not tried", k)
		}
	}
}

func TestFaultsOverTLS(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		for _, kind := range []Kind{KindReset, KindCut} {
			t.Run(fmt.Sprintf("%s HTTP/2 %v", kind, h2), func(t *testing.T) {
				s := newSim(t, class(Scenario{Faults: []Fault{{Kind: kind, Count: 1}}}))
				srv := httptest.NewUnstartedServer(s)
				srv.EnableHTTP2 = h2
				srv.StartTLS()
				defer srv.Close()
				c := newCaller(t, srv.Client().Transport)
				c.base = srv.URL
				switch r := c.set("class", 1000, "s1"); {
				case kind == KindReset && !h2:
					wantReset(t, r)
				case r.err == nil:
					t.Errorf("got %q, want an error of the connection", r.text)
				}
				wantCode(t, c.set("class", 1000, "s1"), 0)
			})
		}
	}
}

// A client that gives up ends a hang and a delay at once, on both sides.
func TestGivingUp(t *testing.T) {
	for name, fault := range map[string]Fault{"hang": {Kind: KindHang, Count: 1}, "slow": {Kind: KindSlow, Count: 1, Delay: time.Minute}} {
		for way, start := range ways(t, class(Scenario{Faults: []Fault{fault}})) {
			t.Run(name+" "+way, func(t *testing.T) {
				_, c := start(t)
				client := &http.Client{Transport: c.rt, Timeout: 50 * time.Millisecond}
				began := time.Now()
				_, err := client.Post(c.base+"/v4/group_open_avchatroom_http_svc/get_members?"+c.query.Encode(), "", strings.NewReader(`{"GroupId":"class","Timestamp":0}`))
				if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() || time.Since(began) > 5*time.Second {
					t.Errorf("got %v after %v, want a time-out", err, time.Since(began))
				}
				wantCode(t, c.members("class", 0, 0), 0)
			})
		}
	}
}

func TestHangIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, newSim(t, class(Scenario{Faults: []Fault{{Kind: KindHang, Count: 1}}})))
		began := time.Now()
		wantReset(t, c.set("class", 1000, "s1"))
		if got := time.Since(began); got != time.Minute {
			t.Errorf("hung for %v, want a minute", got)
		}
	})
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := class(Scenario{QPS: -1, Latency: 20 * time.Millisecond, Jitter: 10 * time.Millisecond,
			Faults: []Fault{{Kind: KindSlow, After: 100, Count: 1}, {Kind: KindCode, After: 101, Count: 1, Delay: time.Second}}})
		c := newCaller(t, newSim(t, sc))
		took := func() time.Duration {
			began := time.Now()
			if r := c.set("class", 1000, "s1"); r.err != nil {
				t.Fatal(r.err)
			}
			return time.Since(began)
		}
		var all []time.Duration
		for range 100 {
			all = append(all, took())
		}
		lo, hi := slices.Min(all), slices.Max(all)
		if lo < 20*time.Millisecond || lo > 22*time.Millisecond || hi < 28*time.Millisecond || hi >= 30*time.Millisecond {
			t.Errorf("answers came after %v to %v, want 20ms to 30ms", lo, hi)
		}
		for _, want := range []time.Duration{5 * time.Second, time.Second} {
			if got := took() - want; got < 20*time.Millisecond || got >= 30*time.Millisecond {
				t.Errorf("got %v more than the delay of %v, want the latency", got, want)
			}
		}
	})
}

// The same seed gives the same faults to the same calls, whatever else differs.
func TestRehearsalIsRepeatable(t *testing.T) {
	run := func(sc Scenario) string {
		sc.Faults = []Fault{{Kind: KindCode, Rate: 0.2}, {Kind: KindReset, Rate: 0.1}, {Kind: KindFailZero, Rate: 0.1, Command: commandGetMembers}}
		sc.QPS, sc.Record = -1, true
		s := newSim(t, class(sc))
		c := newCaller(t, s)
		for range 500 {
			c.set("class", 1000, "s1")
		}
		var b strings.Builder
		for _, call := range s.Calls() {
			fmt.Fprint(&b, call.Fault, " ")
		}
		return b.String()
	}
	first := run(Scenario{Seed: 1})
	if got := run(Scenario{Seed: 1, Jitter: time.Nanosecond}); got != first {
		t.Error("the same seed has other faults")
	}
	if got := run(Scenario{Seed: 2}); got == first {
		t.Error("another seed has the same faults")
	}
	codes, resets := strings.Count(first, "code"), strings.Count(first, "reset")
	if codes < 75 || codes > 125 || resets < 20 || resets > 60 || strings.Contains(first, "fail_zero") {
		t.Errorf("got %d codes and %d resets of 500, want about 100 and 40, and none of another command", codes, resets)
	}
}

func TestWhichCallsAreHit(t *testing.T) {
	tests := []struct {
		name   string
		faults []Fault
		want   string // of ten calls: set, list, set, list, …
	}{
		{"count", []Fault{{Kind: KindCode, Count: 2}}, "xx--------"},
		{"after", []Fault{{Kind: KindCode, Rate: 1, After: 8}}, "--------xx"},
		{"after and count", []Fault{{Kind: KindCode, After: 3, Count: 2}}, "---xx-----"},
		{"command", []Fault{{Kind: KindCode, Command: commandGetMembers, After: 1, Count: 2}}, "---x-x----"},
		{"the first in the list", []Fault{{Kind: KindCode, Count: 2}, {Kind: KindCode, Code: 10006, Count: 4}}, "xxxx------"},
		{"kind of one command", []Fault{{Kind: KindStuck, Rate: 1}}, "-x-x-x-x-x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, class(Scenario{Faults: tt.faults, Record: true}))
			c := newCaller(t, s)
			for range 5 {
				c.set("class", 1000, "s1")
				c.members("class", 0, 0)
			}
			got := ""
			for _, call := range s.Calls() {
				got += map[bool]string{true: "-", false: "x"}[call.Fault == ""]
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// A wrong UserSig is refused before a code is made up, not before the
// network fails.
func TestFaultsAndUserSig(t *testing.T) {
	sc := signed()
	sc.Faults = []Fault{{Kind: KindCode, Count: 1}, {Kind: KindReset, Applied: true, After: 1, Count: 1}}
	s := newSim(t, sc)
	c := newCaller(t, s)
	wantCode(t, c.set("class", 1000, "s1"), 70003)
	wantReset(t, c.set("class", 1000, "s1"))
	wantMarks(t, s, nil)
}

func TestStuckCursor(t *testing.T) {
	c := newCaller(t, newSim(t, generated(600, Scenario{Faults: []Fault{{Kind: KindStuck, Rate: 1}}})))
	first := c.members("g", 0, 0)
	next := c.members("g", 0, *first.NextTimestamp)
	if *first.NextTimestamp == 0 || *next.NextTimestamp != *first.NextTimestamp {
		t.Errorf("got cursors %d, %d; want the same", *first.NextTimestamp, *next.NextTimestamp)
	}
	c = newCaller(t, newSim(t, Scenario{Open: true, Faults: []Fault{{Kind: KindStuck, Rate: 1}}}))
	if r := c.members("g", 0, 0); *r.NextTimestamp == 0 {
		t.Error("got no cursor for nobody")
	}
}

// 64 workers on both ways at once: nothing is lost in the counts, and the
// quota holds at the server.
func TestManyWorkers(t *testing.T) {
	const workers, each = 64, 24
	sc := Scenario{Open: true, KeepState: true, QPS: 400, Record: true, MaxMembers: 100, Seed: 5,
		Faults: []Fault{{Kind: KindCode, Rate: 0.1}, {Kind: KindReset, Rate: 0.02}, {Kind: KindCut, Rate: 0.02}, {Kind: KindLost, Rate: 0.02}}}
	s := newSim(t, sc)
	srv := httptest.NewServer(s)
	defer srv.Close()
	var wg sync.WaitGroup
	var answered atomic.Int64
	for w := range workers {
		wg.Go(func() {
			c := newCaller(t, s)
			if w%2 == 0 {
				c = newCaller(t, srv.Client().Transport)
				c.base = srv.URL
			}
			for i := range each {
				group := fmt.Sprint("g", (w+i)%8)
				switch i % 8 {
				case 6:
					c.members(group, 0, 0)
				case 7:
					s.SetOnline(group, "a1", i%16 == 7)
					s.Marks(group)
				default:
					if r := c.set(group, uint64(1000+w%10), numbered("a", 50)...); r.code() == 0 {
						answered.Add(1)
					}
				}
				s.Counts()
			}
		})
	}
	wg.Wait()
	n := s.Counts()
	var served []time.Time
	byCode := map[int]int64{}
	for i, call := range s.Calls() {
		if call.N != int64(i+1) {
			t.Fatalf("call %d has number %d", i+1, call.N)
		}
		byCode[call.Code]++
		if call.Code != 60007 {
			served = append(served, call.At)
		}
	}
	if diff := cmp.Diff(byCode, n.ByCode); diff != "" {
		t.Errorf("calls and counts differ: %s", diff)
	}
	if want := int64(workers * each * 7 / 8); n.Calls != want {
		t.Errorf("got %d calls, want %d", n.Calls, want)
	}
	if got := MaxInWindow(served, time.Second); got > 400 {
		t.Errorf("%d calls were served in a second, want at most 400", got)
	}
	if answered.Load() == 0 || n.ByCode[0] < answered.Load() {
		t.Errorf("%d calls were answered, %d counted", answered.Load(), n.ByCode[0])
	}
}

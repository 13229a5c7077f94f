package chatsim

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tencentyun/tls-sig-api-v2-golang/tencentyun"
)

const testApp, testKey = 1400000000, "a-secret-key"

func signed() Scenario {
	return class(Scenario{SDKAppID: testApp, Identifier: "administrator", SecretKey: testKey})
}

func sig(t testing.TB, app int, key, user string, life time.Duration) string {
	t.Helper()
	s, err := tencentyun.GenUserSig(app, key, user, int(life/time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGateway(t *testing.T) {
	const svc = "/v4/group_open_avchatroom_http_svc/"
	tests := []struct {
		name, path, key, value string
		want                   int
	}{
		{"right", svc + "get_members", "", "", 0},
		{"no path", "/", "", "", 60002},
		{"path too long", svc + "get_members/x", "", "", 60002},
		{"path with a slash at its end", svc + "get_members/", "", "", 60002},
		{"another version", "/v3/group_open_avchatroom_http_svc/get_members", "", "", 60002},
		{"paths are case-sensitive", svc + "Get_Members", "", "", 10003},
		{"unknown service", "/v4/group_open_nowhere/get_members", "", "", 60009},
		{"unknown command", svc + "get_member", "", "", 10003},
		{"no sdkappid", svc + "get_members", "sdkappid", "", 60012},
		{"sdkappid is no number", svc + "get_members", "sdkappid", "x", 60006},
		{"sdkappid of another app", svc + "get_members", "sdkappid", "1400000001", 60006},
		{"no identifier", svc + "get_members", "identifier", "", 60004},
		{"not the admin", svc + "get_members", "identifier", "student1", 60010},
		{"no usersig", svc + "get_members", "usersig", "", 70002},
		{"no random", svc + "get_members", "random", "", 60002},
		{"random of 33 bits", svc + "get_members", "random", "4294967296", 60002},
		{"random below zero", svc + "get_members", "random", "-1", 60002},
		{"random is 0", svc + "get_members", "random", "0", 0},
		{"no contenttype", svc + "get_members", "contenttype", "", 60002},
		{"another contenttype", svc + "get_members", "contenttype", "JSON", 60002},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sc := signed()
			sc.SecretKey = ""
			c := newCaller(t, newSim(t, sc))
			if tt.key != "" {
				c = c.with(tt.key, tt.value)
			}
			c.path = tt.path
			wantCode(t, c.post("", `{"GroupId":"class","Timestamp":0}`), tt.want)
		})
	}
}

func TestMalformedRequests(t *testing.T) {
	c := newCaller(t, newSim(t, class(Scenario{})))
	url := c.base + "/v4/group_open_avchatroom_http_svc/get_members?" + c.query.Encode()
	for _, tt := range []struct{ method, url string }{{"GET", url}, {"PUT", url}, {"POST", url + "&%zz=1"}, {"POST", url + ";a=b"}} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, tt.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, c.do(r), 60002)
	}
}

// The zero scenario takes any app, admin and UserSig.
func TestAnybody(t *testing.T) {
	c := newCaller(t, newSim(t, class(Scenario{})))
	wantCode(t, c.with("sdkappid", "77").with("identifier", "me").set("class", 1000, "s1"), 0)
}

func TestUserSig(t *testing.T) {
	good := sig(t, testApp, testKey, "administrator", time.Hour)
	tests := []struct {
		name, identifier, sig string
		want                  int
	}{
		{"right", "administrator", good, 0},
		{"expired", "administrator", sig(t, testApp, testKey, "administrator", -2*time.Second), 70001},
		{"another key", "administrator", sig(t, testApp, "another", "administrator", time.Hour), 70009},
		{"of another user", "administrator", sig(t, testApp, testKey, "student1", time.Hour), 70013},
		{"another user with the admin's", "student1", good, 70013},
		{"of another app", "administrator", sig(t, testApp+1, testKey, "administrator", time.Hour), 70014},
		{"of a user who is no admin", "student1", sig(t, testApp, testKey, "student1", time.Hour), 60010},
		{"truncated", "administrator", good[:len(good)-20], 70003},
		{"no UserSig at all", "administrator", "xxx", 70003},
		{"folded text is no JSON", "administrator", "eJzLSM3JyQcABiwCFQ__", 70003},
		{"endless", "administrator", strings.Repeat("A", maxSig+1), 70003},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCaller(t, newSim(t, signed())).with("identifier", tt.identifier).with("usersig", tt.sig)
			wantCode(t, c.set("class", 1000, "s1"), tt.want)
		})
	}
}

// A UserSig works until the last second of its life.
func TestUserSigExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, signed())
		c := newCaller(t, s).with("usersig", sig(t, testApp, testKey, "administrator", time.Hour))
		time.Sleep(time.Hour)
		wantCode(t, c.set("class", 1000, "s1"), 0)
		time.Sleep(time.Second)
		wantCode(t, c.set("class", 1000, "s1"), 70001)
		c = c.with("usersig", sig(t, testApp, testKey, "administrator", time.Hour))
		wantCode(t, c.set("class", 1000, "s1"), 0)
	})
}

func TestLockout(t *testing.T) {
	tests := []struct {
		name     string
		limit    int
		between  time.Duration
		failures int
		locked   bool
	}{
		{"at the default of ten", 0, 0, 10, true},
		{"not before", 0, 0, 9, false},
		{"at a limit of its own", 3, 0, 3, true},
		{"within a minute", 3, 29 * time.Second, 3, true},
		{"not in more than a minute", 3, 30 * time.Second, 9, false},
		{"never", -1, 0, 100, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sc := signed()
				sc.AuthFailures = tt.limit
				c := newCaller(t, newSim(t, sc))
				wrong := c.with("usersig", sig(t, testApp, "another", "administrator", 100*time.Hour))
				right := c.with("usersig", sig(t, testApp, testKey, "administrator", 100*time.Hour))
				for i := range tt.failures {
					if i > 0 {
						time.Sleep(tt.between)
					}
					wantCode(t, wrong.set("class", 1000, "s1"), 70009)
				}
				if !tt.locked {
					wantCode(t, right.set("class", 1000, "s1"), 0)
					return
				}
				wantCode(t, right.set("class", 1000, "s1"), 70050)
				time.Sleep(time.Minute - time.Nanosecond)
				wantCode(t, right.set("class", 1000, "s1"), 70050) // which does not prolong it
				time.Sleep(time.Nanosecond)
				wantCode(t, right.set("class", 1000, "s1"), 0)
			})
		})
	}
}

func TestRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc := class(Scenario{Record: true, Faults: []Fault{{Kind: KindReset, After: 1, Count: 1}}})
		s := newSim(t, sc)
		start := time.Now()
		c := newCaller(t, s)
		c.set("class", 1000, "s1", "s2", "s1")
		time.Sleep(time.Second)
		c.set("class", 1000, "s1")
		c.with("random", "7").members("nowhere", 0, 0)
		c.path = "/"
		c.post("", "")
		want := []Call{
			{N: 1, At: start, Command: "modify_user_info", Group: "class", Accounts: 2, Code: 0, Random: "4294967295"},
			{N: 2, At: start.Add(time.Second), Command: "modify_user_info", Code: NoCode, Fault: KindReset, Random: "4294967295"},
			{N: 3, At: start.Add(time.Second), Command: "get_members", Group: "nowhere", Code: 10010, Random: "7"},
			{N: 4, At: start.Add(time.Second), Code: 60002, Random: "4294967295"},
		}
		got := s.Calls()
		if len(got) != len(want) {
			t.Fatalf("got %d calls, want %d", len(got), len(want))
		}
		for i := range want {
			if !got[i].At.Equal(want[i].At) {
				t.Errorf("call %d: got %v, want %v", i+1, got[i].At, want[i].At)
			}
			got[i].At = want[i].At
			if got[i] != want[i] {
				t.Errorf("got %+v, want %+v", got[i], want[i])
			}
		}
		n := s.Counts()
		if fmt.Sprint(n.Calls, n.ByCommand, n.ByCode, n.ByFault, n.MaxInOneSecond, n.MaxInOneSecondOf) !=
			"4 map[:1 get_members:1 modify_user_info:2] map[-1:1 0:1 10010:1 60002:1] map[reset:1] 3 map[:1 get_members:1 modify_user_info:1]" {
			t.Errorf("got %+v", n)
		}
	})
}

func TestNothingIsRecordedUnasked(t *testing.T) {
	s := newSim(t, class(Scenario{}))
	newCaller(t, s).set("class", 1000, "s1")
	if got := s.Calls(); len(got) != 0 {
		t.Errorf("got %d calls", len(got))
	}
}

package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/chat"
	"chatbatch/io/chat/chatsim"
	"chatbatch/limiter"
)

// listed is what a lister yields, and what it said.
func (s *stage) listed(t *testing.T, groupType string) (types map[string]string, said []string, err error) {
	t.Helper()
	lim, err := limiter.New(limiter.Options{QPS: 200, Key: "1400000001", APIs: map[string]int{chat.CommandGroupList: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer lim.Close()
	s.runner.Door.Limiter = lim.Queue()
	types = map[string]string{}
	l := &GroupLister{Chat: s.client, Type: groupType, Say: func(text string) { said = append(said, text) }}
	err = l.List(t.Context(), NewCaller(t.Context(), s.runner.Door, 8), func(group, groupType string) error {
		types[group] = groupType
		return nil
	})
	return types, said, err
}

// allTypes are groups of each type, 1,203 in all, and what a listing says of them.
func allTypes() (chatsim.Scenario, map[string]string) {
	sc := chatsim.Scenario{GroupListLimit: 500, Latency: 30 * time.Millisecond}
	want := map[string]string{}
	for prefix, kind := range map[string]string{"p": "Public", "r": "AVChatRoom", "@TGS#_": "Community"} {
		sc.GenerateGroups = append(sc.GenerateGroups, chatsim.GenerateGroups{Prefix: prefix, Count: 401, Type: kind})
		for _, g := range numbered(prefix, 401) {
			want[g] = kind
		}
	}
	return sc, want
}

func TestGroupLister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc, want := allTypes()
		sc.Faults = []chatsim.Fault{{Kind: chatsim.KindCode, Code: 10002, Rate: 0.1}}
		s := newStage(t, sc, nil)
		types, said, err := s.listed(t, "")
		if d := cmp.Diff(want, types); d != "" || err != nil || len(said) > 0 {
			t.Errorf("%v, it said %q (-want +got):\n%s", err, said, d)
		}
		if over := s.sim.Counts().ByCode[60007]; over > 0 {
			t.Errorf("%d calls were over the quota", over)
		}
	})
}

// Of one type: no call for what is known.
func TestGroupListerOfOneType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc, all := allTypes()
		maps.DeleteFunc(all, func(_, kind string) bool { return kind != "AVChatRoom" })
		s := newStage(t, sc, nil)
		types, _, err := s.listed(t, "AVChatRoom")
		if d := cmp.Diff(all, types); d != "" || err != nil || s.sim.Counts().ByCommand[chat.CommandGroupInfo] > 0 {
			t.Errorf("%v (-want +got):\n%s", err, d)
		}
	})
}

// If the app may not ask for types, that is said once.
func TestGroupListerWithoutTypes(t *testing.T) {
	for _, code := range []int{60017, 10007} {
		synctest.Test(t, func(t *testing.T) {
			sc, want := allTypes()
			sc.Faults = []chatsim.Fault{{Command: chat.CommandGroupInfo, Kind: chatsim.KindCode, Code: code, Rate: 1}}
			for g, kind := range want {
				if kind != "Community" { // which is told by the id
					want[g] = ""
				}
			}
			types, said, err := newStage(t, sc, nil).listed(t, "")
			if d := cmp.Diff(want, types); d != "" || err != nil || len(said) != 1 {
				t.Errorf("%v, it said %q (-want +got):\n%s", err, said, d)
			}
		})
	}
}

func TestGroupListerFails(t *testing.T) {
	refused := func(err error) bool { _, ok := errors.AsType[*RunRefusedError](err); return ok }
	for _, test := range []struct {
		name   string
		answer func(calls int) string
		is     func(error) bool
		calls  int // at most
	}{
		{"not logged in", func(int) string { return `{"ActionStatus":"FAIL","ErrorCode":70003}` }, refused, 2},
		{"not in the edition", func(int) string { return `{"ActionStatus":"FAIL","ErrorCode":60017}` }, refused, 1},
		{"10002 for ever", func(int) string { return `{"ActionStatus":"FAIL","ErrorCode":10002}` }, isGuard, 20},
		{"a cursor comes twice", func(calls int) string {
			return `{"ActionStatus":"OK","ErrorCode":0,"GroupIdList":[{"GroupId":"@TGS#_1"}],"Next":` + fmt.Sprint(1+calls%3) + `}`
		}, isGuard, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, chatsim.Scenario{}, nil)
				calls := 0
				p := s.play(func(string, map[string]any) string { calls++; return test.answer(calls) })
				if _, _, err := s.listed(t, ""); !test.is(err) || p.calls > test.calls {
					t.Errorf("got %v after %d calls", err, p.calls)
				}
			})
		})
	}
}

// What its caller says ends a listing.
func TestGroupListerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sc, _ := allTypes()
		s := newStage(t, sc, nil)
		l := &GroupLister{Chat: s.client, Say: func(string) {}}
		why := errors.New("enough")
		err := l.List(t.Context(), NewCaller(t.Context(), s.runner.Door, 8), func(string, string) error { return why })
		if !errors.Is(err, why) {
			t.Errorf("got %v", err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		if err := l.List(ctx, NewCaller(t.Context(), s.runner.Door, 8), func(string, string) error { return nil }); !errors.Is(err, why) {
			t.Errorf("cancelled: got %v", err)
		}
	})
}

func TestIsCommunity(t *testing.T) {
	for _, test := range []struct {
		group, kind string
		want        bool
	}{{"@TGS#_c", "", true}, {"@TGS#c", "", false}, {"g", "community", true}, {"g", "Public", false}, {strings.ToLower("@TGS#_c"), "", false}} {
		if got := isCommunity(test.group, test.kind); got != test.want {
			t.Errorf("%s of type %q: got %v", test.group, test.kind, got)
		}
	}
}

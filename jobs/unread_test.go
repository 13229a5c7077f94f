package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/chat"
	"chatbatch/io/chat/chatsim"
	"chatbatch/io/ledger"
)

// unreadStage is a stage for the kind "unread set" that looks at the groups.
func unreadStage(t *testing.T, sc chatsim.Scenario, chunks []ledger.Chunk) *stage {
	t.Helper()
	return kindStage(t, sc, chunks, func(c *chat.Client, _ *memoryLedger) Kind {
		return SetUnread(c, true, func(text string) { t.Errorf("it said %q", text) })
	})
}

// unreadRows is a file of n rows: accounts user1 to userN, each with its number.
func unreadRows(n, groups int) string {
	text := "group_id,account,unread_msg_num\n"
	for i := range n {
		text += fmt.Sprintf("g%d,user%d,%d\n", i%groups+1, i+1, i+1)
	}
	return text
}

// school has groups of each type.
func school() []chatsim.Group {
	pupils := chatsim.Generate{Prefix: "user", Count: 300}
	return []chatsim.Group{
		{ID: "g1", Type: "Public", Generate: pupils, Messages: new(uint32(100))},
		{ID: "g2", Type: "Private", Generate: pupils},
		{ID: "@TGS#_c", Type: "Community", Generate: pupils},
		{ID: "chat", Type: "ChatRoom", Generate: pupils},
		{ID: "meeting", Type: "Meeting", Generate: pupils},
		{ID: "room", Type: "AVChatRoom", Generate: pupils},
	}
}

// Each row has the outcome it must have, whatever gets lost on the way.
func TestUnreadOutcomes(t *testing.T) {
	text := "group_id,account,unread_msg_num\n"
	want := map[int64]string{}
	add := func(group, account, class string, n int) {
		want[int64(len(want))] = class
		text += fmt.Sprintf("%s,%s,%d\n", group, account, n)
	}
	for i := range 300 {
		account := fmt.Sprintf("user%d", i+1)
		for _, g := range []string{"g1", "g2", "@TGS#_c"} {
			class := ""
			if account == "user7" {
				class = ClassRefused // poison
			}
			add(g, account, class, i)
		}
		add("chat", account, ClassUnsupported, i)
		add("meeting", account, ClassUnsupported, i)
		add("room", account, ClassUnsupported, i)
		add("gone", account, chat.ClassGroupNotFound, i)
		add("g1", "nobody"+account, ClassOffline, i)
	}
	for _, code := range []int{10019, 70107} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := unreadStage(t, chatsim.Scenario{
					Groups: school(), Poison: []string{"user7"}, NotMemberCode: code, Record: true,
					Latency: 30 * time.Millisecond, Jitter: 10 * time.Millisecond, Seed: 3,
					Faults: []chatsim.Fault{{Kind: chatsim.KindCode, Code: 10002, Rate: 0.05}, {Kind: chatsim.KindLost, Rate: 0.01}, {Kind: chatsim.KindAction1, Rate: 0.1}},
				}, unreadChunks(t, text, 100))
				if err := s.runner.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				checkClasses(t, s, want)
				checkCounts(t, s)
				for _, c := range s.sim.Calls() {
					if c.Command == chat.CommandSetUnread && slices.Contains([]string{"chat", "meeting", "room", "gone"}, c.Group) {
						t.Fatalf("a call was spent on %s", c.Group)
					}
				}
			})
		})
	}
}

// checkClasses compares the class of each row.
func checkClasses(t *testing.T, s *stage, want map[int64]string) {
	t.Helper()
	got := map[int64]string{}
	for num, o := range s.ledger.rowOutcomes() {
		got[num] = o.Class
		if sent := o.Class == "" || o.Class == ClassOffline || o.Class == ClassRefused; sent != (o.Attempts > 0) {
			t.Errorf("row %d: class %q after %d attempts", num, o.Class, o.Attempts)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("classes (-want +got):\n%s", d)
	}
	if s.ledger.inDoubt() > 0 {
		t.Errorf("%d rows are in doubt", s.ledger.inDoubt())
	}
	seen := s.runner.Door.Meter.Read()
	failed := int64(0)
	for _, class := range want {
		if class != "" {
			failed++
		}
	}
	if seen.Failed != failed || seen.Succeeded != int64(len(want))-failed {
		t.Errorf("the meter shows %d and %d failed, of %d rows with %d failed", seen.Succeeded, seen.Failed, len(want), failed)
	}
}

// checkCounts looks whether the server has what the rows asked for.
func checkCounts(t *testing.T, s *stage) {
	t.Helper()
	for i := range 300 {
		account := fmt.Sprintf("user%d", i+1)
		for _, g := range []string{"g1", "g2", "@TGS#_c"} {
			n, set := s.sim.Unread(g, account)
			want := uint32(i)
			if g == "g1" {
				want = min(want, 100)
			}
			if poison := account == "user7"; set == poison || set && n != want {
				t.Fatalf("%s of %s: the server has %d (%v), want %d", account, g, n, set, want)
			}
		}
	}
	of, calls := s.ledger.cost.Calls, int(s.sim.Counts().ByCommand[chat.CommandSetUnread])
	if of != calls {
		t.Errorf("the ledger has %d calls, the server has seen %d", of, calls)
	}
}

// The last row of an account counts; the earlier ones share its outcome.
func TestUnreadSupersededRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, err := OpenUnread(strings.NewReader("group_id,account,unread_msg_num\ng1,user1,5\ng2,user1,6\ng1,user2,1\ng1,user1,0\ng1,user1,4294967295\n"), csvOptions())
		chunks, totals := planned(t, SetUnread(nil, false, nil), in, err, 0)
		if totals.Rows != 5 || totals.Superseded != 2 || totals.Accounts != 3 || totals.Calls() != 3 {
			t.Errorf("got %+v, want 5 rows, 2 superseded, 3 calls", totals)
		}
		s := unreadStage(t, chatsim.Scenario{Groups: []chatsim.Group{
			{ID: "g1", Type: "Public", Generate: chatsim.Generate{Prefix: "user", Count: 2}},
			{ID: "g2", Type: "Public", Generate: chatsim.Generate{Prefix: "user", Count: 2}},
		}}, chunks)
		if err := s.runner.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		checkClasses(t, s, map[int64]string{0: "", 1: "", 2: "", 3: "", 4: ""})
		if n, _ := s.sim.Unread("g1", "user1"); n != 4294967295 {
			t.Errorf("the server has %d", n)
		}
		if n := s.sim.Counts().ByCommand[chat.CommandSetUnread]; n != 3 {
			t.Errorf("%d calls, want 3", n)
		}
	})
}

// Rows that can be refused before a call.
func TestUnreadBadRows(t *testing.T) {
	for _, test := range []struct{ name, row, why string }{
		{"zero", "g,ann,0", ""},
		{"the most", "g,ann,4294967295", ""},
		{"one more", "g,ann,4294967296", "unread_msg_num"},
		{"a sign", "g,ann,-1", "unread_msg_num"},
		{"a fraction", "g,ann,3.0", "unread_msg_num"},
		{"none", "g,ann,", "unread_msg_num"},
		{"no account", "g,,1", "account"},
		{"long account", "g," + strings.Repeat("a", 33) + ",1", "33 bytes"},
		{"no group", ",ann,1", "group"},
		{"a topic", "@TGS#_@TGS#c@TOPIC#_t,ann,1", "topic"},
	} {
		t.Run(test.name, func(t *testing.T) {
			in, err := OpenUnread(strings.NewReader("group_id,account,unread_msg_num\n"+test.row+"\n"), csvOptions())
			if err != nil {
				t.Fatal(err)
			}
			for rec, err := range in.Records {
				switch {
				case err != nil:
					t.Fatal(err)
				case test.why == "" && rec.Err != nil:
					t.Errorf("got %v", rec.Err)
				case test.why != "" && (rec.Err == nil || !strings.Contains(rec.Err.Error(), test.why)):
					t.Errorf("got %v, want something of %q", rec.Err, test.why)
				}
			}
		})
	}
}

// If the app may not ask for groups, that is said once, and all rows are sent.
func TestUnreadWithoutALook(t *testing.T) {
	looks := map[int]int64{10007: 1, 60017: 1, 10026: 1, 10003: 1,
		10004: 99, // until it is known that not one of 50 groups is to blame
	}
	for code, most := range looks {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said []string
				s := kindStage(t, chatsim.Scenario{
					Open: true, Faults: []chatsim.Fault{{Command: chat.CommandGroupInfo, Kind: chatsim.KindCode, Code: code, Rate: 1}},
				}, unreadChunks(t, unreadRows(1000, 500), 0), func(c *chat.Client, _ *memoryLedger) Kind {
					return SetUnread(c, true, func(text string) { said = append(said, text) })
				})
				if err := s.runner.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				counts := s.sim.Counts()
				if len(said) != 1 || !strings.Contains(said[0], "groups are not checked") || counts.ByCommand[chat.CommandGroupInfo] != most {
					t.Errorf("it said %q after %d looks", said, counts.ByCommand[chat.CommandGroupInfo])
				}
				if n := counts.ByCommand[chat.CommandSetUnread]; n != 1000 || len(s.ledger.rowOutcomes()) != 1000 {
					t.Errorf("%d calls for 1,000 rows", n)
				}
			})
		})
	}
}

// What the answer says of single groups: some fail without a call, others are
// left to the call, since the look may be wrong.
func TestUnreadCodesOfSingleGroups(t *testing.T) {
	codes := map[string]int{"g1": 10010, "g2": 10015, "g3": 10007, "g4": 10002, "g5": 10004, "g6": 0}
	want := map[int64]string{0: chat.ClassGroupNotFound, 1: chat.ClassInvalidGroup, 2: "", 3: "", 4: "", 5: "", 6: ""}
	synctest.Test(t, func(t *testing.T) {
		s := unreadStage(t, chatsim.Scenario{}, unreadChunks(t, unreadRows(7, 7), 0))
		looks := 0
		s.play(func(command string, ask map[string]any) string {
			if command != chat.CommandGroupInfo {
				return `{"ActionStatus":"OK","ErrorCode":0}`
			}
			looks++
			var list []string
			for _, id := range slices.Sorted(maps.Keys(codes)) { // g7 is left out
				list = append(list, fmt.Sprintf(`{"GroupId":%q,"ErrorCode":%d,"ErrorInfo":"so it is","Type":"Public"}`, id, codes[id]))
			}
			return `{"ActionStatus":"OK","ErrorCode":0,"GroupInfo":[` + strings.Join(list, ",") + `]}`
		})
		if err := s.runner.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		checkClasses(t, s, want)
		if o := s.ledger.rowOutcomes()[0]; looks != 1 || o.Code != 10010 {
			t.Errorf("%d looks, and the first row is %+v", looks, o)
		}
	})
}

// hanging lets the calls for some accounts hang until the client gives up.
type hanging struct {
	next     http.RoundTripper
	accounts []string
}

func (h *hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	for _, a := range h.accounts {
		if bytes.Contains(body, []byte(`"`+a+`"`)) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return h.next.RoundTrip(r)
}

// One row that is never answered fails alone, and stops nobody.
func TestUnreadOneRowIsNeverAnswered(t *testing.T) {
	for _, at := range []string{"user1", "user500", "user1000"} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := unreadStage(t, chatsim.Scenario{Open: true, Latency: 50 * time.Millisecond}, unreadChunks(t, unreadRows(1000, 2), 0))
				s.client.HTTP = &http.Client{Transport: &hanging{s.client.HTTP.Transport, []string{at}}}
				if err := s.runner.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				failed := 0
				for _, o := range s.ledger.rowOutcomes() {
					if o.Class != "" {
						failed++
						if o.Class != chat.ClassNoAnswer {
							t.Errorf("got %+v", o)
						}
					}
				}
				if failed != 1 || len(s.ledger.rowOutcomes()) != 1000 {
					t.Errorf("%d rows failed of %d", failed, len(s.ledger.rowOutcomes()))
				}
			})
		})
	}
}

// A server that serves nobody stops the run after a few rows.
func TestUnreadDeadServer(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault chatsim.Fault
	}{
		{"from the beginning", chatsim.Fault{Kind: chatsim.KindReset, Rate: 1}},
		{"later", chatsim.Fault{Kind: chatsim.KindReset, Rate: 1, After: 300}},
		{"10002 for ever", chatsim.Fault{Kind: chatsim.KindCode, Code: 10002, Rate: 1, After: 300}},
		{"gone behind the look", chatsim.Fault{Command: chat.CommandSetUnread, Kind: chatsim.KindHang, Rate: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sc := chatsim.Scenario{Open: true, Latency: 50 * time.Millisecond, Faults: []chatsim.Fault{test.fault}}
				s := kindStage(t, sc, unreadChunks(t, unreadRows(2000, 4), 0), func(c *chat.Client, _ *memoryLedger) Kind {
					return SetUnread(c, true, func(string) {})
				})
				err := s.runner.Run(t.Context())
				if _, ok := errors.AsType[*GuardError](err); !ok {
					t.Errorf("got %v, want a GuardError", err)
				}
				failed := 0
				for _, o := range s.ledger.rowOutcomes() {
					if o.Class != "" {
						failed++
					}
				}
				if failed >= 2*sickRefusals {
					t.Errorf("%d rows failed, want a few", failed)
				}
				if s.ledger.inDoubt() > s.runner.Workers {
					t.Errorf("%d rows are in doubt", s.ledger.inDoubt())
				}
			})
		})
	}
}

func TestUnreadWrongCredentialsCostOneCall(t *testing.T) {
	for _, check := range []bool{true, false} {
		t.Run(fmt.Sprint(check), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := kindStage(t, chatsim.Scenario{Open: true, SDKAppID: 1400000001, SecretKey: "another"},
					unreadChunks(t, unreadRows(1000, 100), 0), func(c *chat.Client, _ *memoryLedger) Kind {
						return SetUnread(c, check, func(text string) { t.Errorf("it said %q", text) })
					})
				s.client.Signer = chat.NewKeySigner(1400000001, "administrator", "wrong", time.Hour)
				err := s.runner.Run(t.Context())
				if _, ok := errors.AsType[*RunRefusedError](err); !ok {
					t.Errorf("got %v, want a RunRefusedError", err)
				}
				if n := s.sim.Counts().Calls; n != 1 || len(s.ledger.rowOutcomes())+s.ledger.inDoubt() > 0 {
					t.Errorf("%d calls, %d rows settled, %d in doubt", n, len(s.ledger.rowOutcomes()), s.ledger.inDoubt())
				}
			})
		})
	}
}

var errInterrupted = errors.New("interrupted")

// interruptAt runs a stage until a moment.
func (s *stage) interruptAt(t *testing.T, after time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	timer := time.AfterFunc(after, func() { cancel(errInterrupted) })
	defer timer.Stop()
	return s.runner.Run(ctx)
}

//go:build linux

package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A server is a Chat API that was written from its documentation pages for these
// tests alone: modify_user_info, get_members, get_group_member_info,
// set_unread_msg_num, get_group_info and get_appid_group_list. It keeps what it is told,
// counts what comes, and does what it is told to do wrong.
type server struct {
	*httptest.Server
	t testing.TB

	mu       sync.Mutex
	calls    int                          // under mu; that have come
	arrivals []time.Time                  // under mu
	of       map[string]int               // under mu; calls by command
	groups   map[string]*serverGroup      // under mu
	unread   map[[2]string][]int64        // under mu; all counts of a group and account, in the order in which they came
	wrongs   int                          // under mu; requests that no client of this API may send
	trouble  func(c *call) (handled bool) // under mu; nil: none
}

// A serverGroup is a group; members join in the order of the list.
type serverGroup struct {
	kind    string // AVChatRoom, Public, …
	members []string
	marks   map[string]map[int64]bool
}

// A call is one request, read.
type call struct {
	n       int    // 1 for the first
	command string // the last word of the path
	query   map[string][]string
	body    map[string]any
	w       http.ResponseWriter
	r       *http.Request
	api     *server
}

func newServer(t testing.TB) *server {
	s := unstartedServer(t)
	s.Start()
	return s
}

// unstartedServer is a server that may still get another address, or a certificate.
func unstartedServer(t testing.TB) *server {
	s := &server{t: t, of: map[string]int{}, groups: map[string]*serverGroup{}, unread: map[[2]string][]int64{}}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// misbehave lets f handle calls before anything else; it says whether it has answered.
// It runs without a lock, for several calls at once.
func (s *server) misbehave(f func(c *call) (handled bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = f
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	arrived := time.Now()
	c := &call{w: w, r: r, api: s, command: r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:], query: r.URL.Query()}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // who asked is gone
	}
	s.mu.Lock()
	s.calls++
	s.of[c.command]++
	s.arrivals = append(s.arrivals, arrived)
	c.n = s.calls
	trouble := s.trouble
	if why := c.malformed(body); why != "" {
		s.wrongs++
		s.t.Errorf("call %d: %s: %.200s %.200s", c.n, why, r.URL.Path, body)
	}
	s.mu.Unlock()
	if trouble != nil && trouble(c) {
		return
	}
	c.answer()
}

// malformed says what is wrong with a request, by the overview of the API.
func (c *call) malformed(body []byte) string {
	if err := json.Unmarshal(body, &c.body); err != nil {
		return "the body is no JSON object: " + err.Error()
	}
	for _, name := range []string{"sdkappid", "identifier", "usersig", "random", "contenttype"} {
		if len(c.query[name]) != 1 || c.query[name][0] == "" {
			return "no " + name
		}
	}
	if _, err := strconv.ParseUint(c.query["random"][0], 10, 32); err != nil || c.query["contenttype"][0] != "json" || c.r.Method != http.MethodPost {
		return "random, contenttype or method is wrong"
	}
	return ""
}

// answer applies the call and answers it.
func (c *call) answer() { c.send(c.apply()) }

// send sends an answer.
func (c *call) send(answer map[string]any) {
	c.w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(c.w).Encode(answer) // who asked may be gone
}

// refuse answers with an error code.
func (c *call) refuse(code int) { c.send(refusal(code)) }

func refusal(code int) map[string]any {
	return map[string]any{"ActionStatus": "FAIL", "ErrorCode": code, "ErrorInfo": fmt.Sprintf("refused with %d", code)}
}

func ok(fields map[string]any) map[string]any {
	all := map[string]any{"ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": ""}
	maps.Copy(all, fields)
	return all
}

// apply does what a call asks for, and returns the answer.
func (c *call) apply() map[string]any {
	s := c.api
	s.mu.Lock()
	defer s.mu.Unlock()
	group, _ := c.body["GroupId"].(string)
	g := s.groups[group]
	switch c.command {
	case "get_group_info":
		return c.groupInfo()
	case "get_appid_group_list":
		return c.groupList()
	}
	if g == nil {
		return refusal(10010)
	}
	switch c.command {
	case "modify_user_info":
		return c.modify(g)
	case "set_unread_msg_num":
		return c.setUnread(group, g)
	case "get_group_member_info":
		return c.memberInfo(group, g)
	case "get_members":
		return c.online(g)
	}
	return refusal(10003)
}

func (c *call) modify(g *serverGroup) map[string]any {
	list, _ := c.body["MemberList"].([]any)
	if len(list) > 500 {
		return refusal(10005)
	}
	var changed []any
	for _, entry := range list {
		m, _ := entry.(map[string]any)
		account, _ := m["Member_Account"].(string)
		if !slices.Contains(g.members, account) {
			continue
		}
		if g.marks[account] == nil {
			g.marks[account] = map[int64]bool{}
		}
		marks, _ := m["Marks"].([]any)
		for _, mark := range marks {
			n, _ := mark.(float64)
			g.marks[account][int64(n)] = c.body["CommandType"] == 1.0
		}
		changed = append(changed, m)
	}
	if len(changed) == 0 {
		return refusal(10004) // the documentation names no code
	}
	return ok(map[string]any{"CommandType": c.body["CommandType"], "MemberList": changed})
}

func (c *call) setUnread(group string, g *serverGroup) map[string]any {
	account, _ := c.body["Member_Account"].(string)
	if !slices.Contains(g.members, account) {
		return refusal(10019)
	}
	n, _ := c.body["UnreadMsgNum"].(float64)
	of := [2]string{group, account}
	c.api.unread[of] = append(c.api.unread[of], int64(n))
	return map[string]any{"Action1Status": "OK", "ErrorCode": 0, "ErrorInfo": ""} // as the page spells it
}

func (c *call) memberInfo(group string, g *serverGroup) map[string]any {
	if g.kind == "AVChatRoom" {
		return refusal(10007)
	}
	limit, _ := c.body["Limit"].(float64)
	if limit == 0 || limit > 200 {
		limit = 200
	}
	from, _ := c.body["Offset"].(float64)
	next, byCursor := c.body["Next"].(string)
	if byCursor {
		from, _ = strconv.ParseFloat(next, 64)
	}
	first := min(int(from), len(g.members))
	last := min(first+int(limit), len(g.members))
	list := []any{}
	for _, account := range g.members[first:last] {
		list = append(list, map[string]any{"Member_Account": account, "Role": "Member ", "JoinTime": 1700000000, "NameCard": "card of " + account})
	}
	answer := map[string]any{"MemberList": list, "MemberNum": len(g.members)}
	if strings.HasPrefix(group, "@TGS#_") {
		answer["Next"] = ""
		if last < len(g.members) {
			answer["Next"] = strconv.Itoa(last)
		}
	}
	return ok(answer)
}

func (c *call) online(g *serverGroup) map[string]any {
	from, _ := c.body["Timestamp"].(float64)
	mark, filtered := c.body["Mark"].(float64)
	first := min(int(from), len(g.members))
	last := min(first+250, len(g.members))
	list := []any{}
	for _, account := range g.members[first:last] {
		if !filtered || g.marks[account][int64(mark)] {
			list = append(list, map[string]any{"Member_Account": account, "JoinTime": 1700000000, "NickName": account, "Avatar": ""})
		}
	}
	answer := map[string]any{"MemberList": list}
	if last < len(g.members) {
		answer["NextTimestamp"] = last
	}
	return ok(answer)
}

func (c *call) groupInfo() map[string]any {
	ids, _ := c.body["GroupIdList"].([]any)
	list := []any{}
	for _, id := range ids {
		name, _ := id.(string)
		g := c.api.groups[name]
		if g == nil {
			list = append(list, map[string]any{"GroupId": name, "ErrorCode": 10010, "ErrorInfo": "no such group"})
			continue
		}
		list = append(list, map[string]any{"GroupId": name, "ErrorCode": 0, "ErrorInfo": "", "Type": g.kind, "MemberNum": len(g.members), "NextMsgSeq": 1 << 40})
	}
	return ok(map[string]any{"GroupInfo": list})
}

func (c *call) groupList() map[string]any {
	list := []any{}
	for _, name := range slices.Sorted(maps.Keys(c.api.groups)) {
		list = append(list, map[string]any{"GroupId": name})
	}
	return ok(map[string]any{"TotalCount": len(list), "GroupIdList": list, "Next": 0})
}

// found makes a group of a kind.
func (s *server) found(group, kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups[group] = &serverGroup{kind: kind, marks: map[string]map[int64]bool{}}
}

// join lets an account join a group, which becomes an audio-video group if it was not there.
func (s *server) join(group, account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups[group] == nil {
		s.groups[group] = &serverGroup{kind: "AVChatRoom", marks: map[string]map[int64]bool{}}
	}
	s.groups[group].members = append(s.groups[group].members, account)
}

// allMarks are the marks of each group and account that has any, as text.
func (s *server) allMarks() map[[2]string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[[2]string]string{}
	for name, g := range s.groups {
		for account, set := range g.marks {
			var marks []string
			for _, n := range slices.Sorted(maps.Keys(set)) {
				if set[n] {
					marks = append(marks, strconv.FormatInt(n, 10))
				}
			}
			if len(marks) > 0 {
				all[[2]string{name, account}] = strings.Join(marks, " ")
			}
		}
	}
	return all
}

// count is how many calls have come.
func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// countOf is how many calls of a command have come.
func (s *server) countOf(command string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[command]
}

// busiest is the most calls in any window of one second, (t-1s, t].
func (s *server) busiest() (most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortFunc(s.arrivals, time.Time.Compare)
	first := 0
	for i, t := range s.arrivals {
		for t.Sub(s.arrivals[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatbatch/io/chat/chatsim"
	"chatbatch/io/object/s3sim"
)

// A storing is a siege of `export members` whose input and output are objects.
type storing struct {
	*siege
	store *s3sim.Store
	want  []byte // what the object is without a kill

	moment atomic.Pointer[storeMoment] // of the newest process; nil: there is none
}

// A storeMoment is one at which a process is killed: at one of its requests to the store,
// which is not answered.
type storeMoment struct {
	request int64 // from 1
	done    bool  // but done
	asked   atomic.Int64
	come    atomic.Bool
	over    chan struct{} // closed when it is killed, or has ended
}

const storedKey = "nightly/members.csv"

// TestKillExportToStore kills `export members` at each of its requests to the store,
// before it is done and then after it is, and gives the same command again each time. In
// the end the object is byte for byte what it is without a kill; until then the
// older one is there. Nobody pays for parts that are left.
func TestKillExportToStore(t *testing.T) {
	t.Parallel()
	s := newStoring(t)
	step := int64(1)
	if testing.Short() {
		step = 4
	}
	var calls int64
	for at := int64(1); at < 40; at += step { // it has fewer, and ends by itself
		for _, done := range []bool{false, true} {
			if !s.killAt(&storeMoment{request: at, done: done, over: make(chan struct{})}) {
				s.finish()
				return
			}
			if calls > 0 && s.come.Load() != calls {
				t.Errorf("killed at request %d: got %d calls for what is fetched", at, s.come.Load()-calls)
			}
			if s.fetched() {
				calls = s.come.Load()
			}
		}
	}
	t.Error("it never ends")
}

func newStoring(t *testing.T) *storing {
	// Two parts, and pages of less than 1 MB.
	groups := []chatsim.Group{
		{ID: "class", Type: "Public", Generate: chatsim.Generate{Prefix: "p", Count: 300}},
		{ID: "town", Type: "Public", Generate: chatsim.Generate{Prefix: "c", Count: 2500, CustomBytes: 8000}},
	}
	s := storingOf(t, groups)
	undisturbed := newSiege(t, 7, chatsim.Scenario{Seed: 7, QPS: -1, Groups: groups}, "export", "members", "groups.csv", "-o", "members.csv")
	if err := os.WriteFile(filepath.Join(undisturbed.dir, "groups.csv"), []byte("group_id\nclass\ntown\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, code := undisturbed.program().end(t); code != exitOK {
		t.Fatalf("got exit code %d without a kill", code)
	}
	var err error
	if s.want, err = os.ReadFile(filepath.Join(undisturbed.dir, "members.csv")); err != nil || len(s.want) < 17<<20 {
		t.Fatalf("got %d bytes, %v: want two parts", len(s.want), err)
	}
	return s
}

// storingOf makes the siege of an export of groups. An older one is there.
func storingOf(t *testing.T, groups []chatsim.Group) *storing {
	s := &storing{store: s3sim.New("rosters", "exports")}
	list := "group_id\n"
	for _, g := range groups {
		list += g.ID + "\n"
	}
	s.store.Put("rosters", "groups.csv", []byte(list))
	s.store.Put("exports", storedKey, []byte(oldExport))
	s.store.Put("exports", storedKey+manifestSuffix, []byte("{}"))
	s.store.Fail(s.fault)
	s.siege = newSiege(t, 7, chatsim.Scenario{Seed: 7, QPS: -1, Groups: groups},
		"export", "members", "s3://rosters/groups.csv", "-o", "s3://exports/"+storedKey, "--s3-endpoint", s.store.Serve(t))
	s.env = []string{"AWS_ACCESS_KEY_ID=" + s3sim.KeyID, "AWS_SECRET_ACCESS_KEY=" + s3sim.Secret, "AWS_REGION=" + s3sim.Region}
	return s
}

// TestInterruptExportToStore interrupts an export while the store keeps it waiting. It
// ends at once, and the same command sends what was fetched.
func TestInterruptExportToStore(t *testing.T) {
	t.Parallel()
	s := storingOf(t, []chatsim.Group{{ID: "class", Type: "Public", Generate: chatsim.Generate{Prefix: "p", Count: 30}}})
	over := make(chan struct{})
	var waits atomic.Bool
	s.store.Fail(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		waits.Store(true)
		<-over
		panic(http.ErrAbortHandler)
	})
	p := s.program()
	if !p.until(t, waits.Load) {
		t.Fatalf("it never sends; it said:\n%s", p.stderr.String())
	}
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_, code := p.end(t)
	close(over)
	if code != exitInterrupted || !strings.Contains(p.stderr.String(), "interrupted; run the same command again to go on") {
		t.Errorf("got exit code %d; it said:\n%s", code, p.stderr.String())
	}
	calls := s.come.Load()
	s.store.Fail(nil)
	if _, code := s.program().end(t); code != exitOK || s.come.Load() != calls {
		t.Errorf("got exit code %d, and %d calls for what is fetched", code, s.come.Load()-calls)
	}
	if o, _ := s.store.Get("exports", storedKey); !strings.HasPrefix(string(o.Body), "group_id,account,") {
		t.Errorf("got %.40q", o.Body)
	}
	s.clean()
}

// fetched says whether all groups are.
func (s *storing) fetched() bool {
	l := s.run()
	if l == nil {
		return false
	}
	defer l.Close()
	sum, err := l.Summary(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return sum.Unprocessed == 0
}

// fault keeps one answer back.
func (s *storing) fault(_ http.ResponseWriter, r *http.Request) bool {
	m := s.moment.Load()
	if m == nil || m.asked.Add(1) != m.request {
		return false
	}
	if m.done {
		s.store.Handle(httptest.NewRecorder(), r)
	}
	m.come.Store(true)
	<-m.over
	panic(http.ErrAbortHandler)
}

// killAt gives the command and kills it at a moment. It says whether that came.
func (s *storing) killAt(m *storeMoment) bool {
	s.t.Helper()
	s.moment.Store(m)
	p, killed := s.kill(m.come.Load, time.Microsecond)
	close(m.over)
	s.t.Logf("request %d, done %v: killed %v, exit code %d", m.request, m.done, killed, p.ProcessState.ExitCode())
	o, _ := s.store.Get("exports", storedKey)
	if string(o.Body) != oldExport && !bytes.Equal(o.Body, s.want) {
		s.t.Errorf("half an object: %d bytes", len(o.Body))
	}
	if said, _ := s.store.Get("exports", storedKey+manifestSuffix); string(said.Body) != "{}" && string(o.Body) == oldExport {
		s.t.Error("a manifest before its object")
	}
	return killed
}

// finish looks at what there is when the command has ended by itself.
func (s *storing) finish() {
	s.t.Logf("%d kills, %d calls", s.kills, s.come.Load())
	if s.kills < 3 {
		s.t.Error("it was hardly killed")
	}
	o, _ := s.store.Get("exports", storedKey)
	if !bytes.Equal(o.Body, s.want) {
		s.t.Errorf("the object is not what it is without a kill: %d bytes, want %d", len(o.Body), len(s.want))
	}
	m, _ := s.store.Get("exports", storedKey+manifestSuffix)
	var said struct{ SHA256, File string }
	if err := json.Unmarshal(m.Body, &said); err != nil || said.File != "members.csv" || said.SHA256 != fmt.Sprintf("%x", sha256.Sum256(s.want)) {
		s.t.Errorf("manifest: %+v, %v", said, err)
	}
	if _, parts := s.store.Uploads(); parts > 0 {
		s.t.Errorf("%d parts are left", parts)
	}
	s.clean()
	for _, name := range []string{"outgoing", "upload.json"} {
		if left, _ := filepath.Glob(filepath.Join(s.siege.store.Dir, "*", name)); len(left) > 0 {
			s.t.Errorf("left behind: %v", left)
		}
	}
}

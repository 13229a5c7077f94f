package main

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatbatch/io/chat/chatsim"
	"chatbatch/io/ledger"
)

// A siege is one command that is killed with SIGKILL and given again until it
// ends by itself, and a Chat API that outlives it.
type siege struct {
	t     *testing.T
	rng   *rand.Rand
	dir   string
	sim   *chatsim.Sim
	url   string
	args  []string
	env   []string // of the program, beside what all have
	store ledger.Store
	kills int
	come  atomic.Int64 // calls that have arrived

	mu    sync.Mutex
	calls map[string]int // under mu; that named a group, or a group and an account
}

func newSiege(t *testing.T, seed uint64, sc chatsim.Scenario, args ...string) *siege {
	s := &siege{t: t, rng: rand.New(rand.NewPCG(seed, 1)), dir: t.TempDir(), calls: map[string]int{}, args: args}
	s.store = ledger.Store{Dir: filepath.Join(s.dir, "state", "chatbatch", "runs")}
	var err error
	if s.sim, err = chatsim.New(sc); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

// ServeHTTP counts a call and passes it on.
func (s *siege) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the program is gone
	}
	var request struct {
		GroupID string `json:"GroupId"`
		Account string `json:"Member_Account"`
	}
	_ = json.Unmarshal(body, &request) // the simulator says what it thinks of it
	s.mu.Lock()
	s.calls[strings.TrimSpace(request.GroupID+" "+request.Account)]++
	s.mu.Unlock()
	s.come.Add(1)
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.sim.ServeHTTP(w, r)
}

// callsOf is how many calls have named it.
func (s *siege) callsOf(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[name]
}

// program starts the command. It is the same each time.
func (s *siege) program() *process {
	args := append([]string{}, s.args...)
	args = append(args, "--endpoint", s.url, "--sdkappid", "1400000000", "--identifier", "administrator",
		"--limiter", "memory", "--qps", "2000", "--json")
	return start(s.t, s.dir, append([]string{"CHATBATCH_SECRET_KEY=any"}, s.env...), nil, args...)
}

// kill gives the command, waits for something, and kills it up to most later.
// It says whether it was alive.
func (s *siege) kill(ready func() bool, most time.Duration) (p *process, killed bool) {
	s.t.Helper()
	p = s.program()
	if !p.until(s.t, ready) {
		return p, false
	}
	time.Sleep(time.Duration(s.rng.Int64N(int64(most))))
	_ = p.Process.Kill()
	<-p.ended
	killed = p.ProcessState.ExitCode() < 0
	if killed {
		s.kills++
	}
	return p, killed
}

// after waits for so many more calls.
func (s *siege) after(calls int) func() bool {
	target := s.come.Load() + int64(calls)
	return func() bool { return s.come.Load() >= target }
}

// run is the one run of the command, nil if it has no plan yet.
func (s *siege) run() *ledger.Ledger {
	s.t.Helper()
	infos, err := s.store.List(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	var planned []ledger.Info
	for _, i := range infos {
		if i.Err == nil && i.State != ledger.Planning {
			planned = append(planned, i)
		}
	}
	if len(planned) == 0 {
		return nil
	}
	if len(planned) > 1 {
		s.t.Fatalf("got %d runs, want one: it was not resumed", len(planned))
	}
	if b := planned[0].Books; b.Rows != b.Succeeded+b.Failed+b.Unprocessed {
		s.t.Fatalf("the books do not balance after a kill: %+v", b)
	}
	l, err := s.store.OpenRead(s.t.Context(), planned[0].Run)
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

// clean looks for what killed processes may leave behind.
func (s *siege) clean() {
	s.t.Helper()
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		name := filepath.Base(path)
		for _, rest := range []string{".part-", ".plan-", ".input-", ".removed-", ".chatbatch-", "fetched.dat"} {
			if strings.Contains(name, rest) {
				s.t.Errorf("left behind: %s", path)
			}
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
}

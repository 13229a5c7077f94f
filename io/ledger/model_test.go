package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// model is what a ledger should say: the plainest thing that keeps the books.
type model struct {
	session  int64 // of this process, 0 outside of Begin and End
	last     int64 // session
	chunks   []*modelChunk
	failed   int64 // rows, by the plan
	rows     int64
	calls    int64
	retries  int64
	replayed int64
	spans    map[Span]string
}

type modelChunk struct {
	sent     modelSent
	entries  []*modelEntry
	outcomes []Outcome // nil: not settled
	note     []byte
}

type modelEntry struct {
	rows    []int64
	sent    modelSent
	outcome *Outcome
}

// modelSent is who sent something last, and before that.
type modelSent struct{ by, before int64 }

func (s *modelSent) send(m *model) {
	switch s.by {
	case m.session:
	case 0:
		s.by = m.session
	default:
		s.by, s.before = m.session, s.by
		m.replayed++
	}
}

func (s *modelSent) takeBack(m *model) {
	if s.by == 0 || s.by != m.session {
		return
	}
	if s.before != 0 {
		m.replayed--
	}
	s.by, s.before = s.before, 0
}

func (s *modelSent) inDoubt(m *model) bool { return s.by != 0 && s.by != m.session }

// machine drives a ledger and its model side by side.
type machine struct {
	model
	dir   string // "": in a database
	store store
	run   string
	l     *Ledger
	opens int
}

func newMachine(t *rapid.T, s store, run, dir string) *machine {
	m := &machine{dir: dir, store: s, run: run, model: model{spans: map[Span]string{}}}
	l, err := m.store.Create(t.Context(), meta(run))
	m.l = l
	ok(t, err)
	add := func() int64 {
		ok(t, l.PlanSource(m.rows, m.rows+2, fmt.Sprint(m.rows)))
		m.rows++
		return m.rows - 1
	}
	for c := range rapid.IntRange(1, 4).Draw(t, "chunks") {
		mc := &modelChunk{}
		var entries []Entry
		for e := range rapid.IntRange(1, 4).Draw(t, "entries") {
			me := &modelEntry{}
			for range rapid.IntRange(1, 3).Draw(t, "rows") {
				me.rows = append(me.rows, add())
			}
			mc.entries = append(mc.entries, me)
			entries = append(entries, Entry{fmt.Sprint(e), []byte{byte(c)}, me.rows})
		}
		m.chunks = append(m.chunks, mc)
		ok(t, l.PlanChunk("g", entries))
	}
	for range rapid.IntRange(0, 2).Draw(t, "bad rows") {
		ok(t, l.PlanFailed(add(), Outcome{Class: "bad_row"}))
		m.failed++
	}
	ok(t, l.PlanDone(t.Context(), m.rows, m.rows/2))
	m.hurry(t)
	return m
}

func ok(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wants fails unless an error is there exactly if it should be.
func wants(t *rapid.T, err error, should bool, kind error) {
	t.Helper()
	if (err != nil) != should || should && kind != nil && !errors.Is(err, kind) {
		t.Fatalf("got %v, want an error: %v (%v)", err, should, kind)
	}
}

func (m *machine) draw(t *rapid.T) (id int64, c *modelChunk, place int, e *modelEntry) {
	i := rapid.IntRange(0, len(m.chunks)-1).Draw(t, "chunk")
	c = m.chunks[i]
	place = rapid.IntRange(0, len(c.entries)-1).Draw(t, "entry")
	return int64(i + 1), c, place, c.entries[place]
}

func drawOutcome(t *rapid.T) Outcome {
	return Outcome{
		Class: rapid.SampledFrom([]string{"", "", "refused", "offline_or_absent"}).Draw(t, "class"),
		Code:  rapid.SampledFrom([]int{0, 10004}).Draw(t, "code"), Attempts: rapid.IntRange(0, 3).Draw(t, "attempts"),
	}
}

func drawCost(t *rapid.T) Cost {
	return Cost{rapid.IntRange(0, 5).Draw(t, "calls"), rapid.IntRange(0, 2).Draw(t, "retries")}
}

func (m *machine) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"check": m.check, "begin": m.begin, "end": m.end, "reopen": m.reopen, "kill": m.kill,
		"sent": m.sendChunk, "unsent": m.takeChunkBack, "settle": m.settle,
		"sent entry": m.sendEntry, "unsent entry": m.takeEntryBack, "settle entry": m.settleEntry, "keep": m.keep,
	}
}

func (m *machine) begin(t *rapid.T) {
	err := m.l.Begin(t.Context())
	wants(t, err, m.session != 0 || m.l.State() == Finished, nil)
	if err == nil {
		m.last++
		m.session = m.last
	}
}

func (m *machine) end(t *rapid.T) {
	open := false
	for _, c := range m.chunks {
		open = open || c.outcomes == nil
	}
	state := rapid.SampledFrom([]State{Interrupted, Finished}).Draw(t, "state")
	err := m.l.End(t.Context(), state, Session{Calls: 1})
	wants(t, err, m.session == 0 || open && state == Finished, nil)
	if err == nil {
		m.session = 0
		m.calls++
	}
}

func (m *machine) sendChunk(t *rapid.T) {
	id, c, _, _ := m.draw(t)
	err := m.l.Sent(t.Context(), id)
	wants(t, err, m.session == 0 || c.outcomes != nil, nil)
	if err == nil {
		c.sent.send(&m.model)
	}
}

func (m *machine) takeChunkBack(t *rapid.T) {
	id, c, _, _ := m.draw(t)
	err := m.l.Unsent(t.Context(), id)
	wants(t, err, c.outcomes != nil, ErrSettled)
	if err == nil {
		c.sent.takeBack(&m.model)
	}
}

func (m *machine) sendEntry(t *rapid.T) {
	id, c, place, e := m.draw(t)
	err := m.l.SentEntry(t.Context(), id, place)
	wants(t, err, m.session == 0 || c.outcomes != nil || e.outcome != nil, nil)
	if err == nil {
		e.sent.send(&m.model)
	}
}

func (m *machine) takeEntryBack(t *rapid.T) {
	id, c, place, e := m.draw(t)
	err := m.l.UnsentEntry(t.Context(), id, place)
	wants(t, err, c.outcomes != nil || e.outcome != nil, ErrSettled)
	if err == nil {
		e.sent.takeBack(&m.model)
	}
}

func (m *machine) settleEntry(t *rapid.T) {
	id, c, place, e := m.draw(t)
	o, cost := drawOutcome(t), drawCost(t)
	err := m.l.SettleEntry(t.Context(), id, place, o, cost)
	wants(t, err, c.outcomes != nil || e.outcome != nil, ErrSettled)
	if err == nil {
		e.outcome = &o
		m.pay(cost)
	}
}

func (m *machine) settle(t *rapid.T) {
	id, c, _, _ := m.draw(t)
	cost := drawCost(t)
	var note []byte
	if len(m.spans) > 0 && rapid.Bool().Draw(t, "with a note") {
		note = []byte("note")
	}
	given := make([]Outcome, len(c.entries))
	for i := range given {
		given[i] = drawOutcome(t)
	}
	err := m.l.SettleWith(t.Context(), id, given, note, cost)
	wants(t, err, c.outcomes != nil, ErrSettled)
	if err != nil {
		return
	}
	for i, e := range c.entries {
		if e.outcome != nil {
			given[i] = *e.outcome
		}
	}
	c.outcomes, c.note = given, note
	m.pay(cost)
}

func (m *model) pay(c Cost) {
	m.calls += int64(c.Calls)
	m.retries += int64(c.Retries)
}

func (m *machine) keep(t *rapid.T) {
	data := rapid.SampledFrom([]string{"", "a", "members", "more members"}).Draw(t, "data")
	s, err := m.l.Keep(t.Context(), []byte(data))
	ok(t, err)
	if _, twice := m.spans[s]; twice {
		t.Fatalf("two records at %v", s)
	}
	m.spans[s] = data
}

func (m *machine) reopen(t *rapid.T) {
	ok(t, m.l.Close())
	m.open(t)
}

// kill goes on with what is on disk while the ledger is open, and perhaps half a
// record at the end.
func (m *machine) kill(t *rapid.T) {
	if m.dir == "" {
		m.reopen(t) // a database does not notice the difference
		return
	}
	old := m.store.(Store)
	m.opens++
	s := Store{filepath.Join(m.dir, fmt.Sprint(m.opens))}
	m.store = s
	ok(t, os.CopyFS(s.Path(m.run), os.DirFS(old.Path(m.run))))
	_ = os.Remove(filepath.Join(s.Path(m.run), fileName+"-shm"))
	ok(t, m.l.Close())
	ok(t, os.RemoveAll(old.Dir))
	if torn := rapid.SampledFrom([]string{"", "k", "kept\x05\x00\x00"}).Draw(t, "torn"); torn != "" {
		f, err := os.OpenFile(filepath.Join(s.Path(m.run), keptName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		ok(t, err)
		_, err = f.WriteString(torn)
		ok(t, errors.Join(err, f.Close()))
	}
	m.open(t)
}

func (m *machine) open(t *rapid.T) {
	l, err := m.store.Open(t.Context(), m.run)
	ok(t, err)
	m.l, m.session = l, 0
	m.hurry(t)
}

// hurry spares the disk: here no machine dies.
func (m *machine) hurry(t *rapid.T) {
	if f, is := m.l.disk.(*file); is {
		ok(t, f.exec(t.Context(), "PRAGMA synchronous = OFF"))
	}
}

// Whatever is done in whatever order, and whenever the process dies, the ledger
// says what the model says.
func TestLedgerIsLikeItsModel(t *testing.T) {
	dir, n := t.TempDir(), 0
	likeModel(t, func(t *rapid.T) *machine {
		n++
		dir := filepath.Join(dir, fmt.Sprint(n))
		return newMachine(t, Store{filepath.Join(dir, "0")}, "r1", dir)
	})
}

// All runs of this test lie in the same tables.
func TestPostgresIsLikeTheModel(t *testing.T) {
	s, n := newHeldStore(t), 0
	likeModel(t, func(t *rapid.T) *machine {
		n++
		return newMachine(t, s, fmt.Sprint("r", n), "")
	})
}

func likeModel(t *testing.T, make func(t *rapid.T) *machine) {
	rapid.Check(t, func(t *rapid.T) {
		m := make(t)
		defer func() { m.l.Close() }()
		t.Repeat(m.actions())
		m.check(t)
	})
}

package ledger

import (
	"fmt"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// outcome is what became of an entry; nil if it is not settled.
func (c *modelChunk) outcome(i int) *Outcome {
	if c.outcomes != nil {
		return &c.outcomes[i]
	}
	return c.entries[i].outcome
}

func (m *machine) check(t *rapid.T) {
	v, err := m.l.View(t.Context())
	ok(t, err)
	defer v.Close()
	m.checkBooks(t, v)
	m.checkPending(t)
	m.checkChunks(t, v)
}

func (m *machine) checkBooks(t *rapid.T, v *View) {
	got, err := v.Summary(t.Context())
	ok(t, err)
	want := Summary{
		Run: got.Run, Kind: got.Kind, State: got.State, Rows: m.rows, Failed: m.failed, Superseded: m.rows / 2, Replayed: m.replayed,
		Calls: m.calls, Retries: m.retries, Chunks: int64(len(m.chunks)), Groups: 1, ByCode: map[string]int64{}, ByClass: map[string]int64{},
		Started: got.Started, Finished: got.Finished, Seconds: got.Seconds, CallsPerSecond: got.CallsPerSecond,
	}
	rows := make([]RowOutcome, m.rows)
	for num := range rows {
		rows[num] = RowOutcome{int64(num), int64(num) + 2, fmt.Sprint(num), Failed, Outcome{Class: "bad_row"}}
	}
	if m.failed > 0 {
		want.ByCode["0"], want.ByClass["bad_row"] = m.failed, m.failed
	}
	for _, c := range m.chunks {
		for i, e := range c.entries {
			for _, num := range e.rows {
				rows[num].Status, rows[num].Outcome = want.enter(c.outcome(i))
			}
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("summary: got + want -\n%s", d)
	}
	for r, err := range v.Rows(t.Context()) {
		ok(t, err)
		if r != rows[r.Num] {
			t.Fatalf("row %d: got %+v, want %+v", r.Num, r, rows[r.Num])
		}
	}
	groups, err := v.Groups(t.Context())
	ok(t, err)
	all := GroupBooks{"g", want.Rows - m.failed, want.Succeeded, want.Failed - m.failed, want.Unprocessed} // bad rows are of none
	if d := cmp.Diff([]GroupBooks{all}, groups); d != "" {
		t.Fatalf("groups: got + want -\n%s", d)
	}
}

// enter counts one row in a summary.
func (s *Summary) enter(o *Outcome) (Status, Outcome) {
	switch {
	case o == nil:
		s.Unprocessed++
		return Unprocessed, Outcome{}
	case o.Class == "":
		s.Succeeded++
		return Succeeded, *o
	}
	s.Failed++
	s.ByCode[fmt.Sprint(o.Code)]++
	s.ByClass[o.Class]++
	return Failed, *o
}

func (m *machine) checkPending(t *rapid.T) {
	var want, got []Chunk
	for i, c := range m.chunks {
		if c.outcomes != nil {
			continue
		}
		w := Chunk{ID: int64(i + 1), Group: "g", InDoubt: c.sent.inDoubt(&m.model)}
		for k, e := range c.entries {
			w.Entries = append(w.Entries, Entry{fmt.Sprint(k), []byte{byte(i)}, e.rows})
			if e.outcome == nil {
				w.InDoubt = w.InDoubt || e.sent.inDoubt(&m.model)
				continue
			}
			if w.Settled == nil {
				w.Settled = map[int]Outcome{}
			}
			w.Settled[k] = *e.outcome
		}
		want = append(want, w)
	}
	for c, err := range m.l.Pending(t.Context()) {
		ok(t, err)
		got = append(got, c)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("pending: got + want -\n%s", d)
	}
}

func (m *machine) checkChunks(t *rapid.T, v *View) {
	n := 0
	for got, err := range v.Chunks(t.Context()) {
		ok(t, err)
		c := m.chunks[n] // they were planned in the order of their rows
		n++
		want := ChunkResult{ID: int64(n), Group: "g", FirstRow: c.entries[0].rows[0], Data: []byte{byte(n - 1)}, Note: c.note, SettledAt: got.SettledAt}
		for _, e := range c.entries {
			want.Rows += int64(len(e.rows))
		}
		if c.outcomes != nil {
			want.Outcome, want.Status = c.outcomes[0], statusOf(c.outcomes[0])
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("chunk %d: got + want -\n%s", n, d)
		}
		for s, data := range m.spans { // also while the chunks are being read
			if b, err := v.Kept(s); string(b) != data || err != nil {
				t.Fatalf("kept at %v: got %q, %v, want %q", s, b, err, data)
			}
		}
	}
	if n != len(m.chunks) {
		t.Fatalf("got %d of %d chunks", n, len(m.chunks))
	}
}

package ledger

import (
	"bytes"
	"context"
	"fmt"
	"testing"
)

// oneByEntry sends and settles the entries of a chunk one by one, keeps what the
// chunk has fetched, and folds it.
func oneByEntry(ctx context.Context, l *Ledger, c Chunk, say saying) error {
	for i := range c.Entries {
		if _, settled := c.Settled[i]; settled {
			continue
		}
		n := c.ID*1000 + int64(i)
		if err := l.SentEntry(ctx, c.ID, i); err != nil {
			return err
		}
		say("sent", n)
		say("settling", n)
		if err := l.SettleEntry(ctx, c.ID, i, killOutcomes(c.ID)[i], Cost{1, 0}); err != nil {
			return err
		}
		say("settled", n)
	}
	span, err := l.Keep(ctx, killData(c.ID))
	if err != nil {
		return err
	}
	say("settling", c.ID)
	if err := l.SettleWith(ctx, c.ID, killOutcomes(c.ID), fmt.Append(nil, span.Offset, " ", span.Length), Cost{}); err != nil {
		return err
	}
	say("settled", c.ID)
	return nil
}

func killData(chunk int64) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("member %d\n", chunk)), int(chunk*7919%20_000))
}

// checkEntries compares the ledger with what was said.
func (s *said) checkEntries(t *testing.T, l *Ledger) {
	t.Helper()
	outcomes := map[int64]*Outcome{} // by row; missing: not settled
	open := map[int64]bool{}
	for _, c := range pendingOf(t, l) {
		open[c.ID] = true
		s.checkOpen(t, c)
		for i, o := range c.Settled {
			outcomes[c.Entries[i].Rows[0]] = &o
		}
	}
	for id := int64(1); id <= killChunks; id++ {
		switch {
		case open[id] && s.settled[id]:
			t.Errorf("chunk %d was acknowledged as settled and is pending", id)
		case !open[id] && !s.settling[id]:
			t.Errorf("chunk %d is not pending, and nobody settled it", id)
		case !open[id]:
			s.settled[id] = true // on disk, though nobody had time to say so
			for i, o := range killOutcomes(id) {
				outcomes[id-1+int64(i)*killChunks] = &o
			}
		}
	}
	counted := Summary{ByCode: map[string]int64{}, ByClass: map[string]int64{}}
	for r, err := range l.Rows(t.Context()) {
		must(t, err)
		status, want := counted.enter(outcomes[r.Num])
		if r.Outcome != want || r.Status != status {
			t.Fatalf("row %d: got %v %+v, want %v %+v", r.Num, r.Status, r.Outcome, status, want)
		}
	}
	sum := summaryOf(t, l)
	if sum.Succeeded != counted.Succeeded || sum.Failed != counted.Failed || sum.Calls != counted.Succeeded+counted.Failed {
		t.Errorf("the books say %+v, the rows %+v", sum, counted)
	}
	diff(t, "codes", sum.ByCode, counted.ByCode)
	checkKept(t, l, open)
}

// checkOpen compares a chunk that is not settled with what was said of its
// entries.
func (s *said) checkOpen(t *testing.T, c Chunk) {
	t.Helper()
	for i := range c.Entries {
		n := c.ID*1000 + int64(i)
		o, settled := c.Settled[i]
		switch {
		case settled && o != killOutcomes(c.ID)[i]:
			t.Errorf("entry %d of chunk %d: got %+v", i, c.ID, o)
		case settled && !s.settling[n]:
			t.Errorf("entry %d of chunk %d is settled, and nobody settled it", i, c.ID)
		case settled:
			s.settled[n] = true
		case s.settled[n]:
			t.Errorf("entry %d of chunk %d was acknowledged as settled and is not", i, c.ID)
		case s.sent[n] && !c.InDoubt:
			t.Errorf("entry %d of chunk %d was acknowledged as sent and is not in doubt", i, c.ID)
		}
	}
}

// checkKept reads what the settled chunks have kept.
func checkKept(t *testing.T, l *Ledger, open map[int64]bool) {
	t.Helper()
	v, err := l.View(t.Context())
	must(t, err)
	defer v.Close()
	for c, err := range v.Chunks(t.Context()) {
		must(t, err)
		if open[c.ID] {
			continue
		}
		var span Span
		if _, err := fmt.Sscan(string(c.Note), &span.Offset, &span.Length); err != nil {
			t.Errorf("chunk %d: note %q: %v", c.ID, c.Note, err)
		}
		if data, err := v.Kept(span); err != nil || !bytes.Equal(data, killData(c.ID)) {
			t.Errorf("chunk %d: got %d bytes at %v, %v", c.ID, len(data), span, err)
		}
	}
}

func TestKillBetweenEntries(t *testing.T) {
	killing(t, (*said).checkEntries, "LEDGER_TEST_ENTRIES=1")
}

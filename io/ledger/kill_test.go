package ledger

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const killChunks, killSize = 400, 20

// beWriter is the process that gets killed: it plans if need be, then sends and
// settles with 8 workers, and says on stdout what has returned.
func beWriter(dir string) int {
	ctx := context.Background()
	work := oneByChunk
	if os.Getenv("LEDGER_TEST_ENTRIES") != "" {
		work = oneByEntry
	}
	if err := write(ctx, Store{dir}, work); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// saying prints what has happened, one line and one write at a time. n is the
// number of a chunk, or 1000 times that and the place of an entry.
type saying func(what string, n int64)

// oneByChunk sends and settles a chunk.
func oneByChunk(ctx context.Context, l *Ledger, c Chunk, say saying) error {
	say("sending", c.ID)
	if err := l.Sent(ctx, c.ID); err != nil {
		return err
	}
	say("sent", c.ID)
	say("settling", c.ID)
	if err := l.Settle(ctx, c.ID, killOutcomes(c.ID), Cost{1, 0}); err != nil {
		return err
	}
	say("settled", c.ID)
	return nil
}

func write(ctx context.Context, s Store, one func(context.Context, *Ledger, Chunk, saying) error) error {
	l, err := s.Open(ctx, "r1")
	if errors.Is(err, ErrNoRun) || errors.Is(err, ErrNotPlanned) {
		_ = os.RemoveAll(s.Path("r1"))
		l, err = planToKill(ctx, s)
	}
	if err != nil {
		return err
	}
	if err := l.Begin(ctx); err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(what string, n int64) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(what, n)
	}
	say("begun", 0)
	work := make(chan Chunk)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for c := range work {
				if err := one(ctx, l, c, say); err != nil {
					panic(err)
				}
			}
		})
	}
	for c, err := range l.Pending(ctx) {
		if err != nil {
			return err
		}
		work <- c
	}
	close(work)
	wg.Wait()
	if err := l.End(ctx, Finished, Session{}); err != nil {
		return err
	}
	return l.Close()
}

func killOutcomes(chunk int64) []Outcome {
	out := make([]Outcome, killSize)
	out[chunk%killSize] = Outcome{"refused", int(chunk), fmt.Sprint("chunk ", chunk), 1}
	return out
}

func planToKill(ctx context.Context, s Store) (*Ledger, error) {
	l, err := s.Create(ctx, meta("r1"))
	if err != nil {
		return nil, err
	}
	const rows = killChunks * killSize
	for i := range int64(rows) {
		if err := l.PlanSource(i, i+2, strings.Repeat("x", 200)); err != nil {
			return nil, err
		}
	}
	for c := range killChunks {
		var entries []Entry
		for k := range killSize {
			entries = append(entries, Entry{"a", nil, []int64{int64(c + k*killChunks)}})
		}
		if err := l.PlanChunk("g", entries); err != nil {
			return nil, err
		}
	}
	if err := l.PlanDone(ctx, rows, 0); err != nil {
		return nil, err
	}
	fmt.Println("planned", 0)
	return l, nil
}

// said is what the processes have said about each chunk and each entry, over all
// kills.
type said struct {
	planned, begun bool
	// "settling" without "settled": nobody knows whether it is on disk.
	sent, settling, settled map[int64]bool
}

func newSaid() *said {
	return &said{sent: map[int64]bool{}, settling: map[int64]bool{}, settled: map[int64]bool{}}
}

func (s *said) hear(t *testing.T, out []byte) {
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		what, n, ok := strings.Cut(lines.Text(), " ")
		chunk, err := strconv.ParseInt(n, 10, 64)
		if !ok || err != nil {
			return // cut off
		}
		switch what {
		case "planned":
			s.planned = true
		case "begun":
			s.begun = true
		case "sent":
			s.sent[chunk] = true
		case "settling":
			s.settling[chunk] = true
		case "settled":
			if s.settled[chunk] {
				t.Errorf("%d was settled twice", chunk)
			}
			s.settled[chunk] = true
		}
	}
}

// check compares the ledger with what was said.
func (s *said) check(t *testing.T, l *Ledger) {
	t.Helper()
	var verdict string
	must(t, fileOf(l).read.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict))
	if verdict != "ok" {
		t.Fatal(verdict)
	}
	open := map[int64]bool{}
	for _, c := range pendingOf(t, l) {
		open[c.ID] = true
		if s.settled[c.ID] {
			t.Errorf("chunk %d was acknowledged as settled and is pending", c.ID)
		}
		if s.sent[c.ID] && !c.InDoubt {
			t.Errorf("chunk %d was acknowledged as sent and is not in doubt", c.ID)
		}
	}
	for id := int64(1); id <= killChunks; id++ {
		if !open[id] && !s.settling[id] {
			t.Errorf("chunk %d is not pending, and nobody settled it", id)
		}
		if !open[id] {
			s.settled[id] = true // on disk, though nobody had time to say so
		}
	}
	for r, err := range l.Rows(t.Context()) {
		must(t, err)
		id := r.Num%killChunks + 1
		want, status := Outcome{}, Unprocessed
		if !open[id] {
			want, status = killOutcomes(id)[r.Num/killChunks], Succeeded
			if want.Class != "" {
				status = Failed
			}
		}
		if r.Outcome != want || r.Status != status {
			t.Fatalf("row %d: got %v %+v, want %v %+v", r.Num, r.Status, r.Outcome, status, want)
		}
	}
}

func TestKill(t *testing.T) { killing(t, (*said).check) }

// killing runs writers and kills them, and has what they leave checked.
func killing(t *testing.T, check func(*said, *testing.T, *Ledger), env ...string) {
	kills := 30
	if testing.Short() {
		kills = 5
	}
	s := Store{t.TempDir()}
	heard := newSaid()
	done, sessions := 0, 0
	for range kills {
		out, err := runWriter(t, s, rand.N(160*time.Millisecond), env...)
		heard.hear(t, out)
		l, openErr := s.OpenRead(t.Context(), "r1")
		if openErr == nil && l.State() == Planning || errors.Is(openErr, ErrNoRun) || errors.Is(openErr, ErrDamaged) || errors.Is(openErr, ErrForeign) {
			if heard.planned {
				t.Fatalf("acknowledged as planned, but: %v", openErr)
			}
			if openErr == nil {
				l.Close()
			}
			must(t, os.RemoveAll(s.Path("r1")))
			continue
		}
		must(t, openErr)
		heard.planned = true
		check(heard, t, l)
		sessions++
		must(t, l.Close())
		// It may have got to its end and been killed while it closed the ledger.
		if err == nil || l.State() == Finished { // once more from the beginning
			done++
			if sum := s.info(t.Context(), "r1"); sum.State != Finished || sum.Books.Failed != killChunks || sum.Err != nil {
				t.Errorf("finished: got %+v", sum)
			}
			must(t, s.Remove(t.Context(), "r1"))
			heard = newSaid()
		}
	}
	t.Logf("%d kills, %d of a planned run, %d runs finished; settled %d at the end", kills-done, sessions-done, done, len(heard.settled))
}

// runWriter runs a writer and kills it after d; err is nil if it was faster.
func runWriter(t *testing.T, s Store, d time.Duration, env ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "LEDGER_TEST_WRITER="+s.Dir), env...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	must(t, cmd.Start())
	timer := time.AfterFunc(d, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	timer.Stop()
	if stderr.Len() > 0 {
		t.Errorf("writer: %s", stderr.String())
	}
	return out.Bytes(), err
}

// Another process writes; this one reads what it has committed so far.
func TestReadWhileAnotherProcessWrites(t *testing.T) {
	s := Store{t.TempDir()}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LEDGER_TEST_WRITER="+s.Dir)
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	reads, partial, last := 0, 0, int64(0)
	for running := true; running; {
		select {
		case err := <-ended:
			must(t, err)
			running = false
		default:
		}
		for _, i := range mustList(t, s) {
			if i.Err != nil || i.State == Planning {
				continue
			}
			if i.Books.Succeeded+i.Books.Failed < last {
				t.Errorf("%d rows settled after %d", i.Books.Succeeded+i.Books.Failed, last)
			}
			if last = i.Books.Succeeded + i.Books.Failed; last > 0 && last < i.Books.Rows {
				partial++
			}
			l, err := s.OpenRead(t.Context(), i.Run)
			must(t, err)
			if n := len(rowsOf(t, l)); n != killChunks*killSize {
				t.Errorf("%d rows", n)
			}
			must(t, l.Close())
			reads++
		}
	}
	t.Logf("%d reads, %d while it was going on", reads, partial)
	if last != killChunks*killSize || partial == 0 {
		t.Errorf("got %d rows settled, %d reads in between", last, partial)
	}
	if left, _ := filepath.Glob(filepath.Join(s.Path("r1"), "ledger.db-[ws]*")); len(left) > 1 {
		t.Logf("left: %v", left)
	}
}

func mustList(t *testing.T, s Store) []Info {
	t.Helper()
	list, err := s.List(t.Context())
	must(t, err)
	return list
}

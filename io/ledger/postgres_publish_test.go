package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"chatbatch/limiter/pgtest"
)

// fetchedRun is a run of so many groups, whose hosts are to publish what they fetch.
func fetchedRun(t *testing.T, groups int, by Publish) *heldStore {
	t.Helper()
	s := newHeldStore(t)
	sharedRun(t, s, groups, Orders{Publish: by, App: "app"})
	return s
}

// fetch settles a chunk with what was fetched of it in pieces, and the note says where
// they lie.
func fetch(ctx context.Context, l *Ledger, chunk int64, pieces int) (spans []Span, err error) {
	if _, err := l.Claim(ctx, chunk); err != nil {
		return nil, err
	}
	if err := l.Sent(ctx, chunk); err != nil {
		return nil, err
	}
	for n := range pieces {
		s, err := l.Keep(ctx, fmt.Appendf(nil, "piece %d of chunk %d", n, chunk))
		if err != nil {
			return nil, err
		}
		spans = append(spans, s)
	}
	return spans, l.SettleAlso(ctx, chunk, make([]Outcome, 10), fmt.Appendf(nil, "%d", spans[0].Offset), Cost{1, 0}, nil)
}

func pieces(t *testing.T, s *heldStore) (n int) {
	t.Helper()
	must(t, s.pool.QueryRow(t.Context(), "SELECT count(*) FROM chatbatch_kept").Scan(&n))
	return n
}

// Several hosts keep at once. Each piece is where its span says, and none is another's.
func TestKeepTogether(t *testing.T) {
	const hosts, groups, each = 4, 40, 5
	s := fetchedRun(t, groups, PublishByHosts)
	ctx := t.Context()
	var mu sync.Mutex
	all := map[Span]string{}
	var wg sync.WaitGroup
	for h := range hosts {
		wg.Go(func() {
			l, err := openPG(t, s.url).Join(ctx, "r1", time.Minute)
			if err != nil {
				t.Error(err)
				return
			}
			defer l.Close()
			var mine sync.WaitGroup
			for c := int64(h + 1); c <= groups; c += hosts {
				mine.Go(func() {
					spans, err := fetch(ctx, l, c, each)
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					for n, span := range spans {
						all[span] = fmt.Sprintf("piece %d of chunk %d", n, c)
					}
				})
			}
			mine.Wait()
		})
	}
	wg.Wait()
	if len(all) != groups*each || pieces(t, s) != groups*each {
		t.Fatalf("%d spans and %d pieces, want %d", len(all), pieces(t, s), groups*each)
	}
	l, err := s.OpenRead(ctx, "r1")
	must(t, err)
	defer l.Close()
	v := viewOf(t, l)
	for span, want := range all {
		if got, err := v.Kept(span); err != nil || string(got) != want {
			t.Errorf("%v: got %q, %v, want %q", span, got, err, want)
		}
	}
}

// Two that open a run have two hands, also when one does not hear at first that it has its
// own: what they keep would have the same places.
func TestHandOfUnknownEnd(t *testing.T) {
	s := fetchedRun(t, 1, PublishByHosts)
	l := join(t, s.Postgres, time.Minute)
	d := l.disk.(*pgRun)
	hand := d.hand
	must(t, d.takeHand(t.Context()))
	taken := d.hand
	d.by.commits-- // it is tried once more, and turns out to have been made
	must(t, d.takeHand(t.Context()))
	if taken != hand+1 || d.hand != taken {
		t.Errorf("got hand %d, want %d", d.hand, taken)
	}
	if other := join(t, openPG(t, s.url), time.Minute); other.disk.(*pgRun).hand == d.hand {
		t.Errorf("two have hand %d", d.hand)
	}
}

// What a host had kept of a group that it did not come to settle is nobody's: it can bring
// in no more once it is buried, another fetches the group again, and all goes together.
func TestKeptByTheDead(t *testing.T) {
	s := fetchedRun(t, 1, PublishByHosts)
	ctx := t.Context()
	dead := join(t, s.Postgres, time.Minute)
	_, err := dead.Claim(ctx, 1)
	must(t, err)
	must(t, dead.Sent(ctx, 1))
	lost := keep(t, dead, "half of a group")
	wakes := unheard(t, s, dead)
	must(t, s.Bury(ctx))
	wakes()
	if _, err := dead.Keep(ctx, []byte("the other half")); !errors.Is(err, ErrLocked) {
		t.Errorf("kept by a host that was buried: got %v", err)
	}
	if err := dead.SettleAlso(ctx, 1, make([]Outcome, 10), []byte("note"), Cost{}, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("settled by a host that was buried: got %v", err)
	}

	other := openPG(t, s.url)
	living := join(t, other, time.Minute)
	spans, err := fetch(ctx, living, 1, 2)
	must(t, err)
	for _, span := range spans {
		if span == lost {
			t.Errorf("the living and the dead have kept at %v", span)
		}
	}
	must(t, s.Finish(ctx, ""))
	right, err := other.TakePublishing(ctx, "r1", false)
	must(t, err)
	defer right.End()
	for c, err := range viewOf(t, living).Chunks(ctx) {
		if must(t, err); string(c.Note) != fmt.Sprint(spans[0].Offset) {
			t.Errorf("the note of the group is %q", c.Note)
		}
	}
	if n := pieces(t, s); n != 3 {
		t.Errorf("there are %d pieces, want 3", n)
	}
	must(t, right.Done(ctx, "a table", "s3://b/k"))
	if n := pieces(t, s); n != 0 {
		t.Errorf("%d pieces are left", n)
	}
	keep(t, living, "more")
	if n := pieces(t, s); n != 0 {
		t.Errorf("%d pieces were kept behind the publication", n)
	}
}

// endedRun is a run of two groups that is fetched, and two hosts that may publish it.
func endedRun(t *testing.T) (s *heldStore, one, two *Postgres) {
	t.Helper()
	s = fetchedRun(t, 2, PublishByHosts)
	ctx := t.Context()
	one, two = openPG(t, s.url), openPG(t, s.url)
	l := join(t, one, time.Minute)
	_, err := fetch(ctx, l, 1, 1)
	must(t, err)
	if _, err := one.TakePublishing(ctx, "r1", false); err == nil {
		t.Error("it is published while a group is open")
	}
	_, err = fetch(ctx, l, 2, 1)
	must(t, err)
	must(t, s.Finish(ctx, ""))
	must(t, l.Close())
	return s, one, two
}

// waiting holds which runs wait for a host that publishes them.
func waiting(t *testing.T, p *Postgres, want ...string) {
	t.Helper()
	got, _, err := p.Unpublished(t.Context(), "app")
	must(t, err)
	diff(t, "unpublished", got, want)
}

// A finished run waits until it is published. One at a time may do that.
func TestPublishing(t *testing.T) {
	s, one, two := endedRun(t)
	ctx := t.Context()
	waiting(t, two, "r1")
	if other, _, err := two.Unpublished(ctx, "another app"); err != nil || other != nil {
		t.Errorf("for another app: %v, %v", other, err)
	}
	if i := infoOf(t, s); i.Reported || !i.Waits() {
		t.Errorf("not published, and %+v", i)
	}
	right, err := one.TakePublishing(ctx, "r1", false)
	must(t, err)
	waiting(t, two)
	if _, err := two.TakePublishing(ctx, "r1", false); !errors.Is(err, ErrLocked) {
		t.Errorf("taken twice: %v", err)
	}
	must(t, right.Failed(ctx, "access denied"))
	at, err := s.Publication(ctx, "r1")
	if must(t, err); !at.Held || !at.Ended || at.Tries != 1 || at.Why != "access denied" || at.Tried.IsZero() || at.Publish != PublishByHosts {
		t.Errorf("got %+v", at)
	}
	survey, err := s.Survey(ctx)
	if must(t, err); len(survey.Runs) != 1 || survey.Runs[0].Publish != PublishByHosts || survey.Runs[0].Unpublished != "access denied" {
		t.Errorf("got %+v", survey.Runs)
	}
	if err := s.Remove(ctx, "r1"); !errors.Is(err, ErrLocked) {
		t.Errorf("removed while it is published: %v", err)
	}
	must(t, right.Done(ctx, "a table", "s3://b/k"))
	right.End()
	waiting(t, two)
	at, err = s.Publication(ctx, "r1")
	if must(t, err); at.Held || at.Publish != PublishDone || at.Text != "a table" || at.Place != "s3://b/k" || at.Why != "" {
		t.Errorf("got %+v", at)
	}
	if _, err := two.TakePublishing(ctx, "r1", false); !errors.Is(err, ErrDropped) {
		t.Errorf("published twice: %v", err)
	}
	if i := infoOf(t, s); !i.Reported {
		t.Errorf("published, and %+v", i)
	}
	for run, want := range map[string]string{"r0": "r1", "r1": "", "r2": ""} {
		if newer, err := s.NewerAt(ctx, run, "s3://b/k"); err != nil || newer != want {
			t.Errorf("newer than %s: %q, %v", run, newer, err)
		}
	}
}

// Who publishes, and has died for the others, is in nobody's way. They have the right, and
// it knows.
func TestPublisherIsLost(t *testing.T) {
	s, one, two := endedRun(t)
	ctx := t.Context()
	right, err := one.TakePublishing(ctx, "r1", false)
	must(t, err)
	must(t, right.Failed(ctx, "access denied"))
	held, stop := right.Held(ctx)
	defer stop()
	right.by.stop()
	pgtest.SQL(t, s.url, "UPDATE chatbatch_lock SET until = now() - interval '1 second' WHERE key LIKE 'publish-%'")
	waiting(t, two, "r1")
	given := func() int64 {
		t.Helper()
		_, given, err := two.Unpublished(ctx, "app")
		must(t, err)
		return given["r1"]
	}
	if n := given(); n != 1 {
		t.Errorf("given to the hosts %d times, want 1", n)
	}
	next, err := two.TakePublishing(ctx, "r1", false)
	must(t, err)
	long := time.Now().Add(-leaseTime)
	right.by.alive.Store(&long)
	<-held.Done()
	if err := context.Cause(held); !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v", err)
	}
	if err := right.Done(ctx, "old", "old"); err == nil {
		t.Error("published by one who has not the right any more")
	}
	if n := pieces(t, s); n != 2 {
		t.Errorf("%d pieces are left, want 2", n)
	}
	// All hosts are to try again, also those that look after another has failed once more.
	must(t, s.PublishBy(ctx, "r1", PublishByHosts))
	must(t, next.Failed(ctx, "no keys here"))
	next.End()
	if n := given(); n != 2 {
		t.Errorf("given to the hosts %d times, want 2", n)
	}
	next, err = two.TakePublishing(ctx, "r1", false)
	must(t, err)
	defer next.End()
	must(t, next.Done(ctx, "a table", "s3://b/k"))
}

// Who dies between the note that it is published and the removal of the last piece leaves
// the rest to others.
func TestRestOfPublished(t *testing.T) {
	s := fetchedRun(t, 1, PublishByHosts)
	ctx := t.Context()
	_, err := fetch(ctx, join(t, s.Postgres, time.Minute), 1, 3)
	must(t, err)
	must(t, s.Finish(ctx, ""))
	pgtest.SQL(t, s.url, "UPDATE chatbatch_run SET publish = 'published', dropped = true")
	if n := pieces(t, s); n != 3 {
		t.Fatalf("got %d pieces", n)
	}
	if runs, _, err := s.Unpublished(ctx, "app"); err != nil || runs != nil {
		t.Errorf("got %v, %v", runs, err)
	}
	if at, err := s.Publication(ctx, "r1"); err != nil || at.Publish != PublishDone || pieces(t, s) != 0 {
		t.Errorf("got %+v, %v, %d pieces", at, err, pieces(t, s))
	}
}

// Several may remove what was published at once. None says that it is done while another
// has yet to remove a piece: that would stay for ever.
func TestRestOfPublishedTogether(t *testing.T) {
	s := fetchedRun(t, 1, PublishByHosts)
	ctx := t.Context()
	_, err := fetch(ctx, join(t, s.Postgres, time.Minute), 1, 3)
	must(t, err)
	must(t, s.Finish(ctx, ""))
	pgtest.SQL(t, s.url, "UPDATE chatbatch_run SET publish = 'published', dropped = true")
	other, err := s.pool.Begin(ctx)
	must(t, err)
	_, err = other.Exec(ctx, "DELETE FROM chatbatch_kept WHERE id = (SELECT min(id) FROM chatbatch_kept)")
	must(t, err)
	must(t, s.removeKept(ctx, "r1"))
	at, err := s.Publication(ctx, "r1")
	if must(t, err); at.Publish != PublishRemoving || pieces(t, s) != 1 { // the other's
		t.Errorf("got %+v, %d pieces", at, pieces(t, s))
	}
	must(t, other.Rollback(ctx)) // it has died
	must(t, s.removeKept(ctx, "r1"))
	at, err = s.Publication(ctx, "r1")
	if must(t, err); at.Publish != PublishDone || pieces(t, s) != 0 {
		t.Errorf("got %+v, %d pieces", at, pieces(t, s))
	}
}

// What a command is to publish is none of the hosts' business, until that is changed.
func TestPublishBy(t *testing.T) {
	s := fetchedRun(t, 1, PublishByCommand)
	ctx := t.Context()
	// It is with the hosts as before: they need not join anew.
	must(t, s.PublishBy(ctx, "r1", PublishByCommand))
	if at, err := s.Standing(ctx, "r1"); err != nil || at.Fleet != 1 {
		t.Errorf("given to the hosts %d times, want 1; %v", at.Fleet, err)
	}
	_, err := fetch(ctx, join(t, s.Postgres, time.Minute), 1, 1)
	must(t, err)
	must(t, s.Finish(ctx, ""))
	if runs, _, err := s.Unpublished(ctx, "app"); err != nil || runs != nil {
		t.Errorf("got %v, %v", runs, err)
	}
	right, err := s.TakePublishing(ctx, "r1", false)
	must(t, err)
	must(t, right.Failed(ctx, "disk full"))
	right.End()
	must(t, s.PublishBy(ctx, "r1", PublishByHosts))
	if at, err := s.Publication(ctx, "r1"); err != nil || at.Publish != PublishByHosts || at.Tries != 0 || at.Why != "" {
		t.Errorf("got %+v, %v", at, err)
	}
	if runs, _, err := s.Unpublished(ctx, "app"); err != nil || len(runs) != 1 {
		t.Errorf("got %v, %v", runs, err)
	}
	// A finished run is told to be done by hosts of a version that knows nothing of exports.
	pgtest.SQL(t, s.url, "UPDATE chatbatch_run SET told = true")
	if i := infoOf(t, s); i.Reported {
		t.Errorf("got %+v", i)
	}
}

// A run that was stopped is not removed while a host has yet to leave it: what that host
// fetches still would stay for ever.
func TestRemoveBesideAHost(t *testing.T) {
	s := fetchedRun(t, 1, PublishByHosts)
	ctx := t.Context()
	l := join(t, openPG(t, s.url), time.Minute)
	_, err := s.Cancel(ctx, "r1")
	must(t, err)
	if err := s.Remove(ctx, "r1"); !errors.Is(err, ErrLocked) {
		t.Errorf("removed while a host is there: %v", err)
	}
	keep(t, l, "late")
	must(t, l.Close())
	must(t, s.Remove(ctx, "r1"))
	if n := pieces(t, s); n != 0 {
		t.Errorf("%d pieces are left", n)
	}
}

func infoOf(t *testing.T, s *heldStore) Info {
	t.Helper()
	list, err := s.List(t.Context())
	must(t, err)
	if len(list) != 1 {
		t.Fatalf("got %d runs", len(list))
	}
	return list[0]
}

package ui

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"chatbatch/io/ledger"
)

// fakeTime is when the fake runs are looked at first; each look comes a second later.
var fakeTime = time.Date(2026, 11, 27, 1, 0, 30, 0, time.UTC)

// fakeRuns are runs as a test says they are.
type fakeRuns struct {
	mu     sync.Mutex
	survey ledger.Survey // under mu
	err    error         // under mu
	looks  int           // under mu
	asked  int           // under mu; for rows

	row, tenant string
}

func newFakeRuns() *fakeRuns {
	meta := ledger.Meta{Kind: "marks set", Input: "class.csv", SDKAppID: 1400000000}
	run := func(name string, state ledger.State, b ledger.Books) ledger.Surveyed {
		return ledger.Surveyed{Info: ledger.Info{Run: name, Meta: meta, State: state, Books: b, Started: fakeTime}, Shared: true}
	}
	const busy = "20261127T010000.000Z-aaaaaa"
	return &fakeRuns{
		row: "g1,student-7,1000\r\n", tenant: "school-1",
		survey: ledger.Survey{
			Runs: []ledger.Surveyed{
				run(busy, ledger.Running, ledger.Books{Rows: 1000, Succeeded: 100, Failed: 10, Unprocessed: 890}),
				run("20261126T010000.000Z-000000", ledger.Finished, ledger.Books{Rows: 5, Succeeded: 5}),
			},
			Hosts: []ledger.Host{
				{Run: busy, Name: "school-1 (7)", Session: 1, Since: fakeTime, LeaseEnds: time.Second},
				{Run: busy, Name: "school-2 (8)", Session: 2, Since: fakeTime, LeaseEnds: -time.Second},
			},
			Failures: []ledger.Failure{{Run: busy, Class: "offline_or_absent", Code: 10004, Rows: 10, Example: 7, Error: "not online"}},
		},
	}
}

func (f *fakeRuns) change(to func(*ledger.Survey)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	to(&f.survey)
}

func (f *fakeRuns) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// now is how things stand.
func (f *fakeRuns) now() ledger.Survey {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.survey
	s.Now = fakeTime.Add(time.Duration(f.looks) * time.Second)
	s.Runs, s.Hosts, s.Failures = append([]ledger.Surveyed{}, s.Runs...), append([]ledger.Host{}, s.Hosts...), append([]ledger.Failure{}, s.Failures...)
	return s
}

func (f *fakeRuns) Survey(context.Context) (ledger.Survey, error) {
	s := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	return s, f.err
}

func (f *fakeRuns) Row(context.Context, string, int64) (int64, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	return 8, f.row, nil
}

func (f *fakeRuns) lanes(context.Context) ([]Budget, error) {
	return []Budget{{Name: "1400000000", Lanes: 200, Free: 10, Hosts: []Tenant{
		{Name: f.tenant, Lanes: 120, LeaseEnds: time.Second}, {Name: "school-2", Lanes: 70, LeaseEnds: -time.Second},
	}}}, nil
}

func get(p http.Handler, method, host, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Host = host
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

// A row is shown as text, whatever encoding its input has.
func TestRowsAreText(t *testing.T) {
	f := newFakeRuns()
	f.row = "g1,\xd1\xa7\xc9\xfa 7,1000\r\n" // GBK
	f.change(func(s *ledger.Survey) { s.Runs[0].Meta.Encoding = "gb18030" })
	page := get(New(Options{Runs: f}), "GET", "localhost", "/").Body.String()
	if want := "g1,学生 7,1000<"; !strings.Contains(page, want) {
		t.Errorf("%s is not in the page:\n%s", want, page)
	}
}

// The page answers to addresses, localhost and the names that it is told: a name might be
// another's who had it point here.
func TestInvited(t *testing.T) {
	p := New(Options{Runs: newFakeRuns(), Names: []string{"school-1"}})
	for host, want := range map[string]int{
		"127.0.0.1:8440": 200, "10.0.0.7:8440": 200, "10.0.0.7": 200, "[::1]:8440": 200, "[::1]": 200, "localhost:8440": 200, "LOCALHOST": 200,
		"school-1:8440": 200, "School-1": 200,
		"evil.example:8440": 421, "school-1.evil.example": 421, "127.0.0.1.evil.example:8440": 421, "": 421, "[": 421, "localhost.": 421,
	} {
		w := get(p, http.MethodGet, host, "/now")
		if w.Code != want {
			t.Errorf("asked for by %q it answers %d, want %d", host, w.Code, want)
		}
		if want != 200 && strings.Contains(w.Body.String(), "student") {
			t.Errorf("asked for by %q it says %q", host, w.Body)
		}
	}
}

// It takes GET, for what it has, and lets nobody else read it.
func TestRequests(t *testing.T) {
	p := New(Options{Runs: newFakeRuns()})
	for _, tt := range []struct {
		method, path string
		want         int
		kind         string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/now", 200, "text/html; charset=utf-8"},
		{"GET", "/ui.css", 200, "text/css; charset=utf-8"},
		{"GET", "/ui.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/favicon.ico", 204, ""},
		{"HEAD", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/other", 404, "text/plain; charset=utf-8"},
		{"POST", "/", 405, "text/plain; charset=utf-8"},
		{"DELETE", "/now", 405, "text/plain; charset=utf-8"},
		{"OPTIONS", "/now", 405, "text/plain; charset=utf-8"},
	} {
		w := get(p, tt.method, "localhost", tt.path)
		h := w.Header()
		if w.Code != tt.want || h.Get("Content-Type") != tt.kind {
			t.Errorf("%s %s: got %d %s, want %d %s", tt.method, tt.path, w.Code, h.Get("Content-Type"), tt.want, tt.kind)
		}
		if h.Get("Content-Security-Policy") != policy || h.Get("Access-Control-Allow-Origin") != "" ||
			h.Get("Cross-Origin-Resource-Policy") != "same-origin" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: got headers %v", tt.method, tt.path, h)
		}
	}
}

// However many look, the database is asked once a second, for each example once, and not
// at all while nobody looks.
func TestOneLookASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeRuns()
		p := New(Options{Runs: f})
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for range 50 { // five seconds
					get(p, http.MethodGet, "localhost", "/now")
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Hour)
		if f.looks != 5 || f.asked != 1 {
			t.Errorf("%d looks and %d rows in five seconds, want 5 and 1", f.looks, f.asked)
		}
	})
}

// A database that has not been seen yet is said to be away, and nothing else.
func TestNeverSeen(t *testing.T) {
	f := newFakeRuns()
	f.fail(errors.New("it <sleeps>"))
	w := get(New(Options{Runs: f}), http.MethodGet, "localhost", "/")
	if body := w.Body.String(); w.Code != 200 || !strings.Contains(body, "it &lt;sleeps&gt;") || strings.Contains(body, "as it was at") || strings.Contains(body, "No run") {
		t.Errorf("got %d %s", w.Code, body)
	}
}

// A run without hosts waits for those of its app, or for somebody to start one.
func TestQueued(t *testing.T) {
	f := newFakeRuns()
	f.change(func(s *ledger.Survey) {
		next, other := s.Runs[0], s.Runs[0]
		next.Run, other.Run, other.Meta.SDKAppID = "20261127T020000.000Z-bbbbbb", "20261127T030000.000Z-cccccc", 1400000002
		s.Runs = append([]ledger.Surveyed{other, next}, s.Runs...)
	})
	for _, r := range strings.Split(get(New(Options{Runs: f}), http.MethodGet, "localhost", "/now").Body.String(), "<section")[1:4] {
		waits, nobody := strings.Contains(r, "It waits"), strings.Contains(r, "No host works on it: start <code>chatbatch work</code> for app 1400000002")
		if waits != strings.Contains(r, "bbbbbb") || nobody != strings.Contains(r, "cccccc") {
			t.Errorf("got %s", r)
		}
	}
}

// What an export has fetched may be without its place still; why is text, wherever it
// comes from.
func TestNotPublished(t *testing.T) {
	for name, test := range map[string]struct {
		publish ledger.Publish
		why     string
		want    string // "": nothing
	}{
		"no export":    {},
		"done":         {publish: ledger.PublishDone, why: "access denied"},
		"by hosts":     {publish: ledger.PublishByHosts, want: "not published yet<"},
		"by nobody":    {publish: ledger.PublishByHosts, why: "<b>denied</b>", want: "not published: &lt;b&gt;denied&lt;/b&gt;<"},
		"by a command": {publish: ledger.PublishByCommand, want: "not published: chatbatch resume 20261126T010000.000Z-000000 --wait does it<"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeRuns()
			f.change(func(s *ledger.Survey) { s.Runs[1].Publish, s.Runs[1].Unpublished = test.publish, test.why })
			body := get(New(Options{Runs: f}), http.MethodGet, "localhost", "/now").Body.String()
			if got := strings.Contains(body, "not published"); got != (test.want != "") || !strings.Contains(body, test.want) {
				t.Errorf("want %q in %s", test.want, body)
			}
		})
	}
}

// A pace is that of the last half minute, and known after two seconds.
func TestPerSecond(t *testing.T) {
	var p *pace
	if _, _, known := p.perSecond(); known {
		t.Error("a pace of nothing is known")
	}
	p = &pace{}
	for i := range int64(100) {
		at := fakeTime.Add(time.Duration(i) * time.Second)
		p.add(point{at, 500 * max(0, i-50), 2 * i})
		rows, calls, known := p.perSecond()
		if known != (i >= 2) || known && calls != 2 || i == 50 && rows != 0 || i == 65 && rows != 250 || i == 99 && rows != 500 {
			t.Errorf("after %d seconds: %v rows, %v calls, %v", i, rows, calls, known)
		}
	}
	if len(p.points) > 31 {
		t.Errorf("%d points are kept", len(p.points))
	}
}

// Failures that grow come first.
func TestNewestFailures(t *testing.T) {
	b := newBoard(Options{Runs: newFakeRuns()})
	look := func(second int, rows ...int64) (order string) {
		s := ledger.Survey{Now: fakeTime.Add(time.Duration(second) * time.Second)}
		for i, n := range rows {
			s.Failures = append(s.Failures, ledger.Failure{Run: "r", Class: string(rune('a' + i)), Rows: n})
		}
		b.enter(s)
		for _, f := range b.survey.Failures {
			order += f.Class
		}
		return order
	}
	for second, tt := range []struct {
		rows []int64
		want string
	}{
		{[]int64{5, 4}, "ab"},
		{[]int64{5, 4, 1}, "cab"},
		{[]int64{5, 5, 1}, "bca"},
		{[]int64{5, 5, 1}, "bca"},
		{[]int64{6, 5, 2}, "acb"},
	} {
		if got := look(second, tt.rows...); got != tt.want {
			t.Errorf("after %d seconds: got %s, want %s", second, got, tt.want)
		}
	}
}

func TestClip(t *testing.T) {
	for _, tt := range []struct{ raw, want string }{
		{"a,b\r\n", "a,b"},
		{strings.Repeat("x", clipAt), strings.Repeat("x", clipAt)},
		{strings.Repeat("x", clipAt+1), strings.Repeat("x", clipAt) + " …"},
		{strings.Repeat("x", clipAt-1) + "李", strings.Repeat("x", clipAt-1) + " …"},
		{strings.Repeat("x", clipAt-1) + "\x80\x80\x80\x80\x80\x80", strings.Repeat("x", clipAt-2) + " …"},
	} {
		if got := clip(tt.raw); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.raw, got, tt.want)
		}
	}
}

func TestSpanText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 59 * time.Second: "59 s", 59600 * time.Millisecond: "1 min 00 s", 61 * time.Second: "1 min 01 s",
		3661 * time.Second: "1 h 01 min", 47 * time.Hour: "47 h 00 min", 60 * time.Hour: "3 days",
	} {
		if got := spanText(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}

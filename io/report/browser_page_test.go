package report

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"chatbatch/io/ledger"
	"chatbatch/io/report/browsertest"
)

// Whatever stands in a roster or comes from a server is text in the page.
func TestHostileTextIsInert(t *testing.T) {
	b := see(t, browsertest.Start(t), pageFileOf(t, hostile(t)), 1200, "light")
	browsertest.Wants(b, shownCount, "18")
	browsertest.Wants(b, "document.title.startsWith('marks set · <img src=x onerror=')", true)
	// Nothing was put into the page, by the rows or by anything else.
	browsertest.Wants(b, "document.querySelectorAll('img, iframe, object, embed, a, link, base, [onerror], [onload], [onmouseover], svg:not(.bar)').length", 0)
	browsertest.Wants(b, "document.scripts.length", 6) // the rows' data is gone
	for _, text := range []string{evil[0], evil[1], evil[5], evil[6]} {
		browsertest.Wants(b, fmt.Sprintf("document.getElementById('rows').textContent.includes(%q)", text), true)
	}
	browsertest.Wants(b, `/[\u0000-\u0008\u202a-\u202e\u2066-\u2069\u2028]/.test(document.body.textContent)`, false)
	browsertest.Wants(b, fmt.Sprintf("document.getElementById('failing').textContent.includes(%q)", evil[1]), true)
	// The details of each row, too.
	for _, row := range []string{"0", "5", "17"} {
		browsertest.Ask[bool](b, "document.querySelectorAll('#rows .tabulator-row')["+row+"] ? (document.querySelectorAll('#rows .tabulator-row')["+row+"].click(), true) : false")
		b.Until("document.getElementById('row').open || " + row + " > 10")
		browsertest.Ask[bool](b, "document.getElementById('row').close() === undefined")
	}
	browsertest.Wants(b, "document.querySelectorAll('dialog img, dialog script, dialog svg').length", 0)
	// What a script would do that was let in: the policy stands in its way.
	browsertest.Wants(b, "(() => { const s = document.createElement('script'); s.textContent = 'window.evil = 1'; document.body.append(s); s.remove(); return window.evil === undefined; })()", true)
	browsertest.Wants(b, "fetch('http://127.0.0.1:9/').then(() => false, () => true)", true)
	// It says so, and there is no other trouble.
	trouble := b.Trouble()
	if len(trouble) < 2 {
		t.Errorf("the policy refused nothing: %q", trouble)
	}
	for _, what := range trouble {
		if !strings.HasPrefix(what, "log ") || !strings.Contains(what, "Content Security Policy") {
			t.Error(what)
		}
	}
}

// demoRun is a run as it happens: some rows failed, some are left.
func demoRun(t *testing.T) *ledger.Ledger {
	t.Helper()
	ctx := t.Context()
	l, err := ledger.Store{Dir: t.TempDir()}.Create(ctx, ledger.Meta{
		Run: "20261122T031200.000Z-2bdbda", Kind: "marks set", Format: "csv", Header: "name,group_id,account,marks",
		Input: "/srv/rosters/autumn.csv", Endpoint: "https://adminapisgp.im.qcloud.com", SDKAppID: 1400000000, Identifier: "administrator", Version: "v1.0.0",
	})
	must(t, err)
	t.Cleanup(func() { l.Close() })
	const groups, each = 12, 40
	for g := range int64(groups) {
		var chunk []ledger.Entry
		for i := range int64(each) {
			num := g*each + i
			must(t, l.PlanSource(num, num+2, fmt.Sprintf("同学 %d,@TGS#course-%d,student-%04d,1000", num, g, num)))
			if num%97 == 50 {
				must(t, l.PlanFailed(num, ledger.Outcome{Class: "bad_row", Error: `column marks: "010" is not a mark: it has a leading zero`}))
				continue
			}
			chunk = append(chunk, ledger.Entry{Account: fmt.Sprint(num), Rows: []int64{num}})
		}
		must(t, l.PlanChunk(fmt.Sprintf("@TGS#course-%d", g), chunk))
	}
	must(t, l.PlanDone(ctx, groups*each, 0))
	must(t, l.Begin(ctx))
	for g := range int64(groups - 2) {
		settleSome(t, l, g, each)
	}
	must(t, l.AddPace(ctx, stormyPace()))
	windows, latency := stormyWindows()
	must(t, l.AddWindows(ctx, windows, latency))
	must(t, l.End(ctx, ledger.Interrupted, ledger.Session{Calls: 41230, Retries: 620, Refused: 246, Seconds: 240, MaxCallsInOneSecond: 200}))
	return l
}

func settleSome(t *testing.T, l *ledger.Ledger, g, each int64) {
	var outcomes []ledger.Outcome
	for i := range each {
		switch num := g*each + i; {
		case num%97 == 50:
		case num%9 == 3:
			outcomes = append(outcomes, ledger.Outcome{Class: "offline_or_absent", Error: "left out of the answer: not online in the group, not a member, or no such account", Attempts: 1})
		case num%53 == 7:
			outcomes = append(outcomes, ledger.Outcome{Class: "refused", Code: 10004, Error: "invalid parameter: A parameter is invalid.", Attempts: 9})
		default:
			outcomes = append(outcomes, ledger.Outcome{Attempts: 1})
		}
	}
	must(t, l.Settle(t.Context(), g+1, outcomes, ledger.Cost{Calls: 1}))
}

// stormyPace is full work, a minute in which the server refuses calls, and a
// night between two sessions.
func stormyPace() (list []ledger.Second) {
	at := time.Date(2026, 11, 22, 3, 12, 0, 0, time.UTC).Unix()
	for i := range int64(240) {
		s := ledger.Second{Unix: at + i, Calls: 199 + int(i%2), Retries: int(i % 7), Lanes: 200, Budget: 200}
		if i >= 60 && i < 150 {
			s.Lanes = 200 - int(min(i-60, 20)*6) + int(max(i-80, 0))*2
			s.Lanes = min(s.Lanes, 200)
			s.Calls = s.Lanes - 1
		}
		if i >= 60 && i < 80 {
			s.Refused = 22 - int(i-60)
		}
		if i >= 180 {
			s.Unix += 6 * 3600
		}
		list = append(list, s)
	}
	return list
}

// stormyWindows is the latency of that pace, and rows that failed meanwhile.
func stormyWindows() (list []ledger.Window, session *ledger.Latency) {
	random := rand.New(rand.NewPCG(1, 2))
	session = &ledger.Latency{}
	for i, s := range stormyPace() {
		slow := 1.0
		if i >= 60 && i < 100 {
			slow = 4 - 3*math.Abs(float64(i-80))/20
		}
		w := ledger.Window{Unix: s.Unix, Seconds: 1, Latency: &ledger.Latency{}, Failed: map[string]int64{}}
		for range s.Calls {
			ms := 24 * slow * math.Exp(random.NormFloat64()*0.35)
			w.Latency.Add(time.Duration(ms * float64(time.Millisecond)))
		}
		for k, class := range []string{"offline_or_absent", "refused", "mark_not_set", "server_error", "no_answer", "group_not_found", "no_permission", "refused_with_chunk", "invalid_group"} {
			if n := int64(float64(30-2*k) * random.Float64() * slow / float64(k+1)); n > 0 && (k < 2 || i%(k+3) == 0) {
				w.Failed[class] = n
			}
		}
		session.Merge(w.Latency)
		list = append(list, w)
	}
	return list, session
}

// A page does what its controls say, in light and dark, on a desk, a phone and paper.
func TestPageInABrowser(t *testing.T) {
	browser := browsertest.Start(t)
	path := pageFileOf(t, demoRun(t))
	for _, of := range []struct {
		scheme string
		width  int64
	}{{"light", 1200}, {"light", 320}, {"dark", 1200}, {"dark", 375}} {
		t.Run(fmt.Sprint(of.scheme, of.width), func(t *testing.T) {
			b := see(t, browser, path, of.width, of.scheme)
			usePage(b, of.width <= 700)
			dark := browsertest.Ask[bool](b, "getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0] < 60")
			if dark != (of.scheme == "dark") {
				t.Errorf("dark: %v", dark)
			}
			shoot(b, fmt.Sprintf("%s-%d.png", of.scheme, of.width))
			b.Quiet()
		})
	}
	t.Run("paper", func(t *testing.T) { onPaper(see(t, browser, path, 1200, "dark")) })
}

func usePage(b *browsertest.Tab, phone bool) {
	browsertest.Wants(b, "document.documentElement.scrollWidth <= innerWidth", true)
	for _, id := range []string{"pace", "latency", "failing"} {
		browsertest.Wants(b, "document.querySelectorAll('#"+id+" canvas').length", 1)
		browsertest.Wants(b, "document.querySelector('#"+id+" canvas').getBoundingClientRect().right <= innerWidth", true)
		// One time axis for all.
		browsertest.Wants(b, "document.querySelector('#"+id+" .u-over').getBoundingClientRect().left === document.querySelector('#pace .u-over').getBoundingClientRect().left", true)
	}
	// Over the picture, the legend has the values.
	browsertest.Ask[bool](b, `(() => {
		const over = document.querySelector('#pace .u-over'), at = over.getBoundingClientRect();
		for (const name of ['mouseenter', 'mousemove']) over.dispatchEvent(new MouseEvent(name, { clientX: at.left + at.width * 0.1, clientY: at.top + 9 }));
		return true;
	})()`)
	b.Until("/2026-11-22 03:12:\\d\\d.*calls a second\\s*(199|200)\\D/.test(document.querySelector('#pace .u-legend').textContent)")
	b.Until("/2026-11-22 03:12:\\d\\d.*half\\s*2\\d(\\.\\d)? ms.*99 %\\s*\\d+(\\.\\d)? ms/.test(document.querySelector('#latency .u-legend').textContent)")
	b.Until("/2026-11-22 03:12:\\d\\d.*offline_or_absent\\s*\\d+$/.test(document.querySelector('#failing .u-legend').textContent)")
	browsertest.Wants(b, "Array.from(document.querySelectorAll('#failing .u-legend .u-label'), (e) => e.textContent).includes('others')", true)
	browsertest.Wants(b, "document.getElementById('latency-scale').hidden", true)
	all := browsertest.Ask[string](b, shownCount)
	// Filter by text and class.
	fill(b, "rows-find", "COURSE-3,", "input")
	b.Until(shownCount + ".endsWith(' of " + all + "')")
	browsertest.Wants(b, "Array.from(document.querySelectorAll('#rows .tabulator-row')).every((r) => r.textContent.includes('course-3,'))", true)
	fill(b, "rows-class", "refused", "change")
	b.Until("!document.querySelector('#rows').textContent.includes('offline_or_absent')")
	fill(b, "rows-find", "no such text", "input")
	b.Until("document.querySelector('#rows').textContent.includes('no such row')")
	fill(b, "rows-find", "", "input")
	fill(b, "rows-class", "", "change")
	b.Until(shownCount + " === '" + all + "'")
	// Sort.
	if phone {
		browsertest.Wants(b, "document.querySelector('#rows .tabulator-row .head').textContent", "line 5 · offline_or_absent")
		fill(b, "rows-sort", "code", "change")
		fill(b, "rows-sort", "cls", "change")
		b.Until("document.querySelector('#rows .tabulator-row .head').textContent === 'line 52 · bad_row'")
	} else {
		browsertest.Wants(b, firstLine, "5")
		browsertest.Ask[bool](b, "document.querySelector('#rows .tabulator-col[tabulator-field=line] .tabulator-col-content').click() === undefined")
		b.Until(firstLine + " === '440'")
		browsertest.Ask[bool](b, lastHead+".querySelector('.tabulator-col-content').click() === undefined")
		b.Until("document.querySelector('#rows .tabulator-row').textContent.includes('bad_row')")
	}
	// Details.
	browsertest.Ask[bool](b, "document.querySelector('#rows .tabulator-row').click() === undefined")
	browsertest.Wants(b, "document.getElementById('row').open && document.getElementById('row').textContent.includes('leading zero')", true)
	browsertest.Ask[bool](b, "document.getElementById('row').close() === undefined")
	// Groups.
	browsertest.Ask[bool](b, "document.querySelector('#groups th:nth-child(5) button').click() === undefined")
	browsertest.Wants(b, "document.querySelector('#groups td').textContent", "@TGS#course-11")
	browsertest.Ask[bool](b, "document.querySelector('#groups th:nth-child(4) button').click() === undefined")
	browsertest.Wants(b, "document.querySelector('#groups th:nth-child(4)').ariaSort", "descending")
}

// Where a few calls took a hundred times as long as the others, the scale shows both; a
// time without an answer is a gap.
func TestLatencyScale(t *testing.T) {
	l := planned(t, 1, 1)
	must(t, l.AddPace(t.Context(), []ledger.Second{{Unix: 1000, Calls: 2}, {Unix: 1001, Calls: 1}, {Unix: 1010, Calls: 1}}))
	must(t, l.AddWindows(t.Context(), []ledger.Window{
		{Unix: 1000, Seconds: 1, Latency: calls(30, 31)}, {Unix: 1001, Seconds: 1, Latency: calls(5000)}, {Unix: 1010, Seconds: 1, Latency: calls(30)},
	}, nil))
	b := see(t, browsertest.Start(t), pageFileOf(t, l), 1200, "light")
	browsertest.Wants(b, "document.getElementById('latency-scale').hidden", false)
	browsertest.Wants(b, "document.querySelectorAll('#latency canvas').length", 1)
	browsertest.Wants(b, "document.getElementById('failing') === null", true)
	shoot(b, "scale.png")
	b.Quiet()
}

// On paper the page is light, has the first rows, and nothing that scrolls.
func onPaper(b *browsertest.Tab) {
	b.T.Helper()
	pdf, err := chromedp.Run(b.Ctx, chromedp.PrintToPDF(chromedp.PDFPrintBackground()))
	must(b.T, err)
	if !bytes.HasPrefix(pdf, []byte("%PDF-")) || len(pdf) < 10_000 {
		b.T.Errorf("got %d bytes", len(pdf))
	}
	if dir := os.Getenv("SHOTS"); dir != "" {
		must(b.T, os.WriteFile(filepath.Join(dir, "paper.pdf"), pdf, 0o644))
	}
	browsertest.Ask[bool](b, "dispatchEvent(new Event('beforeprint'))")
	_, err = chromedp.Call(b.Ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"})
	must(b.T, err)
	browsertest.Wants(b, "getComputedStyle(document.body).backgroundColor", "rgb(255, 255, 255)")
	browsertest.Wants(b, "getComputedStyle(document.getElementById('rows')).display", "none")
	browsertest.Wants(b, "document.querySelectorAll('#rows-print tbody tr').length", 50)
	b.Quiet()
}

// shoot keeps a picture of the whole page in the directory that SHOTS names.
func shoot(b *browsertest.Tab, name string) {
	dir := os.Getenv("SHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.Ctx, chromedp.FullScreenshot(100))
	must(b.T, err)
	must(b.T, os.WriteFile(filepath.Join(dir, name), png, 0o644))
}

// 100,000 rows are filtered and sorted without waiting; what is beyond is named.
func TestPageOfManyRows(t *testing.T) {
	ctx := t.Context()
	l, err := ledger.Store{Dir: t.TempDir()}.Create(ctx, ledger.Meta{Run: "r1", Kind: "marks set", Format: "csv", Header: "group_id,account,marks"})
	must(t, err)
	defer l.Close()
	const rows = maxPageRows + 5000
	for i := range int64(rows) {
		must(t, l.PlanSource(i, i+2, fmt.Sprintf("course-%d,student-%d,%d", i*7919%24, i*104_729%9_999_991, 1000+i%5)))
		must(t, l.PlanFailed(i, ledger.Outcome{Class: []string{"bad_row", "over_limit", "refused"}[i%3], Error: fmt.Sprint("reason ", i%1000), Code: int(i % 2 * 10004)}))
	}
	must(t, l.PlanDone(ctx, rows, 0))
	dir := t.TempDir()
	began := time.Now()
	_, err = Write(ctx, l, dir, nil)
	must(t, err)
	i, err := os.Stat(PageFile(dir))
	must(t, err)
	t.Logf("written in %v, %d KB", time.Since(began).Round(time.Millisecond), i.Size()>>10)
	if i.Size() > 4<<20 {
		t.Errorf("the page has %d bytes", i.Size())
	}
	began = time.Now()
	b := see(t, browsertest.Start(t), PageFile(dir), 1200, "light")
	t.Logf("shown after %v", time.Since(began).Round(time.Millisecond))
	browsertest.Wants(b, shownCount, "100,000")
	browsertest.Wants(b, "document.getElementById('rows-left').textContent", "The first 100,000 of 105,000 failed rows are here; all are in failed.csv.")
	took := func(what, begin, end string) {
		began := time.Now()
		browsertest.Ask[bool](b, begin)
		b.Until(end)
		t.Logf("%s: %v", what, time.Since(began).Round(time.Millisecond))
		if d := time.Since(began); d > 30*time.Second {
			t.Errorf("%s took %v", what, d)
		}
	}
	took("filter", "(() => { const e = document.getElementById('rows-find'); e.value = 'reason 77'; return e.dispatchEvent(new Event('input')); })()", shownCount+" === '1,100 of 100,000'")
	took("unfilter", "(() => { const e = document.getElementById('rows-find'); e.value = ''; return e.dispatchEvent(new Event('input')); })()", shownCount+" === '100,000'")
	took("sort", "document.querySelector('#rows .tabulator-col[tabulator-field=line] .tabulator-col-content').click() === undefined", firstLine+" === '100,001'")
	took("sort by text", lastHead+".querySelector('.tabulator-col-content').click() === undefined", "document.querySelector('#rows .tabulator-row').textContent.includes('reason 0')")
	took("scroll", "(document.querySelector('.tabulator-tableholder').scrollTop = 1e9) > 0", "document.querySelector('#rows').textContent.includes('reason 999')")
	browsertest.Wants(b, "document.querySelectorAll('#rows .tabulator-row').length < 200", true) // the others are not in the page
	b.Quiet()
}

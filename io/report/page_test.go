package report

import (
	"database/sql"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/ledger"
)

// evil is what somebody may have written into a roster, or a server into an error.
// If one of these comes to life, the title of the page changes or a dialog opens.
var evil = []string{
	`</script><script>document.title='evil'</script>`,
	`<img src=x onerror="document.title='evil';alert(1)">`,
	`"><svg/onload=alert(1)>`,
	`' onmouseover='alert(1)' x='`,
	`</title></style></textarea><!--<script>`,
	`{{.Sum}}${alert(1)}` + "`" + `javascript:alert(1)`,
	`=HYPERLINK("http://127.0.0.1:9/evil","x")`,
	"\u2028alert(1)\u2029\x00\x07\x1b[31m\u202egnp.exe\u2066\ufeff",
	"\xff\xfe\xc3(",
}

// hostile is a run in which every text is evil.
func hostile(t *testing.T) *ledger.Ledger {
	t.Helper()
	ctx := t.Context()
	l, err := ledger.Store{Dir: t.TempDir()}.Create(ctx, ledger.Meta{
		Run: "r1", Kind: "marks set", Format: "csv", Header: evil[0] + evil[7], NewLine: "\n",
		Input: evil[1], Endpoint: evil[2], Identifier: evil[3], SDKAppID: 1, Version: evil[4],
	})
	must(t, err)
	t.Cleanup(func() { l.Close() })
	n := int64(len(evil))
	for i := range n {
		must(t, l.PlanSource(2*i, 4*i+2, evil[i]))
		must(t, l.PlanSource(2*i+1, 4*i+3, "g,"+evil[i]))
		must(t, l.PlanFailed(2*i, ledger.Outcome{Class: "bad_row", Error: evil[i]}))
	}
	for i := range n {
		must(t, l.PlanChunk(strings.ToValidUTF8(evil[i], "?"), []ledger.Entry{{Account: evil[i], Rows: []int64{2*i + 1}}}))
	}
	must(t, l.PlanDone(ctx, 2*n, 0))
	must(t, l.Begin(ctx))
	for i := range n {
		o := ledger.Outcome{Class: "class " + evil[i], Code: int(10000 + i), Error: evil[i], Attempts: 1}
		must(t, l.Settle(ctx, i+1, []ledger.Outcome{o}, ledger.Cost{Calls: 1}))
	}
	at := time.Date(2026, 11, 22, 3, 12, 5, 0, time.UTC).Unix()
	must(t, l.AddPace(ctx, []ledger.Second{{Unix: at, Calls: 5, Refused: 2, Lanes: 5, Budget: 9}, {Unix: at + 1, Calls: 4, Lanes: 9, Budget: 9}}))
	failed := map[string]int64{}
	for _, text := range evil {
		failed["class "+text] = 1
	}
	must(t, l.AddWindows(ctx, []ledger.Window{{Unix: at, Seconds: 1, Latency: calls(20), Failed: failed}}, calls(20)))
	must(t, l.End(ctx, ledger.Finished, ledger.Session{Seconds: 2, MaxCallsInOneSecond: 5}))
	return l
}

// pageOf writes the reports of a run and returns its page.
func pageOf(t *testing.T, l *ledger.Ledger) string {
	t.Helper()
	b, err := os.ReadFile(pageFileOf(t, l))
	must(t, err)
	return string(b)
}

func pageFileOf(t *testing.T, l *ledger.Ledger) string {
	t.Helper()
	dir := t.TempDir()
	_, err := Write(t.Context(), l, dir, func(ledger.Summary) Next {
		return Next{"mend " + evil[0] + ", and run it:", "chatbatch marks set '" + evil[1] + "'"}
	})
	must(t, err)
	return PageFile(dir)
}

// ours are the elements of the page without what is in the scripts and styles.
var inElements = regexp.MustCompile(`(?s)(<style>).*?(</style>)|(<script>).*?(</script>)`)

var licence = regexp.MustCompile(`(?s)<!--\n(uPlot|tabulator)\nThe MIT License.*?-->`)

func TestPageIsEscaped(t *testing.T) {
	page := inElements.ReplaceAllString(pageOf(t, hostile(t)), "$1$2$3$4")
	page = licence.ReplaceAllString(page, "")
	for _, bad := range []string{"<img", "<svg/", "<!--", "onerror=\"", "document.title='evil'</script>", "\u2028", "\u2029", "\u202e", "\u2066", "\x00", "\x1b", "ZgotmplZ", "style="} {
		if i := strings.Index(page, bad); i >= 0 {
			t.Errorf("%q in …%s…", bad, page[max(0, i-100):min(len(page), i+100)])
		}
	}
	// As many elements as without them: none of ours was closed, and none begun.
	for tag, want := range map[string]int{"script": 7, "style": 3, "title": 1, "svg": 1 + 2*len(evil) + 1, "textarea": 0} {
		if got := strings.Count(page, "<"+tag); got != want {
			t.Errorf("%d <%s>, want %d", got, tag, want)
		}
		if open, closed := strings.Count(page, "<"+tag), strings.Count(page, "</"+tag+">"); open != closed {
			t.Errorf("%d <%s> and %d </%s>", open, tag, closed, tag)
		}
	}
	for _, want := range []string{template.HTMLEscapeString(evil[1]), "<title>marks set · "} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s", want)
		}
	}
}

var (
	rowsData = regexp.MustCompile(`<script type="application/gzip" id="rows-data">([A-Za-z0-9+/=]*)</script>`)
	paceData = regexp.MustCompile(`<script type="application/json" id="pace-data">(.*?)</script>`)
)

// The data of a page, as its scripts read them.
func TestPageData(t *testing.T) {
	page := pageOf(t, slowed(t))
	m := rowsData.FindStringSubmatch(page)
	if m == nil {
		t.Fatal("no rows")
	}
	want := `[
[3,0,"1","bad_row",0,0,"column marks:··\"010\" is not a mark·, it has a leading zero"],
[4,1,"2","refused",10004,3,"群组 unknown"],
[6,2,"4","bad_row",0,0,"record on line 6: wrong number of fields"]
]`
	if d := cmp.Diff(want, unpacked(t, m[1])); d != "" {
		t.Error(d)
	}
	m = paceData.FindStringSubmatch(page)
	if m == nil || !strings.HasPrefix(m[1], `{"start":1795317105,"width":1,"calls":[1,0,0`) || !strings.Contains(m[1], `"lanes":[null,null,`) {
		t.Errorf("pace: got %.200q", m)
	}
}

// stripped is the page as it reads: without elements, and each part on a line.
func stripped(page string) string {
	page = licence.ReplaceAllString(inElements.ReplaceAllString(page, ""), "")
	page = regexp.MustCompile(`(?s)<script[^>]*>.*?</script>|<svg.*?</svg>|<option.*?</option>`).ReplaceAllString(page, "")
	page = regexp.MustCompile(`</?(code|small|span|time|bdi|a|td|th)\b[^>]*>`).ReplaceAllString(page, " ")
	page = regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, "\n")
	page = regexp.MustCompile(`[ \t]+`).ReplaceAllString(page, " ")
	page = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`).ReplaceAllString(page, "TIME")
	return regexp.MustCompile(`\s*\n\s*`).ReplaceAllString(strings.TrimSpace(page), "\n")
}

func TestPageText(t *testing.T) {
	l := small(t, ledger.Meta{Format: "csv", Header: "group_id,account,marks", Input: "/srv/class.csv", Endpoint: "https://example.com", SDKAppID: 14, Identifier: "admin", Version: "v1"},
		[6]string{"0", "1", "2", "3", "4", "5"})
	dir := t.TempDir()
	_, err := Write(t.Context(), l, dir, func(s ledger.Summary) Next { return Next{Command: "chatbatch resume " + s.Run} })
	must(t, err)
	b, err := os.ReadFile(PageFile(dir))
	must(t, err)
	if i, err := os.Stat(PageFile(dir)); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", i.Mode(), err)
	}
	want, err := os.ReadFile(filepath.Join("testdata", "page.txt"))
	must(t, err)
	if d := cmp.Diff(string(want), stripped(string(b))+"\n"); d != "" {
		t.Errorf("testdata/page.txt + page -\n%s", d)
		if os.Getenv("UPDATE") != "" {
			must(t, os.WriteFile(filepath.Join("testdata", "page.txt"), []byte(stripped(string(b))+"\n"), 0o644))
		}
	}
}

// A run of which nothing failed needs no table of rows, and a page of some KB.
func TestPageWithoutFailures(t *testing.T) {
	l := planned(t, 3, 3)
	for i := range int64(3) {
		must(t, l.Settle(t.Context(), i+1, []ledger.Outcome{{}}, ledger.Cost{Calls: 1}))
	}
	must(t, l.End(t.Context(), ledger.Finished, ledger.Session{Seconds: 1}))
	page := pageOf(t, l)
	if len(page) > 40<<10 || strings.Contains(page, "Tabulator") || strings.Contains(page, "rows-data") || strings.Contains(page, "uPlot") {
		t.Errorf("got %d bytes", len(page))
	}
	for _, want := range []string{`class="state succeeded">finished`, `<table id="groups">`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s", want)
		}
	}
}

// planned is a run of rows in groups, a row in a chunk, that has begun.
func planned(t *testing.T, rows, groups int) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Store{Dir: t.TempDir()}.Create(t.Context(), ledger.Meta{Run: "r1", Kind: "marks set", Format: "csv", Header: "a"})
	must(t, err)
	t.Cleanup(func() { l.Close() })
	for i := range int64(rows) {
		must(t, l.PlanSource(i, i+2, fmt.Sprint("row ", i)))
		must(t, l.PlanChunk(fmt.Sprint("group ", i%int64(groups)), []ledger.Entry{{Account: fmt.Sprint(i), Rows: []int64{i}}}))
	}
	must(t, l.PlanDone(t.Context(), int64(rows), 0))
	must(t, l.Begin(t.Context()))
	return l
}

// The ledger of an older program has no pace, and less to say of a chunk.
func TestPageOfAnOldLedger(t *testing.T) {
	ctx := t.Context()
	s := ledger.Store{Dir: t.TempDir()}
	l, err := s.Create(ctx, ledger.Meta{Run: "r1", Kind: "marks set", Format: "csv", Header: "a"})
	must(t, err)
	for i := range int64(4) {
		must(t, l.PlanSource(i, i+2, fmt.Sprint("row ", i)))
	}
	must(t, l.PlanChunk("g1", []ledger.Entry{{Rows: []int64{0}}, {Rows: []int64{1, 2}}}))
	must(t, l.PlanChunk("g2", []ledger.Entry{{Rows: []int64{3}}}))
	must(t, l.PlanDone(ctx, 4, 0))
	must(t, l.Begin(ctx))
	must(t, l.Settle(ctx, 1, []ledger.Outcome{{}, {Class: "refused", Code: 10004}}, ledger.Cost{Calls: 1}))
	must(t, l.End(ctx, ledger.Stopped, ledger.Session{Seconds: 1}))
	must(t, l.Close())
	db, err := sql.Open("sqlite", l.Path())
	must(t, err)
	for _, statement := range []string{
		"DROP TABLE latency", "DROP TABLE failing", "ALTER TABLE session DROP COLUMN latency",
		"DROP TABLE pace", "ALTER TABLE session DROP COLUMN refused", "DROP TABLE entry", "DROP INDEX chunk_lo",
		"ALTER TABLE progress DROP COLUMN settled", "ALTER TABLE progress DROP COLUMN note",
		"ALTER TABLE books DROP COLUMN superseded", "ALTER TABLE books DROP COLUMN kept", "ALTER TABLE run DROP COLUMN sum",
		"PRAGMA user_version = 1", "PRAGMA wal_checkpoint(TRUNCATE)",
	} {
		_, err := db.Exec(statement)
		must(t, err)
	}
	must(t, db.Close())
	old, err := s.OpenRead(ctx, "r1")
	must(t, err)
	defer old.Close()
	text := stripped(pageOf(t, old))
	for _, want := range []string{"stopped by a guard", "\ng1 3 1 2 0\n", "\ng2 1 0 0 1\n", "refused 10004 2 "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "pace.csv") {
		t.Errorf("a pace in\n%s", text)
	}
}

// Above some thousand groups their table is left out, and a line says so.
func TestPageOfManyGroups(t *testing.T) {
	for groups, table := range map[int]bool{maxPageGroups: true, maxPageGroups + 1: false} {
		page := pageOf(t, planned(t, groups, groups))
		if got := strings.Contains(page, `<table id="groups">`); got != table || strings.Contains(page, "Too many for a table here.") == table {
			t.Errorf("%d groups: table %v", groups, got)
		}
	}
}

// A run that has not begun has a page too.
func TestPageOfNothing(t *testing.T) {
	l, err := ledger.Store{Dir: t.TempDir()}.Create(t.Context(), ledger.Meta{Run: "r1", Kind: "export members", Format: "jsonl"})
	must(t, err)
	defer l.Close()
	must(t, l.PlanDone(t.Context(), 0, 0))
	if page := stripped(pageOf(t, l)); !strings.Contains(page, "planned") || !strings.Contains(page, "failed.jsonl") {
		t.Errorf("got %s", page)
	}
}

func TestLasted(t *testing.T) {
	for seconds, want := range map[float64]string{0: "0.0 s", 1.74: "1.7 s", 59.96: "1 min 00 s", 61: "1 min 01 s", 3599.9: "59 min 59 s", 28_000: "7 h 46 min"} {
		if got := lasted(seconds); got != want {
			t.Errorf("%v: got %q, want %q", seconds, got, want)
		}
	}
}

// What is not nothing can be seen in a bar, and it is never wider than the bar.
func TestBar(t *testing.T) {
	got := string(bar(10_000_000, part{"succeeded", 9_999_998}, part{"failed", 1}, part{"unprocessed", 1}))
	want := `<svg class="bar" viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true">` +
		`<rect class="succeeded" x="0.0" width="988.0" height="10"/><rect class="failed" x="988.0" width="6.0" height="10"/><rect class="unprocessed" x="994.0" width="6.0" height="10"/></svg>`
	if got != want {
		t.Errorf("got %s", got)
	}
	if got := string(bar(0)); strings.Contains(got, "rect") {
		t.Errorf("of nothing: got %s", got)
	}
}

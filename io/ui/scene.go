package ui

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"chatbatch/io/ledger"
	"chatbatch/io/report"
)

// scene is what the template shows.
type scene struct {
	Ledger, Server string
	Now            time.Time // zero: the runs were never seen
	Away           string    // why the runs cannot be seen
	Since          time.Time // that is so
	Busy, Rest     []run
	More           bool
	Hosts          []host
	Shared         bool // budgets are shared by a database
	Budgets        []Budget
	BudgetsAway    string
	Failures       []failure
}

type run struct {
	ledger.Surveyed
	Hosts  int
	Queued bool // no host works on it, but those of its app are at work
	known  bool
	rows   float64 // a second
	calls  float64
}

type host struct {
	ledger.Host
	known bool
	calls float64 // a second
}

type failure struct {
	ledger.Failure
	Seen time.Time // it was more than before; zero: it was there already
	Raw  string    // "": not known yet
}

// scene puts together what the page shows.
func (b *board) scene() scene {
	s := scene{
		Ledger: b.o.Ledger, Server: b.o.Server, Now: b.survey.Now, Since: b.since, More: b.survey.More,
		Shared: b.o.Budgets != nil, Budgets: b.budgets,
	}
	if b.why != nil {
		s.Away = b.why.Error()
	}
	if b.why2 != nil {
		s.BudgetsAway = b.why2.Error()
	}
	at := map[string]int{}
	apps := b.appsAtWork()
	for _, h := range b.survey.Hosts {
		at[h.Run]++
		shown := host{Host: h}
		_, shown.calls, shown.known = b.paces[paceKey{h.Run, h.Session}].perSecond()
		s.Hosts = append(s.Hosts, shown)
	}
	for _, r := range b.survey.Runs {
		shown := run{Surveyed: r, Hosts: at[r.Run]}
		shown.rows, shown.calls, shown.known = b.paces[paceKey{run: r.Run}].perSecond()
		shown.Queued = shown.Hosts == 0 && apps[appOf(r)]
		if r.State == ledger.Planning || r.State == ledger.Running {
			s.Busy = append(s.Busy, shown)
		} else {
			s.Rest = append(s.Rest, shown)
		}
	}
	for _, f := range b.survey.Failures {
		s.Failures = append(s.Failures, failure{f, b.grown(f), b.examples[exampleKey{f.Run, f.Example}]})
	}
	return s
}

// An app is what a host works for.
type app struct {
	id       int64
	endpoint string
}

func appOf(r ledger.Surveyed) app { return app{r.Meta.SDKAppID, r.Meta.Endpoint} }

// appsAtWork are those for whose runs hosts are at work.
func (b *board) appsAtWork() map[app]bool {
	of := map[string]app{}
	for _, r := range b.survey.Runs {
		of[r.Run] = appOf(r)
	}
	apps := map[app]bool{}
	for _, h := range b.survey.Hosts {
		apps[of[h.Run]] = true
	}
	return apps
}

// Bar draws the books.
func (r run) Bar() template.HTML { return report.Bar(r.Books) }

// Tone is the colour of the state.
func (r run) Tone() string {
	switch r.State {
	case ledger.Finished:
		return "succeeded"
	case ledger.Running, ledger.Planning:
		return "busy"
	}
	return "unprocessed"
}

// NotPublished says that what the run has fetched is not published yet, and why.
func (r run) NotPublished() string {
	switch {
	case r.State != ledger.Finished || r.Publish.Over():
		return ""
	case r.Unpublished != "":
		return "not published: " + r.Unpublished
	case r.Publish == ledger.PublishByCommand:
		return "not published: chatbatch resume " + r.Run + " --wait does it"
	}
	return "not published yet"
}

// Parts are the books, by name.
func (r run) Parts() []part {
	b := r.Books
	return []part{{"succeeded", b.Succeeded}, {"failed", b.Failed}, {"unprocessed", b.Unprocessed}}
}

type part struct {
	Name string
	Rows int64
}

// Idle says that nobody works on what there is to do.
func (r run) Idle() bool { return r.State == ledger.Running && r.Hosts == 0 }

// RowPace, CallPace and Left say how the run gets on.
func (r run) RowPace() string { return paceText(r.rows, r.known) }

// CallPace is said of calls.
func (r run) CallPace() string { return paceText(r.calls, r.known) }

// Left is the time that it takes if it goes on like this.
func (r run) Left() string {
	switch {
	case r.Books.Unprocessed == 0 && r.State == ledger.Running:
		return "done"
	case !r.known || r.rows <= 0:
		return "–"
	}
	seconds := float64(r.Books.Unprocessed) / r.rows
	if seconds > 1e8 {
		return "years"
	}
	return spanText(time.Duration(seconds * float64(time.Second)))
}

// CallPace is said of what the host does for the run.
func (h host) CallPace() string { return paceText(h.calls, h.known) }

// Sign says whether it lives.
func (h host) Sign() string {
	if h.LeaseEnds > 0 {
		return ""
	}
	return "no sign of life: others take over what it has in hand"
}

// Of is how much of a budget a host has, in parts of a thousand.
func (b Budget) Of(lanes int) int {
	if b.Lanes == 0 {
		return 0
	}
	return min(1000, lanes*1000/b.Lanes)
}

func paceText(perSecond float64, known bool) string {
	if !known {
		return "–"
	}
	return humanize.CommafWithDigits(perSecond, 1)
}

// spanText writes a time as people say it.
func spanText(d time.Duration) string {
	d = max(0, d).Round(time.Second)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", d/time.Minute, d/time.Second%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", d/time.Hour, d/time.Minute%60)
	}
	return fmt.Sprintf("%.0f days", math.Round(d.Hours()/24))
}

// clipAt is how much of a row is shown, in bytes.
const clipAt = 300

func clip(raw string) string {
	raw = strings.TrimRight(raw, "\r\n")
	if len(raw) <= clipAt {
		return raw
	}
	end := clipAt
	for !utf8.RuneStart(raw[end]) && end > clipAt-utf8.UTFMax {
		end--
	}
	return raw[:end] + " …"
}

var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"count":   func(n int64) string { return humanize.Comma(n) },
		"visible": report.Visible,
		"clock":   func(t time.Time) string { return t.UTC().Format("15:04:05 UTC") },
		"time":    func(t time.Time) string { return t.UTC().Format("15:04:05") },
		"day":     day,
	}).Parse(pageHTML))
})

// day writes a time with its date.
func day(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

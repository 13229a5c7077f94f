package ui

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"chatbatch/io/ledger"
	"chatbatch/io/report/browsertest"
)

// The page shows how things stand, and goes on to: what changes is seen without a click,
// what somebody has selected stays so, and a database that is away is said.
func TestPage(t *testing.T) {
	browser := browsertest.Start(t)
	f := newFakeRuns()
	server := httptest.NewServer(New(Options{Runs: f, Budgets: f.lanes, Ledger: "PostgreSQL at db", Server: "school-1 (7)"}))
	defer server.Close()
	b := see(t, browser, server.URL+"/", 1200, "light")
	text := func(selector string) string {
		return `Array.from(document.querySelectorAll('` + selector + `'), (e) => e.textContent.trim()).join(' | ')`
	}
	browsertest.Wants(b, text(".sums dd"), "1,000 | 100 | 10 | 890")
	browsertest.Wants(b, text(".state"), "running")
	browsertest.Wants(b, text("#hosts tbody td:first-child"), "school-1 (7) | school-2 (8)no sign of life: others take over what it has in hand")
	browsertest.Wants(b, text(".lanes tbody td:nth-child(2)"), "120 | 70")
	browsertest.Wants(b, text("#failures .raw"), "g1,student-7,1000")
	browsertest.Wants(b, text("#failures tbody td:nth-child(5)"), "earlier")
	browsertest.Wants(b, text("#rest tbody td:first-child"), "20261126T010000.000Z-000000")

	browsertest.Ask[bool](b, `(getSelection().selectAllChildren(document.querySelector('.run code')), true)`)
	f.change(func(s *ledger.Survey) {
		s.Runs[0].Books = ledger.Books{Rows: 1000, Succeeded: 480, Failed: 20, Unprocessed: 500}
		s.Failures[0].Rows = 20
	})
	b.Until(text(".sums dd") + ` === '1,000 | 480 | 20 | 500'`)
	b.Until(text("#failures tbody td:nth-child(5)") + ` !== 'earlier'`)
	b.Until(text(".pace dd") + `.includes(' s |')`) // there is a pace, and a time left
	browsertest.Wants(b, `getSelection().toString()`, "20261127T010000.000Z-aaaaaa")
	b.Quiet()

	f.fail(errors.New("the database <i>x</i> cannot be reached"))
	b.Until(`document.querySelector('#now > .away')`)
	if got := browsertest.Ask[string](b, text("#now > .away")); !strings.Contains(got, "<i>x</i>") || !strings.Contains(got, "as it was at") {
		t.Errorf("it says %q", got)
	}
	browsertest.Wants(b, text(".sums dd"), "1,000 | 480 | 20 | 500")
	f.fail(nil)
	f.change(func(s *ledger.Survey) {
		s.Runs[0].State, s.Runs[0].Books = ledger.Finished, ledger.Books{Rows: 1000, Succeeded: 980, Failed: 20}
		s.Hosts = nil
	})
	b.Until(`!document.querySelector('#now > .away') && !document.querySelector('.run')`)
	browsertest.Wants(b, text("#rest tbody td:first-child"), "20261127T010000.000Z-aaaaaa | 20261126T010000.000Z-000000")
	b.Quiet()

	server.CloseClientConnections()
	server.Close()
	b.Until(`!document.getElementById('silent').hidden`)
}

// Whatever stands in a roster, a name or an error is text, on each way to the page.
func TestHostile(t *testing.T) {
	browser := browsertest.Start(t)
	f := newFakeRuns()
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)><svg onload=alert(3)>{{.}}</td></table>`
	f.change(func(s *ledger.Survey) {
		r := &s.Runs[0]
		r.Meta.Input, r.Meta.Kind = evil+"\u202e.csv", evil
		s.Runs[1].Why, s.Runs[1].Meta.Input = evil, evil
		s.Hosts[0].Name = evil
		s.Failures[0].Class, s.Failures[0].Error = evil, evil
	})
	f.row, f.tenant = evil+"\x1b[31m\x00", evil
	server := httptest.NewServer(New(Options{Runs: f, Budgets: f.lanes, Ledger: evil, Server: evil}))
	defer server.Close()
	for _, width := range []int64{1200, 400} {
		b := see(t, browser, server.URL+"/", width, "dark")
		f.change(func(s *ledger.Survey) { s.Runs[0].Books.Succeeded++; s.Runs[0].Books.Unprocessed-- })
		n := fmt.Sprintf("%d", f.now().Runs[0].Books.Succeeded)
		b.Until(`document.querySelector('.sums .succeeded dd').textContent === '` + n + `'`) // it came by the other way
		browsertest.Wants(b, `document.querySelectorAll('script, img, svg:not(.bar), iframe').length`, 1)
		browsertest.Wants(b, `document.querySelector('#failures .raw').textContent`, evil+"·[31m·")
		browsertest.Wants(b, `document.querySelector('.run bdi').textContent`, evil+"·.csv")
		browsertest.Wants(b, `document.documentElement.scrollWidth <= innerWidth`, true)
		b.Quiet()
	}
}

// It can be read at every width, light and dark.
func TestLooks(t *testing.T) {
	browser := browsertest.Start(t)
	f := newFakeRuns()
	server := httptest.NewServer(New(Options{Runs: f, Budgets: f.lanes, Ledger: "db", Server: "s"}))
	defer server.Close()
	background := map[string]string{}
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{360, 700, 1200} {
			b := see(t, browser, server.URL+"/", width, scheme)
			browsertest.Wants(b, `document.documentElement.scrollWidth <= innerWidth`, true)
			background[scheme] = browsertest.Ask[string](b, `getComputedStyle(document.body).backgroundColor`)
			b.Quiet()
		}
	}
	if background["light"] == background["dark"] {
		t.Errorf("light and dark are %s", background["dark"])
	}
}

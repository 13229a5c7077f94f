// Package ui is a page that shows people how a fleet stands: its runs, the hosts that work
// on them, the lanes that they share, and what fails. It is looked at in a browser, lives,
// and changes nothing.
//
// What it costs the database does not depend on how large the runs are, or how many people
// look: sums, once a second at the most, and nothing while nobody looks.
//
// It shows rows as they were written, which are people's data: who serves it decides from
// where it can be reached. It answers only to addresses and to names it is told, so that no
// page of somebody else can read it by a name of its own (DNS rebinding), sends nothing
// anywhere, and takes nothing but GET.
package ui

import (
	"bytes"
	_ "embed"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"chatbatch/io/report"
)

var (
	//go:embed web/ui.tmpl
	pageHTML string
	//go:embed web/ui.css
	pageCSS string
	//go:embed web/ui.js
	pageJS string
)

// policy lets the page do nothing but what this server says, whatever is in a row.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Options say what a page shows, and to whom.
type Options struct {
	Runs    Runs
	Budgets Budgets  // nil: hosts share no budget by a database
	Ledger  string   // where the runs are, for people
	Server  string   // who serves the page, for people
	Names   []string // by which it may be asked for, beside localhost and addresses
}

// A Page is the page. It is safe for concurrent use.
type Page struct {
	names []string
	board *board
	mux   http.ServeMux
}

// New makes the page. It looks at nothing before somebody asks.
func New(o Options) *Page {
	p := &Page{names: o.Names, board: newBoard(o)}
	p.mux.HandleFunc("GET /{$}", p.serve("page"))
	p.mux.HandleFunc("GET /now", p.serve("now"))
	p.mux.HandleFunc("GET /ui.css", file("text/css", report.Sheet()+pageCSS))
	p.mux.HandleFunc("GET /ui.js", file("text/javascript", pageJS))
	p.mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	return p
}

// ServeHTTP serves the page and what belongs to it.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store") // people's data
	if !p.invited(r.Host) {
		http.Error(w, fmt.Sprintf("this page is not served by the name of %q: ask for it by the address of its host, or give that name to --ui", r.Host),
			http.StatusMisdirectedRequest)
		return
	}
	p.mux.ServeHTTP(w, r)
}

// invited says whether the page may be asked for by this host. Nobody can make an address
// or localhost mean something else; a name might be anybody's.
func (p *Page) invited(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	return slices.ContainsFunc(append([]string{"localhost"}, p.names...), func(name string) bool { return strings.EqualFold(name, host) })
}

// serve serves a part of the template, as things stand now.
func (p *Page) serve(part string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		if err := p.board.write(r.Context(), &b, part); err != nil {
			http.Error(w, "the page cannot be made: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(b.Bytes()) // who asked may have gone
	}
}

// file serves a text that does not change.
func file(kind, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind+"; charset=utf-8")
		_, _ = w.Write([]byte(text)) // who asked may have gone
	}
}

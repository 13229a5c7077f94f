package report

import (
	"context"
	"fmt"
	"html/template"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"chatbatch/io/aside"
	"chatbatch/io/ledger"
)

// PageFile returns the name of the file in dir in which Write puts the page of the
// run, for people.
func PageFile(dir string) string { return filepath.Join(dir, "report.html") }

// Next is what can be done after a run: some words, and a command to be pasted.
// Both are empty if there is nothing to do.
type Next struct{ Say, Command string }

// A page is report.html while it is written: the top, the failed rows one by one,
// the bottom.
type page struct {
	out    *aside.File
	parts  *template.Template
	facts  *facts
	failed *failedRows // nil if none failed
}

// newPage writes the top of the page of a run.
func newPage(ctx context.Context, out *aside.File, v *ledger.View, f *facts) (*page, error) {
	p := &page{out: out, parts: pageTemplate(), facts: f}
	if err := f.read(ctx, v); err != nil {
		return nil, err
	}
	f.assemble()
	if err := p.parts.ExecuteTemplate(out, "top", f); err != nil {
		return nil, fmt.Errorf("write report.html: %w", err)
	}
	f.Alike, f.Group = nil, nil // they are written
	if f.Sum.Failed > 0 {
		// Base64 has no character that ends a script.
		if _, err := out.WriteString("<script type=\"application/gzip\" id=\"rows-data\">"); err != nil {
			return nil, err
		}
		p.failed = newFailedRows(out)
	}
	return p, nil
}

// row takes a failed row.
func (p *page) row(r ledger.RowOutcome) error {
	if p.failed == nil {
		return nil // the sums do not know of it, and are not going to balance
	}
	return p.failed.add(r)
}

// end writes the rest.
func (p *page) end() error {
	if p.failed != nil {
		if err := p.failed.close(); err != nil {
			return err
		}
		if _, err := p.out.WriteString("</script>\n"); err != nil {
			return err
		}
		p.facts.Shown = p.failed.rows
	}
	if err := p.parts.ExecuteTemplate(p.out, "bottom", p.facts); err != nil {
		return fmt.Errorf("write report.html: %w", err)
	}
	if err := p.facts.scripts.write(p.out); err != nil {
		return err
	}
	_, err := p.out.WriteString("</body>\n</html>\n")
	return err
}

// pageTemplate has two parts; what is between them is not kept in memory.
var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"count":   func(n int64) string { return humanize.Comma(n) },
		"share":   percent,
		"visible": visible,
		"prose":   prose,
		"bar":     bar,
		"utc":     utc,
		"lasted":  lasted,
		"trip":    tripText,
		"rate":    func(x float64) string { return humanize.CommafWithDigits(x, 1) },
	}).Parse(pageHTML))
})

// utc writes a time for people, and as a program reads it.
func utc(t *time.Time) template.HTML {
	if t == nil {
		return "–"
	}
	return template.HTML(t.Format(`<time datetime="` + time.RFC3339 + `">2006-01-02 15:04:05 UTC</time>`))
}

// lasted writes a number of seconds as people say it.
func lasted(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case seconds < 59.95: // would be written as 60.0
		return fmt.Sprintf("%.1f s", seconds)
	case d < time.Hour:
		d = max(d, time.Minute)
		return fmt.Sprintf("%d min %02d s", d/time.Minute, d/time.Second%60)
	}
	return fmt.Sprintf("%d h %02d min", d/time.Hour, d/time.Minute%60)
}

// tripText writes milliseconds as people say them.
func tripText(ms float64) string {
	switch {
	case ms < 0.995:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 9.95: // would be written as 10.0
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 9995:
		return humanize.Comma(int64(math.Round(ms))) + " ms"
	}
	return fmt.Sprintf("%.1f s", ms/1000)
}

// prose makes HTML of a text in which backticks stand around code.
func prose(s string) template.HTML {
	var b strings.Builder
	for i, part := range strings.Split(s, "`") {
		part = template.HTMLEscapeString(part)
		if i%2 == 1 {
			part = "<code>" + part + "</code>"
		}
		b.WriteString(part)
	}
	return template.HTML(b.String())
}

// barWidth is the length of a bar in units of its own: it is as wide as the page
// says. (In an attribute of SVG: the policy of the page forbids style="…".)
const (
	barWidth = 1000
	barLeast = 6 // of a part that is not nothing
)

// bar draws parts of a whole side by side. A part that is not nothing can be seen;
// the largest gives way.
func bar(whole int64, parts ...part) template.HTML {
	widths := make([]float64, len(parts))
	largest, over := 0, 0.0
	for i, p := range parts {
		if p.Rows <= 0 || whole <= 0 {
			continue
		}
		exact := float64(p.Rows) / float64(whole) * barWidth
		widths[i] = max(exact, barLeast)
		over += widths[i] - exact
		if p.Rows > parts[largest].Rows {
			largest = i
		}
	}
	if len(parts) > 1 {
		widths[largest] -= over
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="bar" viewBox="0 0 %d 10" preserveAspectRatio="none" aria-hidden="true">`, barWidth)
	x := 0.0
	for i, w := range widths {
		if w > 0 {
			fmt.Fprintf(&b, `<rect class="%s" x="%.1f" width="%.1f" height="10"/>`, template.HTMLEscapeString(parts[i].Name), x, w)
			x += w
		}
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

// A part is what so many rows are called.
type part struct {
	Name string
	Rows int64
}

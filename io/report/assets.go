package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"strings"
)

// What is in the page: ours, and in npm that of others.
var (
	//go:embed web/page.tmpl
	pageHTML string
	//go:embed web/page.css
	pageCSS string
	//go:embed web/charts.js
	chartsJS string
	//go:embed web/groups.js
	groupsJS string
	//go:embed web/rows.js
	rowsJS string

	//go:embed web/npm/uPlot.iife.min.js
	uPlotJS string
	//go:embed web/npm/uPlot.min.css
	uPlotCSS string
	//go:embed web/npm/uPlot.LICENSE
	uPlotLicence string
	//go:embed web/npm/tabulator.min.js
	tabulatorJS string
	//go:embed web/npm/tabulator_simple.min.css
	tabulatorCSS string
	//go:embed web/npm/tabulator.LICENSE
	tabulatorLicence string
)

// elements are the scripts, or the style sheets, of a page.
type elements struct {
	tag  string   // "script" or "style"
	text []string // of each
}

// add adds one. The name of a source map at its end is left out: there is none to
// be loaded.
func (e *elements) add(text string) {
	end := max(0, len(text)-100) // it is the last line
	for _, mark := range []string{"//# sourceMappingURL=", "/*# sourceMappingURL="} {
		if i := strings.Index(text[end:], mark); i >= 0 {
			text = text[:end+i]
		}
	}
	e.text = append(e.text, text)
}

// write writes them as they stand in the page.
func (e *elements) write(out io.StringWriter) error {
	for _, text := range e.text {
		for _, s := range []string{"<" + e.tag + ">", text, "</" + e.tag + ">\n"} {
			if _, err := out.WriteString(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// sources are their hashes, for the policy.
func (e *elements) sources() string {
	var b strings.Builder
	for _, text := range e.text {
		h := sha256.New()
		_, _ = io.WriteString(h, text) // a hash has no errors
		b.WriteString(" 'sha256-" + base64.StdEncoding.EncodeToString(h.Sum(nil)) + "'")
	}
	if len(e.text) == 0 {
		return " 'none'"
	}
	return b.String()
}

// policy lets the page do nothing but what is in it: no request leaves it, and no
// text that somebody wrote into a roster can become a script.
func policy(scripts, styles *elements) template.HTML {
	return template.HTML(`<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src` + scripts.sources() +
		`; style-src` + styles.sources() + `; base-uri 'none'; form-action 'none'">`)
}

package report

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"strings"
)

// web are the page and what is in it: ours, and in npm that of others.
//
//go:embed web
var web embed.FS

// asset returns the text of a script or a style sheet. The name of a source map at
// its end is left out: there is none to be loaded.
func asset(name string) string {
	b, err := web.ReadFile("web/" + name)
	if err != nil {
		panic(err) // it is embedded: a test that writes a page finds this
	}
	s := string(b)
	end := max(0, len(s)-100) // it is the last line
	for _, mark := range []string{"//# sourceMappingURL=", "/*# sourceMappingURL="} {
		if i := strings.Index(s[end:], mark); i >= 0 {
			return s[:end+i]
		}
	}
	return s
}

// elements are the scripts, or the style sheets, of a page.
type elements struct {
	tag  string   // "script" or "style"
	text []string // of each
}

func (e *elements) add(names ...string) {
	for _, name := range names {
		e.text = append(e.text, asset(name))
	}
}

// HTML is them as they stand in the page.
func (e *elements) HTML() template.HTML {
	var b strings.Builder
	for _, text := range e.text {
		b.WriteString("<" + e.tag + ">" + text + "</" + e.tag + ">\n")
	}
	return template.HTML(b.String())
}

// licences are those of the libraries, as a comment: a page is a copy of them.
func licences(names ...string) template.HTML {
	var b strings.Builder
	for _, name := range names {
		b.WriteString("<!--\n" + name + "\n" + asset("npm/"+name+".LICENSE") + "-->\n")
	}
	return template.HTML(b.String())
}

// sources are their hashes, for the policy.
func (e *elements) sources() string {
	var b strings.Builder
	for _, text := range e.text {
		sum := sha256.Sum256([]byte(text))
		b.WriteString(" 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'")
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

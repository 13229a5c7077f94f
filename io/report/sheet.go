package report

import (
	"html/template"

	"chatbatch/io/ledger"
)

// Sheet is the style sheet of report.html, for other pages that are to look like it.
func Sheet() string { return pageCSS }

// Visible shows what a text has that would not be seen, or would change how what stands
// beside it is seen.
func Visible(s string) string { return visible(s) }

// Bar draws books side by side.
func Bar(b ledger.Books) template.HTML {
	return bar(b.Rows, part{"succeeded", b.Succeeded}, part{"failed", b.Failed}, part{"unprocessed", b.Unprocessed})
}

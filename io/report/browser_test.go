package report

import (
	"context"
	"net/url"
	"path/filepath"
	"testing"

	"chatbatch/io/report/browsertest"
)

// see opens a file in a tab of so many pixels.
func see(t *testing.T, browser context.Context, path string, width int64, scheme string) *browsertest.Tab {
	t.Helper()
	path, err := filepath.Abs(path)
	must(t, err)
	page := (&url.URL{Scheme: "file", Path: path}).String()
	b := browsertest.See(t, browser, page, width, scheme, func(url string) bool { return url == page })
	b.Until("!document.getElementById('rows') || document.querySelector('#rows .tabulator-row')")
	return b
}

// fill gives a field a value, as a user does.
func fill(b *browsertest.Tab, id, value, event string) {
	b.T.Helper()
	browsertest.Ask[bool](b, `(() => { const e = document.getElementById('`+id+`'); e.value = '`+value+`'; e.dispatchEvent(new Event('`+event+`')); return true; })()`)
}

// What is in the table of failed rows, as it is seen.
const (
	shownCount = `document.getElementById('rows-count').textContent`
	firstLine  = `document.querySelector('#rows .tabulator-row .n').textContent`
	lastHead   = `Array.from(document.querySelectorAll('#rows .tabulator-col')).at(-1)`
)

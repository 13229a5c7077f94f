package ui

import (
	"context"
	"strings"
	"testing"

	"chatbatch/io/report/browsertest"
)

// see opens the page in a tab of so many pixels. Its own is what its server has.
func see(t *testing.T, browser context.Context, url string, width int64, scheme string) *browsertest.Tab {
	t.Helper()
	return browsertest.See(t, browser, url, width, scheme, func(asked string) bool {
		switch strings.TrimPrefix(asked, url) {
		case "", "now", "ui.css", "ui.js", "favicon.ico":
			return true
		}
		return false
	})
}

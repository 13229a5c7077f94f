// Package browsertest looks at pages in a headless Chromium, for tests. Where there is no
// browser they say that they are left out; with CHATBATCH_TEST_REQUIRE_CHROMIUM they fail.
package browsertest

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	protocol "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// chromium finds the browser. Without one these tests say that they are left out;
// with CHATBATCH_TEST_REQUIRE_CHROMIUM they fail.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "/usr/bin/chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CHATBATCH_TEST_REQUIRE_CHROMIUM") != "" {
		t.Fatal("no chromium (Debian: apt-get install chromium), and CHATBATCH_TEST_REQUIRE_CHROMIUM is set")
	}
	t.Skip("left out: all that needs a browser: no chromium (Debian: apt-get install chromium)")
	return ""
}

// Start starts a browser that ends with the test.
func Start(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)),
		chromedp.NoSandbox, // root has none
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("hide-scrollbars", false),
	)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	must(t, chromedp.Do(ctx)) // starts it
	return ctx
}

// A Tab shows a page, and remembers what must not happen.
type Tab struct {
	T   *testing.T
	Ctx context.Context
	URL string

	own func(url string) bool

	mu      sync.Mutex
	trouble []string
}

// See opens a page in a tab of so many pixels, in a "light" or "dark" scheme. It may ask
// for what is its own; any other request is trouble.
func See(t *testing.T, browser context.Context, url string, width int64, scheme string, own func(url string) bool) *Tab {
	t.Helper()
	b := &Tab{T: t, URL: url, own: own}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithListener(b.watch))
	t.Cleanup(cancel)
	b.Ctx = ctx
	must(t, chromedp.Do(ctx, chromedp.EmulateViewport(width, 900)))
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	must(t, err)
	must(t, chromedp.Do(ctx, chromedp.Navigate(b.URL)))
	b.Until("document.readyState === 'complete'")
	return b
}

// watch notes errors, dialogs, and requests for what is not the page's own.
func (b *Tab) watch(event any) {
	var what string
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		what = "console " + string(e.Type)
		for _, a := range e.Args {
			what += " " + string(a.Value)
		}
	case *runtime.EventExceptionThrown:
		what = "exception " + e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			what += " " + x.Description
		}
	case *log.EventEntryAdded:
		what = "log " + e.Entry.Text
	case *network.EventRequestWillBeSent:
		if b.own(e.Request.URL) {
			return
		}
		what = "request " + e.Request.URL
	case *protocol.EventJavascriptDialogOpening:
		what = "dialog " + e.Message
	default:
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trouble = append(b.trouble, what)
}

// Trouble is what has happened so far of what must not: errors, dialogs, requests.
func (b *Tab) Trouble() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.trouble)
}

// Quiet wants that nothing of what watch notes has happened.
func (b *Tab) Quiet() {
	b.T.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.trouble) > 0 {
		b.T.Errorf("%d times trouble:\n%s", len(b.trouble), strings.Join(b.trouble, "\n"))
	}
}

// Ask evaluates an expression in the page.
func Ask[T any](b *Tab, expression string) T {
	b.T.Helper()
	v, err := chromedp.Run(b.Ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.T.Fatalf("%s: %v", expression, err)
	}
	return v
}

// Wants compares what an expression comes to.
func Wants[T comparable](b *Tab, expression string, want T) {
	b.T.Helper()
	if got := Ask[T](b, expression); got != want {
		b.T.Errorf("%s: got %v, want %v", expression, got, want)
	}
}

// Until waits for an expression to be true.
func (b *Tab) Until(expression string) {
	b.T.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if Ask[bool](b, "Boolean("+expression+")") {
			return
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.T.Fatalf("it does not come to: %s\n%s", expression, strings.Join(b.trouble, "\n"))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

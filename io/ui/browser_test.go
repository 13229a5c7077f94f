package ui

import (
	"context"
	"os"
	"os/exec"
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

// browse starts a browser that ends with the test.
func browse(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)),
		chromedp.NoSandbox, // root has none
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
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

// A tab shows the page, and remembers what must not happen.
type tab struct {
	t   *testing.T
	ctx context.Context
	url string

	mu      sync.Mutex
	trouble []string
}

// see opens the page in a tab of so many pixels.
func see(t *testing.T, browser context.Context, url string, width int64, scheme string) *tab {
	t.Helper()
	b := &tab{t: t, url: url}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithListener(b.watch))
	t.Cleanup(cancel)
	b.ctx = ctx
	must(t, chromedp.Do(ctx, chromedp.EmulateViewport(width, 900)))
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	must(t, err)
	must(t, chromedp.Do(ctx, chromedp.Navigate(b.url)))
	b.until("document.readyState === 'complete'")
	return b
}

// watch notes errors, dialogs, and requests for anything but what the page's server has.
func (b *tab) watch(event any) {
	var what string
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		what = "console " + string(e.Type)
	case *runtime.EventExceptionThrown:
		what = "exception " + e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			what += " " + x.Description
		}
	case *log.EventEntryAdded:
		what = "log " + e.Entry.Text
	case *network.EventRequestWillBeSent:
		switch strings.TrimPrefix(e.Request.URL, b.url) {
		case "", "now", "ui.css", "ui.js", "favicon.ico":
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

// quiet wants that nothing of what watch notes has happened.
func (b *tab) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.trouble) > 0 {
		b.t.Errorf("%d times trouble:\n%s", len(b.trouble), strings.Join(b.trouble, "\n"))
	}
}

// ask evaluates an expression in the page.
func ask[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// wants compares what an expression comes to.
func wants[T comparable](b *tab, expression string, want T) {
	b.t.Helper()
	if got := ask[T](b, expression); got != want {
		b.t.Errorf("%s: got %v, want %v", expression, got, want)
	}
}

// until waits for an expression to be true.
func (b *tab) until(expression string) {
	b.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ask[bool](b, "Boolean("+expression+")") {
			return
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.t.Fatalf("it does not come to: %s\n%s", expression, strings.Join(b.trouble, "\n"))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

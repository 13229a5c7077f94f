package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// A webHook keeps what it is told.
type webHook struct {
	mu     sync.Mutex
	answer string   // under mu
	told   []string // under mu
}

func (h *webHook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the program is gone
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, string(body))
	status, err := strconv.Atoi(h.answer)
	if err != nil {
		fmt.Fprint(w, h.answer)
		return
	}
	w.Header().Set("Location", "/elsewhere")
	w.WriteHeader(status)
}

// take returns what it was told since it was asked last.
func (h *webHook) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.told
	h.told = nil
	return all
}

func hook(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: hook [ANSWER]")
	}
	st := stageOf(ts)
	if st.hook == nil {
		st.hook = &webHook{}
		srv := httptest.NewServer(st.hook)
		ts.Defer(srv.Close)
		ts.Setenv("HOOK_URL", srv.URL)
	}
	st.hook.mu.Lock()
	defer st.hook.mu.Unlock()
	if st.hook.answer = "ok"; len(args) == 1 {
		st.hook.answer = args[0]
	}
}

func toldOf(ts *testscript.TestScript, neg bool, args []string) {
	st := stageOf(ts)
	if neg || len(args) != 1 || st.hook == nil {
		ts.Fatalf("usage: told N, after hook")
	}
	all := st.hook.take()
	for _, body := range all {
		fmt.Fprintln(ts.Stdout(), body)
	}
	if want := number(ts, args[0]); int64(len(all)) != want {
		ts.Fatalf("got %d messages, want %d: %q", len(all), want, all)
	}
}

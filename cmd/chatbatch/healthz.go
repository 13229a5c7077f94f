package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// stallAfter is how long a run may get nowhere until it is called stalled: longer
// than a server is away when it restarts, or a call is tried again.
const stallAfter = time.Minute

// serveMetrics serves /metrics and /healthz, which say what o says.
func serveMetrics(ctx context.Context, addr string, o *observer, logger *slog.Logger) (*sideServer, error) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", o.metrics.Handler())
	mux.HandleFunc("GET /healthz", answering(func() (string, bool) { return o.health(time.Now()) }))
	if o.host != nil {
		mux.HandleFunc("GET /readyz", answering(func() (string, bool) { return o.ready(ctx, time.Now()) }))
	}
	s, err := serveBeside(ctx, "metrics-addr", addr, "the metrics are", mux, logger)
	if err == nil {
		logger.Info("metrics are at http://" + s.at.String() + "/metrics")
	}
	return s, err
}

// answering answers with what is said, and with 503 if that is not well.
func answering(ask func() (say string, ok bool)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		say, ok := ask()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintln(w, say)
	}
}

// see notes which runs have got on.
func (o *observer) see(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.host != nil {
		o.host.see(now)
	}
	for _, r := range o.runs {
		if r.begun == nil {
			continue
		}
		m := r.begun.meter.Read()
		// A first try is progress, too: one of another chunk, or of a part of it.
		if p := m.Succeeded + m.Failed + m.Fetched + m.Calls - m.Retries; p != r.progress {
			r.progress, r.since = p, now
		}
		r.trouble = m.Trouble
	}
}

// health says in words how the runs get on, and whether they do.
func (o *observer) health(now time.Time) (say string, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.host != nil {
		return o.host.health(now)
	}
	var stalled []string
	for _, r := range o.runs {
		idle := now.Sub(r.since)
		if r.begun == nil || idle < stallAfter {
			continue
		}
		text := "the run has got nowhere for " + idle.Round(time.Second).String()
		if r.name != "" {
			text = r.name + ": " + text
		}
		stalled = append(stalled, text+": "+cmp.Or(r.trouble, "no call has left, or none was answered"))
	}
	if len(stalled) > 0 {
		return "stalled: " + strings.Join(stalled, "; "), false
	}
	return "ok", true
}

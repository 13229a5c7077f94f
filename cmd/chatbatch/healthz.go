package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// stallAfter is how long a run may get nowhere until it is called stalled: longer
// than a server is away when it restarts, or a call is tried again.
const stallAfter = time.Minute

// How long somebody who asks for metrics may take.
const (
	askTime    = 5 * time.Second
	answerTime = 15 * time.Second
	idleTime   = time.Minute
	partTime   = 2 * time.Second // for answers under way when the command ends
)

// A metricsServer serves /metrics and /healthz.
type metricsServer struct {
	http.Server
	served sync.WaitGroup
}

// serveMetrics serves what o says until it is closed. It returns when others can ask.
func serveMetrics(ctx context.Context, addr string, o *observer, logger *slog.Logger) (*metricsServer, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		return nil, usage("--metrics-addr %q: it is HOST:PORT, or :PORT for 127.0.0.1", addr)
	}
	if host == "" {
		host = "127.0.0.1" // what runs on this host is not for all the world to see
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, usage("--metrics-addr %s: %w", addr, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", o.metrics.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		say, ok := o.health(time.Now())
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if !ok {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintln(w, say)
	})
	s := &metricsServer{Server: http.Server{
		Handler: mux, ReadTimeout: askTime, WriteTimeout: answerTime, IdleTimeout: idleTime, MaxHeaderBytes: 16 << 10,
		ErrorLog: log.New(io.Discard, "", 0), // what strangers send wrongly is no concern of the run's
	}}
	s.served.Go(func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			logger.Warn("the metrics are not served any more: " + err.Error())
		}
	})
	logger.Info("metrics are at http://" + l.Addr().String() + "/metrics")
	return s, nil
}

// close lets answers under way come to their end, and ends the server.
func (s *metricsServer) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	if s.Shutdown(ctx) != nil {
		_ = s.Close()
	}
	s.served.Wait()
}

// see notes which runs have got on.
func (o *observer) see(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
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

package main

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// How long somebody who asks for figures or a page may take.
const (
	askTime    = 5 * time.Second
	answerTime = 15 * time.Second
	idleTime   = time.Minute
	partTime   = 2 * time.Second // for answers under way when the command ends
)

// A sideServer serves something over HTTP while a command does its work.
type sideServer struct {
	http.Server
	at     net.Addr
	served sync.WaitGroup
}

// serveBeside serves what, on the address of a flag, until it is closed. It returns when others
// can ask.
func serveBeside(ctx context.Context, flag, addr, what string, h http.Handler, logger *slog.Logger) (*sideServer, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		return nil, usage("--%s %q: it is HOST:PORT, or :PORT for 127.0.0.1", flag, addr)
	}
	if host == "" {
		host = "127.0.0.1" // what runs on this host is not for all the world to see
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, usage("--%s %s: %w", flag, addr, err)
	}
	s := &sideServer{at: l.Addr(), Server: http.Server{
		Handler: h, ReadTimeout: askTime, WriteTimeout: answerTime, IdleTimeout: idleTime, MaxHeaderBytes: 16 << 10,
		ErrorLog: log.New(io.Discard, "", 0), // what strangers send wrongly is no concern of the run's
	}}
	s.served.Go(func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			logger.Warn(what + " not served any more: " + err.Error())
		}
	})
	return s, nil
}

// close lets answers under way come to their end, and ends the server.
func (s *sideServer) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	if s.Shutdown(ctx) != nil {
		_ = s.Close()
	}
	s.served.Wait()
}

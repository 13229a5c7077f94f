package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/dustin/go-humanize"

	"chatbatch/jobs"
)

// progressEvery is how often a run says how far it is.
const progressEvery = 10 * time.Second

// watch logs the progress of a run until ctx ends. settled is the number of
// rows that had an outcome before. lanes says how many are usable, and how many
// there are; they are named when some are not. When nothing was settled since the last
// line it says what the server's last answer was, if there was any trouble.
func watch(ctx context.Context, log *slog.Logger, meter *jobs.Meter, lanes func() (usable, of int), rows, settled int64) {
	t := time.NewTicker(progressEvery)
	defer t.Stop()
	last, at := meter.Read(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			r := meter.Read()
			speed := float64(r.Succeeded+r.Failed-last.Succeeded-last.Failed) / now.Sub(at).Seconds()
			done := settled + r.Succeeded + r.Failed
			about := []any{"succeeded", r.Succeeded, "failed", r.Failed, "calls", r.Calls, "retries", r.Retries,
				"calls_last_second", r.InOneSecond, "left", left(rows-done, speed)}
			if r.Fetched > 0 {
				about = append(about, "members", r.Fetched)
			}
			if usable, of := lanes(); usable < of {
				about = append(about, "lanes", usable)
			}
			if speed == 0 && r.Trouble != "" {
				about = append(about, "trouble", r.Trouble)
			}
			log.Info(fmt.Sprintf("%s of %s rows", humanize.Comma(done), humanize.Comma(rows)), about...)
			last, at = r, now
		}
	}
}

// left is the time that rows take at a speed in rows a second.
func left(rows int64, speed float64) string {
	if speed <= 0 {
		return "unknown"
	}
	return time.Duration(float64(rows) / speed * float64(time.Second)).Round(time.Second).String()
}

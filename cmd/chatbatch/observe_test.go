package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatbatch/io/ledger"
	"chatbatch/io/report"
	"chatbatch/jobs"
)

// watching makes a job that does nothing but to be looked at.
func watching(t *testing.T, o observing) (*job, *bytes.Buffer) {
	t.Helper()
	said := &bytes.Buffer{}
	return &job{options: &options{observing: o}, logs: logs{log: slog.New(slog.NewTextHandler(said, nil))}}, said
}

// metricsIn reads a file of metrics; "" if there is none.
func metricsIn(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}

// under changes what an observer knows.
func (o *observer) under(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
}

// joined adds a run that is as now says.
func joined(o *observer, now report.RunNow) *observed {
	r := &observed{name: now.Name, last: now, since: time.Now()}
	o.under(func() { o.runs = append(o.runs, r) })
	return r
}

// The file is written every 15 s, and when the command ends, which waits for it.
func TestMetricsFileIsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nightly.prom")
	synctest.Test(t, func(t *testing.T) {
		j, said := watching(t, observing{metricsFile: path})
		began := time.Now()
		err := j.withObserver(t.Context(), func() error {
			time.Sleep(time.Minute)
			if got := metricsIn(t, path); got != "" {
				t.Errorf("before there is a run it is that of another process perhaps; got\n%s", got)
			}
			run := joined(j.observer, report.RunNow{Name: "nightly", Sum: ledger.Summary{Kind: "marks set", Rows: 9}})
			time.Sleep(metricsEvery)
			synctest.Wait()
			if got := metricsIn(t, path); !strings.Contains(got, `chatbatch_running{name="nightly"} 1`) || !strings.Contains(got, "chatbatch_input_rows{") {
				t.Errorf("after 15 s: got\n%s", got)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			time.Sleep(metricsEvery - 2*time.Second)
			if got := metricsIn(t, path); got != "" {
				t.Errorf("it was written after %v", metricsEvery-2*time.Second)
			}
			j.observer.leave(run)
			return &codedError{exitFailed, nil}
		})
		if codeOf(err) != exitFailed {
			t.Errorf("got %v", err)
		}
		took := time.Since(began).Seconds()
		e, err := report.ReadEnds(path, "nightly")
		if err != nil || e.Exit != exitFailed || e.Finished.IsZero() || !e.Success.IsZero() || e.Seconds != took || !e.Last.Equal(time.Now()) {
			t.Errorf("got %+v, %v", e, err)
		}
		if said.Len() > 0 {
			t.Errorf("it said %s", said)
		}
	})
}

// What an end means; and the last success is known until the next one.
func TestMetricsOfEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nightly.prom")
	synctest.Test(t, func(t *testing.T) {
		var success, finished time.Time
		for _, code := range []int{exitUsage, exitOK, exitFailed, exitInput, exitStopped, exitTryLater, exitOK, exitInterrupted, exitUnbalanced} {
			j, _ := watching(t, observing{metricsFile: path})
			_ = j.withObserver(t.Context(), func() error {
				time.Sleep(time.Hour)
				if code == exitOK {
					return nil
				}
				return &codedError{code, errors.New("so")}
			})
			switch code {
			case exitOK:
				success, finished = time.Now(), time.Now()
			case exitFailed:
				finished = time.Now()
			}
			e, err := report.ReadEnds(path, "nightly")
			if err != nil || e.Exit != code || !e.Last.Equal(time.Now()) || !e.Success.Equal(success) || !e.Finished.Equal(finished) {
				t.Errorf("%d: got %+v, %v; want success %v, finish %v", code, e, err, success, finished)
			}
		}
	})
}

// Where another process works on the run the file is left to it.
func TestMetricsFileOfAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nightly.prom")
	j, _ := watching(t, observing{metricsFile: path})
	_ = j.withObserver(t.Context(), func() error {
		j.observer.leaveAlone()
		return &codedError{exitTryLater, errors.New("locked")}
	})
	if got := metricsIn(t, path); got != "" {
		t.Errorf("got\n%s", got)
	}
}

// A file that cannot be written is said once, and does not stop a run.
func TestMetricsFileIsLost(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		j, said := watching(t, observing{metricsFile: filepath.Join(dir, "nightly.prom")})
		err := j.withObserver(t.Context(), func() error {
			joined(j.observer, report.RunNow{})
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			if n := strings.Count(said.String(), "level=WARN"); n != 1 {
				t.Errorf("it said %d times:\n%s", n, said)
			}
			return nil
		})
		if err != nil {
			t.Errorf("got %v", err)
		}
	})
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, _ := watching(t, observing{metricsAddr: "unused"})
		o := &observer{log: j.log, name: "nightly", base: t.Context()}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go o.look(ctx)
		want := func(say string, ok bool) {
			t.Helper()
			if got, good := o.health(time.Now()); got != say || good != ok {
				t.Errorf("got %q, %v; want %q, %v", got, good, say, ok)
			}
		}
		time.Sleep(time.Hour)
		want("ok", true) // it is planned
		run := joined(o, report.RunNow{Name: "nightly/a"})
		o.under(func() { run.begun = &begun{meter: &jobs.Meter{}} })
		time.Sleep(stallAfter - time.Second)
		want("ok", true)
		time.Sleep(time.Second)
		want("stalled: nightly/a: the run has got nowhere for 1m0s: no call has left, or none was answered", false)
		o.under(func() { run.progress = -1 }) // it was less
		time.Sleep(lookEvery)
		synctest.Wait()
		want("ok", true)
		o.under(func() { run.begun = nil })
		time.Sleep(time.Hour)
		want("ok", true) // it has ended
	})
}

// get asks a server.
func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

// It serves until the command ends, on this host alone unless it is told otherwise.
func TestMetricsAddress(t *testing.T) {
	j, said := watching(t, observing{metricsAddr: ":0"})
	var url string
	err := j.withObserver(t.Context(), func() error {
		_, rest, _ := strings.Cut(said.String(), "metrics are at http://127.0.0.1:")
		port, _, _ := strings.Cut(rest, "/")
		url = "http://127.0.0.1:" + port
		joined(j.observer, report.RunNow{Name: "x"})
		if code, body := get(t, url+"/healthz"); code != http.StatusOK || body != "ok\n" {
			t.Errorf("/healthz: got %d %q", code, body)
		}
		if code, body := get(t, url+"/metrics"); code != http.StatusOK || !strings.Contains(body, "chatbatch_calls_total{") {
			t.Errorf("/metrics: got %d %q", code, body)
		}
		if code, _ := get(t, url+"/"); code != http.StatusNotFound {
			t.Errorf("/: got %d", code)
		}
		run := j.observer.runs[0]
		j.observer.under(func() { run.begun, run.since = &begun{meter: &jobs.Meter{}}, time.Now().Add(-time.Hour) })
		if code, body := get(t, url+"/healthz"); code != http.StatusServiceUnavailable || !strings.HasPrefix(body, "stalled: x: ") {
			t.Errorf("/healthz: got %d %q", code, body)
		}
		j.observer.under(func() { run.begun = nil })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := http.Get(url + "/healthz"); err == nil {
		t.Error("it serves after the end")
	}
}

// What cannot be is refused before anything is sent.
func TestMetricsFlagsAreChecked(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	roster := filepath.Join(dir, "roster.csv")
	if err := os.WriteFile(roster, []byte("group_id,account\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		o    observing
		want string
	}{
		{"no port", observing{metricsAddr: "localhost"}, `--metrics-addr "localhost": it is HOST:PORT`},
		{"an empty port", observing{metricsAddr: "localhost:"}, `--metrics-addr "localhost:": it is HOST:PORT`},
		{"an address of another host", observing{metricsAddr: "192.0.2.1:9105"}, "--metrics-addr 192.0.2.1:9105: "},
		{"no such directory", observing{metricsFile: filepath.Join(dir, "none", "x.prom")}, "no such file or directory"},
		{"a directory", observing{metricsFile: dir}, "it is no file of metrics of chatbatch, and would be replaced"},
		{"the roster", observing{metricsFile: roster}, "it is no file of metrics of chatbatch, and would be replaced"},
	} {
		t.Run(test.name, func(t *testing.T) {
			j, _ := watching(t, test.o)
			err := j.withObserver(t.Context(), func() error {
				t.Error("it went on")
				return nil
			})
			if codeOf(err) != exitUsage || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
	// An address that is taken is told of by who has its run: another process with the same
	// run may have both. The file says so, if it is not the file that is wrong.
	path := filepath.Join(dir, "taken.prom")
	j, _ := watching(t, observing{metricsFile: path, metricsAddr: taken.Addr().String()})
	err = j.withObserver(t.Context(), func() error { return j.observer.serveNow(t.Context(), false) })
	if codeOf(err) != exitUsage || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v", err)
	}
	j2, _ := watching(t, observing{metricsAddr: taken.Addr().String()})
	j2.ofHost = true
	if err := j2.withObserver(t.Context(), func() error { return nil }); codeOf(err) != exitUsage {
		t.Errorf("a host has no run: got %v", err)
	}
	if got := metricsIn(t, path); !strings.Contains(got, `chatbatch_last_exit_code{name="taken"} 2`) || !strings.Contains(got, `chatbatch_running{name="taken"} 0`) {
		t.Errorf("the file says\n%s", got)
	}
	// --dry-run leaves nothing behind, and nobody looks on without a wish to.
	for _, o := range []options{{observing: observing{metricsFile: filepath.Join(dir, "x.prom")}, input: input{dryRun: true}}, {}} {
		done := false
		j := &job{options: &o}
		if err := j.withObserver(t.Context(), func() error { done = true; return nil }); err != nil || !done || j.observer != nil {
			t.Errorf("got %v, done %v", err, done)
		}
	}
	if got := metricsIn(t, filepath.Join(dir, "x.prom")); got != "" {
		t.Errorf("got\n%s", got)
	}
}

package report

import (
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"chatbatch/io/ledger"
)

// nightly is a command that has a run under way, and ended well the night before.
func nightly() (CommandNow, []RunNow) {
	at := time.Date(2026, 11, 28, 3, 0, 0, 0, time.UTC)
	return CommandNow{
			Name: "nightly", Version: "v1.2.3", Started: at, Running: true,
			Ends: Ends{Last: at.Add(-24 * time.Hour), Exit: 1, Seconds: 61.5, Finished: at.Add(-24 * time.Hour), Success: at.Add(-48 * time.Hour)},
		}, []RunNow{{
			Name: "nightly", SDKAppID: 1400000000, Latency: calls(30, 30, 700), LastSecond: 199, Lanes: 180, Budget: 200,
			Sum: ledger.Summary{
				Kind: "marks set", Rows: 100, Succeeded: 60, Failed: 30, Unprocessed: 10, Calls: 95, Retries: 5, Refused: 2, Replayed: 1,
				Chunks: 90, Groups: 4, ByClass: map[string]int64{"offline_or_absent": 28, "refused": 2}, MaxCallsInOneSecond: 200, Seconds: 12.5,
			},
		}}
}

func metricsText(t *testing.T, m *Metrics) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.prom")
	must(t, m.WriteFile(path))
	if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v: node_exporter is to read it", i.Mode(), err)
	}
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

// samples are the lines of a file of metrics that have a value, but for the buckets.
func samples(text string) string {
	var list []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") && !strings.Contains(line, "_bucket{") {
			list = append(list, line)
		}
	}
	return strings.Join(list, "")
}

func TestMetrics(t *testing.T) {
	m := NewMetrics(nightly)
	text := metricsText(t, m)
	of := `kind="marks set",name="nightly",sdkappid="1400000000"`
	want := strings.ReplaceAll(`chatbatch_build_info{version="v1.2.3"} 1
chatbatch_call_duration_seconds_sum{OF} 0.7584
chatbatch_call_duration_seconds_count{OF} 3
chatbatch_call_retries_total{OF} 5
chatbatch_calls_in_one_second_max{OF} 200
chatbatch_calls_last_second{OF} 199
chatbatch_calls_refused_total{OF} 2
chatbatch_calls_total{OF} 95
chatbatch_chunks{OF} 90
chatbatch_groups{OF} 4
chatbatch_input_rows{OF} 100
chatbatch_lanes{OF} 200
chatbatch_lanes_usable{OF} 180
chatbatch_last_duration_seconds{name="nightly"} 61.5
chatbatch_last_end_timestamp_seconds{name="nightly"} 1.7957484e+09
chatbatch_last_exit_code{name="nightly"} 1
chatbatch_last_finish_timestamp_seconds{name="nightly"} 1.7957484e+09
chatbatch_last_success_timestamp_seconds{name="nightly"} 1.795662e+09
chatbatch_replays_total{OF} 1
chatbatch_rows_failed_total{class="offline_or_absent",OF} 28
chatbatch_rows_failed_total{class="refused",OF} 2
chatbatch_rows_total{kind="marks set",name="nightly",outcome="failed",sdkappid="1400000000"} 30
chatbatch_rows_total{kind="marks set",name="nightly",outcome="succeeded",sdkappid="1400000000"} 60
chatbatch_running{name="nightly"} 1
chatbatch_start_timestamp_seconds{name="nightly"} 1.7958348e+09
chatbatch_unprocessed_rows{OF} 10
chatbatch_work_seconds{OF} 12.5
`, "OF", of)
	if d := cmp.Diff(want, samples(text)); d != "" {
		t.Errorf("got + want -\n%s", d)
	}
	for _, bucket := range []string{`le="0.02"} 0`, `le="0.05"} 2`, `le="0.5"} 2`, `le="1"} 3`, `le="+Inf"} 3`} {
		if !strings.Contains(text, "chatbatch_call_duration_seconds_bucket{"+of+","+bucket+"\n") {
			t.Errorf("no bucket %s in\n%s", bucket, text)
		}
	}
	// The names are as Prometheus wants them.
	problems, err := testutil.GatherAndLint(m.registry)
	must(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	served := httptest.NewRecorder()
	m.Handler().ServeHTTP(served, httptest.NewRequest("GET", "/metrics", nil))
	if served.Code != 200 || served.Body.String() != text {
		t.Errorf("served with %d, other than in the file:\n%s", served.Code, served.Body)
	}
}

// Of a command that has no run yet, and never had one, little is known.
func TestMetricsOfNothing(t *testing.T) {
	text := metricsText(t, NewMetrics(func() (CommandNow, []RunNow) { return CommandNow{}, nil }))
	if got, want := samples(text), "chatbatch_build_info{version=\"\"} 1\nchatbatch_running{name=\"\"} 0\n"; got != want {
		t.Errorf("got %s", got)
	}
	text = metricsText(t, NewMetrics(func() (CommandNow, []RunNow) { return CommandNow{}, []RunNow{{}} }))
	if strings.Contains(text, "lanes") || !strings.Contains(text, "chatbatch_call_duration_seconds_count") {
		t.Errorf("got %s", text)
	}
}

// Whatever a file or a server calls itself, the lines stay lines.
func TestMetricsOfHostileNames(t *testing.T) {
	for _, bad := range append(evil, "a\nchatbatch_evil 1", `"} 1`) {
		text := metricsText(t, NewMetrics(func() (CommandNow, []RunNow) {
			c, runs := nightly()
			c.Name, c.Version, runs[0].Name, runs[0].Sum.Kind = bad, bad, bad, bad
			runs[0].Sum.ByClass = map[string]int64{bad: 1}
			return c, runs
		}))
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "chatbatch_") && !strings.HasPrefix(line, "# ") || strings.HasPrefix(line, "chatbatch_evil") {
				t.Errorf("%q: got line %q", bad, line)
			}
		}
		path := filepath.Join(t.TempDir(), "x.prom")
		must(t, os.WriteFile(path, []byte(text), 0o644))
		if e, err := ReadEnds(path, bad); err != nil || e.Exit != 1 {
			t.Errorf("%q: got %+v, %v", bad, e, err)
		}
	}
}

// To Prometheus a counter that goes down has begun anew, and all of it is new.
func TestCountersDoNotGoDown(t *testing.T) {
	calls := []int64{5, 4, 7}
	i := 0
	m := NewMetrics(func() (CommandNow, []RunNow) {
		c, runs := nightly()
		runs[0].Sum.Calls, runs[0].Sum.Unprocessed = calls[i], calls[i]
		i++
		return c, runs
	})
	for _, want := range []string{"5 5", "5 4", "7 7"} {
		var got []string
		for _, line := range strings.Split(samples(metricsText(t, m)), "\n") {
			if strings.HasPrefix(line, "chatbatch_calls_total") || strings.HasPrefix(line, "chatbatch_unprocessed_rows") {
				got = append(got, line[strings.LastIndex(line, " ")+1:])
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("got %s, want %s", s, want)
		}
	}
}

// The next command knows from the file how those before it have ended.
func TestReadEnds(t *testing.T) {
	command, _ := nightly()
	dir := t.TempDir()
	path := filepath.Join(dir, "nightly.prom")
	if e, err := ReadEnds(path, "nightly"); err != nil || e != (Ends{}) {
		t.Errorf("without a file: got %+v, %v", e, err)
	}
	must(t, NewMetrics(nightly).WriteFile(path))
	got, err := ReadEnds(path, "nightly")
	must(t, err)
	if d := cmp.Diff(command.Ends, got); d != "" {
		t.Errorf("got + want -\n%s", d)
	}
	if e, err := ReadEnds(path, "another"); err != nil || e != (Ends{}) {
		t.Errorf("of another name: got %+v, %v", e, err)
	}
	for name, text := range map[string]string{
		"a roster": "group_id,account,marks\ng,a,1000\n", "of another program": "# TYPE up gauge\nup 1\n", "cut off": "# TYPE chatbatch_build_info gauge\nchatbatch_bu",
	} {
		must(t, os.WriteFile(path, []byte(text), 0o644))
		if _, err := ReadEnds(path, "nightly"); !errors.Is(err, ErrNotMetrics) {
			t.Errorf("%s: got %v, want ErrNotMetrics", name, err)
		}
	}
	if _, err := ReadEnds(dir, "nightly"); !errors.Is(err, ErrNotMetrics) {
		t.Errorf("a directory: got %v, want ErrNotMetrics", err)
	}
	must(t, os.WriteFile(path, nil, 0o644))
	if _, err := ReadEnds(path, "nightly"); err != nil {
		t.Errorf("an empty file: got %v", err)
	}
}

package report

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// host is a host that works on two kinds of runs.
func host() HostNow {
	command, _ := nightly()
	command.Name, command.Ends = "host", Ends{}
	night := command
	night.Name, night.Running, night.Ends = "host/night", false, Ends{Last: command.Started, Exit: 1, Seconds: 2, Finished: command.Started}
	return HostNow{
		Command: command, Schedules: []CommandNow{night}, Heard: command.Started.Add(time.Second / 2),
		Work: []WorkNow{
			{
				Name: "host", Kind: "marks set", SDKAppID: 1, Succeeded: 60, Failed: 30, ByClass: map[string]int64{"refused": 30}, Calls: 95, Retries: 5, Refused: 2,
				Latency: calls(30, 30, 700), Runs: 2, LastSecond: 199, Lanes: 180, Budget: 200,
			},
			{Name: "host", Kind: "unread set", SDKAppID: 1},
		},
	}
}

func TestHostMetrics(t *testing.T) {
	m := NewHostMetrics(host)
	marks, unread := `kind="marks set",name="host",sdkappid="1"`, `kind="unread set",name="host",sdkappid="1"`
	want := strings.NewReplacer("OF", marks, "UNREAD", unread).Replace(`chatbatch_build_info{version="v1.2.3"} 1
chatbatch_call_duration_seconds_sum{OF} 0.7584
chatbatch_call_duration_seconds_count{OF} 3
chatbatch_call_duration_seconds_sum{UNREAD} 0
chatbatch_call_duration_seconds_count{UNREAD} 0
chatbatch_call_retries_total{OF} 5
chatbatch_call_retries_total{UNREAD} 0
chatbatch_calls_last_second{OF} 199
chatbatch_calls_last_second{UNREAD} 0
chatbatch_calls_refused_total{OF} 2
chatbatch_calls_refused_total{UNREAD} 0
chatbatch_calls_total{OF} 95
chatbatch_calls_total{UNREAD} 0
chatbatch_database_heard_timestamp_seconds{name="host"} 1.7958348005e+09
chatbatch_lanes{OF} 200
chatbatch_lanes_usable{OF} 180
chatbatch_last_duration_seconds{name="host/night"} 2
chatbatch_last_end_timestamp_seconds{name="host/night"} 1.7958348e+09
chatbatch_last_exit_code{name="host/night"} 1
chatbatch_last_finish_timestamp_seconds{name="host/night"} 1.7958348e+09
chatbatch_rows_failed_total{class="refused",OF} 30
chatbatch_rows_total{kind="marks set",name="host",outcome="failed",sdkappid="1"} 30
chatbatch_rows_total{kind="marks set",name="host",outcome="succeeded",sdkappid="1"} 60
chatbatch_rows_total{kind="unread set",name="host",outcome="failed",sdkappid="1"} 0
chatbatch_rows_total{kind="unread set",name="host",outcome="succeeded",sdkappid="1"} 0
chatbatch_running{name="host"} 1
chatbatch_running{name="host/night"} 0
chatbatch_runs{OF} 2
chatbatch_runs{UNREAD} 0
chatbatch_start_timestamp_seconds{name="host"} 1.7958348e+09
chatbatch_start_timestamp_seconds{name="host/night"} 1.7958348e+09
`)
	if d := cmp.Diff(want, samples(metricsText(t, m))); d != "" {
		t.Errorf("got + want -\n%s", d)
	}
	problems, err := testutil.GatherAndLint(m.registry)
	must(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Of a host whose database has not answered yet nothing is said of that.
func TestHostMetricsAtFirst(t *testing.T) {
	text := samples(metricsText(t, NewHostMetrics(func() HostNow { return HostNow{Command: CommandNow{Running: true}} })))
	if want := "chatbatch_build_info{version=\"\"} 1\nchatbatch_running{name=\"\"} 1\n"; text != want {
		t.Errorf("got %s", text)
	}
}

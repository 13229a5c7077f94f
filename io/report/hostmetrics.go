package report

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"chatbatch/io/ledger"
)

// HostNow is what Metrics says of a process that has many runs, for as long as it lives: a
// host of a fleet, or one that holds schedules.
type HostNow struct {
	Command   CommandNow
	Schedules []CommandNow // how the newest tick of each has ended here
	Heard     time.Time    // when the database has answered last; zero: it has not yet
	Work      []WorkNow    // each with another name, kind or app
}

// WorkNow is what a process has done of all its runs of one kind and app, and what it does
// now. The ids of runs are not in it: there is no end of them.
type WorkNow struct {
	Name     string // of the command, or of one of its schedules; "" is none
	Kind     string
	SDKAppID int64

	// Since the process began; they do not go down when a run ends.
	Succeeded, Failed       int64            // rows that it has settled
	ByClass                 map[string]int64 // those that have failed
	Calls, Retries, Refused int64
	Latency                 *ledger.Latency

	Runs          int // under way here
	LastSecond    int // calls that left in it
	Lanes, Budget int // usable lanes, and all that this host has; Budget 0: not known
}

// NewHostMetrics makes metrics of what read returns. It may be called by several
// goroutines.
func NewHostMetrics(read func() HostNow) *Metrics {
	m := newMetrics()
	m.host = read
	return m
}

// A workMetric is one number of the work of a host.
type workMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(WorkNow) (v float64, known bool)
}

func (m *Metrics) collectHost(to chan<- prometheus.Metric, h HostNow) {
	m.collectCommand(to, h.Command)
	for _, s := range h.Schedules {
		m.collectCommand(to, s)
	}
	if !h.Heard.IsZero() {
		to <- prometheus.MustNewConstMetric(m.heard, prometheus.GaugeValue, float64(h.Heard.UnixMilli())/1000, valid(h.Command.Name))
	}
	for _, w := range h.Work {
		labels := []string{valid(w.Name), valid(w.Kind), strconv.FormatInt(w.SDKAppID, 10)}
		for _, one := range m.work {
			if v, known := one.value(w); known {
				to <- m.metric(one.desc, one.kind, v, labels...)
			}
		}
		m.count(to, m.settled, labels, w.Succeeded, "succeeded")
		m.count(to, m.settled, labels, w.Failed, "failed")
		for class, rows := range w.ByClass {
			m.count(to, m.failed, labels, rows, class)
		}
		to <- m.histogram(w.Latency, labels)
	}
}

// workMetrics are the table of what is said of the work of a host, but for what has labels
// of its own. Where a run of one process has a number of the same name, it is that.
func workMetrics() []workMetric {
	count := func(name, help string, of func(WorkNow) int64) workMetric {
		return workMetric{runDesc(name, help), prometheus.CounterValue, func(w WorkNow) (float64, bool) { return float64(of(w)), true }}
	}
	gauge := func(name, help string, of func(WorkNow) (n int, known bool)) workMetric {
		return workMetric{runDesc(name, help), prometheus.GaugeValue, func(w WorkNow) (float64, bool) {
			n, known := of(w)
			return float64(n), known
		}}
	}
	return []workMetric{
		count("calls_total", helpCalls, func(w WorkNow) int64 { return w.Calls }),
		count("call_retries_total", helpRetries, func(w WorkNow) int64 { return w.Retries }),
		count("calls_refused_total", helpRefused, func(w WorkNow) int64 { return w.Refused }),
		gauge("calls_last_second", helpLastSecond, func(w WorkNow) (int, bool) { return w.LastSecond, true }),
		gauge("lanes_usable", helpUsable, func(w WorkNow) (int, bool) { return w.Lanes, w.Budget > 0 }),
		gauge("lanes", helpLanes, func(w WorkNow) (int, bool) { return w.Budget, w.Budget > 0 }),
		gauge("runs", "Runs that this process works on now.", func(w WorkNow) (int, bool) { return w.Runs, true }),
	}
}

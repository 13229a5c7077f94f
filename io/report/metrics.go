package report

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"chatbatch/io/ledger"
)

// CommandNow is what Metrics says of a command.
type CommandNow struct {
	Name    string // by which commands are told apart; "" is none
	Version string // of the program
	Started time.Time
	Running bool
	Ends    Ends
}

// Ends say how the newest command of a name has ended, and when others have. A time
// that is zero is not known.
type Ends struct {
	Last     time.Time
	Exit     int
	Seconds  float64   // that it took
	Finished time.Time // of the newest that finished its run: every row had its outcome
	Success  time.Time // of the newest that had nothing but successes
}

// RunNow is what Metrics says of a run. Numbers are told, and none of the names that
// are in a roster.
type RunNow struct {
	Name     string // by which runs of one kind are told apart; "" is none
	SDKAppID int64
	Sum      ledger.Summary
	Latency  *ledger.Latency // of the calls of this process

	LastSecond    int // calls that left in it
	Lanes, Budget int // usable lanes, and all of them; Budget 0: not known
}

// Metrics are the state of a command and its runs for Prometheus. They are read when
// they are asked for: there are no books beside the ledger.
type Metrics struct {
	read     func() (CommandNow, []RunNow) // nil: it is of a host
	host     func() HostNow                // nil: it is of a command with runs of its own
	registry *prometheus.Registry

	build    *prometheus.Desc
	command  []commandMetric
	run      []runMetric
	work     []workMetric
	heard    *prometheus.Desc
	settled  *prometheus.Desc
	failed   *prometheus.Desc
	duration *prometheus.Desc

	mu   sync.Mutex
	most map[string]float64 // under mu; what a counter has shown, by its name and labels
}

// A commandMetric is one number of a command.
type commandMetric struct {
	desc  *prometheus.Desc
	value func(CommandNow) (v float64, known bool)
}

// A runMetric is one number of a run.
type runMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(RunNow) (v float64, known bool)
}

// callBuckets bound the buckets of how long calls took, in seconds: the API takes some
// 50 ms, and gives up after 3 s.
func callBuckets() []float64 {
	return []float64{0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 30}
}

// NewMetrics makes metrics of what read returns. It may be called by several
// goroutines.
func NewMetrics(read func() (CommandNow, []RunNow)) *Metrics {
	m := newMetrics()
	m.read = read
	return m
}

func newMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(), most: map[string]float64{},
		build:    prometheus.NewDesc("chatbatch_build_info", "Version of the program; the value is 1.", []string{"version"}, nil),
		command:  commandMetrics(),
		run:      runMetrics(),
		work:     workMetrics(),
		heard:    commandDesc("database_heard_timestamp_seconds", "When the database of this host has answered last."),
		settled:  runDesc("rows_total", "Rows that have their outcome: succeeded or failed.", "outcome"),
		failed:   runDesc("rows_failed_total", "Rows that have failed, by class.", "class"),
		duration: runDesc("call_duration_seconds", "How long calls of this process took that were answered."),
	}
	m.registry.MustRegister(m)
	return m
}

// WriteFile puts the metrics into a file for node_exporter, which everybody can read.
// The file is replaced as a whole.
func (m *Metrics) WriteFile(path string) error {
	return prometheus.WriteToTextfile(path, m.registry)
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 8 * time.Second})
}

// Describe is for the registry.
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.build
	for _, c := range m.command {
		to <- c.desc
	}
	for _, r := range m.run {
		to <- r.desc
	}
	for _, w := range m.work {
		to <- w.desc // some of them a second time
	}
	to <- m.heard
	to <- m.settled
	to <- m.failed
	to <- m.duration
}

// Collect is for the registry.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	if m.host != nil {
		h := m.host()
		m.collectBuild(to, h.Command)
		m.collectHost(to, h)
		return
	}
	command, runs := m.read()
	m.collectBuild(to, command)
	m.collectCommand(to, command)
	for _, r := range runs {
		m.collectRun(to, r)
	}
}

func (m *Metrics) collectBuild(to chan<- prometheus.Metric, c CommandNow) {
	to <- prometheus.MustNewConstMetric(m.build, prometheus.GaugeValue, 1, valid(c.Version))
}

func (m *Metrics) collectCommand(to chan<- prometheus.Metric, command CommandNow) {
	for _, c := range m.command {
		if v, known := c.value(command); known {
			to <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, v, valid(command.Name))
		}
	}
}

func (m *Metrics) collectRun(to chan<- prometheus.Metric, r RunNow) {
	labels := []string{valid(r.Name), valid(r.Sum.Kind), strconv.FormatInt(r.SDKAppID, 10)}
	for _, one := range m.run {
		if v, known := one.value(r); known {
			to <- m.metric(one.desc, one.kind, v, labels...)
		}
	}
	m.count(to, m.settled, labels, r.Sum.Succeeded, "succeeded")
	m.count(to, m.settled, labels, r.Sum.Failed, "failed")
	for class, rows := range r.Sum.ByClass {
		m.count(to, m.failed, labels, rows, class)
	}
	to <- m.histogram(r.Latency, labels)
}

// count makes a counter of rows, with one label more.
func (m *Metrics) count(to chan<- prometheus.Metric, desc *prometheus.Desc, labels []string, rows int64, of string) {
	to <- m.metric(desc, prometheus.CounterValue, float64(rows), append(slices.Clip(labels), valid(of))...)
}

// histogram is how long calls took.
func (m *Metrics) histogram(l *ledger.Latency, labels []string) prometheus.Metric {
	times := make([]time.Duration, 0, len(callBuckets()))
	for _, s := range callBuckets() {
		times = append(times, time.Duration(s*float64(time.Second)))
	}
	buckets := map[float64]uint64{}
	for i, calls := range l.Within(times...) {
		buckets[callBuckets()[i]] = uint64(calls)
	}
	return prometheus.MustNewConstHistogram(m.duration, uint64(l.Calls()), l.Sum().Seconds(), buckets, labels...)
}

// metric makes one. A counter does not go down, or Prometheus would take all of it for
// new: the books do where a call that was counted has not left, or for some
// milliseconds when a chunk is settled.
func (m *Metrics) metric(desc *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) prometheus.Metric {
	if kind == prometheus.CounterValue {
		m.mu.Lock()
		defer m.mu.Unlock()
		key := desc.String() + "\x00" + strings.Join(labels, "\x00")
		v = max(v, m.most[key])
		m.most[key] = v
	}
	return prometheus.MustNewConstMetric(desc, kind, v, labels...)
}

// valid is a text that can be a label.
func valid(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

func commandDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("chatbatch_"+name, help, []string{"name"}, nil)
}

func runDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("chatbatch_"+name, help, append([]string{"name", "kind", "sdkappid"}, labels...), nil)
}

// commandMetrics are the table of what is said of a command.
func commandMetrics() []commandMetric {
	at := func(t time.Time) (float64, bool) { return float64(t.UnixMilli()) / 1000, !t.IsZero() }
	return []commandMetric{
		{commandDesc("running", "1 while the command runs, 0 when it has ended."), func(c CommandNow) (float64, bool) {
			if c.Running {
				return 1, true
			}
			return 0, true
		}},
		{commandDesc("start_timestamp_seconds", "When the newest command of this name began."), func(c CommandNow) (float64, bool) { return at(c.Started) }},
		{commandDesc("last_end_timestamp_seconds", "When a command of this name ended last, however it did."), func(c CommandNow) (float64, bool) { return at(c.Ends.Last) }},
		{commandDesc("last_exit_code", "Exit code of the command of this name that ended last."), func(c CommandNow) (float64, bool) {
			return float64(c.Ends.Exit), !c.Ends.Last.IsZero()
		}},
		{commandDesc("last_duration_seconds", "How long the command took that ended last."), func(c CommandNow) (float64, bool) {
			return c.Ends.Seconds, !c.Ends.Last.IsZero()
		}},
		{commandDesc("last_finish_timestamp_seconds", "When a command ended last after which every row had its outcome (exit code 0 or 1)."),
			func(c CommandNow) (float64, bool) { return at(c.Ends.Finished) }},
		{commandDesc("last_success_timestamp_seconds", "When a command ended last after which every row had succeeded (exit code 0)."),
			func(c CommandNow) (float64, bool) { return at(c.Ends.Success) }},
	}
}

// What is said of numbers that a run of one process has, and the work of a host, too.
const (
	helpCalls      = "Calls to the API, over all processes of the run; of a host, those that it has made."
	helpRetries    = "Calls that were tries after the first."
	helpRefused    = "Calls that the server refused for their frequency."
	helpLastSecond = "Calls that left in the last second."
	helpUsable     = "Lanes of the budget that can be used now."
	helpLanes      = "Lanes of the budget: calls that may leave in one second."
)

// runMetrics are the table of what is said of a run, but for what has labels of its own.
func runMetrics() []runMetric {
	count := func(name, help string, of func(RunNow) int64) runMetric {
		return runMetric{runDesc(name, help), prometheus.CounterValue, func(r RunNow) (float64, bool) { return float64(of(r)), true }}
	}
	gauge := func(name, help string, of func(RunNow) float64) runMetric {
		return runMetric{runDesc(name, help), prometheus.GaugeValue, func(r RunNow) (float64, bool) { return of(r), true }}
	}
	lanes := func(name, help string, of func(RunNow) int) runMetric {
		return runMetric{runDesc(name, help), prometheus.GaugeValue, func(r RunNow) (float64, bool) { return float64(of(r)), r.Budget > 0 }}
	}
	return []runMetric{
		gauge("input_rows", "Rows of the input.", func(r RunNow) float64 { return float64(r.Sum.Rows) }),
		gauge("unprocessed_rows", "Rows that have no outcome yet.", func(r RunNow) float64 { return float64(r.Sum.Unprocessed) }),
		gauge("chunks", "Chunks of the plan.", func(r RunNow) float64 { return float64(r.Sum.Chunks) }),
		gauge("groups", "Groups of the plan.", func(r RunNow) float64 { return float64(r.Sum.Groups) }),
		count("calls_total", helpCalls, func(r RunNow) int64 { return r.Sum.Calls }),
		count("call_retries_total", helpRetries, func(r RunNow) int64 { return r.Sum.Retries }),
		count("calls_refused_total", helpRefused, func(r RunNow) int64 { return r.Sum.Refused }),
		count("replays_total", "Chunks and rows that were in doubt after a crash and sent again.", func(r RunNow) int64 { return r.Sum.Replayed }),
		gauge("calls_last_second", helpLastSecond, func(r RunNow) float64 { return float64(r.LastSecond) }),
		gauge("calls_in_one_second_max", "The most calls that left in any one second.", func(r RunNow) float64 { return float64(r.Sum.MaxCallsInOneSecond) }),
		lanes("lanes_usable", helpUsable, func(r RunNow) int { return r.Lanes }),
		lanes("lanes", helpLanes, func(r RunNow) int { return r.Budget }),
		gauge("work_seconds", "How long the run was at work, over all its processes.", func(r RunNow) float64 { return r.Sum.Seconds }),
	}
}

//go:build unix

package limiter

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	measuredQPS = 200
	fullLoad    = 13 * time.Second // four to get warm
	halfLoad    = 12 * time.Second
)

// BenchmarkMeasure measures the limiter at a server that counts arrivals by
// itself, and prints tables for the README. Run it with
//
//	go test ./limiter -run '^$' -bench Measure -benchtime 1x -timeout 60m -v
//
// or a part of it, e.g. with -bench 'Measure/hosts/4x1/busy'. More arrivals in
// a second than there are lanes are a failure; nothing else is.
func BenchmarkMeasure(b *testing.B) {
	var t tables
	defer t.print(os.Stdout)
	b.Run("bucket", func(b *testing.B) { measureBuckets(b, &t) })
	b.Run("host", func(b *testing.B) {
		for _, n := range []int{1, 4, 8} {
			measureLoad(b, &t, setup{hosts: 1, processes: n})
		}
	})
	b.Run("hosts", func(b *testing.B) { measureHosts(b, &t) })
	b.Run("faults-host", func(b *testing.B) { measureFaults(b, &t) })
	b.Run("faults-hosts", func(b *testing.B) { measureHostFaults(b, &t) })
	b.Run("neighbour", func(b *testing.B) { measureNeighbour(b, &t) })
}

// A setup is who shares the budget.
type setup struct {
	hosts, processes int    // so many hosts, with so many processes each
	database         string // "": not leased
}

func (s setup) String() string {
	if s.database == "" {
		return fmt.Sprintf("%d in one file", s.processes)
	}
	return fmt.Sprintf("%d×%d", s.hosts, s.processes)
}

// name is that of the benchmark.
func (s setup) name() string {
	if s.database == "" {
		return fmt.Sprintf("%d-processes", s.processes)
	}
	return fmt.Sprintf("%dx%d", s.hosts, s.processes)
}

// join starts all senders of the setup; like says what they are to do.
func (s setup) join(f *rig, key string, like sender) {
	n := s.hosts * s.processes
	like.Key, like.Database, like.QPS = key, s.database, measuredQPS
	like.Rate /= float64(n)
	like.Workers = max(16, 64/n)
	for range s.hosts {
		like.Dir = f.TempDir()
		for range s.processes {
			f.join(like)
		}
	}
}

// A condition is under what one measurement is made.
type condition struct {
	name string
	route
	busy bool // as many burners as there are cores
	half bool // the wait for a lane is measured too, at half load
	one  bool // only for one process
}

func conditions() []condition {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	all := []condition{{name: "steady", half: true}, {name: "busy", busy: true, half: true}}
	for _, n := range []int{20, 50} {
		all = append(all,
			condition{name: fmt.Sprintf("jitter-%dms-there", n), route: route{JitterThere: ms(n)}},
			condition{name: fmt.Sprintf("jitter-%dms-both", n), route: route{JitterThere: ms(n / 2), JitterBack: ms(n / 2)}})
	}
	for _, n := range []int{20, 100} {
		all = append(all, condition{name: fmt.Sprintf("path-%dms", n), one: true, route: route{There: ms(n / 2), Back: ms(n / 2)}})
	}
	return all
}

func measureLoad(b *testing.B, t *tables, s setup) {
	b.Run(s.name(), func(b *testing.B) {
		for _, c := range conditions() {
			if c.one && s.hosts*s.processes > 1 {
				continue
			}
			b.Run(c.name, func(b *testing.B) {
				for range b.N {
					measureOne(b, t, s, c)
				}
			})
		}
	})
}

func measureOne(b *testing.B, t *tables, s setup, c condition) {
	row := []string{s.String(), c.name}
	full, names := runLoad(b, s, c, sender{}, fullLoad)
	use, shares := 100*full.use(measuredQPS), full.shares(names)
	cpu := full.cpu / time.Duration(max(1, len(full.arrivals)))
	row = append(row, fmt.Sprint(full.worst()), fmt.Sprintf("%.1f", use), fmt.Sprintf("%.2f", shares))
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(full.worst()), "max/s")
	b.ReportMetric(use, "%use")
	b.ReportMetric(shares, "min/max")
	b.ReportMetric(float64(cpu.Microseconds()), "cpu-µs/call")
	if c.half {
		half, names := runLoad(b, s, c, sender{Rate: measuredQPS / 2}, halfLoad)
		waits := half.waits(names)
		p50, p99 := percentile(waits, 50).Microseconds(), percentile(waits, 99).Microseconds()
		b.ReportMetric(float64(p50), "take-p50-µs")
		b.ReportMetric(float64(p99), "take-p99-µs")
		row = append(row, fmt.Sprint(p50), fmt.Sprint(p99))
	} else {
		row = append(row, "", "")
	}
	t.add("load", append(row, fmt.Sprint(cpu.Microseconds())))
}

// runLoad runs one load on one setup, and checks that the wall held.
func runLoad(b *testing.B, s setup, c condition, like sender, d time.Duration) (got *seen, names []string) {
	f := newRig(b, c.route)
	if c.busy {
		defer f.burn()()
	}
	s.join(f, fmt.Sprintf("%s/%g", b.Name(), like.Rate), like)
	f.ready()
	time.Sleep(d)
	got = f.end()
	b.Logf("%s, load average %s", c.name, loadAverage())
	got.most(b, measuredQPS)
	return got, f.names()
}

// loadAverage tells noise of the machine from noise of the limiter.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:1], " ")
}

// measureBuckets is what buckets alone do, which know nothing of arrivals.
func measureBuckets(b *testing.B, t *tables) {
	for _, burst := range []int{measuredQPS, 1} {
		b.Run(fmt.Sprintf("burst-%d", burst), func(b *testing.B) {
			for range b.N {
				f := newRig(b, route{})
				f.join(sender{QPS: measuredQPS, Burst: burst})
				f.ready()
				time.Sleep(fullLoad)
				s := f.end()
				cpu := s.cpu / time.Duration(max(1, len(s.arrivals)))
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(s.worst()), "max/s")
				b.ReportMetric(100*s.use(measuredQPS), "%use")
				t.add("load", []string{fmt.Sprintf("`rate.NewLimiter(%d, %d)`", measuredQPS, burst), "steady", fmt.Sprint(s.worst()),
					fmt.Sprintf("%.1f", 100*s.use(measuredQPS)), "", "", "", fmt.Sprint(cpu.Microseconds())})
			}
		})
	}
}

// tables are what was measured, ready for a README.
type tables struct{ rows map[string][][]string }

// headers are the heads of the tables by their names.
var headers = map[string][]string{
	"load": {"who", "conditions", "most in a second", "% of 200 used", "least/most calls of a process",
		"wait at half load, p50 µs", "p99 µs", "CPU µs a call, with the HTTP client"},
	"faults": {"what happens", "who", "most in a second", "% of 200 used in all",
		"longest silence, s", "goes on after, s", "90 % of 200 back after, s", "90 % of a fair share after, s"},
	"neighbour": {"who", "neighbour", "calls of ours accepted", "refused", "% of what was left used"},
}

func (t *tables) add(name string, row []string) {
	if t.rows == nil {
		t.rows = map[string][][]string{}
	}
	t.rows[name] = append(t.rows[name], row)
}

func (t *tables) print(w io.Writer) {
	for _, name := range []string{"load", "faults", "neighbour"} {
		if len(t.rows[name]) == 0 {
			continue
		}
		head := headers[name]
		lines := slices.Concat([][]string{head, slices.Repeat([]string{"---"}, len(head))}, t.rows[name])
		fmt.Fprintln(w)
		for _, line := range lines {
			fmt.Fprintf(w, "| %s |\n", strings.Join(line, " | "))
		}
	}
	fmt.Fprintln(w)
}

package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"chatbatch/io/ledger"
	"chatbatch/io/report"
)

const (
	// lookEvery is how often an observer looks whether a run gets on.
	lookEvery = 5 * time.Second

	// metricsEvery is how often the file of metrics is written: node_exporter is
	// asked every 15 s or so.
	metricsEvery = 15 * time.Second
)

// observing says who may look on while a command runs.
type observing struct {
	metricsFile string
	metricsAddr string
	metricsName string
}

func (o *observing) add(fs *pflag.FlagSet) {
	fs.StringVar(&o.metricsFile, "metrics-textfile", "", "file (NAME.prom) that metrics for node_exporter are written into, every 15 s and at the end")
	fs.StringVar(&o.metricsAddr, "metrics-addr", "", "serve /metrics and /healthz on this HOST:PORT while the command runs; without HOST on 127.0.0.1")
	fs.StringVar(&o.metricsName, "metrics-name", "", "label \"name\" of the metrics, one for each cron job (default: NAME of the textfile)")
}

// label is what tells the metrics of this command from those of others.
func (o *observing) label() string {
	if o.metricsName != "" || o.metricsFile == "" {
		return o.metricsName
	}
	return strings.TrimSuffix(filepath.Base(o.metricsFile), ".prom")
}

// An observer says how a command and its runs get on. A nil one says nothing.
type observer struct {
	log     *slog.Logger
	path    string // of the file; "": there is none
	name    string
	metrics *report.Metrics
	server  *sideServer // nil: there is none
	stop    func()      // ends the goroutine, and waits for it

	addr string     // of --metrics-addr; "": nobody is served
	host *hostWatch // nil: the runs are those of the command

	// base is the context of the command without its cancellation: the last words are
	// written also when it was stopped.
	base context.Context

	mu      sync.Mutex
	command report.CommandNow // under mu
	runs    []*observed       // under mu
	foreign bool              // under mu; the file is that of another process, which works on the run
	broken  bool              // under mu; the file cannot be written, and that was said
}

// An observed run is one that a command works on, or has.
type observed struct {
	name     string
	sdkAppID int64
	begun    *begun        // nil: it has ended
	last     report.RunNow // as it was when it was looked at last
	progress int64         // of the meter
	since    time.Time     // when that was seen first, or it joined
	trouble  string        // of the meter
	ends     func()        // of a host's task; nil: it is none
}

// withObserver calls do, and lets others look on if they may.
func (j *job) withObserver(ctx context.Context, do func() error) error {
	if j.metricsFile == "" && j.metricsAddr == "" || j.dryRun {
		return do()
	}
	o, err := j.observe(ctx)
	if o == nil {
		return err
	}
	if err == nil {
		j.observer = o
		err = do()
	}
	code := exitOK
	if err != nil {
		code = codeOf(err)
	}
	o.end(code)
	return err
}

// observe begins to. Nothing has been sent, and nothing will be if it cannot. With an
// observer beside the error the file can be written, which says how that ended.
func (j *job) observe(ctx context.Context) (*observer, error) {
	o := &observer{log: j.log, path: j.metricsFile, addr: j.metricsAddr, name: j.label(), base: context.WithoutCancel(ctx)}
	o.command = report.CommandNow{Name: o.name, Version: version(), Started: time.Now(), Running: true}
	if o.metrics = report.NewMetrics(o.read); j.ofHost {
		o.host = newHostWatch()
		o.metrics = report.NewHostMetrics(o.readHost)
	}
	if err := o.useFile(); err != nil {
		return nil, err
	}
	looking, cancel := context.WithCancel(o.base)
	var wg sync.WaitGroup
	wg.Go(func() { o.look(looking) })
	o.stop = func() {
		cancel()
		wg.Wait()
	}
	err := o.serve(ctx)
	if o.host == nil && errors.Is(err, syscall.EADDRINUSE) {
		// It may be another process with the same run that has it: what is to be done
		// then is for --if-locked to say. Who gets the lock tries again.
		return o, nil
	}
	return o, err
}

// serveNow is serve for who has the lock of a run. Where it had to wait for that, the one
// who had it may take a moment longer to give up the address, too.
func (o *observer) serveNow(ctx context.Context, waited bool) error {
	for end := time.Now().Add(2 * partTime); ; {
		err := o.serve(ctx)
		if !waited || !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(partTime / 20):
		}
	}
}

// serve begins to serve the metrics, unless it has begun or nobody wants them.
func (o *observer) serve(ctx context.Context) (err error) {
	if o == nil || o.addr == "" || o.server != nil {
		return nil
	}
	o.server, err = serveMetrics(ctx, o.addr, o, o.log)
	return err
}

// useFile looks whether the file can be written, and what it knows of earlier
// commands.
func (o *observer) useFile() (err error) {
	if o.path == "" {
		return nil
	}
	if o.path, err = filepath.Abs(o.path); err != nil {
		return usage("--metrics-textfile %s: %w", o.path, err)
	}
	o.command.Ends, err = report.ReadEnds(o.path, o.name)
	if errors.Is(err, report.ErrNotMetrics) {
		return usage("--metrics-textfile %w, and would be replaced", err)
	}
	if err != nil {
		return ofPlace("--metrics-textfile: %w", err)
	}
	probe, err := os.CreateTemp(filepath.Dir(o.path), filepath.Base(o.path))
	if err != nil {
		return ofPlace("--metrics-textfile %s: %w", o.path, err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return ofPlace("--metrics-textfile %s: %w", o.path, err)
	}
	if filepath.Ext(o.path) != ".prom" {
		o.log.Warn("node_exporter reads only files whose names end in .prom: --metrics-textfile " + o.path)
	}
	return nil
}

// look sees how the runs get on until ctx ends, and writes the file meanwhile.
func (o *observer) look(ctx context.Context) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	written := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			o.see(now)
			if now.Sub(written) >= metricsEvery {
				written = now
				o.write()
			}
		}
	}
}

// join adds a run. From then on the file is this command's.
func (o *observer) join(name string, b *begun) *observed {
	if o == nil {
		return nil
	}
	if o.host != nil {
		m := b.ledger.Meta()
		return &observed{ends: o.taskBegins(&task{
			workKey: workKey{name, m.Kind, m.SDKAppID}, run: m.Run, meter: b.meter, lanes: b.lanes, idle: func() bool { return false },
		})}
	}
	r := &observed{name: o.named(name), sdkAppID: b.ledger.Meta().SDKAppID, begun: b, since: time.Now()}
	o.mu.Lock()
	o.runs = append(o.runs, r)
	o.mu.Unlock()
	o.write()
	return r
}

// joinEnded adds a run of a job of several that ended before, while others of them have
// not: what is known of it is not forgotten because they go on.
func (o *observer) joinEnded(name string, sdkAppID int64, sum ledger.Summary) {
	if o == nil {
		return
	}
	name = o.named(name)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.runs = append(o.runs, &observed{name: name, last: report.RunNow{Name: name, SDKAppID: sdkAppID, Sum: sum}})
}

// named is what the metrics of a job's run are told apart by, or of the only run.
func (o *observer) named(job string) string {
	if job != "" && o.name != "" {
		return o.name + "/" + job
	}
	return cmp.Or(job, o.name)
}

// leave ends what is read of a run: its ledger is about to be closed.
func (o *observer) leave(r *observed) {
	if o == nil {
		return
	}
	if r.ends != nil {
		r.ends()
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	r.now(o.base)
	r.begun, r.last.LastSecond = nil, 0
}

// leaveAlone says that another process works on the run of this command.
func (o *observer) leaveAlone() {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.foreign = true
}

// read is what the metrics are made of.
func (o *observer) read() (report.CommandNow, []report.RunNow) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []report.RunNow
	for _, r := range o.runs {
		list = append(list, r.now(o.base))
	}
	return o.command, list
}

// now is how a run stands, or how it did when its ledger could be read last.
func (r *observed) now(ctx context.Context) report.RunNow {
	b := r.begun
	if b == nil {
		return r.last
	}
	ctx, cancel := context.WithTimeout(ctx, lookEvery)
	defer cancel()
	sum, err := b.ledger.Summary(ctx)
	if err != nil {
		sum = r.last.Sum
	}
	reading := b.meter.Read()
	usable, of := b.lanes()
	r.last = report.RunNow{
		Name: r.name, SDKAppID: r.sdkAppID, Sum: sum, Latency: b.meter.Latency(),
		LastSecond: reading.InOneSecond, Lanes: usable, Budget: of,
	}
	return r.last
}

// write writes the file, if it is this command's. The run goes on without it.
func (o *observer) write() {
	o.mu.Lock()
	ours := o.host != nil || len(o.runs) > 0 || !o.command.Running && !o.foreign
	skip := o.path == "" || o.broken || !ours
	o.mu.Unlock()
	if skip {
		return
	}
	if err := o.metrics.WriteFile(o.path); err != nil {
		o.mu.Lock()
		o.broken = true
		o.mu.Unlock()
		o.log.Warn("the metrics are not written any more: " + err.Error())
	}
}

// end says how the command has ended. The file keeps it, and the server is closed.
func (o *observer) end(code int) {
	o.stop()
	o.mu.Lock()
	endedNow(&o.command, code)
	o.broken = false // it is worth another try
	o.mu.Unlock()
	o.write()
	if o.server != nil {
		o.server.close(o.base)
	}
}

// endedNow notes how a command has ended.
func endedNow(c *report.CommandNow, code int) {
	now := time.Now()
	c.Running = false
	c.Ends.Last, c.Ends.Exit, c.Ends.Seconds = now, code, now.Sub(c.Started).Seconds()
	switch code {
	case exitOK:
		c.Ends.Finished, c.Ends.Success = now, now
	case exitFailed:
		c.Ends.Finished = now
	}
}

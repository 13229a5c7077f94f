package main

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"

	"chatbatch/io/ledger"
	"chatbatch/jobs"
)

const (
	// progressEvery is how often a job says how far it is, where that is not drawn.
	progressEvery = 10 * time.Second

	// speedOver is how much of the past counts for the speed.
	speedOver = 30 * time.Second

	// troubleAfter is how long nothing must have been settled for the last answer
	// to be shown as the trouble.
	troubleAfter = 3 * time.Second
)

// A phase is what a job does at the time.
type phase int

const (
	waits   phase = iota
	reads         // its input, to know it again
	lists         // groups, by calls
	plans         // reads its input, and puts the rows into chunks
	sends         // calls
	reports       // writes the table of an export, and the reports
	ended
)

// A progress says how far one job is. Who does the job tells it, and the board
// and the log ask. It is safe for concurrent use.
type progress struct {
	name string // of the job
	logs logs   // where its lines go

	bytes    atomic.Int64 // of the input, read
	rows     atomic.Int64 // of the input, read
	accounts atomic.Int64 // put into chunks

	mu      sync.Mutex
	phase   phase        // under mu
	input   string       // under mu; its name
	size    int64        // under mu; of the input, in bytes; 0: not known
	meter   *jobs.Meter  // under mu; nil: no call was made
	sending sending      // under mu
	lanes   [2]int       // under mu; usable, and of how many; 0: not known
	samples []sample     // under mu; a second apart, the newest last
	end     ledger.State // under mu; once it has ended; "": it ended without books
}

// sending is what is to be sent by a run, and at what pace at the most.
type sending struct {
	rows   int64   // all
	before int64   // of them settled before
	failed int64   // of those
	calls  float64 // that a row takes at the least
	budget int     // of calls a second
}

// A sample is how many rows were settled at some time.
type sample struct {
	at   time.Time
	done int64
}

// enter begins a phase. p may be nil.
func (p *progress) enter(s phase) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.phase = s
}

// read begins a phase in which the input is read from its first byte.
func (p *progress) read(s phase, src *source) {
	p.mu.Lock()
	defer p.mu.Unlock()
	src.prog = p
	p.phase, p.input, p.meter, p.size = s, src.name, src.meter, 0
	p.bytes.Store(0)
	p.rows.Store(0)
	if src.file != nil {
		if info, err := src.file.Stat(); err == nil {
			p.size = info.Size()
		}
	}
}

// count counts what is read from r. p may be nil.
func (p *progress) count(r io.Reader) io.Reader {
	if p == nil {
		return r
	}
	return countedReader{r, &p.bytes}
}

type countedReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c countedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// planPhase is the phase in which the input of a run is planned.
func planPhase(src *source) phase {
	if src.list != nil {
		return lists
	}
	return plans
}

// planned is told how far a plan is; see [jobs.Planner].
func (p *progress) planned(rows, accounts int64) {
	p.rows.Store(rows)
	p.accounts.Store(accounts)
}

// send begins the sending.
func (p *progress) send(m *jobs.Meter, s sending) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.phase, p.meter, p.sending = sends, m, s
	p.samples = []sample{{time.Now(), s.before}}
}

// sawLanes notes how many lanes are usable, and of how many.
func (p *progress) sawLanes(usable, of int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lanes = [2]int{usable, of}
}

// done ends the progress.
func (p *progress) done(s ledger.State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.phase, p.end = ended, s
}

// sample notes how many rows are settled now.
func (p *progress) sample(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.phase != sends {
		return
	}
	r := p.meter.Read()
	p.samples = append(p.samples, sample{now, p.sending.before + r.Succeeded + r.Failed})
	for now.Sub(p.samples[0].at) > speedOver {
		p.samples = p.samples[1:]
	}
}

// A standing is how far a job is at some moment.
type standing struct {
	name  string
	phase phase
	input string
	end   ledger.State

	read, size     int64 // bytes of the input
	rows, accounts int64 // of the plan

	all, done    int64 // rows
	failed       int64 // of those that are done
	jobs.Reading       // what this process counted
	budget       int   // of calls a second
	usable       int   // of it now
	missing      bool  // lanes are out of use
	idle         bool  // nothing has been settled for a while
	left         time.Duration
	calls        float64 // that are left, at the least
}

// unknown is the time left of a job that does not come on.
const unknown = time.Duration(-1)

// now is how far the job is.
func (p *progress) now() standing {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := standing{
		name: p.name, phase: p.phase, input: p.input, end: p.end, read: p.bytes.Load(), size: p.size,
		rows: p.rows.Load(), accounts: p.accounts.Load(), left: unknown,
		all: p.sending.rows, done: p.sending.before, budget: p.sending.budget, usable: p.sending.budget,
	}
	if p.meter != nil {
		s.Reading = p.meter.Read()
	}
	if p.phase < sends {
		return s
	}
	s.done += s.Succeeded + s.Failed
	s.failed = p.sending.failed + s.Failed
	if usable, of := p.lanes[0], p.lanes[1]; of > 0 {
		s.usable, s.missing = min(s.usable, usable), usable < of
	}
	rows := float64(s.all - s.done)
	s.calls = rows * p.sending.calls
	s.idle = idle(p.samples, s.done, troubleAfter)
	if speed := speedOf(p.samples); speed > 0 && s.usable > 0 && !idle(p.samples, s.done, progressEvery) {
		// No run is faster than its budget, whatever it was for a while.
		s.left = max(seconds(rows/speed), seconds(s.calls/float64(s.usable)))
	}
	return s
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// speedOf is the speed in rows a second; 0 if there was none, or it is too early to say.
func speedOf(samples []sample) float64 {
	if len(samples) < 2 {
		return 0
	}
	first, last := samples[0], samples[len(samples)-1]
	if took := last.at.Sub(first.at); took >= 2*time.Second {
		return float64(last.done-first.done) / took.Seconds()
	}
	return 0
}

// idle says that nothing was settled in the last d: done is what it was then.
func idle(samples []sample, done int64, d time.Duration) bool {
	for i := len(samples) - 1; i >= 0; i-- {
		if samples[len(samples)-1].at.Sub(samples[i].at) >= d {
			return samples[i].done == done
		}
	}
	return false
}

// say logs how far the job is.
func (s standing) say(log *slog.Logger) {
	switch s.phase {
	case reads:
		log.Info("reading "+s.input, s.ofInput()...)
	case lists:
		log.Info("listing "+s.input, "calls", s.Calls)
	case plans:
		log.Info("planning "+s.input, append([]any{"rows", s.rows, "in_chunks", s.accounts}, s.ofInput()...)...)
	case sends:
		about := []any{"succeeded", s.Succeeded, "failed", s.Failed, "calls", s.Calls, "retries", s.Retries,
			"calls_last_second", s.InOneSecond, "left", long(s.left)}
		if s.Fetched > 0 {
			about = append(about, "members", s.Fetched)
		}
		if s.missing {
			about = append(about, "lanes", s.usable)
		}
		if s.idle && s.Trouble != "" {
			about = append(about, "trouble", s.Trouble)
		}
		log.Info(fmt.Sprintf("%s of %s rows", humanize.Comma(s.done), humanize.Comma(s.all)), about...)
	case reports:
		log.Info("writing the reports", "rows", s.all)
	}
}

// ofInput says how much of the input is read.
func (s standing) ofInput() []any {
	about := []any{"read", humanize.Bytes(uint64(s.read))}
	if s.size > 0 {
		about = append(about, "of", humanize.Bytes(uint64(s.size)))
	}
	return about
}

// long is a time for people.
func long(d time.Duration) string {
	if d < 0 {
		return "unknown"
	}
	if d = d.Round(time.Second); d < time.Hour {
		return d.String()
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
}

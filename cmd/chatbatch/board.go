package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

const (
	// drawEvery is how often the bars are drawn: often enough to be alive, and little
	// for a slow line.
	drawEvery = 250 * time.Millisecond

	// maxQueue is how much text waits for a terminal that takes none.
	maxQueue = 1 << 20

	// Bars need this much room: on less, or where the size is not known, there are
	// lines instead.
	minColumns, minLines = 20, 6
)

// A board is stderr as the commands use it that run jobs. Where that is a terminal,
// the board can be raised: then it shows at the foot how far the jobs are, and what
// is said goes above that. Whatever is written meanwhile waits in a queue, so that a
// terminal that was stopped (Ctrl-S) keeps nobody from sending or from hearing a signal.
type board struct {
	out  io.Writer
	tty  *os.File // out, if it is a terminal
	bars bool     // are wanted

	direct sync.Mutex // of one who writes straight to out: several jobs have tables and a log
	mu     sync.Mutex
	jobs   []*progress // under mu
	raised *raised     // under mu; nil: what is written goes straight to out
}

// raised is a board while it is raised. It is under the board's mu but for the channels.
type raised struct {
	queue    []byte
	lost     int // lines that did not fit into it
	lowering bool
	shows    bool          // bars are drawn
	wake     chan struct{} // holds one: there is something to do
	done     chan struct{} // closed when it is lowered
}

// newBoard makes the board of a command.
func newBoard(stderr io.Writer, o *output, getenv func(string) string) *board {
	b := &board{out: stderr, tty: terminalOf(stderr)}
	if b.tty != nil {
		b.bars = !o.quiet && o.logFormat == "text" && getenv("TERM") != "dumb"
	}
	return b
}

// add puts a job on the board.
func (b *board) add(name string, l logs) *progress {
	p := &progress{name: name, input: name, logs: l}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.jobs = append(b.jobs, p)
	return p
}

// standings are how far all jobs are.
func (b *board) standings() []standing {
	b.mu.Lock()
	jobs := b.jobs
	b.mu.Unlock()
	all := make([]standing, len(jobs))
	for i, p := range jobs {
		all[i] = p.now()
	}
	return all
}

// follow looks how far all jobs are, and logs it, until ctx ends.
func (b *board) follow(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for next := time.Now().Add(progressEvery); ; {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			b.mu.Lock()
			jobs := b.jobs
			b.mu.Unlock()
			say := !now.Before(next)
			if say {
				next = next.Add(progressEvery)
			}
			for _, p := range jobs {
				p.sample(now)
				if say {
					p.now().say(b.lines(p))
				}
			}
		}
	}
}

// lines is the log for how far p is: where bars are drawn, not the terminal.
func (b *board) lines(p *progress) *slog.Logger {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.raised != nil && b.raised.shows {
		return p.logs.file
	}
	return p.logs.log
}

// raise raises the board where it is on a terminal.
func (b *board) raise() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tty == nil || b.raised != nil {
		return
	}
	r := &raised{wake: make(chan struct{}, 1), done: make(chan struct{})}
	s := &screen{tty: b.tty}
	if columns, lines := sizeOf(s.tty); b.bars && columns >= minColumns && lines >= minLines && foreground(b.tty) {
		s.draw(b)
		r.shows = true
	}
	b.raised = r
	go b.serve(r, s)
}

// lower takes the bars away and returns when all that was written is on the
// terminal.
func (b *board) lower() {
	b.mu.Lock()
	r := b.raised
	if r != nil {
		r.lowering = true
		r.poke()
	}
	b.mu.Unlock()
	if r != nil {
		<-r.done
	}
}

// Write writes whole lines.
func (b *board) Write(p []byte) (int, error) {
	b.mu.Lock()
	r := b.raised
	if r == nil {
		b.mu.Unlock()
		b.direct.Lock()
		defer b.direct.Unlock()
		return b.out.Write(p)
	}
	defer b.mu.Unlock()
	if len(r.queue)+len(p) > maxQueue {
		r.lost += max(1, bytes.Count(p, []byte("\n")))
	} else {
		r.queue = append(r.queue, p...)
	}
	r.poke()
	return len(p), nil
}

func (r *raised) poke() {
	select {
	case r.wake <- struct{}{}:
	default: // it is awake
	}
}

// take returns what is in the queue.
func (b *board) take(r *raised) (text []byte, lowering bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text, r.queue = r.queue, nil
	if r.lost > 0 {
		text = fmt.Appendf(text, "… and %d lines that are lost: the terminal took nothing for a while\n", r.lost)
		r.lost = 0
	}
	return text, r.lowering
}

// serve writes what is in the queue until the board is lowered.
func (b *board) serve(r *raised, s *screen) {
	defer close(r.done)
	for lowering := false; !lowering; {
		<-r.wake
		var text []byte
		text, lowering = b.take(r)
		s.write(text)
	}
	s.close()
	for {
		text, _ := b.take(r)
		s.write(text)
		b.mu.Lock()
		if len(r.queue) == 0 && r.lost == 0 {
			b.raised = nil
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
	}
}

// A screen is a terminal with bars at its foot, or without. It belongs to one
// goroutine.
type screen struct {
	tty  *os.File
	bars *mpb.Progress // nil: there are none
	foot *mpb.Bar
}

// draw begins to draw the standings of a board. What is drawn is one bar of mpb with
// as many lines as it takes: mpb moves it, and puts what is written above it.
func (s *screen) draw(b *board) {
	var lines []string
	first := func(w io.Writer, _ decor.Statistics) error {
		columns, height := sizeOf(s.tty)
		lines = picture(b.standings(), columns-1, height*2/3) // a full last column makes some terminals wrap
		_, err := io.WriteString(w, lines[0])
		return err
	}
	rest := func(w io.Writer, _ decor.Statistics) error {
		for _, line := range lines[1:] {
			if _, err := io.WriteString(w, line+"\n"); err != nil {
				return err
			}
		}
		return nil
	}
	s.bars = mpb.New(append(drawnOn(s.tty), mpb.WithRefreshRate(drawEvery))...)
	s.foot = s.bars.MustAdd(0, mpb.BarFillerFunc(first), mpb.BarFillerTrim(), mpb.BarExtender(mpb.BarFillerFunc(rest), false))
}

// write writes whole lines above the bars. What a terminal does not take, because it
// is gone, is lost.
func (s *screen) write(text []byte) {
	if len(text) == 0 {
		return
	}
	if s.bars != nil {
		if _, err := s.bars.Write(text); err == nil {
			return
		}
	}
	_, _ = s.tty.Write(text)
}

// close takes the bars away.
func (s *screen) close() {
	if s.bars == nil {
		return
	}
	s.foot.Abort(true)
	s.bars.Wait()
	s.bars = nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"

	"chatbatch/io/ledger"
	"chatbatch/io/report"
	"chatbatch/jobs"
)

// work sends what is pending of a run, writes its books, and says how it ended.
func (j *job) work(ctx context.Context, b *begun) error {
	l, meter := b.ledger, b.meter
	k, err := kindNamed(l.Meta().Kind)
	if err != nil {
		return err
	}
	seen := j.observer.join(j.name, b)
	defer j.observer.leave(seen)
	if l.State() == ledger.Finished {
		// An earlier process was killed before it could say so.
		b.sum, err = j.books(ctx, l)
		return j.ended(b.sum, nil, exitOK, err)
	}
	// From here on the run has an end and books, also if it is to stop at once.
	always := context.WithoutCancel(ctx)
	before, err := l.Summary(always)
	if err != nil {
		return err
	}
	if err := l.Begin(always); err != nil {
		return err
	}
	say := func(text string) { j.log.Warn(text) }
	r := &jobs.Runner{
		Kind: k.make(j.options, kindParts{b.conn.chat, l, say}), Ledger: l, Door: j.door(b.conn, meter), Workers: j.workers, Grace: j.grace,
		MaxErrors: limit(j.maxErrors), Rows: before.Rows, Failed: before.Failed,
	}
	j.prog.send(meter, j.toSend(r.Kind, before))
	why := j.run(ctx, r, b)

	state, code := stateAfter(why)
	if state == "" {
		state, code = ledger.Stopped, exitStopped
	}
	if err := l.End(always, state, b.session()); err != nil {
		return j.ended(ledger.Summary{}, why, code, err)
	}
	b.sum, err = j.books(ctx, l)
	return j.ended(b.sum, j.toBeChecked(why, b.conn), code, err)
}

// ended is how a run with these books ends that was stopped by why, if not nil,
// and whose books could not be written or shown because of err, if not nil.
func (j *job) ended(sum ledger.Summary, why error, code int, err error) error {
	again := "run the same command again to go on"
	switch {
	case j.fresh && j.name != "": // of several jobs that would be the newest alone
		again = "run the same command again without --fresh to go on"
	case j.fresh:
		again = "chatbatch resume goes on with it"
	}
	switch {
	case errors.Is(why, ledger.ErrDamaged):
		return &codedError{code, why} // what to do about it is in it
	case errors.Is(err, ledger.ErrDamaged):
		return &codedError{exitStopped, errors.Join(why, err)}
	case errors.Is(err, ledger.ErrUnbalanced):
		return &codedError{exitUnbalanced, errors.Join(why, err)}
	case ledger.OfDisk(why) && !j.fresh && strings.Contains(why.Error(), "the same command again") && (err == nil || ledger.OfDisk(err)):
		return &codedError{code, why} // it says all there is to say
	case why == nil && err != nil:
		// Calls were made: never one of the codes that say none was.
		if _, code = stateAfter(err); code == 0 {
			code = exitStopped
		}
		return &codedError{code, fmt.Errorf("%w; %s", err, again)}
	case why != nil && err != nil:
		return &codedError{code, fmt.Errorf("%w; %s (and: %w)", why, again, err)}
	case why != nil:
		return &codedError{code, fmt.Errorf("%w; %s", why, again)}
	case sum.Failed > 0:
		return &codedError{exitFailed, nil}
	}
	return nil
}

// run runs r, and keeps meanwhile what is to be known of it.
func (j *job) run(ctx context.Context, r *jobs.Runner, b *begun) error {
	watching, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { b.note(watching) })
	wg.Go(func() { b.sampler(j.log, j.prog).run(watching) })
	err := r.Run(ctx)
	stop()
	wg.Wait()
	return err
}

// toSend is what a run has to send.
func (j *job) toSend(k jobs.Kind, before ledger.Summary) sending {
	s := sending{rows: before.Rows, before: before.Succeeded + before.Failed, failed: before.Failed, budget: j.rate(), calls: 1}
	if _, each := k.(jobs.RowKind); !each {
		s.calls = float64(before.Chunks) / float64(max(1, before.Rows-before.ByClass[jobs.ClassBadRow]-before.ByClass[jobs.ClassOverLimit]))
	}
	return s
}

// note keeps the newest figures of the session in the ledger, for the books of
// a process that is killed.
func (b *begun) note(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			b.ledger.Note(b.session())
		}
	}
}

// session is what this process did for a run, beyond its settled chunks.
func (b *begun) session() ledger.Session {
	r := b.meter.Read()
	s := ledger.Session{
		Calls: int(r.Calls) - r.Settled.Calls, Retries: int(r.Retries) - r.Settled.Retries,
		Refused: int(r.Refused), MaxCallsInOneSecond: r.MaxInOneSecond,
	}
	if !b.since.IsZero() {
		s.Seconds = time.Since(b.since).Seconds()
	}
	return s
}

// books writes the reports of a run, and the table of an export, and shows the
// summary. They are written whatever ended the run, the end of until included.
func (j *job) books(until context.Context, l *ledger.Ledger) (ledger.Summary, error) {
	ctx := context.WithoutCancel(until)
	j.prog.enter(reports)
	if err := j.store.lodge(l.Meta().Run); err != nil {
		return ledger.Summary{}, err
	}
	published, err := j.publishEnded(ctx, until, l)
	if err != nil {
		return ledger.Summary{}, err
	}
	m := l.Meta()
	sum, err := report.Write(ctx, l, j.store.Path(m.Run), func(s ledger.Summary) report.Next { return j.next(m, s) })
	if err != nil {
		return sum, err
	}
	if j.telling == nil {
		j.w.ending.summary = sum
	} else {
		j.telling.Lock()
		defer j.telling.Unlock()
	}
	j.keepEnd(m, sum, published)
	if j.telling == nil {
		j.board.lower()
	}
	if j.shows() {
		// The files are there; that nobody can be shown them is no reason to fail.
		_ = show(ctx, j.w.stderr, l, j.w)
		if j.telling == nil {
			_ = showPace(ctx, j.w.stderr, l, j.w)
		}
		if published != "" {
			fmt.Fprintln(j.w.stderr, published)
		}
		fmt.Fprintln(j.w.stderr, j.nextCommand(m, sum))
	}
	if j.json && j.telling == nil {
		if err := json.NewEncoder(j.w.stdout).Encode(sum); err != nil {
			return sum, fmt.Errorf("print summary: %w", err)
		}
	}
	if published != "" && !j.shared {
		// People's data lies in one place. Before the run counts as done: who is
		// killed in between comes back for it.
		if err := l.DropKept(ctx); err != nil {
			j.log.Warn("what the export fetched cannot be removed: " + err.Error())
		}
	}
	if j.shared {
		return sum, j.store.database.Reported(ctx, m.Run)
	}
	return sum, l.Reported(ctx)
}

// publishEnded publishes the table of an export that has ended, and returns what is to be
// said of it; "" if there is nothing to publish.
func (j *job) publishEnded(ctx, until context.Context, l *ledger.Ledger) (string, error) {
	switch {
	case !isExport(l.Meta().Kind) || l.State() != ledger.Finished:
		return "", nil
	case j.shared:
		return j.publishShared(ctx, until, l)
	}
	return j.publish(ctx, until, l, nil)
}

// shows says whether stderr shows tables at the end. In a log for machines they would be
// no lines of it.
func (o *output) shows() bool { return !o.quiet && o.logFormat != "json" }

// keepEnd keeps in the log what stderr shows as tables, or would.
func (j *job) keepEnd(m ledger.Meta, s ledger.Summary, published string) {
	about := []any{"state", s.State, "rows", s.Rows, "succeeded", s.Succeeded, "failed", s.Failed, "unprocessed", s.Unprocessed,
		"calls", s.Calls, "retries", s.Retries, "seconds", math.Round(s.Seconds*10) / 10, "files", j.store.Path(m.Run)}
	if published != "" {
		about = append(about, "published", published)
	}
	if next := j.next(m, s); next.Command != "" {
		about = append(about, "next", next.Command)
	}
	log := j.log // where it is not shown in another form
	if j.shows() {
		log = j.file
	}
	log.Info("run "+m.Run+" has ended", about...)
}

// nextCommand is the end of what a run prints: where its files are, and what
// to do next, to be pasted as it stands. Credentials are not in it, but the name of
// their file.
func (j *job) nextCommand(m ledger.Meta, s ledger.Summary) string {
	text := "files: " + j.store.Path(m.Run)
	if next := j.next(m, s); next.Command != "" {
		text += "\nnext:  " + strings.TrimLeft(next.Say+" "+next.Command, " ")
	}
	return text
}

// next is what can be done after this run.
func (j *job) next(m ledger.Meta, s ledger.Summary) report.Next {
	n := nextStep(j.store, j.shared, j.runsDir != "", j.target, m, s)
	if n.Command == "" || n.Say != "" {
		return n
	}
	n.Command += j.credentials()
	return n
}

// credentials are the arguments by which another command has those of this one, as far
// as they are no secrets.
func (j *job) credentials() string {
	text := ""
	if name, err := filepath.Abs(j.keyFile); j.keyFile != "" && err == nil && j.config.value("secret-key-file") != j.keyFile {
		text = " --secret-key-file " + quoted(name)
	}
	return text + j.config.arguments()
}

// nextStep says what can be done after a run in store; shared says that it is one of many
// hosts, named that its directory must be named, and target is the file of an export.
func nextStep(store shelf, shared, named bool, target string, m ledger.Meta, s ledger.Summary) report.Next {
	var command string
	switch {
	case s.State != ledger.Finished:
		command = "chatbatch resume " + m.Run
	case s.Failed == 0:
		return report.Next{}
	case s.Failed == s.ByClass[jobs.ClassBadRow]:
		failed, _, _ := report.Files(store.Path(m.Run), m.Format)
		return report.Next{Say: "mend the bad rows in " + quoted(failed) + ", and run it:", Command: "chatbatch " + m.Kind + " FILE"}
	case shared:
		command = "chatbatch submit retry " + m.Run
	default:
		command = "chatbatch retry " + m.Run
	}
	if s.State == ledger.Finished && isExport(m.Kind) {
		command += " -o " + quoted(retryName(target))
	}
	return report.Next{Command: command + storeFlags(named, store)}
}

// storeFlags is the end of a command that needs the runs of a store.
func storeFlags(named bool, store shelf) string {
	if !named {
		return store.flag
	}
	return store.flag + " --runs-dir " + quoted(store.Dir)
}

// quoted writes a word for a shell.
func quoted(word string) string {
	special := func(r rune) bool {
		return r < 0x80 && !strings.ContainsRune("/._-+=:,@%", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}
	if !strings.ContainsFunc(word, special) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// named prints the first of some rows and how many more there are.
func named(out io.Writer, what string, rows []jobs.BadRow, all int64) {
	for _, r := range rows {
		fmt.Fprintf(out, "  %s, line %d: %v\n", what, r.Line, r.Err)
	}
	if more := all - int64(len(rows)); more > 0 {
		fmt.Fprintf(out, "  and %d more %s rows\n", more, what)
	}
}

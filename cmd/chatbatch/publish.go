package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"chatbatch/io/ledger"
	"chatbatch/io/object"
	"chatbatch/jobs/fleet"
)

// What many hosts have fetched is published once. An object is written by one of the hosts
// when the last group is settled; a file on disk, or what goes to stdout, by the command
// that waits, on its own host.

const (
	// helpTime is how long a command that waits leaves it to the hosts to publish before
	// it does so itself. They look every two seconds.
	helpTime = 10 * time.Second

	// publishPatience is how long it waits for hosts when nobody has begun, and it
	// cannot itself.
	publishPatience = 20 * time.Second
)

// publisher says who publishes a run: a host, unless the output is to be on this one.
func (j *job) publisher(m ledger.Meta) ledger.Publish {
	switch {
	case !isExport(m.Kind):
		return ""
	case j.instead == "" && object.Is(m.Options["output"]):
		return ledger.PublishByHosts
	}
	return ledger.PublishByCommand
}

// elsewhereCommand is the command that publishes a run in another place.
func (j *job) elsewhereCommand(run, file string) string {
	wait := ""
	if j.shared {
		wait = " --wait"
	}
	return "chatbatch resume " + run + wait + " -o " + file
}

// publishAsHost publishes, as one of many hosts, what a finished run has fetched, and says
// what to noted.
func (j *job) publishAsHost(ctx context.Context, run string, noted func(fleet.Published) error) error {
	l, err := j.store.OpenRead(ctx, run)
	if err != nil {
		return err
	}
	defer l.Close()
	p := j.of(l.Meta())
	p.shared = true
	if err := p.planAgain(l.Meta()); err != nil {
		return err
	}
	// Whoever submits names the store. The keys of a host that has one go nowhere else.
	if own := j.endpointOf(j.w.getenv); own != "" && own != p.endpointOf(p.w.getenv) {
		return fmt.Errorf("publish %s: this host writes to the object storage at %s alone, and the run's is at %s", p.target, own, p.endpointOf(p.w.getenv))
	}
	if err := p.checkNewest(ctx, run); err != nil { // before there is any work
		return err
	}
	if err := p.probe(ctx); err != nil {
		return err
	}
	if err := p.store.lodge(run); err != nil {
		return err
	}
	defer p.store.local().Vacate(run)
	_, err = p.publish(ctx, ctx, l, func(text string) error {
		p.store.local().Vacate(run)
		return noted(p.published(text))
	})
	return err
}

// checkNewest refuses to put an object in the place of one that a later run has put there.
// Files are each host's own.
func (j *job) checkNewest(ctx context.Context, run string) error {
	if !object.Is(j.target) {
		return nil
	}
	newer, err := j.store.database.NewerAt(ctx, run, j.target)
	if err == nil && newer != "" {
		err = fmt.Errorf("publish %s: run %s is newer, and is there", j.target, newer)
	}
	return err
}

// published is what is to be known of a publication of this job.
func (j *job) published(text string) fleet.Published {
	text = strings.TrimPrefix(text, exportedPrefix)
	if text == nothingPublished {
		return fleet.Published{Text: text}
	}
	return fleet.Published{Text: text, Place: j.target}
}

// sweepOutgoing removes the tables that a host which was killed had yet to send, and that
// others have published meanwhile. A run that is not published comes back to its own.
func (j *job) sweepOutgoing(ctx context.Context) {
	left, _ := filepath.Glob(filepath.Join(j.store.Dir, "*", outgoingName)) // the pattern is sound
	for _, dir := range left {
		run := filepath.Base(filepath.Dir(dir))
		at, err := j.store.database.Publication(ctx, run)
		if err == nil && at.Publish.Over() && at.Publish != "" { // a run that is not of many hosts may be at work
			_ = os.RemoveAll(dir) // it is looked at again next time
			j.store.local().Vacate(run)
		}
	}
}

// publishShared sees to it that what a run of many hosts has fetched is published, and
// says what is to be said of it.
func (j *job) publishShared(ctx, until context.Context, l *ledger.Ledger) (string, error) {
	m := l.Meta()
	a := &awaiting{job: j, run: m.Run, since: time.Now(), said: time.Now()}
	for {
		at, err := j.store.database.Publication(until, m.Run)
		switch {
		case err != nil:
			return "", err
		case at.Publish.Over():
			return j.placed(m, at)
		}
		if a.mine(at) {
			text, err := j.publishNow(ctx, until, l)
			if !a.goesOn(until, at, err) {
				return text, err
			}
		}
		if err := a.tooLong(at); err != nil {
			return "", err
		}
		select {
		case <-until.Done():
			return "", context.Cause(until)
		case <-time.After(followEvery / 2):
		}
	}
}

// awaiting is a command that waits until a run is published.
type awaiting struct {
	*job
	run   string
	since time.Time // somebody was seen to publish it
	said  time.Time
	tries int64 // by others, as far as they were seen
	own   error // of the own try
	lost  int   // own tries that have ended with the database
}

// mine says whether it is for this command to try now.
func (a *awaiting) mine(at ledger.Publication) bool {
	if at.Held || at.Tries != a.tries {
		a.since, a.tries = time.Now(), at.Tries
	}
	if at.Publish == ledger.PublishByCommand {
		return true
	}
	return !at.Held && a.own == nil && (at.Tries > 0 || time.Since(a.since) > helpTime)
}

// goesOn says whether to wait on after the own try, which has ended with err.
func (a *awaiting) goesOn(until context.Context, at ledger.Publication, err error) bool {
	switch {
	case err == nil, until.Err() != nil:
		return false
	case errors.Is(err, ledger.ErrDropped): // another was faster
		return true
	case errors.Is(err, ledger.ErrUnreachable) && a.lost < 3:
		a.lost++
		a.log.Warn(err.Error() + "; it is tried again")
		return true
	case at.Publish == ledger.PublishByHosts:
		a.own = err
		return true
	}
	return false
}

// tooLong is the end of the waiting for hosts, of which none publishes the run.
func (a *awaiting) tooLong(at ledger.Publication) error {
	theirs := "no host has tried: is chatbatch work there, for this app and endpoint?"
	if at.Tries > 0 {
		theirs = fmt.Sprintf("host %s: %s", at.Host, at.Why)
	}
	if at.Publish == ledger.PublishByHosts && !at.Held && a.own != nil && time.Since(a.since) > publishPatience {
		return fmt.Errorf("%w; nor could the hosts publish it, which go on trying (%s). What was fetched is kept; it can go elsewhere: %s%s",
			a.own, theirs, a.elsewhereCommand(a.run, "FILE"), storeFlags(a.runsDir != "", a.store))
	}
	if now := time.Now(); now.Sub(a.said) >= progressEvery {
		a.said = now
		text := "all is fetched; waiting until a host has published it"
		if !at.Held {
			text += " (" + theirs + ")"
		}
		a.log.Info(text)
	}
	return nil
}

// publishNow publishes on this host what a finished run has fetched.
func (j *job) publishNow(ctx, until context.Context, l *ledger.Ledger) (string, error) {
	run := l.Meta().Run
	right, err := j.store.database.TakePublishing(until, run, true)
	if err != nil {
		return "", err
	}
	defer right.End()
	held, stop := right.Held(ctx)
	defer stop()
	sending, end := context.WithCancelCause(held) // it ends with the command, too
	defer end(nil)
	defer context.AfterFunc(until, func() { end(context.Cause(until)) })()
	text, err := j.publish(held, sending, l, func(text string) error {
		done := j.published(text)
		if err := right.Done(ctx, done.Text, done.Place); err != nil {
			j.log.Warn("what the export fetched cannot be removed: " + err.Error())
		}
		return nil
	})
	if err == nil {
		return text, nil
	}
	if held.Err() != nil {
		err = fmt.Errorf("%w (%w)", context.Cause(held), err)
	} else if until.Err() == nil && !errors.Is(err, ledger.ErrUnreachable) {
		err = errors.Join(err, right.Failed(ctx, err.Error()))
	}
	return "", err
}

// placed is what is to be said of a run that another has published. It is an error if
// that is not where it was to be.
func (j *job) placed(m ledger.Meta, at ledger.Publication) (string, error) {
	text := exportedPrefix + at.Text
	want := cmp.Or(j.instead, m.Options["output"])
	var err error
	if want != stdoutName {
		want, err = absolute(want)
	}
	switch {
	case err != nil:
		return "", err
	case at.Place == "": // there was nothing
		return text, nil
	case at.Place == want && (object.Is(want) || isManifestOf(want+manifestSuffix, m.Run)):
		return text, nil
	}
	return "", fmt.Errorf("the export was published before, by host %s, as %s, and what was fetched is removed; to fetch it again, begin a new run (--fresh)", at.Host, at.Place)
}

// isManifestOf says whether a file is the manifest of a run.
func isManifestOf(name, run string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 0; n < 2 && lines.Scan(); n++ {
		if strings.Contains(lines.Text(), `"run": "`+run+`"`) {
			return true
		}
	}
	return false
}

// publication is what is to be said of the publication of a run of many hosts; "" if that
// is nothing.
func publication(at ledger.Publication, m ledger.Meta, flags string) string {
	switch {
	case at.Publish == "":
		return ""
	case at.Publish.Over():
		return fmt.Sprintf("published by host %s: %s", at.Host, at.Text)
	case !at.Ended:
		return "not published yet: not all is fetched"
	case at.Held:
		return "being published"
	}
	text := "not published yet"
	if at.Tries > 0 {
		text += fmt.Sprintf(": host %s could not, at %s: %s (tries: %d)", at.Host, at.Tried.Format(time.RFC3339), at.Why, at.Tries)
	}
	if at.Publish == ledger.PublishByHosts {
		return text + "; the hosts go on trying. Here: chatbatch resume " + m.Run + " --wait" + flags
	}
	return text + ": chatbatch resume " + m.Run + " --wait" + flags
}

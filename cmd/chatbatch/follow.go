package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"chatbatch/io/ledger"
)

const (
	followEvery = time.Second

	// leaveTime is how long the hosts of a run that has ended may take to hand in their
	// last figures: what they had under way has the grace time.
	leaveTime = 30 * time.Second
)

func isFinished(err error) bool { return errors.Is(err, ledger.ErrFinished) }

// follow waits for the end of a run of many hosts, and ends as if it had been worked on
// here.
func (j *job) follow(ctx context.Context, m ledger.Meta) error {
	s, err := j.untilEnd(ctx, m.Run)
	if err != nil {
		if ctx.Err() != nil {
			code := exitInterrupted
			if errors.Is(context.Cause(ctx), errExpired) {
				code = exitTryLater
			}
			return &codedError{code, fmt.Errorf("%w: run %s goes on without this command; chatbatch resume %s --wait%s follows it again",
				context.Cause(ctx), m.Run, m.Run, storeFlags(j.runsDir != "", j.store))}
		}
		return err
	}
	l, err := j.store.OpenRead(ctx, m.Run)
	if err != nil {
		return err
	}
	defer l.Close()
	sum, err := j.books(ctx, l)
	switch {
	case s.State == ledger.Finished:
		return j.ended(sum, nil, exitOK, err)
	case s.State == ledger.Cancelled && err == nil:
		return &codedError{exitStopped, fmt.Errorf("%s; chatbatch resume %s%s goes on with it all the same", s.Why, m.Run, storeFlags(j.runsDir != "", j.store))}
	}
	return j.ended(sum, errors.New(s.Why), codeAfter(s.State), err)
}

// codeAfter is the exit code of a run that was left in a state by its hosts.
func codeAfter(s ledger.State) int {
	switch s {
	case ledger.Refused:
		return exitRefused
	case ledger.Interrupted:
		return exitInterrupted
	case ledger.Expired:
		return exitTryLater
	}
	return exitStopped
}

// untilEnd waits until a run has ended and its hosts have left it, and says meanwhile how
// far it is.
func (j *job) untilEnd(ctx context.Context, run string) (s ledger.Standing, err error) {
	t := time.NewTicker(followEvery)
	defer t.Stop()
	said, ended := time.Now(), time.Time{}
	var last int64
	for {
		if s, err = j.store.database.Standing(ctx, run); err != nil {
			return s, err
		}
		now := time.Now()
		switch {
		case s.State == ledger.Running && s.Open == 0: // the last host may be gone
			err = j.store.database.Finish(ctx, run)
		case s.State == ledger.Running:
			ended = time.Time{}
		case ended.IsZero():
			ended = now
		}
		if err != nil {
			return s, err
		}
		if s.State != ledger.Running && (s.Hosts == 0 || now.Sub(ended) > leaveTime) {
			return s, nil
		}
		if now.Sub(said) >= progressEvery {
			j.sayFar(s, last, now.Sub(said))
			said, last = now, s.Books.Succeeded+s.Books.Failed
		}
		select {
		case <-ctx.Done():
			return s, context.Cause(ctx)
		case <-t.C:
		}
	}
}

// sayFar says how far a run of many hosts is; last is how many rows were settled when
// that was said before.
func (j *job) sayFar(s ledger.Standing, last int64, since time.Duration) {
	done := s.Books.Succeeded + s.Books.Failed
	about := []any{"succeeded", s.Books.Succeeded, "failed", s.Books.Failed, "calls", s.Calls, "hosts", s.Hosts}
	if speed := float64(done-last) / since.Seconds(); last > 0 && speed > 0 {
		left := time.Duration(float64(s.Books.Unprocessed) / speed * float64(time.Second))
		about = append(about, "left", left.Round(time.Second).String())
	}
	text := fmt.Sprintf("%s of %s rows", humanize.Comma(done), humanize.Comma(s.Books.Rows))
	if s.Hosts == 0 {
		text += "; no host works on it: start chatbatch work, for this app and endpoint"
	}
	j.log.Info(text, about...)
}

func pauseCommand(w world) *cobra.Command {
	return storeCommand(w, &cobra.Command{
		Use: "pause RUN", Short: "Stop the work of all hosts on a run, to go on later", Args: cobra.ExactArgs(1),
		Long: `Stop the work of all hosts on a run (chatbatch submit), within two seconds; calls under
way may still come back. What is not settled stays unprocessed: chatbatch resume goes on.`,
	}, func(ctx context.Context, s shelf, args []string) error {
		return halt(ctx, w, s, args[0], "paused", func(ctx context.Context) (bool, error) {
			return s.database.Halt(ctx, args[0], 0, ledger.Interrupted, "it was paused")
		})
	})
}

func cancelCommand(w world) *cobra.Command {
	return storeCommand(w, &cobra.Command{
		Use: "cancel RUN", Short: "End the work of all hosts on a run", Args: cobra.ExactArgs(1),
		Long: `End the work of all hosts on a run (chatbatch submit), within two seconds; calls under
way may still come back. What is not settled stays unprocessed. The command that began it
begins a new run from now on; chatbatch resume RUN goes on with this one all the same.`,
	}, func(ctx context.Context, s shelf, args []string) error {
		return halt(ctx, w, s, args[0], "cancelled", func(ctx context.Context) (bool, error) {
			return s.database.Cancel(ctx, args[0])
		})
	})
}

// halt takes a run from all hosts.
func halt(ctx context.Context, w world, s shelf, run, done string, do func(context.Context) (bool, error)) error {
	if s.database == nil {
		return usage("runs of many hosts are in a database: name it by --ledger or --ledger-file; a run of this host is stopped by Ctrl-C")
	}
	changed, err := do(ctx)
	if err != nil {
		return err
	}
	if !changed {
		at, err := s.database.Standing(ctx, run)
		switch {
		case errors.Is(err, ledger.ErrNoRun):
			return noRun(run, s)
		case err != nil:
			return err
		case at.Fleet == 0:
			return usage("run %s was not given to many hosts: it is stopped where it is worked on", run)
		}
		return usage("run %s is %s: no host works on it", run, at.State)
	}
	_, err = fmt.Fprintf(w.stdout, "%s %s\n", done, run)
	return err
}

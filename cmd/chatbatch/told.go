package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
	"chatbatch/io/roster"
	"chatbatch/jobs"
)

// told says how cmd has ended.
func (e *ending) told(cmd *cobra.Command, code int, err error) told {
	t := told{
		Exit: code, Host: hostName(), Ended: time.Now().UTC().Truncate(time.Second), Summary: e.summary,
		Command: strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" "),
	}
	if args := cmd.Flags().Args(); len(args) > 0 && !isDatabase(args[0]) {
		t.Input = brief(filepath.Base(args[0]))
	}
	t.Error = strings.Join(e.errs, "; ")
	if err != nil {
		t.Error = outward(err)
	}
	t.Text = t.line()
	return t
}

// line is all of it in a line.
func (t told) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "chatbatch %s", t.Command)
	if t.Input != "" {
		b.WriteString(" " + t.Input)
	}
	fmt.Fprintf(&b, " on %s: ", t.Host)
	switch s := t.Summary.(type) {
	case ledger.Summary:
		b.WriteString(rowsOf(s.Rows, s.Succeeded, s.Failed, s.Unprocessed) + ", run " + s.Run + "; ")
	case allJSON:
		fmt.Fprintf(&b, "%d jobs, %s; ", len(s.Jobs), rowsOf(s.Rows, s.Succeeded, s.Failed, s.Unprocessed))
	}
	fmt.Fprintf(&b, "exit code %d", t.Exit)
	if t.Error != "" {
		b.WriteString(": " + t.Error)
	}
	return b.String()
}

func rowsOf(rows, succeeded, failed, unprocessed int64) string {
	text := fmt.Sprintf("%s of %s rows succeeded, %s failed", humanize.Comma(succeeded), humanize.Comma(rows), humanize.Comma(failed))
	if unprocessed > 0 {
		text += fmt.Sprintf(", %s unprocessed", humanize.Comma(unprocessed))
	}
	return text
}

// outward is the text of an error for somebody outside, in one line: without what may
// be people's data. That is the header of a file that has none, and what the server says
// of a call; what it says of the app and its credentials is what must be known.
func outward(err error) string {
	text := said(err)
	if h, ok := errors.AsType[*roster.HeaderError](err); ok {
		text = strings.ReplaceAll(text, h.Error(), "header: "+h.Reason)
	}
	if r, ok := errors.AsType[*refusedError](err); ok {
		text = strings.ReplaceAll(text, r.advice(), "") // with the names of files, and of the admin
	}
	if _, ofApp := errors.AsType[*jobs.RunRefusedError](err); !ofApp {
		if e, ok := errors.AsType[*chat.Error](err); ok && e.Info != "" {
			text = strings.ReplaceAll(text, e.Info, "…")
		}
	}
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

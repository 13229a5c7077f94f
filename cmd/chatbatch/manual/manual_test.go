package manual

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

const wantPage = `'\" -*- coding: utf-8 -*-
.TH TOOL-DO 1 2026-11-28 "tool v1" "tool"
.SH NAME
tool\-do \- Do it
.SH SYNOPSIS
\fBtool do\fP FILE [flags]
.SH DESCRIPTION
Do it.
.PP
\&.columns, \e and \-\-flags:
.PP
.nf
  a   one
  b   two
.fi
.PP
The end.
.SH OPTIONS
.TP
\fB\-h\fP, \fB\-\-help\fP
help for do
.TP
\fB\-o\fP, \fB\-\-output\fP \fIstring\fP
file to write
.TP
\fB\-\-qps\fP \fIint\fP
calls a second (default 200)
.SH EXIT STATUS
.TP
\fB0\fP
well
.TP
\fB75\fP
try later: locked, or busy
.SH SEE ALSO
.BR tool (1)
`

func TestPage(t *testing.T) {
	root := &cobra.Command{Use: "tool", Short: "Tool"}
	do := &cobra.Command{Use: "do FILE", Short: "Do it", Run: func(*cobra.Command, []string) {}, Long: `Do it.

.columns, \ and --flags:

  a   one
  b   two

The end.

Exit codes:
  0   well
  75  try later: locked,
      or busy`}
	do.Flags().StringP("output", "o", "", "file to write")
	do.Flags().Int("qps", 200, "calls a second")
	hidden := &cobra.Command{Use: "secret", Hidden: true, Run: do.Run}
	root.AddCommand(do, hidden)
	dir := t.TempDir()
	m := Manual{Date: time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC), Version: "tool v1"}
	if err := m.Write(root, dir); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "tool-do.1"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(wantPage, string(got)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if _, err := os.Stat(filepath.Join(dir, "tool-secret.1")); err == nil {
		t.Error("a hidden command has a page")
	}
}

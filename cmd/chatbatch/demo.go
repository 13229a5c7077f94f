package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// demoScenario is the Chat API of the demo.
const demoScenario = `# The Chat API of the demo: every group and account exists, some are offline,
# one account spoils each call that names it, and one call in twenty fails.
seed: 7
open: true
qps: 200
latency: 20ms
jitter: 10ms
offline_rate: 0.02
poison: [student-0777]
faults:
  - kind: code
    code: 10002
    rate: 0.05
`

// The demo's roster is sorted by student, so the rows of its groups are
// interleaved.
const (
	demoStudents = 1000
	demoCourses  = 6
)

func demoCommand(w world) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "A tour on the built-in simulator: import the marks of a roster",
		Long: `A tour on the built-in simulator: import the marks of a roster of 6,000 rows in
6 groups, with some students offline, an account that spoils its calls, a few bad
rows, and one call in twenty failing with 10002. Nothing leaves this machine.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo(cmd.Context(), w)
		},
	}
}

func demo(ctx context.Context, w world) error {
	dir, err := os.MkdirTemp("", "chatbatch-demo-")
	if err != nil {
		return usage("make a directory for the demo: %w", err)
	}
	roster, scenario := filepath.Join(dir, "roster.csv"), filepath.Join(dir, "scenario.yaml")
	if err := writeDemo(roster, scenario); err != nil {
		return err
	}
	args := []string{"marks", "set", roster, "--sim-scenario", scenario, "--runs-dir", filepath.Join(dir, "runs"), "--chunk-size", "25"}
	fmt.Fprintf(w.stderr, "$ chatbatch %s\n", strings.Join(args, " "))
	// A tour shows the same to everybody, and nothing leaves this machine.
	switch code := run(ctx, append(args, "--config=", "--notify-url=", "--ledger="+ledgerLocal), w); code {
	case exitOK, exitFailed: // rows that fail belong to the tour
		return nil
	default:
		return &codedError{code, nil}
	}
}

func writeDemo(roster, scenario string) error {
	if err := os.WriteFile(scenario, []byte(demoScenario), 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(roster, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(f)
	demoRoster(b)
	if err := b.Flush(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// demoRoster writes a roster as a school would: a column that chatbatch does
// not know, and a few rows that somebody typed wrong.
func demoRoster(out io.Writer) {
	fmt.Fprintln(out, "name,group_id,account,marks")
	for s := 1; s <= demoStudents; s++ {
		for c := 1; c <= demoCourses; c++ {
			account, marks := fmt.Sprintf("student-%04d", s), fmt.Sprint(1000+s%5)
			switch {
			case s%400 == 0 && c == 1:
				marks = "12" // no mark
			case s%500 == 1 && c == 2:
				account = "" // forgotten
			case s == 250 && c == 3:
				account = `"` + account // a quote that is never closed
			case s%10 == 0:
				marks = `"` + marks + `,2000"` // a class representative
			}
			fmt.Fprintf(out, "同学 %d,@TGS#course-%d,%s,%s\n", s, c, account, marks)
		}
	}
}

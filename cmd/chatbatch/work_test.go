package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chatbatch/io/ledger"
)

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// A summary that cannot be printed is not said to have cost nothing, and the
// same command prints it without a call.
func TestSummaryThatCannotBePrinted(t *testing.T) {
	dir := t.TempDir()
	roster := filepath.Join(dir, "roster.csv")
	if err := os.WriteFile(roster, []byte("group_id,account,marks\ng,a,1000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	command := func(stdout io.Writer) int {
		args := []string{"marks", "set", roster, "--sim", "--json", "--quiet", "--runs-dir", filepath.Join(dir, "runs")}
		return run(t.Context(), args, world{stdin: strings.NewReader(""), stdout: stdout, stderr: io.Discard, getenv: func(string) string { return "" }})
	}
	if code := command(brokenPipe{}); code != exitStopped {
		t.Errorf("got exit code %d, want %d", code, exitStopped)
	}
	var out bytes.Buffer
	if code := command(&out); code != exitOK {
		t.Errorf("again: got exit code %d", code)
	}
	var sum ledger.Summary
	if err := json.Unmarshal(out.Bytes(), &sum); err != nil || sum.Calls != 1 || sum.State != ledger.Finished {
		t.Errorf("got %s, %v", out.String(), err)
	}
	infos, err := ledger.Store{Dir: filepath.Join(dir, "runs")}.List(t.Context())
	if err != nil || len(infos) != 1 {
		t.Errorf("got %d runs, %v, want one", len(infos), err)
	}
}

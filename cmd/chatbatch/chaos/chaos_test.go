//go:build linux

// Package chaos does to the program what can be done to it on one machine, and
// holds it to its promises: nothing lost, nobody let in, bad input answered
// clearly. It has no code but tests, and knows of the program what its users know:
// arguments, environment, files, exit codes, and what goes over the wire. The
// Chat API here is its own, not the simulator: see server_test.go.
//
//	go test ./cmd/chatbatch/chaos                 a short part of it, in seconds
//	go test ./cmd/chatbatch/chaos -full -v        all of it, in minutes (make chaos)
//
// At the end it prints the table of what was tried, how often, and what was lost.
package chaos

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

var full = flag.Bool("full", false, "try everything, and as often as it takes: minutes")

// times is how often something is tried.
func times(short, all int) int {
	if *full {
		return all
	}
	return short
}

// binary is the program under test.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	// Most of their time tests wait: for answers, for disks, for the end of a second.
	if n := flag.Lookup("test.parallel"); n.Value.String() == n.DefValue {
		_ = n.Value.Set("8")
	}
	os.Exit(runAll(m))
}

// runAll builds the program once for all tests. Under the race detector the program
// has it too.
func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "chatbatch-chaos-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "chatbatch")
	build := exec.Command("go", append(append([]string{"build"}, buildFlags...), "-o", binary, "chatbatch/cmd/chatbatch")...)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build the program:", err)
		return 1
	}
	code := m.Run()
	tried.print(os.Stdout)
	return code
}

// tried is the table of what was tried.
var tried table

type table struct {
	mu    sync.Mutex
	names []string            // under mu; in the order of the first try
	rows  map[string]struct { // under mu; by name
		times, lost int
	}
}

// add says that something was tried so many times, and how many rows were lost, let
// in twice, or had another outcome than they should have had.
func (t *table) add(what string, times, lost int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	row, known := t.rows[what]
	if !known {
		t.names = append(t.names, what)
	}
	if t.rows == nil {
		t.rows = map[string]struct{ times, lost int }{}
	}
	row.times, row.lost = row.times+times, row.lost+lost
	t.rows[what] = row
}

func (t *table) print(w *os.File) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.names) == 0 {
		return
	}
	fmt.Fprintf(w, "\n| what was done | times | rows lost or wrong |\n| --- | --- | --- |\n")
	for _, name := range t.names {
		fmt.Fprintf(w, "| %s | %d | %d |\n", name, t.rows[name].times, t.rows[name].lost)
	}
	fmt.Fprintln(w)
}

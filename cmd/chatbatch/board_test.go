package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A board that is no terminal is its stderr and nothing else.
func TestBoardWithoutTerminal(t *testing.T) {
	var said bytes.Buffer
	b := newBoard(&said, &output{logFormat: "text"}, func(string) string { return "" })
	b.raise()
	if _, err := b.Write([]byte("line\n")); err != nil || said.String() != "line\n" {
		t.Errorf("got %q, %v", said.String(), err)
	}
	b.lower()
}

// What waits for a terminal that takes nothing is bounded, and what is lost is counted.
func TestBoardQueue(t *testing.T) {
	b := &board{raised: &raised{wake: make(chan struct{}, 1)}}
	line := []byte(strings.Repeat("x", 99) + "\n")
	n := maxQueue/len(line) + 7
	for range n {
		if _, err := b.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	text, lowering := b.take(b.raised)
	kept := bytes.Count(text, line)
	if kept != maxQueue/len(line) || lowering || !strings.HasSuffix(string(text), fmt.Sprintf("\n… and %d lines that are lost: the terminal took nothing for a while\n", n-kept)) {
		t.Errorf("%d of %d lines are kept, and it says %q", kept, n, text[kept*len(line):])
	}
	if text, _ := b.take(b.raised); len(text) > 0 {
		t.Errorf("got %q again", text)
	}
}

// A line behind one that was cut off, because the disk was full then, is a line.
func TestLogFileTorn(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	l, err := openLog(name, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	for i, torn := range []bool{false, true, false} {
		l.torn = l.torn || torn
		if n, err := fmt.Fprintf(l, "line %d\n", i); n != 7 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
	}
	text, err := os.ReadFile(name)
	if want := "line 0\n\nline 1\nline 2\n"; err != nil || string(text) != want {
		t.Errorf("got %q, want %q; %v", text, want, err)
	}
}

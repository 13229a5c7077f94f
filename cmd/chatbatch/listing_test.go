package main

import (
	"strings"
	"testing"
)

// A listing fits any terminal that has room for its first column: what is worth less is
// left out first, and said to be. Where there is no terminal all of it is shown.
func TestListing(t *testing.T) {
	l := &listing{
		header: []string{"run", "kind", "state", "rows", "why"},
		worth:  []string{"run", "state", "why", "rows", "kind"},
	}
	l.add("20261128T105015.153Z-7b0438", "marks set", "finished", "10,000,000", "")
	l.add("20261128T105311.270Z-20111e", "unread set", "refused", 7, "the server does not 让 this app in\x1b[31m, as it says")
	whole := l.text(0)
	for _, all := range []string{"unread set", "10,000,000", "as it says"} {
		if !strings.Contains(whole, all) {
			t.Errorf("off a terminal there is no %q:\n%s", all, whole)
		}
	}
	for columns := 33; columns < 140; columns++ {
		text := l.text(columns)
		for line := range strings.Lines(text) {
			if width(strings.TrimSuffix(line, "\n")) > columns || strings.Contains(line, "\x1b") || strings.HasSuffix(line, " \n") {
				t.Errorf("%d columns: %q", columns, line)
			}
		}
		for _, name := range l.header {
			inTable := strings.Contains(strings.Split(text, "\n")[1], strings.ToUpper(name))
			_, note, _ := strings.Cut(text, "without ")
			if inTable == strings.Contains(note, name) {
				t.Errorf("%d columns: %s is in the table: %v; the note: %s", columns, name, inTable, note)
			}
		}
	}
	for columns, want := range map[int]string{40: "RUN", 60: "RUN STATE", 66: "RUN STATE WHY", 76: "RUN STATE ROWS WHY", 90: "RUN KIND STATE ROWS WHY", 140: "RUN KIND STATE ROWS WHY"} {
		head := strings.Join(strings.Fields(strings.ReplaceAll(strings.Split(l.text(columns), "\n")[1], "│", " ")), " ")
		if head != want {
			t.Errorf("%d columns: got %s, want %s", columns, head, want)
		}
	}
}

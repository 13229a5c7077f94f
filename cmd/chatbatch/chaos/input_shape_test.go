//go:build linux

package chaos

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Rosters of shapes that nobody has.
func TestInputOddShapes(t *testing.T) {
	t.Parallel()
	many := times(2_000, 10_000)
	columns := make([]string, 9_997)
	for i := range columns {
		columns[i] = fmt.Sprintf("c%d", i)
	}
	each := func(n int, row func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(row(i) + "\n")
		}
		return b.String()
	}
	for _, tt := range []struct {
		name, text                  string
		succeeded, overLimit, calls int
	}{
		{"10,000 columns", rosterHeader + "," + strings.Join(columns, ",") + "\n" + each(20, func(i int) string { return fmt.Sprintf("g,a%d,1000", i) + strings.Repeat(",", 9_997) }), 20, 0, 1},
		{"20,000 columns of one name", rosterHeader + strings.Repeat(",x", 20_000) + "\ng,a0,1000" + strings.Repeat(",", 20_000) + "\n", 1, 0, 1},
		{"columns without names", ",,group_id,,account,marks,,\n" + each(20, func(i int) string { return fmt.Sprintf(",,g,,a%d,1000,,", i) }), 20, 0, 1},
		{"one account 10,000 times", rosterHeader + "\n" + each(10_000, func(int) string { return "g,a0,1000" }), 10_000, 0, 1},
		{"one account with 10,000 marks", rosterHeader + "\n" + each(10_000, func(i int) string { return fmt.Sprintf("g,a0,%d", 1000+i) }), 10, 9_990, 1},
		{"a row with 10,000 marks", rosterHeader + "\n" + each(1, func(int) string { return "g,a0," + each1000s(10_000) }), 0, 1, 0},
		{"a group of 100,000", rosterHeader + "\n" + each(100_000, func(i int) string { return fmt.Sprintf("g,a%d,1000", i) }), 1000, 99_000, 2},
		{"a long line of blank ones", strings.Repeat("\n", 1<<20) + rosterHeader + "\n" + strings.Repeat(" \r\n", 1<<18) + "g,a0,1000\n", 1, 0, 1},
	} {
		p := newPlace(t)
		for i := range 1000 {
			p.api.join("g", fmt.Sprintf("a%d", i))
		}
		e := p.start("marks", "set", p.file("odd.csv", tt.text), "--json").lean().end()
		s := p.summary(e)
		if s.Succeeded != tt.succeeded || s.ByClass["over_limit"] != tt.overLimit || s.Rows != tt.succeeded+tt.overLimit || s.Calls != tt.calls {
			t.Errorf("%s: exit code %d, got %+v", tt.name, e.code, s)
		}
		tried.add("a roster of an odd shape: 10,000 columns, one account 10,000 times, a group of 100,000, …", 1, tt.succeeded-s.Succeeded)
	}
	p := newPlace(t)
	for i := range many {
		p.api.join(fmt.Sprintf("g%d", i), "a")
	}
	s := p.summary(p.start("marks", "set", p.file("groups.csv", rosterHeader+"\n"+each(many, func(i int) string { return fmt.Sprintf("g%d,a,1000", i) })), "--json").lean().end())
	if s.Succeeded != many || len(p.api.allMarks()) != many {
		t.Errorf("got %+v", s)
	}
	tried.add("groups of one row each", many, many-s.Succeeded)
	name := p.file("more.csv", rosterHeader+"\n"+each(100_000, func(i int) string { return fmt.Sprintf("g%d,a,1000", i) }))
	e := p.start("marks", "set", name, "--dry-run").lean().end()
	if e.want(t, exitOK); !regexp.MustCompile(`groups +100,000\n`).MatchString(e.stdout) {
		t.Errorf("got the plan %s", e.stdout)
	}
}

// Of many counts of one account the last one is set, and no other.
func TestInputOfOneAccount(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.api.found("g", "Public")
	p.api.join("g", "a")
	text := "group_id,account,unread_msg_num\n"
	for i := range 10_000 {
		text += fmt.Sprintf("g,%s,%d\n", []string{"a", " a", `"a"`, "a\t"}[i%4], i)
	}
	e := p.start("unread", "set", p.file("one.csv", text), "--json").lean().end()
	e.want(t, exitOK)
	s := p.summary(e)
	if got := fmt.Sprint(p.api.unread); s.Succeeded != 10_000 || got != "map[[g a]:[9999]]" {
		t.Errorf("got %+v, at the server %s", s, got)
	}
	tried.add("counts of one account, of which the last one is set", 10_000, 10_000-s.Succeeded)
}

// each1000s is so many marks, of which each is another.
func each1000s(n int) string {
	marks := make([]string, n)
	for i := range marks {
		marks[i] = fmt.Sprint(1000 + i)
	}
	return strings.Join(marks, " ")
}

// A row whose error would be longer than the row comes back as it was all the same.
func TestInputOfLongErrors(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.api.join("g", "a")
	bad := "@TOPIC#_" + strings.Repeat("\x01", 60_000) + ",a,1000\n"
	file := p.file("long.csv", rosterHeader+"\ng,a,1000\n"+bad)
	for range 3 {
		e := p.run("marks", "set", file, "--max-bad-rows", "100%", "--json")
		e.want(t, exitFailed)
		s := p.summary(e)
		tried.add("a row with an error that is longer than the row, fed back", 1, p.wrongRows(s.Run, []string{bad}))
		file = filepath.Join(p.runs(), s.Run, "failed.csv")
	}
}

// Rows of almost a megabyte each, good and bad ones, take no more memory than others.
func TestInputOfLongRows(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	n := times(8, 60)
	long := strings.Repeat("x", 1<<20-200)
	var text strings.Builder
	for i := range n {
		p.api.join("g", fmt.Sprintf("a%d", i))
		fmt.Fprintf(&text, `{"group_id":"g","account":"a%d","marks":[1000],"note":"%s"}`+"\n", i, long)
		fmt.Fprintf(&text, `{"group_id":"%d%s","account":"a","marks":[1000]}`+"\n", i, long)
		fmt.Fprintf(&text, `{"group_id":"g","account":"off%d","marks":[1000],"note":"%s"}`+"\n", i, long)
	}
	e := p.start("marks", "set", p.file("long.jsonl", text.String()), "--max-bad-rows", "50%", "--json").lean().end()
	e.want(t, exitFailed)
	s := p.summary(e)
	if s.Succeeded != n || s.ByClass["bad_row"] != n || s.ByClass["offline_or_absent"] != n {
		t.Errorf("got %+v", s)
	}
	lost := 2*n - len(p.failedLines(s.Run, "long.jsonl"))
	tried.add("rows of a megabyte, in 64 MiB of memory", 3*n, lost)
}

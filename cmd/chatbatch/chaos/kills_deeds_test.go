//go:build linux

package chaos

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A deed is a command that is killed and given again, in a place of its own.
type deed struct {
	*place
	args    []string
	target  string   // file of an export; "": it is none
	earlier []string // runs that were there before
	jobs    int      // runs that it makes
	code    int      // how it ends when nobody kills it any more

	// check returns how many rows have another outcome than they must have, by the
	// runs' own files and by what is at the server.
	check     func(runs []summary) (lost int)
	old, want []byte // of target: before, and at the end
}

// deeds are commands of all kinds, or, without -full, those that are named. The work of
// each grows with size: at 1 it is some ten or twenty calls.
func deeds(short ...string) map[string]func(p *place, size int) *deed {
	all := map[string]func(p *place, size int) *deed{
		"marks set":                   marksDeed,
		"marks delete":                deleteDeed,
		"unread set":                  unreadDeed,
		"export members":              func(p *place, size int) *deed { return membersDeed(p, size, "members.csv") },
		"export members to .jsonl.gz": func(p *place, size int) *deed { return membersDeed(p, size, "members.jsonl.gz") },
		"export members to .xlsx":     func(p *place, size int) *deed { return membersDeed(p, size, "members.xlsx") },
		"export members --all-groups": allGroupsDeed,
		"export online":               onlineDeed,
		"run":                         fileDeed,
		"retry":                       retryDeed,
		"retry of an export":          retryExportDeed,
		"resume":                      resumeDeed,
	}
	if !*full {
		maps.DeleteFunc(all, func(name string, _ func(*place, int) *deed) bool { return !slices.Contains(short, name) })
	}
	return all
}

// needsFull leaves a test out that costs seconds, or that has a short sister.
func needsFull(t *testing.T) {
	if !*full {
		t.Skip("left out: it is tried with -full")
	}
}

func marksDeed(p *place, size int) *deed {
	rows := p.classRows(5, 20*size)
	return &deed{
		place: p, jobs: 1, code: exitFailed,
		args:  []string{"marks", "set", p.roster("class.csv", classHeader, rows), "--chunk-size", "5"},
		check: func(runs []summary) int { return p.marksLost(runs[0], rows) + p.wrongMarks(rows) },
	}
}

// marksLost looks at a run of marks: its files, and that no call was made twice which
// is not counted as replayed.
func (p *place) marksLost(s summary, rows []row) (lost int) {
	if n := p.api.countOf("modify_user_info"); n > s.Chunks+s.Replayed+s.Retries {
		p.t.Errorf("got %d calls for %d chunks of which %d were replayed, with %d retries", n, s.Chunks, s.Replayed, s.Retries)
		lost++
	}
	return lost + p.wrong(s.Run, classHeader, rows)
}

func deleteDeed(p *place, size int) *deed {
	rows := p.classRows(5, 20*size)
	kept := slices.Clone(rows)
	for i, r := range rows {
		f := strings.Split(r.text, ",")
		if r.class == "" {
			p.api.mark(f[1], f[2], f[3], "2000")
			kept[i].text = strings.Join(append(f[:3], "2000"), ",")
		}
	}
	return &deed{
		place: p, jobs: 1, code: exitFailed,
		args:  []string{"marks", "delete", p.roster("class.csv", classHeader, rows), "--chunk-size", "5"},
		check: func(runs []summary) int { return p.marksLost(runs[0], rows) + p.wrongMarks(kept) },
	}
}

// unreadRows are counts for members of Public groups; some rows are bad, some of nobody
// the server knows, and some of a group that cannot have counts. Each tenth account has
// a row that a later one supersedes.
func (p *place) unreadRows(size int) (rows []row) {
	p.api.join("lunch", "pupil 0")
	rows = append(rows, row{"lunch,pupil 0,3", "unsupported_group_type"})
	for g := range 3 {
		group := fmt.Sprintf("course-%d", g)
		p.api.found(group, "Public")
		for m := range 12 * size {
			account, class := fmt.Sprintf("pupil %d", m), ""
			if m%11 == 5 {
				class = "offline_or_absent"
			} else {
				p.api.join(group, account)
			}
			if m%10 == 3 {
				rows = append(rows, row{fmt.Sprintf("%s,%s,%d", group, account, 7000+m), class})
			}
			rows = append(rows, row{fmt.Sprintf("%s,%s,%d", group, account, m+g), class})
			if m%12 == 7 {
				rows = append(rows, row{fmt.Sprintf("%s,%s,3.9", group, account), "bad_row"})
			}
		}
	}
	return rows
}

func unreadDeed(p *place, size int) *deed {
	rows := p.unreadRows(size)
	return &deed{
		place: p, jobs: 1, code: exitFailed,
		args:  []string{"unread", "set", p.roster("counts.csv", unreadHeader, rows), "--chunk-size", "30", "--max-bad-rows", "50%"},
		check: func(runs []summary) int { return p.unreadLost(runs[0], rows) },
	}
}

// unreadLost looks at a run of unread counts, and at each count at the server. A row
// that was settled is not sent again: whatever came twice is counted as replayed.
func (p *place) unreadLost(s summary, rows []row) (lost int) {
	want := map[[2]string]string{}
	for _, r := range rows {
		if f := strings.Split(r.text, ","); r.class == "" {
			want[[2]string{f[0], f[1]}] = f[2] // the last one counts
		}
	}
	p.api.mu.Lock()
	again := 0
	for of, counts := range p.api.unread {
		for _, n := range counts {
			if fmt.Sprint(n) != want[of] {
				p.t.Errorf("%v has got the count %d, want %q", of, n, want[of])
				lost++
			}
		}
		delete(want, of)
		again += len(counts) - 1
	}
	p.api.mu.Unlock()
	if again > s.Replayed+s.Retries {
		p.t.Errorf("%d rows were sent again, but %d counted as replayed and %d as tried again", again, s.Replayed, s.Retries)
		lost += again - s.Replayed - s.Retries
	}
	if len(want) > 0 {
		p.t.Errorf("no count came for %v", want)
	}
	return lost + len(want) + p.wrong(s.Run, unreadHeader, rows)
}

// groupRows are the groups of an export: Public ones of three pages, a Community, and
// one that is not there.
func (p *place) groupRows(size int) (rows []row) {
	for g := range 3 * size {
		rows = append(rows, row{p.crowd(fmt.Sprintf("class-%d", g), "Public", 201+20*(g%5)), ""})
		switch g {
		case 0:
			rows = append(rows, row{p.crowd("@TGS#_town", "Community", 350), ""})
		case 1:
			rows = append(rows, row{"gone", "group_not_found"})
		}
	}
	return rows
}

// crowd makes a group of many.
func (p *place) crowd(group, kind string, members int) string {
	p.api.found(group, kind)
	for m := range members {
		p.api.join(group, fmt.Sprintf("member %d of %s", m, group))
	}
	return group
}

func membersDeed(p *place, size int, target string) *deed {
	rows := p.groupRows(size)
	return p.exportDeed(target, rows, 4, "export", "members", p.roster("groups.csv", "group_id", rows))
}

func onlineDeed(p *place, size int) *deed {
	var rows []row
	for g := range 6 * size {
		rows = append(rows, row{p.crowd(fmt.Sprintf("@TGS#room-%d", g), "AVChatRoom", 240+5*g), ""})
	}
	rows = append(rows, row{"gone", "group_not_found"})
	return p.exportDeed("online.csv", rows, 2, "export", "online", p.roster("groups.csv", "group_id", rows))
}

// The groups of the app that are listed are all there: none fails.
func allGroupsDeed(p *place, size int) *deed {
	p.groupRows(size)
	d := p.exportDeed("all.csv", nil, 4, "export", "members", "--all-groups")
	d.code = exitOK
	return d
}

// exportDeed is an export of groups with so many pages at most. An older file is there.
func (p *place) exportDeed(target string, rows []row, pages int, args ...string) *deed {
	undisturbed := p.run(append(args, "-o", "undisturbed-"+target)...)
	if undisturbed.code > exitFailed {
		p.t.Fatalf("got exit code %d without a kill; it said:\n%s", undisturbed.code, undisturbed.stderr)
	}
	want, err := os.ReadFile(filepath.Join(p.dir, "undisturbed-"+target))
	if err != nil {
		p.t.Fatal(err)
	}
	d := &deed{place: p, jobs: 1, code: exitFailed, args: append(args, "-o", target), old: []byte("an older export\n"), want: want}
	d.target, d.earlier = p.file(target, string(d.old)), p.names()
	command := "get_group_member_info"
	if args[1] == "online" {
		command = "get_members"
	}
	once := p.api.countOf(command)
	d.check = func(runs []summary) int { return d.exportLost(runs[0], rows, p.api.countOf(command)-2*once, pages) }
	return d
}

// exportLost looks at an export: its file and manifest, and that groups which were
// settled were not fetched again.
func (d *deed) exportLost(s summary, rows []row, again, pages int) (lost int) {
	got, err := os.ReadFile(d.target)
	if err != nil || !bytes.Equal(got, d.want) {
		d.t.Errorf("the export is not what it is without a kill: %d bytes, want %d, %v", len(got), len(d.want), err)
		lost++
	}
	var said struct{ Run, SHA256 string }
	manifest, err := os.ReadFile(d.target + ".manifest.json")
	if err == nil {
		err = json.Unmarshal(manifest, &said)
	}
	if err != nil || said.SHA256 != fmt.Sprintf("%x", sha256.Sum256(d.want)) || said.Run != s.Run {
		d.t.Errorf("the manifest is not of run %s and this file: %v, %v", s.Run, said, err)
		lost++
	}
	if again > s.Replayed*pages {
		d.t.Errorf("%d pages were fetched again, but only %d groups replayed", again, s.Replayed)
	}
	if rows != nil {
		lost += d.wrong(s.Run, "group_id", rows)
	}
	return lost
}

// fileDeed runs jobs of three kinds side by side.
func fileDeed(p *place, size int) *deed {
	marks, counts := p.classRows(4, 15*size), p.unreadRows(size)
	groups := p.groupRows(size)
	p.roster("class.csv", classHeader, marks)
	p.roster("counts.csv", unreadHeader, counts)
	d := p.exportDeed("members.csv", groups, 4, "export", "members", p.roster("groups.csv", "group_id", groups))
	export := d.check
	d.jobs, d.args = 3, []string{"run", p.file("jobs.yaml", `max-bad-rows: 50%
jobs:
  - {kind: marks set, input: class.csv, chunk-size: 5}
  - {kind: unread set, input: counts.csv, chunk-size: 30}
  - {kind: export members, input: groups.csv, output: members.csv}
`)}
	d.check = func(runs []summary) (lost int) {
		for _, s := range runs {
			switch s.Kind {
			case "marks set":
				lost += p.marksLost(s, marks) + p.wrongMarks(marks)
			case "unread set":
				lost += p.unreadLost(s, counts)
			case "export members":
				lost += export([]summary{s})
			}
		}
		return lost
	}
	return d
}

// retryDeed tries again the rows of a run that failed: half of who was offline is
// online now.
func retryDeed(p *place, size int) *deed {
	rows := p.classRows(10*size, 100) // groups whose online list is one page
	e := p.run("marks", "set", p.roster("class.csv", classHeader, rows), "--chunk-size", "5", "--json")
	first := p.summary(e)
	called := p.api.countOf("modify_user_info")
	var failed []row
	after := slices.Clone(rows)
	for i, r := range rows {
		if f := strings.Split(r.text, ","); r.class == "offline_or_absent" && i%2 == 0 {
			p.api.join(f[1], f[2])
			after[i].class = ""
		}
		if r.class != "" {
			failed = append(failed, after[i])
		}
	}
	d := &deed{place: p, jobs: 1, code: exitFailed, args: []string{"retry", first.Run}, earlier: p.names()}
	d.check = func(runs []summary) int {
		if n := p.api.countOf("modify_user_info") - called; n > 9*(runs[0].Chunks+runs[0].Replayed) {
			p.t.Errorf("got %d calls for %d chunks of which %d were replayed", n, runs[0].Chunks, runs[0].Replayed)
		}
		return p.wrong(runs[0].Run, classHeader, failed) + p.wrongMarks(after)
	}
	return d
}

// retryExportDeed exports the groups that were not there the first time, into another file.
func retryExportDeed(p *place, size int) *deed {
	rows := []row{{p.crowd("here", "Public", 10), ""}}
	for g := range 3 * size {
		rows = append(rows, row{fmt.Sprintf("later-%d", g), "group_not_found"})
	}
	rows = append(rows, row{"gone", "group_not_found"})
	first := p.summary(p.run("export", "members", p.roster("groups.csv", "group_id", rows), "-o", "members.csv", "--json"))
	failed := rows[1:]
	for g := range 3 * size {
		failed[g] = row{p.crowd(failed[g].text, "Public", 230), ""}
	}
	before := p.api.countOf("get_group_member_info")
	d := p.exportDeed("retried.csv", nil, 4, "retry", first.Run)
	once := p.api.countOf("get_group_member_info") - before
	d.check = func(runs []summary) int {
		again := p.api.countOf("get_group_member_info") - before - 2*once
		return d.exportLost(runs[0], failed, again, 4)
	}
	return d
}

// resumeDeed resumes a run that was killed, whose input is gone.
func resumeDeed(p *place, size int) *deed {
	d := marksDeed(p, size)
	c := p.command(append(slices.Clone(d.args), "--workers", "2")...)
	c.killAt(p.api, 3, beforeEffect, 0)
	if c.code() >= 0 {
		p.t.Fatal("it was not killed")
	}
	if err := os.Remove(d.args[2]); err != nil {
		p.t.Fatal(err)
	}
	d.args = []string{"resume"}
	return d
}

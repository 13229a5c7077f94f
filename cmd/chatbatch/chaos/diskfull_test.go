//go:build linux

package chaos

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// stateOn puts the state of the program on a disk of its own.
func (p *place) stateOn(size int) *disk { return p.newDisk("state", size) }

// TestDiskFullWhilePlanning lets the disk get full while the input is copied, checked,
// spilled and planned. Nothing may be sent and nothing be left behind; then room is made,
// and the same command goes through.
func TestDiskFullWhilePlanning(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	d := p.stateOn(32 << 20)
	rows := p.classRows(60, times(100, 600))
	name := p.roster("class.csv", classHeader, rows)
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	tries := times(4, 40)
	for i := range tries {
		d.resize(int(info.Size()) * 4 * (i + 1) / tries / 4096 * 4096)
		c := p.command("marks", "set", name, "--chunk-size", "20", "--quiet")
		if i%2 == 1 {
			c = p.command("marks", "set", "-", "--chunk-size", "20", "--quiet")
			c.Stdin = bytes.NewReader(p.bytes(name))
		}
		before := p.api.count()
		e := c.begin().end()
		if p.api.count() > before {
			break // it has room for the plan
		}
		e.want(t, exitStopped, "space", "the same command again")
		tried.add("full disk while an input is copied and planned, then room: marks", 1, 0)
		if left := append(p.runDirs(), p.remains()...); len(left) > 0 {
			t.Fatalf("left behind: %v", left)
		}
	}
	d.resize(64 << 20)
	e := p.run("marks", "set", name, "--chunk-size", "20", "--json", "--quiet")
	e.want(t, exitFailed)
	tried.add("full disk while an input is copied and planned, then room: marks", 0, p.wrong(p.summary(e).Run, classHeader, rows)+p.wrongMarks(rows))
}

// TestDiskFullWhileSpilling plans an input that is too large for memory, on disks that are
// too small for the plan. It is never sent.
func TestDiskFullWhileSpilling(t *testing.T) {
	if !*full {
		t.Skip("with -full: it takes an input of 20 MB")
	}
	t.Parallel()
	p := newPlace(t)
	d := p.stateOn(32 << 20)
	var b strings.Builder
	b.WriteString("group_id,account,marks\n")
	for i := range 600_000 {
		fmt.Fprintf(&b, "@TGS#group%d,student-number-%d,1000\n", i%50, i)
	}
	name := p.file("large.csv", b.String())
	for i := range 14 {
		d.resize((1 + 2*i) << 20)
		e := p.run("marks", "set", name, "--quiet")
		e.want(t, exitStopped, "space", "the same command again")
		if left := append(p.runDirs(), p.remains()...); len(left) > 0 {
			t.Fatalf("left behind: %v", left)
		}
		tried.add("full disk while a large input is spilled and planned", 1, p.api.count())
	}
}

// bytes is what a file has.
func (p *place) bytes(name string) []byte {
	p.t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		p.t.Error(err)
	}
	return b
}

// fullAt fills the disk, but for so many bytes, when call n of a command comes.
func (p *place) fullAt(d *disk, command string, n int64, left int64) {
	var calls atomic.Int64
	p.api.misbehave(func(c *call) bool {
		if c.command == command && calls.Add(1) == n {
			d.fill(left)
		}
		return false
	})
}

// TestDiskFullWhileSending fills the disk of the runs at some call, with more or less
// room left. What is settled then is settled; the same command sends the rest.
func TestDiskFullWhileSending(t *testing.T) {
	t.Parallel()
	for i := range times(2, 40) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			p := newPlace(t)
			d := p.stateOn(16 << 20)
			rows := p.classRows(10, 60)
			name := p.roster("class.csv", classHeader, rows)
			p.fullAt(d, "modify_user_info", int64(1+i*3), int64(i%4)*8192)
			args := []string{"marks", "set", name, "--chunk-size", "5", "--json", "--quiet"}
			e := p.run(args...)
			p.api.misbehave(nil)
			if e.code != exitFailed { // else the room that was left was enough
				e.want(t, exitStopped, "disk is full", "free some space", "the same command again")
				p.run("runs", "list").want(t, exitOK)
				d.clear()
				e = p.run(args...)
			}
			e.want(t, exitFailed)
			s := p.summary(e)
			tried.add("full disk while marks are sent, then room", 1, p.wrong(s.Run, classHeader, rows)+p.wrongMarks(rows))
			if n := len(p.runDirs()); n != 1 || s.Calls < s.Chunks {
				t.Errorf("%d runs, %+v", n, s)
			}
		})
	}
}

// countRows are rows of so many accounts of a group; each tenth is no member.
func (p *place) countRows(n int) (rows []row) {
	p.api.found("G", "Public")
	for i := range n {
		r := row{text: fmt.Sprintf("G,student %d,%d", i, i)}
		if i%10 == 9 {
			r.class = "offline_or_absent"
		} else {
			p.api.join("G", fmt.Sprintf("student %d", i))
		}
		rows = append(rows, r)
	}
	return rows
}

// TestDiskFullWhileCounting is the same for unread counts, of which each is settled by
// itself: none that is settled may be sent again.
func TestDiskFullWhileCounting(t *testing.T) {
	t.Parallel()
	for i := range times(2, 20) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			p := newPlace(t)
			d := p.stateOn(16 << 20)
			rows := p.countRows(300)
			name := p.roster("counts.csv", unreadHeader, rows)
			p.fullAt(d, "set_unread_msg_num", int64(20+13*i), int64(i%4)*8192)
			args := []string{"unread", "set", name, "--json", "--quiet"}
			e := p.run(args...)
			if e.code != exitFailed {
				e.want(t, exitStopped, "disk is full", "free some space")
				d.clear()
				e = p.run(args...)
			}
			e.want(t, exitFailed)
			s := p.summary(e)
			lost := p.wrong(s.Run, unreadHeader, rows)
			if sent := p.api.countOf("set_unread_msg_num"); sent > 300+s.Replayed {
				t.Errorf("%d calls for 300 rows, %d replayed", sent, s.Replayed)
				lost++
			}
			tried.add("full disk while unread counts are sent, then room", 1, lost)
		})
	}
}

// TestDiskFullForReports leaves so little room at the last call that the reports do not
// fit. The books are kept, and the same command writes them.
func TestDiskFullForReports(t *testing.T) {
	t.Parallel()
	for i := range times(2, 30) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			p := newPlace(t)
			d := p.stateOn(16 << 20)
			rows := p.classRows(10, 60)
			for i := range rows[:300] { // most are not there: a large failed.csv
				rows[i].text += strings.Repeat(" ", 100)
			}
			name := p.roster("class.csv", classHeader, rows)
			p.fullAt(d, "modify_user_info", 118, int64(16+i*4)<<10)
			args := []string{"marks", "set", name, "--chunk-size", "5", "--workers", "1", "--json", "--quiet"}
			e := p.run(args...)
			before := p.api.count()
			if e.code != exitFailed {
				e.want(t, exitStopped, "space", "the same command again")
				if parts := p.remains(); len(parts) > 0 {
					t.Errorf("left behind: %v", parts)
				}
				d.clear()
				e = p.run(args...)
				t.Logf("%d calls more", p.api.count()-before)
			}
			e.want(t, exitFailed)
			tried.add("full disk while the last calls are settled and the reports written, then room", 1, p.wrong(p.summary(e).Run, classHeader, rows))
		})
	}
}

// exportOf is a list of groups of so many members, and what an export of them must be.
func (p *place) exportOf(groups, members int) (name, want string) {
	list, all := "group_id\n", "group_id,account\n"
	for g := range groups {
		group := fmt.Sprintf("Public %d", g)
		list += group + "\n"
		p.api.found(group, "Public")
		for m := range members {
			p.api.join(group, fmt.Sprintf("member %d of %d", m, g))
			all += fmt.Sprintf("%s,member %d of %d\n", group, m, g)
		}
	}
	return p.file("groups.csv", list), all
}

// exported says how many lines of an export are not as they must be; only columns group
// and account are looked at.
func (p *place) exported(name, want string) (lost int) {
	p.t.Helper()
	got := strings.SplitAfter(string(p.bytes(filepath.Join(p.dir, name))), "\n")
	lines := strings.SplitAfter(want, "\n")
	for i := range max(len(got), len(lines)) {
		if i >= len(got) || i >= len(lines) {
			lost++
			continue
		}
		f := strings.Split(got[i], ",")
		if strings.TrimSpace(strings.Join(f[:min(2, len(f))], ",")) != strings.TrimSpace(lines[i]) {
			lost++
		}
	}
	if lost > 0 {
		p.t.Errorf("%d lines of %s are wrong: %.300q", lost, name, got)
	}
	return lost
}

// TestDiskFullWhileExporting fills the disk of the runs, or that of the file, while groups
// are fetched or published.
func TestDiskFullWhileExporting(t *testing.T) {
	t.Parallel()
	for i := range times(2, 30) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			p := newPlace(t)
			d, out := p.stateOn(16<<20), p.newDisk("out", 1<<20)
			groups, want := p.exportOf(20, 150)
			full, at := d, int64(5+i)
			if i%2 == 1 {
				full, at = out, int64(1+i) // while it is fetched nothing is written there
			}
			p.fullAt(full, "get_group_member_info", at, int64(i%5)*8192)
			args := []string{"export", "members", groups, "-o", "out/members.csv", "--json", "--quiet"}
			e := p.run(args...)
			if e.code != exitOK {
				e.want(t, exitStopped, "space", "the same command again")
				if _, err := os.Stat(filepath.Join(p.dir, "out", "members.csv")); err == nil {
					p.exported("out/members.csv", want) // there was room for all of it, if not for the reports
				}
				full.clear()
				e = p.run(args...)
			}
			e.want(t, exitOK)
			p.summary(e)
			tried.add("full disk while an export is fetched and published, then room", 1, p.exported("out/members.csv", want))
			if left := p.remains(); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestDiskFullForLanes fills the disk on which processes of a host share their lanes,
// before and while they send. Who cannot share does not send.
func TestDiskFullForLanes(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	d := p.stateOn(1 << 20)
	p.env = append(p.env, "CHATBATCH_LIMITER=host", "CHATBATCH_QPS=200", "CHATBATCH_RUNS_DIR="+filepath.Join(p.dir, "runs"))
	rows := p.classRows(5, 60)
	name := p.roster("class.csv", classHeader, rows)
	d.fill(0)
	e := p.run("marks", "set", name, "--chunk-size", "5", "--json", "--quiet")
	e.want(t, exitStopped, "lanes", "space", "the same command again")
	if n := p.api.count(); n > 0 {
		t.Errorf("%d calls without lanes", n)
	}
	d.clear()
	e = p.run("marks", "set", name, "--chunk-size", "5", "--json", "--quiet")
	e.want(t, exitFailed)
	p.summary(e)
	tried.add("full disk where the lanes are, then room", 1, p.wrongMarks(rows))
	p.fullAt(d, "modify_user_info", 10, 0)
	e = p.run("marks", "set", name, "--chunk-size", "5", "--json", "--quiet")
	if e.code != exitFailed { // lanes that are there may do
		e.want(t, exitStopped, "lanes", "space", "the same command again")
		d.clear()
		e = p.run("marks", "set", name, "--chunk-size", "5", "--json", "--quiet")
	}
	e.want(t, exitFailed)
	if most := p.api.busiest(); most > 200 {
		t.Errorf("%d calls in a second", most)
	}
	tried.add("full disk where the lanes are, then room", 1, p.wrongMarks(rows))
}

//go:build linux

package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// threeJobs writes a run file of marks, unread counts and an export.
func (p *place) threeJobs() (file string, rows, counts []row, export string) {
	rows, counts = p.classRows(10, 30), p.countRows(60)
	groups, export := p.exportOf(6, 150)
	return p.file("jobs.yaml", fmt.Sprintf(`jobs:
  - {kind: marks set, input: %s, chunk-size: 5}
  - {kind: unread set, input: %s}
  - {kind: export members, input: %s, output: members.csv}
`, p.roster("class.csv", classHeader, rows), p.roster("counts.csv", unreadHeader, counts), groups)), rows, counts, export
}

// threeRuns reads what a run file has printed with --json: the runs of its three jobs.
func (p *place) threeRuns(e end) (runs [3]string) {
	p.t.Helper()
	var all struct{ Jobs []struct{ summary } }
	if err := json.Unmarshal([]byte(e.stdout), &all); err != nil || len(all.Jobs) != 3 {
		p.t.Fatalf("exit code %d, %v: %s%s", e.code, err, e.stdout, e.stderr)
	}
	for i, j := range all.Jobs {
		runs[i] = j.Run
	}
	return runs
}

// TestDiskFullForSeveralJobs fills the disk under jobs that run side by side.
func TestDiskFullForSeveralJobs(t *testing.T) {
	t.Parallel()
	for i := range times(2, 20) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			p := newPlace(t)
			d := p.stateOn(16 << 20)
			file, rows, counts, export := p.threeJobs()
			command := []string{"modify_user_info", "set_unread_msg_num", "get_group_member_info"}[i%3]
			p.fullAt(d, command, int64(2+i/2), int64(i%4)*8192)
			e := p.run("run", file, "--json", "--quiet")
			p.api.misbehave(nil)
			if e.code != exitFailed {
				e.want(t, exitStopped, "space", "the same command again")
				d.clear()
				e = p.run("run", file, "--json", "--quiet")
			}
			e.want(t, exitFailed)
			runs := p.threeRuns(e)
			tried.add("full disk under three jobs of a run file, then room", 1,
				p.wrong(runs[0], classHeader, rows)+p.wrongMarks(rows)+p.wrong(runs[1], unreadHeader, counts)+p.wrongCounts(counts)+p.exported("members.csv", export))
		})
	}
}

// TestOneOfSeveralJobsDamaged cuts the ledger of one of three jobs that were stopped. None
// of them goes on until it is put back.
func TestOneOfSeveralJobsDamaged(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	d := p.stateOn(16 << 20)
	file, rows, counts, export := p.threeJobs()
	p.fullAt(d, "modify_user_info", 5, 0)
	p.run("run", file, "--quiet").want(t, exitStopped)
	p.api.misbehave(nil)
	d.clear()
	before := p.api.count()
	for _, dir := range p.runDirs() {
		name := filepath.Join(dir, "ledger.db")
		whole := p.bytes(name)
		if err := os.Truncate(name, 5000); err != nil {
			t.Fatal(err)
		}
		e := p.run("run", file, "--quiet")
		e.want(t, exitUsage, filepath.Base(dir), "--fresh")
		if !strings.Contains(e.stderr, "job ") || p.api.count() > before {
			t.Errorf("%d calls, and it said %q", p.api.count()-before, e.stderr)
		}
		if err := os.WriteFile(name, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e := p.run("run", file, "--json", "--quiet")
	e.want(t, exitFailed)
	runs := p.threeRuns(e)
	tried.add("the ledger of one of three jobs cut short, then put back", 3,
		p.wrong(runs[0], classHeader, rows)+p.wrongMarks(rows)+p.wrong(runs[1], unreadHeader, counts)+p.wrongCounts(counts)+p.exported("members.csv", export))
}

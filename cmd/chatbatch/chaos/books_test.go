//go:build linux

package chaos

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A summary is what --json prints, as far as it is looked at here.
type summary struct {
	Run         string
	Kind        string
	State       string
	Rows        int
	Succeeded   int
	Failed      int
	Unprocessed int
	Replayed    int
	Calls       int
	Retries     int
	Chunks      int
	ByClass     map[string]int `json:"by_class"`
	ByCode      map[string]int `json:"by_code"`
}

// summary reads what a run has printed with --json, and checks that it balances.
func (p *place) summary(e end) summary {
	p.t.Helper()
	var s summary
	if err := json.Unmarshal([]byte(e.stdout), &s); err != nil {
		p.t.Fatalf("exit code %d, summary %q: %v; it said:\n%s", e.code, e.stdout, err, e.stderr)
	}
	failed := 0
	for _, n := range s.ByClass {
		failed += n
	}
	if s.Rows != s.Succeeded+s.Failed+s.Unprocessed || s.Failed != failed {
		p.t.Errorf("the books do not balance: %+v", s)
	}
	return s
}

// A row of an input without quotes, and what must become of it: a class, or "" for
// success.
type row struct{ text, class string }

// roster writes rows under a header, and returns the name of the file.
func (p *place) roster(name, header string, rows []row) string {
	p.t.Helper()
	var b strings.Builder
	b.WriteString(header + "\n")
	for _, r := range rows {
		b.WriteString(r.text + "\n")
	}
	return p.file(name, b.String())
}

// wrong compares the files of a run with what must have become of its rows: failed.csv has
// exactly the rows that must fail, as they were written, in order, with line and class;
// unprocessed.csv has none. It returns how many rows are lost or wrong.
func (p *place) wrong(run, header string, rows []row) (lost int) {
	p.t.Helper()
	var want []string
	for i, r := range rows {
		if r.class != "" {
			want = append(want, fmt.Sprintf("%s,%d,%s", r.text, i+2, r.class))
		}
	}
	var got []string
	columns := strings.Count(header, ",") + 1
	for _, record := range p.read(run, "failed.csv", header+",_line,_class,_code,_error,_attempts,_run") {
		got = append(got, strings.Join(record[:columns+2], ","))
	}
	for _, record := range p.read(run, "unprocessed.csv", header) {
		got = append(got, "unprocessed: "+strings.Join(record, ","))
	}
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || want[i] != got[i] {
			lost++
		}
	}
	if lost > 0 {
		p.t.Errorf("%d rows of run %s are wrong: got %.500q, want %.500q", lost, run, got, want)
	}
	return lost
}

// read reads a report, whose header must be as it should.
func (p *place) read(run, name, header string) [][]string {
	p.t.Helper()
	f, err := os.Open(filepath.Join(p.runs(), run, name))
	if err != nil {
		p.t.Error(err)
		return nil
	}
	defer f.Close()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil || len(records) == 0 || strings.Join(records[0], ",") != header {
		p.t.Errorf("%s: %v, got %.300q, want header %q", name, err, records, header)
		return nil
	}
	return records[1:]
}

// remains are files that nobody should leave behind: locks, parts of files, spills.
func (p *place) remains() (names []string) {
	err := filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		name := filepath.Base(path)
		for _, rest := range []string{".part-", ".plan-", ".input-", ".removed-", ".chatbatch-", "fetched.dat"} {
			if strings.Contains(name, rest) {
				names = append(names, path)
			}
		}
		if strings.HasSuffix(name, ".lock") && filepath.Dir(path) == p.runs() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		p.t.Error(err)
	}
	return names
}

// private fails the test if anybody else may read what runs have left.
func (p *place) private() {
	p.t.Helper()
	err := filepath.WalkDir(filepath.Join(p.dir, "state"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			p.t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		p.t.Error(err)
	}
}

// classRows are the rows of a roster of so many groups and students, sorted by student: groups
// are interleaved. Each fiftieth student is offline, and each ninetieth row is bad.
func (p *place) classRows(groups, students int) (rows []row) {
	for s := range students {
		for g := range groups {
			group, account, mark := fmt.Sprintf("@TGS#%d", g), fmt.Sprintf("student %d", s), 1000+s%5
			r := row{class: ""}
			switch {
			case (s*groups+g)%90 == 11:
				mark, r.class = 7, "bad_row"
			case (s+7*g)%50 == 3:
				r.class = "offline_or_absent"
			default:
				p.api.join(group, account)
			}
			r.text = fmt.Sprintf("同学 %d,%s,%s,%d", s, group, account, mark)
			rows = append(rows, r)
		}
	}
	return rows
}

const (
	classHeader  = "name,group_id,account,marks"
	unreadHeader = "group_id,account,unread_msg_num"
)

// wrongMarks compares the marks at the server with those of rows that must have
// succeeded, and returns how many accounts have others.
func (p *place) wrongMarks(rows []row) (lost int) {
	p.t.Helper()
	want := map[[2]string]string{}
	for _, r := range rows {
		if f := strings.Split(r.text, ","); r.class == "" {
			want[[2]string{f[1], f[2]}] = f[3]
		}
	}
	got := p.api.allMarks()
	for of := range want {
		if got[of] != want[of] {
			lost++
		}
		delete(got, of)
	}
	if lost += len(got); lost > 0 {
		p.t.Errorf("%d accounts have wrong marks at the server; nobody asked for %.300q", lost, fmt.Sprint(got))
	}
	return lost
}

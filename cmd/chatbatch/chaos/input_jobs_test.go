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

// laughs is a YAML file that would be 3 GB if its aliases were written out.
func laughs(end string) string {
	var b strings.Builder
	b.WriteString("a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n")
	for i := 1; i < 10; i++ {
		alias := fmt.Sprintf("*a%d", i-1)
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.Repeat(alias+", ", 8)+alias)
	}
	return b.String() + end
}

// A badJobFile is a file of jobs, and how it is refused.
type badJobFile struct {
	name, text string
	code       int
	words      string
}

// badJobFiles lie beside good.csv, a roster, and bad.csv, which is none.
func badJobFiles() []badJobFile {
	good := "  - {kind: marks set, input: good.csv}\n"
	return []badJobFile{
		{"empty", "", exitUsage, "it has no jobs"},
		{"blank", "\n\n# nothing\n", exitUsage, "it has no jobs"},
		{"NUL", "jobs:\n\x00", exitUsage, "line 2: byte 0x00 cannot stand here"},
		{"not UTF-8", "jobs:\n  - {kind: marks set, input: \"\xd5\xc5\"}\n", exitUsage, "line 2: byte 0xd5 cannot stand here: save the file as UTF-8"},
		{"a text", "jobs\n", exitUsage, "it has no jobs: want a mapping"},
		{"a list", "- kind: marks set\n", exitUsage, "it has no jobs: want a mapping"},
		{"one job, no list", "jobs:\n  kind: marks set\n  input: good.csv\n", exitUsage, "line 2: jobs is not a list"},
		{"a job that is a text", "jobs:\n  - marks set\n", exitUsage, "line 2: want a mapping"},
		{"tab", "jobs:\n\t- kind: marks set\n", exitUsage, "line 2: found character that cannot start any token"},
		{"dedented", "qps: 5\njobs:\n  - kind: marks set\n   input: good.csv\n", exitUsage, "line 3, or in what begins there: "},
		{"open bracket", "qps: 5\njobs: [a, b\n", exitUsage, "line 2, or in what begins there: did not find expected ',' or ']'"},
		{"open quote", "qps: 5\nregion: \"sg\njobs:\n" + good, exitUsage, "line 2: "},
		{"colon on the first line", "region: s: g\njobs:\n" + good, exitUsage, "line 1: mapping values are not allowed"},
		{"no such anchor", "qps: 5\njobs: *none\n", exitUsage, "line 2: unknown anchor 'none'"},
		{"anchor in itself", "jobs: &a [*a]\n", exitUsage, "line 1: want a mapping"},
		{"merge key", "jobs:\n  - <<: {kind: marks set}\n    input: good.csv\n", exitUsage, "line 2: << is neither a value nor a list"},
		{"laughs", laughs("jobs:\n" + good), exitUsage, "line 2: a1 is a list of something else than texts"},
		{"laughing jobs", laughs("jobs: *a9\n"), exitUsage, "a1 is a list of something else"},
		{"deep", "jobs: " + strings.Repeat("[", 20_000), exitUsage, "line 1: exceeded max depth"},
		{"twice", "jobs:\n" + good + "jobs:\n" + good, exitUsage, "line 3: jobs is there twice"},
		{"two documents", "jobs:\n" + good + "---\njobs:\n" + good, exitUsage, "second document"},
		{"unknown key", "quotas: 5\njobs:\n" + good, exitUsage, `line 1: there is no "quotas" here`},
		{"unknown key of a job", "jobs:\n  - kind: marks set\n    input: good.csv\n    chunk_size: 5\n", exitUsage, `line 4: there is no "chunk_size" here`},
		{"unknown kind", "jobs:\n  - {kind: marks, input: good.csv}\n", exitUsage, `line 2: there is no kind "marks"`},
		{"kind of another type", "jobs:\n  - {kind: [marks, set], input: good.csv}\n", exitUsage, "line 2: kind is not a text"},
		{"a word for a number", "jobs:\n  - {kind: marks set, input: good.csv, chunk-size: many}\n", exitUsage, `line 2: invalid argument "many"`},
		{"a huge number", "jobs:\n  - {kind: marks set, input: good.csv, chunk-size: 99999999999999999999}\n", exitUsage, "line 2: invalid argument"},
		{"below zero", "jobs:\n  - {kind: marks set, input: good.csv, chunk-size: -1}\n", exitUsage, "job 1 marks set: --chunk-size -1"},
		{"a mapping for a value", "qps: {a: b}\njobs:\n" + good, exitUsage, "line 1: qps is neither a value nor a list"},
		{"a job twice", "jobs:\n" + good + good, exitUsage, "jobs 1 marks set and 2 marks set are the same"},
		{"one name twice", "jobs:\n  - {kind: marks set, input: good.csv, name: a}\n  - {kind: marks delete, input: good.csv, name: a}\n", exitUsage, `line 3: the job of line 2 has the name "a" too`},
		{"one output twice", "jobs:\n  - {kind: export members, input: good.csv, output: m.csv}\n  - {kind: export online, input: good.csv, output: ./x/../m.csv}\n", exitUsage, "cannot both have output"},
		{"an output that is an input", "jobs:\n" + good + "  - {kind: export members, input: groups.csv, output: ./x/../good.csv}\n", exitUsage, "the output of job 2 export members is the input of job 1 marks set, and would be overwritten"},
		{"an output that is to be an input", "jobs:\n  - {kind: export members, input: groups.csv, output: m.csv}\n  - {kind: marks set, input: m.csv}\n", exitUsage, "the output of job 1 export members is the input of job 2 marks set"},
		{"no input", "jobs:\n  - {kind: marks set}\n", exitUsage, "line 2: input is missing"},
		{"no such file", "jobs:\n" + good + "  - {kind: marks set, input: none.csv}\n", exitInput, "job 2 marks set: read"},
		{"a directory", "jobs:\n" + good + "  - {kind: marks set, input: .}\n", exitInput, "it is a directory"},
		{"a bad input", "jobs:\n" + good + "  - {kind: marks set, input: bad.csv}\n", exitInput, "job 2 marks set: input refused"},
		{"a bad header", "jobs:\n" + good + "  - {kind: unread set, input: good.csv}\n", exitInput, "no column for unread_msg_num"},
		{"itself", "jobs:\n  - {kind: marks set, input: jobs.yaml}\n", exitInput, "jobs.yaml: header: "},
		{"large", "jobs:\n" + strings.Repeat("#", 1<<20), exitUsage, "larger than 1048576 bytes"},
	}
}

// What is wrong with a file of jobs is named with the file and the line, and nothing is
// sent.
func TestInputJobFiles(t *testing.T) {
	t.Parallel()
	for _, tt := range badJobFiles() {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			p.file("good.csv", rosterHeader+"\ng,a,1000\n")
			p.file("bad.csv", rosterHeader+"\ng,a,1\n")
			e := p.start("run", p.file("jobs.yaml", tt.text)).lean().end()
			e.want(t, tt.code, tt.words)
			if tt.code == exitUsage && !strings.Contains(e.stderr, "jobs") || len(e.stderr) > 4<<10 {
				t.Errorf("it says %.4000s", e.stderr)
			}
			if calls := p.api.count(); calls > 0 {
				t.Errorf("%d calls were sent", calls)
			}
			tried.add("a file of jobs that is none: broken, unknown keys, wrong types, aliases without end, one job or output twice", 1, p.api.count())
		})
	}
}

// A scenario likewise.
func TestInputScenarios(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, words string }{
		{"", "the scenario is empty"},
		{"\x00", "line 1: byte 0x00 cannot stand here"},
		{"open: true\nqps: \"\xff\"\n", "line 2: byte 0xff cannot stand here"},
		{"open: true\nquota: 5\n", `line 2: unknown field "quota"`},
		{"open: true\nqps: many\n", "line 2: cannot unmarshal"},
		{"open: true\nqps: 99999999999999999999\n", "line 2: cannot unmarshal"},
		{"open: true\nopen: true\n", `line 2: mapping key "open" already defined at line 1`},
		{"open: true\n\tqps: 5\n", "line 2: found a tab character"},
		{"open: true\nlatency: 5\n", "line 2: cannot unmarshal"},
		{"open: true\noffline_rate: .nan\n", "line 2: offline_rate: NaN is not within 0 to 1"},
		{"open: true\nfaults:\n  - {kind: nope, rate: 1}\n", "line 3: faults[0].kind"},
		{"groups: [{id: g}, {id: g}]\n", `line 1: groups[1].id: "g" is there twice`},
		{"open: true\n---\nopen: true\n", "there is a second document"},
		{"poison: &a [*a]\n", "line 1: "},
		{laughs("poison: *a9\n"), `line 1: unknown field "a0"`},
		{"groups: [" + strings.Repeat("[", 20_000), "line 1: exceeded max depth"},
	} {
		p := newPlace(t)
		name, good := p.file("s.yaml", tt.text), p.file("good.csv", rosterHeader+"\ng,a,1000\n")
		for _, command := range [][]string{{"sim", "--addr", "127.0.0.1:0", "--scenario", name}, {"marks", "set", good, "--sim-scenario", name}} {
			c := p.command(command...)
			c.Env = append(c.Env, "CHATBATCH_ENDPOINT=")
			c.begin().lean().end().want(t, exitUsage, "s.yaml: ", tt.words)
			tried.add("a scenario that is none", 1, len(p.runDirs()))
		}
	}
}

// Many jobs in one file are as many runs, each with its books.
func TestInputManyJobs(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	n := times(15, 250)
	jobs := "workers: 2\njobs:\n"
	for i := range n {
		p.api.join(fmt.Sprintf("g%d", i), "a")
		p.file(fmt.Sprintf("%d.csv", i), fmt.Sprintf("%s\ng%d,a,1000\ng%d,off,1000\n", rosterHeader, i, i))
		jobs += fmt.Sprintf("  - {kind: marks set, input: %d.csv}\n", i)
	}
	e := p.run("run", p.file("jobs.yaml", jobs), "--json", "--quiet")
	e.want(t, exitFailed)
	var all struct {
		Rows, Succeeded, Failed, Unprocessed int
		Jobs                                 []json.RawMessage
	}
	if err := json.Unmarshal([]byte(e.stdout), &all); err != nil || len(all.Jobs) != n || all.Succeeded != n || all.Failed != n || all.Rows != 2*n {
		t.Errorf("got %v, %d jobs, %+v", err, len(all.Jobs), all)
	}
	lost := n - len(p.api.allMarks())
	for _, dir := range p.runDirs() {
		if text, err := os.ReadFile(filepath.Join(dir, "failed.csv")); err != nil || strings.Count(string(text), ",off,1000,3,offline_or_absent,") != 1 {
			lost++
			t.Errorf("%s: %v, %.300q", dir, err, text)
		}
	}
	if len(p.runDirs()) != n {
		t.Errorf("got %d runs, want %d", len(p.runDirs()), n)
	}
	tried.add("jobs in one file (250, or 15 in the short part), each a run of its own", n, lost)
}

package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/xuri/excelize/v2"

	"chatbatch/io/chat/chatsim"
)

// documents are what a person reads of the program, by the name of the file.
func documents(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]string{}
	for _, name := range append(names, "../../README.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		docs[name] = string(text)
	}
	return docs
}

// fence is a block of a document: what it is written in, and what stands in it.
var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// TestDocs plays what the documents say: each line that begins with "$ " in a block
// "console" is given to a shell, as it is written, in a directory with the files of
// testdata/docs.txtar and those blocks whose first line is a comment with their
// name. Two things are not as they are written: a region is a server here, and RUN is the
// newest run.
func TestDocs(t *testing.T) {
	t.Parallel()
	played := 0
	for name, text := range documents(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			p := newPupil(t)
			for _, block := range fence.FindAllStringSubmatch(text, -1) {
				p.file(block[2])
				if block[1] != "console" {
					continue
				}
				for _, command := range commandsOf(block[2]) {
					if p.plays(command) {
						played++
					}
				}
			}
		})
	}
	if played < 20 {
		t.Errorf("only %d commands were played", played)
	}
}

// A pupil does what a document says.
type pupil struct {
	t        *testing.T
	dir, url string
}

func newPupil(t *testing.T) *pupil {
	p := &pupil{t: t, dir: t.TempDir()}
	files, err := txtar.ParseFile("../../testdata/docs.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files.Files {
		p.write(f.Name, f.Data)
	}
	p.workbook()
	s, _, err := newSimulator(context.Background(), filepath.Join(p.dir, "school.yaml"), chatsim.Scenario{})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	p.url = srv.URL
	return p
}

func (p *pupil) write(name string, text []byte) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), text, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// workbook writes class.xlsx, which has what class.csv has.
func (p *pupil) workbook() {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "class.csv"))
	if err != nil {
		p.t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		p.t.Fatal(err)
	}
	f := excelize.NewFile()
	for i, r := range rows {
		if err := f.SetSheetRow("Sheet1", fmt.Sprintf("A%d", i+1), &r); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := f.SaveAs(filepath.Join(p.dir, "class.xlsx")); err != nil {
		p.t.Fatal(err)
	}
}

// namedFile is the first line of a block that is a file.
var namedFile = regexp.MustCompile(`^# ([\w.-]+\.(?:yaml|csv|jsonl))\b`)

// file writes a block that has a name.
func (p *pupil) file(text string) {
	if name := namedFile.FindStringSubmatch(text); name != nil {
		p.write(name[1], []byte(regexp.MustCompile(`region: \w\w\b`).ReplaceAllString(text, "endpoint: "+p.url)))
	}
}

// commandsOf returns the commands of a block; a line that ends in \ goes on.
func commandsOf(block string) (commands []string) {
	for _, line := range strings.Split(strings.ReplaceAll(block, "\\\n", " "), "\n") {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			commands = append(commands, command)
		}
	}
	return commands
}

// others are programs that documents name and that are not played here.
var others = []string{"make", "go", "export", "systemctl", "journalctl", "kubectl", "docker", "crontab", "sudo", "install", "curl", "sha256sum", "man", "source"}

// plays does a command and says whether it was one of ours. It may end with 1: some
// rows fail here.
func (p *pupil) plays(command string) bool {
	p.t.Helper()
	words := strings.Fields(command)
	for len(words) > 0 && strings.Contains(words[0], "=") {
		words = words[1:]
	}
	if len(words) == 0 || slices.Contains(others, words[0]) {
		return false
	}
	played := regexp.MustCompile(`--region \w\w\b`).ReplaceAllString(command, "--endpoint "+p.url)
	if strings.Contains(played, "RUN") {
		played = regexp.MustCompile(`\bRUN\b`).ReplaceAllString(played, p.newest())
	}
	c := exec.CommandContext(p.t.Context(), "sh", "-c", played)
	c.Dir = p.dir
	c.Env = append(os.Environ(), "HOME="+p.dir, "XDG_STATE_HOME=", "XDG_CONFIG_HOME=", "CHATBATCH_SECRET_KEY=school-key", "CHATBATCH_LIMITER=memory")
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	if code := c.ProcessState.ExitCode(); code != exitOK && code != exitFailed {
		p.t.Errorf("$ %s\nplayed as %s: %v\n%s", command, played, err, out.String())
	}
	return true
}

func (p *pupil) newest() string {
	p.t.Helper()
	runs, err := os.ReadDir(filepath.Join(p.dir, ".local/state/chatbatch/runs"))
	if err != nil {
		p.t.Fatal(err)
	}
	newest := ""
	for _, run := range runs {
		if run.IsDir() && regexp.MustCompile(`^\d{8}T`).MatchString(run.Name()) {
			newest = max(newest, run.Name())
		}
	}
	return newest
}

// TestDocsOfCommands holds docs/commands.md against the help of each command.
// To write it anew: CHATBATCH_TEST_WRITE_DOCS=1 go test ./cmd/chatbatch -run TestDocsOfCommands
func TestDocsOfCommands(t *testing.T) {
	t.Parallel()
	const name = "docs/commands.md"
	want := commandsPage(t)
	if os.Getenv("CHATBATCH_TEST_WRITE_DOCS") != "" {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what the commands say of themselves (%v): CHATBATCH_TEST_WRITE_DOCS=1 go test ./cmd/chatbatch -run %s", name, err, t.Name())
	}
}

// commandsPage is the help of all commands, as they print it.
func commandsPage(t *testing.T) string {
	var b strings.Builder
	b.WriteString("# Commands\n\nEach as `chatbatch COMMAND --help` prints it.\n")
	var each func(path []string)
	each = func(path []string) {
		code, help, errs := program(t, nil, append(path, "--help")...)
		if code != exitOK {
			t.Fatalf("%v --help: exit code %d: %s", path, code, errs)
		}
		fmt.Fprintf(&b, "\n## %s\n\n```\n%s```\n", strings.Join(append([]string{"chatbatch"}, path...), " "), help)
		cmd, _, err := rootCommand(world{getenv: func(string) string { return "" }}).Find(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "completion" {
				each(append(slices.Clone(path), sub.Name()))
			}
		}
	}
	each(nil)
	return b.String()
}

// link is a way from one document to another file.
var link = regexp.MustCompile(`\]\(([^)#:]+)(?:#([^)]*))?\)`)

// TestDocsLinks follows the links of the documents.
func TestDocsLinks(t *testing.T) {
	t.Parallel()
	for name, text := range documents(t) {
		for _, l := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), l[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

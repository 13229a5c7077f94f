package main

import (
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"chatbatch/cmd/chatbatch/manual"
)

// Each command has a page, and programs that read pages have nothing to say about them.
func TestManPages(t *testing.T) {
	dir := t.TempDir()
	env := map[string]string{"SOURCE_DATE_EPOCH": "1764314815"}
	if code, _, stderr := program(t, env, "man", dir); code != exitOK {
		t.Fatal(stderr)
	}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Hidden || cmd.Name() == "help" {
			return
		}
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
		page, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), "2025-11-28") {
			t.Errorf("%s: its date is another one", name)
		}
		if codes := strings.Contains(cmd.Long, "Exit codes:"); codes != strings.Contains(string(page), ".SH EXIT STATUS\n.TP\n\\fB0\\fP\n") {
			t.Errorf("%s: exit codes are %v in the help", name, codes)
		}
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(rootCommand(world{stderr: io.Discard}))
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(pages) < 20 {
		t.Fatalf("got %d pages, %v", len(pages), err)
	}
	// groff has no CJK on its devices for terminals; that is not ours to mend.
	known := regexp.MustCompile(`special character 'u[0-9A-F]{4}'`)
	for _, reader := range [][]string{{"mandoc", "-Tlint", "-W", "warning"}, {"groff", "-k", "-man", "-ww", "-z", "-Tutf8"}} {
		if _, err := exec.LookPath(reader[0]); err != nil {
			t.Logf("left out: %s is not here", reader[0])
			continue
		}
		out, _ := exec.Command(reader[0], append(reader[1:], pages...)...).CombinedOutput() // it says what is wrong
		for line := range strings.Lines(string(out)) {
			if !known.MatchString(line) {
				t.Errorf("%s: %s", reader[0], line)
			}
		}
	}
}

// What the program reads of its environment is on its page.
func TestEnvironmentIsInTheManual(t *testing.T) {
	known := " "
	for _, e := range manual.Environment() {
		known += strings.ReplaceAll(e.Word, ",", "") + " "
	}
	read := regexp.MustCompile(`[gG]etenv\("([A-Z_]+)"\)`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range read.FindAllStringSubmatch(string(text), -1) {
			if name := found[1]; name != "SOURCE_DATE_EPOCH" && !strings.Contains(known, " "+name+" ") {
				t.Errorf("%s reads %s, which the manual does not name", path, name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

package main

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// house says who may import whom: each package, what it may import of this
// module, and which of the libraries that have a home it is one of the homes of. A
// package that is not here has no place yet; give it one.
var house = map[string]struct{ ours, libraries string }{
	"cmd/chatbatch":       {ours: "io/aside io/chat io/chat/chatsim io/export io/ledger io/report io/roster io/ui jobs jobs/fleet limiter"},
	"cmd/chatbatch/chaos": {}, // tests of the program from outside
	"jobs":                {ours: "io/aside io/chat io/export io/ledger io/roster", libraries: "github.com/cenkalti/backoff/v4 golang.org/x/sync/errgroup"},
	"jobs/fleet":          {ours: "io/ledger jobs", libraries: "github.com/riverqueue/river github.com/jackc/pgx/v5"},
	"io/chat/chatsim":     {ours: ""}, // nor io/chat: client and simulator judge each other
	"io/report":           {ours: "io/aside io/charset io/export io/ledger io/workbook"},
	"io/ui":               {ours: "io/ledger io/report"},
	"io/export":           {ours: "io/aside", libraries: "github.com/xuri/excelize/v2"},
	"io/aside":            {},
	"io/charset":          {libraries: "golang.org/x/text"},
	"io/chat":             {},
	"io/ledger":           {ours: "io/postgres", libraries: "modernc.org/sqlite github.com/jackc/pgx/v5"},
	"io/postgres":         {libraries: "github.com/jackc/pgx/v5"},
	"io/workbook":         {},
	"io/roster":           {ours: "io/charset io/workbook", libraries: "github.com/gocarina/gocsv"},
	"limiter":             {ours: "io/postgres", libraries: "golang.org/x/time/rate github.com/jackc/pgx/v5"},
	"limiter/pgtest":      {}, // imported by tests alone
}

const module = "chatbatch/"

// listed is what `go list -json` says of a package.
type goPackage struct {
	ImportPath string
	Imports    []string
}

func TestHouse(t *testing.T) {
	packages := goList(t)
	seen := map[string]bool{}
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module)
		seen[name] = true
		room, ok := house[name]
		if !ok {
			t.Errorf("%s has no place in the house", name)
			continue
		}
		for _, path := range p.Imports {
			if of, ok := strings.CutPrefix(path, module); ok {
				if !slices.Contains(strings.Fields(room.ours), of) {
					t.Errorf("%s imports %s", name, of)
				}
			} else if homes := homesOf(path); len(homes) > 0 && !slices.Contains(homes, name) {
				t.Errorf("%s imports %s, whose home is %s", name, path, strings.Join(homes, ", "))
			}
		}
	}
	for name := range house {
		if !seen[name] {
			t.Errorf("%s is in the house, but there is no such package", name)
		}
	}
}

// Below the face, nothing reads flags or the environment, or uses the standard
// streams.
func TestNothingBelowReadsTheEnvironment(t *testing.T) {
	cmd := exec.Command("grep", "-rnE", `os\.(Getenv|LookupEnv|Environ|Args|Stdin|Stdout|Stderr|Exit)\b|"flag"`,
		"--include=*.go", "--exclude=*_test.go", "--exclude-dir=pgtest", "jobs", "limiter", "io")
	cmd.Dir = "../.."
	out, _ := cmd.Output() // grep ends with 1 if there is nothing
	if len(out) > 0 {
		t.Errorf("below cmd:\n%s", out)
	}
}

// homesOf are the packages that may import a library; none: all may.
func homesOf(path string) (homes []string) {
	for name, room := range house {
		for _, lib := range strings.Fields(room.libraries) {
			if path == lib || strings.HasPrefix(path, lib+"/") {
				homes = append(homes, name)
			}
		}
	}
	slices.Sort(homes)
	return homes
}

func goList(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p goPackage
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// house says who may import whom: each package, what it may import of this
// module, and which of the libraries that have a home it is one of the homes of. A
// package that is not here has no place yet; give it one.
var house = map[string]struct{ ours, libraries string }{
	"cmd/chatbatch":         {ours: "cmd/chatbatch/manual io/aside io/chat io/chat/chatsim io/export io/ledger io/notify io/object io/report io/roster io/ui jobs jobs/fleet limiter", libraries: "github.com/vbauerster/mpb/v8"},
	"cmd/chatbatch/chaos":   {}, // tests of the program from outside
	"cmd/chatbatch/dist":    {}, // a program that packs ours
	"cmd/chatbatch/manual":  {},
	"jobs":                  {ours: "io/aside io/chat io/export io/ledger io/roster", libraries: "github.com/cenkalti/backoff/v4 golang.org/x/sync/errgroup"},
	"jobs/fleet":            {ours: "io/ledger jobs", libraries: "github.com/riverqueue/river github.com/robfig/cron/v3 github.com/jackc/pgx/v5"},
	"io/chat/chatsim":       {ours: ""}, // nor io/chat: client and simulator judge each other
	"io/report":             {ours: "io/aside io/charset io/export io/ledger io/workbook", libraries: "github.com/guptarohit/asciigraph github.com/prometheus"},
	"io/report/browsertest": {}, // imported by tests alone
	"io/export":             {ours: "io/aside", libraries: "github.com/xuri/excelize/v2"},
	"io/aside":              {},
	"io/charset":            {libraries: "golang.org/x/text"},
	"io/chat":               {},
	"io/ledger":             {ours: "io/postgres", libraries: "modernc.org/sqlite github.com/jackc/pgx/v5 github.com/HdrHistogram/hdrhistogram-go"},
	"io/notify":             {libraries: "github.com/cenkalti/backoff/v4"}, // for what is no call to the API
	"io/postgres":           {libraries: "github.com/jackc/pgx/v5"},
	"io/object":             {libraries: "github.com/minio/minio-go/v7"},
	"io/object/s3sim":       {}, // imported by tests alone
	"io/ui":                 {ours: "io/ledger io/report"},
	"io/workbook":           {},
	"io/roster":             {ours: "io/charset io/workbook", libraries: "github.com/gocarina/gocsv"},
	"limiter":               {ours: "io/postgres", libraries: "golang.org/x/time/rate github.com/jackc/pgx/v5"},
	"limiter/pgtest":        {libraries: "github.com/jackc/pgx/v5"}, // imported by tests alone
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
				t.Errorf("%s imports %s, whose home is %s", name, path, strings.Join(homes, " and "))
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
		"--include=*.go", "--exclude=*_test.go", "--exclude-dir=pgtest", "--exclude-dir=browsertest", "jobs", "limiter", "io")
	cmd.Dir = "../.."
	out, _ := cmd.Output() // grep ends with 1 if there is nothing
	if len(out) > 0 {
		t.Errorf("below cmd:\n%s", out)
	}
}

// What a package allocates before main is held by every run, of millions of rows,
// too, whether it is used or not. (A regular expression with {0,255} once took 10 MB.)
func TestNothingLargeIsMadeAtStart(t *testing.T) {
	const most = 256 << 10
	cmd := exec.Command(os.Args[0], "--version")
	cmd.Args[0] = "chatbatch" // by this name the test binary is the program
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		var name string
		var at, took float64
		var size int
		if n, _ := fmt.Sscanf(line, "init %s @%f ms, %f ms clock, %d bytes", &name, &at, &took, &size); n < 4 {
			continue
		}
		if seen++; size > most && (strings.HasPrefix(name, module) || name == "main") {
			t.Errorf("%s makes %d KB at its start", name, size>>10)
		}
	}
	if seen == 0 {
		t.Fatalf("no trace in\n%s", out)
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

package main

import (
	"debug/buildinfo"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// Whatever the program is built from has a licence that goes with it: a library that is
// new is found here, and not by who makes a release.
func TestLicences(t *testing.T) {
	t.Chdir("../../..")
	for _, system := range []string{"linux", "darwin", "windows"} {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", "./cmd/chatbatch")
		cmd.Env = append(os.Environ(), "GOOS="+system, "GOARCH=amd64", "CGO_ENABLED=0")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		info := &buildinfo.BuildInfo{}
		for _, path := range slices.Compact(slices.Sorted(strings.FieldsSeq(string(out)))) {
			info.Deps = append(info.Deps, &debug.Module{Path: path})
		}
		all, err := licences(t.Context(), info)
		if err != nil {
			t.Errorf("%s: %v", system, err)
		}
		if len(all) < len(info.Deps) {
			t.Errorf("%s: %d files for %d modules", system, len(all), len(info.Deps))
		}
	}
}

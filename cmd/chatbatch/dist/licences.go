package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// licenceNames are how files begin that must go with what was built of a module.
var licenceNames = []string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT"}

// licences are those of the modules that a program was built from, of Go, and of what
// the page of a run has in it.
func licences(ctx context.Context, info *buildinfo.BuildInfo) ([]file, error) {
	dirs, err := moduleDirs(ctx, info.Deps)
	if err != nil {
		return nil, err
	}
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, err
	}
	dirs["go"] = strings.TrimSpace(string(root))
	var all []file
	for module, dir := range dirs {
		found, err := licencesIn(dir, path.Join("licenses", module))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 && module != "go" { // a distribution may have moved its own
			return nil, fmt.Errorf("%s has no licence: it must not be handed out", module)
		}
		all = append(all, found...)
	}
	web, err := read("io/report/web/npm/*.LICENSE", "licenses/npm")
	if err != nil {
		return nil, err
	}
	return append(all, web...), nil
}

// licencesIn finds the files of one module, with their names in the archive.
func licencesIn(dir, as string) ([]file, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []file
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if !e.Type().IsRegular() || !slices.ContainsFunc(licenceNames, func(begin string) bool { return strings.HasPrefix(name, begin) }) {
			continue
		}
		all = append(all, file{name: path.Join(as, e.Name()), from: filepath.Join(dir, e.Name()), mode: 0o644})
	}
	return all, nil
}

// moduleDirs says where the sources of modules are.
func moduleDirs(ctx context.Context, modules []*debug.Module) (map[string]string, error) {
	args := []string{"list", "-m", "-json=Path,Dir"}
	for _, m := range modules {
		args = append(args, m.Path)
	}
	out, err := exec.CommandContext(ctx, "go", args...).Output()
	if err != nil {
		return nil, fmt.Errorf("find the modules: %w", err)
	}
	dirs := map[string]string{}
	for in := json.NewDecoder(bytes.NewReader(out)); in.More(); {
		var m struct{ Path, Dir string }
		if err := in.Decode(&m); err != nil {
			return nil, err
		}
		dirs[m.Path] = m.Dir
	}
	return dirs, nil
}

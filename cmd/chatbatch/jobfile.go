package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// A jobFile is a file of several jobs: flags that hold for all of them, and for
// each job its kind, its input and its own flags.
type jobFile struct {
	path  string
	flags []setting
	jobs  []jobEntry
	given map[string]bool // flags that were set before the file was read
}

// A jobEntry is one job of a file.
type jobEntry struct {
	line              int
	name, kind, input string
	flags             []setting
}

// A setting is a flag in a file, with its values: more than one in a list.
type setting struct {
	line   int
	name   string
	values []string
	list   bool // it was written as a list
	from   origin
	file   string
}

// keyJobs is the key of a job file under which the jobs stand.
const keyJobs = "jobs"

// maxJobFile bounds what is read of a file that is not one of jobs.
const maxJobFile = 1 << 20

// readJobFile reads the file called name, or stdin for "-". Its errors name the
// line.
func readJobFile(ctx context.Context, name string, stdin io.Reader) (*jobFile, error) {
	text, err := readSmall(ctx, name, stdin, maxJobFile)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, usage("read jobs: %w", err)
	}
	f, err := parseJobFile(text)
	if err != nil {
		return nil, usage("%s: %w", name, err)
	}
	f.lies(name)
	return f, nil
}

// lies says where the file lies.
func (f *jobFile) lies(name string) {
	f.path = name
	f.each(func(s *setting) { s.file = name })
	if name != "-" {
		f.resolve(filepath.Dir(name))
	}
}

// each calls visit with all settings of the file.
func (f *jobFile) each(visit func(*setting)) {
	all := [][]setting{f.flags}
	for _, e := range f.jobs {
		all = append(all, e.flags)
	}
	for _, flags := range all {
		for i := range flags {
			visit(&flags[i])
		}
	}
}

// parseJobFile reads the text of a job file.
func parseJobFile(text []byte) (*jobFile, error) {
	return parseEntries(text, keyJobs, func(item *yaml.Node) (jobEntry, error) { return parseJob(item, nil) })
}

// parseEntries reads the text of a file of flags, and of jobs in a list under a key.
func parseEntries(text []byte, under string, parse func(item *yaml.Node) (jobEntry, error)) (*jobFile, error) {
	doc, err := parseYAML(text)
	switch {
	case errors.Is(err, errSecondDocument):
		return nil, fmt.Errorf("%w, whose %s would not be run", err, under)
	case err != nil:
		return nil, err
	case doc == nil || doc.Kind != yaml.MappingNode:
		return nil, fmt.Errorf("it has no %[1]s: want a mapping with the key %[1]s", under)
	}
	f := &jobFile{}
	err = eachKey(doc, func(key, value *yaml.Node) (err error) {
		if key.Value != under {
			f.flags, err = addSetting(f.flags, key, value)
			return err
		}
		if value.Kind != yaml.SequenceNode {
			return fmt.Errorf("line %d: %s is not a list", value.Line, under)
		}
		for _, item := range value.Content {
			e, err := parse(item)
			if err != nil {
				return err
			}
			f.jobs = append(f.jobs, e)
		}
		return nil
	})
	if err == nil && len(f.jobs) == 0 {
		err = fmt.Errorf("it has no %s", under)
	}
	if err != nil {
		return nil, err
	}
	return f, f.nameJobs()
}

// eachKey calls visit with the keys of a mapping and their values.
func eachKey(node *yaml.Node, visit func(key, value *yaml.Node) error) error {
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: want a mapping", node.Line)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if seen[key.Value] {
			return fmt.Errorf("line %d: %s is there twice", key.Line, key.Value)
		}
		seen[key.Value] = true
		for value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if err := visit(key, value); err != nil {
			return err
		}
	}
	return nil
}

// parseJob reads one job; more are keys that it may have besides.
func parseJob(node *yaml.Node, more map[string]*string) (e jobEntry, err error) {
	e.line = node.Line
	texts := map[string]*string{"name": &e.name, "kind": &e.kind, "input": &e.input}
	maps.Copy(texts, more)
	err = eachKey(node, func(key, value *yaml.Node) (err error) {
		text := texts[key.Value]
		if text == nil {
			e.flags, err = addSetting(e.flags, key, value)
			return err
		}
		if value.Kind != yaml.ScalarNode || value.Tag == "!!null" {
			return fmt.Errorf("line %d: %s is not a text", value.Line, key.Value)
		}
		*text = value.Value
		return nil
	})
	if err == nil && kinds()[e.kind].make == nil {
		err = fmt.Errorf("line %d: there is no kind %q", e.line, e.kind)
	}
	return e, err
}

// addSetting adds one flag: a scalar, or a list of them. null leaves it as it is.
func addSetting(flags []setting, key, value *yaml.Node) ([]setting, error) {
	s := setting{line: key.Line, name: key.Value, from: originJobFile}
	switch {
	case value.Kind == yaml.ScalarNode && value.Tag == "!!null":
		return flags, nil
	case value.Kind == yaml.ScalarNode:
		s.values = []string{value.Value}
	case value.Kind == yaml.SequenceNode:
		s.list = true
		for _, item := range value.Content {
			if item.Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("line %d: %s is a list of something else than texts", item.Line, key.Value)
			}
			s.values = append(s.values, item.Value)
		}
	default:
		return nil, fmt.Errorf("line %d: %s is neither a value nor a list", value.Line, key.Value)
	}
	return append(flags, s), nil
}

// nameJobs gives a name to jobs without one, and refuses a name of two.
func (f *jobFile) nameJobs() error {
	lines := map[string]int{}
	for i := range f.jobs {
		e := &f.jobs[i]
		e.name = cmp.Or(e.name, fmt.Sprintf("%d %s", i+1, e.kind))
		if line := lines[e.name]; line > 0 {
			return fmt.Errorf("line %d: the job of line %d has the name %q too", e.line, line, e.name)
		}
		lines[e.name] = e.line
	}
	return nil
}

// files are those that the jobs read and write.
func (f *jobFile) files() (names []string) {
	for _, e := range f.jobs {
		names = append(names, e.input)
	}
	f.each(func(s *setting) {
		if namesFile(s.name) && s.name != keyLogFile {
			names = append(names, s.values...)
		}
	})
	return names
}

// namesFile says whether a flag names a file or a directory: most say so by the end of
// their own name.
func namesFile(flag string) bool {
	ends := func(end string) bool { return strings.HasSuffix(flag, end) }
	return slices.ContainsFunc([]string{"-file", "-textfile", "-dir"}, ends) ||
		slices.Contains([]string{keyConfig, "output", "sim-scenario", "scenario"}, flag)
}

// at is the name of a file in a file that lies in dir: it means the same wherever
// that is used.
func at(dir, name string) string {
	if name == "" || name == "-" || filepath.IsAbs(name) || isAddress(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// resolve makes the names of files relative to where the file lies in which they stand.
func (s *setting) resolve(dir string) {
	if namesFile(s.name) {
		for i := range s.values {
			s.values[i] = at(dir, s.values[i])
		}
	}
}

func (f *jobFile) resolve(dir string) {
	for i := range f.jobs {
		f.jobs[i].input = at(dir, f.jobs[i].input)
	}
	f.each(func(s *setting) { s.resolve(dir) })
}

// changed are the flags that are set by now.
func changed(fs *pflag.FlagSet) map[string]bool {
	set := map[string]bool{}
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Changed { // also by a list in a file, of which Visit does not know
			set[f.Name] = true
		}
	})
	return set
}

// placeFlags are the flags of which one says where the app lives.
func placeFlags() []string { return []string{"region", "endpoint", "sim", "sim-scenario"} }

// anyOf says whether name is one of a group of flags that say the same, of which
// one is set.
func anyOf(group []string, name string, set map[string]bool) bool {
	return slices.Contains(group, name) && slices.ContainsFunc(group, func(other string) bool { return set[other] })
}

// apply sets flags that were not set before. An argument and the environment go
// before a file. Settings that are applied together do not go before one another.
func apply(settings []setting, fs *pflag.FlagSet) error {
	before := changed(fs)
	for _, s := range settings {
		f := fs.Lookup(s.name)
		if f == nil || f.Name == "help" {
			return fmt.Errorf("line %d: there is no %q here", s.line, s.name)
		}
		if f.Changed || anyOf(placeFlags(), s.name, before) || anyOf(limiterFlags(), s.name, before) || anyOf(notifyFlags(), s.name, before) || anyOf(ledgerFlags(), s.name, before) {
			continue
		}
		came(f, s.from, fmt.Sprintf("%s:%d", s.file, s.line))
		if err := s.set(fs, f); err != nil {
			return err
		}
	}
	return nil
}

// set sets the flag f of fs.
func (s *setting) set(fs *pflag.FlagSet, f *pflag.Flag) (err error) {
	list, isList := f.Value.(pflag.SliceValue)
	if s.list && !isList {
		return fmt.Errorf("line %d: %s is a list, want one value", s.line, s.name)
	}
	if s.list {
		f.Changed = true
		err = list.Replace(s.values)
	} else {
		err = fs.Set(s.name, s.values[0])
	}
	if err != nil {
		return fmt.Errorf("line %d: %w", s.line, err)
	}
	return nil
}

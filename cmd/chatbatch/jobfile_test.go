package main

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

func TestNotYAML(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"a: b: c\n", "line 1: mapping values are not allowed in this context"},
		{"a: 1\nb: *x\n", "line 2: unknown anchor 'x' referenced"},
		{"a: 1\n\nb: \x01\n", "line 3: byte 0x01 cannot stand here: save the file as UTF-8, without control characters"},
		{"a: 1\nb: \xd5\xc5\n", "line 2: byte 0xd5 cannot stand here: save the file as UTF-8, without control characters"},
		{"a: 1\nb:\n  - c: 1\n   d: 2\n", "line 3, or in what begins there: did not find expected '-' indicator"},
		{"a: 1\nb c\nd:\n", "line 2: could not find expected ':'"},
	} {
		err := yaml.Unmarshal([]byte(tt.text), &yaml.Node{})
		if err == nil {
			t.Errorf("%q is YAML", tt.text)
		} else if got := notYAML([]byte(tt.text), err).Error(); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.text, got, tt.want)
		}
	}
}

// A file of jobs is read, or refused with one line that names a line of it.
func FuzzJobFile(f *testing.F) {
	for _, seed := range []string{
		"", "jobs:\n  - {kind: marks set, input: a.csv}\n", "qps: 5\nlimiter: memory\njobs: [{kind: export members, input: a, output: b, fields: [role]}]\n",
		"jobs: &a [*a]\n", "a: &a {b: *a}\n", "x: &x [a]\njobs: [{kind: unread set, input: a, map: *x}]\n", "jobs:\n\t- a\n", "jobs: [{<<: {kind: a}}]\n", "? [a]\n: b\n",
		"jobs: [{kind: marks delete, input: \"\\x00\", chunk-size: 0x10, fresh: yes}]\n---\n", "\xff\xfe", "jobs: \xff", "jobs: [\n", "%YAML 9.9\n---\n", "jobs: !!binary aGVsbG8=\n", "jobs: ~\n",
	} {
		f.Add([]byte(seed))
	}
	line := regexp.MustCompile(`line ([0-9]+)`)
	f.Fuzz(func(t *testing.T, text []byte) {
		jobs, err := parseJobFile(text)
		if err != nil {
			checkMessage(t, text, err, line)
			return
		}
		jobs.resolve("somewhere")
		for _, e := range jobs.jobs {
			o := &options{}
			fs := pflag.NewFlagSet(e.kind, pflag.ContinueOnError)
			o.addKind(kinds()[e.kind], fs)
			if err := apply(e.flags, fs); err != nil {
				checkMessage(t, text, err, line)
			} else if err := o.check(); err != nil && err.Error() == "" {
				t.Error("an error without words")
			}
		}
	})
}

// checkMessage fails the test if a message names a line that is not there.
func checkMessage(t *testing.T, text []byte, err error, line *regexp.Regexp) {
	what := err.Error()
	m := line.FindStringSubmatch(what)
	if m == nil && !strings.Contains(what, "it has") {
		t.Errorf("%q names no line", what)
	}
	// A YAML line may end otherwise than with LF.
	most := 2 + strings.Count(string(text), "\n") + strings.Count(string(text), "\r") + strings.Count(string(text), "\u0085") + strings.Count(string(text), "\u2028") + strings.Count(string(text), "\u2029")
	if m != nil {
		if n, _ := strconv.Atoi(m[1]); n < 1 || n > most {
			t.Errorf("%q names a line of %d", what, most)
		}
	}
}

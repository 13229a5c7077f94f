package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"chatbatch/io/chat/chatsim"
)

// write writes a file of a test, for its owner alone.
func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// effective is what `config show` says of one flag of a command.
func effective(t *testing.T, env map[string]string, flag string, args ...string) shownFlag {
	t.Helper()
	code, stdout, stderr := program(t, env, append([]string{"config", "show", "--json"}, args...)...)
	var s shownConfig
	if err := json.Unmarshal([]byte(stdout), &s); code != exitOK || err != nil {
		t.Fatalf("exit code %d, %v; stdout %q, stderr %q", code, err, stdout, stderr)
	}
	for _, f := range s.Flags {
		if f.Name == flag {
			return f
		}
	}
	t.Fatalf("no flag %s in %s", flag, stdout)
	return shownFlag{}
}

// Of each two origins that have a flag, the first in this order is the one that counts,
// for each form in which the file and the profile can be chosen.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	order := []origin{originArgument, originEnvironment, originJobFile, originProfile, originConfig, originDefault}
	for i, strong := range order {
		for _, weak := range order[i+1:] {
			for _, chosen := range []string{"argument", "environment", "file"} {
				t.Run(fmt.Sprintf("%s before %s, chosen by %s", strong, weak, chosen), func(t *testing.T) {
					precede(t, strong, weak, chosen)
				})
			}
		}
	}
}

// precede sets --qps by two origins, to a number that tells which it was.
func precede(t *testing.T, strong, weak origin, chosen string) {
	dir := t.TempDir()
	qps := func(o origin) string { return fmt.Sprint(10 + slices.Index([]origin{strong, weak}, o)) }
	has := func(o origin) bool { return o == strong || o == weak }
	env, args := map[string]string{"XDG_CONFIG_HOME": dir}, []string(nil)
	file, text := filepath.Join(dir, "named.yaml"), "identifier: a\n"
	switch chosen {
	case "argument":
		args = append(args, "--config", file, "--profile", "p")
	case "environment":
		env["CHATBATCH_CONFIG"], env["CHATBATCH_PROFILE"] = file, "p"
	case "file":
		text += "profile: p\n"
		file = filepath.Join(dir, "chatbatch", "config.yaml")
		if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	args = append(args, "run")
	if has(originArgument) {
		args = append(args, "--qps", qps(originArgument))
	}
	if has(originEnvironment) {
		env["CHATBATCH_QPS"] = qps(originEnvironment)
	}
	jobs := "jobs: [{kind: marks set, input: a.csv}]\n"
	if has(originJobFile) {
		jobs = "qps: " + qps(originJobFile) + "\n" + jobs
	}
	if has(originConfig) {
		text += "qps: " + qps(originConfig) + "\n"
	}
	text += "profiles:\n  p:\n    workers: 3\n"
	if has(originProfile) {
		text += "    qps: " + qps(originProfile) + "\n"
	}
	write(t, file, text)
	args = append(args, write(t, filepath.Join(dir, "jobs.yaml"), jobs))

	got := effective(t, env, "qps", args...)
	want := shownFlag{Name: "qps", Value: "10", Origin: string(strong)}
	switch strong {
	case originEnvironment:
		want.Place = "CHATBATCH_QPS"
	case originJobFile:
		want.Place = filepath.Join(dir, "jobs.yaml") + ":1"
	case originProfile, originConfig:
		qpsAt := strings.Index(text, "qps:")
		if strong == originProfile {
			qpsAt = strings.LastIndex(text, "qps:")
		}
		want.Place = fmt.Sprintf("%s:%d", file, 1+strings.Count(text[:qpsAt], "\n"))
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(shownFlag{}), cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".plain" }, cmp.Ignore())); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := effective(t, env, "workers", args...); got.Value != "3" || got.Origin != string(originProfile) {
		t.Errorf("workers is %+v, want that of the profile", got)
	}
}

// Of flags that say the same, one that is given in an origin stands for all of them
// against a file, and in the profile against the rest of the file.
func TestPrecedenceOfGroups(t *testing.T) {
	t.Parallel()
	file := write(t, filepath.Join(t.TempDir(), "c.yaml"), "region: sg\nlimiter: memory\nprofiles:\n  p: {endpoint: https://p.invalid, limiter-file: of-p}\n  q: {}\n")
	for _, tt := range []struct {
		name string
		env  map[string]string
		args []string
		want map[string]string // values of flags
	}{
		{"the file alone", nil, nil, map[string]string{"region": "sg", "endpoint": "", "limiter": "memory", "limiter-file": ""}},
		{"an empty profile", nil, []string{"--profile", "q"}, map[string]string{"region": "sg", "limiter": "memory"}},
		{"a profile", nil, []string{"--profile", "p"}, map[string]string{"region": "", "endpoint": "https://p.invalid", "limiter": "host", "limiter-file": filepath.Join(filepath.Dir(file), "of-p")}},
		{"an argument", nil, []string{"--profile", "p", "--sim", "--limiter", "memory"}, map[string]string{"region": "", "endpoint": "", "sim": "true", "limiter": "memory", "limiter-file": ""}},
		{"a variable", map[string]string{"CHATBATCH_ENDPOINT": "https://e.invalid", "CHATBATCH_LIMITER_FILE": "f"}, nil,
			map[string]string{"region": "", "endpoint": "https://e.invalid", "limiter": "host", "limiter-file": "f"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"marks", "set", "--config", file}, tt.args...)
			for flag, want := range tt.want {
				if got := effective(t, tt.env, flag, args...); got.Value != want {
					t.Errorf("%s is %q, want %q", flag, got.Value, want)
				}
			}
		})
	}
}

// A run that was begun with arguments is the same one with a configuration that says the
// same, and the other way round.
func TestSameCommandByConfig(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"arguments", "configuration"} {
		t.Run("begun by "+first, func(t *testing.T) {
			dir := t.TempDir()
			c := newCourse(t, chatsim.Scenario{Open: true, SDKAppID: 7, SecretKey: "right"})
			roster := write(t, filepath.Join(dir, "r.csv"), "who,group_id,marks\na1,g,1000\na2,g,1000\n")
			file := write(t, filepath.Join(dir, "c.yaml"),
				"map: [who=account]\nencoding: utf-8\nchunk-size: 1\nsdkappid: 7\nprofiles: {p: {endpoint: '"+c.url+"', identifier: boss}}\n")
			byArguments := []string{"marks", "set", roster, "--map", "who=account", "--encoding", "utf-8", "--chunk-size", "1", "--sdkappid", "7", "--endpoint", c.url, "--identifier", "boss"}
			byConfig := []string{"marks", "set", roster, "--config", file, "--profile", "p"}
			begin, again := byArguments, byConfig
			if first == "configuration" {
				begin, again = byConfig, byArguments
			}
			env := map[string]string{"XDG_STATE_HOME": dir, "CHATBATCH_LIMITER": "memory", "CHATBATCH_SECRET_KEY": "wrong"}
			if code, _, stderr := program(t, env, begin...); code != exitRefused {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			env["CHATBATCH_SECRET_KEY"] = "right"
			code, stdout, stderr := program(t, env, append(again, "--json")...)
			if code != exitOK || !strings.Contains(stdout, `"succeeded":2,`) || !strings.Contains(stderr, "resuming run") {
				t.Errorf("exit code %d, stdout %s, stderr %s", code, stdout, stderr)
			}
			if runs, err := os.ReadDir(filepath.Join(dir, "chatbatch", "runs")); err != nil || len(runsOf(runs)) != 1 {
				t.Errorf("got runs %v, %v; want one", runs, err)
			}
		})
	}
}

// runsOf are the names of runs in their directory.
func runsOf(entries []os.DirEntry) (names []string) {
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"unknown key", "qps: 5\nregoin: sg\n", `c.yaml: line 2: there is no flag "regoin"; did you mean region?`},
		{"with _", "chunk_size: 5\n", `line 1: there is no flag "chunk_size"; did you mean chunk-size?`},
		{"far from all", "zzzzzz: 5\n", `line 1: there is no flag "zzzzzz"`},
		{"in a profile not used", "profiles:\n  a:\n    qsp: 1\n", `line 3: there is no flag "qsp"; did you mean qps?`},
		{"profile key", "profiel: a\n", `did you mean profile?`},
		{"no number", "\nqps: fast\n", `line 2: invalid argument "fast" for "--qps" flag`},
		{"no duration, of another command", "older-than: soon\n", `line 1: invalid argument "soon" for "--older-than" flag`},
		{"no number, in a profile not used", "profiles: {a: {workers: many}}\n", `line 1: invalid argument "many" for "--workers" flag`},
		{"a list", "qps: [1, 2]\n", `line 1: qps is a list, want one value`},
		{"a mapping", "qps: {a: 1}\n", `line 1: qps is neither a value nor a list`},
		{"twice", "qps: 1\nqps: 2\n", `line 2: qps is there twice`},
		{"no mapping", "- qps\n", `line 1: want a mapping`},
		{"no YAML", "qps: \"1\n", `line 2: found unexpected end of stream`},
		{"two documents", "qps: 1\n---\nqps: 2\n", `second document (behind ---), which would not be read`},
		{"profiles is a list", "profiles: [a]\n", `line 1: want a mapping`},
		{"a profile is a value", "profiles: {a: b}\n", `line 1: want a mapping`},
		{"a profile in a profile", "profiles: {a: {profile: b}}\n", `line 1: profile stands at the top of the file, not in a profile`},
		{"the file names another", "config: b.yaml\n", `line 1: a configuration file does not name another one`},
		{"no such profile", "\nprofile: b\nprofiles: {a: {}, c: {}}\n", `line 2: there is no profile "b"; there are: a, c`},
		{"no profiles", "profile: b\n", `line 1: there is no profile "b"; it has none`},
		{"a key", "secret-key: hush-hush\n", `line 1: secret-key: the key itself cannot stand here, where others read it: put it into a file of its own, chmod 600 that, and name it by secret-key-file`},
		{"a key, otherwise", "profiles: {a: {SECRET_KEY: hush-hush}}\n", `line 1: SECRET_KEY: the key itself cannot stand here`},
		{"a signature", "usersig: hush-hush\n", `line 1: usersig: a signature cannot stand here, where others read it: set CHATBATCH_USERSIG`},
		{"a value that no run can have", "qps: 0\n", `--qps 0: the budget is 1 to 5000 calls a second (by `},
		{"help", "help: true\n", `line 1: there is no flag "help"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			roster := write(t, filepath.Join(dir, "r.csv"), "group_id,account,marks\ng,a,1000\n")
			file := write(t, filepath.Join(dir, "c.yaml"), tt.text)
			code, stdout, stderr := program(t, map[string]string{"CHATBATCH_CONFIG": file}, "marks", "set", roster, "--dry-run")
			if code != exitUsage || !strings.Contains(stderr, tt.want) || !strings.Contains(stderr, "c.yaml") || stdout != "" {
				t.Errorf("exit code %d, stdout %q, stderr %q; want %q", code, stdout, stderr, tt.want)
			}
			if strings.Contains(stderr, "hush") {
				t.Errorf("a secret is shown: %q", stderr)
			}
		})
	}
}

// A configuration is read, or refused with one line that names a line of it.
func FuzzConfig(f *testing.F) {
	for _, seed := range []string{
		"", "~", "qps: 5\n", "profile: a\nprofiles: {a: {qps: 5}}\n", "profiles: ~\n", "profile: [a]\n", "profiles: {a: ~}\n", "profiles: {~: {}}\n", "profiles: {\"\": {qps: 1}}\n",
		"x: &x [a]\nmap: *x\n", "a: &a {b: *a}\n", "profiles: &a {b: *a}\n", "<<: {qps: 5}\n", "? [a]\n: b\n", "qps: 1\n---\n", "\xff\xfe", "qps: \xff", "qps: [\n", "%YAML 9.9\n---\n",
		"secret_key: a\n", "map: [a=b, [c]]\n", "limiter: postgres://u:p@h/d\n", "fields: []\n", "sdkappid: 0x10\n", "qps: !!binary aGVsbG8=\n",
	} {
		f.Add([]byte(seed))
	}
	known := flagsOf(rootCommand(world{}))
	line := regexp.MustCompile(`line ([0-9]+)`)
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseConfig(text)
		if err == nil {
			c.lieAt("somewhere/c.yaml")
			err = c.check(known)
		}
		if err != nil {
			checkMessage(t, text, err, line)
			return
		}
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		(&options{}).server.add(fs)
		if err := c.apply(fs); err != nil {
			t.Errorf("what was checked cannot be set: %v", err)
		}
	})
}

func TestDidYouMean(t *testing.T) {
	known := []string{"region", "qps", "limiter-file", "CHATBATCH_SECRET_KEY", "CHATBATCH_REGION"}
	for _, tt := range []struct{ name, want string }{
		{"regoin", "region"}, {"Region", "region"}, {"limiter_file", "limiter-file"}, {"limitfile", "limiter-file"}, {"qpsx", "qps"},
		{"zzz", ""}, {"zzzzz", ""}, {"", ""}, {"CHATBATCH_SECRETKEY", "CHATBATCH_SECRET_KEY"}, {"CHATBATCH_REGIONS", "CHATBATCH_REGION"},
	} {
		want := ""
		if tt.want != "" {
			want = "; did you mean " + tt.want + "?"
		}
		if got := didYouMean(tt.name, known); got != want {
			t.Errorf("%q: got %q, want %q", tt.name, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q to %q: got %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

// Variables that mean nothing are told of once, and stop nothing.
func TestUnknownVariables(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	roster := write(t, filepath.Join(dir, "r.csv"), "group_id,account,marks\ng,a,1000\n")
	env := []string{
		"CHATBATCH_REGOIN=hush-hush", "CHATBATCH_NOTHING_LIKE_IT=1", "CHATBATCH_EMPTY=", "CHATBATCH_TEST_REQUIRE_CHROMIUM=1", "OTHER=1",
		"CHATBATCH_SECRET_KEY=k", "CHATBATCH_USERSIG=s", "CHATBATCH_LIMITER_FILE=x", "CHATBATCH_OLDER_THAN=1h", "CHATBATCH_CONFIG=", "CHATBATCH_PROFILE=", "CHATBATCH_ADDR=a",
	}
	var out, errs strings.Builder
	w := world{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, environ: func() []string { return env },
		getenv: func(string) string { return "" }}
	if code := run(t.Context(), []string{"marks", "set", roster, "--dry-run", "--sim"}, w); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"CHATBATCH_REGOIN is set, and means nothing; did you mean CHATBATCH_REGION?\n", "CHATBATCH_NOTHING_LIKE_IT is set, and means nothing\n"} {
		if strings.Count(errs.String(), want) != 1 {
			t.Errorf("want once %q, got %q", want, errs.String())
		}
	}
	if got := strings.Count(errs.String(), "means nothing"); got != 2 || strings.Contains(errs.String(), "hush") {
		t.Errorf("got %q", errs.String())
	}
	errs.Reset()
	if run(t.Context(), []string{"marks", "set", roster, "--dry-run", "--sim", "--quiet"}, w); errs.Len() > 0 {
		t.Errorf("--quiet says %q", errs.String())
	}
}

func TestMasked(t *testing.T) {
	for _, tt := range []struct{ flag, text, want string }{
		{"region", "sg", "sg"},
		{"limiter", "host", "host"},
		{"limiter", "postgres://u:hush@h:5/db?password=hush&sslmode=require", "postgres://u:…@h:5/db?…"},
		{"limiter", "postgres://u@h/db", "postgres://u@h/db"},
		{"limiter", "host=h password=hush", "…"},
		{"limiter", "redis://u:hush@h", "…"},
		{"ledger", "redis://u:hush@h", "…"},
		{"ledger", "postgres://u:hush@h/db?password=hush", "postgres://u:…@h/db?…"},
		{"limiter", "postgres://u:hush@h h/db", "postgres://…"},
		{"endpoint", "https://h:1/a", "https://h:1/a"},
		{"endpoint", "https://u:hush@h", "https://u:…@h"},
		{"notify-url", "https://hooks.invalid/hush", "…"},
		{"notify-url", "", ""},
		{"some-url", "https://hooks.invalid/services/hush/hush", "https://hooks.invalid/…"},
		{"some-url", "https://hooks.invalid/?token=hush", "https://hooks.invalid/…"},
		{"some-url", "https://hooks.invalid/", "https://hooks.invalid"},
		{"input", "a=b://c", "a=b://…"},
	} {
		if got := masked(tt.flag, tt.text); got != tt.want {
			t.Errorf("--%s %s: got %q, want %q", tt.flag, tt.text, got, tt.want)
		}
	}
}

// What `config show` prints is a file that says the same.
func TestShownConfigIsOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := []string{"marks", "set", "r.csv", "--map", "a b=account", "--map", "x,y: #=marks", "--marks", "1000|2000", "--group", "@TGS#1", "--sheet", "a: b # c", "--encoding", "1e3", "--fresh", "--timeout", "1m"}
	_, first, _ := program(t, nil, append([]string{"config", "show"}, args...)...)
	file := write(t, filepath.Join(dir, "c.yaml"), first)
	code, second, stderr := program(t, nil, "config", "show", "--config", file, "marks", "set")
	without := func(text string) string { return regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(text, "") }
	if diff := cmp.Diff(without(first), without(second)); code != exitOK || diff != "" {
		t.Errorf("exit code %d, %s (-first +second)\n%s", code, stderr, diff)
	}
}

// A flag whose help begins with what it names, a file or a directory, has its name taken
// relative to the file in which it stands.
func TestNamesFile(t *testing.T) {
	says := regexp.MustCompile(`(?i)^(a |the )?(YAML )?(file|directory|scenario)\b`)
	flagsOf(rootCommand(world{})).VisitAll(func(f *pflag.Flag) {
		if got, want := namesFile(f.Name), says.MatchString(f.Usage); got != want {
			t.Errorf("--%s (%s): got %v, want %v", f.Name, f.Usage, got, want)
		}
	})
}

// A usual place that is none is passed over; a file there that cannot be read is not.
func TestUsualConfig(t *testing.T) {
	t.Parallel()
	file := write(t, filepath.Join(t.TempDir(), "file"), "")
	unreadable := t.TempDir()
	if err := os.MkdirAll(filepath.Join(unreadable, "chatbatch", "config.yaml"), 0o700); err != nil { // a directory
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		env  map[string]string
		code int
	}{
		{"no home", nil, exitOK},
		{"nothing there", map[string]string{"XDG_CONFIG_HOME": t.TempDir()}, exitOK},
		{"no directory", map[string]string{"XDG_CONFIG_HOME": file}, exitOK},
		{"not absolute", map[string]string{"XDG_CONFIG_HOME": "here"}, exitOK},
		{"not to be read", map[string]string{"XDG_CONFIG_HOME": unreadable}, exitUsage},
		{"not wanted", map[string]string{"XDG_CONFIG_HOME": unreadable, "CHATBATCH_PROFILE": "p"}, exitOK},
	} {
		args := []string{"config", "show"}
		if tt.name == "not wanted" {
			args = append(args, "--config=")
		}
		if code, _, stderr := program(t, tt.env, args...); code != tt.code {
			t.Errorf("%s: exit code %d, %s", tt.name, code, stderr)
		}
	}
}

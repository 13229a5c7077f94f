package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"chatbatch/io/chat/chatsim"
)

// deployed is a command in a file of deploy.
type deployed struct {
	file string
	env  map[string]string
	args []string // without the name of the program
}

// deployedCommands are all commands in all files.
func deployedCommands(t *testing.T) []deployed {
	all := append(crontabOf(t), cronJobOf(t).command())
	for _, name := range []string{"chatbatch-export.service", "chatbatch-marks@.service"} {
		all = append(all, unitOf(t, name).command())
	}
	return all
}

func readDeploy(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The commands of the files by which the program is run on servers do what they say, at
// a Chat API of the test: a flag or a variable that is renamed shows here.
func TestDeployedCommands(t *testing.T) {
	ran := map[string]bool{}
	for _, d := range deployedCommands(t) {
		t.Run(d.file+" "+strings.Join(d.args[:2], " "), func(t *testing.T) {
			c := newCourse(t, chatsim.Scenario{Groups: []chatsim.Group{{ID: "class", Type: "Public", Generate: chatsim.Generate{Prefix: "a", Count: 3}}, {ID: "live", Generate: chatsim.Generate{Prefix: "a", Count: 3}}}})
			at := func(name string) string { return filepath.Join(c.dir, filepath.Base(name)) }
			for name, text := range map[string]string{"chatbatch_secret_key": "any", "secret_key": "any", "class-3b.csv": "group_id,account,marks\nlive,a1,1000\n"} {
				if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			// What is another thing on the machine of the test: the server, and places.
			env := map[string]string{"CHATBATCH_ENDPOINT": c.url, "CREDENTIALS_DIRECTORY": c.dir, "XDG_STATE_HOME": at("state"), "HOME": c.dir}
			for name, value := range d.env {
				switch {
				case name == "CHATBATCH_REGION" || env[name] != "":
				case filepath.IsAbs(value):
					env[name] = at(value)
				default:
					env[name] = value
				}
			}
			args := slices.Clone(d.args)
			for i, arg := range args {
				if filepath.IsAbs(arg) {
					args[i] = at(arg)
				}
			}
			code, _, stderr := program(t, env, args...)
			if code != exitOK {
				t.Fatalf("exit code %d; it said:\n%s", code, stderr)
			}
			if i := slices.IndexFunc(args, func(arg string) bool { return arg == "-o" || arg == "--output" }); i > 0 {
				if _, err := os.Stat(args[i+1]); err != nil {
					t.Error(err)
				}
			}
			if c.sim.Counts().Calls == 0 && d.args[0] != "runs" {
				t.Error("nothing was called")
			}
		})
		ran[d.file] = true
	}
	if len(ran) != 4 {
		t.Errorf("got commands of %v", ran)
	}
}

// The commands of a fleet exist, with their flags. What they do is tested with a database
// elsewhere.
func TestDeployedFleet(t *testing.T) {
	type container struct {
		Command, Args []string
	}
	var compose struct {
		Services map[string]container
	}
	if err := yaml.Unmarshal([]byte(readDeploy(t, "compose.yaml")), &compose); err != nil {
		t.Fatal(err)
	}
	var commands [][]string
	for _, name := range []string{"migrate", "work"} {
		commands = append(commands, compose.Services[name].Command)
	}
	for d := yaml.NewDecoder(strings.NewReader(readDeploy(t, "workers.yaml"))); ; {
		var document struct {
			Spec struct {
				Template struct {
					Spec struct{ Containers []container }
				}
			}
		}
		if err := d.Decode(&document); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, c := range document.Spec.Template.Spec.Containers {
			commands = append(commands, c.Args)
		}
	}
	if len(commands) != 4 {
		t.Fatalf("got commands %q", commands)
	}
	for _, args := range commands {
		cmd, rest, err := rootCommand(world{}).Find(args)
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err != nil || cmd.Name() != args[0] || cmd.Flags().NArg() > 0 {
			t.Errorf("%q: %v, %v", args, cmd.Name(), err)
		}
	}
}

// Kubernetes asks the workers how they are where they say it.
func TestWorkersAreAsked(t *testing.T) {
	type probe struct {
		HTTPGet struct {
			Path string
			Port int
		} `yaml:"httpGet"`
	}
	asked := 0
	for d := yaml.NewDecoder(strings.NewReader(readDeploy(t, "workers.yaml"))); ; {
		var document struct {
			Kind string
			Spec struct {
				Template struct {
					Spec struct {
						Containers []struct {
							Args  []string
							Alive probe `yaml:"livenessProbe"`
							Ready probe `yaml:"readinessProbe"`
						}
					}
				}
			}
		}
		if err := d.Decode(&document); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if document.Kind != "Deployment" {
			continue
		}
		for _, c := range document.Spec.Template.Spec.Containers {
			asked++
			addr := c.Args[slices.Index(c.Args, "--metrics-addr")+1]
			alive, ready := c.Alive.HTTPGet, c.Ready.HTTPGet
			if port := fmt.Sprintf("0.0.0.0:%d", alive.Port); addr != port || ready.Port != alive.Port || alive.Path != "/healthz" || ready.Path != "/readyz" {
				t.Errorf("it serves at %s, and is asked as %+v and %+v", addr, alive, ready)
			}
		}
	}
	if asked != 1 {
		t.Errorf("%d containers are asked", asked)
	}
}

// Every variable of ours in a file, also in a comment, is one that the program reads, and
// so is every credential.
func TestDeployedNames(t *testing.T) {
	known := map[string]bool{"CHATBATCH_SECRET_KEY": true, "chatbatch_secret_key": true, "chatbatch_limiter": true, "chatbatch_ledger": true, "chatbatch_notify_url": true}
	for _, name := range variables(flagsOf(rootCommand(world{}))) {
		known[name] = true
	}
	name := regexp.MustCompile(`CHATBATCH_[A-Z_]+|chatbatch_[a-z_]+`)
	files, err := os.ReadDir("deploy")
	if err != nil || len(files) < 8 {
		t.Fatal(len(files), err)
	}
	for _, f := range files {
		for _, found := range name.FindAllString(readDeploy(t, f.Name()), -1) {
			if !known[found] {
				t.Errorf("%s: nothing reads %s", f.Name(), found)
			}
		}
	}
}

// needSomebody are the exit codes after which another start mends nothing.
var needSomebody = []int{exitFailed, exitUsage, exitInput, exitRefused, exitUnbalanced}

// graceOf is how long a command may take to stop.
func graceOf(t *testing.T, args []string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(args[slices.Index(args, "--grace")+1])
	if err != nil {
		t.Fatal(err)
	}
	return d + leastNotifyTime
}

// A unit is what a file of systemd says, by key.
type unit struct {
	name string
	says map[string][]string
}

func unitOf(t *testing.T, name string) unit {
	t.Helper()
	u := unit{name, map[string][]string{}}
	text := strings.ReplaceAll(readDeploy(t, name), "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '[' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			t.Errorf("%s: %q says nothing", name, line)
		}
		u.says[key] = append(u.says[key], value)
	}
	return u
}

// command is what the unit starts, as its instance class-3b.
func (u unit) command() deployed {
	replaced := strings.NewReplacer("%S", "/var/lib", "%I", "class-3b")
	env := map[string]string{}
	for _, line := range u.says["Environment"] {
		for _, one := range strings.Fields(line) {
			name, value, _ := strings.Cut(one, "=")
			env[name] = replaced.Replace(value)
		}
	}
	return deployed{u.name, env, strings.Fields(replaced.Replace(u.says["ExecStart"][0]))[1:]}
}

func TestUnitsKnowTheExitCodes(t *testing.T) {
	export := unitOf(t, "chatbatch-export.service")
	codes := func(text []string) (all []int) {
		for _, word := range strings.Fields(strings.Join(text, " ")) {
			n, err := strconv.Atoi(word)
			if err != nil {
				t.Error(err)
			}
			all = append(all, n)
		}
		return all
	}
	if got := codes(export.says["RestartPreventExitStatus"]); !slices.Equal(got, needSomebody) {
		t.Errorf("%s is not started again after %v, want %v", export.name, got, needSomebody)
	}
	for _, u := range []unit{export, unitOf(t, "chatbatch-marks@.service")} {
		if got := codes(u.says["SuccessExitStatus"]); !slices.Contains(got, exitInterrupted) {
			t.Errorf("%s: to be stopped is no failure", u.name)
		}
		stop, err := time.ParseDuration(u.says["TimeoutStopSec"][0])
		if err != nil || stop < 2*graceOf(t, u.command().args) {
			t.Errorf("%s: it is killed after %v, %v", u.name, stop, err)
		}
	}
	timer := unitOf(t, "chatbatch-export.timer")
	if timer.says["OnCalendar"] == nil || timer.says["Persistent"][0] != "yes" {
		t.Errorf("the timer says %v", timer.says)
	}
}

// Where systemd is, it has nothing to say about the units.
func TestUnitsAreValid(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("left out: systemd-analyze is not here")
	}
	program, err := exec.LookPath("chatbatch")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for as, name := range map[string]string{
		"chatbatch-export.service": "chatbatch-export.service", "chatbatch-export.timer": "chatbatch-export.timer", "chatbatch-marks@class-3b.service": "chatbatch-marks@.service",
	} {
		text := strings.ReplaceAll(readDeploy(t, name), "/usr/local/bin/chatbatch", program)
		if err := os.WriteFile(filepath.Join(dir, as), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"chatbatch-export.timer", "chatbatch-marks@class-3b.service"} {
		out, err := exec.Command("systemd-analyze", "verify", "--man=no", filepath.Join(dir, name)).CombinedOutput()
		if bytes.Contains(out, []byte("class-3b")) || bytes.Contains(out, []byte("chatbatch-export")) || err != nil && len(out) == 0 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// crontabOf reads the crontab as cron does.
func crontabOf(t *testing.T) (all []deployed) {
	env := map[string]string{}
	entry := regexp.MustCompile(`^((?:[0-9*/,-]+ ){5}) *(chatbatch .*)$`)
	assignment := regexp.MustCompile(`^([A-Z_]+)=(.*)$`)
	for line := range strings.Lines(readDeploy(t, "crontab")) {
		line = strings.TrimSpace(line)
		if found := assignment.FindStringSubmatch(line); found != nil {
			env[found[1]] = found[2]
		} else if found := entry.FindStringSubmatch(line); found != nil {
			command, _, _ := strings.Cut(found[2], ">")
			if strings.ContainsAny(found[2], "%'\"\\$") { // which cron or a shell would change
				t.Errorf("crontab: %s", line)
			}
			all = append(all, deployed{"crontab", env, strings.Fields(command)[1:]})
		} else if line != "" && line[0] != '#' {
			t.Errorf("crontab: cron cannot read %q", line)
		}
	}
	return all
}

// cronJob is what matters of a CronJob here.
type cronJob struct {
	Kind string
	Spec struct {
		JobTemplate struct {
			Spec struct {
				PodFailurePolicy struct {
					Rules []struct {
						Action      string
						OnExitCodes struct {
							ContainerName string `yaml:"containerName"`
							Values        []int
						} `yaml:"onExitCodes"`
					}
				} `yaml:"podFailurePolicy"`
				Template struct {
					Spec struct {
						RestartPolicy string `yaml:"restartPolicy"`
						Grace         int    `yaml:"terminationGracePeriodSeconds"`
						Containers    []struct {
							Name string
							Args []string
							Env  []struct{ Name, Value string }
						}
					}
				}
			}
		} `yaml:"jobTemplate"`
	}
}

func cronJobOf(t *testing.T) (job cronJob) {
	t.Helper()
	for in := yaml.NewDecoder(strings.NewReader(readDeploy(t, "cronjob.yaml"))); job.Kind != "CronJob"; {
		job = cronJob{}
		if err := in.Decode(&job); err != nil {
			t.Fatal(err)
		}
	}
	return job
}

func (j cronJob) command() deployed {
	c := j.Spec.JobTemplate.Spec.Template.Spec.Containers[0]
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	return deployed{"cronjob.yaml", env, c.Args}
}

func TestCronJobKnowsTheExitCodes(t *testing.T) {
	job := cronJobOf(t).Spec.JobTemplate.Spec
	pod := job.Template.Spec
	rule := job.PodFailurePolicy.Rules[0]
	if rule.Action != "FailJob" || !slices.Equal(rule.OnExitCodes.Values, needSomebody) || rule.OnExitCodes.ContainerName != pod.Containers[0].Name {
		t.Errorf("got %+v, want FailJob after %v", rule, needSomebody)
	}
	if pod.RestartPolicy != "Never" { // else there is no policy
		t.Errorf("restartPolicy is %s", pod.RestartPolicy)
	}
	if grace := time.Duration(pod.Grace) * time.Second; grace < 2*graceOf(t, pod.Containers[0].Args) {
		t.Errorf("it is killed after %v", grace)
	}
}

// The image is built by the Go of go.mod, from what is there.
func TestDockerfile(t *testing.T) {
	text := readDeploy(t, "Dockerfile")
	module, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(module))[1]
	for _, want := range []string{fmt.Sprintf("FROM golang:%s-", version), "CGO_ENABLED=0 ", " ./cmd/chatbatch\n", "USER 65532:65532\n", "FROM scratch\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the Dockerfile has no %q", want)
		}
	}
}

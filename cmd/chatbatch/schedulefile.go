package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"chatbatch/io/ledger"
	"chatbatch/jobs/fleet"
)

// A scheduleFile is a file of schedules: flags that hold for all of them, and for each
// what its job is and when.
type scheduleFile struct {
	*jobFile
	whens []when // of the jobs, in their order
}

// A when says when a job is to be done, as it is written. So is what tells it from that of
// another file: the names of its files, which need not lie in the same place on each host.
type when struct {
	cron, zone, missed, overlap, submit string
	input, output, sum                  string
}

// keySchedules is the key of the file under which they stand.
const keySchedules = "schedules"

// readScheduleFile reads the file called name. Its errors name the line.
func readScheduleFile(ctx context.Context, name string, stdin io.Reader) (*scheduleFile, error) {
	text, err := readSmall(ctx, name, stdin, maxJobFile)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, usage("read schedules: %w", err)
	}
	f := &scheduleFile{}
	f.jobFile, err = parseEntries(text, keySchedules, func(item *yaml.Node) (jobEntry, error) {
		w := when{missed: fleet.RuleRun, overlap: fleet.RuleSkip, submit: "false"}
		e, err := parseJob(item, map[string]*string{
			"cron": &w.cron, keyTimezone: &w.zone, "missed": &w.missed, "overlap": &w.overlap, "submit": &w.submit,
		})
		w.input, w.output, w.sum = e.input, e.output(), e.sum()
		f.whens = append(f.whens, w)
		return e, err
	})
	if err != nil {
		return nil, usage("%s: %w", name, err)
	}
	f.lies(name)
	return f, nil
}

// keyTimezone is the key, and the flag, of a time zone.
const keyTimezone = "timezone"

// schedules checks the schedules of a file; zone is that of those which say none.
func (f *scheduleFile) schedules(zone string) ([]*fleet.Schedule, error) {
	var all []*fleet.Schedule
	for i := range f.jobs {
		e, w := &f.jobs[i], f.whens[i]
		s, err := scheduleOf(e, w, zone)
		if err != nil {
			return nil, fmt.Errorf("line %d: schedule %s: %w", e.line, e.name, err)
		}
		all = append(all, s)
	}
	return all, nil
}

func scheduleOf(e *jobEntry, w when, zone string) (*fleet.Schedule, error) {
	if w.zone == "" {
		w.zone = zone
	}
	submit, err := strconv.ParseBool(w.submit)
	switch {
	case !isScheduleName(e.name):
		return nil, fmt.Errorf("give it a name of letters, digits, dots, - and _: by that it is known on all hosts")
	case w.cron == "":
		return nil, fmt.Errorf("cron is missing, e.g. %q: at 3:00 each day", "0 3 * * *")
	case err != nil:
		return nil, fmt.Errorf("submit: %q is neither true nor false", w.submit)
	case e.input == "-":
		return nil, fmt.Errorf("input: - is no file that is there at each tick")
	}
	if submit && kinds()[e.kind].rows && !slices.ContainsFunc(e.flags, func(s setting) bool { return s.name == "chunk-size" }) {
		e.flags = append(e.flags, setting{line: e.line, name: "chunk-size", values: []string{strconv.Itoa(submitChunk)}, from: originJobFile})
	}
	if e.output() == stdoutName {
		return nil, fmt.Errorf("output: - is no file: nobody reads it")
	}
	if _, err := e.at(time.Now()); err != nil {
		return nil, err
	}
	return fleet.NewSchedule(ledger.Schedule{
		Name: e.name, Kind: e.kind, Input: w.input, Output: w.output, Cron: w.cron, Zone: w.zone,
		Missed: w.missed, Overlap: w.overlap, Submit: submit, Flags: w.sum,
	})
}

// isScheduleName says whether a schedule may have a name: people write it in commands.
func isScheduleName(name string) bool {
	plain := func(r rune) bool {
		return r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
	}
	return name != "" && len(name) <= 64 && !strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) && name[0] != '-' && name[0] != '.'
}

// output is the output of a job, "" if it has none.
func (e *jobEntry) output() string {
	for _, s := range e.flags {
		if s.name == "output" && len(s.values) > 0 {
			return s.values[0]
		}
	}
	return ""
}

// sum tells the flags of a job from those of another: not what they are, which is the
// file's to say.
func (e *jobEntry) sum() string {
	var text []string
	for _, s := range e.flags {
		text = append(text, fmt.Sprintf("%q", append([]string{s.name}, s.values...)))
	}
	slices.Sort(text)
	sum := sha256.Sum256([]byte(strings.Join(text, "\n")))
	return hex.EncodeToString(sum[:8])
}

// at is the job at a tick: with its date in the names of its input and output.
func (e *jobEntry) at(tick time.Time) (jobEntry, error) {
	d := *e
	d.flags = slices.Clone(e.flags)
	var err error
	if d.input, err = dated(e.input, tick); err != nil {
		return d, fmt.Errorf("input: %w", err)
	}
	for i := range d.flags {
		s := &d.flags[i]
		if s.name != "output" || len(s.values) == 0 {
			continue
		}
		s.values = slices.Clone(s.values)
		if s.values[0], err = dated(s.values[0], tick); err != nil {
			return d, fmt.Errorf("output: %w", err)
		}
	}
	return d, nil
}

// dateWords are what may stand in braces in the name of a file.
func dateWords() map[string]string {
	return map[string]string{
		"date": "2006-01-02", "time": "1504", "year": "2006", "month": "01", "day": "02", "hour": "15", "minute": "04",
	}
}

// dated puts a tick into the name of a file: {date} is its date in the time zone of the
// schedule, {utc} the time in UTC, which no two ticks share.
func dated(name string, tick time.Time) (string, error) {
	var b strings.Builder
	for rest := name; ; {
		before, from, found := strings.Cut(rest, "{")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		word, after, closed := strings.Cut(from, "}")
		layout, known := dateWords()[word]
		switch {
		case closed && word == "utc":
			b.WriteString(tick.UTC().Format("20060102T150405Z"))
		case closed && known:
			b.WriteString(tick.Format(layout))
		default:
			words := append(slices.Sorted(maps.Keys(dateWords())), "utc")
			return "", fmt.Errorf("%q: {%s} is none of {%s}", name, word, strings.Join(words, "} {"))
		}
		rest = after
	}
}

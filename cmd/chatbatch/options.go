package main

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"chatbatch/io/roster"
	"chatbatch/jobs"
	"chatbatch/limiter"
)

// errExpired is the cause of a context that --max-duration has ended.
var errExpired = errors.New("--max-duration is over")

// options are the flags of the commands that run jobs. Every flag can also be
// set as CHATBATCH_<FLAG>, and in a file; see [completeFlags].
type options struct {
	server
	pace
	care
	runs
	input
	exporting
	objects
	output
	observing
}

// server says which app is called, and as whom.
type server struct {
	sdkAppID    int64
	identifier  string
	keyFile     string
	region      string
	endpoint    string
	sim         bool
	simScenario string
	timeout     time.Duration

	keyOf string // the profile whose app it is, of a command with several; "": it has one
}

func (o *server) add(fs *pflag.FlagSet) {
	fs.Int64Var(&o.sdkAppID, "sdkappid", 0, "SDKAppID of the app")
	fs.StringVar(&o.identifier, "identifier", "", "App admin account that makes the calls")
	fs.StringVar(&o.keyFile, "secret-key-file", "", "file with the app's secret key, readable by its owner only")
	fs.StringVar(&o.region, "region", "", "where the app lives: cn sg kr jp de us id in sa")
	fs.StringVar(&o.endpoint, "endpoint", "", "URL of the API instead of a region's")
	fs.BoolVar(&o.sim, "sim", false, "use the built-in simulator: no credentials, nothing leaves this machine")
	fs.StringVar(&o.simScenario, "sim-scenario", "", "scenario of the simulator (implies --sim)")
	addTimeout(fs, &o.timeout)
}

// addKey adds what a run needs that is already on record.
func (o *server) addKey(fs *pflag.FlagSet) {
	fs.StringVar(&o.keyFile, "secret-key-file", "", "file with the app's secret key, readable by its owner only")
	addTimeout(fs, &o.timeout)
}

func addTimeout(fs *pflag.FlagSet, d *time.Duration) {
	fs.DurationVar(d, "timeout", 10*time.Second, "of one call; the server's own is 3 s")
}

// pace says how fast calls may leave.
type pace struct {
	qps      int
	qpsScope string
	share    string
	sharers
	workers int
}

func (o *pace) add(fs *pflag.FlagSet) {
	fs.IntVar(&o.qps, "qps", 200, "budget of calls in any one second")
	fs.StringVar(&o.qpsScope, "qps-scope", "app", "app: one budget for all calls; api: one for each API")
	fs.StringVar(&o.share, "share", "", "part of the budget for all who share it, e.g. 1/3 or 60%: the rest is left to others (default all)")
	o.sharers.add(fs)
	fs.IntVar(&o.workers, "workers", 64, "calls under way at once")
}

// care says when to try again and when to stop.
type care struct {
	retries         int
	retryMaxElapsed time.Duration
	maxErrors       string
	maxDuration     time.Duration
	grace           time.Duration
	isolateBudget   int
}

func (o *care) add(fs *pflag.FlagSet) {
	d := jobs.DefaultRetry()
	fs.IntVar(&o.retries, "retries", d.Max, "tries of a call after the first, where trying again may help")
	fs.DurationVar(&o.retryMaxElapsed, "retry-max-elapsed", d.MaxElapsed, "most time for one call with its retries")
	fs.StringVar(&o.maxErrors, "max-errors", "", "stop when more rows than this have failed: 100 or 5%")
	fs.DurationVar(&o.maxDuration, "max-duration", 0, "stop after this time, to go on later; 0: no bound")
	fs.DurationVar(&o.grace, "grace", 15*time.Second, "time for calls under way when the run is to stop")
	fs.IntVar(&o.isolateBudget, "isolate-budget", jobs.DefaultIsolateCalls, "calls that finding the bad accounts of one chunk may cost")
}

// runs says where runs are kept and what to do with an earlier one.
type runs struct {
	runsDir string
	ledgers
	fresh    bool
	ifLocked string
}

func (o *runs) add(fs *pflag.FlagSet) {
	addRunsDir(fs, &o.runsDir)
	o.ledgers.add(fs)
	fs.BoolVar(&o.fresh, "fresh", false, "begin a new run even if an earlier one of this command can be resumed")
	addIfLocked(fs, &o.ifLocked)
}

func addRunsDir(fs *pflag.FlagSet, dir *string) {
	fs.StringVar(dir, "runs-dir", "", "directory of the runs (default $XDG_STATE_HOME/chatbatch/runs)")
}

func addIfLocked(fs *pflag.FlagSet, mode *string) {
	fs.StringVar(mode, "if-locked", "fail", "if another process works on this run: wait, skip (exit 0), fail (exit 75) or exit:N")
}

// input says how the input is read and planned.
type input struct {
	chunkSize   int
	maxBadRows  string
	columns     []string
	encoding    string
	delimiter   string
	sheet       string
	group       string
	marks       string
	checkGroups bool
	dryRun      bool
}

// add adds what all kinds have.
func (o *input) add(fs *pflag.FlagSet) {
	o.chunkSize = jobs.DefaultChunkSize // of kinds without the flag
	fs.StringVar(&o.maxBadRows, "max-bad-rows", "10%", "refuse an input with more bad rows than this: 100 or 10%")
	fs.StringArrayVar(&o.columns, "map", nil, "column=field: what a column of the input is (repeat for more)")
	fs.StringVar(&o.encoding, "encoding", "", "of the input: gb18030, big5, utf-16le … (default: that in which its header has the columns)")
	fs.StringVar(&o.delimiter, "delimiter", "", "between fields of a CSV input: comma, semicolon, tab or bar (default: found in the same way)")
	fs.StringVar(&o.sheet, "sheet", "", "of a workbook (default: the first one that has the columns)")
	fs.BoolVar(&o.dryRun, "dry-run", false, "read, check and plan; send nothing")
}

func (o *input) addChunkSize(fs *pflag.FlagSet, help string) {
	fs.IntVar(&o.chunkSize, "chunk-size", jobs.DefaultChunkSize, help)
}

func (o *input) addGroup(fs *pflag.FlagSet) {
	fs.StringVar(&o.group, "group", "", "group of all rows, for a file without a group_id column")
}

func (o *input) addMarks(fs *pflag.FlagSet) {
	fs.StringVar(&o.marks, "marks", "", "marks of all rows, for a file without a marks column")
}

func (o *input) addCheckGroups(fs *pflag.FlagSet) {
	fs.BoolVar(&o.checkGroups, "check-groups", true, "ask for the type of each group first: some accept a count and do nothing")
}

// output says what is printed.
type output struct {
	quiet     bool
	json      bool
	logFormat string
	logLevel  string
	logFile   string
	files     []string // of jobs of a file: --log-file is none of them
	notifying
}

func (o *output) add(fs *pflag.FlagSet) {
	o.addPrinting(fs)
	fs.StringVar(&o.logFile, "log-file", "", "file that the log is appended to as well, whatever --quiet says")
	section(fs, "Web hook", o.notifying.add)
}

func (o *output) addPrinting(fs *pflag.FlagSet) {
	fs.BoolVar(&o.quiet, "quiet", false, "print nothing but errors")
	fs.BoolVar(&o.json, "json", false, "print the summary as one JSON object on stdout")
	fs.StringVar(&o.logFormat, "log-format", "text", "text or json")
	fs.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
}

// check refuses values that no run can have.
func (o *options) check() error {
	switch {
	case o.qps < 1 || o.qps > 5000:
		return usage("--qps %d: the budget is 1 to 5000 calls a second", o.qps)
	case o.qpsScope != "app" && o.qpsScope != "api":
		return usage("--qps-scope %q: it is app or api", o.qpsScope)
	case o.workers < 1 || o.workers > 1024:
		return usage("--workers %d: it is 1 to 1024", o.workers)
	case o.chunkSize < 1:
		return usage("--chunk-size %d: a chunk has at least one account", o.chunkSize)
	case o.retries < 0:
		return usage("--retries %d: it is 0 or more", o.retries)
	case o.isolateBudget < 1:
		return usage("--isolate-budget %d: it is 1 or more", o.isolateBudget)
	case o.grace < 0 || o.maxDuration < 0 || o.retryMaxElapsed < 0:
		return usage("--grace, --max-duration and --retry-max-elapsed are not negative")
	}
	if _, err := parseIfLocked(o.ifLocked); err != nil {
		return err
	}
	for flag, text := range map[string]string{"--max-errors": o.maxErrors, "--max-bad-rows": o.maxBadRows} {
		if _, err := jobs.ParseLimit(text); err != nil {
			return usage("%s: %w", flag, err)
		}
	}
	if _, err := limiter.ParseShare(o.share); err != nil {
		return usage("--share: %w", err)
	}
	if err := errors.Join(o.checkSharers(), o.checkLedger()); err != nil {
		return err
	}
	_, err := o.mapping()
	return err
}

// limit is the limit in text, which check has seen.
func limit(text string) jobs.Limit {
	l, _ := jobs.ParseLimit(text)
	return l
}

// mapping reads --map.
func (o *input) mapping() (map[string]string, error) {
	m := map[string]string{}
	for _, text := range o.columns {
		i := strings.LastIndex(text, "=")
		if i <= 0 || i == len(text)-1 {
			return nil, usage("--map %q: it is column=field", text)
		}
		m[text[:i]] = text[i+1:]
	}
	return m, nil
}

// rosterOptions says how to read the columns of an input.
func (o *input) rosterOptions() (roster.Options, error) {
	columns, err := o.mapping()
	if err != nil {
		return roster.Options{}, err
	}
	defaults := map[string]string{}
	if o.group != "" {
		defaults["group_id"] = o.group
	}
	if o.marks != "" {
		defaults["marks"] = o.marks
	}
	return roster.Options{Map: columns, Defaults: defaults, Encoding: o.encoding, Delimiter: o.delimiter, Sheet: o.sheet}, nil
}

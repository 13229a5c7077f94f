package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chatbatch/io/chat"
	"chatbatch/jobs"
)

const checkHelp = `Check credentials, region, network and clock with one harmless call, and say what is
wrong and what to do.

The call asks for the type of a group that does not exist, or of --group
(get_group_info). It reads nothing of anybody and changes nothing, the API allows 200 of
them a second, and it is answered by what answers the calls of a run: behind it are the
gateway of the region, the app, its key and its admin. That the group is not known is
the answer of a server that knows us. A database of --ledger is looked at, too: whether it
is there, has its tables, and lets us write. Like any call it takes a turn of the budget; it is
tried again twice where that may help and is done soon.

Whether the edition of the app includes marks and online lists is not known before they
are used: to set a mark is not harmless.

Exit codes:
  0   all is well (there may be warnings)
  1   the group of --group cannot be used
  2   usage or configuration: a directory, the credentials, the endpoint
  5   the server refuses us, or what answers is not the Chat API
  6   interrupted
  75  try later: no answer, the server is busy, or the database of --limiter or of
      --ledger is away`

// checkRetries is how often the call is tried again: who checks waits for it.
const checkRetries = 2

func checkCommand(w world) *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check credentials, region, network and clock with one harmless call",
		Long:  checkHelp,
		Args:  noArguments("what is checked is said by --region, --sdkappid and --identifier"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			j, err := newJob(cmd, o, w)
			if err != nil {
				return err
			}
			return j.checkUp(cmd.Context())
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	section(fs, "App and server", o.server.add)
	section(fs, "App and server", func(fs *pflag.FlagSet) { fs.StringVar(&o.group, "group", "", "group to ask for: its type is shown") })
	section(fs, "Pace", o.pace.add)
	section(fs, "Runs", func(fs *pflag.FlagSet) {
		addRunsDir(fs, &o.runsDir)
		o.ledgers.add(fs)
	})
	section(fs, "Output and log", o.output.addPrinting)
	fs.Lookup("json").Usage = "print what was found as one JSON object on stdout"
	o.chunkSize, o.isolateBudget, o.ifLocked = jobs.DefaultChunkSize, jobs.DefaultIsolateCalls, "fail" // of no use here
	o.retries = checkRetries
	return cmd
}

// States of a finding.
const (
	stateOK      = "ok"
	stateWarning = "warning"
	stateFailed  = "failed"
)

// A finding is what came of one part of a check.
type finding struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"`   // what to do about it
	Code  int    `json:"code,omitempty"` // the server's
	// Behind is how far the clock is behind the server's, negative: before it.
	Behind float64 `json:"behind_seconds,omitempty"`

	exit int // of the program, if it failed
}

// A checkup is a check on its way.
type checkup struct {
	*job
	found []finding
}

// checkUp looks at one thing after the other, up to the first one without which the next
// cannot be.
func (j *job) checkUp(ctx context.Context) error {
	c := &checkup{job: j}
	if j.config != nil {
		c.ok("configuration", j.config.String())
	}
	c.runsDir()
	c.database(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	conn := c.connection(ctx)
	if conn != nil {
		defer conn.close()
		if err := c.call(ctx, conn); err != nil {
			return err
		}
	}
	return c.end()
}

func (c *checkup) ok(name, text string) { c.note(finding{Name: name, State: stateOK, Text: text}) }

// fail notes an error as what it is to the program.
func (c *checkup) fail(name string, err error) {
	c.note(finding{Name: name, State: stateFailed, Text: cleanText(c.flags, err), exit: codeOf(err)})
}

// note keeps a finding, and shows it at once: the next one may take its time.
func (c *checkup) note(f finding) {
	c.found = append(c.found, f)
	if c.json || c.quiet && f.State == stateOK {
		return
	}
	text := fmt.Sprintf("%-8s %-13s  %s\n", f.State, f.Name, f.Text)
	if f.Do != "" {
		text += fmt.Sprintf("%24s%s\n", "-> ", f.Do) // below the text
	}
	_, _ = io.WriteString(c.w.stdout, text) // the exit code says it, too
}

// cleanText is the text of an error, with the places of flags and without a password.
func cleanText(flags *pflag.FlagSet, err error) string {
	return addressPassword.ReplaceAllString(withPlaces(flags, err).Error(), "$1…@")
}

// endpointText is where the flags say that the app lives, "" if they do not.
func (c *checkup) endpointText() string {
	endpoint, err := c.where()
	if err != nil {
		return ""
	}
	return masked("endpoint", endpoint)
}

// runsDir looks whether runs can be kept.
func (c *checkup) runsDir() {
	err := os.MkdirAll(c.store.Dir, 0o700)
	if err == nil {
		var f *os.File
		if f, err = scratch(c.store.Dir); err == nil {
			err = f.Close()
		}
	}
	if err != nil {
		c.fail("runs", ofPlace("%w (--runs-dir names another directory)", err))
		return
	}
	c.ok("runs", c.store.Dir+" can be written")
}

// connection makes what a call needs, or says what is missing and returns nil.
func (c *checkup) connection(ctx context.Context) *connection {
	endpoint, err := c.where()
	if err != nil {
		c.fail("endpoint", err)
		return nil
	}
	conn, err := c.client(ctx, endpoint)
	if err != nil {
		c.fail("credentials", err)
		return nil
	}
	c.signature(conn)
	if conn.limiter, err = c.newLimiter(ctx, "check", conn.chat, conn.isSim()); err != nil {
		c.fail("budget", err)
		return nil
	}
	c.ok("budget", c.sharedBy(conn))
	return conn
}

// sharedBy says who shares the budget.
func (c *checkup) sharedBy(conn *connection) string {
	text := fmt.Sprintf("%d calls a second", c.rate())
	who, err := c.who(c.w.getenv)
	switch {
	case conn.isSim():
		return text + ", of the simulator"
	case err != nil || who == limiterMemory:
		return text + ", of this process alone"
	case isDatabase(who):
		return text + ", with all hosts of " + masked("limiter", who)
	}
	dir, _ := lanesDir(c.w.getenv) // the limiter has found it
	return text + ", with all processes of this user, by " + dir
}

// call makes the call and notes what it tells of the way and of the server.
func (c *checkup) call(ctx context.Context, conn *connection) error {
	a := c.ask(ctx, conn)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.way(conn, a)
	if at, isTransport := errors.AsType[*chat.TransportError](a.err); isTransport {
		c.noAnswer(a, at)
		c.clock(a)
		return nil
	}
	c.clock(a)
	c.answer(conn, a)
	return nil
}

// end says how the check ends: like the first thing that failed.
func (c *checkup) end() error {
	var first *finding
	for i := range c.found {
		if c.found[i].State == stateFailed {
			first = &c.found[i]
			break
		}
	}
	code := exitOK
	if first != nil {
		code = first.exit
	}
	if c.json {
		what := struct {
			Exit     int       `json:"exit"`
			Endpoint string    `json:"endpoint,omitempty"`
			SDKAppID int64     `json:"sdkappid,omitempty"`
			Found    []finding `json:"checks"`
		}{code, c.endpointText(), c.sdkAppID, c.found}
		if err := json.NewEncoder(c.w.stdout).Encode(what); err != nil {
			return fmt.Errorf("print what was found: %w", err)
		}
	}
	switch {
	case first == nil:
		return nil
	case c.json || c.quiet:
		return &codedError{code, errors.New(strings.TrimSuffix(first.Name+": "+first.Text+"; "+first.Do, "; "))}
	}
	return &codedError{code, nil} // it has been said
}

// A refusedError is the refusal of a run, with the command that looks into it.
type refusedError struct {
	err     error
	command string
}

func (e *refusedError) Error() string { return e.err.Error() + e.advice() }

func (e *refusedError) advice() string { return "; to look into it: " + e.command }

func (e *refusedError) Unwrap() error { return e.err }

// toBeChecked adds to the refusal of a run the command that finds out more.
func (j *job) toBeChecked(why error, conn *connection) error {
	if _, ok := errors.AsType[*jobs.RunRefusedError](why); !ok {
		return why
	}
	return &refusedError{why, j.checkCommand(conn)}
}

// checkCommand is the check of what a run uses, to be pasted as it stands. What another
// command has by itself, from the environment or the configuration, is not in it.
func (j *job) checkCommand(conn *connection) string {
	remains := func(flag string) string { return cmp.Or(j.w.getenv(variable(flag)), j.config.value(flag)) }
	place := server{region: remains("region"), endpoint: remains("endpoint"), simScenario: remains("sim-scenario")}
	place.sim, _ = strconv.ParseBool(remains("sim"))
	text := "chatbatch check"
	scenario, sim := strings.CutPrefix(conn.name, simEndpoint)
	there, err := place.where()
	switch {
	case err == nil && there == conn.name:
	case sim && scenario == "":
		text += " --sim"
	case sim:
		text += " --sim-scenario " + quoted(scenario)
	default:
		text += " --endpoint " + quoted(conn.name)
	}
	if app := strconv.FormatInt(conn.chat.SDKAppID, 10); !sim && remains("sdkappid") != app {
		text += " --sdkappid " + app
	}
	if who := conn.chat.Identifier; !sim && remains("identifier") != who {
		text += " --identifier " + quoted(who)
	}
	return text + j.credentials()
}

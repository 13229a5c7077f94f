package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"chatbatch/io/chat"
	"chatbatch/limiter"
)

// Who shares the budget, as --limiter says it. Anything else is the address of a
// database.
const (
	limiterHost   = "host"
	limiterMemory = "memory"
)

// databaseSchemes are how the address of a database begins.
func databaseSchemes() []string { return []string{"postgres://", "postgresql://"} }

// lookTime bounds a look into the database, migrateTime a change of its table.
const (
	lookTime    = 10 * time.Second
	migrateTime = time.Minute
)

// sharers says who shares the budget. An address may hold a password: it is
// printed nowhere, and is no part of what makes a command the same.
type sharers struct {
	limiter     string
	limiterFile string
	from        origin // of the one that was given; "": none was
	both        bool   // were given, by the same origin
}

func (o *sharers) add(fs *pflag.FlagSet) {
	fs.StringVar(&o.limiter, "limiter", limiterHost, "who shares the budget: host (all processes of this user), memory (this process alone), or all hosts that share a database (postgres://user@host/db). Not given, it is the database of --ledger if hosts share a budget there")
	fs.StringVar(&o.limiterFile, "limiter-file", "", "file with the text of --limiter, readable by its owner only: for an address with a password")
}

// limiterFlags are the flags of which one says who shares the budget.
func limiterFlags() []string { return []string{"limiter", "limiter-file"} }

// note notes where the flags come from, once they are set.
func (o *sharers) note(flags *pflag.FlagSet) {
	if flags.Lookup("limiter") != nil {
		o.from, o.both = eitherOrigin(flags, "limiter", "limiter-file")
	}
}

// checkSharers refuses what cannot say who shares the budget. It never quotes: a
// mistyped address holds its password all the same.
func (o *sharers) checkSharers() error {
	switch {
	case o.both:
		return usage("give --limiter or --limiter-file, not both")
	case o.limiterFile != "":
		return nil // its text is checked when it is read
	}
	return checkLimiter("--limiter", o.limiter)
}

func checkLimiter(what, text string) error {
	if text == limiterHost || text == limiterMemory || isDatabase(text) {
		return nil
	}
	return usage("%s: it is host, memory, or the address of a database, postgres://user@host/db (what it is now is not shown: it may hold a password)", what)
}

func isDatabase(text string) bool {
	return slices.ContainsFunc(databaseSchemes(), func(scheme string) bool { return strings.HasPrefix(text, scheme) })
}

// who is who shares the budget: host, memory, or the address of a database.
func (o *sharers) who(getenv func(string) string) (string, error) {
	text, what, err := addressOf(getenv, "limiter", o.limiter, o.limiterFile, o.from)
	if err != nil {
		return "", err
	}
	return text, checkLimiter(what, text)
}

// lanes opens the limiter's store for a run. The simulator has a budget of its
// own, in memory, unless the command itself names a database.
func (j *job) lanes(sim bool) (open func(key string) (limiter.Lanes, error), database string, err error) {
	who, err := j.who(j.w.getenv)
	if own := j.from != originArgument && j.from != originJobFile; sim && (own || err == nil && !isDatabase(who)) {
		if isDatabase(who) {
			j.log.Info("the simulator has a budget of its own; an argument --limiter would share that of a database")
		}
		return limiter.Memory(), "", nil
	}
	if err != nil {
		return nil, "", err
	}
	if who == limiterMemory {
		return limiter.Memory(), "", nil
	}
	dir, err := lanesDir(j.w.getenv)
	switch {
	case err != nil:
		return nil, "", err
	case who == limiterHost:
		return limiter.File(dir), "", nil
	}
	warnOfPassword(j.log, "limiter", j.limiter, j.from)
	return limiter.Postgres(dir, limiter.Lease{URL: who, Host: hostName(), Log: j.log}), who, nil
}

// newLimiter makes the limiter of a connection, and looks whether its database
// can be used: nothing is sent if it cannot.
func (j *job) newLimiter(ctx context.Context, doing string, c *chat.Client, sim bool) (*limiter.Limiter, error) {
	share, err := limiter.ParseShare(j.share)
	if err != nil {
		return nil, usage("--share: %w", err)
	}
	if err := j.shareWithHosts(ctx, sim); err != nil {
		return nil, err
	}
	lanes, database, err := j.lanes(sim)
	if err != nil {
		return nil, err
	}
	l, err := limiter.New(limiter.Options{
		QPS: j.qps, Share: share, Name: brief(doing), Key: strconv.FormatInt(c.SDKAppID, 10), PerAPI: j.qpsScope == "api", Lanes: lanes,
		Way:  wayTo(c.Endpoint),
		APIs: map[string]int{chat.CommandGroupList: 1}, // a second, by its documentation page
	})
	if err == nil && database != "" && j.qpsScope == "api" {
		// Its budgets are opened by their first calls, too late to say so.
		if _, err = fleetBudgets(ctx, database); err != nil {
			err = errors.Join(err, l.Close())
		}
	}
	if err != nil {
		return nil, notOpened(err)
	}
	return l, nil
}

// shareWithHosts lets a command whose run is kept in a database share the budget of the
// hosts that work by it, unless it says who shares its own: beside them it would be a
// second one. Where the database has no lanes there are no such hosts.
func (j *job) shareWithHosts(ctx context.Context, sim bool) error {
	if sim || j.from != "" || isDatabase(j.limiter) {
		return nil
	}
	address, err := j.keptIn(j.w.getenv)
	if err != nil || !isDatabase(address) {
		return err
	}
	switch _, err := fleetBudgets(ctx, address); {
	case errors.Is(err, limiter.ErrNotMigrated):
		return nil
	case errors.Is(err, limiter.ErrUnreachable):
		return notOpened(err)
	case err != nil:
		j.log.Warn("the budget of the hosts that share the database of --ledger cannot be used, so this command has that of its own host: " + err.Error())
		return nil
	}
	j.limiter = address
	return nil
}

// wayTo tells the ways apart that calls go: to another server, or by a proxy.
func wayTo(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return endpoint // the first call says why
	}
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u}) // as the client does
	if err != nil || proxy == nil {
		return u.Host
	}
	return u.Host + " by " + proxy.Host
}

// fleetBudgets looks what all hosts do.
func fleetBudgets(ctx context.Context, database string) ([]limiter.FleetBudget, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	return limiter.InspectFleet(ctx, database)
}

// notOpened is how a command ends whose limiter cannot be opened: later is early
// enough for a database that does not answer.
func notOpened(err error) error {
	if errors.Is(err, limiter.ErrUnreachable) {
		return &codedError{exitTryLater, fmt.Errorf("%w; nothing was sent, try again when it can be", err)}
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return ofPlace("%w: the processes of this host share their budget there, so nothing is sent without it; make it writable, set XDG_STATE_HOME to another place for all of them, or share with nobody by --limiter memory", err)
	}
	return usage("%w", err)
}

// maxBrief bounds what is told of a process: it has little room.
const maxBrief = 64

// brief cuts text short, and leaves out what a terminal or JSON would make of
// strange bytes in the name of a file.
func brief(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if len(text) <= maxBrief {
		return text
	}
	end := maxBrief - len("…")
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// lanesDir is where the processes of this host share their lanes.
func lanesDir(getenv func(string) string) (string, error) {
	state, err := stateDir(getenv)
	if err != nil {
		return "", usage("find the lanes that the processes of this user share: %w; set one of them", err)
	}
	return filepath.Join(state, "lanes"), nil
}

// hostName is what others see of this host.
func hostName() string {
	name, _ := os.Hostname()
	return cmp.Or(name, "(no name)")
}

// rate is how many calls a second the share of the budget is, 1 at least.
func (o *pace) rate() int {
	if s, err := limiter.ParseShare(o.share); err == nil && s.Whole > 0 {
		return max(1, o.qps*s.Part/s.Whole)
	}
	return o.qps
}

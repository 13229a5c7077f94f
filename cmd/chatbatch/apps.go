package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/pflag"

	"chatbatch/io/ledger"
	"chatbatch/jobs"
	"chatbatch/jobs/fleet"
)

// A host may work for several apps at once: each is a profile of the configuration, and a
// job with options of its own. They share what the process has once: its log, its page,
// the database and the connections to it.

// allProfiles stands for all profiles of the file, unless one of them has that name.
const allProfiles = "all"

// profileFlags are the flags of which one says for which apps a command works.
func profileFlags() []string { return []string{keyProfile, keyProfiles} }

// eachHasItsOwn are the flags that two apps cannot have from one argument or variable.
func eachHasItsOwn() []string { return []string{"sdkappid", "identifier", "secret-key-file"} }

// ofTheHost are the flags of work that a host has once, whatever apps it works for.
func ofTheHost() []string {
	return append(append(ledgerFlags(), limiterFlags()...), "log-format", "log-level", "log-file", "ui", "metrics-textfile", "metrics-addr", "metrics-name")
}

// chooseSeveral sets the profiles that are used side by side. The first of them is in use
// where there can be only one.
func (c *config) chooseSeveral(names []string) error {
	there := slices.Sorted(maps.Keys(c.profiles))
	if len(names) == 1 && names[0] == allProfiles && !slices.Contains(there, allProfiles) {
		names = there
	}
	for i, name := range names {
		switch {
		case !slices.Contains(there, name):
			return fmt.Errorf("--%s: there is no profile %q; there are: %s", keyProfiles, name, cmp.Or(strings.Join(there, ", "), "none"))
		case slices.Contains(names[:i], name):
			return fmt.Errorf("--%s: %s is there twice", keyProfiles, name)
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("--%s: it has none", keyProfiles)
	}
	c.several, c.profile = names, names[0]
	return nil
}

// apps are the jobs of this host, one for each of its apps.
func (j *job) apps() ([]*job, error) {
	if j.config == nil || len(j.config.several) == 0 {
		return []*job{j}, nil
	}
	if err := j.checkShared(); err != nil {
		return nil, err
	}
	var all []*job
	for _, name := range j.config.several {
		a, err := j.app(name)
		if err != nil {
			return nil, a.ofProfile(err)
		}
		all = append(all, a)
	}
	return all, differ(all)
}

// checkShared refuses what is given for all apps and can be only one's.
func (j *job) checkShared() error {
	for _, name := range eachHasItsOwn() {
		if from := originOf(j.flags.Lookup(name)); from == originArgument || from == originEnvironment {
			return usage("--%s goes without --%s: each app has its own, as %s in its profile of %s", name, keyProfiles, name, j.config.path)
		}
	}
	for _, name := range secretVariables() {
		if j.w.getenv(name) != "" {
			return usage("%s goes without --%s: it is of one app; each app has a key of its own, by secret-key-file in its profile or %s",
				name, keyProfiles, secretKeyVariable(j.config.several[0]))
		}
	}
	return nil
}

// app makes the job of one app: what was given for all of them, and then its profile. It
// is there beside an error, too, which it can name.
func (j *job) app(name string) (*job, error) {
	a, c, o := *j, *j.config, &options{}
	c.profile, c.several = name, nil
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	o.addWork(fs, &showing{}, new([]string))
	a.options, a.config, a.flags = o, &c, fs
	o.keyOf = name
	err := given(j.flags, fs)
	if err == nil {
		err = c.apply(fs)
	}
	if err != nil {
		return &a, err
	}
	for _, flag := range ofTheHost() { // what they say may be a secret
		if f := fs.Lookup(flag); f.Value.String() != j.flags.Lookup(flag).Value.String() {
			return &a, usage("%s is another one than that of profile %s: a host has one for all its apps; put it at the top of %s", flag, j.config.profile, c.path)
		}
	}
	o.note(fs)
	o.noteLedger(fs)
	a.log = j.log.With("profile", name, "app", o.sdkAppID)
	return &a, o.check()
}

// given sets flags as those of the same name in from that an argument or a variable has
// set.
func given(from, to *pflag.FlagSet) (err error) {
	from.VisitAll(func(f *pflag.Flag) {
		origin, own := originOf(f), to.Lookup(f.Name)
		if err != nil || own == nil || f.Name == keyProfiles || origin != originArgument && origin != originEnvironment {
			return
		}
		if origin == originEnvironment {
			came(own, origin, placeOf(f))
		}
		err = to.Set(f.Name, f.Value.String())
	})
	return err
}

// differ refuses apps of which two are the same, or cannot both be right.
func differ(all []*job) error {
	for i, a := range all {
		endpoint, err := a.where()
		if err != nil {
			return a.ofProfile(err)
		}
		for _, b := range all[:i] {
			there, _ := b.where() // it was asked before
			switch {
			case a.sdkAppID != b.sdkAppID && a.keyFile != "" && a.keyFile == b.keyFile:
				return usage("profiles %s and %s are different apps with one secret-key-file, %s: each app has a key of its own", b.keyOf, a.keyOf, a.keyFile)
			case a.sdkAppID != b.sdkAppID || there != endpoint:
			case a.sdkAppID > 0:
				return usage("profiles %s and %s are the same app at the same endpoint: %d at %s; a host works for it once", b.keyOf, a.keyOf, a.sdkAppID, endpoint)
			}
		}
	}
	return nil
}

// A placedError names the places of its flags already.
type placedError struct{ error }

func (e placedError) Unwrap() error { return e.error }

// ofProfile says of which app an error is, where there are several.
func (j *job) ofProfile(err error) error {
	if err == nil || j.keyOf == "" {
		return err
	}
	return &codedError{codeOf(err), placedError{fmt.Errorf("profile %s: %w", j.keyOf, withPlaces(j.flags, err))}}
}

// serve opens what this host needs to work for each of its apps. Nothing is sent.
func (j *job) serve(ctx context.Context, host *fleet.Worker) (free func(), err error) {
	apps, err := j.apps()
	if err != nil {
		return nil, err
	}
	var opened []*connection
	free = func() {
		for _, c := range opened {
			_ = c.close() // lanes that are not given back come back by themselves
		}
	}
	for _, a := range apps {
		conn, err := a.reach(ctx)
		if err != nil {
			free()
			return nil, a.ofProfile(err)
		}
		opened = append(opened, conn)
		var introductions fronts
		host.Services = append(host.Services, &fleet.Service{
			App:     fleet.App{SDKAppID: conn.chat.SDKAppID, Endpoint: conn.name},
			Workers: a.workers, Grace: a.grace, CallTime: a.timeout, Log: a.log,
			Equip: func(_ context.Context, l *ledger.Ledger) (fleet.Gear, error) {
				g, err := a.gear(conn, l)
				if err == nil {
					g.Door.Front = introductions.next()
					a.watched(host, conn, l.Meta(), &g)
				}
				return g, err
			},
			Publish: a.publishAsHost,
		})
	}
	return free, nil
}

// fronts are those of one app on a host. The host outlives its runs, so a server that has
// refused one of them is asked again for the next: what was wrong may have been mended.
type fronts struct {
	mu  sync.Mutex
	now *jobs.Front // under mu
}

// next is what the next run shares with those that are under way.
func (f *fronts) next() *jobs.Front {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now == nil || f.now.Refused() {
		f.now = &jobs.Front{}
	}
	return f.now
}

// watched lets others look on while a host works on a run.
func (j *job) watched(host *fleet.Worker, conn *connection, m ledger.Meta, g *fleet.Gear) {
	beside, meter := g.Beside, g.Door.Meter
	g.Beside = func(ctx context.Context) {
		ends := j.observer.taskBegins(&task{
			workKey: workKey{kind: m.Kind, app: m.SDKAppID}, run: m.Run, meter: meter,
			lanes: func() (int, int) { return conn.lanes(m.Kind) }, idle: func() bool { return host.InHand(m.Run) == 0 },
		})
		defer ends()
		beside(ctx)
	}
}

// reach opens the connection of one app, with the budget of the fleet.
func (j *job) reach(ctx context.Context) (*connection, error) {
	endpoint, err := j.where()
	if err != nil {
		return nil, err
	}
	if err := j.shareByLedger(); err != nil {
		return nil, err
	}
	return j.connect(ctx, "work", endpoint)
}

// secretKeyVariable is the variable with the key of the app of a profile, where a host
// has several.
func secretKeyVariable(profile string) string {
	plain := func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}
	return secretKeyPrefix + strings.Map(plain, strings.ToUpper(profile))
}

// secretKeyPrefix begins the variables with keys of several apps.
const secretKeyPrefix = "CHATBATCH_SECRET_KEY_"

// secretKeyOf is the key of the app of a profile, where a host has several: from its own
// variable, from the file that its profile names, or from systemd's credential.
func (o *server) secretKeyOf(profile string, getenv func(string) string) (string, error) {
	name := secretKeyVariable(profile)
	if key := strings.TrimSpace(getenv(name)); key != "" {
		return key, nil
	}
	credential, dir := "chatbatch_secret_key_"+profile, getenv("CREDENTIALS_DIRECTORY")
	file, private := o.keyFile, true
	if file == "" && dir != "" && filepath.Base(profile) == profile {
		file, private = filepath.Join(dir, credential), false
	}
	if file == "" {
		return "", usage("no credentials: name the file of this app's key by secret-key-file in the profile, or set %s", name)
	}
	key, err := readPrivate("secret key", file, private)
	if err != nil {
		return "", fmt.Errorf("%w (or set %s)", err, name)
	}
	return key, nil
}

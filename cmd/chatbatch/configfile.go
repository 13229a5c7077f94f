package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"chatbatch/io/ledger"
)

// A config is a configuration file: flags of any commands, and profiles that go before
// them, of which one is used.
type config struct {
	path      string
	flags     []setting
	profiles  map[string][]setting
	profile   string   // that is used; "": none
	several   []string // that are used side by side, by a command that can; profile is the first
	line      int      // on which the file chooses it; 0: it does not
	ofCommand bool     // it, or its profile, was chosen by this command alone
}

// Keys of a configuration file that are no flags of its commands.
const (
	keyProfiles = "profiles"
	keyProfile  = "profile"
	keyConfig   = "config"
)

// parseConfig reads the text of a configuration file. It does not know which flags
// there are, see check.
func parseConfig(text []byte) (*config, error) {
	doc, err := parseYAML(text)
	switch {
	case errors.Is(err, errSecondDocument):
		return nil, fmt.Errorf("%w, which would not be read", err)
	case err != nil:
		return nil, err
	}
	c := &config{profiles: map[string][]setting{}}
	if doc == nil || null(doc) {
		return c, nil
	}
	return c, eachKey(doc, func(key, value *yaml.Node) (err error) {
		switch key.Value {
		case keyProfiles:
			return c.addProfiles(value)
		case keyProfile:
			if value.Kind != yaml.ScalarNode {
				return fmt.Errorf("line %d: %s is not the name of one", value.Line, keyProfile)
			}
			if !null(value) {
				c.profile, c.line = value.Value, key.Line
			}
			return nil
		}
		c.flags, err = addFlag(c.flags, key, value, originConfig)
		return err
	})
}

func null(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func (c *config) addProfiles(node *yaml.Node) error {
	if null(node) {
		return nil
	}
	return eachKey(node, func(name, flags *yaml.Node) error {
		if name.Value == "" {
			return fmt.Errorf("line %d: a profile without a name", name.Line)
		}
		c.profiles[name.Value] = nil
		return eachKey(flags, func(key, value *yaml.Node) (err error) {
			if key.Value == keyProfile || key.Value == keyProfiles {
				return fmt.Errorf("line %d: %s stands at the top of the file, not in a profile", key.Line, key.Value)
			}
			c.profiles[name.Value], err = addFlag(c.profiles[name.Value], key, value, originProfile)
			return err
		})
	})
}

// addFlag adds one flag, unless it is a secret. Its value is not quoted.
func addFlag(flags []setting, key, value *yaml.Node, from origin) ([]setting, error) {
	switch strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(key.Value)) {
	case keyConfig:
		return nil, fmt.Errorf("line %d: a configuration file does not name another one", key.Line)
	case "secretkey", "secret", "key", "appkey", "sdkkey":
		return nil, fmt.Errorf("line %d: %s: the key itself cannot stand here, where others read it: put it into a file of its own, chmod 600 that, and name it by secret-key-file", key.Line, key.Value)
	case "usersig", "sig", "signature":
		return nil, fmt.Errorf("line %d: %s: a signature cannot stand here, where others read it: set CHATBATCH_USERSIG, or name the file of the key by secret-key-file", key.Line, key.Value)
	}
	flags, err := addSetting(flags, key, value)
	if err == nil && !null(value) {
		flags[len(flags)-1].from = from
	}
	return flags, err
}

// lieAt notes where the file lies: names of files in it are relative to that.
func (c *config) lieAt(path string) {
	c.path = path
	c.each(func(s *setting) error {
		s.file = path
		s.resolve(filepath.Dir(path))
		return nil
	})
}

// each calls visit with all settings, those of profiles that are not used included, until
// there is an error.
func (c *config) each(visit func(*setting) error) error {
	all := [][]setting{c.flags}
	for _, name := range slices.Sorted(maps.Keys(c.profiles)) {
		all = append(all, c.profiles[name])
	}
	for _, flags := range all {
		for i := range flags {
			if err := visit(&flags[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// check refuses keys that are no flag of any command, and values that their flags do not
// take. known are the flags of all commands, of a tree that nobody runs: they are set.
func (c *config) check(known *pflag.FlagSet) error {
	return c.each(func(s *setting) error {
		f := known.Lookup(s.name)
		if f == nil {
			return fmt.Errorf("line %d: there is no flag %q%s", s.line, s.name, didYouMean(s.name, append(flagNames(known), keyProfile, keyProfiles)))
		}
		return s.set(known, f)
	})
}

// flagNames are the names of flags that a file or a variable can set.
func flagNames(fs *pflag.FlagSet) (names []string) {
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Name != keyConfig {
			names = append(names, f.Name)
		}
	})
	return names
}

// checkPrivate refuses a file with a secret in an address that others can read.
func (c *config) checkPrivate() error {
	return c.each(func(s *setting) error {
		secret := "a password"
		switch isHook := s.name == "notify-url" && strings.Join(s.values, "") != ""; {
		case isHook:
			secret = "an address that lets write there who has it"
		case !slices.ContainsFunc(s.values, hasPassword):
			return nil
		}
		info, err := os.Stat(c.path)
		if err != nil || runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0 {
			return err
		}
		return fmt.Errorf("line %d: %s has %s, and the file can be read by others (mode %#o); run: chmod 600 %s", s.line, s.name, secret, info.Mode().Perm(), c.path)
	})
}

// hasPassword says whether a text is an address with a password in it.
func hasPassword(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return addressPassword.MatchString(text) // mistyped, it has it all the same
	}
	_, has := u.User.Password()
	return has || isDatabase(text) && u.Query().Has("password")
}

// choose sets the profile that is used: that of the flag, or the one that the file says.
func (c *config) choose(flag *pflag.Flag) error {
	said := fmt.Sprintf("line %d", c.line)
	if flag.Changed {
		c.profile, said = flag.Value.String(), "--"+keyProfile
	}
	if _, ok := c.profiles[c.profile]; ok || c.profile == "" {
		return nil
	}
	there := "it has none"
	if len(c.profiles) > 0 {
		there = "there are: " + strings.Join(slices.Sorted(maps.Keys(c.profiles)), ", ")
	}
	return fmt.Errorf("%s: there is no profile %q; %s", said, c.profile, there)
}

// apply sets the flags of fs that were not set before: from the profile, and behind that
// from the rest of the file. What fs has not is for other commands.
func (c *config) apply(fs *pflag.FlagSet) error {
	if c == nil {
		return nil
	}
	for _, flags := range [][]setting{c.profiles[c.profile], c.flags} {
		var own []setting
		for _, s := range flags {
			if fs.Lookup(s.name) != nil {
				own = append(own, s)
			}
		}
		if err := apply(own, fs); err != nil {
			return usage("%s: %w", c.path, err)
		}
	}
	return nil
}

// value is what the file says of a flag, "" if it says nothing.
func (c *config) value(flag string) string {
	if c == nil {
		return ""
	}
	for _, flags := range [][]setting{c.profiles[c.profile], c.flags} {
		for _, s := range flags {
			if s.name == flag && !s.list {
				return s.values[0]
			}
		}
	}
	return ""
}

// arguments are those by which another command uses the same file and profile, where it
// would not do so by itself.
func (c *config) arguments() string {
	if c == nil || !c.ofCommand {
		return ""
	}
	path, err := filepath.Abs(c.path)
	if err != nil {
		path = c.path
	}
	text := " --config " + quoted(path)
	if c.profile != "" {
		text += " --profile " + quoted(c.profile)
	}
	return text
}

// checkApp refuses to go on with a run of one app by the key of another: what was chosen
// for the run as an argument then has to be chosen again.
func (j *job) checkApp(m ledger.Meta) error {
	app, c := strconv.FormatInt(m.SDKAppID, 10), j.config
	configured := c.value("sdkappid")
	if configured == "" || configured == app || strings.HasPrefix(m.Endpoint, simEndpoint) {
		return nil
	}
	key := j.flags.Lookup("secret-key-file")
	if key == nil {
		return nil // none is needed
	}
	if from := originOf(key); from != originProfile && from != originConfig {
		return nil // the key is not of the file
	}
	advice := "give its key by --secret-key-file"
	for _, name := range slices.Sorted(maps.Keys(c.profiles)) {
		if of := (&config{profiles: c.profiles, profile: name}).value("sdkappid"); of == app {
			advice = "choose --profile " + quoted(name)
			break
		}
	}
	return usage("run %s is of app %s, but the key is of app %s, by %s; %s", m.Run, app, configured, placeOf(j.flags.Lookup("secret-key-file")), advice)
}

// tell says which file the flags come from: it may be one that nobody has named.
func (c *config) tell(log *slog.Logger) {
	if c != nil {
		log.Info("configuration: " + c.String())
	}
}

// String names the file and the profile in use.
func (c *config) String() string {
	switch {
	case len(c.several) > 0:
		return c.path + ", profiles " + strings.Join(c.several, ", ")
	case c.profile == "":
		return c.path
	}
	return c.path + ", profile " + c.profile
}

// completeKind sets those flags of a job in a file that its kind has alone, and that the
// job does not say itself. What the command has too is for all jobs, and set.
func (j *job) completeKind(fs *pflag.FlagSet) error {
	own := pflag.NewFlagSet(j.name, pflag.ContinueOnError)
	fs.VisitAll(func(f *pflag.Flag) {
		if j.flags.Lookup(f.Name) == nil {
			own.AddFlag(f)
		}
	})
	if err := fromEnvironment(own, j.w.getenv); err != nil {
		return err
	}
	return j.config.apply(own)
}

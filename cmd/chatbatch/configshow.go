package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

func configCommand(w world) *cobra.Command {
	return family(
		&cobra.Command{Use: "config", Short: "Look at the values of flags, and where they come from"},
		configShowCommand(w),
	)
}

const configShowHelp = `Show the values of flags, and with --origin where each comes from. Nothing is sent.

  chatbatch config show --origin
  chatbatch config show --origin marks set --region sg
  chatbatch config show --origin --profile test run jobs.yaml

Without a COMMAND it shows what is set anywhere, of the flags of all commands; with
one all flags of that command, as they would be with these arguments.

A flag comes from the first of these that has it:
  1. an argument
  2. the variable CHATBATCH_<FLAG> of the environment
  3. the file of jobs (chatbatch run)
  4. the profile of the configuration file: --profile, CHATBATCH_PROFILE, or its key
     profile
  5. the rest of the configuration file: --config, CHATBATCH_CONFIG, or
     $XDG_CONFIG_HOME/chatbatch/config.yaml
  6. its default
Of --region, --endpoint, --sim and --sim-scenario one that was given stands for all of
them, against a file; so does one of --limiter and --limiter-file.

A configuration file has the names of flags of any commands as keys:

  identifier: administrator
  secret-key-file: /etc/chatbatch/prod.key
  profile: prod                  # that is used if nothing else is said
  profiles:
    prod: {sdkappid: 1400000000, region: sg}
    test: {sdkappid: 1400000001, region: cn, secret-key-file: test.key, qps: 20}

Names of files in it are relative to where it lies. Secrets cannot stand in it.

What is shown is such a file itself. Of secrets it is said where they come from, and
nothing else; of addresses the host is shown, without a password, and of that of a web
hook (--notify-url) nothing.

Exit codes:
  0  shown
  2  usage or configuration`

func configShowCommand(w world) *cobra.Command {
	var origins, asJSON bool
	cmd := &cobra.Command{
		Use:   "show [--origin] [COMMAND [ARGUMENTS]]",
		Short: "Show the values of flags, and where each comes from",
		Long:  configShowHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := fromEnvironment(cmd.Flags(), w.getenv); err != nil {
				return err
			}
			s, err := settle(cmd.Context(), cmd.Flags(), w, args)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(w.stdout).Encode(s)
			} else {
				_, err = io.WriteString(w.stdout, s.text(origins))
			}
			if err != nil {
				return fmt.Errorf("print configuration: %w", err)
			}
			for _, text := range unknownVariables(w, cmd.Flags()) {
				fmt.Fprintln(w.stderr, "chatbatch: "+text)
			}
			return nil
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.SetInterspersed(false) // what stands behind COMMAND is its own
	fs.BoolVar(&origins, "origin", false, "show where each value comes from")
	fs.BoolVar(&asJSON, "json", false, "print one JSON object, with origins")
	return cmd
}

// shownConfig is what `config show` shows.
type shownConfig struct {
	Command  string        `json:"command,omitempty"`  // "": all of them
	Config   string        `json:"config,omitempty"`   // the file in use
	Usual    string        `json:"usual,omitempty"`    // where it would lie, if there is none
	Profile  string        `json:"profile,omitempty"`  // that is in use
	Profiles []string      `json:"profiles,omitempty"` // that there are
	Flags    []shownFlag   `json:"flags"`
	Secrets  []shownSecret `json:"secrets"`
}

type shownFlag struct {
	Name   string   `json:"name"`
	Value  string   `json:"value"`
	Values []string `json:"values,omitempty"` // of a list, instead of Value
	Origin string   `json:"origin"`           // "default" included
	Place  string   `json:"place,omitempty"`  // variable, or FILE:LINE

	plain bool // it is a number or a boolean
}

type shownSecret struct {
	Name string `json:"name"`
	From string `json:"from"` // "": it is not set
}

// originDefault is how the origin of a flag is shown that nobody has set.
const originDefault = "default"

// settle finds the values that the flags of the command in args have, or of all commands.
// given are the flags of this command itself: they say which file and profile.
func settle(ctx context.Context, given *pflag.FlagSet, w world, args []string) (*shownConfig, error) {
	target, rest, err := targetOf(rootCommand(w), args)
	if err != nil {
		return nil, err
	}
	target.SetContext(ctx)
	if err := passOn(given, target.Flags()); err != nil {
		return nil, err
	}
	if target.Name() == "run" && len(rest) == 1 {
		if err := completeRun(target, rest[0], w); err != nil {
			return nil, err
		}
	}
	c, err := completeFlags(target, w)
	if err != nil {
		return nil, withPlaces(target.Flags(), err)
	}
	if c != nil && len(c.several) > 0 {
		return nil, usage("--profiles: one app is shown at a time, by --profile %s", quoted(c.profile))
	}
	return shown(target, c, len(args) == 0, w.getenv), nil
}

// passOn gives the file and the profile of this command to the one that is shown, unless
// that has its own.
func passOn(given, to *pflag.FlagSet) error {
	for _, name := range []string{keyConfig, keyProfile} {
		own, its := given.Lookup(name), to.Lookup(name)
		if !own.Changed || its.Changed {
			continue
		}
		if from := originOf(own); from != originArgument {
			came(its, from, placeOf(own))
		}
		if err := to.Set(name, own.Value.String()); err != nil {
			return err
		}
	}
	return nil
}

// completeRun sets the flags that `run` has before its configuration: from the
// environment and the file of jobs.
func completeRun(target *cobra.Command, name string, w world) error {
	if err := fromEnvironment(target.Flags(), w.getenv); err != nil {
		return err
	}
	jobs, err := readJobFile(target.Context(), name, w.stdin)
	if err != nil {
		return err
	}
	if err := apply(jobs.flags, target.Flags()); err != nil {
		return usage("%s: %w", name, err)
	}
	return nil
}

// targetOf finds the command that args begin with in a tree that nobody runs, and reads
// its flags. It returns the arguments of that command. Without args the command is one
// with the flags of all of them.
func targetOf(tree *cobra.Command, args []string) (*cobra.Command, []string, error) {
	if len(args) == 0 {
		all := &cobra.Command{Use: tree.Name()}
		all.Flags().SortFlags = false
		all.Flags().AddFlagSet(flagsOf(tree))
		return all, nil, nil
	}
	target, rest, err := tree.Find(args)
	if err != nil || target == tree || target.HasSubCommands() {
		return nil, nil, usage("there is no command %q; give one as it is given to chatbatch, e.g.: chatbatch config show marks set", strings.Join(args, " "))
	}
	if err := target.ParseFlags(rest); err != nil {
		return nil, nil, usage("%w; see: %s --help", err, target.CommandPath())
	}
	return target, target.Flags().Args(), nil
}

// shown collects the flags of a command, or only those that are set.
func shown(target *cobra.Command, c *config, onlySet bool, getenv func(string) string) *shownConfig {
	s := &shownConfig{Flags: []shownFlag{}, Secrets: secretsOf(target.Flags(), getenv)}
	if !onlySet {
		s.Command = strings.TrimPrefix(target.CommandPath(), "chatbatch ")
	}
	if c != nil {
		s.Config, s.Profile, s.Profiles = c.path, c.profile, slices.Sorted(maps.Keys(c.profiles))
	} else {
		s.Usual = usualConfig(getenv)
	}
	target.Flags().VisitAll(func(f *pflag.Flag) {
		v := shownOf(f, c)
		isSet := v.Origin != originDefault || f.Name == keyConfig && c != nil
		if f.Name != "help" && (isSet || !onlySet) {
			s.Flags = append(s.Flags, v)
		}
	})
	return s
}

// shownOf is a flag with its value and its origin. The two that say which file and
// profile are in use show that, whatever has said so.
func shownOf(f *pflag.Flag, c *config) shownFlag {
	s := shownFlag{Name: f.Name, Value: masked(f.Name, f.Value.String()), Origin: string(originOf(f)), Place: placeOf(f)}
	if s.Origin == "" {
		s.Origin = originDefault
	}
	switch f.Value.Type() {
	case "bool", "int", "int64", "uint64", "float64":
		s.plain = true
	}
	if list, ok := f.Value.(pflag.SliceValue); ok {
		s.Value, s.Values = "", []string{}
		for _, item := range list.GetSlice() {
			s.Values = append(s.Values, masked(f.Name, item))
		}
	}
	switch {
	case c == nil || f.Changed:
	case f.Name == keyConfig:
		s.Value, s.Origin = c.path, originDefault
	case f.Name == keyProfile && c.profile != "":
		s.Value, s.Origin, s.Place = c.profile, string(originConfig), fmt.Sprintf("%s:%d", c.path, c.line)
	}
	return s
}

// masked is a value without what may be secret in it: the password of an address, and,
// but for the API's own and that of a database, all behind its host. Services are known
// that take who knows the path for somebody they know.
func masked(flag, text string) string {
	if flag == "notify-url" && text != "" || flag == "limiter" && checkLimiter("", text) != nil || flag == "ledger" && checkLedgerText("", text) != nil {
		return "…" // a secret as a whole; mistyped, it has its password all the same
	}
	scheme, _, isAddress := strings.Cut(text, "://")
	if !isAddress {
		return text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return scheme + "://…" // the same
	}
	out := scheme + "://"
	if name := u.User.Username(); name != "" {
		out += name + "@"
		if _, has := u.User.Password(); has {
			out = scheme + "://" + name + ":…@"
		}
	}
	out += u.Host
	switch {
	case isDatabase(text):
		out += u.Path
		if u.RawQuery != "" {
			out += "?…"
		}
	case flag == "endpoint":
		out += u.Path
	case u.Path != "" && u.Path != "/" || u.RawQuery != "":
		out += "/…"
	}
	return out
}

// secretsOf says where the secrets come from that a command uses, and nothing of them.
func secretsOf(fs *pflag.FlagSet, getenv func(string) string) []shownSecret {
	if fs.Lookup("secret-key-file") == nil {
		return []shownSecret{}
	}
	key := shownSecret{Name: "secret key"}
	file, dir := fs.Lookup("secret-key-file").Value.String(), getenv("CREDENTIALS_DIRECTORY")
	switch {
	case getenv("CHATBATCH_USERSIG") != "":
		key = shownSecret{Name: "UserSig", From: "CHATBATCH_USERSIG"}
	case strings.TrimSpace(getenv("CHATBATCH_SECRET_KEY")) != "":
		key.From = "CHATBATCH_SECRET_KEY"
	case file != "":
		key.From = file
	case dir != "":
		key.From = filepath.Join(dir, "chatbatch_secret_key")
	}
	all := []shownSecret{key}
	for flag, file := range map[string]string{"limiter": "chatbatch_limiter", "notify-url": "chatbatch_notify_url"} {
		f, name := fs.Lookup(flag), filepath.Join(dir, file)
		if f == nil || f.Changed || fs.Changed(flag+"-file") || dir == "" {
			continue
		}
		if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
			all = append(all, shownSecret{Name: flag, From: name})
		}
	}
	slices.SortFunc(all[1:], func(a, b shownSecret) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// text shows the flags as a file of them; what they come from is a comment.
func (s *shownConfig) text(origins bool) string {
	var b strings.Builder
	if s.Usual != "" {
		fmt.Fprintf(&b, "# config: none; the usual one would be %s\n", s.Usual)
	}
	if len(s.Profiles) > 0 {
		fmt.Fprintf(&b, "# profiles: %s\n", strings.Join(s.Profiles, ", "))
	}
	var lines [][2]string
	widest := 0
	for _, f := range s.Flags {
		if s.Config == "" && f.Value == "" && (f.Name == keyConfig || f.Name == keyProfile) {
			continue
		}
		line := f.Name + ": " + f.yaml()
		if f.Name == keyConfig || f.Name == keyProfile {
			line = "# " + line // of the file that they are of
		}
		lines = append(lines, [2]string{line, strings.TrimSpace(f.Origin + " " + s.place(f))})
		widest = max(widest, utf8.RuneCountInString(line))
	}
	for _, l := range lines {
		b.WriteString(l[0])
		if origins {
			b.WriteString(strings.Repeat(" ", widest-utf8.RuneCountInString(l[0])) + "  # " + l[1])
		}
		b.WriteByte('\n')
	}
	for _, secret := range s.Secrets {
		if secret.From == "" {
			fmt.Fprintf(&b, "# %s: not set\n", secret.Name)
		} else {
			fmt.Fprintf(&b, "# %s: set, from %s\n", secret.Name, secret.From)
		}
	}
	return b.String()
}

// place is where a flag is set, with the name of its profile.
func (s *shownConfig) place(f shownFlag) string {
	if f.Origin == string(originProfile) {
		return s.Profile + ", " + f.Place
	}
	return f.Place
}

// yaml is the value as it stands in a file.
func (f shownFlag) yaml() string {
	if f.plain {
		return f.Value
	}
	var value any = f.Value
	if f.Values != nil {
		n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, item := range f.Values {
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: item})
		}
		value = n
	}
	text, err := yaml.Marshal(value)
	if err != nil {
		return fmt.Sprintf("%q", f.Value)
	}
	return strings.TrimSpace(string(text))
}

package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/adrg/xdg"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// addConfig adds the flags that say which configuration file is used; all commands
// have them.
func addConfig(fs *pflag.FlagSet) {
	fs.String(keyConfig, "", "file of flags, in YAML (default $XDG_CONFIG_HOME/chatbatch/config.yaml, if it is there); --config= reads none")
	fs.String(keyProfile, "", "profile of that file: one of several apps")
}

// completeFlags sets the flags of cmd that were not given: from the environment, and behind
// that from the configuration file, which is nil if there is none.
func completeFlags(cmd *cobra.Command, w world) (*config, error) {
	if err := fromEnvironment(cmd.Flags(), w.getenv); err != nil {
		return nil, err
	}
	c, err := readConfig(cmd, w)
	if err != nil {
		return nil, err
	}
	return c, c.apply(cmd.Flags())
}

// readConfig reads the configuration file that cmd is to use, and chooses its profile.
func readConfig(cmd *cobra.Command, w world) (*config, error) {
	name, profile := cmd.Flags().Lookup(keyConfig), cmd.Flags().Lookup(keyProfile)
	c, err := loadConfig(cmd, w)
	if err != nil {
		return nil, err
	}
	several, err := severalOf(cmd.Flags())
	switch {
	case err != nil:
		return nil, err
	case c == nil && len(several) > 0:
		return nil, usage("--profiles %s: there is no configuration file to have them; name one by --config", strings.Join(several, ","))
	case c == nil:
		// Who wants no file wants no profile, unless it was said in the same breath.
		if profile.Value.String() != "" && (!name.Changed || originOf(profile) == originArgument) {
			return nil, usage("--profile %s: there is no configuration file to have it; name one by --config", profile.Value)
		}
		return nil, nil
	}
	err = c.checkPrivate()
	if err == nil {
		err = c.check(flagsOf(rootCommand(w)))
	}
	switch {
	case err != nil:
	case len(several) > 0:
		err = c.chooseSeveral(several)
	default:
		err = c.choose(profile)
	}
	if err != nil {
		return nil, usage("%s: %w", c.path, err)
	}
	c.ofCommand = ofCommand(name) || ofCommand(profile)
	return c, nil
}

// severalOf are the profiles of a command that is to work for several apps.
func severalOf(fs *pflag.FlagSet) ([]string, error) {
	f := fs.Lookup(keyProfiles)
	if f == nil || !f.Changed {
		return nil, nil
	}
	if fs.Lookup(keyProfile).Changed {
		return nil, usage("give --profile or --profiles, not both")
	}
	return f.Value.(pflag.SliceValue).GetSlice(), nil // its own type
}

// loadConfig reads the configuration file that cmd is to use, nil if there is none.
func loadConfig(cmd *cobra.Command, w world) (*config, error) {
	path, err := configPath(cmd.Flags().Lookup(keyConfig), w.getenv)
	if err != nil || path == "" {
		return nil, err
	}
	text, err := readSmall(cmd.Context(), path, nil, maxJobFile)
	switch {
	case cmd.Context().Err() != nil:
		return nil, context.Cause(cmd.Context())
	case err != nil:
		return nil, usage("read configuration: %w (--config= reads none)", err)
	}
	c, err := parseConfig(text)
	if err != nil {
		return nil, usage("%s: %w", path, err)
	}
	c.lieAt(path)
	return c, nil
}

// ofCommand says that a flag was set by this very command: the next one will not know.
func ofCommand(f *pflag.Flag) bool {
	return originOf(f) == originArgument || originOf(f) == originJobFile
}

// configPath is the file that --config names, or the usual one if that is there, or "".
func configPath(name *pflag.Flag, getenv func(string) string) (string, error) {
	if name.Changed {
		if name.Value.String() == "-" {
			return "", usage("--config -: give the name of a file: those in it are relative to where it lies")
		}
		return name.Value.String(), nil
	}
	path := usualConfig(getenv)
	if path == "" {
		return "", nil
	}
	switch _, err := os.Stat(path); {
	case err == nil:
		return path, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrPermission):
		return "", nil // who may not even look there, under sudo say, has put nothing there
	default:
		// It may be there. To go on without it might mean another app.
		return "", usage("read configuration: %w (--config= reads none)", err)
	}
}

// usualConfig is where the configuration file lies that nobody has named, "" for a
// user without a home.
func usualConfig(getenv func(string) string) string {
	if dir := getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "chatbatch", "config.yaml")
	}
	if runtime.GOOS == "windows" || filepath.IsAbs(getenv("HOME")) {
		return filepath.Join(xdg.ConfigHome, "chatbatch", "config.yaml")
	}
	return ""
}

// flagsOf are the flags of all commands below tree, by name. Where several have one of
// the same name, it is that of the first.
func flagsOf(tree *cobra.Command) *pflag.FlagSet {
	all := pflag.NewFlagSet(tree.Name(), pflag.ContinueOnError)
	all.SortFlags = false
	add := func(f *pflag.Flag) {
		if all.Lookup(f.Name) == nil && f.Name != "help" && f.Name != "version" {
			alone := *f
			alone.Shorthand = "" // two commands may mean different things by it
			all.AddFlag(&alone)
		}
	}
	var walk func(cmd *cobra.Command, having string)
	walk = func(cmd *cobra.Command, having string) {
		if having == "" || cmd.Flags().Lookup(having) != nil {
			cmd.Flags().VisitAll(add)
			cmd.PersistentFlags().VisitAll(add)
		}
		for _, member := range cmd.Commands() {
			walk(member, having)
		}
	}
	tree.PersistentFlags().VisitAll(add)
	walk(tree, "sdkappid") // which app it is comes first, whatever commands are called
	walk(tree, "")
	return all
}

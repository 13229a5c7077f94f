package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// An origin is where the value of a flag comes from; "" is its default.
type origin string

const (
	originArgument    origin = "argument"
	originEnvironment origin = "environment"
	originJobFile     origin = "job file"
)

// originKey is the annotation of a flag that was not set by an argument.
const originKey = "chatbatch_origin"

// came notes that a flag was set by something else than an argument.
func came(f *pflag.Flag, from origin) {
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[originKey] = []string{string(from)}
}

// originOf is where the value of a flag comes from.
func originOf(f *pflag.Flag) origin {
	if !f.Changed {
		return ""
	}
	if note := f.Annotations[originKey]; len(note) > 0 {
		return origin(note[0])
	}
	return originArgument
}

// variable is the variable of the environment that sets a flag.
func variable(flag string) string {
	return "CHATBATCH_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// flagName finds the names of flags in an error.
var flagName = regexp.MustCompile(`--([a-z]+(?:-[a-z]+)*)`)

// fromVariables adds to an error of usage which of the flags that it names nobody has
// given, but the environment.
func fromVariables(flags *pflag.FlagSet, err error) error {
	if err == nil || codeOf(err) != exitUsage {
		return err
	}
	var names []string
	for _, found := range flagName.FindAllStringSubmatch(err.Error(), -1) {
		f := flags.Lookup(found[1])
		if f == nil || originOf(f) != originEnvironment || slices.Contains(names, variable(f.Name)) {
			continue
		}
		names = append(names, variable(f.Name))
	}
	if len(names) == 0 || strings.Contains(err.Error(), names[0]) {
		return err
	}
	return &codedError{exitUsage, fmt.Errorf("%w (by %s)", err, strings.Join(names, ", "))}
}

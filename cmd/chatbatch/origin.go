package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// An origin is where the value of a flag comes from; "" is its default. Each one goes
// before those below it.
type origin string

const (
	originArgument    origin = "argument"
	originEnvironment origin = "environment"
	originJobFile     origin = "job file"
	originProfile     origin = "profile"
	originConfig      origin = "configuration"
)

// originKey is the annotation of a flag that was not set by an argument: its origin,
// and the place there: the variable, or FILE:LINE.
const originKey = "chatbatch_origin"

// came notes that a flag was set by something else than an argument.
func came(f *pflag.Flag, from origin, place string) {
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[originKey] = []string{string(from), place}
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

// placeOf is the variable or FILE:LINE that has set a flag, "" if none of them has.
func placeOf(f *pflag.Flag) string {
	if note := f.Annotations[originKey]; f.Changed && len(note) > 1 {
		return note[1]
	}
	return ""
}

// variable is the variable of the environment that sets a flag.
func variable(flag string) string {
	return "CHATBATCH_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// flagName finds the names of flags in an error.
var flagName = regexp.MustCompile(`--([a-z]+(?:-[a-z]+)*)`)

// withPlaces adds to an error of usage where those of the flags that it names come from
// that were not given as arguments.
func withPlaces(flags *pflag.FlagSet, err error) error {
	if _, placed := errors.AsType[placedError](err); err == nil || placed || codeOf(err) != exitUsage {
		return err
	}
	var places []string
	for _, found := range flagName.FindAllStringSubmatch(err.Error(), -1) {
		f := flags.Lookup(found[1])
		if f == nil || placeOf(f) == "" || slices.Contains(places, placeOf(f)) {
			continue
		}
		places = append(places, placeOf(f))
	}
	if len(places) == 0 || strings.Contains(err.Error(), places[0]) {
		return err
	}
	return &codedError{exitUsage, fmt.Errorf("%w (by %s)", err, strings.Join(places, ", "))}
}

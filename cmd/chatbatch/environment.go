package main

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// fromEnvironment sets flags that were not given from CHATBATCH_<FLAG>. Who is to
// share the budget has two flags, and so have who is told of the end and where runs are
// kept: one that was given stands for both.
func fromEnvironment(fs *pflag.FlagSet, getenv func(string) string) error {
	var errs []error
	before := changed(fs)
	fs.VisitAll(func(f *pflag.Flag) {
		name := variable(f.Name)
		text := getenv(name)
		if f.Changed || text == "" || f.Name == "help" || anyOf(limiterFlags(), f.Name, before) || anyOf(notifyFlags(), f.Name, before) || anyOf(ledgerFlags(), f.Name, before) || anyOf(profileFlags(), f.Name, before) {
			return
		}
		came(f, originEnvironment, name)
		if err := fs.Set(f.Name, text); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	})
	if len(errs) > 0 {
		return &codedError{exitUsage, errors.Join(errs...)}
	}
	return nil
}

// variablePrefix is how the variables begin that are ours.
const variablePrefix = "CHATBATCH_"

// secretVariables are those that are no flags: they hold secrets.
func secretVariables() []string {
	return []string{"CHATBATCH_SECRET_KEY", "CHATBATCH_USERSIG"}
}

// testPrefix is how the variables begin that say what the program's own tests may leave
// out.
const testPrefix = "CHATBATCH_TEST_"

// unknownVariables are variables of ours that are set and mean nothing, each with the
// one that may have been meant. A mistyped one would be ignored in silence. What they are
// set to is not looked at: it may be the key. own are the flags of the command: mostly
// they have them all, and the other commands need not be made to ask theirs.
func unknownVariables(w world, own *pflag.FlagSet) (unknown []string) {
	if w.environ == nil {
		return nil
	}
	known := append(secretVariables(), variables(own)...)
	var others []string
	for _, entry := range w.environ() {
		name, value, _ := strings.Cut(entry, "=")
		if value != "" && strings.HasPrefix(name, variablePrefix) && !strings.HasPrefix(name, testPrefix) && !slices.Contains(known, name) {
			others = append(others, name)
		}
	}
	if len(others) == 0 {
		return nil
	}
	known = append(known, variables(flagsOf(rootCommand(w)))...)
	slices.Sort(others)
	for _, name := range others {
		if !slices.Contains(known, name) && !isKeyOfProfile(name) {
			unknown = append(unknown, name+" is set, and means nothing"+didYouMean(name, known))
		}
	}
	return unknown
}

// isKeyOfProfile says whether a variable may hold the key of one of several apps: any name
// can be that of a profile, but one that is nearly --secret-key-file is mistyped.
func isKeyOfProfile(name string) bool {
	return strings.HasPrefix(name, secretKeyPrefix) && distance(name, variable("secret-key-file")) > 2
}

// variables are those that set flags.
func variables(fs *pflag.FlagSet) (names []string) {
	fs.VisitAll(func(f *pflag.Flag) { names = append(names, variable(f.Name)) })
	return names
}

// warnOfVariables tells of variables that mean nothing.
func warnOfVariables(log *slog.Logger, w world, own *pflag.FlagSet) {
	for _, text := range unknownVariables(w, own) {
		log.Warn(text)
	}
}

// didYouMean proposes the name that is nearest to one that is not known, if it is near.
func didYouMean(name string, known []string) string {
	best, least := "", 1+max(2, len(name)/4)
	for _, k := range known {
		if d := distance(plainName(name), plainName(k)); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// plainName is a name without what is mixed up most: case, - and _.
func plainName(name string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(name))
}

// distance is how many letters must be put in, taken out or replaced to make b of a
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

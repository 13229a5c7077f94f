package main

import "github.com/spf13/pflag"

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

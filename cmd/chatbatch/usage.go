package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// sectionKey is the annotation of a flag with the section of the help in which it
// stands.
const sectionKey = "chatbatch_section"

// section adds flags that belong together: the help shows them under a title.
func section(fs *pflag.FlagSet, title string, add func(*pflag.FlagSet)) {
	part := pflag.NewFlagSet(title, pflag.ContinueOnError)
	part.SortFlags = false
	add(part)
	part.VisitAll(func(f *pflag.Flag) {
		if len(f.Annotations[sectionKey]) == 0 { // it is in no section of this one
			_ = part.SetAnnotation(f.Name, sectionKey, []string{title})
		}
	})
	fs.AddFlagSet(part)
}

// sectionsOf are the flags of a command by section, in the order in which they were
// added. Those in none come last.
func sectionsOf(cmd *cobra.Command) []*pflag.FlagSet {
	var all []*pflag.FlagSet
	byTitle := map[string]*pflag.FlagSet{}
	place := func(title string) *pflag.FlagSet {
		part := byTitle[title]
		if part == nil {
			part = pflag.NewFlagSet(title, pflag.ContinueOnError)
			part.SortFlags = false
			byTitle[title] = part
			all = append(all, part)
		}
		return part
	}
	rest := pflag.NewFlagSet("Flags", pflag.ContinueOnError)
	rest.SortFlags = false
	for _, fs := range []*pflag.FlagSet{cmd.LocalFlags(), cmd.InheritedFlags()} {
		fs.VisitAll(func(f *pflag.Flag) {
			if title := f.Annotations[sectionKey]; len(title) > 0 {
				place(title[0]).AddFlag(f)
			} else {
				rest.AddFlag(f)
			}
		})
	}
	return append(all, rest)
}

// usageOf says how a command is used: what stands under it, and its flags by section. The
// lines are as wide as the screen, at most 120.
func usageOf(screen io.Writer) func(*cobra.Command) error {
	return func(cmd *cobra.Command) error {
		width, _ := sizeOf(screen)
		if width == 0 {
			width = 100
		}
		_, err := io.WriteString(cmd.OutOrStderr(), usageText(cmd, min(max(width, 60), 120)))
		return err
	}
}

func usageText(cmd *cobra.Command, width int) string {
	var b strings.Builder
	if !cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "Usage:\n  %s\n", cmd.UseLine())
	} else {
		fmt.Fprintf(&b, "Usage:\n  %s [command]\n\nCommands:\n", cmd.CommandPath())
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %-*s %s\n", sub.NamePadding(), sub.Name(), sub.Short)
			}
		}
	}
	for _, part := range sectionsOf(cmd) {
		if part.HasAvailableFlags() {
			fmt.Fprintf(&b, "\n%s:\n%s", part.Name(), part.FlagUsagesWrapped(width))
		}
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\nMore of each: %s [command] --help\n", cmd.CommandPath())
	}
	return b.String()
}

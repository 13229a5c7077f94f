package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

func versionCommand(w world) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, and what it was built from",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(w.stdout, cmd.Root().Version)
			return err
		},
	}
}

// version is the module's version from the build: a tag, or a pseudo-version with time
// and commit, and +dirty if there were changes; (devel) where the build knew no commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknownVersion
	}
	return versionOf(info)
}

// unknownVersion is that of a build without any information.
const unknownVersion = "(unknown)"

func versionOf(info *debug.BuildInfo) string {
	if info.Main.Version == "" {
		return unknownVersion
	}
	return info.Main.Version
}

// versionText is what is known of the build, for people.
func versionText(info *debug.BuildInfo) string {
	var b strings.Builder
	fmt.Fprintf(&b, "chatbatch %s\n", versionOf(info))
	set := map[string]string{}
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	if commit := set["vcs.revision"]; commit != "" {
		fmt.Fprintf(&b, "commit %s of %s", commit, set["vcs.time"])
		if set["vcs.modified"] == "true" {
			b.WriteString(", with changes that were not committed")
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "%s %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return b.String()
}

// builtFrom is versionText of this program.
func builtFrom() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return versionText(info)
}

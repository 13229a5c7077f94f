package main

import (
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"chatbatch/cmd/chatbatch/manual"
)

// manCommand is for those who pack the program: it is no part of its help.
func manCommand(w world) *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the man pages into a directory",
		Long:   "Write the man pages into a directory. Their date is SOURCE_DATE_EPOCH, or today.",
		Args:   cobra.ExactArgs(1),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			date := time.Now()
			if text := w.getenv("SOURCE_DATE_EPOCH"); text != "" {
				epoch, err := strconv.ParseInt(text, 10, 64)
				if err != nil {
					return usage("SOURCE_DATE_EPOCH %q: it is a number of seconds", text)
				}
				date = time.Unix(epoch, 0)
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return ofPlace("make the directory of the man pages: %w", err)
			}
			return manual.Manual{Date: date.UTC(), Version: "chatbatch " + version()}.Write(cmd.Root(), args[0])
		},
	}
}

package main

import (
	"context"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// run is the program: it returns the exit code.
func run(ctx context.Context, args []string, w world) int {
	root := rootCommand(w)
	root.SetArgs(args)
	root.SetIn(w.stdin)
	root.SetOut(w.stdout)
	root.SetErr(w.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	return exitCode(fromVariables(cmd.Flags(), cutShort(ctx, err)), w.stderr)
}

func rootCommand(w world) *cobra.Command {
	root := &cobra.Command{
		Use:   "chatbatch",
		Short: "Bulk jobs against the server REST API of Tencent Cloud Chat",
		Long: `chatbatch runs bulk jobs against the server REST API of Tencent Cloud Chat, inside
one budget of calls a second, and says of every row what became of it.

Every flag can be set as CHATBATCH_<FLAG> in the environment. Credentials are the
secret key in CHATBATCH_SECRET_KEY, --secret-key-file, or a ready UserSig in
CHATBATCH_USERSIG. To try it without a server: chatbatch demo`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w; see: %s --help", err, cmd.CommandPath())
	})
	root.AddCommand(
		marksCommand(w), unreadCommand(w), exportCommand(w), runCommand(w),
		resumeCommand(w), retryCommand(w), reportCommand(w), runsCommand(w), simCommand(w), demoCommand(w),
		limiterCommand(w), migrateCommand(w), submitCommand(w), workCommand(w), pauseCommand(w), cancelCommand(w),
	)
	return root
}

// family makes the command that others stand under.
func family(cmd *cobra.Command, members ...*cobra.Command) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) > 0 && isDatabase(args[0]): // its password is not for the screen
			return usage("unknown command for %q; see: %s --help", cmd.CommandPath(), cmd.CommandPath())
		case len(args) > 0:
			return usage("unknown command %q for %q; see: %s --help", args[0], cmd.CommandPath(), cmd.CommandPath())
		}
		return cmd.Help()
	}
	cmd.AddCommand(members...)
	return cmd
}

// version is the module's version from the build.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown)"
	}
	return info.Main.Version
}

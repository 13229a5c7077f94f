package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// run is the program: it returns the exit code.
func run(ctx context.Context, args []string, w world) int {
	w.ending = &ending{}
	stop := context.AfterFunc(ctx, func() { w.ending.stopped.Store(time.Now().UnixNano()) })
	defer stop()
	root := rootCommand(w)
	if completing(args) {
		if err := complete(root, w); err != nil {
			return exitCode(err, w.stderr)
		}
	}
	root.SetArgs(args)
	root.SetIn(w.stdin)
	root.SetOut(w.stdout)
	root.SetErr(w.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	err = withPlaces(cmd.Flags(), cutShort(ctx, err))
	code := exitCode(err, w.stderr)
	w.ending.tell(ctx, cmd, w, code, err)
	w.ending.kept.close() // it has been told there, too, what a web hook was not told
	return code
}

func rootCommand(w world) *cobra.Command {
	root := &cobra.Command{
		Use:   "chatbatch",
		Short: "Bulk jobs against the server REST API of Tencent Cloud Chat",
		Long: `chatbatch runs bulk jobs against the server REST API of Tencent Cloud Chat, inside
one budget of calls a second, and says of every row what became of it.

Every flag can be set as CHATBATCH_<FLAG> in the environment, and in a configuration
file; chatbatch config show says where each value comes from. Credentials are the
secret key in CHATBATCH_SECRET_KEY, --secret-key-file, or a ready UserSig in
CHATBATCH_USERSIG; chatbatch check tries them. To try all without a server:
chatbatch demo`,
		Version:       builtFrom(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("{{.Version}}")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w; see: %s --help", err, cmd.CommandPath())
	})
	root.SetUsageFunc(usageOf(w.stdout))
	section(root.PersistentFlags(), "Configuration", addConfig)
	root.AddCommand(
		marksCommand(w), unreadCommand(w), exportCommand(w), runCommand(w),
		resumeCommand(w), retryCommand(w), reportCommand(w), runsCommand(w), simCommand(w), demoCommand(w),
		limiterCommand(w), migrateCommand(w), configCommand(w), checkCommand(w), versionCommand(w), manCommand(w),
		submitCommand(w), workCommand(w), pauseCommand(w), cancelCommand(w),
		scheduleCommand(w),
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

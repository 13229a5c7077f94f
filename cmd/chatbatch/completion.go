package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
	"chatbatch/io/notify"
	"chatbatch/jobs"
)

// completing says whether these are the arguments of a shell that wants to know what
// may stand where its user has pressed the tab key.
func completing(args []string) bool {
	return len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

// complete tells the commands under cmd what may stand in their arguments and flags.
// Only a shell asks for it: no other command pays for the tables.
func complete(cmd *cobra.Command, w world) error {
	for _, c := range cmd.Commands() {
		if err := complete(c, w); err != nil {
			return err
		}
	}
	if cmd.ValidArgsFunction == nil && !cmd.HasSubCommands() {
		cmd.ValidArgsFunction = argumentsOf(cmd, w)
	}
	var err error
	register := func(f *pflag.Flag) {
		if err == nil && f.Name != "help" {
			err = cmd.RegisterFlagCompletionFunc(f.Name, valuesOf(f, w))
		}
	}
	cmd.Flags().VisitAll(register)
	cmd.PersistentFlags().VisitAll(register)
	return err
}

// argumentsOf completes the argument of a command: none of ours has two.
func argumentsOf(cmd *cobra.Command, w world) cobra.CompletionFunc {
	var values cobra.CompletionFunc
	switch path := strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" "); path {
	case "run":
		values = filesOf("yaml", "yml")
	case "resume":
		values = runsThat(w, ledger.Info.Waits)
	case "retry", "submit retry":
		values = runsThat(w, func(i ledger.Info) bool { return i.Err == nil && i.Books.Failed > 0 })
	case "report", "runs show":
		values = runsThat(w, func(i ledger.Info) bool { return i.Err == nil })
	default:
		if kinds()[path].make == nil {
			return cobra.NoFileCompletions
		}
		values = filesOf("csv", "tsv", "txt", "jsonl", "ndjson", "xlsx", "gz", "zst")
	}
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return values(cmd, args, typed)
	}
}

// valuesOf completes the value of a flag.
func valuesOf(f *pflag.Flag, w world) cobra.CompletionFunc {
	values := flagValues()[f.Name]
	switch {
	case f.Name == "class":
		return classesOf(w)
	case f.Name == "runs-dir":
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		}
	case f.Name == keyProfile:
		return profilesOf(w)
	case f.Name == keyProfiles:
		return severalProfilesOf(w)
	case f.Name == "scenario" || f.Name == "sim-scenario" || f.Name == keyConfig:
		return filesOf("yaml", "yml")
	case namesFile(f.Name):
		return anyFile
	case f.Value.Type() == "stringSlice":
		return listOf(values)
	}
	return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
}

// flagValues are the words that flags know, with what they mean behind a tab.
func flagValues() map[string][]string {
	return map[string][]string{
		"region":        chat.Regions(),
		"qps-scope":     {"app\tone budget for all calls", "api\ta budget for each API"},
		"limiter":       {limiterHost + "\tall processes of this user", limiterMemory + "\tthis process alone"},
		"if-locked":     {"wait\tfor its end", "skip\texit code 0", "fail\texit code 75", "exit:\tanother exit code"},
		"log-format":    {"text", "json"},
		"log-level":     {"debug", "info", "warn", "error"},
		"notify-format": notify.Formats(),
		"encoding":      {"utf-8", "gb18030", "gbk", "big5", "utf-16le", "utf-16be", "shift_jis", "euc-kr", "windows-1252"},
		"delimiter":     {"comma", "semicolon", "tab", "bar"},
		"format":        {"csv", "jsonl", "xlsx", "csv.gz", "csv.zst", "jsonl.gz", "jsonl.zst"},
		"roles":         jobs.Roles(),
		"fields":        {"role", "join_time", "msg_seq", "msg_flag", "last_send_msg_time", "mute_until", "name_card", "online_status"},
		"group-type":    {"Public", "Private", "ChatRoom", "AVChatRoom", "Community"},
		"max-errors":    {"5%"},
		"max-bad-rows":  {"10%"},
		"share":         {"1/2", "1/3", "60%"},
	}
}

// anyFile leaves it to the shell, which knows the files.
func anyFile(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// filesOf completes the names of files that end in one of these.
func filesOf(endings ...string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return endings, cobra.ShellCompDirectiveFilterFileExt
	}
}

// listOf completes the last of several words with commas between them.
func listOf(words []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return behindComma(typed, words), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// behindComma puts what has been typed up to the last comma before each word that is
// not in it yet.
func behindComma(typed string, words []string) []string {
	before := typed[:strings.LastIndex(typed, ",")+1]
	had := strings.Split(before, ",")
	var all []string
	for _, word := range words {
		if name, _, _ := strings.Cut(word, "\t"); !slices.Contains(had, name) {
			all = append(all, before+word)
		}
	}
	return all
}

// runsThat completes the runs of this host for which it says yes, the newest first.
func runsThat(w world, yes func(ledger.Info) bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		var names []string
		if s, ok := storeOf(cmd, w); ok {
			infos, err := s.List(cmd.Context())
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			for _, i := range slices.Backward(infos) {
				if yes(i) {
					names = append(names, fmt.Sprintf("%s\t%s %s, %s, %d of %d rows failed", i.Run, i.Meta.Kind, brief(i.Meta.Input), i.State, i.Books.Failed, i.Books.Rows))
				}
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// classesOf completes the classes with which rows of the run failed that is named.
func classesOf(w world) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		var classes []string
		if s, ok := storeOf(cmd, w); ok && len(args) > 0 {
			classes = failedClasses(cmd.Context(), s, args[0])
		}
		return behindComma(typed, classes), cobra.ShellCompDirectiveNoFileComp // mostly one is wanted
	}
}

func failedClasses(ctx context.Context, s ledger.Store, run string) []string {
	l, err := s.OpenRead(ctx, run)
	if err != nil {
		return nil
	}
	defer l.Close()
	sum, err := l.Summary(ctx)
	if err != nil {
		return nil
	}
	var classes []string
	for _, name := range slices.Sorted(maps.Keys(sum.ByClass)) {
		classes = append(classes, fmt.Sprintf("%s\t%d rows", name, sum.ByClass[name]))
	}
	return classes
}

// storeOf is where the runs are that the command line means as far as it is typed.
func storeOf(cmd *cobra.Command, w world) (ledger.Store, bool) {
	f := cmd.Flags().Lookup("runs-dir")
	if f == nil {
		return ledger.Store{}, false
	}
	// A configuration that cannot be read will be told of when the command is run.
	_, _ = completeFlags(cmd, w)
	dir, err := runsIn(f.Value.String(), w.getenv)
	// A database is not asked while somebody types.
	kept, file := cmd.Flags().Lookup("ledger"), cmd.Flags().Lookup("ledger-file")
	local := kept == nil || kept.Value.String() == ledgerLocal && file.Value.String() == ""
	return ledger.Store{Dir: dir}, local && err == nil
}

// profilesOf completes the profiles of the configuration file that is named by now.
func profilesOf(w world) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		var names []string
		if err := fromEnvironment(cmd.Flags(), w.getenv); err == nil {
			if c, err := loadConfig(cmd, w); err == nil && c != nil {
				names = slices.Sorted(maps.Keys(c.profiles))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// severalProfilesOf completes the last of several profiles.
func severalProfilesOf(w world) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		names, what := profilesOf(w)(cmd, args, typed)
		return behindComma(typed, append(names, allProfiles)), what | cobra.ShellCompDirectiveNoSpace
	}
}

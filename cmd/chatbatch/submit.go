package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
	"chatbatch/io/object"
	"chatbatch/jobs/fleet"
)

const submitHelp = `The run is planned here, as by the command without "submit", into the database of
--ledger, and given to the hosts that work for its app: those where chatbatch work runs
with the same --sdkappid and --region or --endpoint. No credentials are needed here, and
none are in the database. Its name is printed on stdout.

The same command submits once: given again, it names the run that is under way, or lets
one go on that was stopped. With --wait it follows the run to its end, and ends with its
books, its reports and its exit code; without, chatbatch report makes them on any host.`

// submitChunk is how many rows that are a call each are planned together: chunks that
// take long would be one host's for long.
const submitChunk = 100

func submitCommand(w world) *cobra.Command {
	return family(
		&cobra.Command{Use: "submit", Short: "Give a run to many hosts, by a database"},
		family(
			&cobra.Command{Use: "marks", Short: "Set or delete marks, on many hosts"},
			submitKind(w, "marks set", "ROSTER", "Set marks of the members that a roster names, on many hosts"),
			submitKind(w, "marks delete", "ROSTER", "Delete marks of the members that a roster names, on many hosts"),
		),
		family(
			&cobra.Command{Use: "unread", Short: "Set unread counts, on many hosts"},
			submitKind(w, "unread set", "FILE", "Set the unread counts that a file names, on many hosts"),
		),
		submitRetry(w),
		family(
			&cobra.Command{Use: "export", Short: "Export the members of groups, or who is online in them, by many hosts"},
			submitKind(w, "export members", "GROUPS", "Export the profiles of the members of groups, by many hosts"),
			submitKind(w, "export online", "GROUPS", "Export who is online in audio-video groups, by many hosts"),
		),
	)
}

const submitExportHelp = `

What the hosts fetch is kept in the database until it is published, once, in the order of
the input and with its manifest: the file is the one that a single host would write. An
object (-o s3://BUCKET/KEY) is written by one of the hosts when the last group is settled;
the keys of the store are theirs. A file on disk, or -o - for stdout, is written by the
command that waits, on its own host: this one with --wait, or chatbatch resume RUN --wait,
whenever that is, with another -o, too.`

const submitListHelp = `

--all-groups lists the groups of the app here, before the run is given to the hosts; that
takes the credentials of the app, and calls of the budget that the hosts share.`

func submitKind(w world, kind, arg, short string) *cobra.Command {
	o := &options{}
	var wait bool
	cmd := &cobra.Command{
		Use:   kind[strings.LastIndex(kind, " ")+1:] + " " + arg,
		Short: short,
		Long:  short + ".\n\n" + submitHelpOf(kind) + "\n\n" + exitHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			j, err := newJob(cmd, o, w)
			if err != nil {
				return err
			}
			j.onlooker = true
			if len(args) != 1 && (len(args) > 0 || !o.allGroups) {
				return usage("give one %s, a file or - for stdin; see: %s --help", arg, cmd.CommandPath())
			}
			return j.bounded(cmd.Context(), func(ctx context.Context) error {
				return j.submit(ctx, kind, strings.Join(args, ""), wait)
			})
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	lists := kind == "export members"
	var listing []string // flags of those who list groups
	if lists {
		listing = []string{"secret-key-file", "timeout"}
	}
	section(fs, "App and server", func(fs *pflag.FlagSet) {
		o.addSome(fs, o.server.add, append([]string{"sdkappid", "identifier", "region", "endpoint"}, listing...)...)
	})
	section(fs, "Input and plan", func(fs *pflag.FlagSet) { o.addKind(kinds()[kind], fs) })
	section(fs, "Object storage", o.objects.add)
	if lists {
		section(fs, "Pace of --all-groups", o.pace.add)
	} else {
		o.addSome(fs, o.pace.add) // none: they are the hosts'
	}
	section(fs, "Guards", func(fs *pflag.FlagSet) { o.addSome(fs, o.care.add, "max-errors") })
	section(fs, "Runs", o.runs.add)
	section(fs, "Many hosts", func(fs *pflag.FlagSet) { addWait(fs, &wait) })
	section(fs, "Output and log", o.output.add)
	setDefault(fs, "if-locked", "wait") // who plans it is done soon
	if kinds()[kind].rows {
		setDefault(fs, "chunk-size", fmt.Sprint(submitChunk))
	}
	return cmd
}

func submitHelpOf(kind string) string {
	switch kind {
	case "export members":
		return submitHelp + submitExportHelp + submitListHelp
	case "export online":
		return submitHelp + submitExportHelp
	}
	return submitHelp
}

func addWait(fs *pflag.FlagSet, wait *bool) {
	fs.BoolVar(wait, "wait", false, "follow a run of many hosts to its end, and write its reports")
}

// addSome adds those of some flags that a command has; the others keep their defaults.
func (o *options) addSome(fs *pflag.FlagSet, add func(*pflag.FlagSet), names ...string) {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	add(all)
	for _, name := range names {
		fs.AddFlag(all.Lookup(name))
	}
}

// setDefault gives a flag another default.
func setDefault(fs *pflag.FlagSet, name, text string) {
	f := fs.Lookup(name)
	f.DefValue = text
	_ = f.Value.Set(text) // it is one of its kind
}

// submit plans a run of a kind over an input and gives it to the hosts, unless this very
// command has done so and the run has not ended.
func (j *job) submit(ctx context.Context, kind, name string, wait bool) error {
	if err := j.checkSubmitted(kind, name, wait); err != nil {
		return err
	}
	j.prog = j.board.add(doing("submit "+kind, cmp.Or(name, "--all-groups")), j.logs)
	if j.dryRun {
		return j.planOnly(ctx, kind, name)
	}
	if j.store.database == nil {
		return errNoDatabase()
	}
	endpoint, err := j.where()
	if err != nil {
		return err
	}
	conn, end, err := j.submitter(ctx, kind, endpoint)
	if err != nil {
		return err
	}
	defer end()
	return j.give(ctx, kind, conn, j.opener(name, conn), wait)
}

// give is submit for any input.
func (j *job) give(ctx context.Context, kind string, conn *connection, input opener, wait bool) error {
	src, meta, err := j.identify(ctx, kind, conn, input)
	if err != nil {
		return err
	}
	defer src.close()
	unlock, err := j.lock(ctx, meta.Key())
	if err != nil {
		return err
	}
	meta, err = j.submitted(ctx, meta, src)
	unlock() // release takes it again
	if err == nil {
		err = j.hasBegun(ctx, meta.Run)
	}
	if err != nil {
		return err
	}
	conn.leave() // who has listed groups has no part of the hosts' budget any more
	return j.release(ctx, meta, wait)
}

// errNoDatabase is how a command ends that is of many hosts, and has no database.
func errNoDatabase() error {
	return usage("runs of many hosts are kept in a database: name it by --ledger postgres://user@host/db, or by --ledger-file")
}

// checkSubmitted refuses an export that cannot be done by many hosts.
func (j *job) checkSubmitted(kind, name string, wait bool) error {
	if err := j.checkExport(kind, name); err != nil {
		return err
	}
	return j.checkSubmittedOutput(wait)
}

// checkSubmittedOutput refuses an output where the hosts cannot write, and nobody waits.
func (j *job) checkSubmittedOutput(wait bool) error {
	switch {
	case j.target == stdoutName && !wait && !j.dryRun:
		return usage("-o - goes with --wait: the export is written by the command that waits for it")
	case object.Is(j.target) && j.endpointOf(j.w.getenv) == "":
		return usage("say where the object storage is, for the hosts that write there: --s3-endpoint, e.g. https://cos.ap-singapore.myqcloud.com")
	}
	return nil
}

// submitter is a connection for who plans a run. It is one that makes calls only where
// groups are to be listed.
func (j *job) submitter(ctx context.Context, kind, endpoint string) (conn *connection, end func(), err error) {
	if !j.allGroups {
		conn, err = j.elsewhere(endpoint)
		return conn, func() {}, err
	}
	if err := j.shareByLedger(); err != nil {
		return nil, nil, err
	}
	conn, err = j.connect(ctx, doing("submit "+kind, "--all-groups"), endpoint)
	if err != nil {
		return nil, nil, err
	}
	return conn, conn.leave, nil
}

// leave closes a connection that can make calls, and may be repeated.
func (c *connection) leave() {
	if c.limiter != nil {
		_ = c.close()
		c.limiter = nil
	}
}

// elsewhere is the connection of those who will work on a run: this command makes none.
func (j *job) elsewhere(endpoint string) (*connection, error) {
	if j.sdkAppID <= 0 {
		return nil, usage("--sdkappid is missing: it is the number of your app in the Chat console")
	}
	c := chat.Client{Endpoint: endpoint, SDKAppID: j.sdkAppID, Identifier: cmp.Or(j.identifier, "administrator"), Timeout: j.timeout}
	whole := c
	whole.Signer, whole.HTTP = chat.FixedSig("none"), http.DefaultClient // as theirs will be
	if err := whole.Check(); err != nil {
		return nil, usage("%w", err)
	}
	return &connection{name: endpoint, chat: &c}, nil
}

// submitted is the run of this command that has not ended, or a new one.
func (j *job) submitted(ctx context.Context, m ledger.Meta, src *source) (ledger.Meta, error) {
	all, err := j.store.List(ctx)
	if err != nil {
		return m, err
	}
	if !j.fresh {
		run, err := j.store.Find(ctx, all, m.Key())
		if err != nil {
			return m, err
		}
		for _, i := range all {
			if i.Run == run {
				return i.Meta, nil
			}
		}
		if !src.temp && src.list == nil {
			j.sayChanged(m, all)
		}
	}
	l, err := j.plan(ctx, m, src)
	if err != nil {
		return m, err
	}
	return l.Meta(), l.Close()
}

// isShared says whether a run is one of many hosts.
func (s shelf) isShared(ctx context.Context, run string) (bool, error) {
	if s.database == nil {
		return false, nil
	}
	at, err := s.database.Standing(ctx, run)
	return at.Fleet > 0, err
}

// release gives a planned run to the hosts, and follows it to its end with wait.
func (j *job) release(ctx context.Context, m ledger.Meta, wait bool) error {
	j.shared = true
	if err := fleet.Check(ctx, j.store.database); err != nil {
		return ledgerNotOpened(err)
	}
	unlock, err := j.lock(ctx, m.Key())
	if err != nil {
		return err
	}
	err = j.giveOut(ctx, m, wait)
	unlock()
	if err != nil {
		return err
	}
	if wait {
		if !j.json && cmp.Or(j.instead, m.Options["output"]) != stdoutName {
			fmt.Fprintln(j.w.stdout, m.Run)
		}
		return j.follow(ctx, m)
	}
	return j.sayGiven(ctx, m)
}

// giveOut gives the run to the hosts unless they have it, or it is finished.
func (j *job) giveOut(ctx context.Context, m ledger.Meta, wait bool) error {
	o := ledger.Orders{MaxErrors: j.maxErrors, Waited: wait, Publish: j.publisher(m)}
	released, err := fleet.Release(ctx, j.store.database, m, kinds()[m.Kind].sort(), o)
	switch {
	case isFinished(err) && !wait:
		j.log.Info("run " + m.Run + " has ended")
		return errors.Join(j.store.database.PublishBy(ctx, m.Run, o.Publish), j.store.database.Reported(ctx, m.Run))
	case isFinished(err) && j.instead != "":
		return j.store.database.PublishBy(ctx, m.Run, o.Publish)
	case isFinished(err):
		return nil
	case err != nil:
		return err
	case released:
		j.log.Info("run " + m.Run + " is given to the hosts that work for its app")
	default:
		j.log.Info("run " + m.Run + " is with the hosts already")
		if wait {
			err = j.store.database.Wait(ctx, m.Run)
		}
		if j.instead != "" {
			err = errors.Join(err, j.store.database.PublishBy(ctx, m.Run, o.Publish))
		}
	}
	// If all its rows are bad, there is nothing for them to do.
	return errors.Join(err, j.store.database.Finish(ctx, m.Run))
}

// sayGiven prints which run was submitted, and how to go on.
func (j *job) sayGiven(ctx context.Context, m ledger.Meta) error {
	if !j.quiet {
		flags := storeFlags(j.runsDir != "", j.store)
		follow := "follow: "
		if j.publisher(m) == ledger.PublishByCommand { // only who follows it has the file
			follow = "publish:"
		}
		fmt.Fprintf(j.w.stderr, "%[4]s chatbatch resume %[1]s --wait%[2]s\nlook:    chatbatch runs show %[1]s%[2]s\nstop:    chatbatch pause %[1]s%[3]s\n",
			m.Run, flags, j.store.flag, follow)
	}
	if !j.json {
		_, err := fmt.Fprintln(j.w.stdout, m.Run)
		return err
	}
	l, err := j.store.OpenRead(ctx, m.Run)
	if err != nil {
		return err
	}
	defer l.Close()
	sum, err := l.Summary(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(j.w.stdout).Encode(sum)
}

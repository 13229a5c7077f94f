package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chatbatch/io/aside"
	"chatbatch/io/export"
	"chatbatch/io/ledger"
	"chatbatch/io/object"
	"chatbatch/jobs"
)

func exportCommand(w world) *cobra.Command {
	return family(
		&cobra.Command{Use: "export", Short: "Export the members of groups, or who is online in them"},
		jobCommand(w, "export members", "GROUPS", "Export the profiles of the members of groups", membersHelp),
		jobCommand(w, "export online", "GROUPS", "Export who is online in audio-video groups", onlineHelp),
	)
}

const exportHelp = `
GROUPS is a CSV or JSONL file or an Excel workbook, an object s3://BUCKET/KEY, or - for
stdin, with the column group_id; other columns are ignored, but for type. A row of
it ends as its group does: succeeded, failed or unprocessed.

The file is CSV, JSONL or XLSX by the end of its name: .csv .jsonl .ndjson .xlsx,
and .gz or .zst behind the first three; - is stdout, in CSV or what --format says,
and s3://BUCKET/KEY an object of Tencent COS or another store that speaks S3
(--s3-endpoint). It is in the order of the input, and appears when it is complete,
with a manifest beside it (FILE.manifest.json): rows, SHA-256, and a grade for each
group. A group that failed is not in it. Run the same command again to resume an
export that did not end: finished groups are not fetched again. (--fresh fetches all
of them.)`

const membersHelp = `The columns are group_id, account, role, join_time, msg_seq, msg_flag,
last_send_msg_time, mute_until, name_card, online_status and one for each custom
field. In JSONL what a member has not is absent, custom fields are under "custom",
and fields that are not known here under "other".

Groups of type Community (an id that begins with @TGS#_, or a column type) are read
by cursor, others by offset, several pages at a time. A group whose members come or
go meanwhile is read once more, and graded exact or drifted.

--all-groups exports all groups of the app, or those of a --group-type; members of
audio-video groups are then the ones that are online.
` + exportHelp

const onlineHelp = `The columns are group_id, account, join_time, nick_name and avatar. The server lists
the newest 1,000 at most (30 to an app whose edition does not include the list): a
group of that many is graded truncated. The list is up to 40 seconds old.
` + exportHelp

// exporting says what an export has and where it goes.
type exporting struct {
	target    string // --output
	instead   string // of a run that is resumed
	format    string
	excel     bool
	fields    []string
	roles     []string
	custom    []string
	pageSize  int
	allGroups bool
	groupType string
	mark      uint64
}

// exportPlan are the flags of all exports that change the plan.
func exportPlan() []string { return []string{"output", "format", "excel"} }

func (o *exporting) addOutput(fs *pflag.FlagSet) {
	fs.StringVarP(&o.target, "output", "o", "", "file to write (required); - is stdout")
	fs.StringVar(&o.format, "format", "", "csv, jsonl or xlsx, with .gz or .zst, if the name does not say it")
	fs.BoolVar(&o.excel, "excel", false, "CSV for a spreadsheet: BOM, CRLF, and ' before what would be a formula")
}

func (o *options) addMembersFlags(fs *pflag.FlagSet) {
	o.addOutput(fs)
	fs.StringSliceVar(&o.fields, "fields", nil, "fields to fetch, e.g. role,name_card (default all)")
	fs.StringSliceVar(&o.roles, "roles", nil, "members of these roles only: Owner,Admin,Member (default all)")
	fs.StringSliceVar(&o.custom, "custom-fields", nil, "custom fields to fetch (default: what the server sends)")
	fs.IntVar(&o.pageSize, "page-size", jobs.DefaultPageSize, "most members in one call; the API recommends 100")
	fs.BoolVar(&o.allGroups, "all-groups", false, "all groups of the app, instead of GROUPS")
	fs.StringVar(&o.groupType, "group-type", "", "with --all-groups: groups of this type only, e.g. Public")
}

func (o *options) addOnlineFlags(fs *pflag.FlagSet) {
	o.addOutput(fs)
	fs.Uint64Var(&o.mark, "mark", 0, "members with this mark only")
}

// membersOptions are the options of an export of profiles.
func (o *exporting) membersOptions() jobs.MembersOptions {
	m := jobs.MembersOptions{Roles: o.roles, Custom: o.custom, PageSize: o.pageSize, WithRooms: o.allGroups}
	for _, name := range o.fields {
		if f := jobs.FieldNamed(strings.TrimSpace(name)); !slices.Contains(m.Fields, f) {
			m.Fields = append(m.Fields, f)
		}
	}
	if len(m.Custom) == 0 {
		m.Custom = nil
	}
	return m
}

// stdoutName is the name of an output that is the standard output.
const stdoutName = "-"

// checkExport completes the options of an export, and refuses what cannot be.
func (j *job) checkExport(kind, input string) error {
	if !isExport(kind) {
		return nil
	}
	switch {
	case j.target == "":
		return usage("give the file to write: -o FILE, or -o - for stdout")
	case j.allGroups && input != "":
		return usage("give GROUPS or --all-groups, not both")
	case j.allGroups && j.dryRun:
		return usage("--dry-run sends nothing, so it cannot know all groups")
	case !j.allGroups && j.groupType != "":
		return usage("--group-type goes with --all-groups")
	case slices.ContainsFunc(j.fields, alwaysThere):
		return usage("--fields %s: name fields besides group_id and account, which are always there", strings.Join(j.fields, ","))
	case kind == "export members" && (j.pageSize < 1 || j.pageSize > maxPageSize):
		return usage("--page-size %d: it is 1 to %d", j.pageSize, maxPageSize)
	}
	for i := range j.roles {
		j.roles[i] = strings.TrimSpace(j.roles[i])
		role := j.roles[i]
		if !slices.ContainsFunc(jobs.Roles(), func(known string) bool { return strings.EqualFold(role, known) }) {
			return usage("--roles %q: a role is one of %s", role, strings.Join(jobs.Roles(), " "))
		}
	}
	f, err := j.exportFormat()
	if err != nil {
		return usage("%w", err)
	}
	if j.excel && f.Kind != "csv" {
		return usage("--excel is for CSV; %s is %s", j.target, f.Kind)
	}
	switch {
	case object.Is(j.target):
		return j.checkObject(input)
	case j.target != stdoutName:
		return j.checkTarget(input)
	case j.json:
		return usage("-o - and --json would both write to stdout")
	case closedStream(j.w.stdout):
		return usage("-o -: stdout is closed, or the null device: the export would be lost")
	}
	return nil
}

// alwaysThere says that a name is none of a field that can be left out.
func alwaysThere(field string) bool {
	return slices.Contains([]string{"", "group_id", "account", "member_account"}, strings.ToLower(strings.TrimSpace(field)))
}

// maxPageSize is what the field table of get_group_member_info allows.
const maxPageSize = 6000

func isExport(kind string) bool { return strings.HasPrefix(kind, "export ") }

// exportFormat is the format of the output.
func (o *exporting) exportFormat() (export.Format, error) {
	if o.format != "" {
		return export.ParseFormat(o.format)
	}
	if o.target == stdoutName {
		return export.Format{Kind: "csv"}, nil
	}
	return export.FormatOf(o.target)
}

// checkTarget finds out before the first call whether the file can be written.
func (j *job) checkTarget(input string) error {
	path, err := filepath.Abs(j.target) // a run may be resumed from anywhere
	if err != nil {
		return usage("find %s: %w", j.target, err)
	}
	j.target = path
	if here, err := os.Stat(path); err == nil {
		if in, err := os.Stat(input); err == nil && os.SameFile(in, here) {
			return usage("-o %s is the input: it would be overwritten", path)
		}
	}
	for _, name := range []string{path, path + manifestSuffix} {
		probe, err := aside.Create(name)
		if err != nil {
			return ofPlace("-o %s: %w", path, err)
		}
		probe.Discard()
	}
	return nil
}

// manifestSuffix is how the name of a manifest ends, behind that of its export.
const manifestSuffix = ".manifest.json"

// lockTarget keeps other runs from publishing in the same place, and waits for one
// that does, but no longer than until ends. Each process has a stdout of its own.
func (j *job) lockTarget(ctx, until context.Context) (unlock func(), err error) {
	if j.target == stdoutName {
		return func() {}, nil
	}
	sum := sha256.Sum256([]byte("output\n" + real(j.target)))
	key := hex.EncodeToString(sum[:])
	var locks interface {
		Lock(ctx context.Context, key string, wait bool) (unlock func(), err error)
	} = j.store.local()
	if j.store.database != nil && object.Is(j.target) { // hosts that share a database write objects side by side
		locks = j.store.database
	}
	unlock, err = locks.Lock(ctx, key, false)
	if errors.Is(err, ledger.ErrLocked) {
		unlock, err = locks.Lock(until, key, true)
	}
	return unlock, err
}

// manifestPath is where the manifest of an export is written.
func (j *job) manifestPath(run string) string {
	if j.target == stdoutName {
		return filepath.Join(j.store.Path(run), "manifest.json")
	}
	return j.target + manifestSuffix
}

// publish puts the table of a finished export in its place. It returns what is to
// be said of it, and says so to noted, if not nil, before another may be put there. What it
// has begun it ends; but it waits for others who publish there no longer than until ends.
func (j *job) publish(ctx, until context.Context, l *ledger.Ledger, noted func(text string) error) (string, error) {
	m := l.Meta()
	instead := j.instead
	if err := j.planAgain(m); err != nil {
		return "", err
	}
	planned := j.target
	if instead != "" {
		j.target, j.format = instead, ""
	}
	unlock, err := j.lockTarget(ctx, until)
	if err != nil {
		return "", err
	}
	defer unlock()
	if instead == "" && j.shared {
		err = j.checkNewest(ctx, m.Run)
	}
	var text string
	if err == nil {
		text, err = j.put(ctx, until, l, planned)
	}
	if err == nil && noted != nil {
		err = noted(text)
	}
	return text, err
}

// put is publish for who has locked the target.
func (j *job) put(ctx, until context.Context, l *ledger.Ledger, planned string) (string, error) {
	m := l.Meta()
	f, err := j.exportFormat()
	if err != nil {
		return "", err
	}
	p := jobs.Publication{
		Kind: m.Kind, Path: j.target, Format: f, Excel: j.excel, Members: j.membersOptions(),
		Manifest: j.manifestPath(m.Run),
	}
	if j.target == stdoutName {
		p.Path, p.Stream = "", j.w.stdout
		if isTerminal(j.w.stdout) {
			j.board.lower() // it may be the same one
		}
	}
	out, err := j.outgoing(ctx, m.Run, &p)
	if err != nil {
		return "", err
	}
	defer out.remove()
	done, err := written(ctx, l, p)
	if err == nil {
		err = out.send(until, f, done)
	}
	if err != nil {
		return j.unpublished(m.Run, planned, f, err)
	}
	where := j.target
	if where == stdoutName {
		where = "stdout"
	}
	return fmt.Sprintf(exportedPrefix+"%s: %s", where, done.Text()), nil
}

// written writes a table and its manifest. What it looks at the ledger with ends with it:
// to send them may take long.
func written(ctx context.Context, l *ledger.Ledger, p jobs.Publication) (jobs.Published, error) {
	v, err := l.View(ctx)
	if err != nil {
		return jobs.Published{}, err
	}
	defer v.Close()
	return jobs.Publish(ctx, v, p)
}

// exportedPrefix begins what is said of an export that was published.
const (
	exportedPrefix   = "export: "
	nothingPublished = "nothing was published"
)

// unpublished is what is to be said of an export whose table was not put in its place:
// that is not always an error.
func (j *job) unpublished(run, planned string, f export.Format, err error) (string, error) {
	if nothing, ok := errors.AsType[*jobs.NothingError](err); ok {
		j.log.Error(nothing.Error())
		return exportedPrefix + nothingPublished, nil
	}
	if errors.Is(err, ledger.ErrDropped) {
		// A process was killed between that and its last words. If another file is
		// wanted now, there is nothing left to make it of.
		return fmt.Sprintf(exportedPrefix+"it was published before, as %s", planned), nil
	}
	if row, ok := errors.AsType[*export.RowError](err); ok && f.Kind == export.XLSX {
		return "", fmt.Errorf("%w. What was fetched is kept; as CSV it can be written: %s", row, j.elsewhereCommand(run, "FILE.csv"))
	}
	return "", err
}

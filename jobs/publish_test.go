package jobs

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/chat"
	"chatbatch/io/chat/chatsim"
	"chatbatch/io/export"
	"chatbatch/io/ledger"
)

// exported is a run over a real ledger that has ended.
func exported(t *testing.T, sc chatsim.Scenario, input string, kind func(*chat.Client, *ledger.Ledger) Kind) (*ledger.Ledger, Kind) {
	t.Helper()
	sim, err := chatsim.New(sc)
	if err != nil {
		t.Fatal(err)
	}
	return exportedFrom(t, sim, input, kind)
}

// exportedFrom is exported from any server.
func exportedFrom(t *testing.T, server http.RoundTripper, input string, kind func(*chat.Client, *ledger.Ledger) Kind) (*ledger.Ledger, Kind) {
	t.Helper()
	ctx := t.Context()
	l, err := ledger.Store{Dir: t.TempDir()}.Create(ctx, ledger.Meta{Run: "r1", Kind: "export", Format: "csv", Header: "group_id,type", NewLine: "\n"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	client := &chat.Client{
		Endpoint: "https://sim.invalid", SDKAppID: 1400000001, Identifier: "administrator",
		Signer: chat.NewKeySigner(1400000001, "administrator", "key", time.Hour), HTTP: &http.Client{Transport: server},
	}
	k := kind(client, l)
	in, err := OpenGroups(strings.NewReader(input), csvOptions())
	if err != nil {
		t.Fatal(err)
	}
	totals, err := (&Planner{Kind: k, ChunkSize: 1, TempDir: t.TempDir()}).Plan(ctx, in, l)
	if err == nil {
		err = l.PlanDone(ctx, totals.Rows, 0)
	}
	if err == nil {
		err = l.Begin(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	door, _ := newDoor()
	if err := (&Runner{Kind: k, Ledger: l, Door: door, Workers: 8, Grace: time.Second}).Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := l.End(ctx, ledger.Finished, ledger.Session{}); err != nil {
		t.Fatal(err)
	}
	return l, k
}

// exportedMembers is such a run of the kind "export members".
func exportedMembers(t *testing.T, sc chatsim.Scenario, input string, o MembersOptions) *ledger.Ledger {
	t.Helper()
	l, _ := exported(t, sc, input, exportsMembers(o))
	return l
}

func exportsMembers(o MembersOptions) func(*chat.Client, *ledger.Ledger) Kind {
	return func(c *chat.Client, l *ledger.Ledger) Kind { return ExportMembers(c, l, o) }
}

// published publishes a run to a directory, and returns the table and the manifest.
func published(t *testing.T, l *ledger.Ledger, p Publication) (Published, string, manifestHead, []manifestGroup) {
	t.Helper()
	v, err := l.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	done, err := Publish(t.Context(), v, p)
	if err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(p.Path)
	if err != nil {
		t.Fatal(err)
	}
	note, err := os.ReadFile(p.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		manifestHead
		Groups []manifestGroup `json:"groups"`
	}
	if err := json.Unmarshal(note, &m); err != nil {
		t.Fatalf("%v in\n%s", err, note)
	}
	return done, string(table), m.manifestHead, m.Groups
}

// publicationIn is a publication in a new directory.
func publicationIn(t *testing.T, kind, name string) Publication {
	t.Helper()
	f, err := export.FormatOf(name)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return Publication{Kind: kind, Path: filepath.Join(dir, name), Format: f, Manifest: filepath.Join(dir, name+".manifest.json")}
}

// schoolToExport has groups that can be exported and some that cannot.
func schoolToExport() chatsim.Scenario {
	return chatsim.Scenario{Groups: []chatsim.Group{
		pupils("g1", "Public", 300), pupils("g2", "Private", 0), {ID: "empty", Type: "Public"}, pupils("@TGS#_c", "Community", 120), roomOf("room", 40),
	}}
}

// The table is in the order of the input, whatever was fetched first; a group
// that is listed twice is there once, one that failed is not.
func TestPublish(t *testing.T) {
	l := exportedMembers(t, schoolToExport(), "group_id,type\n@TGS#_c,\ngone,\ng2,Private\nroom,AVChatRoom\ng1,\nempty,\ng2,\n", MembersOptions{})
	p := publicationIn(t, "export members", "members.csv")
	done, table, head, groups := published(t, l, p)
	records, err := csv.NewReader(strings.NewReader(table)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	byGroup := map[string]int{}
	for _, r := range records[1:] {
		if byGroup[r[0]]++; byGroup[r[0]] == 1 {
			order = append(order, r[0])
		}
	}
	if !slices.Equal(order, []string{"@TGS#_c", "g2", "g1"}) {
		t.Errorf("groups in the order %q", order)
	}
	if d := cmp.Diff(map[string]int{"@TGS#_c": 123, "g2": 3, "g1": 303}, byGroup); d != "" {
		t.Errorf("members (-want +got):\n%s", d)
	}
	if done.Rows != 429 || done.Groups != 4 || done.Failed != 2 || done.Grades[GradeExact] != 4 {
		t.Errorf("got %+v", done)
	}
	columns := []string{"group_id", "account", "role", "join_time", "msg_seq", "msg_flag", "last_send_msg_time", "mute_until", "name_card", "online_status",
		"Custom1", "Custom2", "Custom3", "Custom4", "Custom5", "grade", "custom.role"}
	if !slices.Equal(records[0], columns) || !slices.Equal(head.Columns, columns) {
		t.Errorf("columns %q", records[0])
	}
	checkManifest(t, done, head, groups)
}

func checkManifest(t *testing.T, done Published, head manifestHead, groups []manifestGroup) {
	t.Helper()
	if head.Rows != 429 || head.SHA256 != done.SHA256 || head.Bytes != done.Bytes || head.Exported != 4 || head.Failed != 2 || head.Grades[GradeExact] != 4 ||
		head.Run != "r1" || head.Kind != "export members" || head.File != "members.csv" || head.Format != "csv" || head.Started == nil || head.Finished == nil {
		t.Errorf("the manifest says %+v", head)
	}
	var got []string
	for _, g := range groups {
		if g.Class != "" {
			got = append(got, fmt.Sprintf("%s %s %d", g.Group, g.Class, g.Code))
			continue
		}
		got = append(got, fmt.Sprintf("%s %s %s %d/%d/%d in %d pages, %d", g.Group, g.Type, g.Grade, *g.Members, *g.First, *g.Last, g.Pages, g.Reads))
		if g.Fetched == nil {
			t.Errorf("%s was fetched at no time", g.Group)
		}
	}
	want := []string{
		"@TGS#_c  exact 123/123/123 in 2 pages, 1", "gone group_not_found 10010", "g2 Private exact 3/3/3 in 1 pages, 1", "room unsupported_group_type 0",
		"g1  exact 303/303/303 in 4 pages, 1", "empty  exact 0/0/0 in 1 pages, 1",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("groups (-want +got):\n%s", d)
	}
}

// The same ledger makes the same bytes each time, in each format, with no file
// left beside them.
func TestPublishTwice(t *testing.T) {
	l := exportedMembers(t, schoolToExport(), "group_id\ng1\n@TGS#_c\n", MembersOptions{})
	for _, name := range []string{"m.csv", "m.csv.gz", "m.jsonl", "m.jsonl.zst", "m.xlsx"} {
		t.Run(name, func(t *testing.T) {
			p := publicationIn(t, "export members", name)
			once, table, _, _ := published(t, l, p)
			again, same, _, _ := published(t, l, p)
			if table != same || once.SHA256 != again.SHA256 || once.Rows != 426 {
				t.Errorf("%d rows and %s, then %s", once.Rows, once.SHA256, again.SHA256)
			}
			files, err := os.ReadDir(filepath.Dir(p.Path))
			if err != nil || len(files) != 2 {
				t.Errorf("files %v, %v", files, err)
			}
			for _, f := range files {
				if i, err := f.Info(); err != nil || i.Mode().Perm() != 0o600 {
					t.Errorf("%s has mode %v", f.Name(), i.Mode())
				}
			}
		})
	}
}

// An export of many hosts may be published when some of them have yet to say what they
// have done last: none of its groups is fetched after its end all the same.
func TestPublishBeforeAllHaveLeft(t *testing.T) {
	l := exportedMembers(t, schoolToExport(), "group_id\ng1\ng2\n", MembersOptions{})
	v, err := l.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	p := publicationIn(t, "export members", "members.csv")
	s, err := p.survey(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	if s.last.IsZero() {
		t.Error("nothing says when the last group was fetched")
	}
	s.last = time.Now().Add(time.Hour).UTC().Truncate(time.Second) // one is there that has yet to say what it did
	f, err := p.manifest(t.Context(), v, s)
	if err == nil {
		err = f.Replace()
	}
	text, err2 := os.ReadFile(p.Manifest)
	var head manifestHead
	if err := errors.Join(err, err2, json.Unmarshal(text, &head)); err != nil || head.Finished == nil || !head.Finished.Equal(s.last) {
		t.Errorf("finished %v, want %v; %v", head.Finished, s.last, err)
	}
}

// If nothing could be fetched, what is there already stays.
func TestPublishNothing(t *testing.T) {
	l := exportedMembers(t, schoolToExport(), "group_id,type\ngone,\nroom,AVChatRoom\n", MembersOptions{})
	p := publicationIn(t, "export members", "m.csv")
	for _, name := range []string{p.Path, p.Manifest} {
		if err := os.WriteFile(name, []byte("of yesterday"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	v, err := l.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	_, err = Publish(t.Context(), v, p)
	if none, ok := errors.AsType[*NothingError](err); !ok || none.Groups != 2 {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{p.Path, p.Manifest} {
		if text, err := os.ReadFile(name); err != nil || string(text) != "of yesterday" {
			t.Errorf("%s has %q, %v", name, text, err)
		}
	}
	if files, err := os.ReadDir(filepath.Dir(p.Path)); err != nil || len(files) != 2 {
		t.Errorf("files %v, %v", files, err)
	}
}

// A role that had to be asked for to choose members is not in the table if the
// user does not want it; the fields come in his order.
func TestPublishFields(t *testing.T) {
	o := MembersOptions{Roles: []string{"Owner", "Admin"}, Fields: []string{"NameCard", "MuteUntil"}, Custom: []string{"grade"}}
	l := exportedMembers(t, schoolToExport(), "group_id\ng1\n", o)
	p := publicationIn(t, "export members", "m.jsonl")
	p.Members = o
	_, table, head, _ := published(t, l, p)
	want := `{"group_id":"g1","account":"teacher","mute_until":4294967295,"name_card":""}
{"group_id":"g1","account":"müller","mute_until":0,"name_card":"=1+1,\"Müller\"\u000d\nAnna\n` + "\u202e" + `学生🎓","custom":{"grade":{"base64":"N2L/"}}}
`
	if d := cmp.Diff(want, table); d != "" {
		t.Errorf("table (-want +got):\n%s", d)
	}
	if !slices.Equal(head.Columns, []string{"group_id", "account", "name_card", "mute_until", "grade"}) {
		t.Errorf("columns %q", head.Columns)
	}
}

// Online lists are graded when all of them are known.
func TestPublishOnline(t *testing.T) {
	for _, test := range []struct {
		input string
		want  map[string]int64
	}{
		{"group_id\na\nb\n", map[string]int64{GradeExact: 1, GradeTruncated: 1}},
		{"group_id\na\nb\nc\n", map[string]int64{GradeExact: 3}},
		{"group_id\na\nb\nc\nd\n", map[string]int64{GradeExact: 3, GradeTruncated: 1}},
	} {
		sc := chatsim.Scenario{Groups: []chatsim.Group{roomOf("a", 30), roomOf("b", 12), roomOf("c", 77), roomOf("d", 1500)}}
		l, _ := exported(t, sc, test.input, func(c *chat.Client, l *ledger.Ledger) Kind { return ExportOnline(c, l, 0) })
		done, table, head, groups := published(t, l, publicationIn(t, "export online", "o.csv"))
		if d := cmp.Diff(test.want, done.Grades); d != "" || !cmp.Equal(head.Grades, test.want) {
			t.Errorf("grades (-want +got):\n%s", d)
		}
		byGroup := map[string]int64{}
		for _, g := range groups {
			byGroup[g.Grade]++
		}
		if d := cmp.Diff(test.want, byGroup); d != "" {
			t.Errorf("grades of the groups (-want +got):\n%s", d)
		}
		if !strings.HasPrefix(table, "group_id,account,join_time,nick_name,avatar\n") {
			t.Errorf("the table begins with %.80q", table)
		}
	}
}

// To a stream, and with rooms in an export of profiles.
func TestPublishToAStream(t *testing.T) {
	o := MembersOptions{WithRooms: true}
	l := exportedMembers(t, schoolToExport(), "group_id,type\nroom,AVChatRoom\ng2,\n", o)
	p := publicationIn(t, "export members", "m.csv")
	var out strings.Builder
	p.Path, p.Stream, p.Members = "", &out, o
	v, err := l.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	done, err := Publish(t.Context(), v, p)
	if err != nil || done.Rows != 43 || done.Groups != 2 || !slices.Contains(done.Columns, "nick_name") {
		t.Errorf("got %+v, %v", done, err)
	}
	if records, err := csv.NewReader(strings.NewReader(out.String())).ReadAll(); err != nil || len(records) != 44 {
		t.Errorf("%d records, %v", len(records), err)
	}
	if text := done.Text(); !strings.Contains(text, "43 members of 2 groups, 2 exact") && !strings.Contains(text, "truncated") {
		t.Errorf("it says %q", text)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Publish(ctx, v, p); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

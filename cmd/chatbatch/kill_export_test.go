package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatbatch/io/chat/chatsim"
	"chatbatch/io/ledger"
)

// A fetching is a siege of `export members`.
type fetching struct {
	*siege
	target  string
	want    []byte         // what the file is without a kill
	fetched map[string]int // calls of a group when the ledger had it
	groups  int

	published int // kills while it published
}

const (
	fetchWorkers = 8
	oldExport    = "an older export\n"
)

// TestKillExport kills `export members` while it fetches, and then while it
// publishes, and gives the same command again. In the end its file is byte for
// byte what it is without a kill; until then the older one is there.
func TestKillExport(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"members.csv", "members.jsonl.gz", "members.xlsx"} {
		t.Run(name, func(t *testing.T) {
			kills, publishing := 12, 8
			if testing.Short() {
				kills, publishing = 4, 2
			}
			f := newFetching(t, name)
			for f.kills < kills && f.look() > 0 && f.killFetching() {
			}
			if f.kills < kills/2 {
				t.Fatalf("it ended by itself after %d kills", f.kills)
			}
			// At once the first time: there must be something to kill.
			for most := time.Millisecond; publishing > 0 && !f.reported() && !f.killPublishing(most); most = 12 * time.Millisecond {
				publishing--
			}
			f.finish()
		})
	}
}

// killedGroups are a Community, whose pages come one after the other, and groups
// of several pages.
func killedGroups() (groups []chatsim.Group) {
	card := "=1+1, \"quoted\"\nand a line"
	groups = append(groups, chatsim.Group{ID: "@TGS#_town", Type: "Community", Generate: chatsim.Generate{Prefix: "c", Count: 1500, CustomBytes: 40}})
	for g := range 14 {
		groups = append(groups, chatsim.Group{
			ID: fmt.Sprintf("class-%d", g), Type: "Public",
			Members:  []chatsim.Member{{Account: "head", Role: "Owner", NameCard: &card, Custom: chatsim.Custom{{Key: fmt.Sprint("key", g%3), Value: "v"}}}},
			Generate: chatsim.Generate{Prefix: fmt.Sprintf("p%d-", g), Count: 40 * (g + 1), CustomBytes: 20},
		})
	}
	return groups
}

func newFetching(t *testing.T, name string) *fetching {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	plain := chatsim.Scenario{Seed: 7, QPS: -1, Groups: killedGroups()}
	hard := plain
	hard.Latency, hard.Jitter = 3*time.Millisecond, 3*time.Millisecond
	hard.Faults = []chatsim.Fault{{Kind: chatsim.KindCode, Code: 10002, Rate: 0.02}, {Kind: chatsim.KindLost, Rate: 0.01}}
	f := &fetching{fetched: map[string]int{}, groups: len(plain.Groups)}
	f.siege = newSiege(t, seed, hard, "export", "members", "groups.csv", "-o", name, "--workers", fmt.Sprint(fetchWorkers))
	f.target = filepath.Join(f.dir, name)
	f.list(f.dir, plain.Groups)

	undisturbed := newSiege(t, seed, plain, f.args...)
	f.list(undisturbed.dir, plain.Groups)
	if _, code := undisturbed.program().end(t); code != exitFailed {
		t.Fatalf("got exit code %d without a kill", code)
	}
	var err error
	if f.want, err = os.ReadFile(filepath.Join(undisturbed.dir, name)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.target, []byte(oldExport), 0o644); err != nil {
		t.Fatal(err)
	}
	return f
}

// list writes the input: the Community in the middle, one group twice, and one
// that is not there.
func (f *fetching) list(dir string, groups []chatsim.Group) {
	var b strings.Builder
	b.WriteString("group_id\n")
	for i, g := range groups[1:] {
		if i == 5 {
			fmt.Fprintf(&b, "%s\ngone\nclass-1\n", groups[0].ID)
		}
		b.WriteString(g.ID + "\n")
	}
	if err := os.WriteFile(filepath.Join(dir, "groups.csv"), []byte(b.String()), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// killFetching kills the program after some calls, if it is not faster.
func (f *fetching) killFetching() (killed bool) {
	f.t.Helper()
	_, killed = f.kill(f.after(f.rng.IntN(14)+1), 4*time.Millisecond)
	f.checkWhole()
	f.look()
	return killed
}

// checkWhole holds that the older file is there, or the one that is wanted.
func (f *fetching) checkWhole() {
	f.t.Helper()
	b, err := os.ReadFile(f.target)
	if err != nil || string(b) != oldExport && !bytes.Equal(b, f.want) {
		f.t.Errorf("half a file under the final name: %d bytes, want %d, %v", len(b), len(f.want), err)
	}
	if f.look() > 0 && string(b) != oldExport {
		f.t.Error("it was published before it was fetched")
	}
}

// reported says whether the run is done, with all that was to be written.
func (f *fetching) reported() bool {
	f.t.Helper()
	infos, err := f.store.List(f.t.Context())
	if err != nil || len(infos) != 1 {
		f.t.Fatalf("got runs %v, %v", infos, err)
	}
	return infos[0].Reported
}

// look looks at the ledger after a kill: what it has of a group is not fetched
// again.
func (f *fetching) look() (unsettled int) {
	f.t.Helper()
	l := f.run()
	if l == nil {
		return f.groups
	}
	defer l.Close()
	v, err := l.View(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	defer v.Close()
	for c, err := range v.Chunks(f.t.Context()) {
		if err != nil {
			f.t.Fatal(err)
		}
		if calls, known := f.fetched[c.Group]; known && calls != f.callsOf(c.Group) {
			f.t.Errorf("group %s was settled after %d calls, and got %d", c.Group, calls, f.callsOf(c.Group))
		}
		if c.Status == ledger.Unprocessed {
			unsettled++
			continue
		}
		f.fetched[c.Group] = f.callsOf(c.Group)
	}
	return unsettled
}

// parts lists the files that are being published.
func (f *fetching) parts() []string {
	parts, _ := filepath.Glob(filepath.Join(f.dir, ".members.*part-*"))
	return parts
}

// killPublishing lets the program come to its table, and kills it then if it is
// not faster. It says whether the run has been said to be done.
func (f *fetching) killPublishing(most time.Duration) (done bool) {
	f.t.Helper()
	for _, part := range f.parts() { // of an earlier kill
		if err := os.Remove(part); err != nil {
			f.t.Fatal(err)
		}
	}
	calls := f.come.Load()
	fetching := f.look() > 0
	_, killed := f.kill(func() bool { return len(f.parts()) > 0 }, most)
	if !fetching && f.come.Load() != calls {
		f.t.Errorf("got %d calls to publish what is fetched", f.come.Load()-calls)
	}
	f.checkWhole()
	if killed {
		f.published++
	}
	return !killed || f.reported()
}

// finish gives the command a last time and looks at what there is. (If it was
// done before, resume says so.)
func (f *fetching) finish() {
	t := f.t
	parts := f.parts()
	for _, part := range parts { // as if the last kill were two hours ago
		old := time.Now().Add(-2 * time.Hour)
		if err := os.Chtimes(part, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if !f.reported() {
		if _, code := f.program().end(t); code != exitFailed {
			t.Errorf("got exit code %d, want %d", code, exitFailed)
		}
	}
	t.Logf("%d kills, %d of them while it published, %d calls, %d parts left by the last of them", f.kills, f.published, f.come.Load(), len(parts))
	if f.published == 0 {
		t.Error("it could not be killed while it published")
	}
	f.checkFile()
	f.look()
	f.clean()
	l := f.run()
	run := l.Meta().Run
	l.Close()
	b, err := os.ReadFile(filepath.Join(f.store.Path(run), "summary.json"))
	var sum ledger.Summary
	if err == nil {
		err = json.Unmarshal(b, &sum)
	}
	if err != nil || sum.Rows != int64(f.groups+2) || sum.Succeeded != int64(f.groups+1) || sum.Failed != 1 || sum.ByClass["group_not_found"] != 1 {
		t.Errorf("books: %+v, %v", sum, err)
	}
	if n := int64(f.kills * fetchWorkers); sum.Replayed > n {
		t.Errorf("got %d groups replayed after %d kills", sum.Replayed, f.kills)
	}
}

func (f *fetching) checkFile() {
	f.t.Helper()
	got, err := os.ReadFile(f.target)
	if err != nil || !bytes.Equal(got, f.want) {
		f.t.Errorf("the file is not the one of an export without a kill: %d bytes, want %d, %v", len(got), len(f.want), err)
	}
	info, err := os.Stat(f.target)
	if err != nil || info.Mode().Perm() != 0o600 {
		f.t.Errorf("got %v, %v; want mode 0600", info.Mode(), err)
	}
	manifest, err := os.ReadFile(f.target + ".manifest.json")
	var said struct {
		SHA256 string
		Bytes  int
		Groups []struct{ Grade string }
	}
	if err == nil {
		err = json.Unmarshal(manifest, &said)
	}
	if err != nil || said.SHA256 != fmt.Sprintf("%x", sha256.Sum256(f.want)) || said.Bytes != len(f.want) || len(said.Groups) != f.groups+1 {
		f.t.Errorf("manifest: %+v, %v", said, err)
	}
}

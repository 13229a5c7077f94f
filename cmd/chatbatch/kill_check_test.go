package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"chatbatch/io/ledger"
)

// check compares what is left at the end with what the scenario demands.
func (k *killing) check(stdout string, code int) {
	t := k.t
	if code != exitFailed {
		t.Errorf("got exit code %d, want %d", code, exitFailed)
	}
	infos := k.runs()
	if len(infos) != 1 {
		t.Errorf("got %d runs, want one", len(infos))
		for _, i := range infos {
			t.Logf("%s: %s %+v %v", i.Run, i.State, i.Books, i.Err)
		}
	}
	var sum ledger.Summary
	if err := json.Unmarshal([]byte(stdout), &sum); err != nil {
		t.Fatalf("summary %q: %v", stdout, err)
	}
	k.checkBooks(sum)
	k.checkLedger(sum.Run)
	k.checkFiles(sum.Run)
	k.checkServer()
	k.checkCalls(sum)
	k.checkClean()
}

func (k *killing) checkBooks(sum ledger.Summary) {
	classes := map[string]int64{}
	for _, r := range k.rows {
		if r.class != "" {
			classes[r.class]++
		}
	}
	failed := classes["bad_row"] + classes["offline_or_absent"]
	got := []any{sum.State, sum.Rows, sum.Succeeded, sum.Failed, sum.Unprocessed, sum.ByClass, sum.Groups}
	want := []any{ledger.Finished, int64(len(k.rows)), int64(len(k.rows)) - failed, failed, int64(0), classes, int64(killGroups)}
	if d := cmp.Diff(want, got); d != "" {
		k.t.Errorf("books: want -, got +\n%s", d)
	}
}

// checkLedger looks at the outcome of each single row.
func (k *killing) checkLedger(run string) {
	l, err := k.store.OpenRead(k.t.Context(), run)
	if err != nil {
		k.t.Fatal(err)
	}
	defer l.Close()
	n := 0
	for r, err := range l.Rows(k.t.Context()) {
		if err != nil {
			k.t.Fatal(err)
		}
		want := k.rows[n]
		status := ledger.Succeeded
		if want.class != "" {
			status = ledger.Failed
		}
		if r.Num != int64(n) || r.Line != int64(n)+2 || r.Raw != want.text || r.Status != status || r.Outcome.Class != want.class {
			k.t.Errorf("row %d: got %+v, want %+v", n, r, want)
		}
		n++
	}
	if n != len(k.rows) {
		k.t.Errorf("got %d rows, want %d", n, len(k.rows))
	}
}

// checkFiles looks at the reports as their reader does.
func (k *killing) checkFiles(run string) {
	dir := k.store.Path(run)
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			k.t.Error(err)
		}
		return string(b)
	}
	if got, want := read("unprocessed.csv"), killHeader+"\n"; got != want {
		k.t.Errorf("unprocessed.csv: got %q, want %q", got, want)
	}
	var want []string
	for i, r := range k.rows {
		if r.class != "" {
			want = append(want, fmt.Sprintf("%s,%d,%s", r.text, i+2, r.class))
		}
	}
	lines := strings.Split(strings.TrimSuffix(read("failed.csv"), "\n"), "\n")
	if head := killHeader + ",_line,_class,_code,_error,_attempts,_run"; lines[0] != head {
		k.t.Errorf("failed.csv: got header %q, want %q", lines[0], head)
	}
	var got []string
	for _, line := range lines[1:] {
		record, err := csv.NewReader(strings.NewReader(line)).Read()
		if err != nil || len(record) != 10 {
			k.t.Fatalf("failed.csv: line %q: %v", line, err)
		}
		end := fmt.Sprintf(",%s,%s", record[4], record[5])
		raw, _, ok := strings.Cut(line, end+",")
		if !ok || record[9] != run {
			k.t.Errorf("failed.csv: got line %q", line)
		}
		got = append(got, raw+end)
	}
	if d := cmp.Diff(want, got); d != "" {
		k.t.Errorf("failed.csv: want -, got +\n%s", d)
	}
}

// checkServer compares the marks at the server with those of the rows that
// succeeded.
func (k *killing) checkServer() {
	want := map[string]map[string][]uint64{}
	for _, r := range k.rows {
		if r.class != "" {
			continue
		}
		if want[r.group] == nil {
			want[r.group] = map[string][]uint64{}
		}
		var mark uint64
		fmt.Sscan(r.marks, &mark)
		want[r.group][r.account] = append(want[r.group][r.account], mark)
	}
	for group := range want {
		got := k.sim.Marks(group)
		for account := range got {
			slices.Sort(got[account])
		}
		if d := cmp.Diff(want[group], got); d != "" {
			k.t.Errorf("marks of %s: want -, got +\n%s", group, d)
		}
	}
}

// checkCalls holds that only calls under way at a kill were made again.
func (k *killing) checkCalls(sum ledger.Summary) {
	seen := k.sim.Counts()
	k.t.Logf("%d chunks: %d calls at the server, %d in the books, %d retries, %d chunks replayed; faults %v",
		sum.Chunks, seen.Calls, sum.Calls, sum.Retries, sum.Replayed, slices.Sorted(maps.Keys(seen.ByFault)))
	if n := int64(k.state[ledger.Running]); n > 0 && (sum.Replayed == 0 || sum.Replayed > n*2*killWorkers) {
		k.t.Errorf("got %d replayed chunks after %d kills with %d workers", sum.Replayed, n, killWorkers)
	}
	// A chunk on its way when its process is killed has made one call, rarely two.
	if most := sum.Calls + 2*sum.Replayed; seen.Calls > most {
		k.t.Errorf("the server got %d calls, the books have %d and %d replayed chunks", seen.Calls, sum.Calls, sum.Replayed)
	}
	if least := sum.Chunks; sum.Calls < least {
		k.t.Errorf("the books have %d calls for %d chunks", sum.Calls, least)
	}
}

// checkClean looks for what a killed process may leave behind.
func (k *killing) checkClean() {
	err := filepath.WalkDir(k.dir, func(path string, d os.DirEntry, err error) error {
		name := filepath.Base(path)
		if strings.HasSuffix(name, ".lock") && filepath.Dir(path) == k.store.Dir ||
			strings.HasPrefix(name, ".plan-") || strings.HasPrefix(name, ".input-") || strings.HasPrefix(name, ".removed-") {
			k.t.Errorf("left behind: %s", path)
		}
		return err
	})
	if err != nil {
		k.t.Error(err)
	}
}

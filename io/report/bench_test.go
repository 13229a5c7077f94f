package report

import (
	"fmt"
	"testing"

	"chatbatch/io/ledger"
)

// The reports of a million rows, of which none or 100,000 failed. The page must be
// a small part of it.
func BenchmarkWrite(b *testing.B) {
	for _, failed := range []int64{0, 10} {
		b.Run(fmt.Sprintf("failed=%d%%", failed), func(b *testing.B) {
			l := million(b, failed)
			dir := b.TempDir()
			for b.Loop() {
				if _, err := Write(b.Context(), l, dir, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkGroups is what the table of groups takes of it.
func BenchmarkGroups(b *testing.B) {
	l := million(b, 10)
	v, err := l.View(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	for b.Loop() {
		if _, err := v.Groups(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// million makes a run of 1,000,000 rows in 2,000 groups and chunks, of which so
// many of a hundred failed.
func million(b *testing.B, failed int64) *ledger.Ledger {
	b.Helper()
	ctx := b.Context()
	l, err := ledger.Store{Dir: b.TempDir()}.Create(ctx, ledger.Meta{Run: "r1", Kind: "marks set", Format: "csv", Header: "group_id,account,marks"})
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	must(err)
	b.Cleanup(func() { l.Close() })
	const groups, each = 2000, 500
	for i := range int64(groups * each) {
		must(l.PlanSource(i, i+2, fmt.Sprintf("@TGS#course-%d,student-%07d,1000", i%groups, i)))
	}
	entries := make([]ledger.Entry, each)
	for g := range int64(groups) {
		for i := range entries {
			num := int64(i)*groups + g // interleaved
			entries[i] = ledger.Entry{Account: fmt.Sprintf("student-%07d", num), Rows: []int64{num}}
		}
		must(l.PlanChunk(fmt.Sprintf("@TGS#course-%d", g), entries))
	}
	must(l.PlanDone(ctx, groups*each, 0))
	must(l.Begin(ctx))
	outcomes := make([]ledger.Outcome, each)
	for i := range outcomes {
		if int64(i)%100 < failed {
			outcomes[i] = ledger.Outcome{Class: "offline_or_absent", Error: "left out of the answer: not online in the group, not a member, or no such account", Attempts: 1}
		}
	}
	for g := range int64(groups) {
		must(l.Settle(ctx, g+1, outcomes, ledger.Cost{Calls: 1}))
	}
	return l
}

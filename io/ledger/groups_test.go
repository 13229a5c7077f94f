package ledger

import (
	"errors"
	"testing"
)

// The chunks of a group may lie anywhere in the plan.
func TestGroups(t *testing.T) { onBoth(t, testGroups) }

func testGroups(t *testing.T, create creating) {
	ctx := t.Context()
	_, l := create(t, "r1")
	for num := range int64(9) {
		must(t, l.PlanSource(num, num+2, ""))
	}
	must(t, l.PlanChunk("b", []Entry{{"", nil, []int64{0, 8}}, {"", nil, []int64{1}}}))
	must(t, l.PlanChunk("a", []Entry{{"", nil, []int64{2}}, {"", nil, []int64{3}}}))
	must(t, l.PlanChunk("b", []Entry{{"", nil, []int64{4, 5, 6}}}))
	must(t, l.PlanFailed(7, Outcome{Class: "bad_row"}))
	must(t, l.PlanDone(ctx, 9, 0))
	must(t, l.Begin(ctx))
	groups := func() []GroupBooks {
		list, err := viewOf(t, l).Groups(ctx)
		must(t, err)
		return list
	}
	diff(t, "planned", groups(), []GroupBooks{{"b", 6, 0, 0, 6}, {"a", 2, 0, 0, 2}})
	must(t, l.SettleEntry(ctx, 1, 0, Outcome{Class: "refused"}, Cost{1, 0}))
	diff(t, "an entry settled", groups(), []GroupBooks{{"b", 6, 0, 2, 4}, {"a", 2, 0, 0, 2}})
	must(t, l.Settle(ctx, 1, []Outcome{{}, {}}, Cost{}))
	must(t, l.Settle(ctx, 2, []Outcome{{Class: "refused", Code: 1}, {Class: "refused", Code: 2}}, Cost{}))
	must(t, l.Settle(ctx, 3, []Outcome{{}}, Cost{}))
	diff(t, "all settled", groups(), []GroupBooks{{"b", 6, 4, 2, 0}, {"a", 2, 0, 2, 0}})
}

func TestGroupsOfADamagedLedger(t *testing.T) {
	_, l := create(t, "r1")
	planSmall(t, l)
	ctx := t.Context()
	must(t, l.Settle(ctx, 1, []Outcome{{}, {Class: "refused"}}, Cost{}))
	must(t, fileOf(l).exec(ctx, "UPDATE progress SET outcomes = x'00' WHERE chunk = 1"))
	if _, err := viewOf(t, l).Groups(ctx); !errors.Is(err, ErrDamaged) {
		t.Errorf("got %v, want ErrDamaged", err)
	}
}

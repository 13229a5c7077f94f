package ledger

import (
	"context"
	"fmt"
)

// GroupBooks are the books of one group. Rows that failed before any call, a bad
// row for instance, belong to no group.
type GroupBooks struct {
	Group                                string
	Rows, Succeeded, Failed, Unprocessed int64
}

// Groups returns the books of every group, in plan order. It takes memory for each
// of them: Summary says how many there are. Row numbers and accounts are read only
// of chunks whose entries ended differently.
func (v *View) Groups(ctx context.Context) ([]GroupBooks, error) {
	list, err := v.groups(ctx)
	return list, v.l.fail("read the groups", err)
}

func (v *View) groups(ctx context.Context) (list []GroupBooks, err error) {
	at := map[string]int{}
	for c, err := range v.at.chunks(ctx, selection{counts: true}) {
		if err != nil {
			return nil, err
		}
		i, ok := at[c.group]
		if !ok {
			i = len(list)
			at[c.group] = i
			list = append(list, GroupBooks{Group: c.group})
		}
		if err := v.addChunk(ctx, &list[i], c); err != nil {
			return nil, fmt.Errorf("chunk %d: %w", c.id, err)
		}
	}
	return list, nil
}

// addChunk adds what became of a chunk's rows to the books of its group.
func (v *View) addChunk(ctx context.Context, g *GroupBooks, c *chunkRow) error {
	g.Rows += c.rows
	if c.outcomes == nil && !c.parts {
		g.Unprocessed += c.rows
		return nil
	}
	status := make([]Status, c.entries)
	if c.outcomes != nil {
		different, which, err := decodeOutcomes(c.outcomes, v.l.owner().outcomes(c.id), c.entries, nil)
		if err != nil {
			return err
		}
		if len(different) == 1 {
			g.count(statusOf(different[0]), c.rows)
			return nil
		}
		for i, w := range which {
			status[i] = statusOf(different[w])
		}
	} else {
		of, err := v.entries(ctx, c.id, c.entries)
		if err != nil {
			return err
		}
		for i, o := range of.settled {
			status[i] = statusOf(o)
		}
	}
	counts, err := v.rowCounts(c)
	if err != nil {
		return err
	}
	for i, s := range status {
		g.count(s, counts.count(i))
	}
	return nil
}

// rowCounts says how many rows each entry of a chunk has. Where there are as many
// rows as entries, each has one.
func (v *View) rowCounts(c *chunkRow) (nums, error) {
	if c.rows == int64(c.entries) {
		return nums{}, nil
	}
	return decodeNums(c.nums, v.l.owner(), c.entries)
}

func (g *GroupBooks) count(s Status, rows int64) {
	switch s {
	case Succeeded:
		g.Succeeded += rows
	case Failed:
		g.Failed += rows
	default:
		g.Unprocessed += rows
	}
}

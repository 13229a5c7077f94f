package ledger

import (
	"context"
	"database/sql"
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
	rows, err := v.conn.QueryContext(ctx, `SELECT c.id, c.grp, c.rows, c.entries, p.outcomes, p.outcomes IS NULL AND `+v.hasEntries()+`
		FROM chunk c LEFT JOIN progress p ON p.chunk = c.id ORDER BY c.id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	at := map[string]int{}
	for rows.Next() {
		var c groupChunk
		var group string
		var outcomes sql.RawBytes
		var has bool
		if err := rows.Scan(&c.id, &group, &c.rows, &c.entries, &outcomes, &has); err != nil {
			return nil, err
		}
		i, ok := at[group]
		if !ok {
			i = len(list)
			at[group] = i
			list = append(list, GroupBooks{Group: group})
		}
		if err := v.addChunk(ctx, &list[i], c, outcomes, has); err != nil {
			return nil, fmt.Errorf("chunk %d: %w", c.id, err)
		}
	}
	return list, rows.Err()
}

// groupChunk is a chunk as the books of its group see it.
type groupChunk struct {
	id, rows int64
	entries  int
}

// addChunk adds what became of a chunk's rows to the books of its group.
func (v *View) addChunk(ctx context.Context, g *GroupBooks, c groupChunk, outcomes []byte, has bool) error {
	g.Rows += c.rows
	if outcomes == nil && !has {
		g.Unprocessed += c.rows
		return nil
	}
	status := make([]Status, c.entries)
	if outcomes != nil {
		different, which, err := decodeOutcomes(outcomes, v.l.owner().outcomes(c.id), c.entries, nil)
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
	counts, err := v.rowCounts(ctx, c)
	if err != nil {
		return err
	}
	for i, s := range status {
		g.count(s, counts.count(i))
	}
	return nil
}

// rowCounts says how many rows each entry of a chunk has. Where there are as many
// rows as entries, each has one, and nothing is read.
func (v *View) rowCounts(ctx context.Context, c groupChunk) (nums, error) {
	if c.rows == int64(c.entries) {
		return nums{}, nil
	}
	var blob []byte
	if err := v.conn.QueryRowContext(ctx, "SELECT nums FROM chunk WHERE id = ?", c.id).Scan(&blob); err != nil {
		return nums{}, err
	}
	return decodeNums(blob, v.l.owner(), c.entries)
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

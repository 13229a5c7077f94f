package jobs

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"chatbatch/io/ledger"
)

// regroupRows is the number of rows from which a partition is parted once
// more, by account: such a partition holds a few huge groups.
const regroupRows = 1 << 16

// groupersOfSpill is how many partitions are grouped side by side when the
// input is large. Each takes a few megabytes, so they are few.
const groupersOfSpill = 2

// groupAll groups all partitions. The chunks of an input that fits into memory
// come in the same order each time.
func (p *planning) groupAll(ctx context.Context) error {
	groupers, ctx := errgroup.WithContext(ctx)
	groupers.SetLimit(1)
	if p.spill.file != nil {
		groupers.SetLimit(groupersOfSpill)
	}
	for i := range partitions {
		groupers.Go(func() error { return p.group(ctx, i) })
	}
	return groupers.Wait()
}

// group brings the rows of one partition together by group and account, and
// plans their chunks.
//
// Where the API limits a group (GroupCheck), rows beyond the limit are failed
// as they come and never kept, so memory is bounded by the limits. Where it
// does not, a huge partition is parted by account first; a group's last and
// unfilled chunk is carried from part to part, so that parting costs no call.
func (p *planning) group(ctx context.Context, part int) error {
	if p.spill.rows[part] == 0 {
		return nil
	}
	defer p.spill.free(part)
	open := &openChunks{size: p.ChunkSize, plan: p.chunk}
	if p.spill.rows[part] <= regroupRows || p.Kind.NewGroup() != nil {
		if err := p.merge(ctx, p.spill, part, open); err != nil {
			return err
		}
		return open.close()
	}
	byAccount := newSpill(p.TempDir, int(p.spill.rows[part]/regroupRows)+1, p.Memory/2)
	defer byAccount.close()
	for r, err := range p.spill.read(part) {
		if err != nil {
			return err
		}
		sub := int(hash(r.account) % uint64(len(byAccount.rows)))
		if err := byAccount.add(sub, r.num, r.line, string(r.group), string(r.account), r.data); err != nil {
			return err
		}
	}
	if err := byAccount.drain(); err != nil {
		return err
	}
	for sub := range byAccount.rows {
		if err := p.merge(ctx, byAccount, sub, open); err != nil {
			return err
		}
		byAccount.free(sub)
	}
	return open.close()
}

// A groupRows collects what the rows of one group ask, one entry an account,
// in the order in which the accounts came.
type groupRows struct {
	name    string
	check   GroupCheck
	index   map[string]int // of entries, by account
	entries []ledger.Entry
}

// merge groups the rows of one partition and hands the groups to open, in the
// order in which they came.
func (p *planning) merge(ctx context.Context, from *spill, part int, open *openChunks) error {
	groups := map[string]*groupRows{}
	var order []*groupRows
	var mem arena
	size := p.usualGroup()
	n := 0
	for r, err := range from.read(part) {
		if err != nil {
			return err
		}
		if n++; n%checkEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		g := groups[string(r.group)]
		if g == nil {
			g = &groupRows{
				name: string(r.group), check: p.Kind.NewGroup(),
				index: make(map[string]int, size), entries: make([]ledger.Entry, 0, size),
			}
			groups[g.name] = g
			order = append(order, g)
		}
		if err := p.row(g, r, &mem); err != nil {
			return err
		}
	}
	for _, g := range order {
		if err := open.add(g.name, g.entries); err != nil {
			return err
		}
		g.index, g.entries = nil, nil
	}
	return nil
}

// usualGroup is how many accounts a group of this input has, as far as is known:
// a map that has its size from the beginning is filled in half the time.
func (p *planning) usualGroup() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.totals.Groups == 0 {
		return 0
	}
	return int(min(p.totals.Accounts/p.totals.Groups, 1<<13))
}

// row adds one row to its group.
func (p *planning) row(g *groupRows, r spilled, mem *arena) error {
	i, again := g.index[string(r.account)]
	var have []byte
	if again {
		have = g.entries[i].Data
	}
	if g.check != nil {
		if err := g.check.Admit(have, r.data); err != nil {
			return p.overLimit(r, err)
		}
	}
	if again {
		if p.supersedes {
			p.countSuperseded()
		}
		e := &g.entries[i]
		e.Data = p.Kind.Merge(have, r.data)
		e.Rows = append(e.Rows, r.num)
		return nil
	}
	account := mem.text(r.account)
	g.index[account] = len(g.entries)
	g.entries = append(g.entries, ledger.Entry{Account: account, Data: mem.bytes(r.data), Rows: mem.number(r.num)})
	return nil
}

func (p *planning) countSuperseded() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.totals.Superseded++
}

// An arena makes the many small pieces of the entries of one partition in a few
// large ones: three allocations a row would be a third of the time of a plan.
type arena struct {
	raw     []byte
	strings strings.Builder
	numbers []int64
}

const (
	arenaBytes   = 16 << 10
	arenaNumbers = 2 << 10
)

// text copies b to a string.
func (a *arena) text(b []byte) string {
	if a.strings.Cap()-a.strings.Len() < len(b) {
		a.strings = strings.Builder{}
		a.strings.Grow(max(arenaBytes, len(b)))
	}
	from := a.strings.Len()
	a.strings.Write(b)
	return a.strings.String()[from:]
}

// bytes copies b.
func (a *arena) bytes(b []byte) []byte {
	if cap(a.raw)-len(a.raw) < len(b) {
		a.raw = make([]byte, 0, max(arenaBytes, len(b)))
	}
	from := len(a.raw)
	a.raw = append(a.raw, b...)
	return a.raw[from:len(a.raw):len(a.raw)]
}

// number makes a slice of one number, with no room for a second.
func (a *arena) number(n int64) []int64 {
	if len(a.numbers) == cap(a.numbers) {
		a.numbers = make([]int64, 0, arenaNumbers)
	}
	a.numbers = append(a.numbers, n)
	from := len(a.numbers) - 1
	return a.numbers[from : from+1 : from+1]
}

func (p *planning) overLimit(r spilled, why error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.totals.OverLimit++
	p.totals.Over = keepFirst(p.totals.Over, BadRow{r.line, why})
	return p.sink.PlanFailed(r.num, ledger.Outcome{Class: ClassOverLimit, Error: why.Error()})
}

// keepFirst keeps the rows of the lowest lines, in order.
func keepFirst(rows []BadRow, r BadRow) []BadRow {
	n := len(rows)
	if n == badRowsKept && r.Line > rows[n-1].Line {
		return rows
	}
	rows = append(rows, r)
	slices.SortFunc(rows, func(a, b BadRow) int { return cmp.Compare(a.Line, b.Line) })
	return rows[:min(len(rows), badRowsKept)]
}

// chunk plans one chunk.
func (p *planning) chunk(group string, entries []ledger.Entry, first bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if first {
		p.totals.Groups++
	}
	p.totals.Chunks++
	p.totals.Accounts += int64(len(entries))
	p.tell()
	return p.sink.PlanChunk(group, entries)
}

// openChunks holds, for each group of a partition, the entries that do not
// fill a chunk yet.
type openChunks struct {
	size   int
	plan   func(group string, entries []ledger.Entry, first bool) error
	groups []*openChunk
	byName map[string]*openChunk
}

type openChunk struct {
	group   string
	entries []ledger.Entry
	begun   bool // a chunk of this group is planned
}

func (o *openChunks) add(group string, entries []ledger.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	c := o.byName[group]
	if c == nil {
		c = &openChunk{group: group}
		if o.byName == nil {
			o.byName = map[string]*openChunk{}
		}
		o.byName[group] = c
		o.groups = append(o.groups, c)
	}
	if len(c.entries) > 0 {
		n := min(o.size-len(c.entries), len(entries))
		c.entries, entries = append(c.entries, entries[:n]...), entries[n:]
		if len(c.entries) == o.size {
			if err := o.flush(c, c.entries); err != nil {
				return err
			}
			c.entries = nil
		}
	}
	for len(entries) >= o.size {
		if err := o.flush(c, entries[:o.size]); err != nil {
			return err
		}
		entries = entries[o.size:]
	}
	c.entries = append(c.entries, entries...)
	return nil
}

func (o *openChunks) flush(c *openChunk, entries []ledger.Entry) error {
	first := !c.begun
	c.begun = true
	return o.plan(c.group, entries, first)
}

// close plans what is left, in the order in which the groups came.
func (o *openChunks) close() error {
	for _, c := range o.groups {
		if len(c.entries) == 0 {
			continue
		}
		if err := o.flush(c, c.entries); err != nil {
			return err
		}
	}
	return nil
}

package jobs

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"chatbatch/io/chat"
)

// growAfter is how many pages must have fitted before a page is made larger
// again; twice as many after each time that this was too much.
const growAfter = 8

// A pageLimit is how many members a page of one group may have. The server
// refuses answers over 1 MB (10018). It is safe for concurrent use.
type pageLimit struct {
	mu       sync.Mutex
	most     int // what the user wants
	now      int // under mu, like all below
	fitted   int // pages since the last change
	patience int
	grown    bool // the last change was to try a larger page
}

func newPageLimit(most int) *pageLimit {
	return &pageLimit{most: most, now: most, patience: growAfter}
}

func (l *pageLimit) get() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// fits notes that a page of that many was answered.
func (l *pageLimit) fits(asked int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if asked < l.now || l.now == l.most {
		return
	}
	if l.fitted++; l.fitted >= l.patience {
		l.now, l.fitted, l.grown = min(l.most, 2*l.now), 0, true
	}
}

// tooLarge notes that a page of that many was refused for its size.
func (l *pageLimit) tooLarge(asked int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if asked > l.now { // it left before the one that was refused first
		return
	}
	if l.grown {
		l.patience *= 2
	}
	l.now, l.fitted, l.grown = max(1, asked/2), 0, false
}

// barrenPages is how many pages in a row may bring no new member before a list
// is said to have no end. (A cursor may go over positions that are empty.)
const barrenPages = 50

// mostMembers is a MemberNum that is not believed: no group of the API may have
// as many members, and pages would be planned for all of them.
const mostMembers = 100_000_000

// beyondTold is how many members more than twice the MemberNum may come before a list is
// said to have no end. (It may be told late, or of some members only.)
const beyondTold = 100_000

// A stuckError says that the pages of a group never end.
type stuckError struct{ why string }

func (e *stuckError) Error() string { return "the server's pages never end: " + e.why }

// A reading is one reading of one group's members, page by page.
type reading struct {
	*Members
	call   *Caller
	group  string
	limit  *pageLimit
	basket *basket

	pages   atomic.Int64
	emptyAt atomic.Int64 // the lowest offset behind which there was nobody
	beyond  atomic.Int64 // where the last page ended, if that is behind the end of the group as the server tells it

	mu      sync.Mutex
	first   int64 // under mu; MemberNum of the first page that tells it, -1: none did
	last    int64 // under mu; and of the last
	changed bool  // under mu; MemberNum was not the same on all pages
}

// read reads the group once.
func (r *reading) read(ctx context.Context, community bool) error {
	r.emptyAt.Store(1<<63 - 1)
	if community {
		return r.byCursor(ctx, "")
	}
	page, err := r.page(ctx, r.call, chat.MembersQuery{}, r.most())
	if err != nil {
		return err
	}
	r.tell(page.MemberNum, true)
	if _, err := r.basket.add(ctx, page.Members); err != nil {
		return err
	}
	got := places(page.Members)
	switch {
	case page.Next != "": // a Community whose id does not say so
		return r.byCursor(ctx, page.Next)
	case got == 0:
		return nil
	case page.MemberNum < int64(got), page.MemberNum > mostMembers: // not told, or not true
		return r.toTheEnd(ctx, got)
	}
	return r.sideBySide(ctx, got, int(page.MemberNum))
}

// most is the largest page.
func (r *reading) most() int { return r.limit.most }

// page fetches one page of at most that many members, and less if they do not
// fit into one answer.
func (r *reading) page(ctx context.Context, call *Caller, q chat.MembersQuery, most int) (chat.MembersPage, error) {
	q.Group, q.Fields, q.Custom = r.group, r.request, r.custom
	for {
		q.Limit = min(most, r.limit.get())
		var page chat.MembersPage
		err := call.Do(ctx, chat.CommandGroupMembers, anyRetries, func(ctx context.Context) (err error) {
			page, err = r.chat.GroupMembers(ctx, q)
			return err
		})
		if refused, ok := refusalOf(err); ok && refused.Verdict == chat.Split && q.Limit > 1 {
			r.limit.tooLarge(q.Limit)
			continue
		}
		if err == nil {
			r.limit.fits(q.Limit)
			r.pages.Add(1)
			call.door.Meter.fetched(len(page.Members))
		}
		return page, err
	}
}

// tell notes what a page says of the size of the group; -1 is nothing.
func (r *reading) tell(memberNum int64, last bool) {
	if memberNum < 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first < 0 {
		r.first, r.last = memberNum, memberNum
	}
	if memberNum != r.first {
		r.changed = true
	}
	if last {
		r.last = memberNum
	}
}

// byCursor follows the cursor of a Community. Its pages come one after the other,
// so each goes ahead of calls that have no successor: otherwise a large Community
// would begin in earnest when all else is done.
func (r *reading) byCursor(ctx context.Context, next string) error {
	r.call.ahead = true
	defer func() { r.call.ahead = false }()
	been := map[string]bool{next: true}
	for barren := 0; ; {
		page, err := r.page(ctx, r.call, chat.MembersQuery{ByCursor: true, Next: next}, r.most())
		if err != nil {
			return err
		}
		r.tell(page.MemberNum, true)
		fresh, err := r.basket.add(ctx, page.Members)
		if err != nil {
			return err
		}
		if page.Next == "" {
			return nil
		}
		if barren++; fresh > 0 {
			barren = 0
		}
		if been[page.Next] {
			return &stuckError{fmt.Sprintf("the cursor %q came twice", short(page.Next))}
		}
		if barren > barrenPages {
			return &stuckError{fmt.Sprintf("%d pages brought no new member", barren)}
		}
		if err := r.tooMany(); err != nil {
			return err
		}
		next = page.Next
		been[next] = true
	}
}

// tooMany is an error when far more members have come than the server says there are.
func (r *reading) tooMany() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := min(r.last, mostMembers)
	if told < 0 {
		told = mostMembers
	}
	if n := int64(len(r.basket.seen)); n > 2*told+beyondTold {
		return &stuckError{fmt.Sprintf("%d members came, and the server says that there are %d", n, r.last)}
	}
	return nil
}

// toTheEnd reads from an offset until a page is empty: the server does not tell
// how many members there are.
func (r *reading) toTheEnd(ctx context.Context, offset int) error {
	for barren := 0; ; {
		page, err := r.page(ctx, r.call, chat.MembersQuery{Offset: offset}, r.most())
		if err != nil {
			return err
		}
		r.tell(page.MemberNum, true)
		if len(page.Members) == 0 {
			return nil
		}
		fresh, err := r.basket.add(ctx, page.Members)
		if err != nil {
			return err
		}
		if barren++; fresh > 0 {
			barren = 0
		}
		if barren > barrenPages {
			return &stuckError{fmt.Sprintf("%d pages brought no new member", barren)}
		}
		if err := r.tooMany(); err != nil {
			return err
		}
		offset += places(page.Members)
	}
}

// places is how many places of its list a page takes up: a server that names a member
// twice on one page has no more of them behind it.
func places(page []chat.Member) int {
	named := make(map[string]bool, len(page))
	n := 0
	for _, m := range page {
		if m.Account == "" || !named[m.Account] {
			n++
		}
		named[m.Account] = true
	}
	return n
}

// sideBySide reads the members from offset to all, several pages at a time.
func (r *reading) sideBySide(ctx context.Context, offset, all int) error {
	if offset >= all {
		return nil
	}
	// The first page brought as many members as a page can have, as the server
	// sees it; unless its own members were too large for more.
	stride := r.most()
	if offset < r.limit.get() {
		stride = offset
	}
	parts := (all - offset + stride - 1) / stride
	line := &inLine{waiting: map[int][]chat.Member{}}
	known := repeats{stride: stride}
	err := r.call.Each(ctx, parts, func(ctx context.Context, call *Caller, i int) error {
		from := offset + i*stride
		members, err := r.part(ctx, call, from, min(from+stride, all), i == parts-1)
		if err != nil {
			return err
		}
		return line.put(i, members, func(members []chat.Member) error {
			fresh, err := r.basket.add(ctx, members)
			if err != nil {
				return err
			}
			return known.add(len(members), fresh)
		})
	})
	if err == nil {
		err = known.end()
	}
	if from := int(r.beyond.Load()); err == nil && from > 0 { // there are more than it tells
		err = r.toTheEnd(ctx, from)
	}
	return err
}

// repeats finds a server that ignores the Offset: it tells how many members
// there are, and sends the same ones again and again.
type repeats struct {
	stride int // of a page
	fresh  int // members that were new
	inARow int // pages without one
	full   int // such pages that were as long as the first
}

// add notes a page.
func (p *repeats) add(members, fresh int) error {
	p.fresh += fresh
	switch {
	case fresh > 0:
		p.inARow = 0
	case members > 0:
		p.inARow++
	}
	if fresh == 0 && members >= p.stride {
		p.full++
	}
	if p.inARow > barrenPages {
		return &stuckError{fmt.Sprintf("%d pages brought no new member", p.inARow)}
	}
	return nil
}

// end looks back when there are no more pages.
func (p *repeats) end() error {
	if p.fresh == 0 && p.full > 0 {
		return &stuckError{"all pages have the members of the first"}
	}
	return nil
}

// part reads the members from offset to end. The last part goes on to where the
// group ends by now.
func (r *reading) part(ctx context.Context, call *Caller, offset, end int, last bool) ([]chat.Member, error) {
	var members []chat.Member
	for offset < end && int64(offset) < r.emptyAt.Load() {
		most := end - offset
		if last {
			most = r.most()
		}
		page, err := r.page(ctx, call, chat.MembersQuery{Offset: offset}, most)
		if err != nil {
			return nil, err
		}
		r.tell(page.MemberNum, last)
		if len(page.Members) == 0 {
			r.endsAt(int64(offset))
			break
		}
		members = append(members, page.Members...)
		// Not by the limit that was asked for: the server may give less.
		offset += places(page.Members)
		if last {
			end = max(end, int(min(page.MemberNum, mostMembers)))
		}
		if last && offset > end {
			r.beyond.Store(int64(offset))
		}
	}
	return members, nil
}

// endsAt notes that there was nobody at an offset.
func (r *reading) endsAt(offset int64) {
	for {
		known := r.emptyAt.Load()
		if known <= offset || r.emptyAt.CompareAndSwap(known, offset) {
			return
		}
	}
}

// inLine brings what comes in any order into the order of its places. It is safe
// for concurrent use.
type inLine struct {
	mu      sync.Mutex
	next    int
	waiting map[int][]chat.Member
}

// put hands on what is due, in order.
func (l *inLine) put(place int, members []chat.Member, on func([]chat.Member) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting[place] = members
	for {
		due, ok := l.waiting[l.next]
		if !ok {
			return nil
		}
		delete(l.waiting, l.next)
		l.next++
		if err := on(due); err != nil {
			return err
		}
	}
}

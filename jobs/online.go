package jobs

import (
	"context"
	"fmt"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
)

// Online exports who is online in audio-video groups.
type Online struct {
	groupKind
	chat *chat.Client
	keep Keeper
	mark chat.Mark
}

// ExportOnline is the kind "export online". mark is the mark that the members
// must have; 0 is all who are not hidden.
//
// The server lists the 1,000 newest members at most, 30 to an app whose edition
// does not include the list, and its list is up to 40 s old.
func ExportOnline(c *chat.Client, keep Keeper, mark chat.Mark) *Online {
	return &Online{chat: c, keep: keep, mark: mark}
}

// Name is "export online".
func (o *Online) Name() string { return "export online" }

// Settle fetches the online list of one group.
func (o *Online) Settle(ctx context.Context, call *Caller, c ledger.Chunk) (Result, error) {
	b := newBasket(o.keep, nil)
	r := receipt{Type: string(c.Entries[0].Data), Online: true, First: -1, Last: -1, Reads: 1}
	pages, err := o.read(ctx, call, c.Group, b)
	r.Pages, r.Nameless = pages, b.nameless
	if err == nil {
		err = b.fill(call.hard, &r)
	}
	// Whether 30 members are all, or all that the edition shows, is known
	// when the whole export is: see [gradeOnline].
	return settleFetched(call, r, err)
}

// maxOnlineRead is far above the members that the server ever lists of a group.
const maxOnlineRead = 100 * onlineCap

// read reads one list to its end.
func (o *Online) read(ctx context.Context, call *Caller, group string, b *basket) (pages int, err error) {
	been := map[int64]bool{0: true}
	for cursor, barren := int64(0), 0; ; {
		var page chat.OnlinePage
		err := call.Do(ctx, chat.CommandGetMembers, anyRetries, func(ctx context.Context) (err error) {
			page, err = o.chat.OnlineMembers(ctx, group, o.mark, cursor)
			return err
		})
		if err != nil {
			return pages, err
		}
		pages++
		call.door.Meter.fetched(len(page.Members))
		fresh, err := b.add(ctx, page.Members)
		if err != nil || page.Next == 0 {
			return pages, err
		}
		if barren++; fresh > 0 {
			barren = 0
		}
		if been[page.Next] {
			return pages, &stuckError{fmt.Sprintf("the cursor %d came twice", page.Next)}
		}
		if barren > barrenPages || len(b.seen) > maxOnlineRead {
			return pages, &stuckError{fmt.Sprintf("%d members came, %d pages brought no new one", len(b.seen), barren)}
		}
		cursor = page.Next
		been[cursor] = true
	}
}

// gradeOnline grades an online list. edition says that some list of the same
// export is longer than those of an app without the edition.
func gradeOnline(members int64, edition bool) string {
	// One page of the documentation says 30, that of an SDK 31.
	if members >= onlineCap || !edition && (members == onlineWithoutEdition || members == onlineWithoutEdition+1) {
		return GradeTruncated
	}
	return GradeExact
}

package jobs

import (
	"context"
	"maps"

	"chatbatch/io/chat"
)

// onlineCap is the most members that get_members ever lists: a list as long as
// that holds the newest only, and an account that is not in it may be online.
const onlineCap = 1000

// onlineWithoutEdition is how many members get_members lists for an app whose
// edition does not include the online list.
const onlineWithoutEdition = 30

// An onlineList asks get_members who is online.
type onlineList struct{ chat *chat.Client }

// ask returns the accounts that are online in group, and whether an account
// that is not among them is certainly not online. It reads at most pages pages.
//
// A member with mark 600 is left out of the plain list, so there is a second
// one to read.
func (l onlineList) ask(ctx context.Context, call *Caller, group string, pages int) (online map[string]bool, complete bool, err error) {
	online, plain, err := l.read(ctx, call, group, 0, pages)
	if err != nil {
		return online, false, err
	}
	hidden, all, err := l.read(ctx, call, group, markHidden, pages)
	maps.Copy(online, hidden)
	return online, plain && all && err == nil, err
}

// read reads one list to its end.
func (l onlineList) read(ctx context.Context, call *Caller, group string, mark chat.Mark, pages int) (map[string]bool, bool, error) {
	online := map[string]bool{}
	var cursor int64
	for range pages {
		var page chat.OnlinePage
		err := call.Do(ctx, chat.CommandGetMembers, anyRetries, func(ctx context.Context) (err error) {
			page, err = l.chat.OnlineMembers(ctx, group, mark, cursor)
			return err
		})
		if err != nil {
			return online, false, err
		}
		before := len(online)
		for _, m := range page.Members {
			online[m.Account] = true
		}
		if page.Next == 0 {
			return online, len(online) < onlineCap && len(online) != onlineWithoutEdition, nil
		}
		if page.Next == cursor || len(online) == before {
			return online, false, nil // the cursor is stuck
		}
		cursor = page.Next
	}
	return online, false, nil
}

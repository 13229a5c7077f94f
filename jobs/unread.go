package jobs

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
	"chatbatch/io/roster"
)

// An UnreadRow is a row of a file of unread counts.
type UnreadRow struct {
	Group   roster.Group   `csv:"group_id" json:"group_id"`
	Account roster.Account `csv:"account" json:"account"`
	Unread  roster.Count   `csv:"unread_msg_num" json:"unread_msg_num"`
}

// OpenUnread opens a file for the kind [SetUnread].
func OpenUnread(r io.Reader, o roster.Options) (*Input, error) {
	var data []byte
	return open(r, o, func(row UnreadRow) (Ask, error) {
		group, account := string(row.Group), string(row.Account)
		if err := checkGroup(group); err != nil {
			return Ask{}, err
		}
		if err := checkAccount(account); err != nil {
			return Ask{}, err
		}
		data = binary.AppendUvarint(data[:0], uint64(row.Unread))
		return Ask{Group: group, Account: account, Data: data}, nil
	})
}

// Unread sets the unread count of members of groups: one call a row.
//
// The server lowers a count that is larger than the number of messages of the
// group, and does not say so.
type Unread struct {
	chat  *chat.Client
	check bool
	say   func(string)

	asked map[string]bool // groups that were looked at; by Prepare alone
}

// SetUnread is the kind "unread set". With check, the type of each group is asked
// for before its first row is sent: in groups of type ChatRoom and AVChatRoom
// the server accepts a count and does nothing. say tells what the user should
// know; it may be called from any goroutine.
func SetUnread(c *chat.Client, check bool, say func(string)) *Unread {
	return &Unread{chat: c, check: check, say: say, asked: map[string]bool{}}
}

// Name is "unread set".
func (u *Unread) Name() string { return "unread set" }

// Merge keeps the last row: a count is absolute.
func (u *Unread) Merge(_, more []byte) []byte { return append([]byte(nil), more...) }

// Supersedes says that the last row of an account is the one that counts.
func (u *Unread) Supersedes() {}

// NewGroup is nil: there are no limits of a group.
func (u *Unread) NewGroup() GroupCheck { return nil }

// Settle is not called: see [Unread.SettleRow].
func (u *Unread) Settle(context.Context, *Caller, ledger.Chunk) (Result, error) {
	return Result{}, fmt.Errorf("%s is settled row by row", u.Name())
}

// SettleRow sets one count.
func (u *Unread) SettleRow(ctx context.Context, call *Caller, group string, e ledger.Entry) (ledger.Outcome, error) {
	n, size := binary.Uvarint(e.Data)
	if size <= 0 || n > 1<<32-1 {
		return ledger.Outcome{}, fmt.Errorf("%s: the plan has no count for %q", u.Name(), e.Account)
	}
	return ledger.Outcome{}, call.Do(ctx, chat.CommandSetUnread, anyRetries, func(ctx context.Context) error {
		return u.chat.SetUnread(ctx, group, e.Account, uint32(n))
	})
}

// askedMost bounds the memory of groups that were looked at. A group's chunks
// are near each other in the plan; one that is forgotten is looked at again.
const askedMost = 1 << 16

// Prepare finds groups that cannot have unread counts, or that are not there. If
// the app may not ask, it says so once and lets everything pass.
func (u *Unread) Prepare(ctx context.Context, call *Caller, groups []string) (map[string]ledger.Outcome, error) {
	var ask []string
	for _, g := range groups {
		if u.check && !u.asked[g] {
			ask = append(ask, g)
		}
	}
	if len(ask) == 0 {
		return nil, nil
	}
	if len(u.asked) > askedMost {
		clear(u.asked)
	}
	infos, err := groupInfos(ctx, call, u.chat, ask)
	refused, ok := refusalOf(err)
	if ok && refused.Exhausted && chat.CodeOf(refused.Err) == 0 {
		return nil, &GuardError{Reason: reasonNoAnswer, Err: refused}
	}
	if ok && !stopsAll(refused) {
		u.forgo(refused)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	known := map[string]ledger.Outcome{}
	for _, g := range ask {
		u.asked[g] = true
		if o, failed := unreadIn(infos[g]); failed {
			known[g] = o
		}
	}
	return known, nil
}

// forgo goes on without a look at the groups: for the rest of the run if the app
// may not ask, for these groups if the server could not answer.
func (u *Unread) forgo(why *Refusal) {
	const risk = "a row of a ChatRoom or AVChatRoom group then succeeds without effect"
	if !why.Exhausted {
		u.check = false
		u.say(fmt.Sprintf("groups are not checked: %v; %s", why, risk))
		return
	}
	u.say(fmt.Sprintf("some groups are not checked: %v; %s", why, risk))
}

// unreadIn says why a group cannot have unread counts. Groups of which nothing
// is known are left to the call itself.
func unreadIn(g chat.GroupInfo) (o ledger.Outcome, failed bool) {
	if g.Err != nil {
		rule := chat.Rule(g.Err.Code)
		if rule.Verdict == chat.FailGroup && rule.Class != ClassNoPermission {
			return ledger.Outcome{Class: rule.Class, Code: int(g.Err.Code), Error: rule.Meaning}, true
		}
		return ledger.Outcome{}, false
	}
	for _, unsupported := range []string{"ChatRoom", "Meeting", typeAVChatRoom} {
		if strings.EqualFold(g.Type, unsupported) {
			return ledger.Outcome{Class: ClassUnsupported, Error: "a group of type " + g.Type + " has no unread counts: the server would accept the call and do nothing"}, true
		}
	}
	return ledger.Outcome{}, false
}

package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"chatbatch/io/chat"
)

// Types of groups that are treated otherwise than the rest. The set of types is
// open.
const (
	typeAVChatRoom  = "AVChatRoom"
	typeCommunity   = "Community"
	communityPrefix = "@TGS#_" // of the id of every Community
)

func isCommunity(group, groupType string) bool {
	return strings.EqualFold(groupType, typeCommunity) || strings.HasPrefix(group, communityPrefix)
}

// groupInfos asks for the types of at most [chat.MaxGroupInfo] groups. Groups of
// which the answer says nothing are not in the result. If it is a group that the
// server minds, the others are asked for without it. A *Refusal that comes back
// means that the app may not ask, or that the server could not answer.
func groupInfos(ctx context.Context, call *Caller, c *chat.Client, groups []string) (map[string]chat.GroupInfo, error) {
	found := map[string]chat.GroupInfo{}
	accepted, refused, err := askInfos(ctx, call, c, groups, found)
	if err == nil && accepted == 0 && refused != nil && len(groups) > 1 {
		return nil, refused // it is not the groups
	}
	return found, err
}

// askInfos asks for some groups, and for less of them if it is refused. It returns
// how many calls were accepted, and one of the refusals that concern some group.
func askInfos(ctx context.Context, call *Caller, c *chat.Client, groups []string, found map[string]chat.GroupInfo) (accepted int, why *Refusal, err error) {
	var infos []chat.GroupInfo
	err = call.Do(ctx, chat.CommandGroupInfo, anyRetries, func(ctx context.Context) (err error) {
		infos, err = c.GroupInfo(ctx, groups)
		return err
	})
	for _, i := range infos {
		found[i.ID] = i
	}
	why, ok := refusalOf(err)
	switch {
	case err == nil:
		return 1, nil, nil
	case !ok || why.Exhausted || why.Verdict == chat.StopRun || why.Ruling.Class == ClassNoPermission:
		return 0, nil, err
	case len(groups) == 1:
		return 0, why, nil // its own call will tell
	}
	for _, half := range [][]string{groups[:len(groups)/2], groups[len(groups)/2:]} {
		n, _, err := askInfos(ctx, call, c, half, found)
		if accepted += n; err != nil {
			return accepted, why, err
		}
	}
	return accepted, why, nil
}

// stopsAll says that a refusal of one command would meet every other one too. One
// that is unknown, disabled, or not in the edition would not; if the endpoint is
// wrong as a whole, the next call tells.
func stopsAll(r *Refusal) bool {
	switch chat.CodeOf(r.Err) {
	case 10003, 10026, 10059, 60002, 60009, 60017:
		return false
	}
	if te, ok := errors.AsType[*chat.TransportError](r.Err); ok && te.Reason == chat.ReasonStatus {
		return false
	}
	return r.Verdict == chat.StopRun
}

// A GroupLister finds all groups of the app.
type GroupLister struct {
	Chat *chat.Client
	Type string // of the groups wanted; "" is all
	Say  func(string)

	untyped bool // the app may not ask for types
}

// groupListLimit is the most groups that get_appid_group_list puts on a page.
const groupListLimit = 10_000

// List yields each group with its type, "" if that is not known. A group may
// come twice. The calls are made through call.
//
// API: v4/group_open_http_svc/get_appid_group_list, of which one call a second
// is allowed, and get_group_info for the types.
func (l *GroupLister) List(ctx context.Context, call *Caller, yield func(group, groupType string) error) error {
	seen := map[uint64]bool{}
	var listed, total int64
	for cursor, barren := uint64(0), 0; ; {
		var page chat.GroupListPage
		err := call.Do(ctx, chat.CommandGroupList, anyRetries, func(ctx context.Context) (err error) {
			page, err = l.Chat.GroupList(ctx, l.Type, groupListLimit, cursor)
			return err
		})
		if err != nil {
			return listError(err)
		}
		if err := l.types(ctx, call, page.Groups, yield); err != nil {
			return listError(err)
		}
		listed, total = listed+int64(len(page.Groups)), max(total, page.Total)
		if page.Next == 0 {
			return l.whole(listed, total)
		}
		if barren++; len(page.Groups) > 0 {
			barren = 0
		}
		if seen[page.Next] || barren > barrenPages {
			return &GuardError{Reason: fmt.Sprintf("the list of the app's groups never ends, at cursor %d", page.Next)}
		}
		seen[page.Next] = true
		cursor = page.Next
	}
}

// whole compares a list with what the server says of it. Groups come and go
// meanwhile; but a list of nothing is none.
func (l *GroupLister) whole(listed, total int64) error {
	if listed == 0 && total > 0 {
		return &GuardError{Reason: fmt.Sprintf("the server lists none of the %d groups that it says there are", total)}
	}
	if listed < total {
		l.Say(fmt.Sprintf("the server lists %d of the %d groups that it says there are", listed, total))
	}
	return nil
}

// listError makes the end of a listing one that the end of a run can be: without
// the list there is nothing to do.
func listError(err error) error {
	r, ok := refusalOf(err)
	if ok && r.Exhausted && r.Verdict != chat.StopRun {
		return &GuardError{Reason: "the groups of the app cannot be listed", Err: r}
	}
	if ok {
		return &RunRefusedError{r}
	}
	return err
}

// types yields the groups of one page with their types.
func (l *GroupLister) types(ctx context.Context, call *Caller, groups []string, yield func(group, groupType string) error) error {
	types := make([]string, len(groups))
	var ask []int // those that must be asked for
	for i, g := range groups {
		switch {
		case l.Type != "":
			types[i] = l.Type
		case isCommunity(g, ""):
			types[i] = typeCommunity
		default:
			ask = append(ask, i)
		}
	}
	if err := l.ask(ctx, call, groups, ask, types); err != nil {
		return err
	}
	for i, g := range groups {
		if err := yield(g, types[i]); err != nil {
			return err
		}
	}
	return nil
}

// ask fills in the types of some groups, as many side by side as there are workers.
func (l *GroupLister) ask(ctx context.Context, call *Caller, groups []string, which []int, types []string) error {
	if l.untyped {
		return nil
	}
	parts := (len(which) + chat.MaxGroupInfo - 1) / chat.MaxGroupInfo
	err := call.Each(ctx, parts, func(ctx context.Context, call *Caller, part int) error {
		some := which[part*chat.MaxGroupInfo : min((part+1)*chat.MaxGroupInfo, len(which))]
		ids := make([]string, len(some))
		for i, place := range some {
			ids[i] = groups[place]
		}
		infos, err := groupInfos(ctx, call, l.Chat, ids)
		for _, place := range some {
			types[place] = infos[groups[place]].Type
		}
		return err
	})
	if refused, ok := refusalOf(err); ok && !stopsAll(refused) {
		l.untyped = !refused.Exhausted
		l.Say(fmt.Sprintf("the types of groups cannot be asked for: %v; audio-video groups will fail", refused))
		return nil
	}
	return err
}

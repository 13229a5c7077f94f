package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
	"chatbatch/io/roster"
)

// DefaultPageSize is the most members of a page, as the documentation page of
// get_group_member_info recommends it.
const DefaultPageSize = 100

// maxCursorPage is the most members of a page behind a cursor, by the same page.
const maxCursorPage = 100

// A GroupRow is a row of a list of groups.
type GroupRow struct {
	Group roster.Group `csv:"group_id" json:"group_id"`
	Type  string       `csv:"type,omitempty" json:"type,omitempty"`
}

// OpenGroups opens a list of groups for the kinds that export them.
func OpenGroups(r io.Reader, o roster.Options) (*Input, error) {
	return open(r, o, func(row GroupRow) (Ask, error) {
		group := string(row.Group)
		if err := checkGroup(group); err != nil {
			return Ask{}, err
		}
		return Ask{Group: group, Data: []byte(strings.TrimSpace(row.Type))}, nil
	})
}

// groupKind is what the kinds have in common that export groups: a chunk is one
// group, and its one entry has no account.
type groupKind struct{}

// Merge keeps the type of a group that is listed twice.
func (groupKind) Merge(have, more []byte) []byte {
	if len(have) > 0 {
		return have
	}
	return append([]byte(nil), more...)
}

// NewGroup is nil: there are no limits of a group.
func (groupKind) NewGroup() GroupCheck { return nil }

// Roles are the roles of members, from the documentation page of
// get_group_member_info.
func Roles() []string { return []string{"Owner", "Admin", "Member"} }

// MembersOptions say what an export of member profiles has.
type MembersOptions struct {
	Fields   []string // of a profile, as the API names them; nil: all
	Roles    []string // members of these roles only, see [Roles]; nil: all
	Custom   []string // custom fields; nil: all that the server sends
	PageSize int      // DefaultPageSize if 0

	// WithRooms exports the online list of audio-video groups, which have no
	// profiles, instead of failing them.
	WithRooms bool
}

// Members exports the profiles of the members of groups.
type Members struct {
	groupKind
	chat   *chat.Client
	keep   Keeper
	online *Online

	request, custom []string
	wanted          func(chat.Member) bool
	pageSize        int
	withRooms       bool
}

// ExportMembers is the kind "export members". What it fetches is kept in keep.
//
// A server filters by role before or behind its Offset, which its documentation
// leaves open; so all members are read, and Roles are chosen here.
func ExportMembers(c *chat.Client, keep Keeper, o MembersOptions) *Members {
	m := &Members{
		chat: c, keep: keep, online: ExportOnline(c, keep, 0),
		request: o.Fields, custom: o.Custom, pageSize: o.PageSize,
		withRooms: o.WithRooms && len(o.Roles) == 0, // who is online there has no role
	}
	if m.pageSize == 0 {
		m.pageSize = DefaultPageSize
	}
	if len(o.Roles) > 0 {
		m.wanted = func(member chat.Member) bool { return slices.ContainsFunc(o.Roles, hasRole(member)) }
		if o.Fields != nil && !slices.Contains(o.Fields, fieldRole) {
			m.request = append(slices.Clone(o.Fields), fieldRole)
		}
	}
	return m
}

func hasRole(m chat.Member) func(string) bool {
	role := roleOf(m)
	return func(wanted string) bool { return strings.EqualFold(wanted, role) }
}

// Name is "export members".
func (m *Members) Name() string { return "export members" }

// Settle fetches the members of one group.
func (m *Members) Settle(ctx context.Context, call *Caller, c ledger.Chunk) (Result, error) {
	groupType := string(c.Entries[0].Data)
	if strings.EqualFold(groupType, typeAVChatRoom) {
		if m.withRooms {
			return m.online.Settle(ctx, call, c)
		}
		return Result{Outcomes: []ledger.Outcome{{Class: ClassUnsupported, Error: "an audio-video group has no member profiles; " + useOnline}}}, nil
	}
	r, err := m.fetch(ctx, call, c.Group, groupType)
	if refused, ok := refusalOf(err); ok && chat.CodeOf(refused.Err) == 10007 {
		refused.Ruling.Meaning += "; " + useOnline
		refused.Ruling.Hint = useOnline
	}
	return settleFetched(call, r, err)
}

const useOnline = "for an audio-video group use: chatbatch export online"

// fetch reads a group, and once more if it has changed meanwhile.
func (m *Members) fetch(ctx context.Context, call *Caller, group, groupType string) (receipt, error) {
	rec := receipt{Type: groupType}
	community := isCommunity(group, groupType)
	limit := newPageLimit(m.pageSize)
	if community {
		limit = newPageLimit(min(m.pageSize, maxCursorPage))
	}
	for rec.Reads < 2 && rec.Grade != GradeExact && rec.Grade != GradeUncounted {
		again, err := m.readOnce(ctx, call, group, limit, community, rec)
		refused, ok := refusalOf(err)
		if ok && refused.Verdict != chat.StopRun && rec.Reads > 0 {
			return rec, nil // the first reading is better than none
		}
		if rec = again; err != nil {
			return rec, err
		}
	}
	return rec, nil
}

// readOnce reads a group. before is the receipt of an earlier reading.
func (m *Members) readOnce(ctx context.Context, call *Caller, group string, limit *pageLimit, community bool, before receipt) (receipt, error) {
	rec := before
	r := &reading{Members: m, call: call, group: group, limit: limit, basket: newBasket(m.keep, m.wanted), first: -1, last: -1}
	if err := r.read(ctx, community); err != nil {
		return rec, err
	}
	rec.Reads++
	rec.Pages += int(r.pages.Load())
	rec.First, rec.Last, rec.Nameless = r.first, r.last, r.basket.nameless
	rec.Grade = r.grade()
	return rec, r.basket.fill(call.hard, &rec)
}

// grade says how good the reading is.
func (r *reading) grade() string {
	switch {
	case r.changed:
		return GradeDrifted
	case r.first < 0:
		return GradeUncounted
	case int64(len(r.basket.seen)) != r.first:
		return GradeDrifted
	}
	return GradeExact
}

// settleFetched makes the result of a group that was fetched, or was not.
func settleFetched(call *Caller, r receipt, err error) (Result, error) {
	o := ledger.Outcome{Attempts: call.Cost.Calls}
	var stuck *stuckError
	switch refused, ok := refusalOf(err); {
	case err == nil:
		note, err := r.encode()
		return Result{Outcomes: []ledger.Outcome{o}, Note: note}, err
	case errors.As(err, &stuck):
		o.Class, o.Error = ClassStuckCursor, stuck.Error()
	case !ok || refused.Verdict == chat.StopRun:
		return Result{}, err
	default:
		o = refused.outcome(refused.Ruling.Class)
		o.Attempts = call.Cost.Calls
		// A group without such a list is refused by 10007 as if the app might
		// not ask; several of those at the head of an input are no reason to
		// stop, and there is no other chunk of the group that could be spared.
		if refused.Verdict != chat.FailGroup {
			call.gaveUp = refused
		}
	}
	if o.Class == "" {
		return Result{}, fmt.Errorf("a group was refused without a class: %w", err)
	}
	return Result{Outcomes: []ledger.Outcome{o}}, nil
}

package jobs

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"chatbatch/io/chat"
	"chatbatch/io/ledger"
	"chatbatch/io/roster"
)

// Limits of marks, from the documentation page of modify_user_info.
const (
	minMark         = 1000
	markAlwaysHere  = 500 // the member counts as online for up to three days
	markHidden      = 600 // the member is hidden from the online list
	marksInGroup    = 10
	membersWithMark = 1000
)

// A MarkRow is a row of a roster: an account, its group, and its marks.
type MarkRow struct {
	Group   roster.Group   `csv:"group_id" json:"group_id"`
	Account roster.Account `csv:"account" json:"account"`
	Marks   roster.Marks   `csv:"marks" json:"marks"`
}

// OpenMarks opens a roster for the kinds [SetMarks] and [DeleteMarks].
func OpenMarks(r io.Reader, o roster.Options) (*Input, error) {
	var data []byte
	return open(r, o, func(row MarkRow) (Ask, error) {
		group, account := string(row.Group), string(row.Account)
		if err := checkGroup(group); err != nil {
			return Ask{}, err
		}
		if err := checkAccount(account); err != nil {
			return Ask{}, err
		}
		for _, m := range row.Marks {
			if m < minMark && m != markAlwaysHere && m != markHidden {
				return Ask{}, fmt.Errorf("column marks: %d is not a mark: marks are 1000 and above, 500 and 600", m)
			}
		}
		data = encodeMarks(data[:0], row.Marks)
		return Ask{Group: group, Account: account, Data: data}, nil
	})
}

// Marks sets or deletes marks of the online members of groups.
type Marks struct {
	command chat.MarksCommand
	chat    *chat.Client
	batch   *batch
}

// SetMarks is the kind "marks set". isolate is the number of calls that the
// isolation of one refused chunk may cost; 0 is [DefaultIsolateCalls].
func SetMarks(c *chat.Client, isolate int) *Marks { return newMarks(chat.SetMarks, c, isolate) }

// DeleteMarks is the kind "marks delete".
func DeleteMarks(c *chat.Client, isolate int) *Marks { return newMarks(chat.DeleteMarks, c, isolate) }

func newMarks(command chat.MarksCommand, c *chat.Client, isolate int) *Marks {
	if isolate == 0 {
		isolate = DefaultIsolateCalls
	}
	m := &Marks{command: command, chat: c}
	m.batch = &batch{
		api: chat.CommandModifyUserInfo, send: m.send,
		online: onlineList{c}.ask, needsOnline: m.needsOnline, budget: isolate,
	}
	return m
}

// Name is "marks set" or "marks delete".
func (m *Marks) Name() string {
	if m.command == chat.DeleteMarks {
		return "marks delete"
	}
	return "marks set"
}

// Merge is the union of two sets of marks.
func (m *Marks) Merge(have, more []byte) []byte {
	union := append(decodeMarks(have), decodeMarks(more)...)
	return encodeMarks(nil, union)
}

// NewGroup checks a group's marks; deleting has no limits.
func (m *Marks) NewGroup() GroupCheck {
	if m.command == chat.DeleteMarks {
		return nil
	}
	return &markLimits{members: map[uint64]int{}}
}

// Settle sends one chunk in one call, and in more if it is refused.
func (m *Marks) Settle(ctx context.Context, call *Caller, c ledger.Chunk) (Result, error) {
	outcomes, err := m.batch.settle(ctx, call, c)
	return Result{Outcomes: outcomes}, err
}

// send marks the members of one group and says what became of each.
func (m *Marks) send(ctx context.Context, group string, entries []ledger.Entry) ([]ledger.Outcome, error) {
	members := make([]chat.MemberMarks, len(entries))
	for i, e := range entries {
		members[i] = chat.MemberMarks{Account: e.Account, Marks: toMarks(decodeMarks(e.Data))}
	}
	changed, err := m.chat.ModifyMarks(ctx, group, m.command, members)
	if err != nil {
		return nil, err
	}
	answered := make(map[string][]chat.Mark, len(changed))
	for _, c := range changed {
		answered[c.Account] = append(answered[c.Account], c.Marks...)
	}
	outcomes := make([]ledger.Outcome, len(entries))
	for i, asked := range members {
		got, ok := answered[asked.Account]
		outcomes[i] = m.outcome(asked.Marks, got, ok)
	}
	return outcomes, nil
}

// outcome compares what was asked for an account with what the answer says. An
// answer that names no marks at all, or one to a deletion, vouches for the
// account as a whole.
func (m *Marks) outcome(asked, got []chat.Mark, answered bool) ledger.Outcome {
	if !answered {
		return ledger.Outcome{Class: ClassOffline, Error: "left out of the answer: not online in the group, not a member, or no such account"}
	}
	if m.command == chat.DeleteMarks || len(got) == 0 {
		return ledger.Outcome{}
	}
	for _, mark := range asked {
		if !slices.Contains(got, mark) {
			return ledger.Outcome{Class: ClassMarkNotSet, Error: fmt.Sprintf("the answer names the account without mark %d", mark)}
		}
	}
	return ledger.Outcome{}
}

// needsOnline is false for an account that is to get mark 500: that is the one
// mark that a member can get while offline.
func (m *Marks) needsOnline(e ledger.Entry) bool {
	return m.command == chat.DeleteMarks || !slices.Contains(decodeMarks(e.Data), markAlwaysHere)
}

// markLimits holds the limits of marks in one group.
type markLimits struct {
	members map[uint64]int // with each mark, in this input
}

// Admit refuses the eleventh mark of a group and the 1,001st member of a mark.
// A row of several marks is admitted as a whole or not at all.
func (l *markLimits) Admit(have, more []byte) error {
	var buf [2][marksInGroup]uint64 // enough for what is ever admitted
	old, asked := appendMarks(buf[0][:0], have), appendMarks(buf[1][:0], more)
	kinds := len(l.members)
	for _, m := range asked {
		n := l.members[m]
		switch {
		case slices.Contains(old, m):
		case n >= membersWithMark:
			return fmt.Errorf("mark %d has %d members of this group already, the most that the API allows", m, n)
		case n == 0:
			if kinds++; kinds > marksInGroup {
				return fmt.Errorf("mark %d is one more than the %d different marks that the API allows a group", m, marksInGroup)
			}
		}
	}
	for _, m := range asked {
		if !slices.Contains(old, m) {
			l.members[m]++
		}
	}
	return nil
}

// encodeMarks appends a set of marks, ascending, as varints.
func encodeMarks(b []byte, marks []uint64) []byte {
	if len(marks) > 1 {
		marks = slices.Clone(marks)
		slices.Sort(marks)
		marks = slices.Compact(marks)
	}
	for _, m := range marks {
		b = binary.AppendUvarint(b, m)
	}
	return b
}

func decodeMarks(b []byte) []uint64 { return appendMarks(nil, b) }

// appendMarks appends the marks that encodeMarks has put into b.
func appendMarks(marks []uint64, b []byte) []uint64 {
	for len(b) > 0 {
		m, n := binary.Uvarint(b)
		if n <= 0 {
			return marks
		}
		marks, b = append(marks, m), b[n:]
	}
	return marks
}

func toMarks(marks []uint64) []chat.Mark {
	out := make([]chat.Mark, len(marks))
	for i, m := range marks {
		out[i] = chat.Mark(m)
	}
	return out
}

package chatsim

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// A profile is what there is to say of a member of a group. It can be
// encoded without the mutex.
type profile struct {
	account, role string
	joined        int64
	named         *Member // nil for those whom the scenario does not list
	draw          uint64  // of the others: what their fields are made from
	number        int     // of the others: their position
	customBytes   int
}

// profile describes the member at a position.
func (g *group) profile(pos int) profile {
	account := g.account(pos)
	p := profile{account: account, role: g.role(pos), joined: g.info(account).joined, named: g.named[account]}
	if p.named == nil {
		p.draw, p.number, p.customBytes = mix(g.sc.Seed, g.id, account), pos, g.gen.CustomBytes
	}
	return p
}

const fieldCustom = "AppMemberDefinedData"

// profileFields are the names that the documentation has for a member's
// fields, in the order of an answer.
func profileFields() []string {
	return []string{"Member_Account", "Role", "JoinTime", "MsgSeq", "MsgFlag", "LastSendMsgTime", "MuteUntil", "NameCard", fieldCustom}
}

// A profileFilter is what a request wants of each member.
type profileFilter struct {
	fields map[string]bool // nil: all
	keys   []string        // of custom fields, nil: all
}

// filterOf reads the filters of a request; an empty one is none. Custom
// fields are one of the fields: a request that names fields gets those custom
// ones only that it names as well, as the sample on the page has it.
func filterOf(fields, custom []string) profileFilter {
	f := profileFilter{keys: custom}
	if len(custom) == 0 {
		f.keys = nil
	}
	if len(fields) == 0 {
		return f
	}
	f.fields = make(map[string]bool, len(fields)+1)
	for _, name := range fields {
		f.fields[name] = true
	}
	if f.keys != nil {
		f.fields[fieldCustom] = true
	}
	return f
}

func (f *profileFilter) wants(field string) bool { return f.fields == nil || f.fields[field] }

// appendProfiles appends a MemberList, or says that it is too large.
func (s *Sim) appendProfiles(b []byte, list []profile, f profileFilter) ([]byte, *refusal) {
	b = append(b, `,"MemberList":[`...)
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = list[i].append(b, f, s.sc.RoleBlank)
		if len(b) > s.sc.MaxAnswer {
			return nil, refuse(codeTooLarge, "")
		}
	}
	return append(b, ']'), nil
}

// append appends the object of a member.
func (p *profile) append(b []byte, f profileFilter, blank bool) []byte {
	m, role := p.named, p.role
	if m == nil {
		m = p.invented()
	}
	if blank && role == roleMember {
		role += " "
	}
	b = append(b, `{"Member_Account":`...)
	b = appendString(b, p.account)
	b = f.appendText(b, "Role", role)
	b = f.appendNumber(b, "JoinTime", p.joined)
	b = f.appendNumber(b, "MsgSeq", m.MsgSeq)
	b = f.appendText(b, "MsgFlag", cmp.Or(m.MsgFlag, msgFlags[0]))
	b = f.appendNumber(b, "LastSendMsgTime", m.LastSendMsgTime)
	b = f.appendNumber(b, "MuteUntil", m.MuteUntil)
	if m.NameCard != nil {
		b = f.appendText(b, "NameCard", *m.NameCard)
	}
	if f.wants(fieldCustom) {
		b = appendCustom(b, m.Custom, f.keys)
	}
	for _, e := range m.Extra {
		b = append(appendText(append(b, ','), e.Name), ':')
		b = append(b, e.Value...)
	}
	return append(b, '}')
}

func (f *profileFilter) appendNumber(b []byte, name string, n int64) []byte {
	if !f.wants(name) {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":`...)
	return strconv.AppendInt(b, n, 10)
}

func (f *profileFilter) appendText(b []byte, name, s string) []byte {
	if !f.wants(name) {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":`...)
	return appendText(b, s)
}

// appendCustom appends the custom fields with the keys that are asked for;
// a member without any has no list of them.
func appendCustom(b []byte, custom Custom, keys []string) []byte {
	n := 0
	for _, c := range custom {
		if keys != nil && !slices.Contains(keys, c.Key) {
			continue
		}
		if n++; n == 1 {
			b = append(b, `,"AppMemberDefinedData":[`...)
		} else {
			b = append(b, ',')
		}
		b = appendText(append(b, `{"Key":`...), c.Key)
		b = appendText(append(b, `,"Value":`...), c.Value)
		b = append(b, '}')
	}
	if n > 0 {
		b = append(b, ']')
	}
	return b
}

var (
	msgFlags = [...]string{"AcceptAndNotify", "AcceptNotNotify", "Discard"}
	// cards are the name cards of those who were made up: nothing that a
	// person would not choose, and a bit of all that a table must survive.
	cards = [...]string{"Student ", "Müller, Anna ", "学生", "O'Neil ", `Sam "Ace" `, "نور ", "🎓 ", "=1+"}
)

const (
	mutedForEver    = 4294967295
	maxCustomFields = 5
)

// invented are the fields of a member whom the scenario does not describe.
// They follow from the seed, the group and the account.
func (p *profile) invented() *Member {
	d := p.draw
	m := &Member{
		MsgSeq:   int64(d % 5000),
		MsgFlag:  msgFlags[d>>16%uint64(len(msgFlags))],
		NameCard: new(cards[d>>24%uint64(len(cards))] + strconv.Itoa(p.number)),
		Custom:   inventedCustom(p.customBytes, d),
	}
	if d>>32%4 != 0 {
		m.LastSendMsgTime = p.joined + int64(d>>40%86_400)
	}
	switch d >> 56 % 32 {
	case 0:
		m.MuteUntil = mutedForEver
	case 1, 2:
		m.MuteUntil = p.joined + int64(d>>40%1_000_000)
	}
	return m
}

// inventedCustom spreads so many bytes over at most five custom fields.
func inventedCustom(bytes int, draw uint64) Custom {
	n := min(bytes, maxCustomFields)
	c := make(Custom, 0, n)
	for i := range n {
		size := bytes / n
		if i < bytes%n {
			size++
		}
		letter := 'a' + byte((draw>>(8*i))%26)
		c = append(c, CustomField{"Custom" + strconv.Itoa(i+1), strings.Repeat(string(letter), size)})
	}
	return c
}

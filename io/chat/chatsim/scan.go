package chatsim

const (
	bytesPerMember = 48     // of a short one: room is made in advance
	maxScanned     = 10_000 // but not for more members than this
)

// A scanner reads JSON as it is nearly always sent: known names once, plain
// ASCII, whole numbers. At whatever else it gives up, and the real decoder
// has the word; so it can be wrong only by taking what the decoder would not,
// which a fuzz test looks for. It is there for the simulator to stay out of
// the way: 500 accounts take about a tenth of the decoder's time.
type scanner struct {
	s   string
	i   int
	bad bool
}

// scanModify reads the body of a modify_user_info. The strings it returns
// are parts of s.
func scanModify(s string) (modifyRequest, bool) {
	var r modifyRequest
	p := &scanner{s: s}
	p.object(func(name string) int {
		switch name {
		case "GroupId":
			r.GroupID = p.text()
			return 1
		case "CommandType":
			r.CommandType = int64(p.number())
			return 2
		case "MemberList":
			r.MemberList = p.members()
			return 4
		}
		return 0
	})
	p.space()
	return r, !p.bad && p.i == len(p.s)
}

func (p *scanner) members() []memberMarks {
	n := min(len(p.s)/bytesPerMember, maxScanned)
	list := make([]memberMarks, 0, n)
	marks := make([]uint64, 0, n) // of all members, in one piece
	p.list(func() {
		var m memberMarks
		from := len(marks)
		p.object(func(name string) int {
			switch name {
			case "Member_Account":
				m.Account = p.text()
				return 1
			case "Marks":
				p.list(func() { marks = append(marks, p.number()) })
				return 2
			}
			return 0
		})
		m.Marks = marks[from:len(marks):len(marks)]
		list = append(list, m)
	})
	return list
}

// object reads an object; field reads the value of a name and returns its
// bit, 0 for a name it does not know.
func (p *scanner) object(field func(name string) int) {
	seen := 0
	p.expect('{')
	if p.next() == '}' {
		p.i++
		return
	}
	for !p.bad {
		name := p.text()
		p.expect(':')
		if p.bad {
			return
		}
		bit := field(name)
		if bit == 0 || seen&bit != 0 {
			p.bad = true
			return
		}
		seen |= bit
		if p.last('}') {
			return
		}
	}
}

func (p *scanner) list(item func()) {
	p.expect('[')
	if p.next() == ']' {
		p.i++
		return
	}
	for !p.bad {
		item()
		if p.last(']') {
			return
		}
	}
}

// last passes a comma, or the closing byte and says so.
func (p *scanner) last(closing byte) bool {
	if p.next() == closing {
		p.i++
		return true
	}
	p.expect(',')
	return false
}

func (p *scanner) space() {
	for p.i < len(p.s) && (p.s[p.i] == ' ' || p.s[p.i] == '\n' || p.s[p.i] == '\r' || p.s[p.i] == '\t') {
		p.i++
	}
}

// next looks at the next byte that is no space; 0 at the end.
func (p *scanner) next() byte {
	p.space()
	if p.i < len(p.s) {
		return p.s[p.i]
	}
	return 0
}

func (p *scanner) expect(c byte) {
	if p.next() != c {
		p.bad = true
		return
	}
	p.i++
}

func (p *scanner) text() string {
	p.expect('"')
	from := p.i
	for p.i < len(p.s) && plainByte(p.s[p.i]) {
		p.i++
	}
	if p.bad || p.i == len(p.s) || p.s[p.i] != '"' {
		p.bad = true
		return ""
	}
	p.i++
	return p.s[from : p.i-1]
}

// number reads a whole number of at most 18 digits, which fits everywhere.
func (p *scanner) number() uint64 {
	p.space()
	from, n := p.i, uint64(0)
	for p.i < len(p.s) && p.s[p.i] >= '0' && p.s[p.i] <= '9' {
		n = n*10 + uint64(p.s[p.i]-'0')
		p.i++
	}
	if l := p.i - from; l == 0 || l > 18 || l > 1 && p.s[from] == '0' {
		p.bad = true
	}
	return n
}

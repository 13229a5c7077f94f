//go:build linux

package chaos

import (
	"fmt"
	"testing"
)

// Without any trouble, everything is as it should be: what the other tests find is of
// their own making.
func TestNoTrouble(t *testing.T) {
	p := newPlace(t)
	rows := p.classRows(12, 60)
	e := p.run("marks", "set", p.roster("class.csv", classHeader, rows), "--chunk-size", "20", "--json")
	e.want(t, exitFailed)
	s := p.summary(e)
	lost := p.wrong(s.Run, classHeader, rows) + p.wrongMarks(rows)
	if left := p.remains(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	p.private()
	tried.add("nothing", 1, lost)
}

func TestNoTroubleOfExports(t *testing.T) {
	p := newPlace(t)
	text := "group_id\n"
	for g := range 5 {
		name := fmt.Sprintf("public%d", g)
		p.api.found(name, "Public")
		text += name + "\n"
		for m := range 450 {
			p.api.join(name, fmt.Sprintf("member %d", m))
		}
	}
	e := p.run("export", "members", p.file("groups.csv", text), "-o", "members.csv", "--json")
	e.want(t, exitOK)
	if s := p.summary(e); s.Succeeded != 5 {
		t.Errorf("got %+v", s)
	}
	if left := p.remains(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

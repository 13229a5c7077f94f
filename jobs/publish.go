package jobs

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"chatbatch/io/chat"
	"chatbatch/io/export"
	"chatbatch/io/ledger"
)

// A Publication says what an export becomes: a table of the members of all
// groups that were fetched, in the order of the input, and a manifest of it.
type Publication struct {
	Kind    string
	Path    string         // of the table; "" writes it to Stream
	Stream  io.Writer      // see Path
	File    string         // what the manifest calls the table; "" is the last part of Path
	Format  export.Format  // of the table
	Excel   bool           // see export.Options
	Members MembersOptions // of the kind "export members"

	Manifest string // path of the manifest
}

// Published says what was published.
type Published struct {
	export.Sum
	Columns []string
	Groups  int64            // that are in the table
	Failed  int64            // groups that are not
	BadRows int64            // of the input: they name no group
	Grades  map[string]int64 // groups, by grade
}

// A NothingError says that not one group could be fetched, so that nothing was
// published: what an earlier export has left is as it was.
type NothingError struct{ Groups int64 }

func (e *NothingError) Error() string {
	return fmt.Sprintf("none of %d groups could be fetched; nothing was published, and an earlier file is as it was", e.Groups)
}

// Publish writes the table and its manifest from what a finished run has kept.
// Both are written aside first, and take their names when they are whole. The
// same ledger makes the same bytes each time.
func Publish(ctx context.Context, v *ledger.View, p Publication) (Published, error) {
	s, err := p.survey(ctx, v)
	if err != nil {
		return s.Published, err
	}
	if s.Groups == 0 && s.Failed+s.BadRows > 0 {
		return s.Published, &NothingError{s.Failed}
	}
	w, err := p.open(s.Columns)
	if err != nil {
		return s.Published, fmt.Errorf("write export: %w", err)
	}
	defer w.Discard()
	if err := p.rows(ctx, v, s, w); err != nil {
		return s.Published, err
	}
	if s.Sum, err = w.Prepare(); err != nil {
		return s.Published, fmt.Errorf("write export: %w", err)
	}
	m, err := p.manifest(ctx, v, s)
	if err != nil {
		return s.Published, fmt.Errorf("write manifest: %w", err)
	}
	defer m.Discard()
	if _, err := w.Close(); err != nil {
		return s.Published, fmt.Errorf("write export: %w", err)
	}
	if err := m.Replace(); err != nil {
		return s.Published, fmt.Errorf("write manifest: %w", err)
	}
	return s.Published, nil
}

// A survey is what must be known of all groups before the first is written.
type survey struct {
	Published
	layout  layout
	last    time.Time // when the last group was settled
	edition bool      // an online list is longer than those of an app without the edition
}

// survey goes over all groups.
func (p *Publication) survey(ctx context.Context, v *ledger.View) (s survey, err error) {
	sum, err := v.Summary(ctx)
	if err != nil {
		return s, err
	}
	s.BadRows = sum.ByClass[ClassBadRow]
	keys := map[string]bool{}
	var lists []int64 // that are cut off if the app is without the edition
	s.Grades = map[string]int64{}
	for c, err := range v.Chunks(ctx) {
		if err != nil {
			return s, err
		}
		if c.SettledAt.After(s.last) {
			s.last = c.SettledAt
		}
		if c.Status != ledger.Succeeded {
			s.Failed++
			continue
		}
		r, err := decodeReceipt(c.Note)
		if err != nil {
			return s, err
		}
		s.Groups++
		for _, k := range r.Keys {
			keys[k] = true
		}
		switch {
		case !r.Online:
			s.Grades[r.Grade]++
		case gradeOnline(r.Members, false) == gradeOnline(r.Members, true):
			s.Grades[gradeOnline(r.Members, true)]++
		default:
			lists = append(lists, r.Members)
		}
		s.edition = s.edition || r.Online && r.Members > onlineWithoutEdition+1
	}
	for _, members := range lists {
		s.Grades[gradeOnline(members, s.edition)]++
	}
	s.layout = p.layout(slices.Sorted(maps.Keys(keys)))
	s.Columns = s.layout.columns()
	return s, nil
}

// layout is the layout of the table if these custom fields were met.
func (p *Publication) layout(keys []string) layout {
	if !p.ofProfiles() {
		return newLayout(onlineColumns(), nil, nil)
	}
	if p.Members.Custom != nil {
		keys = p.Members.Custom
	}
	usual := profileColumns()
	if p.Members.WithRooms {
		usual = append(usual, onlineColumns()[1:]...)
	}
	return newLayout(usual, p.Members.Fields, keys)
}

func (p *Publication) ofProfiles() bool { return p.Kind == (*Members)(nil).Name() }

// open begins the table.
func (p *Publication) open(columns []string) (*export.Writer, error) {
	o := export.Options{Columns: columns, Excel: p.Excel, Plain: []int{0}}
	if p.Path == "" {
		return export.New(p.Stream, p.Format, o)
	}
	return export.Create(p.Path, p.Format, o)
}

// rows writes the members of all groups.
func (p *Publication) rows(ctx context.Context, v *ledger.View, s survey, w *export.Writer) error {
	var object []byte
	for c, err := range v.Chunks(ctx) {
		if err != nil {
			return err
		}
		if c.Status != ledger.Succeeded {
			continue
		}
		err := eachKept(v, c, func(m chat.Member) error {
			if p.Format.Kind != "jsonl" {
				return w.Cells(s.layout.cells(c.Group, m))
			}
			object = s.layout.object(object[:0], c.Group, m)
			return w.Object(object)
		})
		if err != nil {
			return fmt.Errorf("write export: group %s: %w", c.Group, err)
		}
	}
	return nil
}

// eachKept calls visit with each member that was fetched of a group.
func eachKept(v *ledger.View, c ledger.ChunkResult, visit func(chat.Member) error) error {
	r, err := decodeReceipt(c.Note)
	if err != nil {
		return err
	}
	for _, span := range r.Spans {
		piece, err := v.Kept(span)
		if err != nil {
			return err
		}
		if err := eachMember(piece, visit); err != nil {
			return err
		}
	}
	return nil
}

// Text is what was published, in a line.
func (d Published) Text() string {
	text := fmt.Sprintf("%d members of %d groups", d.Rows, d.Groups)
	for _, grade := range slices.Sorted(maps.Keys(d.Grades)) {
		text += fmt.Sprintf(", %d %s", d.Grades[grade], grade)
	}
	if d.Failed > 0 {
		text += fmt.Sprintf("; %d groups failed and are not in it", d.Failed)
	}
	if d.BadRows > 0 {
		text += fmt.Sprintf("; %d bad rows name none", d.BadRows)
	}
	return text
}

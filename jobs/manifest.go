package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"time"

	"chatbatch/io/aside"
	"chatbatch/io/ledger"
)

// manifestHead is the beginning of a manifest; its groups follow.
type manifestHead struct {
	Run      string           `json:"run"`
	Kind     string           `json:"kind"`
	File     string           `json:"file"` // without its directory; "-" is a stream
	Format   string           `json:"format"`
	Columns  []string         `json:"columns"`
	Rows     int64            `json:"rows"` // members
	Bytes    int64            `json:"bytes"`
	SHA256   string           `json:"sha256"`
	Started  *time.Time       `json:"started"`
	Finished *time.Time       `json:"finished"`
	Exported int64            `json:"groups_exported"`
	Failed   int64            `json:"groups_failed"`
	BadRows  int64            `json:"bad_rows"` // of the input: they name no group
	Grades   map[string]int64 `json:"grades"`   // groups, by grade
}

// manifestGroup is what a manifest says of one group.
type manifestGroup struct {
	Group    string     `json:"group_id"`
	Type     string     `json:"type,omitempty"`
	Grade    string     `json:"grade,omitempty"`
	Members  *int64     `json:"members,omitempty"`
	Nameless int64      `json:"members_without_account,omitempty"`
	First    *int64     `json:"member_num_first,omitempty"` // as the server told it with the first page
	Last     *int64     `json:"member_num_last,omitempty"`
	Pages    int        `json:"pages,omitempty"`
	Reads    int        `json:"reads,omitempty"`
	Fetched  *time.Time `json:"fetched,omitempty"`

	Class string `json:"class,omitempty"` // of a group that failed
	Code  int    `json:"code,omitempty"`
	Error string `json:"error,omitempty"`
}

// manifest writes the manifest aside.
func (p *Publication) manifest(ctx context.Context, v *ledger.View, s survey) (*aside.File, error) {
	sum, err := v.Summary(ctx)
	if err != nil {
		return nil, err
	}
	f, err := aside.Create(p.Manifest)
	if err != nil {
		return nil, err
	}
	head := manifestHead{
		Run: sum.Run, Kind: p.Kind, File: "-", Format: p.Format.String(), Columns: s.Columns,
		Rows: s.Rows, Bytes: s.Bytes, SHA256: s.SHA256, Started: sum.Started, Finished: sum.Finished,
		Exported: s.Groups, Failed: s.Failed, BadRows: s.BadRows, Grades: s.Grades,
	}
	// Of many hosts some may have yet to say what they have done last.
	if head.Finished != nil && s.last.After(*head.Finished) {
		head.Finished = &s.last
	}
	if p.Path != "" {
		head.File = cmp.Or(p.File, filepath.Base(p.Path))
	}
	if err := p.writeManifest(ctx, v, s, f, head); err != nil {
		f.Discard()
		return nil, err
	}
	return f, f.Prepare()
}

// writeManifest writes one group a line: there may be a million.
func (p *Publication) writeManifest(ctx context.Context, v *ledger.View, s survey, f *aside.File, head manifestHead) error {
	text, err := json.MarshalIndent(head, "", "  ")
	if err != nil {
		return err
	}
	// Errors of f stay in its buffer and come with the next call.
	_, _ = f.WriteString(strings.TrimSuffix(string(text), "\n}") + ",\n  \"groups\": [")
	separator := "\n    "
	for c, err := range v.Chunks(ctx) {
		if err != nil {
			return err
		}
		g, err := groupOf(c, s.edition)
		if err != nil {
			return err
		}
		line, err := json.Marshal(g)
		if err != nil {
			return err
		}
		_, _ = f.WriteString(separator)
		_, _ = f.Write(line)
		separator = ",\n    "
	}
	_, err = f.WriteString("\n  ]\n}\n")
	return err
}

// groupOf is what the manifest says of a chunk.
func groupOf(c ledger.ChunkResult, edition bool) (manifestGroup, error) {
	g := manifestGroup{Group: c.Group}
	if !c.SettledAt.IsZero() {
		at := c.SettledAt.UTC()
		g.Fetched = &at
	}
	if c.Status != ledger.Succeeded {
		g.Class, g.Code, g.Error = c.Outcome.Class, c.Outcome.Code, c.Outcome.Error
		return g, nil
	}
	r, err := decodeReceipt(c.Note)
	if err != nil {
		return g, err
	}
	g.Type, g.Grade, g.Members, g.Pages, g.Reads = r.Type, r.Grade, &r.Members, r.Pages, r.Reads
	g.Nameless = r.Nameless
	if r.Online {
		g.Grade = gradeOnline(r.Members, edition)
	}
	if r.First >= 0 {
		g.First, g.Last = &r.First, &r.Last
	}
	return g, nil
}

package main

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"chatbatch/io/roster"
	"chatbatch/jobs"
)

// A reading is how an input is read, for people to see that it is as they meant.
type reading struct {
	roster.Found
	first string // what its first row asks for
}

// watch gives records whose first one is noted in r, and then told. An error
// says which file it is of.
func (r *reading) watch(name string, records iter.Seq2[jobs.Record, error], told func()) iter.Seq2[jobs.Record, error] {
	return func(yield func(jobs.Record, error) bool) {
		for rec, err := range records {
			if isInput(err) {
				err = fmt.Errorf("%s: %w", name, err)
			}
			if err == nil && rec.Num == 0 {
				r.first = firstRow(rec)
				told()
			}
			if !yield(rec, err) {
				return
			}
		}
	}
}

// adviseColumns adds to a header that lacks columns what the flags of its kind can do
// about it: the file need not be changed.
func adviseColumns(err error, k kindOf) {
	h, ok := errors.AsType[*roster.HeaderError](err)
	if !ok || h.Hint != "" || len(h.Missing) == 0 {
		return
	}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	(&options{}).addKind(k, flags)
	h.Hint = "say which column it is by --map COLUMN=" + h.Missing[0]
	for _, without := range [][3]string{{"group_id", "group", "ID"}, {"marks", "marks", "1000"}} {
		if field, flag, value := without[0], without[1], without[2]; slices.Contains(h.Missing, field) && flags.Lookup(flag) != nil {
			h.Hint += fmt.Sprintf(", or give --%s %s for a file without %s", flag, value, field)
		}
	}
}

// firstRow says what a row asks for, as it would be sent.
func firstRow(rec jobs.Record) string {
	switch {
	case rec.Err != nil:
		return fmt.Sprintf("line %d: %v", rec.Line, rec.Err)
	case rec.Ask.Account == "" || rec.Ask.Account == rec.Ask.Group:
		return fmt.Sprintf("line %d: group_id %s", rec.Line, rec.Ask.Group)
	}
	return fmt.Sprintf("line %d: group_id %s, account %s", rec.Line, rec.Ask.Group, rec.Ask.Account)
}

// parts are what there is to say of a reading, by name; none of a plain one.
func (r *reading) parts() (parts [][2]string) {
	if r.Plain() {
		return nil
	}
	add := func(name, text string) {
		if text != "" {
			parts = append(parts, [2]string{name, text})
		}
	}
	add("packed", r.Packed)
	add("sheet", r.Sheet)
	if len(r.OtherSheets) > 0 {
		add("not read", "also with these columns: sheet "+strings.Join(r.OtherSheets, ", ")+" (--sheet)")
	}
	if r.Unknown {
		add("encoding", "unknown, not UTF-8: groups and accounts must be ASCII (or give --encoding)")
	}
	add("encoding", r.Encoding)
	add("delimiter", roster.DelimiterName(r.Delimiter))
	var columns []string
	for _, c := range r.Columns {
		if c.Name != c.Field {
			c.Name += " is " + c.Field
		}
		columns = append(columns, c.Name)
	}
	add("columns", strings.Join(columns, ", "))
	add("first row", r.first)
	return parts
}

// tell shows how the input is read, if there was something to be found out.
func (j *job) tell(name string, r *reading) {
	var attrs []any
	for _, p := range r.parts() {
		attrs = append(attrs, strings.ReplaceAll(p[0], " ", "_"), p[1])
	}
	if len(attrs) > 0 {
		j.log.Info("reading "+name, attrs...)
	}
}

// readingJSON is how the input is read, for scripts; what is usual is left out.
type readingJSON struct {
	Packed    string            `json:"packed,omitempty"`
	Sheet     string            `json:"sheet,omitempty"`
	Others    []string          `json:"other_sheets,omitempty"`
	Encoding  string            `json:"encoding,omitempty"`
	Unknown   bool              `json:"encoding_unknown,omitempty"`
	Delimiter string            `json:"delimiter,omitempty"`
	Columns   map[string]string `json:"columns,omitempty"`
	First     string            `json:"first_row,omitempty"`
}

// json is nil for a plain reading.
func (r *reading) json() *readingJSON {
	if r.Plain() {
		return nil
	}
	columns := map[string]string{}
	for _, c := range r.Columns {
		columns[c.Field] = c.Name
	}
	return &readingJSON{r.Packed, r.Sheet, r.OtherSheets, r.Encoding, r.Unknown, r.Delimiter, columns, r.first}
}

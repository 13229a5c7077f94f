package jobs

import (
	"fmt"
	"io"
	"iter"
	"strings"

	"chatbatch/io/roster"
)

// A Record is a row on its way into the plan.
type Record struct {
	Num  int64  // 0-based number of the row
	Line int64  // 1-based line of the file
	Raw  string // as written
	Ask  Ask    // meaningless if Err is set
	Err  error  // why the row is bad

	FedBack bool // it comes from a failed file
}

// An Input is an opened input file of one kind.
type Input struct {
	Source  roster.Source
	Found   roster.Found
	Records iter.Seq2[Record, error] // can be walked once; an error is the last item
}

// open reads rows of type T and turns each into what it asks for.
func open[T any](r io.Reader, o roster.Options, ask func(T) (Ask, error)) (*Input, error) {
	rd, err := roster.Open[T](r, o)
	if err != nil {
		return nil, err
	}
	records := func(yield func(Record, error) bool) {
		defer rd.Close()
		for row, err := range rd.Rows() {
			if err != nil {
				yield(Record{}, err)
				return
			}
			rec := Record{Num: row.Num, Line: row.Line, Raw: row.Raw, Err: row.Err, FedBack: row.FedBack}
			if row.Err == nil {
				rec.Ask, rec.Err = ask(row.Value)
			}
			if !yield(rec, nil) {
				return
			}
		}
	}
	return &Input{Source: rd.Source(), Found: rd.Found(), Records: records}, nil
}

// checkAccount holds the one rule on UserIDs that all pages of the API agree
// on: 1 to 32 bytes. Which characters they may have differs between pages, so
// that is left to the server.
func checkAccount(account string) error {
	switch n := len(account); {
	case n == 0:
		return fmt.Errorf("account is empty")
	case n > maxAccountBytes:
		return fmt.Errorf("account has %d bytes, the API takes at most %d", n, maxAccountBytes)
	}
	return nil
}

// maxGroupBytes is far more than any kind of group has in its id. Lengths differ
// between the kinds and have grown over time, so below it the server judges them;
// but an id of a megabyte would be kept in memory many times.
const maxGroupBytes = 1 << 10

// checkGroup refuses what can never be a group.
func checkGroup(group string) error {
	switch n := len(group); {
	case n == 0:
		return fmt.Errorf("group_id is empty")
	case n > maxGroupBytes:
		return fmt.Errorf("group_id has %d bytes, and never more than %d", n, maxGroupBytes)
	case strings.Contains(group, topicInfix):
		return fmt.Errorf("group_id %q is a topic, not a group", short(group))
	case strings.ContainsFunc(group, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("group_id %q has a control character", short(group))
	}
	return nil
}

// short cuts a text that others wrote, for a message.
func short(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

package report

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"

	"chatbatch/io/charset"
	"chatbatch/io/ledger"
)

// Examples returns one row for each class and code of failed rows, as text.
func Examples(ctx context.Context, l *ledger.Ledger) ([]ledger.Example, error) {
	list, err := l.Examples(ctx)
	if err != nil {
		return nil, err
	}
	text, err := TextOf(l.Meta())
	if err != nil {
		return nil, err
	}
	for i := range list {
		list[i].Raw = text(list[i].Raw)
	}
	return list, nil
}

// TextOf gives what makes text of a row of this run as written, for those who look at it.
// It may be called by several goroutines, what it gives by one at a time.
func TextOf(m ledger.Meta) (func(raw string) string, error) {
	cs, err := charset.Named(m.Encoding)
	if err != nil {
		return nil, fmt.Errorf("input of unknown encoding: %w", err)
	}
	if cs.IsWide() { // its rows are kept as text
		return func(raw string) string { return raw }, nil
	}
	return cs.Decode, nil
}

// Failed writes the failed rows of a run, as its failed file has them, and
// returns how many there are. With classes, only those that failed with one of
// them are written.
func Failed(ctx context.Context, l *ledger.Ledger, out io.Writer, classes []string) (rows int64, err error) {
	b := bufio.NewWriter(out)
	s, err := newSink(l.Meta(), b, true)
	if err != nil {
		return 0, err
	}
	for r, err := range l.Rows(ctx) {
		if err != nil {
			return rows, err
		}
		if r.Status != ledger.Failed || len(classes) > 0 && !slices.Contains(classes, r.Outcome.Class) {
			continue
		}
		rows++
		if err := s.row(r); err != nil {
			return rows, err
		}
	}
	if err := s.close(); err != nil {
		return rows, err
	}
	return rows, b.Flush()
}

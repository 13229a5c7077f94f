package report

import (
	"bufio"
	"context"
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
	cs, err := charset.Named(l.Meta().Encoding)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if !cs.IsWide() { // as text already
			list[i].Raw = cs.Decode(list[i].Raw)
		}
	}
	return list, nil
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

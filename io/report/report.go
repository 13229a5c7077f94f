// Package report says what a ledger holds: files that can be fed back, a summary
// for programs, a table and a page for people. It only reads, so a report can be
// made again at any time, also of a run that is still going on.
package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"

	"chatbatch/io/aside"
	"chatbatch/io/ledger"
)

// Write writes the reports of a run into dir and returns its summary:
//
//	failed.csv       the rows that failed, as written, with what befell them
//	unprocessed.csv  the rows that were not processed, as written
//	summary.json     the summary
//	pace.csv         calls, refusals and lanes, second by second
//	report.html      all this for people, on one page
//
// (failed.jsonl and unprocessed.jsonl if the input was JSONL, .xlsx if it was a
// workbook.) They are written always, with nothing but the header if there is no such row, but for pace.csv:
// that one if there is a second on record. Each is replaced as a whole, and only
// its owner can read it. When the books do not balance row by row
// (ledger.ErrUnbalanced), no file is touched.
//
// next says what can be done after a run with these books; it may be nil.
func Write(ctx context.Context, l *ledger.Ledger, dir string, next func(ledger.Summary) Next) (ledger.Summary, error) {
	v, err := l.View(ctx) // one moment for rows and sums, though the run goes on
	if err != nil {
		return ledger.Summary{}, err
	}
	defer v.Close()
	sum, err := v.Summary(ctx)
	if err != nil {
		return sum, err
	}
	w, err := create(dir, l.Meta())
	if err != nil {
		return sum, fmt.Errorf("write reports: %w", err)
	}
	defer w.discard()
	if err := w.paces(ctx, v, PaceFile(dir)); err != nil {
		return sum, err
	}
	f := &facts{Meta: l.Meta(), Sum: sum, Pace: w.sum}
	if f.Curve, err = w.curve.drawnWith(ctx, v); err != nil {
		return sum, err
	}
	f.Meta.Header = w.text(f.Meta.Header)
	if next != nil {
		f.Next = next(sum)
	}
	if w.page, err = newPage(ctx, w.html, v, f); err != nil {
		return sum, err
	}
	if err := w.rows(ctx, v, sum); err != nil {
		return sum, err
	}
	if err := errors.Join(w.page.end(), w.summary(sum)); err != nil {
		return sum, fmt.Errorf("write reports: %w", err)
	}
	if err := w.replace(); err != nil {
		return sum, fmt.Errorf("write reports: %w", err)
	}
	return sum, nil
}

// Files returns the names of the files that Write makes for an input of this
// format ("csv", "jsonl" or "xlsx") in dir.
func Files(dir, format string) (failed, unprocessed, summary string) {
	return filepath.Join(dir, "failed."+format), filepath.Join(dir, "unprocessed."+format), filepath.Join(dir, "summary.json")
}

// PaceFile returns the name of the file in dir in which Write puts the pace.
func PaceFile(dir string) string { return filepath.Join(dir, "pace.csv") }

// form writes rows in the format of the input.
type form interface {
	header(reserved bool) string // with its line end; "" if the format has none
	failed(dst []byte, r ledger.RowOutcome) []byte
	unprocessed(dst []byte, r ledger.RowOutcome) []byte
}

type writer struct {
	meta                      ledger.Meta
	text                      func(raw string) string // of a row, see TextOf
	failed, unprocessed, sums *aside.File
	html                      *aside.File
	pace                      *aside.File // nil if there is none
	line                      []byte      // for reuse

	page  *page
	curve curve
	sum   Pace
}

func create(dir string, m ledger.Meta) (_ *writer, err error) {
	w := &writer{meta: m}
	if w.text, err = TextOf(m); err != nil {
		return nil, err
	}
	failed, unprocessed, sums := Files(dir, m.Format)
	for _, f := range []struct {
		path string
		file **aside.File
	}{{failed, &w.failed}, {unprocessed, &w.unprocessed}, {sums, &w.sums}, {PageFile(dir), &w.html}} {
		if *f.file, err = aside.Create(f.path); err != nil {
			w.discard()
			return nil, err
		}
	}
	return w, nil
}

// rows writes the two files of rows, and checks that the rows come to what the
// summary says.
func (w *writer) rows(ctx context.Context, v *ledger.View, sum ledger.Summary) error {
	failed, err := newSink(w.meta, w.failed, true)
	if err != nil {
		return err
	}
	unprocessed, err := newSink(w.meta, w.unprocessed, false)
	if err != nil {
		return err
	}
	var got books
	got.byClass, got.byCode = map[string]int64{}, map[int]int64{}
	for r, err := range v.Rows(ctx) {
		if err != nil {
			return err
		}
		got.add(r)
		switch r.Status {
		case ledger.Failed:
			if err = failed.row(r); err == nil {
				r.Raw = w.text(r.Raw)
				err = w.page.row(r)
			}
		case ledger.Unprocessed:
			err = unprocessed.row(r)
		}
		if err != nil {
			return err
		}
	}
	if err := errors.Join(failed.close(), unprocessed.close()); err != nil {
		return err
	}
	return got.check(sum)
}

// summary writes summary.json.
func (w *writer) summary(sum ledger.Summary) error {
	e := json.NewEncoder(w.sums)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(sum)
}

// replace puts all files in their places, once the disk has the last byte of each:
// it is not to be full between two of them.
func (w *writer) replace() error {
	for _, f := range w.files() {
		if err := f.Prepare(); err != nil {
			return err
		}
	}
	for _, f := range w.files() {
		if err := f.Replace(); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) discard() {
	for _, f := range w.files() {
		f.Discard()
	}
}

// files are those that there are.
func (w *writer) files() []*aside.File {
	return slices.DeleteFunc([]*aside.File{w.failed, w.unprocessed, w.pace, w.html, w.sums}, func(f *aside.File) bool { return f == nil })
}

// books are the sums as the rows give them.
type books struct {
	rows, succeeded, failed, unprocessed int64

	byClass map[string]int64
	byCode  map[int]int64
}

func (b *books) add(r ledger.RowOutcome) {
	b.rows++
	switch r.Status {
	case ledger.Succeeded:
		b.succeeded++
	case ledger.Failed:
		b.failed++
		b.byClass[r.Outcome.Class]++
		b.byCode[r.Outcome.Code]++
	default:
		b.unprocessed++
	}
}

// check compares them with the sums that were kept while the run went on.
func (b *books) check(s ledger.Summary) error {
	for _, c := range []struct {
		name      string
		rows, sum int64
	}{
		{"rows", b.rows, s.Rows},
		{"rows and their sum", b.succeeded + b.failed + b.unprocessed, s.Succeeded + s.Failed + s.Unprocessed},
		{"succeeded", b.succeeded, s.Succeeded},
		{"failed", b.failed, s.Failed},
		{"unprocessed", b.unprocessed, s.Unprocessed},
		{"classes", int64(len(b.byClass)), int64(len(s.ByClass))},
		{"codes", int64(len(b.byCode)), int64(len(s.ByCode))},
	} {
		if c.rows != c.sum {
			return fmt.Errorf("%w: %s: %d by row, %d by sum", ledger.ErrUnbalanced, c.name, c.rows, c.sum)
		}
	}
	for class, n := range b.byClass {
		if s.ByClass[class] != n {
			return fmt.Errorf("%w: class %s: %d by row, %d by sum", ledger.ErrUnbalanced, class, n, s.ByClass[class])
		}
	}
	for code, n := range b.byCode {
		if sum := s.ByCode[strconv.Itoa(code)]; sum != n {
			return fmt.Errorf("%w: code %d: %d by row, %d by sum", ledger.ErrUnbalanced, code, n, sum)
		}
	}
	return nil
}

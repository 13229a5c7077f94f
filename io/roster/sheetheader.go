package roster

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"chatbatch/io/workbook"
)

// A sheetHeader is how a sheet is read.
type sheetHeader struct {
	sheet   workbook.Sheet
	own     []bool // by column of the sheet: not reserved
	columns []string
	bound   []int // by column of the sheet: its field, -1 for none
}

// chooseSheet gives the sheet of a name, or the first one whose header has all
// columns, and the names of others that have them too.
func chooseSheet(book *workbook.Book, name string, n *names, values []fixed) (*sheetHeader, []string, error) {
	var chosen *sheetHeader
	var others, all []string
	var why *HeaderError
	for _, s := range book.Sheets {
		all = append(all, quote(s.Name))
		if name != "" && s.Name != name || name == "" && s.Hidden {
			continue
		}
		h, err := readSheetHeader(book, s, n, values)
		e, refused := errors.AsType[*HeaderError](err)
		switch {
		case refused && (why == nil || e.known > why.known):
			why = e
		case refused:
		case err != nil:
			return nil, nil, &PackError{Packed: "xlsx", Err: err}
		case chosen == nil:
			chosen = h
		default:
			others = append(others, s.Name)
		}
	}
	switch {
	case chosen != nil:
		return chosen, others, nil
	case why != nil && len(all) > 1 && name == "":
		why.Reason = "no sheet has the columns; there are " + strings.Join(all, ", ") + "; the nearest is " + why.Reason
		return nil, nil, why
	case why != nil:
		return nil, nil, why
	}
	reason := "there is no sheet " + quote(name)
	if name == "" {
		reason = "there is no sheet that is not hidden"
	}
	return nil, nil, &HeaderError{Reason: reason + "; there are " + strings.Join(all, ", "), Hint: "say which with --sheet"}
}

// firstRow gives the first row that is not empty.
func firstRow(rows *workbook.Rows) (num int, cells []workbook.Cell, err error) {
	for {
		num, cells, err = rows.Next()
		if err != nil || !blankCells(cells) {
			return num, cells, err
		}
	}
}

func blankCells(cells []workbook.Cell) bool {
	for _, c := range cells {
		if strings.TrimSpace(c.Text) != "" || c.Kind == workbook.Unknown {
			return false
		}
	}
	return true
}

// headerWithin is in how many rows a header is looked for, to say where it is.
const headerWithin = 20

// readSheetHeader reads the header of a sheet, its first row that is not empty.
func readSheetHeader(book *workbook.Book, s workbook.Sheet, n *names, values []fixed) (*sheetHeader, error) {
	rows, err := book.Rows(s)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	_, cells, err := firstRow(rows)
	if err == io.EOF {
		return nil, &HeaderError{Reason: fmt.Sprintf("sheet %s: it is empty", quote(s.Name))}
	}
	if err != nil {
		return nil, err
	}
	h, refused := newSheetHeader(s, cells, n, values)
	if refused == nil {
		return h, nil
	}
	refused.Reason = fmt.Sprintf("sheet %s: %s", quote(s.Name), refused.Reason)
	for range headerWithin {
		num, cells, err := rows.Next()
		if err != nil {
			break
		}
		if _, e := newSheetHeader(s, cells, n, values); e == nil {
			refused.Hint = fmt.Sprintf("the columns are named in row %d: delete the rows above it", num)
			refused.known = len(n.fields)
			break
		}
	}
	return nil, refused
}

func newSheetHeader(s workbook.Sheet, cells []workbook.Cell, n *names, values []fixed) (*sheetHeader, *HeaderError) {
	h := &sheetHeader{sheet: s}
	var columns []string // without the reserved ones
	var at []int
	for i, c := range cells {
		h.columns = append(h.columns, c.Text)
		h.own = append(h.own, !isReserved(c.Text))
		h.bound = append(h.bound, -1)
		if h.own[i] {
			columns, at = append(columns, strings.TrimSpace(c.Text)), append(at, i)
		}
	}
	bound, err := bind(workbook.Join(columns), columns, n, values)
	if err != nil {
		return nil, err
	}
	for i, f := range bound {
		h.bound[at[i]] = f
	}
	return h, nil
}

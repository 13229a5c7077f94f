package export

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/xuri/excelize/v2"
)

// A frame is a workbook without rows, as excelize writes it.
type frame struct {
	parts  map[string]*bytes.Buffer // of the package, by name
	styles styles
}

// styles are the numbers of the styles.
type styles struct{ cell, header int }

// textFormat is number format 49, "@": without it, a cell that somebody edits
// and leaves becomes a number if it is all digits, and a formula if it begins
// with =.
const textFormat = 49

const sheetParts = "xl/worksheets/"

func sheetPart(i int) string { return fmt.Sprintf("%ssheet%d.xml", sheetParts, i) }

func sheetName(i int) string { return fmt.Sprintf("Sheet%d", i) }

// newFrame makes a workbook of so many sheets, the first two with a header that
// stays in view. The styles have the same numbers in each.
func newFrame(sheets int) (_ *frame, err error) {
	f := &frame{parts: map[string]*bytes.Buffer{}}
	x := excelize.NewFile()
	defer func() { err = errors.Join(err, x.Close()) }()
	if f.styles.cell, err = x.NewStyle(&excelize.Style{NumFmt: textFormat}); err != nil {
		return nil, err
	}
	if f.styles.header, err = x.NewStyle(&excelize.Style{NumFmt: textFormat, Font: &excelize.Font{Bold: true}}); err != nil {
		return nil, err
	}
	for i := 1; i <= sheets; i++ {
		if i > 1 {
			if _, err := x.NewSheet(sheetName(i)); err != nil {
				return nil, err
			}
		}
		if i > 2 {
			continue // is like the second
		}
		if err := freeze(x, sheetName(i)); err != nil {
			return nil, err
		}
	}
	x.SetZipWriter(func(io.Writer) excelize.ZipWriter { return f })
	return f, x.Write(io.Discard)
}

// freeze keeps the first row of an empty sheet in view.
func freeze(x *excelize.File, sheet string) error {
	sw, err := x.NewStreamWriter(sheet)
	if err != nil {
		return err
	}
	if err := sw.SetPanes(&excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}); err != nil {
		return err
	}
	return sw.Flush()
}

// sheet gives what stands before and behind the rows of a sheet.
func (f *frame) sheet(i int) (head, tail []byte, err error) {
	part, ok := f.parts[sheetPart(i)]
	if !ok {
		return nil, nil, fmt.Errorf("workbook: excelize made no %s", sheetPart(i))
	}
	head, tail, ok = bytes.Cut(part.Bytes(), []byte("<sheetData>"))
	if !ok {
		return nil, nil, errors.New("workbook: excelize made a sheet without data")
	}
	// It would say that the sheet has one cell, and some readers believe it.
	head = bytes.Replace(head, []byte(`<dimension ref="A1"></dimension>`), nil, 1)
	return append(bytes.Clone(head), "<sheetData>"...), tail, nil
}

// others lists the parts that are not sheets, in a fixed order.
func (f *frame) others() []string {
	names := slices.Sorted(maps.Keys(f.parts))
	return slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, sheetParts) })
}

// Create begins a part; with the next two a frame is an excelize.ZipWriter.
func (f *frame) Create(name string) (io.Writer, error) {
	f.parts[name] = &bytes.Buffer{}
	return f.parts[name], nil
}

// AddFS is not used for a new workbook.
func (f *frame) AddFS(fs.FS) error { return errors.ErrUnsupported }

// Close has nothing to do.
func (f *frame) Close() error { return nil }
